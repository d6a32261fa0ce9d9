"""What each reader must make of any bytes: what it promises, or one of its own errors."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from partranscribe.audio import probe, read_blocks
from partranscribe.checkpoint import load_front_end
from partranscribe.errors import AudioError, CheckpointError, NoteFileError
from partranscribe.note_io import read_notes
from partranscribe.torch_checkpoint import load_checkpoint

MOST_SECONDS = 7200.0  # of audio that a file of some kilobytes may stand for


def check_message(path: Path, error: Exception) -> None:
    """It tells which file is meant."""
    assert str(path) in str(error)


def check_audio(path: Path) -> None:
    """Samples, or an AudioError."""
    samples = 0
    try:
        info = probe(path)
        assert info.channels >= 1
        assert info.duration is None or np.isfinite(info.duration)
        for block in read_blocks(path, 16_000):
            assert block.dtype == np.float32
            assert np.isfinite(block).all()
            samples += len(block)
            assert samples < 16_000 * MOST_SECONDS
    except AudioError as error:
        check_message(path, error)


def check_notes(path: Path) -> None:
    """Notes that are possible, or a NoteFileError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            notes = read_notes(path)
    except NoteFileError as error:
        check_message(path, error)
        return
    for note in notes:
        assert 0 <= note.onset <= note.offset < np.inf
        assert 0 <= note.pitch <= 127
        assert 1 <= note.velocity <= 127


def check_checkpoint(path: Path) -> None:
    """A network and a front end of a size that can be used, or a CheckpointError."""
    try:
        model, info = load_checkpoint(path)
        front_end = load_front_end(info)
    except CheckpointError as error:
        check_message(path, error)
        return
    assert model.parameter_count() < 1e8
    assert front_end.config.n_fft < 1e6


class Reader(NamedTuple):
    """A reader with what tells it.

    Args:
        suffix: of the files that it is given.
        check: reads one of them, and raises whatever the reader may not.
    """

    suffix: str
    check: Callable[[Path], None]


READERS: Mapping[str, Reader] = {
    "audio": Reader(".wav", check_audio),  # libsndfile first, which goes by the content; then FFmpeg
    "ffmpeg": Reader(".mp3", check_audio),  # FFmpeg alone, whatever the content
    "midi": Reader(".mid", check_notes),
    "csv": Reader(".csv", check_notes),
    "tsv": Reader(".tsv", check_notes),
    "json": Reader(".json", check_notes),
    "checkpoint": Reader(".safetensors", check_checkpoint),
}
