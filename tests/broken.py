"""Recordings that are broken, each in a way of its own, with the words in which a user is told."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from synth import Samples, add_video, encode_video, write_audio

RATE = 16_000


def _noise() -> Samples:
    """A second of it."""
    return (0.1 * np.random.default_rng(0).standard_normal(RATE)).astype(np.float32)


def _wav(data: bytes, *, declared: int | None = None, channels: int = 1, rate: int = RATE) -> bytes:
    """A WAV file of 16 bits, whose header says what it likes."""
    size = len(data) if declared is None else declared
    facts = (16, 1, channels, rate, rate * 2 * channels & 0xFFFF_FFFF, 2 * channels & 0xFFFF, 16)
    sized = struct.pack("<I", 36 + size) + b"WAVEfmt " + struct.pack("<IHHIIHH", *facts)
    return b"RIFF" + sized + b"data" + struct.pack("<I", size) + data


def _of(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def _cut(path: Path, share: float) -> None:
    """Leave the beginning of a good recording."""
    data = write_audio(path, _noise(), RATE).read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def _patched(path: Path, mark: bytes, at: int, content: bytes) -> None:
    """Let a good recording claim something, so many bytes behind a mark."""
    data = bytearray(write_audio(path, _noise(), RATE).read_bytes())
    first = data.index(mark) + at
    data[first : first + len(content)] = content
    path.write_bytes(data)


def _cut_samples(path: Path, count: int) -> None:
    write_audio(path, _noise()[:count], RATE)


def _damage(path: Path) -> None:
    """Overwrite the second half of a good recording."""
    data = write_audio(path, _noise(), RATE).read_bytes()
    half = len(data) // 2
    path.write_bytes(data[:half] + bytes(len(data) - half))


def _not_finite(path: Path, value: float) -> None:
    audio = _noise()
    audio[1000] = value
    write_audio(path, audio, RATE, "FLOAT")


def _film(path: Path) -> None:
    """Pictures without a sound."""
    with av.open(str(path), "w") as container:
        encode_video(container, add_video(container), 1)


_SECOND = bytes(2 * RATE)
_HUNDRED_HOURS = _wav(_SECOND, declared=2 * 4000 * 360_000, rate=4000)
_AU = struct.pack(">4s5I", b".snd", 24, len(_SECOND), 3, RATE, 1 << 31) + _SECOND
_RANDOM = np.random.default_rng(1).integers(0, 128, 20_000, np.uint8).tobytes()  # no frame of MP3 begins so


class Way(NamedTuple):
    """A way in which a recording is broken.

    Args:
        make: writes it to a path.
        reason: words that must be among those that tell what is wrong.
    """

    make: Callable[[Path], object]
    reason: str


# By the name of the file. What is cut off by more than a quarter of a second is refused, too: --end takes
# what is there of it.
WAYS: Mapping[str, Way] = {
    "cut.flac": Way(partial(_cut, share=0.6), "not decodable"),
    "cut.m4a": Way(partial(_cut, share=0.6), "neither libsndfile nor FFmpeg can read it"),
    "cut.wav": Way(partial(_cut, share=0.6), "of 1.0 s: the file is cut off"),
    "damaged.flac": Way(_damage, "not decodable"),
    "empty.wav": Way(_of(b""), "the file is empty"),
    "fast.wav": Way(_of(_wav(_SECOND, rate=(1 << 31) - 1)), "its header tells 2147483647 samples a second"),
    "half_a_header.wav": Way(_of(_wav(_SECOND)[:20]), "neither libsndfile nor FFmpeg can read it"),
    "hundred_hours.flac": Way(
        partial(_patched, mark=b"fLaC", at=21, content=b"\xf1\x56\xf9\x54\x00"), " s: the file is cut off"
    ),
    "hundred_hours.wav": Way(_of(_HUNDRED_HOURS), "of 360000.0 s: the file is cut off"),
    "infinite.wav": Way(partial(_not_finite, value=math.inf), "the sample at 0.062 s is not finite"),
    "list_of_itself.wav": Way(
        _of(b"ffconcat version 1.0\nfile list_of_itself.wav\n"), "neither libsndfile nor FFmpeg can read it"
    ),
    "many_channels.au": Way(_of(_AU), "neither libsndfile nor FFmpeg can read it"),
    "many_channels.wav": Way(_of(_wav(_SECOND, channels=65_535)), "holds no audio that can be decoded"),
    "many_packets.m4a": Way(
        partial(_patched, mark=b"stts", at=8, content=b"\x7f\xff\xff\xff"),
        "neither libsndfile nor FFmpeg can read it",
    ),
    "many_packets.mp3": Way(
        partial(_patched, mark=b"Xing", at=8, content=b"\x7f\xff\xff\xff"), " s: the file is cut off"
    ),
    "nan.wav": Way(partial(_not_finite, value=math.nan), "the sample at 0.062 s is not finite"),
    "no_rate.wav": Way(_of(_wav(_SECOND, rate=0)), "neither libsndfile nor FFmpeg can read it"),
    "no_samples.wav": Way(_of(_wav(b"")), "no samples"),
    "random.mp3": Way(_of(_RANDOM), "neither libsndfile nor FFmpeg can read it"),
    "script.wav": Way(
        _of(b"ts: pink/40 440/20\nNOW ts\n+23:00:00 ts\n"), "neither libsndfile nor FFmpeg can read it"
    ),
    "short.wav": Way(partial(_cut_samples, count=10), "one spectrum needs"),
    "silent_film.mp4": Way(_film, "holds no audio"),
    "text.wav": Way(_of(b"this is text\n" * 50), "neither libsndfile nor FFmpeg can read it"),
}
