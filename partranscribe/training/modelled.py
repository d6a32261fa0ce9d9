"""Pianos that were never built: every key computed as the sum of the partials of its strings.

Sampled pianos are few, and a network can learn each by heart. These differ in what one piano is told from
another by, in ranges that were laid around those of sampled grands and uprights.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..notes import HIGHEST_PITCH, LOWEST_PITCH
from ..sampler import LOUDEST_DB, Instrument, Sound, attack_level, attack_of, sound_of
from ..tuning import CONCERT_PITCH
from .draws import log_uniform
from .waves import damped_waves

_LAYERS = (1, 60, 90)  # the lowest velocity of each
_STRUCK = (42.0, 75.0, 108.0)  # velocity that stands for each
_LONGEST_SECONDS = 12.0
_SILENT_DB = 70.0  # a sound is cut where its slower partials have fallen by so much
_MOST_PARTIALS = 70
_A4 = 69
_MIDDLE_C = 60
_FIRST_UNISON = 32  # the lowest key of more than one string
_LEAD_SECONDS = 0.002  # before the hammer reaches the string
_KNOCK_MODES = 40
_BODY_OCTAVES = 0.25  # between the points of the response of the soundboard


@dataclass(frozen=True)
class Character:
    """By what one piano differs from others.

    Args:
        stretch: cents by which the lowest key is tuned too low, and the highest too high.
        inharmonicity: natural logarithms of the factors of that of the bass and the treble strings.
        struck: where the hammer meets the string, as a share of its length, at the bottom and at the top.
        hardness: frequency in Hz from which a hammer of velocity 127 excites less, at middle C.
        softening: exponent by which this frequency falls with velocity / 127.
        slope: order by which what is excited falls above it.
        decay: factor of how fast sound falls.
        brilliance: frequency in Hz from which partials fall faster.
        aftersound_db: level of what falls slowly, relative to what falls fast.
        aftersound_rate: how much slower.
        unison_cents: standard deviation of how far two parts of what falls slowly are out of tune, as the
            strings of a key are with each other.
        ragged_db: standard deviation of the level of a partial of one key.
        knock_db: level of the knock of key and hammer relative to the tone, at middle C.
        body: decibels of the response of the soundboard, at so many points evenly on a scale of octaves.
        attack_seconds: which the string takes to be set in motion, at the bottom.
        balance_db: level of the lowest and of the highest key, relative to middle C.
    """

    stretch: float
    inharmonicity: tuple[float, float]
    struck: tuple[float, float]
    hardness: float
    softening: float
    slope: float
    decay: float
    brilliance: float
    aftersound_db: float
    aftersound_rate: float
    unison_cents: float
    ragged_db: float
    knock_db: float
    body: NDArray[np.float64]
    attack_seconds: float
    balance_db: tuple[float, float]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Character:
        """One of endlessly many, every number drawn by itself."""
        roughness = rng.uniform(1.0, 5.0)
        body = rng.normal(0, roughness, round(9 / _BODY_OCTAVES))
        return cls(
            stretch=rng.uniform(5, 35),
            inharmonicity=(rng.normal(0, 0.4), rng.normal(0, 0.25)),
            struck=(rng.uniform(1 / 9, 1 / 6.5), rng.uniform(1 / 18, 1 / 9)),
            hardness=log_uniform(rng, (350, 1300)),
            softening=rng.uniform(0.5, 1.3),
            slope=rng.uniform(1.5, 3.0),
            decay=np.exp(rng.normal(0, 0.3)),
            brilliance=log_uniform(rng, (1000, 5000)),
            aftersound_db=rng.uniform(-22, -8),
            aftersound_rate=rng.uniform(0.12, 0.4),
            unison_cents=log_uniform(rng, (0.2, 4.0)),
            ragged_db=rng.uniform(2, 6),
            knock_db=rng.uniform(-28, -12),
            body=body,
            attack_seconds=rng.uniform(0.001, 0.004),
            balance_db=(rng.uniform(-6, 4), rng.uniform(-17, -6)),
        )


def _inharmonicity(pitch: int, of: Character) -> float:
    """B of f(n) = n f sqrt(1 + B n²), after fits to measured pianos: treble and bass strings."""
    treble, bass = 0.0926 * pitch - 13.64, -0.0847 * pitch - 5.82
    return float(np.exp(treble + of.inharmonicity[1]) + np.exp(bass + of.inharmonicity[0]))


def _body_gain(frequencies: NDArray[np.float64], of: Character) -> NDArray[np.float64]:
    """What the soundboard radiates of a force at some frequencies; little below 80 Hz and far above 4 kHz."""
    octaves = np.log2(np.maximum(frequencies, 16) / 16) / _BODY_OCTAVES
    decibels: NDArray[np.float64] = np.interp(octaves, np.arange(len(of.body)), of.body)
    high, low = frequencies / 4000, 80 / frequencies
    return 10 ** (decibels / 20) / ((1 + low**2) * (1 + high**2))


def _distance(pitch: int) -> float:
    """From middle C: -1 for the lowest key, 1 for the highest."""
    end = HIGHEST_PITCH if pitch > _MIDDLE_C else LOWEST_PITCH
    return (pitch - _MIDDLE_C) / abs(end - _MIDDLE_C)


def _height(pitch: int) -> float:
    """0 for the lowest key, 1 for the highest."""
    return (pitch - LOWEST_PITCH) / (HIGHEST_PITCH - LOWEST_PITCH)


def _decay(pitch: int, of: Character) -> float:
    """Decibels a second by which the first partials of a key fall at once."""
    return float(
        of.decay * np.interp(pitch, (21, 36, 48, 60, 72, 84, 96, 108), (7, 10, 16, 26, 38, 55, 85, 130))
    )


class _Key:
    """One key of a piano: its strings, whatever the hammer does."""

    def __init__(self, pitch: int, of: Character, rng: np.random.Generator, rate: int) -> None:
        self._of, self._pitch, self._rate = of, pitch, rate
        far = _distance(pitch)
        cents = of.stretch * np.sign(far) * far**2 + rng.normal(0, 1.5)
        fundamental = CONCERT_PITCH * 2 ** ((pitch - _A4) / 12 + cents / 1200)
        number, stiffness = np.arange(1, _MOST_PARTIALS + 1), _inharmonicity(pitch, of)
        frequencies = number * fundamental * np.sqrt((1 + stiffness * number**2) / (1 + stiffness))
        kept = frequencies < 0.48 * rate
        kept[0] = True
        self._number, self._frequencies = number[kept], frequencies[kept]
        count = len(self._number)
        place = of.struck[0] * (of.struck[1] / of.struck[0]) ** _height(pitch)
        ragged = 10 ** (rng.normal(0, of.ragged_db, count) / 20)
        shape = np.abs(np.sin(np.pi * self._number * place)) + 0.03
        self._gain = shape * ragged * _body_gain(self._frequencies, of) * rng.choice((-1, 1), count)
        falls = _decay(pitch, of) * (1 + (self._frequencies / of.brilliance) ** 1.2)
        self._falls = np.maximum(falls * np.exp(rng.normal(0, 0.25, count)), 4.0)
        self._after = 10 ** ((of.aftersound_db + rng.normal(0, 4, (2, count))) / 20)
        self._after_falls = of.aftersound_rate * self._falls * np.exp(rng.normal(0, 0.2, (2, count)))
        unison = of.unison_cents if pitch >= _FIRST_UNISON else 0.0
        apart = np.array([[0.0], [unison], [unison]]) * rng.normal(0, 1, (3, 1))
        self._cents = apart + rng.normal(0, 0.1, (3, count))
        self._phases = rng.normal(0, 0.5, count)
        modes = np.exp(rng.uniform(np.log(40), np.log(2500), _KNOCK_MODES))
        knock = rng.normal(0, 1, _KNOCK_MODES) * (100 / modes) ** 0.6
        self._knock_frequencies, self._knock = modes, knock / np.sqrt(np.sum(knock**2))
        self._knock_falls = rng.uniform(60, 500, _KNOCK_MODES)

    def amplitudes(self, velocity: float) -> NDArray[np.complex128]:
        """Of all waves, once a hammer of some velocity has struck: (waves,)."""
        of = self._of
        corner = of.hardness * (velocity / 127) ** of.softening * 2 ** ((self._pitch - _MIDDLE_C) / 12 * 0.4)
        struck = self._gain / (1 + (self._frequencies / corner) ** 2) ** (of.slope / 2)
        tone = struck * np.exp(1j * self._phases)
        knock = 10 ** (of.knock_db / 20) * np.sqrt(np.sum(struck**2)) * 2 ** ((self._pitch - _MIDDLE_C) / 24)
        waves = (tone, tone * self._after[0], tone * self._after[1], knock * self._knock)
        return np.concatenate(waves) * -1j

    def rates(self) -> NDArray[np.complex128]:
        """Of all waves, nepers and radians a sample: (waves,), see `damped_waves`."""
        strings = self._frequencies * 2 ** (self._cents / 1200)
        frequencies = np.concatenate((strings.ravel(), self._knock_frequencies))
        falls = np.concatenate((self._falls, *self._after_falls, self._knock_falls))
        rates: NDArray[np.complex128] = 2j * np.pi * frequencies - falls * np.log(10) / 20
        return rates / self._rate

    def seconds(self) -> float:
        """Until little of it is heard, at most twelve."""
        slowest = np.sort(self._after_falls.min(axis=0))[: max(len(self._number) // 3, 1)].mean()
        return float(np.clip((_SILENT_DB + self._of.aftersound_db) / slowest, 0.6, _LONGEST_SECONDS))


def _attack(samples: int, rise: int) -> NDArray[np.float32]:
    """From silence to the whole within `rise` samples."""
    gain = np.ones(samples, np.float32)
    gain[:rise] = 0.5 - 0.5 * np.cos(np.pi * (np.arange(rise) + 0.5) / rise)
    return gain


def modelled_key(
    pitch: int, character: Character, rng: np.random.Generator, sample_rate: int = 16_000
) -> list[Sound]:
    """One key of a piano, at each layer.

    Args:
        pitch: MIDI note number, 21..108.
        character: of the piano.
        rng: draws by what the key differs from its neighbours.
        sample_rate: of the sounds, 16,000 or more, as the highest key has a fundamental of 4.2 kHz.
    """
    key = _Key(pitch, character, rng, sample_rate)
    lead, samples = round(_LEAD_SECONDS * sample_rate), round(key.seconds() * sample_rate)
    far = _distance(pitch)
    target = LOUDEST_DB + character.balance_db[int(far > 0)] * far**2
    rise = max(round(character.attack_seconds * 2 ** -_height(pitch) * sample_rate), 4)
    amplitudes = np.stack([key.amplitudes(velocity) for velocity in _STRUCK])
    sounds = []
    for wave in damped_waves(amplitudes, key.rates(), samples):
        audio = np.concatenate((np.zeros(lead, np.float32), wave * _attack(samples, rise)))
        attack = attack_of(audio, sample_rate)
        sounds.append(sound_of(audio, attack, attack_level(audio[attack:], sample_rate), target))
    return sounds


def modelled_piano(name: str, rng: np.random.Generator, sample_rate: int = 16_000) -> Instrument:
    """A piano with a character of its own, three layers and one microphone.

    Args:
        name: of it.
        rng: draws its character, and what differs from key to key.
        sample_rate: as for `modelled_key`.
    """
    character = Character.draw(rng)
    pitches = range(LOWEST_PITCH, HIGHEST_PITCH + 1)
    keys = [modelled_key(pitch, character, rng, sample_rate) for pitch in pitches]
    return Instrument(name, sample_rate, _LAYERS, {"modelled": [*zip(*keys, strict=True)]})


@functools.cache
def numbered_piano(number: int, sample_rate: int = 16_000) -> Instrument:
    """One of an endless row of pianos, made in a second and kept: some 60 MB.

    Args:
        number: of it, from 0 on.
        sample_rate: of its sounds.
    """
    return modelled_piano(f"modelled-{number}", np.random.default_rng(number), sample_rate)
