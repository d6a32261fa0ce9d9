"""Pictures of the spectrogram: the right rows are bright, and every level shows the same."""

from __future__ import annotations

import io
from collections.abc import Sequence

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from partranscribe.config import FrontEndConfig
from partranscribe.frontend import LogMel
from partranscribe.notes import LOWEST_PITCH, PITCHES
from partranscribe.spectrogram import LEVELS, ROWS_PER_KEY, TILE_FRAMES, Tile, spectrogram_tiles
from synth import tone

CONFIG = FrontEndConfig()
RATE = CONFIG.sample_rate


@pytest.fixture(scope="module")
def log_mel() -> LogMel:
    return LogMel(CONFIG)


def grey(tile: Tile) -> NDArray[np.uint8]:
    """(rows, columns), the lowest key first."""
    with av.open(io.BytesIO(tile.webp), "r") as container:
        (picture,) = list(container.decode(video=0))
        return np.asarray(picture.to_ndarray(format="gray"), np.uint8)[::-1]


def level(tiles: Sequence[Tile], number: int) -> NDArray[np.uint8]:
    chosen = [tile for tile in tiles if tile.level == number]
    assert [tile.index for tile in chosen] == list(range(len(chosen)))
    return np.concatenate([grey(tile) for tile in chosen], axis=1)


@pytest.mark.parametrize("pitch", [45, 60, 72, 96])
def test_a_note_is_brightest_in_the_row_of_its_key(pitch: int, log_mel: LogMel) -> None:
    frequency = 440 * 2 ** ((pitch - 69) / 12)
    audio = 0.3 * np.sin(2 * np.pi * frequency * np.arange(2 * RATE) / RATE).astype(np.float32)
    rows = level(list(spectrogram_tiles([audio], log_mel)), 0)
    assert rows.shape == (PITCHES * ROWS_PER_KEY, 1 + len(audio) // CONFIG.hop_length)
    profile = rows.mean(axis=1)
    assert np.abs(np.average(np.arange(len(profile)), weights=profile**8) / ROWS_PER_KEY) == pytest.approx(
        pitch - LOWEST_PITCH + (ROWS_PER_KEY - 1) / 2 / ROWS_PER_KEY, abs=0.35
    )


def test_a_note_is_bright_from_its_onset_on(log_mel: LogMel) -> None:
    audio = np.concatenate((np.zeros(2 * RATE, np.float32), tone(69, 1.0, RATE), np.zeros(RATE, np.float32)))
    row = level(list(spectrogram_tiles([audio], log_mel)), 0)[(69 - LOWEST_PITCH) * ROWS_PER_KEY + 1]
    onset = int(np.argmax(row > 100)) * CONFIG.seconds_per_frame
    assert onset == pytest.approx(2.0, abs=0.15)  # half a window of the spectrum


def test_levels_show_the_brightest_of_what_they_join(log_mel: LogMel) -> None:
    audio = np.concatenate([tone(pitch, 3.0, RATE) for pitch in range(48, 84, 2)])
    tiles = list(spectrogram_tiles(np.array_split(audio, 7), log_mel))
    finest = level(tiles, 0)
    assert finest.shape[1] == 1 + len(audio) // CONFIG.hop_length
    assert finest.shape[1] > TILE_FRAMES
    for number, factor in enumerate(LEVELS):
        starts = list(range(0, finest.shape[1], factor))
        coarse = level(tiles, number)
        assert coarse.shape[1] == len(starts)
        expected = np.maximum.reduceat(finest, starts, axis=1)
        assert np.abs(coarse.astype(int) - expected).mean() < 12  # the pictures are compressed with a loss


def test_less_than_a_spectrum_of_audio_is_a_picture_too(log_mel: LogMel) -> None:
    tiles = list(spectrogram_tiles([np.full(10, 0.1, np.float32)], log_mel))
    assert [tile.level for tile in tiles] == list(range(len(LEVELS)))
