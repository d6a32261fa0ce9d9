"""Pianos that were never built sound as pianos do: in tune, brighter when struck harder, the bass longest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from partranscribe.notes import LOWEST_PITCH, PITCHES
from partranscribe.sampler import LOUDEST_DB, Instrument, Sound, attack_level
from partranscribe.training.modelled import Character, modelled_key, modelled_piano, numbered_piano

RATE = 16_000
MIDDLE_C = 60 - LOWEST_PITCH

PLAIN = Character(
    stretch=0.0,
    inharmonicity=(-9.0, -9.0),
    struck=(1 / 8, 1 / 8),
    hardness=1000.0,
    softening=1.0,
    slope=2.0,
    decay=1.0,
    brilliance=3000.0,
    aftersound_db=-60.0,
    aftersound_rate=0.2,
    unison_cents=0.0,
    ragged_db=0.0,
    knock_db=-80.0,
    body=np.zeros(36),
    attack_seconds=0.001,
    balance_db=(0.0, 0.0),
)


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


def key(pitch: int, character: Character) -> Sound:
    return modelled_key(pitch, character, np.random.default_rng(0), RATE)[1]


def level(sound: Sound, begin: float = 0.0) -> float:
    """Decibels over 0.3 s from some seconds after the attack."""
    return attack_level(audio(sound)[sound.attack + round(begin * RATE) :].astype(np.float32), RATE)


def partial(sound: Sound, hertz: float) -> float:
    """Decibels of the loudest within a quarter of a semitone."""
    frequencies, magnitudes = spectrum(sound)
    near = np.abs(np.log2(np.maximum(frequencies, 1) / hertz)) < 1 / 48
    return float(20 * np.log10(magnitudes[near].max()))


def test_every_key_sounds_at_every_layer(piano: Instrument) -> None:
    assert list(piano.layers) == sorted(set(piano.layers))
    for layer in range(len(piano.layers)):
        assert len(keys(piano, layer)) == PITCHES
        for sound in keys(piano, layer):
            assert np.abs(sound.samples).max() == 32767
            assert sound.gain > 0


def test_keys_are_in_tune(piano: Instrument) -> None:
    for pitch in range(48, 85, 3):
        hertz, magnitudes = spectrum(keys(piano, 1)[pitch - LOWEST_PITCH])
        wanted = 440 * 2 ** ((pitch - 69) / 12)
        near = (hertz > wanted * 2 ** (-1 / 12)) & (hertz < wanted * 2 ** (1 / 12))
        found = hertz[near][magnitudes[near].argmax()]
        assert abs(1200 * np.log2(found / wanted)) < 25, pitch


def test_partials_of_a_bass_string_are_too_high(piano: Instrument) -> None:
    hertz, magnitudes = spectrum(keys(piano, 2)[33 - LOWEST_PITCH], 2.0)
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
    for number in range(PITCHES):
        levels = [level(keys(piano, layer)[number]) for layer in range(len(piano.layers))]
        assert np.ptp(levels) < 0.1
        if number == MIDDLE_C:
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
        """Decibels from the first 0.3 s to 0.3 s that begin 0.7 s after the attack."""
        sound = keys(piano, 1)[pitch - LOWEST_PITCH]
        return level(sound) - level(sound, 0.7)

    falls = [np.mean([fall(pitch) for pitch in range(first, first + 12)]) for first in (24, 48, 72)]
    assert 2 < falls[0] < falls[1] < falls[2]


def test_sounds_end_without_a_click(piano: Instrument) -> None:
    for sound in keys(piano, 2):
        heard = audio(sound).astype(np.float32)
        assert 0.5 < len(heard) / RATE < 12.1
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


def test_both_ends_are_as_loud_and_as_far_stretched_as_they_are_told_to_be() -> None:
    ends = {21: (-5.0, 27.5, -30), 108: (-12.0, 4186.0, 30)}
    for pitch, (decibels, hertz, cents) in ends.items():
        sound = key(pitch, replace(PLAIN, stretch=30.0, balance_db=(-5.0, -12.0)))
        assert level(sound) == pytest.approx(LOUDEST_DB + decibels, abs=0.1)
        frequencies, magnitudes = spectrum(sound, 2.0)
        near = np.abs(np.log2(np.maximum(frequencies, 1) / hertz)) < 1 / 12
        found = frequencies[near][magnitudes[near].argmax()]
        assert 1200 * np.log2(found / hertz) == pytest.approx(cents, abs=12)


def test_a_string_hardly_sounds_the_partial_at_whose_node_it_is_struck() -> None:
    sound = key(36, PLAIN)
    assert partial(sound, 8 * 65.41) < partial(sound, 7 * 65.41) - 10


def test_what_falls_slowly_is_heard_late() -> None:
    short, long = (key(60, replace(PLAIN, aftersound_db=decibels)) for decibels in (-40.0, -10.0))
    assert level(long, 1.2) > level(short, 1.2) + 6
    assert level(long, 0.0) == pytest.approx(level(short, 0.0), abs=0.1)


def test_strings_out_of_tune_beat() -> None:
    def rough(cents: float) -> float:
        """How far the level of what falls slowly is off a straight line, in decibels."""
        sound = key(60, replace(PLAIN, aftersound_db=20.0, unison_cents=cents))
        times = np.arange(0.5, 3.0, 0.1)
        levels = [level(sound, time) for time in times]
        return float(np.std(levels - np.polyval(np.polyfit(times, levels, 2), times)))

    assert rough(8.0) > 3 * rough(0.0)


def test_the_knock_is_below_the_tone_of_a_high_key() -> None:
    def low(decibels: float) -> float:
        hertz, magnitudes = spectrum(key(96, replace(PLAIN, knock_db=decibels)), 0.1)
        return float(np.sum(magnitudes[hertz < 1000] ** 2) / np.sum(magnitudes**2))

    assert low(-10.0) > 30 * low(-40.0)


def test_the_soundboard_colours_all_keys() -> None:
    body = np.zeros(36)
    body[19:22] = 12.0  # about five octaves above 16 Hz
    changed, plain = (key(60, replace(PLAIN, body=one)) for one in (body, np.zeros(36)))
    second, third = (partial(changed, 261.6 * n) - partial(plain, 261.6 * n) for n in (2, 3))
    assert second - third == pytest.approx(12, abs=1.5)


def test_a_slow_attack_is_heard_later() -> None:
    quick, slow = (key(30, replace(PLAIN, attack_seconds=seconds)).attack for seconds in (0.001, 0.01))
    assert slow > quick


def test_numbered_pianos_are_made_once_and_differ() -> None:
    first, second = numbered_piano(0, RATE), numbered_piano(1000, RATE)
    assert (first.name, second.name) == ("modelled-0", "modelled-1000")
    assert numbered_piano(0, RATE) is first
    assert not np.array_equal(keys(first, 0)[MIDDLE_C].samples, keys(second, 0)[MIDDLE_C].samples)
