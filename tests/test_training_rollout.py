"""The context that the network decodes by itself is the one that decoding goes by."""

from __future__ import annotations

import torch

from conftest import TINY, decode, swelling_noise
from partranscribe.config import DecodeConfig
from partranscribe.model import LastFrame, Par
from partranscribe.notes import OFF
from partranscribe.torch_decode import initial_state
from partranscribe.torch_frontend import TorchLogMel
from partranscribe.training.labels import FrameLabels, context_labels
from partranscribe.training.rollout import own_context


def test_it_is_what_decoding_goes_by(lively: Par) -> None:
    mel = TorchLogMel(TINY.front_end).padded(torch.from_numpy(swelling_noise(0, 64_000)).unsqueeze(0))
    with torch.no_grad():
        features = lively.features(mel)
    begin = initial_state(lively)
    frames, _ = decode(lively, features, begin, DecodeConfig())
    velocity = torch.from_numpy(frames.velocity).unsqueeze(0)
    own = own_context(lively, features.note, begin.last, velocity)
    expected = context_labels(FrameLabels(frames.state, frames.velocity), lively.config.max_duration_frames)
    assert (expected.state != OFF).mean() > 0.05
    for given, of_decoding in zip(own, expected, strict=True):
        torch.testing.assert_close(given[0], torch.from_numpy(of_decoding), check_dtype=False)


def test_it_goes_on_from_the_first_context(lively: Par) -> None:
    begin = initial_state(lively).last
    sounding = LastFrame(begin.state + 3, begin.duration + 0.5, begin.velocity + 0.25)
    features = torch.zeros(1, 5, 88, TINY.model.hidden_per_pitch)
    own = own_context(lively, features, sounding, torch.zeros(1, 5, 88))
    for given, first in zip(own, sounding, strict=True):
        assert given.shape == (1, 5, 88)
        assert torch.equal(given[:, :1], first)


def test_no_gradient_flows_through_it(lively: Par) -> None:
    features = torch.rand(1, 4, 88, TINY.model.hidden_per_pitch, requires_grad=True)
    own = own_context(lively, features, initial_state(lively).last, torch.rand(1, 4, 88))
    assert not any(part.requires_grad for part in own)
