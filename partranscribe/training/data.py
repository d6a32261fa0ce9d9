"""Recordings with their notes, and random crops of them as the network is trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ..audio import AUDIO_SUFFIXES, read_blocks
from ..config import FrontEndConfig
from ..note_io import SUFFIXES, read_notes
from ..notes import Note
from .augment import Augmenter, ContextNoise
from .labels import OFFSET_COLUMN, ONSET_COLUMN, NoteArray, context_labels, frame_labels

_CONTEXT_SECONDS = 1.0  # of notes around a crop that context noise may move into it


@dataclass(frozen=True)
class Recording:
    """One piece: audio as 16-bit integers at the front end's rate (mapped from a file), and its notes."""

    name: str
    audio: NDArray[np.int16]
    notes: NoteArray


class Crop(NamedTuple):
    """One training example, or with a leading axis a batch of them.

    `audio` is (samples,) with the half window of the front end on both sides; the rest is
    (frames, pitches): true states, velocities where notes begin, and the corrupted context.
    """

    audio: Tensor
    state: Tensor
    velocity: Tensor
    context_state: Tensor
    context_duration: Tensor
    context_velocity: Tensor


def note_array(notes: Sequence[Note]) -> NoteArray:
    """Notes as rows of onset, offset, pitch and velocity."""
    rows = [(note.onset, note.offset, note.pitch, note.velocity) for note in notes]
    return np.array(rows, np.float64).reshape(-1, 4)


def labelled(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Every recording of a folder and below that has a note list beside it, and that list."""
    for source in sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES):
        beside = (source.with_suffix(ending) for ending in SUFFIXES)
        labels = next((path for path in beside if path.is_file()), None)
        if labels is not None:
            yield source, labels


def load_folder(folder: Path, cache: Path, sample_rate: int) -> list[Recording]:
    """Every recording of a folder that has a note list beside it, in the order of names.

    Args:
        folder: audio files, each with a note list of the same name.
        cache: where decoded audio is kept between runs, as one .npy file a recording.
        sample_rate: of the front end.
    """
    recordings = []
    for source, labels in labelled(folder):
        stored = cache / f"{source.stem}-{_fingerprint(source, sample_rate)}.npy"
        if not stored.exists():
            stored.parent.mkdir(parents=True, exist_ok=True)
            audio = np.concatenate(list(read_blocks(source, sample_rate)))
            partial = stored.with_suffix(".part.npy")
            np.save(partial, np.round(np.clip(audio, -1, 1) * 32767).astype(np.int16))
            partial.rename(stored)
        audio = np.load(stored, mmap_mode="r")
        recordings.append(Recording(source.stem, audio, note_array(read_notes(labels))))
    return recordings


def _fingerprint(source: Path, sample_rate: int) -> str:
    """Changes with the place and the content of a file, as far as its size and date tell."""
    status = source.stat()
    told = (str(source.resolve()), status.st_size, status.st_mtime_ns, sample_rate)
    return hashlib.sha256(repr(told).encode()).hexdigest()[:12]


class Crops(Dataset[Crop]):
    """Random crops, each a function of the seed and its index alone.

    Args:
        recordings: the pieces; each is drawn in proportion to its length.
        front_end: frame rate and window.
        frames: length of a crop.
        max_duration: frames at which the count of a note's duration ends.
        augmenter: what is done to the audio.
        noise: what is done to the context.
        seed: of everything random.
        first, count: range of indices that the data set stands for.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        front_end: FrontEndConfig,
        frames: int,
        max_duration: int,
        augmenter: Augmenter,
        noise: ContextNoise,
        seed: int,
        first: int,
        count: int,
    ) -> None:
        self._recordings, self._front_end, self._frames = recordings, front_end, frames
        self._max_duration, self._augmenter, self._noise = max_duration, augmenter, noise
        self._seed, self._first, self._count = seed, first, count
        lengths = np.array([len(recording.audio) for recording in recordings], float)
        self._odds = lengths / lengths.sum()

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Crop:
        if index >= self._count:
            raise IndexError(index)
        rng = np.random.default_rng((self._seed, self._first + index))
        recording = self._recordings[rng.choice(len(self._recordings), p=self._odds)]
        rate, front = self._front_end.sample_rate, self._front_end
        samples = front.n_fft + (self._frames - 1) * front.hop_length
        speed = self._augmenter.draw_speed(rng)
        lead = self._augmenter.lead_samples
        needed = int(np.ceil((samples + lead) * speed)) + 64
        # The crop's first frame, in samples of the recording, lies half a window and the lead after `begin`.
        begin = int(rng.integers(-lead, max(len(recording.audio) - needed // 2, 1)))
        audio = self._augmenter.apply(_cut(recording.audio, begin, needed), speed, lead, samples, rng)
        origin = (begin + (lead + front.n_fft // 2) * speed) / rate
        notes = recording.notes.copy()
        notes[:, :2] = (notes[:, :2] - origin) / speed
        fps = front.frames_per_second
        near = (notes[:, ONSET_COLUMN] < self._frames / fps + _CONTEXT_SECONDS) & (
            notes[:, OFFSET_COLUMN] > -self._max_duration / fps - _CONTEXT_SECONDS
        )
        return self._label(audio, notes[near], rng)

    def _label(self, audio: NDArray[np.float32], notes: NoteArray, rng: np.random.Generator) -> Crop:
        fps, before = self._front_end.frames_per_second, self._max_duration + 3
        labels = frame_labels(notes, 0, self._frames, fps)
        wrong = self._noise.notes(notes, self._frames / fps, fps, rng)
        # A note that began before all frames must not lose its onset there; its duration is cut anyway.
        wrong[:, ONSET_COLUMN] = np.maximum(wrong[:, ONSET_COLUMN], (1 - before) / fps)
        wrong_labels = frame_labels(wrong, -before, self._frames + before, fps)
        context = context_labels(self._noise.cells(wrong_labels, rng), self._max_duration)
        kept = 0 if self._noise.blanks(rng) else 1
        return Crop(
            torch.from_numpy(audio),
            torch.from_numpy(labels.state),
            torch.from_numpy(labels.velocity),
            *(torch.from_numpy(part[before:] * part.dtype.type(kept)) for part in context),
        )


def _cut(audio: NDArray[np.int16], begin: int, length: int) -> NDArray[np.float32]:
    """Samples begin to begin + length, as floats, with silence beyond the ends."""
    cut = np.zeros(length, np.float32)
    first, last = max(begin, 0), min(begin + length, len(audio))
    if last > first:
        cut[first - begin : last - begin] = audio[first:last].astype(np.float32) / 32768
    return cut
