"""Pianos that were never built sound as pianos do: in tune, brighter when struck harder, the bass longest."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from partranscribe.notes import LOWEST_PITCH, PITCHES
from partranscribe.sampler import LOUDEST_DB, Instrument, Sound, attack_level
from partranscribe.training.modelled import modelled_piano

RATE = 16_000
KEYS = range(PITCHES)
MIDDLE_C = 60 - LOWEST_PITCH


@pytest.fixture(scope="module", params=[0, 1])
def piano(request: pytest.FixtureRequest) -> Instrument:
    return modelled_piano("made up", np.random.default_rng(request.param), RATE)


def audio(sound: Sound) -> NDArray[np.float64]:
    return np.asarray(sound.samples * sound.gain, float)


def keys(piano: Instrument, layer: int) -> list[Sound]:
    (layers,) = piano.sounds.values()
    return list(layers[layer])


def spectrum(sound: Sound, seconds: float = 0.5) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Frequencies and magnitudes of what follows the attack."""
    part = audio(sound)[sound.attack : sound.attack + round(seconds * RATE)]
    magnitudes = np.abs(np.fft.rfft(part * np.hanning(len(part)), 1 << 17))
    return np.fft.rfftfreq(1 << 17, 1 / RATE), magnitudes


def test_every_key_sounds_at_every_layer(piano: Instrument) -> None:
    assert list(piano.layers) == sorted(set(piano.layers))
    for layer in range(len(piano.layers)):
        assert len(keys(piano, layer)) == PITCHES
        for sound in keys(piano, layer):
            assert np.abs(sound.samples).max() == 32767
            assert sound.gain > 0


def test_keys_are_in_tune(piano: Instrument) -> None:
    for pitch in range(48, 85, 3):
        hertz, magnitudes = spectrum(keys(piano, 2)[pitch - LOWEST_PITCH])
        wanted = 440 * 2 ** ((pitch - 69) / 12)
        near = (hertz > wanted * 2 ** (-1 / 12)) & (hertz < wanted * 2 ** (1 / 12))
        found = hertz[near][magnitudes[near].argmax()]
        assert abs(1200 * np.log2(found / wanted)) < 25, pitch


def test_partials_of_a_bass_string_are_too_high(piano: Instrument) -> None:
    hertz, magnitudes = spectrum(keys(piano, 3)[33 - LOWEST_PITCH], 2.0)
    near = (hertz > 54) & (hertz < 56)
    first = hertz[near][magnitudes[near].argmax()]
    tenth = (hertz > 10 * first * 0.98) & (hertz < 10 * first * 1.04)
    assert hertz[tenth][magnitudes[tenth].argmax()] > 10 * first * 1.001


def test_an_attack_is_where_it_is_said_to_be(piano: Instrument) -> None:
    for layer in range(len(piano.layers)):
        for sound in keys(piano, layer):
            begin = np.flatnonzero(sound.samples)[0]
            assert 0 <= (sound.attack - begin) / RATE < 0.005


def test_loudness_is_that_of_the_key_whatever_the_layer(piano: Instrument) -> None:
    for key in KEYS:
        levels = [
            attack_level((audio(sound)[sound.attack :]).astype(np.float32), RATE)
            for sound in (keys(piano, layer)[key] for layer in range(len(piano.layers)))
        ]
        assert np.ptp(levels) < 0.1
        if key == MIDDLE_C:
            assert levels[0] == pytest.approx(LOUDEST_DB, abs=0.1)


def test_what_is_struck_harder_is_brighter(piano: Instrument) -> None:
    for pitch in range(36, 85, 6):
        centres = []
        for layer in range(len(piano.layers)):
            hertz, magnitudes = spectrum(keys(piano, layer)[pitch - LOWEST_PITCH])
            centres.append(float(np.sum(hertz * magnitudes**2) / np.sum(magnitudes**2)))
        assert all(np.diff(centres) > 0)


def test_sound_falls_and_the_treble_falls_fastest(piano: Instrument) -> None:
    def fall(pitch: int) -> float:
        """Decibels from 0.3 s after the attack to a second."""
        sound = keys(piano, 2)[pitch - LOWEST_PITCH]
        begin, later = (sound.attack + round(seconds * RATE) for seconds in (0.0, 0.7))
        heard = audio(sound).astype(np.float32)
        return attack_level(heard[begin:], RATE) - attack_level(heard[later:], RATE)

    falls = [np.mean([fall(pitch) for pitch in range(first, first + 12)]) for first in (24, 48, 72)]
    assert 2 < falls[0] < falls[1] < falls[2]


def test_sounds_end_without_a_click(piano: Instrument) -> None:
    for sound in keys(piano, 2):
        heard = audio(sound).astype(np.float32)
        assert 0.5 < len(heard) / RATE < 7
        assert attack_level(heard, RATE) - attack_level(heard[-len(heard) // 100 :], RATE) > 30


def test_pianos_differ_and_can_be_made_again() -> None:
    one, same, other = (modelled_piano("it", np.random.default_rng(seed), RATE) for seed in (3, 3, 4))
    for first, second in zip(keys(one, 1), keys(same, 1), strict=True):
        assert np.array_equal(first.samples, second.samples)
        assert first.gain == second.gain

    def bands(piano: Instrument) -> NDArray[np.float64]:
        """Decibels of partials of middle C relative to the loudest."""
        hertz, magnitudes = spectrum(keys(piano, 1)[MIDDLE_C])
        levels = [magnitudes[np.abs(hertz - 261.6 * n) < 60].max() for n in range(1, 9)]
        return np.asarray(20 * np.log10(np.array(levels) / max(levels)), float)

    assert np.abs(bands(one) - bands(other)).max() > 6
