"""The partials of notes in short spectra of the audio."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .notes import LOWEST_PITCH, PITCHES

PARTIALS = 8
FAINTEST = 1e-10
"""Power that is told apart from silence, a sine of full scale having 1."""

Samples = NDArray[np.float32]

_STIFFNESS = 3e-4  # of strings up to middle C, by which partials are sharp
_STIFFER = 0.08  # by which its logarithm grows with each key above
_MIDDLE_C, _A4 = 60, 69
_WIDTH = 0.015  # of a partial to either side, as a share of its frequency
_BINS = 1.5  # of a spectrum that it is wide at least, to either side
_HIGHEST = 0.475  # of a partial, as a share of the sample rate


def bins_of_partials(sample_rate: int, size: int, tuning: float) -> NDArray[np.intp]:
    """Where the partials of each key begin and end in a spectrum: (pitches, partials, 2).

    The highest one that the sample rate has room for stands for those above it.

    Args:
        sample_rate: of the audio.
        size: samples that a spectrum is of.
        tuning: frequency of A4 in Hz.
    """
    pitches, number = LOWEST_PITCH + np.arange(PITCHES)[:, None], 1 + np.arange(PARTIALS)
    stiffness = _STIFFNESS * np.exp(_STIFFER * (pitches - _MIDDLE_C).clip(0))
    stretched = number * np.sqrt((1 + stiffness * number**2) / (1 + stiffness))
    hertz = tuning * 2 ** ((pitches - _A4) / 12) * stretched
    room = (hertz < _HIGHEST * sample_rate).sum(axis=1, keepdims=True)
    middle = np.take_along_axis(hertz, np.minimum(number - 1, room - 1).clip(0), 1) * size / sample_rate
    width = np.maximum(_BINS, _WIDTH * middle)
    return np.stack((middle - width, middle + width + 1), axis=-1).astype(int).clip(1, size // 2 + 1)


def window_of(size: int) -> Samples:
    """By which a span of audio is weighed, so that the bins of a sine of full scale add up to 1: (size,)."""
    window = np.hanning(size)
    window *= 2 / np.sqrt(size * np.square(window).sum())
    return window.astype(np.float32)


def power_below(spans: Samples) -> NDArray[np.float64]:
    """Power of all that is below each bin of the spectra of spans, and at last of all: (spans, bins + 1).

    Args:
        spans: weighed by a window: (spans, samples).
    """
    spectrum = np.fft.rfft(spans)
    below = np.zeros((len(spans), spectrum.shape[1] + 1))
    np.cumsum(np.square(spectrum.real) + np.square(spectrum.imag), axis=1, out=below[:, 1:])
    return below
