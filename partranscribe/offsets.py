"""Offsets of a recording, each chosen with regard to all the others.

The network hears when a string falls silent. When its key was let go differs by how late the dampers of a
piano are; where notes follow each other closely one damper hides another, and a string that the pedal holds
is silent before the pedal is let go. Over a whole recording more is known, and of each end what was heard for
longer than the network waits (`partranscribe.endings`). Pieces that were entered note by note end most notes
where others begin, notes that end late by the same time again and again tell of late dampers, and what a
pedal holds ends together. So a note may end where the network heard it, where one of the notes around that
moment begins, where others end after it, or where that is likeliest by what is heard, and a small network of
its own, trained on what a trained network decodes, chooses. This is not of the paper.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .endings import FRAMES, Ending
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
_LIKELIEST = 2  # moments that are likeliest by what is heard
_CHOICES = 1 + _BEFORE + _AFTER + _ENDS + _LIKELIEST
_EARLIEST = 0.6  # seconds before the end that was heard
_LATEST_BEGINNING, _LATEST_END = 2.0, 5.0  # seconds after it
_SHORTEST = 0.04  # seconds that a note lasts at least where its end is moved back
_FAR = 30  # semitones, where no note begins
_SHORT = 0.03  # seconds, added to those of which logarithms are taken
_AT_ONCE = 0.025  # seconds before and after a moment, of what ends there
_SOUNDS = 0.04  # seconds after a moment at which what sounds there is counted
_TOGETHER = 128  # notes whose choices are weighed at once
_FEW_CHORDS = 2  # of which as little can be told as of none

_LAGS = (0.03, 0.06, 0.09, 0.12, 0.15, 0.18, 0.22, 0.26, 0.3, 0.4)
_STRUCK_AGAIN = (0.0, 0.2, 0.4, 0.8, 2.0)  # seconds from a beginning to the next one of its key
_FEW = 5  # notes that are added to those of which shares are taken

_ABOUT = 0.05  # seconds before and after a moment, within which a note is as likely to end as told
_APART = 0.13  # seconds at least from one of the likeliest moments to the next
_IMPOSSIBLE = -30.0  # logit of a frame where a note cannot end
_UNLIKELY = 0.003  # added to probabilities of which logarithms are taken

_OF_A_CHOICE = 19 + 3
_OF_A_NOTE = 10 + 2
OF_A_RECORDING = 6 + len(_LAGS) - 1 + len(_STRUCK_AGAIN) - 1 + 3 + RHYTHM_FEATURES + 4
"""Numbers that tell of all notes, the last by which a choice is weighed."""
FEATURES = _CHOICES + _OF_A_CHOICE + _OF_A_NOTE + OF_A_RECORDING
"""Numbers by which a choice is weighed: which it is, what tells of it, of its note, and of all notes."""

WHICH: NDArray[np.float32] = np.eye(_CHOICES, dtype=np.float32)
"""Which choice it is, the first part of what it is weighed by: (choices, choices)."""


class Choices(NamedTuple):
    """Where some notes may end.

    Args:
        seconds: the end that was heard, then beginnings before and after it, ends after it, and the likeliest
            by what is heard: (notes, choices).
        possible: whether a note may end there: (notes, choices). The first is always.
        features: what tells how likely that is: (notes, choices, some of FEATURES).
        of_note: the rest of what does, which is the same for all choices: (notes, the rest). The last
            OF_A_RECORDING are the same for all notes.
        alone: how likely a note ends there by what is heard of it alone: (notes, choices).
    """

    seconds: Floats
    possible: NDArray[np.bool_]
    features: NDArray[np.float32]
    of_note: NDArray[np.float32]
    alone: Floats


def chosen(notes: Sequence[Note], endings: Mapping[Place, Ending], units: Units) -> list[Note]:
    """The same notes with the offsets that are likeliest where all were heard.

    Without chords late dampers cannot be told from fingers that hold what was struck, and each note ends
    where that is likeliest by what is heard of it alone. Time and memory are in proportion to the notes.

    Args:
        notes: of one recording, by onset, no two of one pitch overlapping; nor will they afterwards.
        endings: of these notes.
        units: of the checkpoint that they were transcribed with, of FEATURES.
    """
    if not notes:
        return []
    table = note_array(notes)
    chords = len(gaps_in_chords(table[:, ONSET_COLUMN]))
    offsets: list[float] = []
    for choices in choices_of(table, [endings[note.place] for note in notes]):
        logits = units.sum(WHICH, choices.features, choices.of_note[:, None])
        logits = np.where(choices.possible, logits, -np.inf)
        likely = np.exp(logits - logits.max(axis=1, keepdims=True))
        likely *= chords / (chords + _FEW_CHORDS) / likely.sum(axis=1, keepdims=True)
        rows = np.arange(len(likely))
        likely[rows, choices.alone.argmax(axis=1)] += _FEW_CHORDS / (chords + _FEW_CHORDS)
        offsets += choices.seconds[rows, likely.argmax(axis=1)].tolist()
    return [replace(note, offset=offset) for note, offset in zip(notes, offsets, strict=True)]


def choices_of(table: NoteArray, endings: Sequence[Ending]) -> Iterator[Choices]:
    """Where the notes of a recording may end, some notes at a time.

    Args:
        table: one note at least, by onset.
        endings: of these notes.
    """
    recording = _Recording(table, endings)
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
        endings: of these.
    """

    def __init__(self, table: NoteArray, endings: Sequence[Ending]) -> None:
        self.onsets, self.offsets = table[:, ONSET_COLUMN], table[:, OFFSET_COLUMN]
        self.keys = table[:, PITCH_COLUMN].astype(int) - LOWEST_PITCH
        self.velocities, self.strikes = table[:, VELOCITY_COLUMN], next_strikes(table)
        self.likely = _likely(endings, self.onsets, self.strikes)
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
        """What is the same for all notes: (OF_A_RECORDING,)."""
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
                *self._usual_endings(),
            ]
        )

    def _usual_endings(self) -> Floats:
        """How likely notes end where they were heard to, and how much sooner or later they likely do.

        The mean and the deviation over all notes of either: (4,).
        """
        heard = self.offsets[:, None]
        both = np.hstack((self.likely.ended.about(heard), self.likely.moments[:, :1] - heard))
        return np.concatenate((both.mean(axis=0), both.std(axis=0)))

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
        likely = self.likely.of(part)
        seconds, possible = self._where(part, likely.moments)
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
        about = likely.ended.about(seconds)
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
            about,
            about - likely.highest,
            likely.ended.until(seconds),
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
            about[:, :1],
            likely.highest,
        )
        features = np.stack(of_a_choice, axis=-1).astype(np.float32)
        summary = np.broadcast_to(self.summary, (len(heard), OF_A_RECORDING))
        of_notes = np.hstack((*of_a_note, summary)).astype(np.float32)
        return Choices(seconds, possible, features, of_notes, np.where(possible, np.exp(about), 0.0))

    def _where(self, part: slice, likeliest: Floats) -> tuple[Floats, NDArray[np.bool_]]:
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
        may_likely = (likeliest > onset + _SHORTEST) & (likeliest < strike + NEAR)
        is_heard = np.ones_like(heard, bool)
        possible = np.hstack((is_heard, may_earlier, may_later, may_end, may_likely))
        places = np.hstack((heard, of_earlier, of_later, of_ends, likeliest))
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


class _Ended(NamedTuple):
    """How probably some notes have ended when, by what is heard of each alone.

    Args:
        first: seconds of the first frame that was looked at: (notes, 1).
        seconds_per_frame: from one to the next.
        before: how probably notes have ended before each frame, and after the last: (notes, FRAMES + 1).
    """

    first: Floats
    seconds_per_frame: float
    before: NDArray[np.float32]

    def of(self, part: slice) -> _Ended:
        """That of some of the notes."""
        return _Ended(self.first[part], self.seconds_per_frame, self.before[part])

    def until(self, seconds: Floats) -> Floats:
        """How probably notes have ended until some seconds: (notes, any) of as many."""
        places = ((seconds - self.first) / self.seconds_per_frame + 0.5).clip(0, FRAMES)
        before = places.astype(int).clip(max=FRAMES - 1)
        low, high = (np.take_along_axis(self.before, before + later, 1) for later in (0, 1))
        return np.asarray(low + (places - before) * (high - low))

    def about(self, seconds: Floats) -> Floats:
        """How probably notes end about some seconds, as a logarithm: (notes, any) of as many."""
        likely = self.until(seconds + _ABOUT) - self.until(seconds - _ABOUT)
        return np.log(_UNLIKELY + likely.clip(min=0))


class _Likely(NamedTuple):
    """When some notes are likeliest to end, by what is heard of each alone.

    Args:
        ended: how probably they have ended when.
        moments: the likeliest, from the first on: (notes, _LIKELIEST).
        highest: tells as `_Ended.about` does how likely a note ends at the first of these: (notes, 1).
    """

    ended: _Ended
    moments: Floats
    highest: Floats

    def of(self, part: slice) -> _Likely:
        """That of some of the notes."""
        return _Likely(self.ended.of(part), self.moments[part], self.highest[part])


def _likely(endings: Sequence[Ending], onsets: Floats, strikes: Floats) -> _Likely:
    """When the notes of a recording are likeliest to end.

    Args:
        endings: of the notes; one at least.
        onsets, strikes: when they begin, and when their keys are struck again: (notes,) each.
    """
    count, seconds_per_frame = len(endings), endings[0].seconds_per_frame
    first = np.array([[ending.first] for ending in endings])
    ended = _Ended(first, seconds_per_frame, np.zeros((count, FRAMES + 1), np.float32))
    moments, highest = np.empty((count, _LIKELIEST)), np.empty((count, 1))
    for part in _parts(count):
        probabilities = np.exp(weighed(endings[part], onsets[part], strikes[part]))
        ended.before[part, 1:] = probabilities.cumsum(axis=1)
        frames = first[part] + seconds_per_frame * np.arange(FRAMES)
        about = ended.of(part).about(frames)
        highest[part] = about.max(axis=1, keepdims=True)
        for number in range(_LIKELIEST):
            best = np.take_along_axis(frames, about.argmax(axis=1, keepdims=True), 1)
            near = np.abs(frames - best) <= _ABOUT
            weights = np.where(near, probabilities, 0.0) + 1e-9 * near
            moments[part, number] = (weights * frames).sum(axis=1) / weights.sum(axis=1)
            about[np.abs(frames - best) <= _APART] = -np.inf
    return _Likely(ended, moments, highest)


def weighed(endings: Sequence[Ending], onsets: Floats, strikes: Floats) -> Floats:
    """How probable it is that notes end in each frame where they may, as a logarithm: (notes, FRAMES).

    Args:
        endings: of the notes; one at least.
        onsets, strikes: when they begin, and when their keys are struck again: (notes,) each.
    """
    logits = np.stack([ending.logits for ending in endings]).astype(np.float64)
    frames = np.array([[ending.first] for ending in endings]) + endings[0].seconds_per_frame * np.arange(
        FRAMES
    )
    logits = np.where(may_end(frames, onsets[:, None], strikes[:, None]), logits, _IMPOSSIBLE)
    logits -= logits.max(axis=1, keepdims=True)
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))


def may_end(seconds: Floats, onsets: Floats, strikes: Floats) -> NDArray[np.bool_]:
    """Whether notes may end at some times: after their onset, and until their keys are struck again."""
    return np.asarray((seconds > onsets + _SHORTEST / 2) & (seconds < strikes + NEAR))


def _between(moments: Floats, one: Floats, other: Floats) -> NDArray[np.intp]:
    """How many moments, in order, are between two times, whichever is first."""
    count: NDArray[np.intp] = np.abs(np.searchsorted(moments, one) - np.searchsorted(moments, other))
    return count
