"""Whether a piece was entered note by note shows by its onsets."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from partranscribe.rhythm import RHYTHM_FEATURES, beginnings_of, features_of_rhythm, gaps_in_chords

(
    MEDIAN_GAP,
    MEAN_GAP,
    INTERVAL,
    DENSITY,
    MEDIAN_UNEVEN,
    MEAN_UNEVEN,
    FROM_RATIOS,
    ALIKE,
    GOES_ON,
) = range(RHYTHM_FEATURES)


def chords(*intervals: float, gap: float = 0.0) -> NDArray[np.float64]:
    """Onsets of chords of two notes with some seconds between them, and within each."""
    begins = np.cumsum([1.0, *intervals])
    return np.sort(np.concatenate((begins, begins + gap)))


def test_notes_within_30_ms_are_one_beginning() -> None:
    found = beginnings_of(np.array([1.0, 1.02, 1.04, 1.08, 2.0]))
    assert found.seconds == pytest.approx([1.02, 1.08, 2.0])
    assert found.group.tolist() == [0, 0, 0, 1, 2]
    assert np.exp(found.interval) - 0.03 == pytest.approx((0.06 + 0.92) / 2)


def test_notes_within_50_ms_are_a_chord() -> None:
    assert gaps_in_chords(np.array([1.0, 1.02, 1.06, 1.12])) == pytest.approx([0.02, 0.04])


@pytest.mark.parametrize("gap", [0.0, 0.02])
def test_chords_tell_how_exactly_they_begin_together(gap: float) -> None:
    found = features_of_rhythm(chords(*(60 * [0.25]), gap=gap))
    assert np.exp(found[MEDIAN_GAP]) - 0.001 == pytest.approx(gap, abs=1e-6)
    # Six of 10 ms are among them: of few chords nothing can be told.
    assert np.exp(found[MEAN_GAP]) - 0.001 == pytest.approx((61 * gap + 6 * 0.01) / 67, abs=1e-6)


def test_even_rhythms_are_told_from_uneven_ones_whatever_their_values() -> None:
    rng = np.random.default_rng(0)
    values = rng.choice([0.125, 0.25, 0.25, 0.5], 400)
    even = features_of_rhythm(chords(*values))
    played = features_of_rhythm(chords(*(values + rng.normal(0, 0.02, len(values)))))
    assert np.exp(even[MEDIAN_UNEVEN]) - 0.002 < 1e-6
    assert np.exp(played[MEDIAN_UNEVEN]) - 0.002 > 0.01
    assert np.exp(even[MEAN_UNEVEN]) < np.exp(played[MEAN_UNEVEN]) / 3
    assert even[FROM_RATIOS] < 0.005 < 0.05 < played[FROM_RATIOS]
    assert even[[INTERVAL, DENSITY]] == pytest.approx(played[[INTERVAL, DENSITY]], abs=0.05)
    same = np.mean(np.diff(np.log(values)) == 0)
    assert even[ALIKE] == pytest.approx((same * 399 + 3) / 405, abs=1e-6)


def test_a_change_of_tempo_is_not_uneven() -> None:
    """That a piece slows down by a few percent is in what was entered, too."""
    slows = features_of_rhythm(chords(*np.geomspace(0.2, 0.4, 200)))
    assert np.exp(slows[MEDIAN_UNEVEN]) - 0.002 < 0.0015


def test_onsets_that_are_off_are_told_from_a_tempo_that_changes() -> None:
    rng = np.random.default_rng(0)
    onsets = 0.25 * np.arange(600) + rng.normal(0, 0.008, 600)
    off = features_of_rhythm(np.sort(np.concatenate((onsets, onsets + 0.001))))
    assert off[GOES_ON] == pytest.approx(-2 / 3, abs=0.05)
    sways = features_of_rhythm(chords(*(0.25 + 0.03 * np.sin(np.arange(600) / 4))))
    assert sways[GOES_ON] > 0.9


def test_pauses_are_no_rhythm() -> None:
    even = 20 * [0.25]
    assert features_of_rhythm(chords(*even, 7.3, *even))[MEDIAN_UNEVEN] == pytest.approx(
        np.log(0.002), abs=1e-3
    )


@pytest.mark.parametrize("onsets", [[0.0], [3.0, 3.0], [1.0, 1.5], [1.0, 1.01, 9.0]])
def test_few_notes_tell_as_much_as_none(onsets: list[float]) -> None:
    found = features_of_rhythm(np.array(onsets))
    assert np.isfinite(found).all()
    assert np.exp(found[MEDIAN_GAP]) - 0.001 == pytest.approx(0.01)
    assert np.exp(found[MEDIAN_UNEVEN]) - 0.002 == pytest.approx(0.02)
    assert found[[FROM_RATIOS, ALIKE, GOES_ON]] == pytest.approx([0.1, 0.5, 0.0])
