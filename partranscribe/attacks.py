"""By how much the partials of notes rise when these begin, measured in the audio.

The network tells how hard a key was struck as it learnt to on the pianos that it was trained on. What rises
when a note begins needs no training: of the notes of one key the one that rises more was struck harder,
whatever the piano. This is not of the paper.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .notes import LOWEST_PITCH, Place
from .partials import FAINTEST, Samples, bins_of_partials, power_below, window_of

ATTACKS = 7
"""Numbers of an attack: by how many decibels the first partial of a note rises, the second, the first eight
together, the third to fifth, the sixth to eighth, what is above 2250 Hz, and all."""

Attack = NDArray[np.float32]
"""(ATTACKS,)."""

_WINDOW = 0.128  # seconds of what is compared, before an onset and after it
_UNTIL, _FROM = -0.01, -0.006  # seconds from the onset, where the one ends and the other begins
_BRIGHT = 2250.0  # Hz
_LEAST = 0.03  # of what is heard after an onset that has risen, however loud it was before
_TOGETHER = 256  # notes that are measured at once


def attacks_of(
    audio: Samples, places: Sequence[Place], sample_rate: int, tuning: float, first: int = 0
) -> list[Attack]:
    """The attacks of notes in decibels, full scale being 0.

    Args:
        audio: (samples,). Before it and after it all is silent.
        places: of the notes.
        sample_rate: of the audio.
        tuning: frequency of A4 in Hz.
        first: number of the first sample, where that is not the one at 0 seconds.
    """
    size = round(_WINDOW * sample_rate)
    onsets, pitches = np.array(places, np.float64).reshape(-1, 2).T
    after = np.round((onsets + _FROM) * sample_rate).astype(int) - first
    before = after + round((_UNTIL - _FROM) * sample_rate) - size
    bins = bins_of_partials(sample_rate, size, tuning)[pitches.astype(int) - LOWEST_PITCH]
    bright = round(_BRIGHT * size / sample_rate)
    spans = np.lib.stride_tricks.sliding_window_view(np.pad(audio, size), size)
    before, after = (size + starts.clip(-size, len(audio)) for starts in (before, after))
    window = window_of(size)
    attacks: list[Attack] = []
    for done in range(0, len(after), _TOGETHER):
        some = slice(done, done + _TOGETHER)
        was, there = (_powers(window * spans[starts[some]], bins[some], bright) for starts in (before, after))
        risen = np.maximum(np.maximum(there - was, _LEAST * there), FAINTEST)
        attacks += [*(10 * np.log10(risen)).astype(np.float32)]
    return attacks


def _powers(spans: Samples, bins: NDArray[np.intp], bright: int) -> NDArray[np.float64]:
    """What attacks are told by, in the spectra of spans of audio: (notes, ATTACKS).

    Args:
        spans: windowed: (notes, samples).
        bins: of the partials of each: (notes, partials, 2).
        bright: the first one of what is bright.
    """
    below = power_below(spans)
    of_bins = np.take_along_axis(below, bins.reshape(len(bins), -1), 1).reshape(bins.shape)
    partials = of_bins[..., 1] - of_bins[..., 0]
    all_of, dull = below[:, -1], below[:, bright]
    sums = (partials[:, first:last].sum(axis=1) for first, last in ((0, None), (2, 5), (5, None)))
    return np.stack((partials[:, 0], partials[:, 1], *sums, all_of - dull, all_of), axis=1)


class AttackMeter:
    """Measures the attacks of notes while audio comes and is decoded, and keeps no more of it than it needs.

    Audio may be pushed by another thread than that which tells what was decoded.

    Args:
        sample_rate: of the audio.
        start: seconds that are added to onsets in what it gives.
    """

    def __init__(self, sample_rate: int, start: float = 0.0) -> None:
        self._rate, self._start = sample_rate, start
        self._lock = threading.Lock()
        self._blocks: list[Samples] = []
        self._first = 0  # sample of what is kept
        self._last = 0  # sample after all that came
        self._waiting: list[Place] = []
        self._attacks: dict[Place, Attack] = {}

    def push(self, block: Samples) -> None:
        """Take the next audio: (samples,)."""
        with self._lock:
            self._blocks.append(block)
            self._last += len(block)

    def begin(self, places: Sequence[Place], seconds: float, tuning: float) -> None:
        """Take the notes that were decoded.

        Args:
            places: of those that are new.
            seconds: before which no more notes will begin.
            tuning: frequency of A4 in Hz.
        """
        self._waiting += places
        self._measure(self._last / self._rate - _WINDOW - _FROM, tuning)
        self._forget(min([seconds, *(onset for onset, _ in self._waiting)]) - _WINDOW + _UNTIL)

    def finish(self, tuning: float) -> dict[Place, Attack]:
        """The attacks of all notes, when no more audio comes: silence stands for what is missing.

        Args:
            tuning: frequency of A4 in Hz.
        """
        self._measure(math.inf, tuning)
        return self._attacks

    def _measure(self, before: float, tuning: float) -> None:
        """Those that wait and begin before some second."""
        ready = [place for place in self._waiting if place[0] < before]
        if not ready:
            return
        self._waiting = [place for place in self._waiting if place[0] >= before]
        with self._lock:
            first, audio = self._first, np.concatenate([np.zeros(0, np.float32), *self._blocks])
        attacks = attacks_of(audio, ready, self._rate, tuning, first)
        places = ((self._start + onset, pitch) for onset, pitch in ready)
        self._attacks.update(zip(places, attacks, strict=True))

    def _forget(self, seconds: float) -> None:
        """Drop the blocks that end before some second."""
        with self._lock:
            while self._blocks and self._first + len(self._blocks[0]) < seconds * self._rate:
                self._first += len(self._blocks.pop(0))
