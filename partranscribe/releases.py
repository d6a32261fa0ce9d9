"""How the partials of notes fall around the moments at which they were heard to end, measured in the audio.

The network decides that a note has ended while it hears it, with a third of a second of what follows. More is
heard later: a string that a damper has touched goes on falling, one that a pedal holds does not. So the level
of each note is kept from shortly before its end to two seconds after it, in decibels above that at which it
began, by all of its partials together, and of those that it began with by the lowest and the median: where
another note sounds in some of them, the others tell. This is not of the paper.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .notes import LOWEST_PITCH, PITCHES, Note, Place
from .partials import FAINTEST, PARTIALS, Samples, bins_of_partials, power_below, window_of

LEVELS = 3
"""Of a note: its partials together, and of those that it began with the lowest and the median."""

HOP = 0.04
"""Seconds from one level to the next."""

_WINDOW = 0.128  # seconds that a level is of
_BEFORE, _AFTER = 0.85, 2.0  # seconds around the end of a note, in which its levels are kept
FRAMES = round((_BEFORE + _AFTER) / HOP) + 2
"""Levels of each note."""

_LOUDEST = (0.04, 0.2)  # seconds after an onset, between which partials are loudest
_QUIET = 0.08  # seconds before it
_STRONG, _RISEN = 25.0, 6.0  # decibels below the loudest partial, and above what was there
_SOFTEST, _LOUDER = -50.0, 10.0  # decibels of a level, at least and at most
_STEPS = 2  # of a decibel that levels are kept in
_TOGETHER = 256  # spectra that are made at once


class Release(NamedTuple):
    """The levels of a note around its end.

    Args:
        first: seconds of the first.
        levels: in half decibels above those at which it began: (FRAMES, LEVELS).
    """

    first: float
    levels: NDArray[np.int8]


def releases_of(
    audio: Samples, notes: Sequence[Note], sample_rate: int, tuning: float
) -> dict[Place, Release]:
    """The releases of notes, by their onsets and pitches.

    Args:
        audio: (samples,). Before it and after it all is silent.
        notes: that were heard, no two of one pitch overlapping.
        sample_rate: of the audio.
        tuning: frequency of A4 in Hz.
    """
    meter = ReleaseMeter(sample_rate)
    meter.push(audio, tuning)
    meter.take([note.place for note in notes], [], 0.0)
    return meter.finish(notes, tuning)


def levels_at(releases: Sequence[Release], seconds: NDArray[np.float64]) -> NDArray[np.float32]:
    """The levels of notes at some times, or at the nearest that are kept, in decibels: (notes, ..., LEVELS).

    Args:
        releases: of the notes.
        seconds: (notes, ...).
    """
    rows = np.arange(len(releases)).reshape(-1, *(1,) * (seconds.ndim - 1))
    first = np.array([release.first for release in releases]).reshape(rows.shape)
    kept = np.stack([release.levels for release in releases])
    places = ((seconds - first) / HOP).clip(0, FRAMES - 1)
    before = places.astype(int).clip(max=FRAMES - 2)
    part = (places - before)[..., None].astype(np.float32)
    levels = (1 - part) * kept[rows, before] + part * kept[rows, before + 1]
    return np.asarray(levels / _STEPS, np.float32)


class _Began(NamedTuple):
    """How loud each partial of a note was when it began, and which ones were: (PARTIALS,) each."""

    loudest: NDArray[np.float32]
    strong: NDArray[np.bool_]


class ReleaseMeter:
    """Measures the releases of notes while audio comes and is decoded, and keeps no more than it needs.

    Audio may be pushed by another thread than that which tells what was decoded; spectra are made there.

    Args:
        sample_rate: of the audio.
        start: seconds that are added to all times in what it gives.
    """

    def __init__(self, sample_rate: int, start: float = 0.0) -> None:
        self._rate, self._start = sample_rate, start
        self._size, self._hop = round(_WINDOW * sample_rate), round(HOP * sample_rate)
        self._lock = threading.Lock()
        self._audio = np.zeros(self._size // 2, np.float32)  # from the beginning of the next level on
        self._heard: list[NDArray[np.float32]] = []  # levels that were not taken yet
        self._levels = np.zeros((0, PITCHES, PARTIALS), np.float32)  # of all keys
        self._first = 0  # the number of the first of these
        self._begun: list[Place] = []  # whose partials are not yet known
        self._began: defaultdict[int, deque[_Began]] = defaultdict(deque)  # by pitch, in their order
        self._ended: list[Note] = []  # whose levels are not yet known
        self._releases: dict[Place, Release] = {}

    def push(self, block: Samples, tuning: float) -> None:
        """Take the next audio.

        Args:
            block: (samples,).
            tuning: frequency of A4 in Hz.
        """
        audio = np.concatenate((self._audio, block))
        count = max((len(audio) - self._size) // self._hop + 1, 0)
        self._audio = audio[count * self._hop :].copy()
        if not count:
            return
        spans = np.lib.stride_tricks.sliding_window_view(audio, self._size)[:: self._hop]
        window, bins = window_of(self._size), bins_of_partials(self._rate, self._size, tuning)
        for done in range(0, count, _TOGETHER):
            below = power_below(window * spans[done : min(done + _TOGETHER, count)])
            power = np.maximum(below[:, bins[..., 1]] - below[:, bins[..., 0]], FAINTEST)
            with self._lock:
                self._heard.append((10 * np.log10(power)).astype(np.float32))

    def take(self, begun: Sequence[Place], ended: Sequence[Note], seconds: float) -> None:
        """Take the notes that were decoded.

        Args:
            begun: those that have begun since.
            ended: those that have ended since.
            seconds: before which no more notes will begin or end.
        """
        self._begun += begun
        self._ended += ended
        with self._lock:
            self._levels = np.concatenate((self._levels, *self._heard))
            self._heard = []
        self._measure()
        times = [seconds, *(onset for onset, _ in self._begun), *(note.offset for note in self._ended)]
        over = min(max(_frame(min(times) - _BEFORE) - self._first, 0), len(self._levels))
        self._levels = self._levels[over:]
        self._first += over

    def finish(self, ended: Sequence[Note], tuning: float) -> dict[Place, Release]:
        """Those of all notes, when no more audio comes: silence stands for what is missing.

        Args:
            ended: the notes that have ended since.
            tuning: frequency of A4 in Hz.
        """
        last = max((note.offset for note in (*self._ended, *ended)), default=0.0)
        done = self._first + len(self._levels) + sum(map(len, self._heard))
        missing = round((last + 2 * _AFTER) * self._rate) - done * self._hop
        self.push(np.zeros(max(missing, 0), np.float32), tuning)
        self.take([], ended, last)
        return self._releases

    def _measure(self) -> None:
        """What begins and what has ended long enough ago."""
        last = self._first + len(self._levels) - 1
        begun, self._begun = self._begun, []
        ready: list[Place] = []
        for place in begun:
            (ready if _frame(place[0] + _LOUDEST[1]) <= last else self._begun).append(place)
        if ready:
            for (_, pitch), began in zip(ready, self._beginnings(ready), strict=True):
                self._began[pitch].append(began)
        ended, self._ended = self._ended, []
        over: list[Note] = []
        for note in ended:
            (over if _frame(note.offset - _BEFORE) + FRAMES <= last + 1 else self._ended).append(note)
        if over:
            places = ((self._start + note.onset, note.pitch) for note in over)
            self._releases.update(zip(places, self._endings(over), strict=True))

    def _beginnings(self, places: Sequence[Place]) -> Iterator[_Began]:
        """Of notes that begin where levels are known."""
        after = np.arange(_frame(_LOUDEST[1] - _LOUDEST[0]) + 1)
        frames = np.array([_frame(onset + _LOUDEST[0]) for onset, _ in places]) - self._first
        quiet = np.array([_frame(onset - _QUIET) for onset, _ in places]) - self._first
        keys = np.array([pitch for _, pitch in places]) - LOWEST_PITCH
        loudest = self._levels[frames[:, None] + after, keys[:, None]].max(axis=1)
        before = self._levels[quiet.clip(0), keys]
        strong = (loudest > loudest.max(axis=1, keepdims=True) - _STRONG) & (loudest > before + _RISEN)
        strong[:, 0] |= ~strong.any(axis=1)
        return map(_Began, loudest, strong)

    def _endings(self, notes: Sequence[Note]) -> Iterator[Release]:
        """Of notes that end where levels are known."""
        firsts = np.array([_frame(note.offset - _BEFORE) for note in notes])
        frames = (firsts[:, None] - self._first + np.arange(FRAMES)).clip(0)
        partials = self._levels[frames, np.array([[note.pitch - LOWEST_PITCH] for note in notes])]
        began = [self._began[note.pitch].popleft() for note in notes]
        loudest, strong = (np.stack(parts)[:, None] for parts in zip(*began, strict=True))
        above = partials - loudest
        of_strong = np.sort(np.where(strong, above, np.inf), axis=-1)
        count = strong.sum(axis=-1, keepdims=True)
        middle = (np.take_along_axis(of_strong, (count - back) // 2, -1)[..., 0] for back in (0, 1))
        levels = _together(partials) - _together(loudest), of_strong[..., 0], sum(middle) / 2
        kept = np.round(_STEPS * np.stack(levels, axis=-1).clip(_SOFTEST, _LOUDER)).astype(np.int8)
        return map(Release, (self._start + firsts * HOP).tolist(), kept)


def _frame(seconds: float) -> int:
    """The number of the level that is nearest."""
    return round(seconds / HOP)


def _together(levels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of partials, in decibels: (..., partials) -> (...)."""
    power = np.sum(10 ** (levels / 10), axis=-1)
    return np.asarray(10 * np.log10(power), np.float32)
