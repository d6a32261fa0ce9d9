"""The loop over frames by OpenVINO gives what PyTorch's does."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from conftest import TINY, swelling_noise
from partranscribe import openvino_decode
from partranscribe.config import DecodeConfig
from partranscribe.decode import DecoderState, Frames, compiled_loop, decode, decode_batch, initial_state
from partranscribe.frontend import LogMel
from partranscribe.model import NOTE_STATES, Features, Par
from partranscribe.openvino_decode import OpenVinoLoop

EAGER = DecodeConfig(onset_bias=0.7, reonset_bias=1.5, offset_bias=0.6, restrike_frames=4)


@pytest.fixture(scope="module")
def loop(lively: Par) -> OpenVinoLoop:
    return OpenVinoLoop(lively)


@pytest.fixture(scope="module")
def features(lively: Par) -> Features:
    """Of 5 s that the lively network hears notes in."""
    mel = LogMel(TINY.front_end)(torch.from_numpy(swelling_noise(12, 80_000)))
    with torch.inference_mode():
        return lively.features(mel.unsqueeze(0))


def parts(features: Features, *sizes: int) -> Iterator[Features]:
    """So many frames each, and the rest."""
    ends = [*np.cumsum([0, *sizes]).tolist(), features.note.shape[1]]
    for begin, end in pairwise(ends):
        yield Features(*(part[:, begin:end] for part in features))


def assert_same(plain: tuple[Frames, DecoderState], graph: tuple[Frames, DecoderState]) -> None:
    for found, expected in zip(graph[0], plain[0], strict=True):
        assert found is not None
        assert expected is not None
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
    torch.testing.assert_close(graph[1].last, plain[1].last, atol=1e-5, rtol=0)
    torch.testing.assert_close(graph[1].lstm, plain[1].lstm, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [DecodeConfig(), EAGER, DecodeConfig(onset_bias=-1.0, offset_bias=-2.0, restrike_frames=1)],
    ids=["plain", "eager", "reluctant"],
)
def test_both_loops_agree(
    lively: Par, loop: OpenVinoLoop, features: Features, settings: DecodeConfig
) -> None:
    begin = initial_state(lively)
    plain, graph = (
        decode(lively, features, begin, settings, with_probabilities=True, loop=one) for one in (None, loop)
    )
    assert {*np.unique(plain[0].state)} == set(range(NOTE_STATES))
    np.testing.assert_array_equal(graph[0].state, plain[0].state)
    assert_same(plain, graph)


def test_both_loops_agree_on_other_sizes() -> None:
    torch.manual_seed(5)
    model = Par(replace(TINY.model, lstm_units=19, hidden_per_pitch=17, max_duration_frames=6)).eval()
    some = Features(*(torch.randn(1, 30, 88, 17) * 3 for _ in range(2)))
    settings = DecodeConfig(onset_bias=1.0, restrike_frames=3)
    begin = initial_state(model)
    plain, graph = (
        decode(model, some, begin, settings, with_probabilities=True, loop=one)
        for one in (None, OpenVinoLoop(model))
    )
    assert plain[0].state.any()
    assert_same(plain, graph)


def test_states_that_are_equally_likely_are_told_apart_alike(lively: Par) -> None:
    model = Par(TINY.model).eval()
    with torch.no_grad():
        model.note_sequence.output.weight.zero_()
        model.note_sequence.output.bias.zero_()
    silence = torch.zeros(1, 4, 88, TINY.model.hidden_per_pitch)
    for bias in (0.0, 0.5, -0.5):  # all are alike, two of them, and three
        settings = DecodeConfig(onset_bias=bias, reonset_bias=bias)
        plain, graph = (
            decode(model, Features(silence, silence), initial_state(model), settings, loop=one)[0].state
            for one in (None, OpenVinoLoop(model))
        )
        np.testing.assert_array_equal(graph, plain)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (64,), (7, 30, 11)])
def test_frames_do_not_depend_on_how_many_come_at_a_time(
    lively: Par, loop: OpenVinoLoop, features: Features, sizes: tuple[int, ...]
) -> None:
    whole, end = decode(lively, features, initial_state(lively), EAGER, with_probabilities=True, loop=loop)
    state, found = initial_state(lively), []
    for part in parts(features, *sizes):
        frames, state = decode(lively, part, state, EAGER, with_probabilities=True, loop=loop)
        found.append(frames)
    for pieces, expected in zip(zip(*found, strict=True), whole, strict=True):
        np.testing.assert_array_equal(np.concatenate(pieces), expected)
    torch.testing.assert_close(state.last, end.last, atol=0, rtol=0)
    torch.testing.assert_close(state.lstm, end.lstm, atol=0, rtol=0)


def test_the_loops_can_take_turns(lively: Par, loop: OpenVinoLoop, features: Features) -> None:
    first, second = parts(features, 50)
    plain, plain_end = decode(lively, second, decode(lively, first, initial_state(lively))[1])
    _, middle = decode(lively, first, initial_state(lively), loop=loop)
    mixed, mixed_end = decode(lively, second, middle)
    np.testing.assert_array_equal(mixed.state, plain.state)
    torch.testing.assert_close(mixed_end.lstm, plain_end.lstm, atol=1e-4, rtol=1e-4)


def test_several_threads_may_share_a_loop(lively: Par, loop: OpenVinoLoop, features: Features) -> None:
    length = features.note.shape[1]
    pieces = [Features(*(part.roll(shift, dims=1) for part in features)) for shift in range(0, length, 20)]
    expected = [decode(lively, piece, initial_state(lively), loop=loop)[0] for piece in pieces]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda x: decode(lively, x, initial_state(lively), loop=loop)[0], pieces))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.state, other.state)
        np.testing.assert_array_equal(one.velocity, other.velocity)


def test_a_piece_does_not_depend_on_those_beside_it(
    lively: Par, loop: OpenVinoLoop, features: Features
) -> None:
    turned = Features(*(part.roll(40, dims=1) for part in features))
    both = Features(*(torch.cat(pair) for pair in zip(features, turned, strict=True)))
    state, found = initial_state(lively, 2), []
    for part in parts(both, 30):
        frames, state = decode_batch(lively, part, state, EAGER, loop=loop)
        found.append(frames)
    ends = []
    for piece, alone in enumerate((features, turned)):
        expected, end = decode(lively, alone, initial_state(lively), EAGER, loop=loop)
        ends.append(end)
        together = zip(*(frames[piece][:3] for frames in found), strict=True)
        for one, other in zip(together, expected[:3], strict=True):
            np.testing.assert_array_equal(np.concatenate(one), other)
    expected_last = [torch.cat(pair) for pair in zip(*(end.last for end in ends), strict=True)]
    torch.testing.assert_close([*state.last], expected_last, atol=0, rtol=0)
    for network in (0, 1):
        memories = (end.lstm[network] for end in ends)
        expected_memory = tuple(torch.cat(pair, dim=1) for pair in zip(*memories, strict=True))
        torch.testing.assert_close(state.lstm[network], expected_memory, atol=0, rtol=0)


@pytest.mark.parametrize(
    "changes", [{}, {"head": "full"}, {"pitchwise": False}, {"context": "state"}, {"context": "none"}]
)
def test_ablations_have_no_such_loop(changes: dict[str, object]) -> None:
    model = Par(replace(TINY.model, **changes)).eval()  # type: ignore[arg-type]
    expected = not changes or "head" in changes
    assert (compiled_loop(model) is not None) is expected


def test_where_the_loop_does_not_compile_pytorch_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no such operation\nand more")

    monkeypatch.setattr(openvino_decode, "compile_graph", broken)
    with pytest.warns(UserWarning, match=r"the loop over frames \(no such operation\); PyTorch takes"):
        assert compiled_loop(Par(TINY.model).eval()) is None
