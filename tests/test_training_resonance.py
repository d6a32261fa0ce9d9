"""Strings ring at their partials, while the pedal is down and no longer."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from partranscribe.training.resonance import ringing, strings_response

RATE = 16_000


@pytest.fixture(scope="module")
def response() -> NDArray[np.float32]:
    return strings_response(np.random.default_rng(0), RATE)


def noise(seconds: float) -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=round(seconds * RATE)).astype(np.float32)


def energy(audio: NDArray[np.float32]) -> float:
    return float(np.mean(audio**2))


def test_strings_answer_at_their_partials_and_decay(response: NDArray[np.float32]) -> None:
    assert np.linalg.norm(response) == pytest.approx(1, abs=1e-5)
    spectrum = np.abs(np.fft.rfft(response))
    hertz = np.fft.rfftfreq(len(response), 1 / RATE)
    strongest = hertz[spectrum > 0.3 * spectrum.max()]
    pitch = 69 + 12 * np.log2(strongest / 440)
    assert len(strongest) > 20
    assert np.abs(pitch - np.round(pitch)).max() < 0.25
    assert 20 < 10 * np.log10(energy(response[: RATE // 2]) / energy(response[-RATE // 2 :])) < 60


def test_every_piano_is_out_of_tune_in_its_own_way() -> None:
    first, again, other = (strings_response(np.random.default_rng(seed), RATE) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert abs(np.dot(first, other)) < 0.5


def test_nothing_rings_without_the_pedal(response: NDArray[np.float32]) -> None:
    audio = noise(2.0)
    for pedal in (np.zeros((0, 2)), np.array([(-3.0, -1.0), (2.5, 4.0)])):
        assert not ringing(audio, pedal, response, RATE).any()


def test_what_is_played_while_the_pedal_is_down_rings_until_it_is_let_go(
    response: NDArray[np.float32],
) -> None:
    audio = noise(3.0)
    rung = ringing(audio, np.array([(0.5, 2.0)]), response, RATE)
    begin, end = RATE // 2, 2 * RATE
    assert not rung[:begin].any()
    expected = fftconvolve(audio[begin:end], response)[: end - begin]
    np.testing.assert_allclose(rung[begin:end], expected, atol=1e-4 * np.abs(expected).max())
    fallen = [
        10 * np.log10(energy(rung[end - 800 : end]) / energy(rung[end + later - 800 : end + later]))
        for later in (RATE // 5, 2 * RATE // 5)
    ]
    assert fallen[0] > 20
    assert fallen[1] - fallen[0] == pytest.approx(30, abs=5)


def test_dampers_silence_what_rang_before(response: NDArray[np.float32]) -> None:
    audio = noise(4.0)
    audio[RATE:] = 0
    pedal = np.array([(0.0, 1.0), (1.5, 3.0), (3.1, 9.0)])
    rung = ringing(audio, pedal, response, RATE)
    alone = ringing(audio, pedal[:1], response, RATE)
    np.testing.assert_allclose(rung, alone, atol=1e-5)
    assert energy(rung[round(1.5 * RATE) :]) < 1e-6 * energy(rung[:RATE])


def test_strings_ring_on_where_the_dampers_did_not_touch_them(response: NDArray[np.float32]) -> None:
    audio = noise(4.0)
    whole = ringing(audio, np.array([(0.5, 3.0)]), response, RATE)
    parts = ringing(
        audio, np.array([(-2.0, 0.0), (0.5, 1.0), (1.0, 2.0), (2.0, 3.0), (9.0, 9.5)]), response, RATE
    )
    np.testing.assert_allclose(parts, whole, atol=1e-5)
