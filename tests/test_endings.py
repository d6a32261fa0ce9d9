"""What is heard around the ends of notes is looked at alike, however a recording comes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from conftest import TINY
from partranscribe.endings import (
    AFTER,
    BEFORE,
    BESIDE,
    FRAMES,
    Ending,
    EndingMeter,
    endings_of,
    ends_heard,
    first_frames,
    windows_of,
)
from partranscribe.model import Par, weights_of
from partranscribe.notes import LOWEST_PITCH, PITCHES, Note, Place
from partranscribe.torch_engine import TorchEngine
from partranscribe.windows import NumpyArrays
from synth import SECONDS_PER_FRAME as FRAME
from synth import ending_network

HIDDEN = 6
NETWORK = ending_network(5, HIDDEN)
NUMPY = NumpyArrays()


def some_features(frames: int = 400) -> NDArray[np.float32]:
    shape = (frames, PITCHES, HIDDEN)
    return np.random.default_rng(0).normal(0, 1, shape).astype(np.float32).clip(min=0)


def some_notes(count: int = 60, seconds: float = 400 * FRAME) -> list[Note]:
    """Of many keys, from the first frame to the last, no two of one key overlapping."""
    rng = np.random.default_rng(1)
    onsets = [0.0, *np.sort(rng.uniform(0, seconds - 0.1, count - 2)).tolist(), seconds - 0.05]
    ends = [min(onset + float(rng.uniform(0, 3)), seconds) for onset in onsets]
    keys = LOWEST_PITCH + rng.permutation(PITCHES)[:count]
    return [Note(onset, end, int(key), 64) for onset, end, key in zip(onsets, ends, keys, strict=True)]


def assert_same(found: dict[Place, Ending], wanted: dict[Place, Ending]) -> None:
    assert found.keys() == wanted.keys()
    for place, ending in wanted.items():
        assert found[place].first == ending.first
        assert found[place].seconds_per_frame == ending.seconds_per_frame
        np.testing.assert_array_equal(found[place].logits, ending.logits)


def test_what_is_looked_at_is_what_is_said_of_the_pitch_around_its_end() -> None:
    features, note = some_features(), Note(50 * FRAME, 100.4 * FRAME, 60, 64)
    (window,) = windows_of(features[10:], 10, [note], FRAME, NUMPY)
    assert window.shape == (FRAMES, HIDDEN + BESIDE)
    np.testing.assert_array_equal(window[:, :HIDDEN], features[69 : 69 + FRAMES, 60 - LOWEST_PITCH])
    there, begun, moved = window[:, HIDDEN:].T
    np.testing.assert_array_equal(there, 1)
    np.testing.assert_array_equal(begun, 1)
    assert moved[0] == -1
    assert moved[BEFORE] == 0


def test_what_is_before_a_note_and_outside_of_the_recording_is_told() -> None:
    features = some_features(30)
    early, late = Note(5 * FRAME, 8 * FRAME, 60, 64), Note(20 * FRAME, 29 * FRAME, 61, 64)
    windows = windows_of(features, 0, [early, late], FRAME, NUMPY)
    there = windows[:, :, HIDDEN] == 1
    assert [*np.flatnonzero(there[0])] == [*range(BEFORE - 8, BEFORE + 22)]
    assert [*np.flatnonzero(there[1])] == [*range(2, BEFORE + 1)]
    assert not windows[:, :, :HIDDEN][~there].any()
    assert [*np.flatnonzero(windows[0, :, HIDDEN + 1] == 0)] == [*range(BEFORE - 3)]


def test_a_network_is_three_convolutions() -> None:
    """As PyTorch computes them."""
    windows = np.random.default_rng(0).normal(0, 1, (3, FRAMES, HIDDEN + BESIDE)).astype(np.float32)
    hidden = torch.from_numpy(windows).transpose(1, 2)
    for layer, dilation in (("first", 1), ("second", 2), ("third", 4)):
        weight, bias = (torch.from_numpy(getattr(NETWORK, f"{layer}{part}")) for part in ("", "_bias"))
        weight = weight.permute(2, 1, 0)
        hidden = torch.conv1d(hidden, weight, bias, padding=2 * dilation, dilation=dilation).relu()
    wanted = torch.einsum("ncf,c->nf", hidden, torch.from_numpy(NETWORK.output)).numpy()
    found = NETWORK.logits(windows, NUMPY)
    assert found.shape == (3, FRAMES)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_notes_are_looked_at_alike_however_many_are_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    features, notes = some_features(), some_notes()
    whole = endings_of(NETWORK, features, notes, FRAME)
    monkeypatch.setattr("partranscribe.endings._TOGETHER", 7)
    assert_same(endings_of(NETWORK, features, notes, FRAME), whole)


@pytest.mark.parametrize("frames", [1, 37, 128, 1000])
@pytest.mark.parametrize("engine", ["numpy", "torch"])
def test_endings_do_not_depend_on_where_a_recording_is_cut(frames: int, engine: str, lively: Par) -> None:
    features, notes = some_features(), some_notes()
    torch_engine = TorchEngine(TINY, weights_of(lively), None, "cpu", None)
    meter = EndingMeter(NETWORK, FRAME, NUMPY if engine == "numpy" else torch_engine)
    most = 0
    for first in range(0, len(features), frames):
        part = features[first : first + frames]
        before, until = ((min(frame, 400) - 1) * FRAME for frame in (first, first + frames))
        before = before if first else -1.0
        ended = [note for note in notes if before <= note.offset < until]
        meter.take(part if engine == "numpy" else torch.from_numpy(part), ended, until)
        assert meter._features is not None
        most = max(most, len(meter._features))
    found = meter.finish([note for note in notes if note.offset >= until])
    whole = endings_of(NETWORK, features, notes, FRAME)
    assert most <= BEFORE + AFTER + 4 + frames
    if engine == "numpy":
        assert_same(found, whole)
        return
    for place, ending in whole.items():
        np.testing.assert_allclose(found[place].logits, ending.logits, rtol=2e-3, atol=2e-3)


def test_times_are_those_of_the_recording() -> None:
    features, notes = some_features(), some_notes()
    meter = EndingMeter(NETWORK, FRAME, NUMPY, start=2.5)
    meter.take(features, [], 0.0)
    found, whole = meter.finish(notes), endings_of(NETWORK, features, notes, FRAME)
    for note in notes:
        ending = found[2.5 + note.onset, note.pitch]
        assert ending.first == pytest.approx(2.5 + whole[note.place].first)
        np.testing.assert_array_equal(ending.logits, whole[note.place].logits)


def test_without_frames_nothing_is_told() -> None:
    assert EndingMeter(NETWORK, FRAME, NUMPY).finish([]) == {}
    assert endings_of(NETWORK, some_features(), [], FRAME) == {}


def test_what_is_heard_is_kept_in_half_precision_for_what_learns_from_it() -> None:
    features, notes = some_features(), some_notes()
    found = ends_heard(features, notes, FRAME)
    assert found.keys() == {note.place for note in notes}
    windows = windows_of(features, 0, notes, FRAME, NUMPY)
    for note, window, first in zip(notes, windows, first_frames(notes, FRAME), strict=True):
        assert found[note.place].first == first
        np.testing.assert_array_equal(found[note.place].window, window.astype(np.float16))


def test_what_is_said_long_after_an_end_counts() -> None:
    """And what is further away than the layers reach does not."""
    features, note = some_features(), Note(150 * FRAME, 200 * FRAME, 60, 64)
    changed = features.copy()
    changed[265, 60 - LOWEST_PITCH] += 1.0
    one, other = (endings_of(NETWORK, of, [note], FRAME)[note.place] for of in (features, changed))
    differs = np.flatnonzero(one.logits != other.logits)
    assert differs.min() >= FRAMES - 1 - 2 * (1 + 2 + 4)
    assert differs.max() == FRAMES - 1
