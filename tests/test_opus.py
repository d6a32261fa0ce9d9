"""Pieces of Opus: they are short, and joined they are the recording."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import swelling_noise
from partranscribe.opus import MARGIN_SECONDS, PIECE_SECONDS, SAMPLE_RATE, opus_pieces
from synth import click

MARGIN = round(MARGIN_SECONDS * SAMPLE_RATE)
PIECE = round(PIECE_SECONDS * SAMPLE_RATE)


def decoded(piece: bytes) -> NDArray[np.float32]:
    with av.open(io.BytesIO(piece), "r") as container:
        frames = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    return np.concatenate(frames).astype(np.float32)


def blocks(audio: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    return [audio[first : first + PIECE] for first in range(0, len(audio), PIECE)]


def joined(pieces: list[NDArray[np.float32]], length: int) -> NDArray[np.float32]:
    """What the page does: each piece is faded into the next around their border."""
    audio = np.zeros(length + MARGIN, np.float32)
    rise = np.linspace(0, 1, 2 * MARGIN, dtype=np.float32)
    for index, piece in enumerate(pieces):
        piece = piece.copy()
        first = index * PIECE - (MARGIN if index else 0)
        if index:
            piece[: 2 * MARGIN] *= rise
        if index + 1 < len(pieces):
            piece[-2 * MARGIN :] *= rise[::-1]
        audio[first : first + len(piece)] += piece
    return audio[:length]


def test_every_piece_reaches_into_its_neighbours() -> None:
    audio = np.zeros(2 * PIECE + 5000, np.float32)
    lengths = [len(decoded(piece)) for piece in opus_pieces(blocks(audio))]
    assert lengths == [PIECE + MARGIN, PIECE + 2 * MARGIN, 5000 + MARGIN]


def test_pieces_join_to_the_recording_without_a_seam() -> None:
    time = np.arange(22 * SAMPLE_RATE) / SAMPLE_RATE
    audio = sum(0.1 * np.sin(2 * np.pi * hertz * time).astype(np.float32) for hertz in (262, 392, 523))
    assert isinstance(audio, np.ndarray)
    again = joined([decoded(piece) for piece in opus_pieces(blocks(audio))], len(audio))
    around = slice(PIECE - 2 * MARGIN, PIECE + 2 * MARGIN)
    assert np.sqrt(np.mean((again - audio)[around] ** 2)) < 0.05 * np.sqrt(np.mean(audio[around] ** 2))
    assert np.abs(np.diff(again[around])).max() < 1.2 * np.abs(np.diff(audio[around])).max()


@pytest.mark.parametrize("at", [0.5, 9.99, 10.0, 15.0, 20.001])
def test_nothing_moves_in_time(at: float) -> None:
    audio = click(at, 21.0, SAMPLE_RATE)[:, 0]
    again = joined([decoded(piece) for piece in opus_pieces(blocks(audio))], len(audio))
    assert np.argmax(np.abs(again)) / SAMPLE_RATE == pytest.approx(at, abs=0.001)


def test_a_minute_takes_less_than_six_hundred_kilobytes() -> None:
    noise = np.repeat(swelling_noise(0, 30 * 16_000), 3)
    assert sum(map(len, opus_pieces(blocks(noise)))) < 300_000


def test_no_audio_makes_no_pieces() -> None:
    assert list(opus_pieces([])) == []
