"""Offsets that are chosen with regard to all the others."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from partranscribe.note_array import note_array
from partranscribe.notes import Note
from partranscribe.offsets import FEATURES, OffsetNetwork, choices_of, chosen

PREFERS = 0.01  # what a linear unit of tanh is still linear for


def prefers(**weights: float) -> OffsetNetwork:
    """A network that weighs a choice by some features alone: earlier, heard, or how far it is moved."""
    places = {"heard": 0, "previous": 1, "next": 5, "moved": 8}
    weight = np.zeros((1, FEATURES), np.float32)
    for name, value in weights.items():
        weight[0, places[name]] = PREFERS * value
    return OffsetNetwork(weight, np.zeros(1, np.float32), np.ones(1, np.float32))


def legato(late: float, count: int = 60) -> list[Note]:
    """A scale up and down whose notes end some seconds after the next ones begin."""
    keys = np.concatenate((np.arange(60, 72), np.arange(70, 60, -1)))
    return [Note(0.3 * i, 0.3 * (i + 1) + late, int(keys[i % len(keys)]), 64, 0.9) for i in range(count)]


def test_notes_may_end_where_others_begin() -> None:
    found = chosen(legato(0.12), prefers(previous=1.0))
    onsets = [note.onset for note in found]
    assert [note.offset for note in found[:-1]] == pytest.approx(onsets[1:])
    assert found[-1].offset == pytest.approx(legato(0.12)[-1].offset)  # no other begins while it lasts


def test_notes_may_end_later_than_they_were_heard_to() -> None:
    found = chosen(legato(-0.1), prefers(next=1.0))
    assert [note.offset for note in found[:-1]] == pytest.approx([note.onset for note in found[1:]])


def test_only_offsets_change() -> None:
    notes = legato(0.12)
    found = chosen(notes, prefers(previous=1.0))
    assert found != notes
    assert [replace(note, offset=9e3) for note in found] == [replace(note, offset=9e3) for note in notes]


def test_a_network_that_prefers_what_was_heard_changes_nothing() -> None:
    notes = legato(0.12)
    assert chosen(notes, prefers(heard=1.0)) == notes
    assert chosen([], prefers(heard=1.0)) == []
    assert chosen(notes[:1], prefers(moved=1.0)) == notes[:1]


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


def test_what_tells_of_a_recording_tells_late_dampers_and_chords_apart() -> None:
    """The features of all choices of a recording: how exact chords are, and how many notes end how late."""

    def summary(notes: list[Note]) -> NDArray[np.float32]:
        (choices,) = choices_of(note_array(sorted(notes, key=lambda note: (note.onset, note.pitch))))
        last: NDArray[np.float32] = choices.features[0, 0, -17:]
        np.testing.assert_array_equal(
            choices.features[..., -17:], np.broadcast_to(last, (*choices.possible.shape, 17))
        )
        return last

    prompt, late = summary(legato(0.0)), summary(legato(0.13))
    assert prompt[3] > 0.95
    assert late[3] < 0.05  # share of offsets at beginnings
    assert late[8 + 2] < 0.05 < 0.8 < late[8 + 3]  # share that is 0.03 to 0.12, and to 0.15 s late
    exact = [*legato(0.0), *(replace(note, pitch=note.pitch - 24) for note in legato(0.0))]
    loose = [
        *legato(0.0),
        *(replace(note, onset=note.onset + 0.02, pitch=note.pitch - 24) for note in legato(0.0)),
    ]
    # The median of gaps in chords and their mean, six of 10 ms among them: of few chords nothing can be told.
    for notes, median, mean in (
        (exact, 0.0, 6 * 0.01 / 66),
        (loose, 0.02, (60 * 0.02 + 6 * 0.01) / 66),
        (legato(0.0), 0.01, 0.01),
    ):
        assert summary(notes)[:2] == pytest.approx(np.log([0.001 + median, 0.001 + mean]), abs=1e-4)
