"""Velocities of a recording, each made likelier by all the others.

How hard a key was struck is heard with errors: of the moment, and of the piano, of which some keys and some
registers sound louder than others when struck alike. So what is heard of a note is taken as

    mean of the recording + phrase + chord + own + (key + register + moment)

with the errors in brackets. All are normally distributed; notes that are near each other in time and in pitch
are of a phrase and about as loud, those of a chord whatever their pitch, and the error of a key or of a
register stays the same throughout. The velocity that is expected, given all that was heard, is a regression
with a Gaussian process. This is not of the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .note_array import ONSET_COLUMN, PITCH_COLUMN, VELOCITY_COLUMN, NoteArray, note_array
from .notes import LOWEST_PITCH, PITCHES, Note
from .rhythm import beginnings_of

# Standard deviations in MIDI velocity, and how far apart notes are that have little to do with each other.
# Chosen on recordings that calibrate decoding; see docs/training-log.md.
_PHRASE, _PHRASE_SECONDS, _PHRASE_SEMITONES = 8.0, 5.0, 7.0
_CHORD = 2.0
_OWN = 3.0
_KEY = 2.5
_REGISTER, _REGISTER_SEMITONES = 1.0, 12.0
_MOMENT = 2.5

# Notes that share phrases, while all of a recording share the errors of their keys. NumPy solves equations so
# few on one thread; several would wait for each other while the cores have other work.
_TOGETHER = 80

_Floats = NDArray[np.floating]


def evened(notes: Sequence[Note]) -> list[Note]:
    """The same notes with the velocities that are expected where these were heard.

    Time and memory are in proportion to the notes, some 25 ms for those of five minutes.

    Args:
        notes: of one recording, by onset.
    """
    if not notes:
        return []
    table = note_array(notes)
    mean = table[:, VELOCITY_COLUMN].mean()
    parts = [_Part.of(some, mean) for some in np.array_split(table, -(-len(table) // _TOGETHER))]
    errors = _errors_of_keys(parts)
    expected = mean + np.concatenate([part.expected(errors) for part in parts])
    velocities = np.clip(np.round(expected), 1, 127).astype(int).tolist()
    return [replace(note, velocity=velocity) for note, velocity in zip(notes, velocities, strict=True)]


class _Part(NamedTuple):
    """Notes next to each other, solved for the covariance of what is heard of them but for errors of keys.

    Args:
        heard: how much louder than the mean: (notes,).
        keys: which there are, from 0 for the lowest: (keys,).
        key: which of them each note is of: (notes,).
        solved: the inverse of the covariance times `heard`, and times what is 1 where a note is of a key and
            else 0: (notes, 1 + keys).
    """

    heard: _Floats
    keys: NDArray[np.intp]
    key: NDArray[np.intp]
    solved: _Floats

    @classmethod
    def of(cls, table: NoteArray, mean: float) -> _Part:
        """The rows of some notes, and the mean velocity of all."""
        heard = table[:, VELOCITY_COLUMN] - mean
        keys, key = np.unique(table[:, PITCH_COLUMN].astype(int) - LOWEST_PITCH, return_inverse=True)
        seconds = _distances(table[:, ONSET_COLUMN]) / _PHRASE_SECONDS
        semitones = _distances(table[:, PITCH_COLUMN]) / _PHRASE_SEMITONES
        covariance = _PHRASE**2 * np.exp(-seconds - semitones**2 / 2)
        chord = beginnings_of(table[:, ONSET_COLUMN]).group
        covariance += _CHORD**2 * (chord[:, None] == chord)
        covariance[np.diag_indices_from(covariance)] += _OWN**2 + _MOMENT**2
        solved = np.linalg.solve(covariance, np.column_stack((heard, np.eye(len(keys))[key])))
        return cls(heard, keys, key, solved)

    def expected(self, errors: _Floats) -> _Floats:
        """How much louder than the mean the notes are: what is heard, without the errors of keys and moments.

        Args:
            errors: of each key of a piano, in velocity: (pitches,).
        """
        own = errors[self.keys]
        moments = _MOMENT**2 * (self.solved[:, 0] - (self.solved[:, 1:] * own).sum(axis=1))
        expected: _Floats = self.heard - own[self.key] - moments
        return expected


def _errors_of_keys(parts: Sequence[_Part]) -> _Floats:
    """What is expected of each key of the piano, given all parts: (pitches,)."""
    precision, pull = np.linalg.inv(_covariance_of_keys()), np.zeros(PITCHES)
    for part in parts:
        totals = np.zeros((len(part.keys), 1 + len(part.keys)))
        np.add.at(totals, part.key, part.solved)
        pull[part.keys] += totals[:, 0]
        precision[np.ix_(part.keys, part.keys)] += totals[:, 1:]
    return np.linalg.solve(precision, pull)


def _covariance_of_keys() -> _Floats:
    semitones = _distances(np.arange(PITCHES, dtype=np.float64)) / _REGISTER_SEMITONES
    return _KEY**2 * np.eye(PITCHES) + _REGISTER**2 * np.exp(-(semitones**2) / 2)


def _distances(places: _Floats) -> _Floats:
    """Between any two: (places, places)."""
    return np.abs(places[:, None] - places)
