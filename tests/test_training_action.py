"""The action of a piano knocks soon after keys are let go, as loud as it is told to, and not elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from partranscribe.training.action import action_noise, knocks

RATE = 16_000


@pytest.fixture(scope="module")
def sounds() -> NDArray[np.float32]:
    return knocks(np.random.default_rng(0), RATE)


def noise(sounds: NDArray[np.float32], times: list[float], seconds: float = 1.0) -> NDArray[np.float32]:
    rng = np.random.default_rng(1)
    return action_noise(np.array(times), sounds, round(seconds * RATE), RATE, -40.0, rng)


def test_a_knock_is_short_and_low(sounds: NDArray[np.float32]) -> None:
    assert np.abs(sounds).max(axis=1) == pytest.approx(1.0)
    for sound in sounds:
        assert np.abs(sound[RATE // 5 :]).max() < 0.2
        power = np.abs(np.fft.rfft(sound)) ** 2
        assert power[np.fft.rfftfreq(len(sound), 1 / RATE) < 3000].sum() > 0.95 * power.sum()


def test_it_knocks_soon_after_a_release(sounds: NDArray[np.float32]) -> None:
    heard = noise(sounds, [0.5])
    assert not heard[: RATE // 2].any()
    assert np.abs(heard[RATE // 2 : round(0.56 * RATE)]).max() == np.abs(heard).max() > 0


def test_knocks_are_as_loud_as_they_are_told_to_be_at_the_median(sounds: NDArray[np.float32]) -> None:
    heard = noise(sounds, np.arange(0.0, 400.0, 0.5).tolist(), 400.0)
    peaks = np.abs(heard).reshape(-1, RATE // 2).max(axis=1)
    assert 20 * np.log10(np.median(peaks)) == pytest.approx(-40.0, abs=0.6)
    assert 2 < np.std(20 * np.log10(peaks)) < 6


def test_releases_before_and_after_are_cut_where_the_samples_are(sounds: NDArray[np.float32]) -> None:
    assert not noise(sounds, [-1.0, 1.0, 30.0]).any()
    begun_before = noise(sounds, [-0.05])
    assert begun_before[:10].any()
    assert not begun_before[RATE // 4 :].any()
    assert not noise(sounds, []).any()


def test_the_seed_decides(sounds: NDArray[np.float32]) -> None:
    np.testing.assert_array_equal(noise(sounds, [0.2, 0.4]), noise(sounds, [0.2, 0.4]))
    assert not np.array_equal(sounds, knocks(np.random.default_rng(2), RATE))
