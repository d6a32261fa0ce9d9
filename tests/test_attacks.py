"""By how much partials rise where notes begin, in sines that are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from partranscribe import attacks
from partranscribe.attacks import ATTACKS, AttackMeter, attacks_of
from partranscribe.notes import Place

RATE = 16_000
A4 = 440.0
FIRST, SECOND, ALL_PARTIALS, MIDDLE, UPPER, BRIGHT, ALL = range(ATTACKS)


def sine(hertz: float, db: float, start: float, seconds: float = 2.0) -> NDArray[np.float32]:
    """Of two seconds, silent until a start; full scale is 0 dB."""
    time = np.arange(round(seconds * RATE)) / RATE
    return (10 ** (db / 20) * np.sin(2 * np.pi * hertz * time) * (time >= start)).astype(np.float32)


def attack(audio: NDArray[np.float32], place: Place, tuning: float = A4) -> NDArray[np.float32]:
    (only,) = attacks_of(audio, [place], RATE, tuning)
    return only


def noise(seconds: float = 8.0) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


def places(count: int = 40, seconds: float = 8.0) -> list[Place]:
    """Notes in order, from the first sample to the last."""
    rng = np.random.default_rng(1)
    onsets = [0.0, *np.sort(rng.uniform(0, seconds, count - 2)).tolist(), seconds]
    return [(onset, int(pitch)) for onset, pitch in zip(onsets, rng.integers(21, 109, count), strict=True)]


def test_a_partial_rises_by_its_level() -> None:
    found = attack(sine(440, -20, 0.99) + sine(880, -40, 0.99), (1.0, 69))
    assert found[FIRST] == pytest.approx(-20, abs=0.3)
    assert found[SECOND] == pytest.approx(-40, abs=0.3)
    assert found[ALL_PARTIALS] == pytest.approx(-20, abs=0.3)
    assert found[UPPER] < -80


def test_twice_as_loud_is_six_decibels_more() -> None:
    soft, loud = (attack(gain * sine(440, -20, 0.99), (1.0, 69)) for gain in (1, 2))
    assert loud[FIRST] - soft[FIRST] == pytest.approx(6.02, abs=0.01)


def test_what_sounded_before_has_not_risen() -> None:
    found = attack(sine(440, -20, 0.0) + sine(880, -40, 0.99), (1.0, 69))
    assert found[FIRST] < -34
    assert found[SECOND] == pytest.approx(-40, abs=0.3)


def test_what_is_bright_and_all_that_sounds_is_told() -> None:
    found = attack(sine(4000, -30, 0.99), (1.0, 45))
    assert found[BRIGHT] == found[ALL]
    assert found[ALL] > found[FIRST] + 30
    dull = attack(sine(1000, -30, 0.99), (1.0, 45))
    assert dull[BRIGHT] < dull[ALL] - 30


def test_a_piano_that_is_off_pitch_is_measured_where_it_is() -> None:
    audio = sine(460, -20, 0.99)
    assert attack(audio, (1.0, 69), tuning=460.0)[FIRST] == pytest.approx(-20, abs=0.3)
    assert attack(audio, (1.0, 69))[FIRST] < -30


def test_partials_that_the_sample_rate_has_no_room_for_are_those_below_them() -> None:
    found = attack(sine(4186, -20, 0.99), (1.0, 108))
    assert found[FIRST] == pytest.approx(-20, abs=0.3)
    assert found[SECOND] == found[FIRST]


def test_silence_and_no_audio_are_faintest() -> None:
    for audio in (np.zeros(RATE, np.float32), np.zeros(0, np.float32)):
        np.testing.assert_array_equal(attack(audio, (0.5, 60)), np.full(ATTACKS, -100.0, np.float32))
    assert attacks_of(noise(), [], RATE, A4) == []


def test_notes_are_measured_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = attacks_of(noise(), places(), RATE, A4)
    monkeypatch.setattr(attacks, "_TOGETHER", 7)
    np.testing.assert_array_equal(attacks_of(noise(), places(), RATE, A4), whole)


@pytest.mark.parametrize("block", [37, 4096, 10 * RATE])
def test_what_is_measured_does_not_depend_on_where_audio_is_cut(block: int) -> None:
    audio, notes, meter = noise(), places(), AttackMeter(RATE)
    done, most = 0, 0
    for first in range(0, len(audio), block):
        meter.push(audio[first : first + block])
        decided = min(first + block, len(audio)) / RATE
        begun = [place for place in notes[done:] if place[0] < decided]
        meter.begin(begun, decided, A4)
        done += len(begun)
        most = max(most, sum(map(len, meter._blocks)))
    meter.begin(notes[done:], 8.0, A4)
    found = meter.finish(A4)
    assert list(found) == notes
    np.testing.assert_array_equal(np.stack([*found.values()]), np.stack(attacks_of(audio, notes, RATE, A4)))
    assert most <= max(block + 0.5 * RATE, len(audio) * (block > len(audio)))


def test_audio_may_come_long_before_notes_are_decoded() -> None:
    meter = AttackMeter(RATE)
    meter.push(noise())
    for place in places():
        meter.begin([place], place[0], A4)
    expected = attacks_of(noise(), places(), RATE, A4)
    np.testing.assert_array_equal(np.stack([*meter.finish(A4).values()]), np.stack(expected))


def test_what_it_gives_is_at_the_times_of_the_recording() -> None:
    meter = AttackMeter(RATE, start=2.5)
    meter.push(noise())
    meter.begin(places(), 8.0, A4)
    assert list(meter.finish(A4)) == [(2.5 + onset, pitch) for onset, pitch in places()]
