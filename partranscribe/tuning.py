"""How a piano is tuned, heard from the partials of its notes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

CONCERT_PITCH = 440.0  # of A4 in Hz, to which the pianos of the training are tuned within some cents
KEPT_TUNINGS = 16  # whose mel filters an engine keeps
LOWEST, HIGHEST = 220.0, 880.0  # that A4 may have: an octave around it

_WINDOW_SECONDS = 0.256
_LOWEST_PARTIAL, _HIGHEST_PARTIAL = (
    110.0,
    1400.0,
)  # in Hz: below, bins are too wide; above, partials too sharp
_LEAST_DB = -40.0  # below the loudest partial of a window, others do not count
_LEAST_WINDOWS = 8  # in two seconds of audio, chance may be as far off as this:
_LEAST_CENTS = 20.0  # what is nearer to concert pitch is taken as it is, as training has heard it
_LEAST_AGREEMENT = 0.3  # of all partials, 0 of noise, 1 of the purest tones; pianos have 0.35 to 0.9

Samples = NDArray[np.float32]


class Tuning(Protocol):
    """That of a recording, which may have to be heard first."""

    def push(self, block: Samples) -> None:
        """Listen to the next samples: (samples,), at any level; where they are cut changes nothing."""

    @property
    def hertz(self) -> float:
        """Frequency of A4 to transcribe with, once all has been heard."""


@dataclass(frozen=True)
class KnownTuning:
    """One that was told.

    Args:
        hertz: frequency of A4.
    """

    hertz: float

    def push(self, block: Samples) -> None:
        """Whatever is heard, it is known."""


class TuningMeter:
    """Measures the tuning of a recording while it is read.

    Each spectral peak is some cents above or below the nearest key of a piano at concert pitch. The mean of
    all, as angles of a circle of 100 cents and weighted by their magnitude, is how far the piano is off.
    Whole semitones cannot be heard: between half a semitone below and above, the nearest is taken.

    Args:
        sample_rate: of the audio.
    """

    def __init__(self, sample_rate: int) -> None:
        self._rate, self._size = sample_rate, round(_WINDOW_SECONDS * sample_rate)
        self._window = np.hanning(self._size + 1)[:-1].astype(np.float32)
        lowest, highest = (
            round(hertz * self._size / sample_rate) for hertz in (_LOWEST_PARTIAL, _HIGHEST_PARTIAL)
        )
        self._bins = np.arange(lowest, highest)
        self._rest = np.zeros(0, np.float32)
        self._sum, self._weight, self._windows = 0j, 0.0, 0

    def push(self, block: Samples) -> None:
        """See `Tuning.push`."""
        joined = np.concatenate((self._rest, block))
        whole = len(joined) // self._size * self._size
        self._rest = joined[whole:]
        angles, weights = self._peaks(joined[:whole].reshape(-1, self._size) * self._window)
        # One window after the other, so that a sum does not depend on how many come at once.
        for found, weight in zip(
            (weights * np.exp(1j * angles)).sum(axis=1), weights.sum(axis=1), strict=True
        ):
            self._sum += complex(found)
            self._weight += float(weight)
            self._windows += weight > 0

    def _peaks(self, windows: Samples) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where each bin is on the circle, and its weight, which is 0 but for peaks: (windows, bins) each."""
        tiny = np.finfo(np.float32).tiny  # of silence
        spectrum = np.abs(np.fft.rfft(windows)).astype(np.float64) + tiny
        below, here, above = (spectrum[:, self._bins + step] for step in (-1, 0, 1))
        loudest = here.max(axis=1, keepdims=True)
        is_peak = (here > below) & (here >= above) & (here > loudest * 10 ** (_LEAST_DB / 20))
        # A parabola through the logarithms of three bins has its top within half a bin of the middle one.
        left, middle, right = (np.log(part) for part in (below, here, above))
        curvature = np.where(is_peak, left - 2 * middle + right, -1.0)
        hertz = (self._bins + 0.5 * (left - right) / curvature) * self._rate / self._size
        semitones = 12 * np.log2(np.where(is_peak, hertz, CONCERT_PITCH) / CONCERT_PITCH)
        weights = np.where(is_peak & (loudest > 2 * tiny), here, 0.0)
        # The loudest partial of a window counts as much as it is loud, and all others share in that.
        total = weights.sum(axis=1, keepdims=True)
        return 2 * np.pi * semitones, weights * np.where(total > 0, loudest / np.maximum(total, tiny), 0.0)

    @property
    def cents(self) -> float | None:
        """How far above concert pitch, -50..50; None where there is too little to tell."""
        if self._windows < _LEAST_WINDOWS or abs(self._sum) < _LEAST_AGREEMENT * self._weight:
            return None
        return 100 * math.atan2(self._sum.imag, self._sum.real) / (2 * math.pi)

    @property
    def hertz(self) -> float:
        """Frequency of A4 to transcribe with: that of concert pitch unless the piano is clearly off."""
        cents = self.cents
        if cents is None or abs(cents) < _LEAST_CENTS:
            return CONCERT_PITCH
        return round(CONCERT_PITCH * 2 ** (cents / 1200), 1)


def tuning_of(hertz: float | None, sample_rate: int) -> Tuning:
    """The tuning of a recording: a known one, or a meter for None.

    Args:
        hertz: frequency of A4.
        sample_rate: of the audio.
    """
    return TuningMeter(sample_rate) if hertz is None else KnownTuning(hertz)


def measured(blocks: Iterable[Samples], sample_rate: int) -> float:
    """Frequency of A4 in a recording; see `TuningMeter.hertz`."""
    meter = TuningMeter(sample_rate)
    for block in blocks:
        meter.push(block)
    return meter.hertz
