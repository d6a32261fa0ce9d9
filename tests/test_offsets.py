"""Offsets that are chosen with regard to all the others."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from partranscribe.note_array import note_array
from partranscribe.notes import Note, in_order
from partranscribe.offsets import FEATURES, OffsetNetwork, choices_of, chosen, entered_probability
from partranscribe.rhythm import RHYTHM_FEATURES
from partranscribe.units import Units

PREFERS = 0.01  # what a linear unit of tanh is still linear for
SHARP = 3e3  # by which it is made one of all or nothing


def sure(log_odds: float) -> Units:
    """What takes every recording for one whose piece was entered, or for a performance."""
    bias, output = np.full(1, 9.0, np.float32), np.full(1, log_odds, np.float32)
    return Units(np.zeros((1, RHYTHM_FEATURES), np.float32), bias, output)


def prefers(log_odds: float = 30.0, **weights: float) -> OffsetNetwork:
    """A network that weighs a choice by some features alone: earlier, heard, or how far it is moved."""
    places = {"heard": 0, "previous": 1, "next": 5, "moved": 8}
    weight = np.zeros((1, FEATURES), np.float32)
    for name, value in weights.items():
        weight[0, places[name]] = PREFERS * value
    sharp = np.full(1, SHARP, np.float32)
    return OffsetNetwork(Units(weight, np.zeros(1, np.float32), sharp), sure(log_odds))


def legato(late: float, count: int = 60) -> list[Note]:
    """A scale up and down whose notes end some seconds after the next ones begin."""
    keys = np.concatenate((np.arange(60, 72), np.arange(70, 60, -1)))
    return [Note(0.3 * i, 0.3 * (i + 1) + late, int(keys[i % len(keys)]), 64, 0.9) for i in range(count)]


def doubled(notes: list[Note], later: float = 0.0) -> list[Note]:
    """The same with a voice below that begins some seconds later and ends with it: chords of two."""
    below = (replace(note, onset=note.onset + later, pitch=note.pitch - 27) for note in notes)
    return in_order([*notes, *below])


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


def test_performances_keep_the_ends_that_were_heard() -> None:
    notes = doubled(legato(0.12))
    assert chosen(notes, prefers(log_odds=-30.0, previous=1.0)) == notes
    assert chosen(notes, prefers(log_odds=-0.5, previous=1.0)) == notes  # where that is likelier, too
    assert chosen(notes, prefers(log_odds=0.5, previous=1.0)) != notes


def test_without_chords_nothing_is_known() -> None:
    """However sure the network is; a few chords are little more."""
    notes = legato(0.12)
    assert entered_probability(note_array(notes), sure(30.0)) == 0
    assert chosen(notes, prefers(previous=1.0)) == notes
    for chords in (6, 54):
        few = in_order([*notes, *doubled(notes)[: 2 * chords][1::2]])
        assert entered_probability(note_array(few), sure(30.0)) == pytest.approx(chords / (chords + 6))


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
    table = note_array(legato(0.12, 300))
    (whole,) = choices_of(table)
    monkeypatch.setattr("partranscribe.offsets._TOGETHER", 7)
    parts = [*choices_of(table)]
    assert len(parts) == 43
    for name, values in whole._asdict().items():
        np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), values)


def test_what_tells_of_a_recording_tells_late_dampers() -> None:
    """Features of all its choices: how many notes end at a beginning, and how many how late."""

    def of_recording(notes: list[Note]) -> NDArray[np.float32]:
        (choices,) = choices_of(note_array(notes))
        last: NDArray[np.float32] = choices.features[0, 0, -15:]
        np.testing.assert_array_equal(
            choices.features[..., -15:], np.broadcast_to(last, (*choices.possible.shape, 15))
        )
        return last

    prompt, late = of_recording(legato(0.0)), of_recording(legato(0.13))
    assert prompt[1] > 0.95
    assert late[1] < 0.05  # share of offsets at beginnings
    assert late[6 + 2] < 0.05 < 0.8 < late[6 + 3]  # share that is 0.03 to 0.12, and to 0.15 s late
