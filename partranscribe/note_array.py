"""Notes as an array, for what is done to all of them at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .notes import Note

ONSET_COLUMN, OFFSET_COLUMN, PITCH_COLUMN, VELOCITY_COLUMN = range(4)

NoteArray = NDArray[np.float64]
"""(notes, 4): onset and offset in seconds, MIDI pitch, MIDI velocity; in the order of onsets."""


def note_array(notes: Sequence[Note]) -> NoteArray:
    """Notes as rows of onset, offset, pitch and velocity."""
    rows = [(note.onset, note.offset, note.pitch, note.velocity) for note in notes]
    return np.array(rows, np.float64).reshape(-1, 4)


def listed(notes: NoteArray) -> list[Note]:
    """The rows as notes, in their order."""
    return [
        Note(onset, offset, int(pitch), int(velocity)) for onset, offset, pitch, velocity in notes.tolist()
    ]


def next_strikes(notes: NoteArray) -> NDArray[np.float64]:
    """When the key of each note is struck again, or infinity: (notes,)."""
    order = np.lexsort((notes[:, ONSET_COLUMN], notes[:, PITCH_COLUMN]))
    onsets, pitches = notes[order, ONSET_COLUMN], notes[order, PITCH_COLUMN]
    strikes = np.full(len(notes), np.inf)
    again = np.flatnonzero(pitches[1:] == pitches[:-1])
    strikes[order[again]] = onsets[again + 1]
    return strikes
