"""Offsets of a recording, each chosen with regard to all the others.

The network hears when a string falls silent; when its key was let go differs by how late the dampers of a
piano are, and where notes follow each other closely one damper hides another. Over a whole recording more is
known. Pieces that were entered note by note end most notes where others begin, and notes that end late by the
same time again and again tell of late dampers. So there a note may end where the network heard it, or where
one of the notes around that moment begins, and a small network of its own, trained on what a trained network
decodes, chooses. Another tells by their rhythm which pieces these are (`partranscribe/rhythm.py`); of others
the ends stay as they were heard. This is not of the paper.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
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
from .notes import LOWEST_PITCH, PITCHES, Note
from .rhythm import FEW, NEAR, Floats, beginnings_of, density, features_of_rhythm, gaps_in_chords
from .units import Units

_BEFORE, _AFTER = 4, 3  # beginnings around the end that was heard, where a note may end as well
_CHOICES = 1 + _BEFORE + _AFTER
_EARLIEST, _LATEST = 0.6, 2.0  # seconds before and after the end that was heard
_SHORTEST = 0.04  # seconds that a note lasts at least where its end is moved back
_FAR = 30  # semitones, where no note begins
_SHORT = 0.03  # seconds, added to those of which logarithms are taken
_TOGETHER = 2048  # notes whose choices are weighed at once

_OF_A_CHOICE = 21
_LAGS = (0.03, 0.06, 0.09, 0.12, 0.15, 0.18, 0.22, 0.26, 0.3, 0.4)
_OF_A_RECORDING = 6 + len(_LAGS) - 1
FEATURES = _CHOICES + _OF_A_CHOICE + _OF_A_RECORDING
"""Numbers by which a choice is weighed."""


class OffsetNetwork(NamedTuple):
    """What chooses offsets.

    Args:
        choice: how likely each choice is where a piece was entered note by note, of FEATURES.
        entered: the log-odds that it was, of RHYTHM_FEATURES.
    """

    choice: Units
    entered: Units


class Choices(NamedTuple):
    """Where some notes may end.

    Args:
        seconds: the end that was heard, then beginnings before and after it: (notes, choices).
        possible: whether a note may end there: (notes, choices). The first is always.
        features: what tells how likely that is: (notes, choices, FEATURES).
    """

    seconds: Floats
    possible: NDArray[np.bool_]
    features: NDArray[np.float32]


def chosen(notes: Sequence[Note], network: OffsetNetwork) -> list[Note]:
    """The same notes with the offsets that are likeliest where all were heard.

    Time and memory are in proportion to the notes.

    Args:
        notes: of one recording, by onset, no two of one pitch overlapping; nor will they afterwards.
        network: of the checkpoint that they were transcribed with.
    """
    if not notes:
        return []
    table = note_array(notes)
    entered = entered_probability(table, network.entered)
    offsets: list[float] = []
    for choices in choices_of(table):
        logits = np.where(choices.possible, network.choice.sum(choices.features), -np.inf)
        likely = np.exp(logits - logits.max(axis=1, keepdims=True))
        likely *= entered / likely.sum(axis=1, keepdims=True)
        likely[:, 0] += 1 - entered  # as it was heard
        best = likely.argmax(axis=1)
        offsets += choices.seconds[np.arange(len(best)), best].tolist()
    return [replace(note, offset=offset) for note, offset in zip(notes, offsets, strict=True)]


def entered_probability(table: NoteArray, units: Units) -> float:
    """How likely a piece was entered note by note, not performed: 0..1.

    Without chords that is not known, and the answer is 0.

    Args:
        table: its notes, by onset; one at least.
        units: of RHYTHM_FEATURES.
    """
    onsets = table[:, ONSET_COLUMN]
    chords = len(gaps_in_chords(onsets))
    logit = float(units.sum(features_of_rhythm(onsets)))
    return chords / (chords + FEW) * (1 + math.tanh(logit / 2)) / 2


def choices_of(table: NoteArray) -> Iterator[Choices]:
    """Where the notes of a recording may end, some notes at a time.

    Args:
        table: one note at least, by onset.
    """
    recording = _Recording(table)
    for first in range(0, len(table), _TOGETHER):
        yield recording.choices(slice(first, first + _TOGETHER))


class _Recording:
    """What the offsets of a recording are weighed by.

    Args:
        table: its notes, by onset.
    """

    def __init__(self, table: NoteArray) -> None:
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
        """What is the same for all choices: (_OF_A_RECORDING,)."""
        free = self.strikes - self.offsets > NEAR  # not cut by another note of their key
        lags, count = self.lags[free], int(free.sum())
        at_beginnings = int((lags <= NEAR).sum()) / max(count, 1)
        late = np.histogram(lags[lags > NEAR], _LAGS)[0] / (count + 5)
        chance = np.mean([self._share_at_beginnings(free, later) for later in (0.23, 0.31, 0.37, 0.43, 0.53)])
        beyond = (self._share_at_beginnings(free, 0.0) - chance) / (1.001 - chance)
        return np.array(
            [
                beyond,
                at_beginnings,
                chance,
                self.interval,
                np.log(_SHORT + np.median(self.offsets - self.onsets)),
                density(self.onsets),
                *np.cumsum(late),
            ]
        )

    def _share_at_beginnings(self, which: NDArray[np.bool_], later: float) -> float:
        """Of offsets, moved by some seconds, that are within 25 ms of a beginning."""
        times = self.offsets[which] + later
        if not len(times):
            return 0.0
        after = np.searchsorted(self.beginnings, times).clip(1, max(len(self.beginnings) - 1, 1))
        around = self.beginnings[np.stack((after - 1, after)).clip(max=len(self.beginnings) - 1)]
        return float(np.mean(np.abs(around - times).min(axis=0) < 0.025))

    def choices(self, part: slice) -> Choices:
        """Those of some notes."""
        onset, heard = self.onsets[part, None], self.offsets[part, None]
        group, strike = self.group[part, None], self.strikes[part, None]
        count = len(self.beginnings)
        before = np.searchsorted(self.beginnings, heard - NEAR) - 1
        last, lag = self.last[part, None], self.lags[part, None]
        is_there = lag <= NEAR
        places = np.hstack(
            (np.where(is_there, last, -1), before - np.arange(_BEFORE), last + 1 + np.arange(_AFTER))
        )
        begins = (places >= 0) & (places < count)
        places = places.clip(0, count - 1)
        times = self.beginnings[places]
        seconds = np.hstack((heard, np.minimum(times[:, 1:], strike)))
        moved = times - heard
        possible = begins.copy()
        possible[:, 0] = True
        earlier, later = slice(1, 1 + _BEFORE), slice(1 + _BEFORE, None)
        possible[:, earlier] &= (
            (times[:, earlier] > onset + _SHORTEST)
            & (places[:, earlier] != group)
            & (moved[:, earlier] > -_EARLIEST)
        )
        possible[:, later] &= (times[:, later] < strike + NEAR) & (moved[:, later] < _LATEST)

        keys, velocity = self.keys[part, None], self.velocities[part, None]
        semitones = np.where(begins, self.semitones[places, keys], _FAR).clip(max=_FAR)
        following = np.searchsorted(self.beginnings, seconds + NEAR)
        until_next = np.where(
            following < count, self.beginnings[following.clip(max=count - 1)] - seconds, _LATEST
        )
        since, until_strike = heard - onset, np.minimum(strike - heard, 9.0)
        next_beginning = np.where(
            last + 1 < count, self.beginnings[(last + 1).clip(max=count - 1)] - heard, 1.0
        )
        others = np.minimum(self.sizes[group] - 1, 4)
        alike = self._of_group_ending(group, seconds) - (np.abs(seconds - heard) <= NEAR)
        of_a_choice = (
            (seconds - heard).clip(-_EARLIEST, _LATEST),
            np.log(_SHORT + np.maximum(seconds - onset, 0.0)),
            np.log(_SHORT + since),
            semitones / 12,
            semitones <= 2,
            semitones <= 5,
            np.log1p(np.where(begins, self.sizes[places], 0)),
            np.where(begins, self.loudest[places] - velocity, 0.0) / 40,
            np.log1p(self._ending(seconds)),
            np.log1p(self._ending(heard)),
            np.log(_SHORT + np.maximum(until_next, 0.0)),
            lag.clip(0, 1),
            next_beginning.clip(0, 1),
            is_there,
            (keys - 40) / 20,
            (velocity - 64) / 25,
            until_strike.clip(max=2),
            (heard + until_strike - seconds).clip(max=2),
            others,
            alike / np.maximum(self.sizes[group] - 1, 1),
            alike > 0,
        )
        shape = (*seconds.shape, FEATURES)
        features = np.empty(shape, np.float32)
        features[..., :_CHOICES] = np.eye(_CHOICES)
        for number, values in enumerate(of_a_choice, _CHOICES):
            features[..., number] = values
        features[..., _CHOICES + _OF_A_CHOICE :] = self.summary
        return Choices(seconds, possible, features)

    def _ending(self, times: Floats) -> NDArray[np.intp]:
        """How many notes end within 25 ms."""
        ends = self.sorted_offsets
        return np.searchsorted(ends, times + 0.025, side="right") - np.searchsorted(ends, times - 0.025)

    def _of_group_ending(self, group: NDArray[np.intp], times: Floats) -> NDArray[np.intp]:
        """How many of the notes that begin together end within `NEAR` of some times."""
        ends = self._ends_by_group
        until = np.searchsorted(ends, group + 1j * (times + NEAR), side="right")
        return until - np.searchsorted(ends, group + 1j * (times - NEAR))
