"""Offsets that are chosen with regard to all the others."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from partranscribe import offsets
from partranscribe.note_array import note_array
from partranscribe.notes import Note, in_order
from partranscribe.offsets import FEATURES, Choices
from partranscribe.releases import FRAMES, HOP, LEVELS, Release
from partranscribe.units import Units
from synth import random_releases

PREFERS = 0.01  # what a linear unit of tanh is still linear for
SHARP = 3e3  # by which it is made one of all or nothing


def prefers(**weights: float) -> Units:
    """A network that weighs a choice by some features alone: which it is, or how far it is moved."""
    places = {"heard": 0, "previous": 1, "next": 5, "end": 8, "moved": 12}
    weight = np.zeros((1, FEATURES), np.float32)
    for name, value in weights.items():
        weight[0, places[name]] = PREFERS * value
    return Units(weight, np.zeros(1, np.float32), np.full(1, SHARP, np.float32))


def chosen(notes: list[Note], units: Units) -> list[Note]:
    """By a network that asks for no levels, whatever these are."""
    return offsets.chosen(notes, random_releases(notes), units)


def choices_of(notes: list[Note]) -> list[Choices]:
    """However they fall."""
    return [*offsets.choices_of(note_array(notes), [*random_releases(notes).values()])]


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
    assert found[-2:] == notes[-2:]  # no others begin while they last


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
    assert chosen(notes[:1], prefers(moved=1.0)) == notes[:1]


def test_notes_may_end_where_others_end_after_them() -> None:
    """What a pedal holds ends together, however soon it is silent."""
    ends = {40: 4.0, 45: 4.01, 50: 3.99, 90: 1.0}
    notes = [Note(0.0, end, pitch, 64, 0.9) for pitch, end in ends.items()]
    assert [note.offset for note in chosen(notes, prefers(end=1.0))] == [4.0, 4.01, 3.99, 4.0]
    again = [*notes, Note(2.0, 2.5, 90, 64, 0.9)]  # but not after its key is struck again
    assert [note.offset for note in chosen(again, prefers(end=1.0))] == [4.0, 4.01, 3.99, 1.0, 4.0]


def test_without_chords_nothing_is_known() -> None:
    """However sure the network is; a few chords are little more."""
    notes = legato(0.12)
    units = prefers(previous=1.0)
    assert chosen(notes, units) == notes
    for chords, moves in ((1, False), (2, False), (4, True)):
        some = in_order([*notes, *(replace(note, pitch=note.pitch - 27) for note in notes[:chords])])
        assert (chosen(some, units) != some) == moves


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
        of_all = choices.of_note[:, 10:]
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
    assert choices.of_note[0, 10 + 15 :][:4] == pytest.approx([0, 30 / 65, 0, 0])


def test_an_end_is_told_by_how_the_note_falls_there() -> None:
    """And all of them by how notes fall where they were heard to end, on the mean."""
    notes, last = [Note(0.0, 1.0, 60, 64), Note(0.5, 2.0, 62, 64)], len(offsets._FALLS) * LEVELS
    levels = np.arange(FRAMES)[:, None] + np.array([0, -20, -40])
    releases = [Release(note.offset - 1.0, levels.astype(np.int8)) for note in notes]
    (choices,) = offsets.choices_of(note_array(notes), releases)
    at_end = (1.0 + offsets._FALLS[:, None]) / HOP + [
        0,
        -20,
        -40,
    ]  # as each is heard a second after the first
    np.testing.assert_allclose(choices.features[:, 0, -last:] * 20, [at_end.ravel()] * 2, rtol=1e-5)
    np.testing.assert_allclose(choices.of_note[:, -last:] * 20, [at_end.ravel()] * 2, rtol=1e-5)
    assert choices.seconds[1, 1] == choices.seconds[1, 0]  # no beginning to move it back to
