"""Sympathetic resonance: what all strings of a piano add to its sound while the sustain pedal is down."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from ..notes import LOWEST_PITCH, PITCHES
from .waves import damped_waves

_SECONDS = 3.0  # of the response
_HIGHEST_HERTZ = 5000.0
_DECAY_SECONDS = (12.0, 1.5)  # in which the lowest and the highest key's fundamental fall by 60 dB
_STIFFNESS = (2e-4, 4e-3)  # inharmonicity coefficient of the lowest and of the highest key
_DAMPED_SECONDS = 0.4  # in which the dampers let it fall by 60 dB
_SILENT_SECONDS = 0.6  # after which they have silenced it
_SIXTY_DB = np.log(1000.0)


def strings_response(rng: np.random.Generator, sample_rate: int) -> NDArray[np.float32]:
    """What free strings answer to an impulse: (samples,), of unit energy.

    Every partial of every key is a decaying sinusoid; the higher ones are softer and decay sooner.

    Args:
        rng: draws phases, levels, and how much each string is out of tune.
        sample_rate: of the response.
    """
    partials = np.arange(1, 41)
    pitch = LOWEST_PITCH + np.arange(PITCHES)[:, None] + rng.normal(0, 0.03, (PITCHES, 1))
    fundamental = 440 * 2 ** ((pitch - 69) / 12)
    stiffness = np.geomspace(*_STIFFNESS, PITCHES)[:, None]
    frequency = fundamental * partials * np.sqrt(1 + stiffness * partials**2)
    decay = np.geomspace(*_DECAY_SECONDS, PITCHES)[:, None] / np.sqrt(partials)
    amplitude = np.exp(rng.normal(0, 0.5, frequency.shape)) / partials
    phase = rng.uniform(0, 2 * np.pi, frequency.shape)
    heard = frequency < min(_HIGHEST_HERTZ, sample_rate / 2)
    exponent = (-_SIXTY_DB / decay + 2j * np.pi * frequency)[heard] / sample_rate
    first = (amplitude * np.exp(1j * phase))[heard]
    (response,) = damped_waves(first[None], exponent, round(_SECONDS * sample_rate))
    result: NDArray[np.float32] = response / np.linalg.norm(response)
    return result


def ringing(
    audio: NDArray[np.float32], pedal: NDArray[np.float64], response: NDArray[np.float32], sample_rate: int
) -> NDArray[np.float32]:
    """What the strings add to a sound: (samples,), silent while the pedal is up, but for a short fall.

    Args:
        audio: (samples,), the strings that were struck.
        pedal: (times, 2): seconds at which the pedal is pressed and let go, in order, as `pedal_held`.
        response: from `strings_response`.
        sample_rate: of both.
    """
    result = np.zeros_like(audio)
    near = np.clip(np.round(pedal * sample_rate), 0, len(audio)).astype(int)
    near = near[near[:, 1] > near[:, 0]]
    # Where the pedal is pressed before the dampers touch the strings, these ring on.
    is_new = np.diff(near[:, 0], prepend=-1) > 0
    is_new[1:] &= near[1:, 0] > near[:-1, 1]
    presses, releases = near[is_new, 0], near[np.roll(is_new, -1), 1]
    fall = np.exp(-_SIXTY_DB / _DAMPED_SECONDS * np.arange(0, _SILENT_SECONDS, 1 / sample_rate))
    for press, release in zip(presses, releases, strict=True):
        end = min(release + len(fall), len(audio))
        rung = fftconvolve(audio[press:release], response[: end - press])[: end - press]
        rung[release - press :] *= fall[: len(rung) - (release - press)]
        result[press : press + len(rung)] += rung
    return result
