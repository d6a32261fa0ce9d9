"""Notes to frames: rounding, repeated keys, windows, and the way back."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import spelled, states
from partranscribe.frames import Frames, NoteCollector
from partranscribe.note_array import NoteArray
from partranscribe.notes import HIGHEST_PITCH, LOWEST_PITCH, ONSET, PITCHES, REONSET, Note
from partranscribe.training.labels import (
    FrameLabels,
    context_labels,
    forgiving_labels,
    frame_labels,
)

FPS = 31.25
KEY = 60


def notes_at(*spans: tuple[float, float], pitch: int = KEY, velocity: float = 64) -> NoteArray:
    """Notes of one pitch, with times in frames."""
    rows = [(begin / FPS, end / FPS, pitch, velocity) for begin, end in spans]
    return np.array(rows, np.float64).reshape(-1, 4)


def row_of(notes: NoteArray, frames: int = 10, first: int = 0, pitch: int = KEY) -> str:
    """The states of one pitch, spelled as in `states`."""
    return spelled(frame_labels(notes, first, frames, FPS).state[:, pitch - LOWEST_PITCH])


def random_notes(seed: int, seconds: float = 60.0, gap: int = 3) -> NoteArray:
    """Notes on all keys, in the order of onsets; on one key `gap` frames or more lie between two of them."""
    rng = np.random.default_rng(seed)
    rows = []
    for pitch in range(LOWEST_PITCH, HIGHEST_PITCH + 1):
        time = rng.uniform(0, 3)
        while time < seconds:
            end = time + max(1 / FPS, rng.exponential(0.7))
            rows.append((time, end, pitch, float(rng.integers(1, 128))))
            time = end + gap / FPS + rng.exponential(2.0)
    return np.array(sorted(rows))


def overlapping_notes(seed: int, count: int = 400, seconds: float = 12.0) -> NoteArray:
    """Notes on six keys that overlap, touch and coincide at will, in the order of onsets."""
    rng = np.random.default_rng(seed)
    onsets = np.sort(rng.integers(0, int(seconds * FPS * 2), count)) / FPS / 2
    lengths = rng.choice((0.0, 0.01, 0.1, 0.5, 4.0), count)
    pitches, velocities = rng.integers(60, 66, count), rng.integers(1, 128, count)
    return np.stack((onsets, onsets + lengths, pitches, velocities), axis=1)


@pytest.mark.parametrize(
    ("begin", "end", "row"),
    [
        (2.0, 6.0, "..O===x..."),
        (2.49, 6.49, "..O===x..."),
        (1.51, 5.51, "..O===x..."),
        (2.51, 6.49, "...O==x..."),
        (0.0, 1.0, "Ox........"),
        (2.1, 2.3, "..Ox......"),  # both round to one frame: the onset keeps it
        (2.0, 2.0, "..Ox......"),
        (2.49, 2.51, "..Ox......"),
        (9.0, 20.0, ".........O"),
        (7.0, 10.0, ".......O=="),
        (9.6, 20.0, ".........."),
        (-3.0, 4.0, "====x....."),  # begun before the window
        (-3.0, 0.4, "x........."),
        (-3.0, -0.6, ".........."),
        (-9.0, 20.0, "=========="),
    ],
)
def test_times_are_rounded_and_the_offset_follows_the_note(begin: float, end: float, row: str) -> None:
    assert row_of(notes_at((begin, end))) == row


@pytest.mark.parametrize(
    ("spans", "row"),
    [
        ([(1, 4), (6, 8)], ".O==x.O=x."),
        ([(1, 4), (5, 8)], ".O==xO==x."),  # an offset frame between them: an onset
        ([(1, 4), (4, 8)], ".O==R===x."),  # touching: it sounded in the frame before
        ([(1, 7), (4, 6)], ".O==R=x..."),  # a re-onset ends the note before it
        ([(1, 4), (3, 8)], ".O=R====x."),
        ([(1, 9), (3, 4), (6, 8)], ".O=Rx.O=x."),
        ([(1, 1), (2, 2), (3, 3)], ".ORRx....."),
        ([(2, 6), (2, 6)], "..O===x..."),  # twice the same
        ([(2, 6), (2.2, 4)], "..O=x....."),
        ([(2, 4), (2.2, 6)], "..O===x..."),
        ([(0, 3), (3, 5), (3.1, 6)], "O==R==x..."),
        ([(-4, -1), (2, 4)], "..O=x....."),
        ([(-4, 2), (2, 4)], "==R=x....."),
        ([(-4, 0), (0, 2)], "R=x......."),
        ([(-4, 20), (-2, -1)], ".........."),  # ended before the window by a note within it
        ([(-4, 20), (-2, 3)], "===x......"),
    ],
)
def test_a_key_that_is_struck_again(spans: list[tuple[float, float]], row: str) -> None:
    assert row_of(notes_at(*spans)) == row


def test_the_velocity_stands_on_the_onset_frame_alone() -> None:
    notes = np.concatenate((notes_at((1, 4), velocity=127), notes_at((4, 8), velocity=32)))
    velocity = frame_labels(notes, 0, 10, FPS).velocity
    expected = np.zeros_like(velocity)
    expected[[1, 4], KEY - LOWEST_PITCH] = (1, 32 / 127)
    np.testing.assert_allclose(velocity, expected)


def test_of_two_notes_in_one_frame_the_later_counts() -> None:
    notes = np.concatenate((notes_at((1, 4), velocity=10), notes_at((1.2, 6), velocity=20)))
    labels = frame_labels(notes, 0, 10, FPS)
    assert spelled(labels.state[:, KEY - LOWEST_PITCH]) == ".O====x..."
    assert labels.velocity[1, KEY - LOWEST_PITCH] == np.float32(20 / 127)


def test_pitches_are_labelled_side_by_side_and_those_off_the_piano_not_at_all() -> None:
    parts = [notes_at((1, 3), pitch=pitch) for pitch in (20, 21, 60, 108, 109)]
    state = frame_labels(np.concatenate(parts), 0, 6, FPS).state
    assert np.flatnonzero(state.any(axis=0)).tolist() == [0, 39, 87]
    assert state.shape == (6, PITCHES)


def test_no_notes_are_silence() -> None:
    labels = frame_labels(notes_at(), 0, 5, FPS)
    assert not labels.state.any()
    assert not labels.velocity.any()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("make", [random_notes, overlapping_notes])
def test_a_window_is_cut_from_the_whole(make: object, seed: int) -> None:
    notes = random_notes(seed, 12.0) if make is random_notes else overlapping_notes(seed)
    whole = frame_labels(notes, 0, 400, FPS)
    for first in range(0, 380, 13):
        part = frame_labels(notes, first, 20, FPS)
        np.testing.assert_array_equal(part.state, whole.state[first : first + 20])
        np.testing.assert_array_equal(part.velocity, whole.velocity[first : first + 20])


@pytest.mark.parametrize("seed", range(3))
def test_labels_lead_back_to_their_notes(seed: int) -> None:
    notes = random_notes(seed)
    frames = int(80 * FPS)
    labels = frame_labels(notes, 0, frames, FPS)
    found = collected(labels)
    assert len(found) == len(notes) > 1000
    expected = by_pitch((int(pitch), onset, offset, round(loud)) for onset, offset, pitch, loud in notes)
    for pitch, rows in by_pitch(
        (note.pitch, note.onset, note.offset, note.velocity) for note in found
    ).items():
        times, truth = np.array(rows), np.array(expected[pitch])
        assert np.abs(times[:, :2] - truth[:, :2]).max() <= 0.5 / FPS + 1e-9
        np.testing.assert_array_equal(times[:, 2], truth[:, 2])


@pytest.mark.parametrize("seed", range(3))
def test_every_onset_label_begins_a_note_and_no_other(seed: int) -> None:
    labels = frame_labels(overlapping_notes(seed), 0, 600, FPS)
    begun = np.argwhere(np.isin(labels.state, (ONSET, REONSET)))
    found = {(round(note.onset * FPS), note.pitch - LOWEST_PITCH) for note in collected(labels)}
    assert found == {(frame, pitch) for frame, pitch in begun.tolist()}
    assert len(found) > 100


def collected(labels: FrameLabels) -> list[Note]:
    """The notes that decoding would make of these labels."""
    collector = NoteCollector(1 / FPS)
    ones = np.ones_like(labels.velocity)
    frames = Frames(labels.state, labels.velocity, ones, ones)
    return [*collector.push(frames), *collector.finish()]


def by_pitch(rows: object) -> dict[int, list[tuple[float, ...]]]:
    """Rows (pitch, onset, …) without their pitch, in the order of onsets."""
    sorted_rows: dict[int, list[tuple[float, ...]]] = defaultdict(list)
    for pitch, *values in sorted(rows):  # type: ignore[call-overload]
        sorted_rows[pitch].append(tuple(values))
    return sorted_rows


def labels_of(row: str, velocity: NDArray[np.float32] | None = None) -> FrameLabels:
    state = np.zeros((len(row), PITCHES), np.int8)
    state[:, KEY - LOWEST_PITCH] = states(row)
    return FrameLabels(state, np.full(state.shape, 0.5, np.float32) if velocity is None else velocity)


def test_the_context_is_that_of_the_frame_before_and_silence_at_first() -> None:
    context = context_labels(labels_of("O==xR=..=="), max_duration=10)
    key = KEY - LOWEST_PITCH
    assert spelled(context.state[:, key]) == ".O==xR=..="
    np.testing.assert_allclose(context.duration[:, key], np.array([0, 1, 2, 3, 0, 1, 2, 0, 0, 0]) / 10)
    np.testing.assert_allclose(context.velocity[:, key], np.array([0, 1, 1, 1, 0, 1, 1, 0, 0, 0]) / 2)
    assert not np.delete(context.state, key, axis=1).any()


def test_the_context_of_an_orphan_sustain_is_its_state_alone() -> None:
    context = context_labels(labels_of("===x==O=x="), max_duration=10)
    key = KEY - LOWEST_PITCH
    assert spelled(context.state[:, key]) == ".===x==O=x"
    np.testing.assert_allclose(context.duration[:, key], np.array([0, 0, 0, 0, 0, 0, 0, 1, 2, 0]) / 10)
    np.testing.assert_allclose(context.velocity[:, key], np.array([0, 0, 0, 0, 0, 0, 0, 1, 1, 0]) / 2)


def test_a_restart_counts_from_one_with_its_own_velocity() -> None:
    row = "O==R=O=x"
    velocity = np.zeros((len(row), PITCHES), np.float32)
    velocity[[0, 3, 5], KEY - LOWEST_PITCH] = (0.1, 0.2, 0.3)
    context = context_labels(labels_of(row, velocity), max_duration=10)
    key = KEY - LOWEST_PITCH
    np.testing.assert_allclose(context.duration[:, key], np.array([0, 1, 2, 3, 1, 2, 1, 2]) / 10)
    np.testing.assert_allclose(context.velocity[:, key], [0, 0.1, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3])


def test_the_duration_ends_at_its_maximum() -> None:
    context = context_labels(labels_of("O" + "=" * 200 + "x."), max_duration=157)
    duration = context.duration[:, KEY - LOWEST_PITCH]
    np.testing.assert_allclose(duration[1:202], np.minimum(np.arange(1, 202), 157) / 157, rtol=1e-6)
    assert duration[202] == 0


def test_context_has_the_types_that_training_stacks() -> None:
    context = context_labels(labels_of("O=x"), max_duration=157)
    assert [part.dtype for part in context] == [np.int8, np.float32, np.float32]
    assert all(part.shape == (3, PITCHES) for part in context)


@pytest.mark.parametrize(
    ("truth", "heard", "answer"),
    [
        ("..O====x..", "..O====x..", "..O====x.."),
        ("..O====x..", ".O=====x..", "..=====x.."),  # heard early: not asked for twice
        ("...O===x..", ".O=====x..", "..=====x.."),  # nor is it to end before it should have begun
        ("=xO====x..", "O======x..", "=======x.."),
        ("....O==x..", ".O=====x..", "....OR=x.."),  # too early to be the same: missed
        ("..O====x..", "...O===x..", "..OO===x.."),  # missed: made up for, then all is well
        ("..O====x..", "..........", "..OO===x.."),  # and no more than one frame late
        ("..Ox......", "..........", "..Ox......"),
        ("..OR===x..", "..OR===x..", "..OR===x.."),
        ("..O=R==x..", "..O=R==x..", "..O=R==x.."),  # struck again so soon: heard, not early
        (".O==R==x..", ".O==R==x..", ".O==R==x.."),
        (".O==R==x..", ".O=====x..", ".O==RR=x.."),
        (".O==R==x..", ".O=R===x..", ".O=====x.."),
        (".O==R==x..", "..........", ".OO=RO=x.."),
    ],
)
def test_an_answer_forgives_what_the_context_heard_early_or_missed(
    truth: str, heard: str, answer: str
) -> None:
    labels = FrameLabels(states(truth)[:, None], np.zeros((len(truth), 1), np.float32))
    wrong = FrameLabels(states(heard)[:, None], np.zeros((len(heard), 1), np.float32))
    context = context_labels(wrong, 157)
    assert spelled(forgiving_labels(labels, context, 157).state[:, 0]) == answer


def test_a_velocity_is_also_told_beside_its_onset() -> None:
    velocity = np.zeros((8, 1), np.float32)
    velocity[[2, 6], 0] = 0.25, 0.75
    velocity[7, 0] = 1.0
    labels = FrameLabels(states("..O=x.OO")[:, None], velocity)
    told = forgiving_labels(labels, context_labels(labels, 157), 157).velocity[:, 0]
    np.testing.assert_allclose(told, [0, 0.25, 0.25, 0.25, 0, 0.75, 0.75, 1.0])
