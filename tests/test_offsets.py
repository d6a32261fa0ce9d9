"""Offsets that are chosen with regard to all the others."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from partranscribe import offsets
from partranscribe.endings import BEFORE, FRAMES, Ending
from partranscribe.note_array import note_array
from partranscribe.notes import Note, in_order
from partranscribe.offsets import FEATURES, Choices
from partranscribe.units import Units
from synth import SECONDS_PER_FRAME, random_endings

PREFERS = 0.01  # what a linear unit of tanh is still linear for
SHARP = 3e3  # by which it is made one of all or nothing


def prefers(**weights: float) -> Units:
    """A network that weighs a choice by some features alone: which it is, or how far it is moved."""
    places = {"heard": 0, "previous": 1, "next": 5, "end": 8, "likeliest": 12, "second": 13, "moved": 14}
    weight = np.zeros((1, FEATURES), np.float32)
    for name, value in weights.items():
        weight[0, places[name]] = PREFERS * value
    return Units(weight, np.zeros(1, np.float32), np.full(1, SHARP, np.float32))


def heard(note: Note, *frames: tuple[int, float]) -> Ending:
    """What says that a note ends in some frames after the one it was heard to end in, with these logits."""
    logits = np.full(FRAMES, -20.0, np.float16)
    for frame, logit in frames:
        logits[BEFORE + frame] = logit
    return Ending(note.offset - BEFORE * SECONDS_PER_FRAME, SECONDS_PER_FRAME, logits)


def chosen(notes: list[Note], units: Units) -> list[Note]:
    """By a network that does not ask what is heard, which says that notes end where they were heard to."""
    return offsets.chosen(notes, {note.place: heard(note, (0, 5.0)) for note in notes}, units)


def ends(notes: list[Note]) -> list[float]:
    """Their offsets."""
    return [note.offset for note in notes]


def choices_of(notes: list[Note]) -> list[Choices]:
    """Whatever is heard of their ends."""
    return [*offsets.choices_of(note_array(notes), [*random_endings(notes).values()])]


def legato(late: float, count: int = 60) -> list[Note]:
    """A scale up and down whose notes end some seconds after the next ones begin."""
    keys = np.concatenate((np.arange(60, 72), np.arange(70, 60, -1)))
    return [Note(0.3 * i, 0.3 * (i + 1) + late, int(keys[i % len(keys)]), 64, 0.9) for i in range(count)]


def doubled(notes: list[Note]) -> list[Note]:
    """The same with a voice below: chords of two."""
    return in_order([*notes, *(replace(note, pitch=note.pitch - 27) for note in notes)])


def test_notes_may_end_where_others_begin() -> None:
    notes = doubled(legato(0.12))
    found = chosen(notes, prefers(previous=1.0))
    assert [note.offset for note in found[:-2]] == pytest.approx([note.onset for note in found[2:]])
    assert ends(found[-2:]) == pytest.approx(ends(notes[-2:]))  # no others begin while they last


def test_notes_may_end_later_than_they_were_heard_to() -> None:
    found = chosen(doubled(legato(-0.1)), prefers(next=1.0))
    assert [note.offset for note in found[:-2]] == pytest.approx([note.onset for note in found[2:]])


def test_only_offsets_change() -> None:
    notes = doubled(legato(0.12))
    found = chosen(notes, prefers(previous=1.0))
    assert found != notes
    assert [replace(note, offset=9e3) for note in found] == [replace(note, offset=9e3) for note in notes]


def test_a_network_that_prefers_what_was_heard_changes_nothing() -> None:
    notes = doubled(legato(0.12))
    assert chosen(notes, prefers(heard=1.0)) == notes
    assert chosen([], prefers(heard=1.0)) == []
    assert ends(chosen(notes[:1], prefers(moved=1.0))) == pytest.approx(ends(notes[:1]))


def test_notes_may_end_where_others_end_after_them() -> None:
    """What a pedal holds ends together, however soon it is silent."""
    ends = {40: 4.0, 45: 4.01, 50: 3.99, 90: 1.0}
    notes = [Note(0.0, end, pitch, 64, 0.9) for pitch, end in ends.items()]
    assert [note.offset for note in chosen(notes, prefers(end=1.0))] == [4.0, 4.01, 3.99, 4.0]
    again = [*notes, Note(2.0, 2.5, 90, 64, 0.9)]  # but not after its key is struck again
    assert [note.offset for note in chosen(again, prefers(end=1.0))] == [4.0, 4.01, 3.99, 1.0, 4.0]


def test_without_chords_each_note_ends_where_that_is_likeliest_alone() -> None:
    """However sure the network is of something else; a few chords are little more."""
    units, frames = prefers(previous=1.0), 3
    for chords, alone in ((0, True), (1, True), (4, False)):
        others = (replace(note, pitch=note.pitch - 27) for note in legato(0.12)[:chords])
        notes = in_order([*legato(0.12), *others])
        endings = {note.place: heard(note, (frames, 9.0)) for note in notes}
        found = offsets.chosen(notes, endings, units)
        later = [note.offset + frames * SECONDS_PER_FRAME for note in notes]
        assert ([note.offset for note in found] == pytest.approx(later)) == alone


@pytest.mark.parametrize("preference", [1.0, -1.0])
def test_a_key_is_let_go_before_it_is_struck_again(preference: float) -> None:
    rng = np.random.default_rng(0)
    begins = np.sort(rng.uniform(0, 60, 600))
    keys = rng.integers(55, 65, 600)
    notes = []
    for i, (begin, key) in enumerate(zip(begins, keys, strict=True)):
        later = begins[i + 1 :][keys[i + 1 :] == key]
        end = min(begin + rng.uniform(0.05, 2.0), later[0] if len(later) else np.inf)
        notes.append(Note(float(begin), float(end), int(key), int(rng.integers(20, 100))))
    found = chosen(notes, prefers(moved=preference))
    assert sum(one != other for one, other in zip(found, notes, strict=True)) > 100
    for key in set(keys.tolist()):
        of_key = [note for note in found if note.pitch == key]
        assert all(one.offset <= other.onset for one, other in pairwise(of_key))
        assert all(note.offset > note.onset for note in of_key)


def test_notes_are_weighed_alike_however_many_are_weighed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    notes = legato(0.12, 300)
    monkeypatch.setattr("partranscribe.offsets._TOGETHER", 300)
    (whole,) = choices_of(notes)
    monkeypatch.setattr("partranscribe.offsets._TOGETHER", 7)
    parts = choices_of(notes)
    assert len(parts) == 43
    for name, values in whole._asdict().items():
        found = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_allclose(found, values, rtol=1e-6, atol=1e-6)


def test_what_tells_of_a_recording_tells_late_dampers() -> None:
    """The same of all its notes: how many end at a beginning, and how many how late."""

    def of_recording(notes: list[Note]) -> NDArray[np.float32]:
        (choices,) = choices_of(notes)
        of_all = choices.of_note[:, 12:]
        np.testing.assert_array_equal(of_all, np.broadcast_to(of_all[0], of_all.shape))
        last: NDArray[np.float32] = of_all[0]
        return last

    prompt, late = of_recording(legato(0.0)), of_recording(legato(0.13))
    assert prompt[1] > 0.95
    assert late[1] < 0.05  # share of offsets at beginnings
    assert late[6 + 2] < 0.05 < 0.8 < late[6 + 3]  # share that is 0.03 to 0.12, and to 0.15 s late


def test_what_tells_of_a_recording_tells_keys_that_are_struck_again_at_once() -> None:
    """Within 0.2, 0.4, 0.8 and 2 s: five notes of others are added."""
    notes = [Note(0.3 * i, 0.3 * i + (0.3 if i < 30 else 0.2), 60, 64, 0.9) for i in range(61)]
    (choices,) = choices_of(notes)
    assert choices.of_note[0, 12 + 15 :][:4] == pytest.approx([0, 30 / 65, 0, 0])


def test_notes_may_end_where_that_is_likeliest_by_what_is_heard() -> None:
    """Between two frames that are as likely, and as the second choice elsewhere."""
    first, second, last = notes = [Note(0.5 * i, 0.5 * i + 0.6, 60 + i, 64) for i in range(3)]
    endings = [heard(first, (3, 2.0), (4, 2.0), (10, 1.0)), heard(second, (-3, 9.0)), heard(last, (0, 5.0))]
    (choices,) = offsets.choices_of(note_array(notes), endings)
    moved = (choices.seconds - choices.seconds[:, :1])[:, 12:] / SECONDS_PER_FRAME
    np.testing.assert_allclose(moved[0], [3.5, 10], atol=1e-4)
    np.testing.assert_allclose(moved[1:, 0], [-3, 0], atol=1e-4)
    assert choices.possible[:, 12].all()


def test_a_choice_is_told_how_likely_it_is_by_what_is_heard() -> None:
    """Within 50 ms, beside the likeliest, and how likely the note has ended before."""
    note = Note(0.0, 1.0, 60, 64)
    (choices,) = offsets.choices_of(note_array([note]), [heard(note, (0, np.log(3.0)), (10, np.log(7.0)))])
    about, below, until = choices.features[0, :, -3:].T
    np.testing.assert_allclose(about[[0, 12, 13]], np.log([0.303, 0.703, 0.303]), atol=1e-3)
    np.testing.assert_allclose(below, about - about[12], atol=1e-6)
    np.testing.assert_allclose(until[[0, 12, 13]], [0.15, 0.65, 0.15], atol=1e-3)
    np.testing.assert_allclose(choices.of_note[0, 10:12], about[[0, 12]], atol=1e-6)
    np.testing.assert_allclose(choices.alone[0, [0, 12, 13]], [0.303, 0.703, 0.303], atol=1e-3)
    assert not choices.alone[0, 1:12].any()  # nothing else begins or ends
    of_all = [about[0], 10 * SECONDS_PER_FRAME, 0, 0]  # the mean and the deviation of all notes
    np.testing.assert_allclose(choices.of_note[0, -4:], of_all, atol=1e-4)


def test_no_end_is_likely_before_the_note_or_after_it_is_struck_again() -> None:
    note = Note(0.5, 1.0, 60, 64)
    again = Note(1.0 + 5 * SECONDS_PER_FRAME, 3.0, 60, 64)
    endings = [heard(note, (-20, 9.0), (2, 1.0), (30, 9.0)), heard(again, (0, 1.0))]
    likely = np.exp(offsets.weighed(endings, np.array([0.5, again.onset]), np.array([again.onset, np.inf])))
    np.testing.assert_allclose(likely.sum(axis=1), 1)
    np.testing.assert_allclose(likely[:, [BEFORE, BEFORE + 2]], [[0, 1], [1, 0]], atol=1e-6)
    (choices,) = offsets.choices_of(note_array([note, again]), endings)
    assert choices.seconds[0, 12] == pytest.approx(1.0 + 2 * SECONDS_PER_FRAME)


def test_likelihoods_beyond_what_was_looked_at_are_none() -> None:
    """A note whose key seemed to be struck again may last far longer than what was heard of its end."""
    note = Note(0.0, 9.0, 60, 64)
    ending = heard(replace(note, offset=1.0), (0, 5.0))
    (choices,) = offsets.choices_of(note_array([note]), [ending])
    about, _, until = choices.features[0, 0, -3:]
    assert about == pytest.approx(np.log(0.003), abs=1e-3)
    assert until == pytest.approx(1.0)
    assert choices.seconds[0, 12] == pytest.approx(1.0)
