"""Notes that were heard and are not there, told by the notes around them.

The network decides on each note as it comes, and of many it is unsure: an upper partial of a loud note, a key
that seems to be struck again, a string that rings with others. How probable such a note is shows better when
all of a recording were heard: by how loud and how long it is, what else of its chord sounds and begins, and
whether it is where the rhythm and the voices have a place for it. A small network, trained on what a trained
network decodes, says so. This is not of the paper.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .dynamics import evened
from .note_array import OFFSET_COLUMN, ONSET_COLUMN, VELOCITY_COLUMN, next_strikes, note_array
from .notes import Note
from .rhythm import NEAR
from .units import Units
from .velocities import SURROUNDINGS, features_of_surroundings

_SHORT = 0.03  # seconds, added to those of which logarithms are taken
_LONGEST = 2.0  # seconds until the key is struck again that count at most
_SURE = 0.9999  # a confidence from which on the network is as sure as it can be
_UNSURE = 0.4  # log-odds against a note by which it is kept still: most recordings are easier than passages

GHOST_FEATURES = SURROUNDINGS + 4
"""Numbers by which it is told whether a note is there."""


def without_ghosts(notes: Sequence[Note], units: Units) -> list[Note]:
    """The notes but for those that are likelier not there than there, by odds of three to two and more.

    A note that was cut where its key seemed to be struck again lasts as long as what is left out. Time and
    memory are in proportion to the notes.

    Args:
        notes: of one recording, by onset, as they were heard, no two of one pitch overlapping; nor will they
            afterwards.
        units: of the checkpoint that they were transcribed with, of GHOST_FEATURES.
    """
    if not notes:
        return []
    logits = np.concatenate([units.sum(part) for part in features_of_ghosts(notes)])
    found: list[Note] = []
    last: dict[int, int] = {}  # where the last note of each pitch is in `found`
    for note, is_there in zip(notes, (logits > -_UNSURE).tolist(), strict=True):
        place = last.get(note.pitch)
        if is_there:
            last[note.pitch] = len(found)
            found.append(note)
        elif place is not None and note.onset - found[place].offset <= NEAR:
            found[place] = replace(found[place], offset=note.offset)
    return found


def features_of_ghosts(notes: Sequence[Note]) -> Iterator[NDArray[np.float32]]:
    """What tells whether notes are there, some of them at a time: (notes, GHOST_FEATURES).

    Args:
        notes: one at least, by onset, as they were heard.
    """
    table, confidence = note_array(notes), np.array([note.confidence for note in notes])
    lengths = table[:, OFFSET_COLUMN] - table[:, ONSET_COLUMN]
    until_strike = next_strikes(table) - table[:, OFFSET_COLUMN]
    confidence = confidence.clip(1 - _SURE, _SURE)
    odds = np.log(confidence / (1 - confidence))
    usual = np.full(len(notes), np.median(odds))
    columns = (odds, np.log(_SHORT + lengths), until_strike.clip(max=_LONGEST), usual)
    own = np.stack(columns, axis=1).astype(np.float32)
    first = 0
    for part in features_of_surroundings(table, note_array(evened(notes))[:, VELOCITY_COLUMN]):
        last = first + len(part)
        yield np.hstack((part, own[first:last]))
        first = last
