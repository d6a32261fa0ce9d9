"""Where training passages come from, and random crops of them as the network is trained on."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ..audio import AUDIO_SUFFIXES, read_blocks
from ..config import FrontEndConfig
from ..errors import DataError
from ..loudness import gain_to, loudness
from ..manifest import Manifest, has_made
from ..note_array import OFFSET_COLUMN, ONSET_COLUMN, PITCH_COLUMN, NoteArray, note_array
from ..note_io import SUFFIXES, read_notes
from ..notes import HIGHEST_PITCH, LOWEST_PITCH
from ..paths import is_file, is_hidden
from ..remote import files_below
from .augment import Augmenter, ContextNoise
from .labels import context_labels, forgiving_labels, frame_labels, silence_before

PASSAGE_MARGIN = 1.0  # seconds around a passage whose notes are told: context noise may move them into it


class Passage(NamedTuple):
    """(samples,) of a piece, and the notes that sound within a second of them, in seconds from the first."""

    audio: NDArray[np.float32]
    notes: NoteArray


class Source(Protocol):
    """What passages are drawn from."""

    def draw(self, samples: int, lead: int, rng: np.random.Generator) -> Passage:
        """A passage from a random place; of its `samples`, the first `lead` may lie before the piece."""


@dataclass(frozen=True)
class Recording:
    """One piece.

    Args:
        name: of its file, without the ending.
        audio: 16-bit integers at the front end's rate.
        notes: of the piece.
        held_out: its data set keeps it for validation.
    """

    name: str
    audio: NDArray[np.int16] | StoredAudio
    notes: NoteArray
    held_out: bool = False

    def gain(self, front_end: FrontEndConfig) -> np.float32:
        """What brings it as a whole to the level of the front end."""
        if front_end.level == 0:
            return np.float32(1)
        audio = floats(self.audio[:])
        return np.float32(gain_to(front_end.level, loudness([audio], front_end.sample_rate)))


class StoredAudio:
    """Samples in a .npy file, of which only what is asked for is read; the file does not stay open.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._length = len(np.load(path, mmap_mode="r"))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, part: slice) -> NDArray[np.int16]:
        return np.array(np.load(self._path, mmap_mode="r")[part])


class Recordings:
    """Passages of recordings, each of which is drawn in proportion to its length.

    Args:
        recordings: the pieces.
        front_end: the rate of their audio, and the level that each is brought to.
    """

    def __init__(self, recordings: Sequence[Recording], front_end: FrontEndConfig) -> None:
        self._recordings, self._sample_rate = recordings, front_end.sample_rate
        self._gains = [recording.gain(front_end) for recording in recordings]
        lengths = np.array([len(recording.audio) for recording in recordings], float)
        self._odds = lengths / lengths.sum()

    def draw(self, samples: int, lead: int, rng: np.random.Generator) -> Passage:
        """See `Source.draw`."""
        index = int(rng.choice(len(self._recordings), p=self._odds))
        recording = self._recordings[index]
        begin = int(rng.integers(-lead, max(len(recording.audio) - samples // 2, 1)))
        notes = recording.notes.copy()
        notes[:, :2] -= begin / self._sample_rate
        audio = _cut(recording.audio, begin, samples) * self._gains[index]
        return Passage(audio, notes_near(notes, samples / self._sample_rate))


class Mixture:
    """Passages of several sources.

    Args:
        sources: with the share of each.
    """

    def __init__(self, sources: Sequence[tuple[float, Source]]) -> None:
        self._sources = [source for _, source in sources]
        shares = np.array([share for share, _ in sources])
        self._odds = shares / shares.sum()

    def draw(self, samples: int, lead: int, rng: np.random.Generator) -> Passage:
        """See `Source.draw`."""
        return self._sources[rng.choice(len(self._sources), p=self._odds)].draw(samples, lead, rng)


def drawn(
    source: Source, rate: int, count: int, seconds: float, augmenter: Augmenter, rng: np.random.Generator
) -> list[Recording]:
    """Passages of a source as recordings of their own, with the notes that begin in them or soon after.

    Args:
        source: of passages.
        rate: samples a second.
        count: how many.
        seconds: of each.
        augmenter: what is done to them, but for detuning.
        rng: where chance comes from.
    """
    lead, samples = augmenter.lead_samples, round(seconds * rate)
    found = []
    for number in range(count):
        passage = source.draw(lead + samples, lead, rng)
        audio = augmenter.apply(passage.audio, 1.0, lead, samples, rng)
        integers = np.round(np.clip(audio, -1.0, 1.0) * 32767).astype(np.int16)
        notes = passage.notes.copy()
        notes[:, [ONSET_COLUMN, OFFSET_COLUMN]] -= lead / rate
        found.append(Recording(f"passage {number}", integers, notes[notes[:, ONSET_COLUMN] >= 0]))
    return found


def floats(audio: NDArray[np.int16]) -> NDArray[np.float32]:
    """Samples of which full scale is -1 to 1."""
    return audio.astype(np.float32) / np.float32(32768)


def notes_near(notes: NoteArray, seconds: float) -> NoteArray:
    """Those that sound within `PASSAGE_MARGIN` of a passage that lasts from 0 to `seconds`."""
    begins = notes[:, ONSET_COLUMN] < seconds + PASSAGE_MARGIN
    return notes[begins & (notes[:, OFFSET_COLUMN] > -PASSAGE_MARGIN)]


def transposed(notes: NoteArray, semitones: int) -> NoteArray:
    """The notes so much higher, without those that no piano has a key for."""
    pitches = notes[:, PITCH_COLUMN] + semitones
    moved = notes[(pitches >= LOWEST_PITCH) & (pitches <= HIGHEST_PITCH)].copy()
    moved[:, PITCH_COLUMN] += semitones
    return moved


class Crop(NamedTuple):
    """One training example, or with a leading axis a batch of them.

    `audio` is (samples,) with the half window of the front end on both sides; the rest is
    (frames, pitches): the true states, those that are the best answer to the corrupted context, velocities
    where notes begin, and that context.
    """

    audio: Tensor
    truth: Tensor
    state: Tensor
    velocity: Tensor
    context_state: Tensor
    context_duration: Tensor
    context_velocity: Tensor


def labelled(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Every recording of a folder and below that has a note list beside it, and that list."""
    manifests: dict[Path, Manifest] = {}
    for found in files_below(folder, AUDIO_SUFFIXES):
        if is_hidden(found):
            continue
        source = folder / found
        beside = [path for path in map(source.with_suffix, SUFFIXES) if is_file(path)]
        if len(beside) > 1:  # what was transcribed is no ground truth
            beside.sort(key=lambda path: has_made(path, folder, manifests))
        if beside:
            yield source, beside[0]


def load_folder(folder: Path, cache: Path, sample_rate: int) -> list[Recording]:
    """Every recording of a folder that has a note list beside it, in the order of names.

    A MAESTRO folder (any version) or one within it is known by its table: its validation split is held out,
    and its test split is left out, whatever format the audio was converted to.

    Args:
        folder: audio files, each with a note list of the same name.
        cache: where decoded audio is kept between runs, as one .npy file a recording.
        sample_rate: of the front end.

    Raises:
        DataError: the table of a MAESTRO folder cannot be read, or does not name a recording there.
    """
    splits = _maestro_splits(folder)
    recordings = []
    for source, labels in labelled(folder):
        place = (folder.resolve() / source.relative_to(folder)).with_suffix("")
        split = splits.get(place, "unknown") if splits else "train"
        if split == "unknown":
            raise DataError(f"{source}: the table of MAESTRO does not name it; take it out of the folder")
        if split == "test":
            continue
        stored = cache / f"{source.stem}-{fingerprint([source], sample_rate)}.npy"
        if not stored.exists():
            stored.parent.mkdir(parents=True, exist_ok=True)
            audio = np.concatenate(list(read_blocks(source, sample_rate)))
            partial = stored.with_suffix(".part.npy")
            np.save(partial, np.round(np.clip(audio, -1, 1) * 32767).astype(np.int16))
            partial.rename(stored)
        notes = note_array(read_notes(labels))
        recordings.append(Recording(source.stem, StoredAudio(stored), notes, held_out=split == "validation"))
    return recordings


def _maestro_splits(folder: Path) -> dict[Path, str]:
    """The split of each recording of a folder, by its path without ending, as a table of MAESTRO tells."""
    splits: dict[Path, str] = {}
    within = folder.resolve()
    tables = (table for place in (within, *within.parents) for table in place.glob("maestro-*.csv"))
    for table in sorted(tables):
        with table.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        try:
            splits |= {(table.parent / row["audio_filename"]).with_suffix(""): row["split"] for row in rows}
        except KeyError as error:
            if table.parent == within:
                raise DataError(f"{table}: has no column {error}; is it the table of MAESTRO?") from error
    return {place: split for place, split in splits.items() if place.is_relative_to(within)}


def fingerprint(sources: Sequence[Path], *settings: object) -> str:
    """Changes with settings, and with the place and content of files, as far as their size and date tell."""
    states = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in sources]
    return hashlib.sha256(repr((states, settings)).encode()).hexdigest()[:12]


class Crops(Dataset[Crop]):
    """Random crops, each a function of the seed and its index alone.

    Args:
        source: where they come from.
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
        source: Source,
        front_end: FrontEndConfig,
        frames: int,
        max_duration: int,
        augmenter: Augmenter,
        noise: ContextNoise,
        seed: int,
        first: int,
        count: int,
    ) -> None:
        self._source, self._front_end, self._frames = source, front_end, frames
        self._max_duration, self._augmenter, self._noise = max_duration, augmenter, noise
        self._seed, self._first, self._count = seed, first, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Crop:
        if index >= self._count:
            raise IndexError(index)
        rng = np.random.default_rng((self._seed, self._first + index))
        front = self._front_end
        samples = front.n_fft + (self._frames - 1) * front.hop_length
        semitones = self._augmenter.draw_semitones(rng)
        speed = self._augmenter.draw_speed(rng, semitones)
        lead = self._augmenter.lead_samples
        needed = int(np.ceil((samples + lead) * speed)) + 64
        passage = self._source.draw(needed, lead, rng)
        audio = self._augmenter.apply(passage.audio, speed, lead, samples, rng)
        notes = transposed(passage.notes, semitones)
        # The crop's first frame lies half a window and the lead after the first sample of the passage.
        origin = (lead + front.n_fft // 2) * speed / front.sample_rate
        notes[:, :2] = (notes[:, :2] - origin) / speed
        return self._label(audio, notes, rng)

    def _label(self, audio: NDArray[np.float32], notes: NoteArray, rng: np.random.Generator) -> Crop:
        fps, before = self._front_end.frames_per_second, self._max_duration + 3
        window = (-before, self._frames + before, fps)  # of frames: notes before the crop are its context
        # A note that began before all frames must not lose its onset there; its duration is cut anyway.
        truth = labels = frame_labels(_not_before((1 - before) / fps, notes), *window)
        if self._noise.blanks(rng):
            context = silence_before(labels)
        else:
            wrong = _not_before((1 - before) / fps, self._noise.notes(notes, self._frames / fps, fps, rng))
            context = context_labels(self._noise.cells(frame_labels(wrong, *window), rng), self._max_duration)
            labels = forgiving_labels(truth, context, self._max_duration)
        framed = (part[before:] for part in (truth.state, *labels, *context))
        return Crop(*(torch.from_numpy(part) for part in (audio, *framed)))


def _not_before(first: float, notes: NoteArray) -> NoteArray:
    """Notes of which none begins before a time."""
    notes = notes.copy()
    notes[:, ONSET_COLUMN] = np.maximum(notes[:, ONSET_COLUMN], first)
    return notes


def _cut(audio: NDArray[np.int16] | StoredAudio, begin: int, length: int) -> NDArray[np.float32]:
    """Samples begin to begin + length, as floats, with silence beyond the ends."""
    cut = np.zeros(length, np.float32)
    first, last = max(begin, 0), min(begin + length, len(audio))
    if last > first:
        cut[first - begin : last - begin] = floats(audio[first:last])
    return cut
