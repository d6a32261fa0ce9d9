"""What the sampler plays is what the notes say: attacks, dampers, strikes, tuning and loudness."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from partranscribe.note_array import NoteArray
from partranscribe.notes import HIGHEST_PITCH, LOWEST_PITCH
from partranscribe.sampler import Instrument, SamplerSettings, Voices, damper_contact
from synth import sampled_piano

RATE = 16_000
NEAR = SamplerSettings(microphone="near")


@pytest.fixture(scope="module")
def piano(tmp_path_factory: pytest.TempPathFactory) -> Instrument:
    return sampled_piano(tmp_path_factory.mktemp("piano"), RATE)


def notes_of(*rows: tuple[float, float, int, int]) -> NoteArray:
    return np.array(rows, float)


def play(
    piano: Instrument, notes: NoteArray, seconds: float, settings: SamplerSettings = NEAR
) -> NDArray[np.float32]:
    return Voices(notes, piano, settings).render(0, round(seconds * RATE))


def hertz(pitch: float) -> float:
    return float(440 * 2 ** ((pitch - 69) / 12))


def loudness(audio: NDArray[np.float32], begin: float, end: float) -> float:
    return float(10 * np.log10(np.mean(audio[round(begin * RATE) : round(end * RATE)] ** 2) + 1e-20))


def strongest(audio: NDArray[np.float32]) -> float:
    """Frequency of the highest peak of the spectrum, to a fraction of a cent."""
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio)), 1 << 21))
    return float(np.argmax(spectrum) * RATE / (1 << 21))


def random_notes(seed: int, count: int, seconds: float) -> NoteArray:
    """On all keys, some of them struck again while they sound."""
    rng = np.random.default_rng(seed)
    onsets = np.sort(rng.uniform(0, seconds, count))
    keys = rng.integers(LOWEST_PITCH, HIGHEST_PITCH + 1, count)
    return np.stack((onsets, onsets + rng.exponential(0.5, count), keys, rng.integers(1, 128, count)), axis=1)


def test_attacks_are_heard_at_the_onsets(piano: Instrument) -> None:
    onsets = np.cumsum(np.random.default_rng(1).uniform(0.4, 0.6, 30))
    pitches = np.linspace(40, 88, 30).round()
    velocities = np.linspace(10, 120, 30).round()
    notes = np.stack((onsets, onsets + 0.15, pitches, velocities), axis=1)
    audio = np.abs(play(piano, notes, 20, SamplerSettings(microphone="near", release=(0.1, 0.1))))
    for onset in onsets:
        around = audio[round((onset - 0.1) * RATE) : round((onset + 0.1) * RATE)]
        found = onset - 0.1 + np.argmax(around > 0.1 * around.max()) / RATE
        assert found == pytest.approx(onset, abs=0.002)


def test_damper_falls_at_the_offset(piano: Instrument) -> None:
    held = play(piano, notes_of((0.5, 3.0, 60, 90)), 2)
    short = play(piano, notes_of((0.5, 1.0, 60, 90)), 2)
    np.testing.assert_array_equal(short[:RATE], held[:RATE])
    assert loudness(short, 1.05, 1.07) < loudness(held, 1.05, 1.07) - 8
    assert not short[round(1.6 * RATE) :].any()


def test_dampers_take_longer_in_the_bass(piano: Instrument) -> None:
    lasts = []
    for pitch in (24, 50, 88):
        audio = play(piano, notes_of((0.0, 0.5, pitch, 90)), 2)
        lasts.append(float(np.flatnonzero(audio)[-1] / RATE - 0.5))
    assert lasts == sorted(lasts, reverse=True)
    assert 0.1 <= lasts[-1] < lasts[0] <= 0.6


def test_top_keys_have_no_dampers(piano: Instrument) -> None:
    np.testing.assert_array_equal(
        play(piano, notes_of((0.1, 0.2, 96, 90)), 2), play(piano, notes_of((0.1, 1.9, 96, 90)), 2)
    )


@pytest.mark.parametrize("pitch", [60, 96])
def test_a_strike_ends_what_its_key_sounded_before(piano: Instrument, pitch: int) -> None:
    twice = play(piano, notes_of((0.5, 1.0, pitch, 90), (1.0, 1.5, pitch, 60)), 2)
    second = play(piano, notes_of((1.0, 1.5, pitch, 60)), 2)
    before = twice - second
    assert loudness(before, 0.97, 1.0) > -60
    assert np.abs(before[round(1.081 * RATE) :]).max() < 1e-6
    assert loudness(before, 1.0, 1.01) > -60


def test_loudness_rises_evenly_over_all_layers(piano: Instrument) -> None:
    velocities = range(1, 128, 3)
    for pitch in (36, 55, 96):
        rows = [play(piano, notes_of((0.1, 1.0, pitch, velocity)), 0.5) for velocity in velocities]
        steps = np.diff([loudness(row, 0.1, 0.4) for row in rows])
        assert steps == pytest.approx(3 * NEAR.decibels_per_velocity, abs=0.1)


@pytest.mark.parametrize("pitch", [45, 60, 65])
def test_every_key_is_in_tune(piano: Instrument, pitch: int) -> None:
    audio = play(piano, notes_of((0.0, 2.5, pitch, 90)), 2.5)
    assert 1200 * np.log2(strongest(audio) / hertz(pitch)) == pytest.approx(0, abs=0.5)


def test_a_key_may_be_louder_and_the_dampers_slower(piano: Instrument) -> None:
    note = notes_of((0.0, 0.5, 60, 90))
    plain = play(piano, note, 2)
    uneven = tuple(6.0 if pitch == 60 else 0.0 for pitch in range(LOWEST_PITCH, HIGHEST_PITCH + 1))
    louder = play(piano, note, 2, SamplerSettings(microphone="near", unevenness=uneven))
    assert loudness(louder, 0, 0.5) - loudness(plain, 0, 0.5) == pytest.approx(6, abs=0.01)
    slower = play(piano, note, 2, SamplerSettings(microphone="near", slowness=2.0))
    lasts = [np.flatnonzero(audio)[-1] / RATE - 0.5 for audio in (plain, slower)]
    assert lasts[1] == pytest.approx(2 * lasts[0], rel=0.01)


def test_strings_may_fall_faster_than_those_that_were_sampled(piano: Instrument) -> None:
    note = notes_of((0.0, 1.5, 60, 90))
    plain, faster = play(piano, note, 2), play(piano, note, 2, SamplerSettings("near", extra_decay=6.0))
    for time in (0.1, 0.6, 1.4):
        fallen = loudness(plain, time, time + 0.05) - loudness(faster, time, time + 0.05)
        assert fallen == pytest.approx(6 * (time + 0.025), abs=0.1)


def test_a_damper_may_touch_the_string_after_the_offset(piano: Instrument) -> None:
    late = play(piano, notes_of((0.5, 1.0, 60, 90)), 2, SamplerSettings(microphone="near", damper_delay=0.1))
    np.testing.assert_array_equal(late, play(piano, notes_of((0.5, 1.1, 60, 90)), 2))


@pytest.mark.parametrize(
    ("delay", "lift", "lain"), [(0.0, 1.0, 0.1), (0.03, 1.0, 0.1), (0.05, 0.2, 0.06), (0.15, 0.2, 0.0)]
)
def test_a_string_not_yet_silent_rings_on_when_the_pedal_is_pressed_again(
    piano: Instrument, delay: float, lift: float, lain: float
) -> None:
    """Let go at 0.5 s, pressed again at 0.6 s, let go for good at 1.5 s; 60 dB take 0.41 s."""
    settings = SamplerSettings(microphone="near", release=(0.41, 0.41), damper_delay=delay, lift=lift)
    note = notes_of((0.0, 0.5, 60, 90))
    pedal = np.array([(0.2, 127.0), (0.5, 0.0), (0.6, 127.0), (1.5, 0.0)])
    caught = Voices(note, piano, settings, damper_contact(pedal, settings)).render(0, 3 * RATE)
    held = play(piano, notes_of((0.0, 3.0, 60, 90)), 3)
    for begin in (0.65, 1.0, 1.4):
        fallen = loudness(held, begin, begin + 0.05) - loudness(caught, begin, begin + 0.05)
        assert fallen == pytest.approx(60 * lain / 0.41, abs=0.01)
    assert np.flatnonzero(caught)[-1] / RATE == pytest.approx(1.5 + 0.41 - lain + delay, abs=0.01)
    let_go = play(piano, note, 3, settings)
    np.testing.assert_allclose(caught[: round(0.6 * RATE)], let_go[: round(0.6 * RATE)], atol=1e-6)
    assert not let_go[round((0.5 + delay + 0.42) * RATE) :].any()


@pytest.mark.parametrize(
    ("value", "contact"), [(127, 0.0), (80, 0.0), (70, 0.25), (60, 0.5), (40, 1.0), (0, 1.0)]
)
def test_a_pedal_between_lets_dampers_lie_more_lightly(
    piano: Instrument, value: float, contact: float
) -> None:
    """Dampers begin to lift at 40, and are up from 80 on."""
    settings = SamplerSettings("near", release=(1.0, 1.0), pedal_depth=80.0, pedal_play=40.0)
    pedal = np.array([(0.2, value), (1.5, 0.0)])
    contact_of = damper_contact(pedal, settings)
    heard = Voices(notes_of((0.0, 0.5, 60, 90)), piano, settings, contact_of).render(0, 3 * RATE)
    held = play(piano, notes_of((0.0, 3.0, 60, 90)), 3)
    for begin in (0.6, 1.0, 1.2):
        fallen = loudness(held, begin, begin + 0.02) - loudness(heard, begin, begin + 0.02)
        assert fallen == pytest.approx(60 * contact * (begin + 0.01 - 0.5), abs=0.1)
    assert np.flatnonzero(heard)[-1] / RATE == pytest.approx(2.5 - contact, abs=0.01)


@pytest.mark.parametrize("sizes", [(1, 79_999), (16_000,) * 5, (7, 33, 12_345, 40_000, 27_615)])
def test_parts_join_to_the_whole_to_the_bit(piano: Instrument, sizes: tuple[int, ...]) -> None:
    voices = Voices(random_notes(1, 80, 5.0), piano)
    starts = np.cumsum((0, *sizes))
    parts = [voices.render(int(start), size) for start, size in zip(starts, sizes, strict=False)]
    whole = voices.render(0, 80_000)
    assert np.abs(whole).max() > 0.05
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_all_is_silent_from_the_end_on(piano: Instrument) -> None:
    for notes in (notes_of((0.5, 1.0, 60, 90)), notes_of((0.5, 0.6, 100, 90), (0.5, 9.0, 40, 90))):
        voices = Voices(notes, piano)
        assert voices.render(voices.end - 40, 40).any()
        assert not voices.render(voices.end, RATE).any()
    assert Voices(np.zeros((0, 4)), piano).end == 0
