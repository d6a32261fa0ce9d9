"""The log-mel spectrogram as pictures: some rows for each piano key, in tiles, at several resolutions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from .config import FrontEndConfig
from .frontend import LogMel, LogMelStream
from .notes import LOWEST_PITCH, PITCHES

ROWS_PER_KEY = 3
TILE_FRAMES = 1024  # as wide as a tile is; half a minute at the finest level
LEVELS = (1, 8, 64)  # frames of the spectrogram in one column of a tile

_DARK, _BRIGHT = 0.7, 2.2  # log-mel values of black and white: room noise, and a loud partial
_QUALITY = 40  # of 100
_A4, _A4_HZ = 69, 440.0


@dataclass(frozen=True)
class Tile:
    """A part of the spectrogram.

    Args:
        level: index in `LEVELS`.
        index: how many tiles of its level come before it.
        webp: a grey picture, `TILE_FRAMES` wide but for the last, the highest key on top.
    """

    level: int
    index: int
    webp: bytes


def spectrogram_tiles(blocks: Iterable[NDArray[np.float32]], log_mel: LogMel) -> Iterator[Tile]:
    """The tiles of a recording: those of the finest level while the audio arrives, the others at its end.

    Args:
        blocks: (samples,) each, mono at the front end's sample rate.
        log_mel: the front end.
    """
    waiting: list[list[NDArray[np.uint8]]] = [[] for _ in LEVELS]  # (frames, rows) each
    counts = [0] * len(LEVELS)
    for frames in _key_rows(blocks, log_mel):
        waiting[0].append(frames)
        while sum(map(len, waiting[0])) >= TILE_FRAMES:
            joined = np.concatenate(waiting[0])
            tile, waiting[0] = joined[:TILE_FRAMES], [joined[TILE_FRAMES:]]
            waiting[1].append(_pooled(tile, LEVELS[1]))
            yield Tile(0, counts[0], webp_bytes(tile.T[::-1]))
            counts[0] += 1
    rest = np.concatenate(waiting[0])
    if len(rest):
        waiting[1].append(_pooled(rest, LEVELS[1]))
        yield Tile(0, counts[0], webp_bytes(rest.T[::-1]))
    for level in range(1, len(LEVELS)):
        whole = np.concatenate(waiting[level])
        if level + 1 < len(LEVELS):
            waiting[level + 1].append(_pooled(whole, LEVELS[level + 1] // LEVELS[level]))
        for index, first in enumerate(range(0, len(whole), TILE_FRAMES)):
            yield Tile(level, index, webp_bytes(whole[first : first + TILE_FRAMES].T[::-1]))


def _key_rows(blocks: Iterable[NDArray[np.float32]], log_mel: LogMel) -> Iterator[NDArray[np.uint8]]:
    """Brightness of each row of each key, from the lowest up: (frames, PITCHES * ROWS_PER_KEY)."""
    below, share = _bins_of_rows(log_mel.config)
    stream = LogMelStream(log_mel)
    for mel in _mels(blocks, stream):
        values = mel[:, below] * (1 - share) + mel[:, below + 1] * share
        yield (np.clip((values - _DARK) / (_BRIGHT - _DARK), 0, 1) * 255).astype(np.uint8)


def _mels(blocks: Iterable[NDArray[np.float32]], stream: LogMelStream) -> Iterator[NDArray[np.float32]]:
    """Log-mel frames, (frames, mels); of a recording that is too short for one, with silence behind it."""
    for block in blocks:
        yield from stream.push(block)
    needed = stream.needed - stream.samples
    if needed > 0:
        stream.push(np.zeros(needed, np.float32))
    yield from stream.finish()


def _bins_of_rows(config: FrontEndConfig) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each row the mel bin below its frequency, and how near it is to the next: 0..1."""
    middle = (ROWS_PER_KEY - 1) / 2
    keys = LOWEST_PITCH + (np.arange(PITCHES * ROWS_PER_KEY) - middle) / ROWS_PER_KEY
    hertz = _A4_HZ * 2 ** ((keys - _A4) / 12)
    lowest, highest = _mel(np.array([config.f_min, config.f_max]))
    # The peaks of the filters lie evenly between the limits, none of them on a limit.
    bins = np.clip(
        (_mel(hertz) - lowest) / (highest - lowest) * (config.n_mels + 1) - 1, 0, config.n_mels - 1
    )
    below = np.minimum(bins.astype(np.int64), config.n_mels - 2)
    return below, (bins - below).astype(np.float32)


def _mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    """On the mel scale of HTK, which the front end uses."""
    return np.asarray(2595 * np.log10(1 + hertz / 700))


def _pooled(frames: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """The brightest of every `factor` frames, fewer at the end: (frames, rows) -> (frames / factor, rows)."""
    return np.maximum.reduceat(frames, range(0, len(frames), factor), axis=0)


def webp_bytes(grey: NDArray[np.uint8]) -> bytes:
    """A WebP picture of (rows, columns), 0 black to 255 white."""
    import av  # not at the top: most calls do not need it

    context = av.CodecContext.create("libwebp", "w")
    assert isinstance(context, av.VideoCodecContext)
    context.height, context.width = grey.shape
    context.pix_fmt, context.time_base = "yuv420p", Fraction(1)
    context.options = {"quality": str(_QUALITY)}
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(grey), format="gray").reformat(format="yuv420p")
    picture.pts = 0
    return b"".join(bytes(packet) for packet in (*context.encode(picture), *context.encode(None)))
