"""The noise of a piano's action, where keys and the pedal go back up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .waves import damped_waves

_KNOCKS = 6  # of one piano: keys differ
_SECONDS = 0.25
_MODES = 30
_HERTZ = (40.0, 2500.0)
_FALLS = (80.0, 500.0)  # decibels a second
_UNEVEN_DB = 4.0  # standard deviation from event to event
_LATE_SECONDS = 0.03  # after the key is let go, at most


def knocks(rng: np.random.Generator, sample_rate: int) -> NDArray[np.float32]:
    """How the action of one piano sounds: (knocks, samples), the largest sample of each being 1.

    Args:
        rng: draws the modes that are set in motion, and their levels.
        sample_rate: of the sounds.
    """
    lowest, highest = np.log(_HERTZ)
    hertz = np.exp(rng.uniform(lowest, highest, _MODES))
    rates = 2j * np.pi * hertz - rng.uniform(*_FALLS, _MODES) * np.log(10) / 20
    levels = rng.normal(0, 1, (_KNOCKS, _MODES)) * (_HERTZ[0] / hertz) ** rng.uniform(0.2, 0.9)
    found = damped_waves(
        np.asarray(levels * -1j, complex), rates / sample_rate, round(_SECONDS * sample_rate)
    )
    found *= np.linspace(1, 0, found.shape[1], dtype=np.float32)
    found /= np.abs(found).max(axis=1, keepdims=True)
    return found


def action_noise(
    times: NDArray[np.float64],
    sounds: NDArray[np.float32],
    samples: int,
    sample_rate: int,
    decibels: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """A knock soon after each of some times: (samples,).

    Args:
        times: seconds at which keys or the pedal are let go, any number of them outside the samples.
        sounds: from `knocks`.
        samples, sample_rate: of what is wanted.
        decibels: of the largest sample of a knock, relative to 1, at the median.
        rng: draws which knock it is, how loud, and how late.
    """
    noise = np.zeros(samples, np.float32)
    times = times[(times > -_SECONDS - _LATE_SECONDS) & (times < samples / sample_rate)]
    begins = np.round((times + rng.uniform(0, _LATE_SECONDS, len(times))) * sample_rate).astype(int)
    gains = 10 ** ((decibels + rng.normal(0, _UNEVEN_DB, len(times))) / 20)
    which = rng.integers(len(sounds), size=len(times))
    length = sounds.shape[1]
    for begin, gain, sound in zip(begins.tolist(), gains.tolist(), sounds[which], strict=True):
        first, last = max(begin, 0), min(begin + length, samples)
        if first < last:
            noise[first:last] += np.float32(gain) * sound[first - begin : last - begin]
    return noise
