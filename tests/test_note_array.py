"""Notes as an array: rows in order, and the strikes that follow."""

from __future__ import annotations

import numpy as np

from partranscribe.note_array import listed, next_strikes, note_array
from partranscribe.notes import Note


def test_a_note_is_a_row() -> None:
    rows = note_array([Note(0.5, 1.0, 60, 64), Note(1.0, 3.0, 40, 100)])
    assert rows.tolist() == [[0.5, 1.0, 60, 64], [1.0, 3.0, 40, 100]]
    assert note_array([]).shape == (0, 4)


def test_the_rows_are_the_notes_again() -> None:
    notes = [Note(0.5, 1.0, 60, 64), Note(1.0, 3.0, 40, 100)]
    assert listed(note_array(notes)) == notes
    assert listed(note_array([])) == []


def test_the_next_strike_is_of_the_same_key() -> None:
    notes = np.array([(0.0, 0.5, 60, 64), (1.0, 1.5, 62, 64), (2.0, 2.5, 60, 64), (3.0, 3.5, 60, 64)])
    assert next_strikes(notes).tolist() == [2.0, np.inf, 3.0, np.inf]
