"""Offsets of a recording, each chosen with regard to all the others.

The network hears when a string falls silent. When its key was let go differs by how late the dampers of a
piano are; where notes follow each other closely one damper hides another, and a string that the pedal holds
is silent before the pedal is let go. Over a whole recording more is known, and how a note falls for longer
than the network waits (`partranscribe.releases`). Pieces that were entered note by note end most notes where
others begin, notes that end late by the same time again and again tell of late dampers, and what a pedal
holds ends together. So a note may end where the network heard it, where one of the notes around that moment
begins, or where others end after it, and a small network of its own, trained on what a trained network
decodes, chooses. This is not of the paper.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .note_array import (
    OFFSET_COLUMN,
    ONSET_COLUMN,
    PITCH_COLUMN,
    VELOCITY_COLUMN,
    NoteArray,
    next_strikes,
    note_array,
)
from .notes import LOWEST_PITCH, PITCHES, Note, Place
from .releases import LEVELS, Release, levels_at
from .rhythm import (
    NEAR,
    RHYTHM_FEATURES,
    Floats,
    beginnings_of,
    density,
    features_of_rhythm,
    gaps_in_chords,
)
from .units import Units

_BEFORE, _AFTER = 4, 3  # beginnings around the end that was heard, where a note may end as well
_ENDS = 4  # moments after it at which other notes end, where it may end as well
_CHOICES = 1 + _BEFORE + _AFTER + _ENDS
_EARLIEST = 0.6  # seconds before the end that was heard
_LATEST_BEGINNING, _LATEST_END = 2.0, 5.0  # seconds after it
_SHORTEST = 0.04  # seconds that a note lasts at least where its end is moved back
_FAR = 30  # semitones, where no note begins
_SHORT = 0.03  # seconds, added to those of which logarithms are taken
_AT_ONCE = 0.025  # seconds before and after a moment, of what ends there
_SOUNDS = 0.04  # seconds after a moment at which what sounds there is counted
_TOGETHER = 2048  # notes whose choices are weighed at once
_FEW_CHORDS = 2  # of which as little can be told as of none

_LAGS = (0.03, 0.06, 0.09, 0.12, 0.15, 0.18, 0.22, 0.26, 0.3, 0.4)
_STRUCK_AGAIN = (0.0, 0.2, 0.4, 0.8, 2.0)  # seconds from a beginning to the next one of its key
_FEW = 5  # notes that are added to those of which shares are taken

_FALLS = np.array((-0.25, -0.1, -0.03, 0.04, 0.1, 0.17, 0.25))  # seconds from an end
_TENS = 10.0  # of decibels, in which levels are told

_OF_FALLS = len(_FALLS) * LEVELS
_OF_A_CHOICE = 19 + _OF_FALLS
_OF_A_NOTE = 10
_OF_A_RECORDING = 6 + len(_LAGS) - 1 + len(_STRUCK_AGAIN) - 1 + 3 + RHYTHM_FEATURES + _OF_FALLS
FEATURES = _CHOICES + _OF_A_CHOICE + _OF_A_NOTE + _OF_A_RECORDING
"""Numbers by which a choice is weighed: which it is, what tells of it, of its note, and of all notes."""

WHICH: NDArray[np.float32] = np.eye(_CHOICES, dtype=np.float32)
"""Which choice it is, the first part of what it is weighed by: (choices, choices)."""


class Choices(NamedTuple):
    """Where some notes may end.

    Args:
        seconds: the end that was heard, then beginnings before and after it, and ends after it:
            (notes, choices).
        possible: whether a note may end there: (notes, choices). The first is always.
        features: what tells how likely that is: (notes, choices, some of FEATURES).
        of_note: the rest of what does, which is the same for all choices: (notes, the rest).
    """

    seconds: Floats
    possible: NDArray[np.bool_]
    features: NDArray[np.float32]
    of_note: NDArray[np.float32]


def chosen(notes: Sequence[Note], releases: Mapping[Place, Release], units: Units) -> list[Note]:
    """The same notes with the offsets that are likeliest where all were heard.

    Without chords late dampers cannot be told from fingers that hold what was struck, and all ends stay. Time
    and memory are in proportion to the notes.

    Args:
        notes: of one recording, by onset, no two of one pitch overlapping; nor will they afterwards.
        releases: of these notes.
        units: of the checkpoint that they were transcribed with, of FEATURES.
    """
    if not notes:
        return []
    table = note_array(notes)
    chords = len(gaps_in_chords(table[:, ONSET_COLUMN]))
    offsets: list[float] = []
    for choices in choices_of(table, [releases[note.place] for note in notes]):
        logits = units.sum(WHICH, choices.features, choices.of_note[:, None])
        logits = np.where(choices.possible, logits, -np.inf)
        likely = np.exp(logits - logits.max(axis=1, keepdims=True))
        likely *= chords / (chords + _FEW_CHORDS) / likely.sum(axis=1, keepdims=True)
        likely[:, 0] += _FEW_CHORDS / (chords + _FEW_CHORDS)  # as it was heard
        best = likely.argmax(axis=1)
        offsets += choices.seconds[np.arange(len(best)), best].tolist()
    return [replace(note, offset=offset) for note, offset in zip(notes, offsets, strict=True)]


def choices_of(table: NoteArray, releases: Sequence[Release]) -> Iterator[Choices]:
    """Where the notes of a recording may end, some notes at a time.

    Args:
        table: one note at least, by onset.
        releases: of these notes.
    """
    recording = _Recording(table, releases)
    for part in _parts(len(table)):
        yield recording.choices(part)


def _parts(notes: int) -> Iterator[slice]:
    """Of so many notes, as many as are weighed at once."""
    for first in range(0, notes, _TOGETHER):
        yield slice(first, first + _TOGETHER)


class _Recording:
    """What the offsets of a recording are weighed by.

    Args:
        table: its notes, by onset.
        releases: of these.
    """

    def __init__(self, table: NoteArray, releases: Sequence[Release]) -> None:
        self.releases = releases
        self.onsets, self.offsets = table[:, ONSET_COLUMN], table[:, OFFSET_COLUMN]
        self.keys = table[:, PITCH_COLUMN].astype(int) - LOWEST_PITCH
        self.velocities, self.strikes = table[:, VELOCITY_COLUMN], next_strikes(table)
        self.beginnings, self.group = beginnings = beginnings_of(self.onsets)
        self.interval = beginnings.interval
        self.sizes = np.bincount(self.group)
        self.loudest = np.maximum.reduceat(
            self.velocities, np.searchsorted(self.group, range(len(self.sizes)))
        )
        self.sorted_offsets = np.sort(self.offsets)
        self.ends = beginnings_of(self.sorted_offsets).seconds  # what ends at once as one
        # The last beginning until the end of each note, or shortly after it; how much later the note ends.
        self.last = np.searchsorted(self.beginnings, self.offsets + NEAR, side="right") - 1
        self.lags = self.offsets - self.beginnings[self.last]

    @cached_property
    def semitones(self) -> NDArray[np.int8]:
        """From each key to the nearest that begins there: (beginnings, pitches)."""
        nearest = np.full((len(self.beginnings), PITCHES), PITCHES, np.int8)
        nearest[self.group, self.keys] = 0
        for key in range(1, PITCHES):
            np.minimum(nearest[:, key], nearest[:, key - 1] + 1, out=nearest[:, key])
        for key in reversed(range(PITCHES - 1)):
            np.minimum(nearest[:, key], nearest[:, key + 1] + 1, out=nearest[:, key])
        return nearest

    @cached_property
    def _ends_by_group(self) -> NDArray[np.complex128]:
        """Groups and offsets, sorted by the one and then by the other."""
        return np.sort(self.group + 1j * self.offsets)

    @cached_property
    def summary(self) -> Floats:
        """What is the same for all notes: (_OF_A_RECORDING,)."""
        gaps = self.strikes - self.offsets
        free = gaps > NEAR  # not cut by another note of their key
        lags, count = self.lags[free], int(free.sum())
        at_beginnings = int((lags <= NEAR).sum()) / max(count, 1)
        late = np.histogram(lags[lags > NEAR], _LAGS)[0] / (count + _FEW)
        chance = np.mean([self._share_at_beginnings(free, later) for later in (0.23, 0.31, 0.37, 0.43, 0.53)])
        beyond = (self._share_at_beginnings(free, 0.0) - chance) / (1.001 - chance)
        until_strike = self.strikes - self.onsets
        struck, cut = (np.histogram(which, _STRUCK_AGAIN)[0] for which in (until_strike, until_strike[~free]))
        lengths = self.offsets - self.onsets
        return np.array(
            [
                beyond,
                at_beginnings,
                chance,
                self.interval,
                np.log(_SHORT + np.median(lengths)),
                density(self.onsets),
                *np.cumsum(late),
                *cut / (struck + _FEW),
                np.log1p(self._sounding(self.onsets)).mean(),
                np.log1p(self._ending(self.offsets)).mean(),
                np.log(_SHORT + lengths).std(),
                *features_of_rhythm(self.onsets),
                *self._usual_fall(),
            ]
        )

    def _usual_fall(self) -> Floats:
        """The mean over all notes of how they fall where they were heard to end: (_OF_FALLS,)."""
        total = np.zeros(_OF_FALLS)
        for part in _parts(len(self.offsets)):
            total += self._falls(part, self.offsets[part, None]).sum(axis=(0, 1))
        return total / len(self.offsets)

    def _falls(self, part: slice, seconds: Floats) -> NDArray[np.float32]:
        """The levels of some notes around the moments at which they may end: (notes, choices, _OF_FALLS)."""
        levels = levels_at(self.releases[part], seconds[..., None] + _FALLS)
        return levels.reshape(*seconds.shape, _OF_FALLS) / _TENS

    def _share_at_beginnings(self, which: NDArray[np.bool_], later: float) -> float:
        """Of offsets, moved by some seconds, that are within 25 ms of a beginning."""
        times = self.offsets[which] + later
        if not len(times):
            return 0.0
        after = np.searchsorted(self.beginnings, times).clip(1, max(len(self.beginnings) - 1, 1))
        around = self.beginnings[np.stack((after - 1, after)).clip(max=len(self.beginnings) - 1)]
        return float(np.mean(np.abs(around - times).min(axis=0) < _AT_ONCE))

    def choices(self, part: slice) -> Choices:
        """Those of some notes."""
        seconds, possible = self._where(part)
        onset, heard, strike = self.onsets[part, None], self.offsets[part, None], self.strikes[part, None]
        group, keys, velocity = self.group[part, None], self.keys[part, None], self.velocities[part, None]
        others = self.sizes[group] - 1
        moved = seconds - heard
        last = (np.searchsorted(self.beginnings, seconds + NEAR) - 1).clip(0)
        lag = seconds - self.beginnings[last]
        begins = np.abs(lag) <= NEAR
        semitones = np.where(begins, self.semitones[last, keys], _FAR).clip(max=_FAR)
        alike = self._of_group_ending(group, seconds) - (np.abs(moved) <= NEAR)
        until_strike = (strike - seconds).clip(max=2)
        of_a_choice = (
            moved.clip(-_EARLIEST, _LATEST_END),
            np.log(_SHORT + np.maximum(seconds - onset, 0.0)),
            np.log1p(self._ending(seconds)),
            np.log1p(self._sounding(seconds + _SOUNDS)),
            np.log(_SHORT + self._until_next(last, seconds, _LATEST_BEGINNING)),
            np.log(_SHORT + np.maximum(lag, 0.0)),
            semitones / 12,
            semitones <= 2,
            semitones <= 5,
            np.log1p(np.where(begins, self.sizes[last], 0)),
            np.where(begins, self.loudest[last] - velocity, 0.0) / 40,
            np.log1p(_between(self.onsets, seconds, heard)),
            np.log1p(_between(self.sorted_offsets, seconds, heard)),
            until_strike,
            until_strike < NEAR,
            alike / np.maximum(others, 1),
            alike > 0,
            begins,
            np.sign(moved) * np.log1p(np.abs(moved) / 0.05),
        )
        of_a_note = (
            np.log(_SHORT + heard - onset),
            np.log1p(self._ending(heard)),
            np.log1p(self._sounding(heard + _SOUNDS)),
            self.lags[part, None].clip(0, 1),
            self.lags[part, None] <= NEAR,
            self._until_next(self.last[part, None], heard, 1.0).clip(0, 1),
            (keys - 40) / 20,
            (velocity - 64) / 25,
            until_strike[:, :1],
            np.minimum(others, 4),
        )
        of_times = np.stack(of_a_choice, axis=-1).astype(np.float32)
        features = np.concatenate((of_times, self._falls(part, seconds)), axis=-1)
        summary = np.broadcast_to(self.summary, (len(heard), _OF_A_RECORDING))
        return Choices(seconds, possible, features, np.hstack((*of_a_note, summary)).astype(np.float32))

    def _where(self, part: slice) -> tuple[Floats, NDArray[np.bool_]]:
        """Where some notes may end, and which of these places there are."""
        onset, heard, strike = self.onsets[part, None], self.offsets[part, None], self.strikes[part, None]
        last, count = self.last[part, None], len(self.beginnings)
        earlier = np.searchsorted(self.beginnings, heard - NEAR) - 1 - np.arange(_BEFORE)
        later = last + 1 + np.arange(_AFTER)
        of_earlier, of_later = (self.beginnings[places.clip(0, count - 1)] for places in (earlier, later))
        may_earlier = (earlier >= 0) & (earlier != self.group[part, None])
        may_earlier &= (of_earlier > onset + _SHORTEST) & (of_earlier - heard > -_EARLIEST)
        may_later = (later < count) & (of_later < strike + NEAR) & (of_later - heard < _LATEST_BEGINNING)
        ends = np.searchsorted(self.ends, heard + _AT_ONCE) + np.arange(_ENDS)
        of_ends = self.ends[ends.clip(max=len(self.ends) - 1)]
        may_end = (ends < len(self.ends)) & (of_ends < strike + NEAR) & (of_ends - heard < _LATEST_END)
        is_heard = np.ones_like(heard, bool)
        possible = np.hstack((is_heard, may_earlier, may_later, may_end))
        places = np.hstack((heard, of_earlier, of_later, of_ends))
        return np.where(possible, np.minimum(places, strike), heard), possible

    def _until_next(self, last: NDArray[np.intp], times: Floats, most: float) -> Floats:
        """Seconds from some times to the beginning after some others, at most so many where there is none."""
        count = len(self.beginnings)
        seconds = self.beginnings[(last + 1).clip(max=count - 1)] - times
        return np.maximum(np.where(last + 1 < count, seconds, most), 0.0)

    def _sounding(self, times: Floats) -> NDArray[np.intp]:
        """How many notes began and did not end."""
        return np.searchsorted(self.onsets, times) - np.searchsorted(self.sorted_offsets, times)

    def _ending(self, times: Floats) -> NDArray[np.intp]:
        """How many notes end within 25 ms."""
        ends = self.sorted_offsets
        return np.searchsorted(ends, times + _AT_ONCE, side="right") - np.searchsorted(ends, times - _AT_ONCE)

    def _of_group_ending(self, group: NDArray[np.intp], times: Floats) -> NDArray[np.intp]:
        """How many of the notes that begin together end within `NEAR` of some times."""
        ends = self._ends_by_group
        until = np.searchsorted(ends, group + 1j * (times + NEAR), side="right")
        return until - np.searchsorted(ends, group + 1j * (times - NEAR))


def _between(moments: Floats, one: Floats, other: Floats) -> NDArray[np.intp]:
    """How many moments, in order, are between two times, whichever is first."""
    count: NDArray[np.intp] = np.abs(np.searchsorted(moments, one) - np.searchsorted(moments, other))
    return count
