"""The loop over frames by OpenVINO gives what PyTorch's does."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from conftest import TINY, decode, swelling_noise
from partranscribe.config import DecodeConfig
from partranscribe.frames import Frames
from partranscribe.model import Par, weights_of
from partranscribe.notes import NOTE_STATES
from partranscribe.openvino_decode import Left, OpenVinoLoop
from partranscribe.torch_decode import DecoderState, initial_state
from partranscribe.torch_frontend import TorchLogMel
from partranscribe.windows import Features

EAGER = DecodeConfig(onset_bias=0.7, reonset_bias=1.5, offset_bias=0.6, restrike_frames=4, drop_ghosts=True)

Pair = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Features of the note and of the velocity network, (frames, pitches, hidden) each."""


def loop_of(model: Par) -> OpenVinoLoop:
    return OpenVinoLoop(model.config, weights_of(model))


@pytest.fixture(scope="module")
def loop(lively: Par) -> OpenVinoLoop:
    return loop_of(lively)


@pytest.fixture(scope="module")
def features(lively: Par) -> Pair:
    """Of 5 s that the lively network hears notes in."""
    mel = TorchLogMel(TINY.front_end)(torch.from_numpy(swelling_noise(12, 80_000)))
    with torch.inference_mode():
        note, velocity = (part[0].numpy() for part in lively.features(mel.unsqueeze(0)))
    return note, velocity


def by_pytorch(model: Par, features: Pair, settings: DecodeConfig) -> tuple[Frames, DecoderState]:
    given = Features(*(torch.from_numpy(part.copy())[None] for part in features))
    return decode(model, given, initial_state(model), settings, with_probabilities=True)


def parts(features: Pair, *sizes: int) -> Iterator[Pair]:
    """So many frames each, and the rest."""
    note, velocity = features
    ends = [*np.cumsum([0, *sizes]).tolist(), len(note)]
    for begin, end in pairwise(ends):
        yield note[begin:end], velocity[begin:end]


def left_by(state: DecoderState) -> list[NDArray[np.float32]]:
    """What PyTorch's loop leaves, as OpenVINO's has it."""
    memory = [part[layer] for network in state.lstm for layer in range(2) for part in network]
    return [part.numpy() for part in (*(one[0, 0] for one in state.last), *memory)]


def assert_same(plain: tuple[Frames, DecoderState], graph: tuple[Frames, Left]) -> None:
    for found, expected in zip(graph[0], plain[0], strict=True):
        assert found is not None
        assert expected is not None
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
    for one, other in zip(graph[1], left_by(plain[1]), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [DecodeConfig(), EAGER, DecodeConfig(onset_bias=-1.0, offset_bias=-2.0, restrike_frames=1)],
    ids=["plain", "eager", "reluctant"],
)
def test_both_loops_agree(lively: Par, loop: OpenVinoLoop, features: Pair, settings: DecodeConfig) -> None:
    plain, graph = by_pytorch(lively, features, settings), loop.run(*features, loop.initial_state(), settings)
    assert {*np.unique(plain[0].state)} == set(range(NOTE_STATES))
    np.testing.assert_array_equal(graph[0].state, plain[0].state)
    assert_same(plain, graph)


def test_both_loops_begin_in_silence(lively: Par, loop: OpenVinoLoop) -> None:
    expected = left_by(initial_state(lively))
    for one, other in zip(loop.initial_state(), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_both_loops_agree_on_other_sizes() -> None:
    torch.manual_seed(5)
    model = Par(replace(TINY.model, lstm_units=19, hidden_per_pitch=17, max_duration_frames=6)).eval()
    note, velocity = (3 * torch.randn(30, 88, 17).numpy() for _ in range(2))
    settings, loop = DecodeConfig(onset_bias=1.0, restrike_frames=3), loop_of(model)
    plain = by_pytorch(model, (note, velocity), settings)
    assert plain[0].state.any()
    assert_same(plain, loop.run(note, velocity, loop.initial_state(), settings))


def test_states_that_are_equally_likely_are_told_apart_alike() -> None:
    model = Par(TINY.model).eval()
    with torch.no_grad():
        model.note_sequence.output.weight.zero_()
        model.note_sequence.output.bias.zero_()
    silence, loop = np.zeros((4, 88, TINY.model.hidden_per_pitch), np.float32), loop_of(model)
    for bias in (0.0, 0.5, -0.5):  # all are alike, two of them, and three
        settings = DecodeConfig(onset_bias=bias, reonset_bias=bias)
        plain, _ = by_pytorch(model, (silence, silence), settings)
        graph, _ = loop.run(silence, silence, loop.initial_state(), settings)
        np.testing.assert_array_equal(graph.state, plain.state)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (64,), (7, 30, 11)])
def test_frames_do_not_depend_on_how_many_come_at_a_time(
    loop: OpenVinoLoop, features: Pair, sizes: tuple[int, ...]
) -> None:
    whole, end = loop.run(*features, loop.initial_state(), EAGER)
    left, found = loop.initial_state(), []
    for part in parts(features, *sizes):
        frames, left = loop.run(*part, left, EAGER)
        found.append(frames)
    for pieces, expected in zip(zip(*found, strict=True), whole, strict=True):
        np.testing.assert_array_equal(np.concatenate(pieces), expected)
    for one, other in zip(left, end, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_a_frame_leaves_is_kept_when_it_is_used(loop: OpenVinoLoop, features: Pair) -> None:
    first, second = parts(features, 50)
    _, left = loop.run(*first, loop.initial_state(), EAGER)
    before = [part.copy() for part in left]
    once, twice = (loop.run(*second, left, EAGER)[0].velocity for _ in range(2))
    np.testing.assert_array_equal(once, twice)
    for one, other in zip(left, before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_several_threads_may_share_a_loop(loop: OpenVinoLoop, features: Pair) -> None:
    turned = [tuple(np.roll(part, shift, axis=0) for part in features) for shift in range(0, 150, 20)]

    def decoded(piece: tuple[NDArray[np.float32], ...]) -> Frames:
        note, velocity = piece
        return loop.run(note, velocity, loop.initial_state(), EAGER)[0]

    expected = [decoded(piece) for piece in turned]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(decoded, turned))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.state, other.state)
        np.testing.assert_array_equal(one.velocity, other.velocity)
