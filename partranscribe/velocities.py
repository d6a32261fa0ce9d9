"""Velocities of a recording, each corrected by the notes around it.

What `partranscribe/dynamics.py` expects takes all notes that are near each other for a phrase. Music is more
regular: a melody is above what accompanies it, a voice goes on about as loud as it was, a bass note begins
what the next ones follow, and a string is heard the louder for what else of its partials sounds. And by how
much partials rise tells which of two notes is the louder one on any piano. A small network, trained on what a
trained network decodes, says from such numbers by how much a velocity is off. This is not of the paper.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .attacks import ATTACKS, Attack
from .dynamics import evened
from .note_array import ONSET_COLUMN, PITCH_COLUMN, VELOCITY_COLUMN, NoteArray, note_array
from .notes import LOWEST_PITCH, PITCHES, Note, Place
from .rhythm import RHYTHM_FEATURES, Floats, beginnings_of, features_of_rhythm
from .units import Units

SCALE = 10.0  # MIDI velocities that are 1 for the network
_MIDDLE_C, _OCTAVE = 60, 12
_SHORT = 0.03  # seconds, added to those of which logarithms are taken
_LONGEST = 2.0  # seconds that an interval counts at most
_BEGINNINGS = (-2, -1, 1, 2)  # those around that of a note
_NEIGHBOURS = 24  # notes before a note, and after it, among which its voice is looked for
_OF_A_VOICE = 3  # of these that are the likeliest to be of it
_SEMITONES_A_SECOND = 4.0  # that are as far as a second
_FAR = 40.0  # semitones from which on a note is of another voice
_LONG_AGO = 20.0  # seconds that the same key counts at most
_FEW = 2  # notes that are added to those of a key
_PARTIALS = (-24, -19, -12, 12)  # semitones between strings that share partials
_TOGETHER = 2048  # notes whose neighbours are looked for at once

_DECIBELS = 10.0  # of attacks that are 1 for the network
_RIDGE = 2.0  # of the regression of attacks, which few notes tell little of
_STEADY = 0.05  # added to by how much attacks differ

_OF_A_CHORD, _OF_THE_SAME_KEY = 13, 9
SURROUNDINGS = (
    _OF_A_CHORD
    + 2 * len(_BEGINNINGS)
    + 2 * 3 * _OF_A_VOICE
    + _OF_THE_SAME_KEY
    + RHYTHM_FEATURES
    + 2 * len(_PARTIALS)
)
"""Numbers of what surrounds a note."""
VELOCITY_FEATURES = SURROUNDINGS + 5 * ATTACKS
"""Numbers by which a velocity is corrected."""


def corrected(notes: Sequence[Note], attacks: Mapping[Place, Attack], units: Units) -> list[Note]:
    """The same notes with the velocities that the network expects, knowing what surrounds them.

    How loud they are on the mean does not change: the network has learnt by a measure that does not ask for
    it. Time and memory are in proportion to the notes. Offsets do not matter.

    Args:
        notes: of one recording, by onset, with the velocities that were heard.
        attacks: of each, by where it is.
        units: of the checkpoint that they were transcribed with, of VELOCITY_FEATURES.
    """
    if not notes:
        return []
    table, even = note_array(notes), note_array(evened(notes))[:, VELOCITY_COLUMN]
    parts = features_of_velocities(table, even, attacks_in(notes, attacks))
    corrections = np.concatenate([units.sum(part) for part in parts])
    expected = even + SCALE * (corrections - corrections.mean())
    velocities = np.clip(np.round(expected), 1, 127).astype(int).tolist()
    return [replace(note, velocity=velocity) for note, velocity in zip(notes, velocities, strict=True)]


def attacks_in(notes: Sequence[Note], attacks: Mapping[Place, Attack]) -> NDArray[np.float32]:
    """Those of some notes, one at least: (notes, ATTACKS)."""
    return np.stack([attacks[note.place] for note in notes])


def features_of_velocities(
    table: NoteArray, even: Floats, attacks: NDArray[np.float32]
) -> Iterator[NDArray[np.float32]]:
    """What tells by how much velocities are off, some notes at a time: (notes, VELOCITY_FEATURES).

    Args:
        table: one note at least, by onset, with the velocities that were heard.
        even: velocities from `dynamics.evened`: (notes,).
        attacks: (notes, ATTACKS).
    """
    of_attacks, first = features_of_attacks(table, even, attacks), 0
    for part in features_of_surroundings(table, even):
        last = first + len(part)
        yield np.hstack((part, of_attacks[first:last]))
        first = last


def features_of_attacks(table: NoteArray, even: Floats, attacks: NDArray[np.float32]) -> NDArray[np.float32]:
    """What attacks tell of by how much velocities are off: (notes, VELOCITY_FEATURES - SURROUNDINGS).

    An attack rises with the velocity and differs from key to key, by how much is another thing on each piano.
    So it counts by how many decibels it is above what it usually is of such keys and velocities.

    Args:
        table, even, attacks: as of `features_of_velocities`.
    """
    louder, height = (even - even.mean()) / SCALE, (table[:, PITCH_COLUMN] - _MIDDLE_C) / (2 * _OCTAVE)
    known = np.stack((np.ones(len(table)), louder, height, height**2, height**3), axis=1)
    ridge = np.diag([1e-6, *[_RIDGE] * (known.shape[1] - 1)])
    rises = attacks / _DECIBELS
    usual = np.linalg.solve(known.T @ known + ridge, known.T @ rises)
    above = rises - known @ usual
    groups = beginnings_of(table[:, ONSET_COLUMN]).group
    keys = table[:, PITCH_COLUMN].astype(int) - LOWEST_PITCH
    everywhere = (np.broadcast_to(part, above.shape) for part in (usual[1], above.std(axis=0) + _STEADY))
    columns = (above, _means(above, keys, _FEW), _means(above, groups, 0), *everywhere)
    return np.hstack(columns).astype(np.float32)


def _means(values: Floats, groups: NDArray[np.intp], few: int) -> Floats:
    """For each row the mean of those of its group, to which so many zeros are added: (rows, columns)."""
    count = np.bincount(groups) + few
    sums = [np.bincount(groups, column) for column in values.T]
    means: Floats = np.stack(sums, axis=1) / count.clip(1)[:, None]
    return means[groups]


def features_of_surroundings(table: NoteArray, even: Floats) -> Iterator[NDArray[np.float32]]:
    """What surrounds notes, some of them at a time: (notes, SURROUNDINGS).

    Args:
        table, even: as of `features_of_velocities`.
    """
    recording = _Recording(table, even)
    for first in range(0, len(table), _TOGETHER):
        yield recording.features(np.arange(first, min(first + _TOGETHER, len(table))))


class _Recording:
    """What the velocities of a recording are corrected by.

    Args:
        table, even: as of `features_of_velocities`.
    """

    def __init__(self, table: NoteArray, even: Floats) -> None:
        self.onsets, self.pitches = table[:, ONSET_COLUMN], table[:, PITCH_COLUMN].astype(int)
        self.even = (even - even.mean()) / SCALE
        self.heard = (table[:, VELOCITY_COLUMN] - even.mean()) / SCALE
        self.beginnings, self.group = beginnings_of(self.onsets)
        first = np.searchsorted(self.group, np.arange(len(self.beginnings)))
        self.sizes = np.bincount(self.group)
        self.mean = np.bincount(self.group, self.even) / self.sizes
        self.loudest = np.maximum.reduceat(self.even, first)
        self.top = np.maximum.reduceat(self.pitches, first)
        self.bottom = np.minimum.reduceat(self.pitches, first)
        intervals = np.diff(self.beginnings, prepend=-np.inf, append=np.inf).clip(max=_LONGEST)
        self.intervals = np.log(_SHORT + intervals)
        self.before, self.after = self._same_key()
        self.keys = self._keys()
        self.rhythm = features_of_rhythm(self.onsets)
        self.notes_of = np.full((len(self.beginnings), PITCHES), -1, np.int32)
        self.notes_of[self.group, self.pitches - LOWEST_PITCH] = np.arange(len(table))

    def _same_key(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The notes of the same key before and after each note, -1 where there is none."""
        order = np.argsort(self.pitches, kind="stable")
        former, latter = order[:-1], order[1:]
        same = self.pitches[former] == self.pitches[latter]
        before, after = (np.full(len(order), -1, np.intp) for _ in range(2))
        before[latter[same]], after[former[same]] = former[same], latter[same]
        return before, after

    def _keys(self) -> Floats:
        """How much too loud the key of each note is heard, how loud it is, and of how many: (notes, 3)."""
        keys = self.pitches - LOWEST_PITCH
        means = _means(np.stack((self.heard - self.even, self.even), axis=1), keys, _FEW)
        return np.column_stack((means, np.log1p(np.bincount(keys)[keys])))

    def features(self, part: NDArray[np.intp]) -> NDArray[np.float32]:
        """Those of some notes, by their numbers."""
        even, heard, pitch, group = self.even[part], self.heard[part], self.pitches[part], self.group[part]
        height = (pitch - _MIDDLE_C) / _OCTAVE
        key = pitch - LOWEST_PITCH
        off, loud, count = self.keys[part].T
        columns = [
            even,
            heard,
            height,
            height**2,
            self.mean[group] - even,
            self.loudest[group] - even,
            np.log(self.sizes[group]),
            (self.top[group] - pitch) / _OCTAVE,
            (pitch - self.bottom[group]) / _OCTAVE,
            pitch == self.top[group],
            pitch == self.bottom[group],
            self.intervals[group],
            self.intervals[group + 1],
        ]
        for step in _BEGINNINGS:
            near = (group + step).clip(0, len(self.beginnings) - 1)
            columns += [self.mean[near] - even, self.loudest[near] - even]
        for step in (-1, 1):
            columns += self._voice(part, step)
        for near in (self.before[part], self.after[part]):
            is_there = near >= 0
            seconds = np.where(is_there, np.abs(self.onsets[near] - self.onsets[part]), _LONG_AGO)
            columns += [
                np.where(is_there, self.even[near] - even, 0.0),
                np.where(is_there, self.heard[near] - heard, 0.0),
                np.log(_SHORT + seconds.clip(max=_LONG_AGO)),
            ]
        columns += [
            off,
            count,
            loud - even,
            *np.broadcast_to(self.rhythm[:, None], (RHYTHM_FEATURES, len(part))),
        ]
        for semitones in _PARTIALS:
            other = key + semitones
            is_there = (other >= 0) & (other < PITCHES)
            near = np.where(is_there, self.notes_of[group, other.clip(0, PITCHES - 1)], -1)
            columns += [near >= 0, np.where(near >= 0, self.heard[near] - heard, 0.0)]
        return np.stack(columns, axis=1).astype(np.float32)

    def _voice(self, part: NDArray[np.intp], step: int) -> list[Floats]:
        """How loud, how high and how far off the notes are that may be of the voice of each note.

        Args:
            part: the notes.
            step: -1 for what is before them, 1 for what is after.
        """
        near = part[:, None] + step * np.arange(1, _NEIGHBOURS + 1)
        is_there = (near >= 0) & (near < len(self.onsets))
        near = near.clip(0, len(self.onsets) - 1)
        is_there &= self.group[near] != self.group[part, None]
        semitones = self.pitches[near] - self.pitches[part, None]
        seconds = np.abs(self.onsets[near] - self.onsets[part, None])
        apart = np.where(is_there, np.abs(semitones) + _SEMITONES_A_SECOND * seconds, np.inf)
        nearest = np.argsort(apart, axis=1, kind="stable")[:, :_OF_A_VOICE]
        of_voice = np.take_along_axis(apart, nearest, 1) < _FAR
        louder = self.even[np.take_along_axis(near, nearest, 1)] - self.even[part, None]
        return [
            *np.where(of_voice, louder, 0.0).T,
            *np.where(of_voice, np.take_along_axis(semitones, nearest, 1), 0.0).T / _OCTAVE,
            *np.where(of_voice, np.take_along_axis(seconds, nearest, 1), _LONGEST).clip(max=_LONGEST).T,
        ]
