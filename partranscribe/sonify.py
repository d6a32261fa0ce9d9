"""Notes as sound: on the sampled piano of the package, alone or beside the recording."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from io import FileIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

from .audio import read_blocks
from .errors import OutputError
from .note_array import note_array
from .notes import HIGHEST_PITCH, LOWEST_PITCH, Note, in_order
from .sampler import Instrument, Voices, load_instrument
from .tuning import CONCERT_PITCH
from .whole_file import foreign, whole_file

FORMATS = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}
SAMPLE_RATE = 16_000  # of the piano's samples, and of what the model hears

_PIANO = Path(__file__).parent / "piano"
_BLOCK_SECONDS = 30.0
_WRITTEN = 16_384  # samples at once; libsndfile crashes on a long Vorbis block
_MADE_HERE = "made by partranscribe"  # by which a sound is told from a recording
_GAIN = 2.0  # brings a lively piece near to full scale
_HIGHEST_PEAK = 0.95  # of full scale

Samples = NDArray[np.float32]


def write_sound(
    path: Path,
    notes: Sequence[Note],
    *,
    start: float = 0.0,
    seconds: float | None = None,
    tuning: float = CONCERT_PITCH,
    alive: Callable[[], None] = lambda: None,
) -> None:
    """Write notes as sound, whole or not at all, in memory that does not grow with its length.

    A note sounds up to its offset, and the louder the higher its velocity. The same notes make the same
    bytes, except for a number that Ogg draws for every file. Only where the whole would be clipped is it made
    softer.

    Args:
        path: one of `FORMATS` by its ending; a file that is there is replaced.
        notes: in any order; those on keys that a piano does not have are left out.
        start: seconds of the notes' time at which the sound begins, >= 0.
        seconds: how long it is; None to end when the last note has died away.
        tuning: frequency of A4 in Hz.
        alive: is called now and then, for one who waits.

    Raises:
        OutputError: the ending is unknown, the length is, or the file cannot be written.
    """
    check_format(path)
    voices = _voices(notes, tuning)
    first = round(start * SAMPLE_RATE)
    samples = voices.end - first if seconds is None else round(seconds * SAMPLE_RATE)
    if seconds is None and samples <= 0:
        raise OutputError(f"{path}: no note sounds after {start:g} s; tell how long the silence shall be")
    peak = _level(_parts(voices, first, samples), alive).peak
    gain = min(_GAIN, _HIGHEST_PEAK / peak) if peak else 1.0
    _write(path, 1, (gain * part for part in _parts(voices, first, samples)), alive)


def write_stereo(
    path: Path,
    recording: Path,
    notes: Sequence[Note],
    *,
    start: float = 0.0,
    end: float | None = None,
    tuning: float = CONCERT_PITCH,
    alive: Callable[[], None] = lambda: None,
) -> None:
    """Write a recording on the left and its notes on the right, as `write_sound` does, for as long as it is.

    The notes are as loud as the recording, on average or, if that is softer, at their loudest.

    Args:
        path: one of `FORMATS` by its ending; a file that is there is replaced.
        recording: any that can be transcribed; its channels are mixed to one.
        notes: in any order, in the time of the recording.
        start: seconds from the start of the recording at which the sound begins, >= 0.
        end: seconds from there at which it ends; None for the end of the recording.
        tuning: frequency of A4 in Hz.
        alive: is called now and then, for one who waits.

    Raises:
        AudioError: the recording cannot be read.
        OutputError: the ending is unknown, or the file cannot be written.
    """
    check_format(path)
    voices = _voices(notes, tuning)
    first = round(start * SAMPLE_RATE)

    def recorded() -> Iterator[Samples]:
        return read_blocks(recording, SAMPLE_RATE, start=start, end=end, block_seconds=_BLOCK_SECONDS)

    left = _level(recorded(), alive)
    right = _level(_parts(voices, first, left.samples), alive)
    gain = min(1.0, _HIGHEST_PEAK / left.peak) if left.peak else 1.0
    balance = min(left.rms / right.rms, left.peak / right.peak) if right.peak else 1.0
    pairs = zip(recorded(), _parts(voices, first, left.samples), strict=True)
    _write(path, 2, (gain * np.stack((one, balance * other), axis=1) for one, other in pairs), alive)


def check_format(path: Path) -> None:
    """Make sure that an ending is one of `FORMATS`.

    Raises:
        OutputError: it is not.
    """
    if path.suffix.lower() not in FORMATS:
        raise OutputError(f"{path}: {path.suffix!r} is no format of sound; use {', '.join(FORMATS)}")


def refuse_other(path: Path) -> None:
    """Make sure that a sound that is there was written by `write_sound` or `write_stereo`.

    Raises:
        OutputError: it was not: it may be a recording.
    """
    with suppress(soundfile.SoundFileError), soundfile.SoundFile(path) as file:
        if file.comment == _MADE_HERE:
            return
    raise foreign(path)


@lru_cache(maxsize=2)
def piano(tuning: float = CONCERT_PITCH) -> Instrument:
    """The sampled piano of the package, at `SAMPLE_RATE`."""
    return load_instrument(_PIANO / "upright.opus", _PIANO / "upright.csv", SAMPLE_RATE, tuning)


def _voices(notes: Iterable[Note], tuning: float) -> Voices:
    playable = [note for note in notes if LOWEST_PITCH <= note.pitch <= HIGHEST_PITCH]
    return Voices(note_array(in_order(playable)), piano(tuning))


def _parts(voices: Voices, first: int, samples: int) -> Iterator[Samples]:
    """`samples` from `first` on, in blocks of which only the last is shorter: (samples,) each."""
    size = round(_BLOCK_SECONDS * SAMPLE_RATE)
    for begin in range(0, samples, size):
        yield voices.render(first + begin, min(size, samples - begin))


class _Level(NamedTuple):
    """How long some sound is, its highest peak, and its root mean square."""

    samples: int
    peak: float
    rms: float


def _level(blocks: Iterable[Samples], alive: Callable[[], None]) -> _Level:
    samples, peak, energy = 0, 0.0, 0.0
    for block in blocks:
        alive()
        samples += len(block)
        peak = max(peak, float(np.abs(block).max()))
        energy += float(np.sum(np.square(block, dtype=np.float64)))
    return _Level(samples, peak, float(np.sqrt(energy / max(samples, 1))))


class _Sink:
    """A file for libsndfile, which does not tell of every write that failed; this one remembers.

    Args:
        file: open for writing, without a buffer.
    """

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            if self._file.write(data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self.error = self.error or error
        return len(data)

    def check(self) -> None:
        """Raise the error of the first write that failed, if there is one."""
        if self.error is not None:
            raise self.error

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _write(
    path: Path, channels: int, blocks: Iterable[NDArray[np.floating]], alive: Callable[[], None]
) -> None:
    """Write (samples,) or (samples, channels) each."""
    container, codec = FORMATS[path.suffix.lower()]
    with whole_file(path) as temporary, temporary.open("r+b", buffering=0) as opened:
        sink = _Sink(opened)
        try:
            with soundfile.SoundFile(sink, "w", SAMPLE_RATE, channels, codec, format=container) as file:
                file.comment = _MADE_HERE
                for block in blocks:
                    alive()
                    for begin in range(0, len(block), _WRITTEN):
                        file.write(block[begin : begin + _WRITTEN])
                        sink.check()
        except soundfile.SoundFileError as error:
            fact = f"cannot be written ({error})"
            raise OutputError(f"{path}: {fact}; is there room on the disk?") from error
        sink.check()
