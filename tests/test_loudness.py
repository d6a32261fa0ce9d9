"""Loudness is that of what sounds, and the gain brings a whole recording to a level."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from partranscribe.loudness import brought_to, gain_to, loudness

RATE = 16_000


def sine(seconds: float, amplitude: float = 0.1) -> NDArray[np.float32]:
    time = np.arange(round(seconds * RATE)) / RATE
    return np.asarray(amplitude * np.sin(2 * np.pi * 440 * time), np.float32)


def silence(seconds: float) -> NDArray[np.float32]:
    return np.zeros(round(seconds * RATE), np.float32)


def test_a_sine_is_3_db_below_its_peak() -> None:
    assert loudness([sine(4)], RATE) == pytest.approx(-23.01, abs=0.01)


def test_pauses_do_not_count() -> None:
    audio = np.concatenate((silence(8), sine(4), sine(8, 0.001)))
    assert loudness([audio], RATE) == pytest.approx(-23.01, abs=0.01)


def test_soft_music_counts() -> None:
    audio = np.concatenate((sine(4), sine(4, 0.05)))
    assert loudness([audio], RATE) == pytest.approx(-23.01 + 10 * np.log10(1.25 / 2), abs=0.01)


@pytest.mark.parametrize("size", [100, 6_401, 50_000])
def test_loudness_does_not_depend_on_where_the_audio_is_cut(size: int) -> None:
    rng = np.random.default_rng(1)
    audio = np.asarray(rng.standard_normal(5 * RATE) * np.geomspace(0.001, 0.1, 5 * RATE), np.float32)
    cuts = [*range(0, len(audio), size), len(audio)]
    blocks = [audio[begin:end] for begin, end in pairwise(cuts)]
    assert loudness(blocks, RATE) == pytest.approx(loudness([audio], RATE), abs=1e-9)


def test_silence_has_no_loudness() -> None:
    for audio in (silence(0), silence(3), sine(3, 1e-4)):
        assert loudness([audio], RATE) is None
    assert gain_to(-35, None) == 1


def test_a_recording_shorter_than_a_span_has_one() -> None:
    assert loudness([sine(0.1)], RATE) == pytest.approx(-23.01, abs=0.01)


def test_gain_is_30_db_at_most() -> None:
    assert gain_to(-35, -23) == pytest.approx(10 ** (-12 / 20))
    assert gain_to(-35, -69) == pytest.approx(10 ** (30 / 20))
    assert gain_to(-35, 0) == pytest.approx(10 ** (-35 / 20))
    assert gain_to(-35, 90) == pytest.approx(10 ** (-125 / 20))  # 16 bits, exported as whole numbers


@pytest.mark.parametrize(("kept_seconds", "expected_reads"), [(4.0, 1), (3.9, 2)])
def test_a_recording_is_brought_to_a_level_as_a_whole_and_a_long_one_read_twice(
    kept_seconds: float, expected_reads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("partranscribe.loudness._KEPT_SECONDS", kept_seconds)
    reads = []

    def read() -> Iterator[NDArray[np.float32]]:
        reads.append(1)
        yield from (sine(2), sine(2, 0.05))

    blocks = list(brought_to(-35.0, read, RATE))
    assert len(reads) == expected_reads
    assert len(blocks) == 2
    assert loudness(blocks, RATE) == pytest.approx(-35, abs=1e-4)
    np.testing.assert_allclose(blocks[1], blocks[0] * 0.5, atol=1e-6)
    assert {block.dtype for block in blocks} == {np.dtype(np.float32)}


@pytest.mark.parametrize("level", [-35.0, 0.0])
def test_all_blocks_are_heard_as_they_are_before_the_first_is_given(level: float) -> None:
    heard: list[NDArray[np.float32]] = []
    blocks = brought_to(level, lambda: iter((sine(2), sine(2, 0.05))), RATE, heard.append)
    next(blocks)
    np.testing.assert_array_equal(heard, [sine(2), sine(2, 0.05)])
    assert len(list(blocks)) == 1
    assert len(heard) == 2


def test_samples_are_the_same_however_long_the_recording_is(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [sine(2), sine(2, 0.05), sine(1, 0.2)]
    kept = [*brought_to(-35.0, lambda: iter(blocks), RATE)]
    monkeypatch.setattr("partranscribe.loudness._KEPT_SECONDS", 3.0)
    np.testing.assert_array_equal(
        np.concatenate([*brought_to(-35.0, lambda: iter(blocks), RATE)]), np.concatenate(kept)
    )


def test_level_0_reads_once_and_changes_nothing() -> None:
    reads = []

    def read() -> Iterator[NDArray[np.float32]]:
        reads.append(1)
        yield sine(2)

    (block,) = brought_to(0.0, read, RATE)
    assert len(reads) == 1
    np.testing.assert_array_equal(block, sine(2))
