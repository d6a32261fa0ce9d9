"""Audio to notes: the one pipeline, in flat memory whatever the length of the recording."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .audio import read_blocks
from .checkpoint import DEFAULT_NAME, CheckpointInfo, checkpoint_path, load_checkpoint
from .config import DecodeConfig
from .decode import NoteCollector, decode, initial_state
from .errors import AudioError, DeviceError
from .frontend import LogMel, LogMelStream
from .model import Features, Par
from .note_io import without_overlaps
from .notes import Note

_GROUP_FRAMES = 128

ProgressCallback = Callable[[float], None]


@dataclass(frozen=True)
class Transcription:
    """The notes of one recording.

    Args:
        notes: in order, no two of one pitch overlapping; times count from the start of the file.
        duration: seconds of audio that were transcribed.
    """

    notes: list[Note]
    duration: float


def resolve_device(name: str) -> torch.device:
    """The device for "auto", "cpu", "cuda" or "cuda:N"; auto takes CUDA if it is there.

    Raises:
        DeviceError: there is no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name.lower())
    except RuntimeError as error:
        raise DeviceError(f"{name}: no such device; use auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(f"{name}: not supported; use auto, cpu, cuda or cuda:N")
    if device.type == "cuda":
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= there:
            raise DeviceError(f"{name}: {there or 'no'} usable CUDA devices here; use --device cpu")
    return device


class FeatureStream:
    """Acoustic features of a recording, made while its log-mel frames arrive.

    Each group of frames is computed with the margin of the convolutions on either side, so that no
    seam is left; groups lie where the front end puts them, not where the audio was cut.

    Args:
        model: the network, in evaluation mode.
    """

    def __init__(self, model: Par) -> None:
        self._model = model
        self._margin = model.config.margin_frames
        self._mel: Tensor | None = None
        self._before = 0  # frames of margin at the beginning of the buffer

    def push(self, mel: Tensor) -> Iterator[Features]:
        """Take the next frames (frames, mels), and give the features of those that are now complete."""
        self._mel = mel if self._mel is None else torch.cat((self._mel, mel))
        ready = len(self._mel) - self._before - self._margin
        if ready > 0:
            yield self._features(ready, self._before + ready + self._margin)
            keep = min(self._margin, self._before + ready)
            self._mel = self._mel[self._before + ready - keep :]
            self._before = keep

    def finish(self) -> Iterator[Features]:
        """The features of the frames that waited for their margin."""
        if self._mel is not None and len(self._mel) > self._before:
            yield self._features(len(self._mel) - self._before, len(self._mel))

    def _features(self, count: int, end: int) -> Features:
        assert self._mel is not None
        with torch.inference_mode():
            whole = self._model.features(self._mel[:end].unsqueeze(0))
            inside = slice(self._before, self._before + count)
            return Features(whole.note[:, inside], whole.velocity[:, inside])


class Transcriber:
    """A network, ready to transcribe any number of recordings.

    Args:
        model: a released name ("par_compact", "par") or the path of a checkpoint.
        device: "auto", "cpu", "cuda" or "cuda:N".
        decode: in place of the decoding settings of the checkpoint.

    Raises:
        CheckpointError: the checkpoint is missing or damaged.
        DeviceError: the device is not there.
    """

    def __init__(
        self, model: str | Path = DEFAULT_NAME, device: str = "auto", decode: DecodeConfig | None = None
    ) -> None:
        self.device = resolve_device(device)
        self.model, info = load_checkpoint(checkpoint_path(str(model)), self.device)
        self.info: CheckpointInfo = (
            info if decode is None else replace(info, config=replace(info.config, decode=decode))
        )
        self._log_mel = LogMel(info.config.front_end).to(self.device)

    def about(self) -> dict[str, Any]:
        """The model's name, checkpoint hash and settings, as JSON outputs carry them."""
        return {
            "model": self.info.name,
            "checkpoint_sha256": self.info.sha256,
            "settings": self.info.config.to_dict(),
        }

    def transcribe(
        self,
        path: str | Path,
        *,
        start: float = 0.0,
        end: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Transcription:
        """The notes of an audio file.

        Args:
            path: of a file in any format that `audio.read_blocks` reads.
            start, end: seconds between which it is transcribed; times still count from the file's start.
            progress: called with the seconds of audio that are done.

        Raises:
            AudioError: the file cannot be read, or is too short for one spectrum.
        """
        blocks = read_blocks(Path(path), self.info.config.front_end.sample_rate, start=start, end=end)
        try:
            return self.transcribe_blocks(blocks, start=start, progress=progress)
        except _TooShortError as error:
            remedy = "is the file complete?" if end is None and not start else "choose a longer part"
            raise AudioError(f"{path}: {error}; {remedy}") from None

    def transcribe_audio(self, audio: NDArray[np.floating]) -> Transcription:
        """The notes of audio in memory: (samples,), mono, at the front end's sample rate.

        Args:
            audio: floats, of which full scale is -1 to 1.

        Raises:
            AudioError: it is no such audio, or too short for one spectrum.
        """
        if audio.ndim != 1 or not np.issubdtype(audio.dtype, np.floating):
            fact = f"audio of shape {audio.shape} and type {audio.dtype}"
            raise AudioError(f"{fact}; give one channel of floats, -1 to 1: (samples,)")
        if not np.isfinite(audio).all():
            raise AudioError("some samples are not finite; check where the audio comes from")
        return self.transcribe_blocks([audio.astype(np.float32, copy=False)])

    def transcribe_blocks(
        self,
        blocks: Iterable[NDArray[np.float32]],
        *,
        start: float = 0.0,
        progress: ProgressCallback | None = None,
    ) -> Transcription:
        """The notes of audio that comes in blocks; they do not depend on where it is cut.

        Args:
            blocks: (samples,) each, mono, at the front end's sample rate.
            start: seconds that are added to all times.
            progress: called with the seconds of audio that are done.

        Raises:
            AudioError: there is too little audio for one spectrum.
        """
        config = self.info.config
        front_end = config.front_end
        collector = NoteCollector(front_end.seconds_per_frame, config.decode)
        state = initial_state(self.model)
        notes: list[Note] = []
        done = 0
        mels = LogMelStream(self._log_mel, _GROUP_FRAMES)
        # On CUDA, full precision and fixed algorithms, so that the notes are those of the CPU.
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            for features in self._features(mels, blocks):
                frames, state = decode(self.model, features, state, config.decode)
                notes += collector.push(frames)
                done += len(frames.state)
                if progress is not None:
                    heard = mels.samples / front_end.sample_rate
                    progress(min(done * front_end.seconds_per_frame, heard))
        notes += collector.finish()
        duration = mels.samples / front_end.sample_rate
        placed = [_placed(note, start, duration) for note in notes if note.onset < duration]
        return Transcription(notes=without_overlaps(placed), duration=duration)

    def _features(self, mels: LogMelStream, blocks: Iterable[NDArray[np.float32]]) -> Iterator[Features]:
        stream = FeatureStream(self.model)
        for block in blocks:
            for mel in mels.push(block):
                yield from stream.push(mel)
        if mels.samples <= self._log_mel.half_window:
            rate = self.info.config.front_end.sample_rate
            raise _TooShortError(
                f"{mels.samples / rate:.4f} s of audio, and one spectrum needs "
                f"{(self._log_mel.half_window + 1) / rate:.3f} s"
            )
        for mel in mels.finish():
            yield from stream.push(mel)
        yield from stream.finish()


class _TooShortError(AudioError):
    """There is not enough audio for one spectrum."""


def _placed(note: Note, start: float, duration: float) -> Note:
    """The note within the recording, with times from the start of the file."""
    return replace(note, onset=start + note.onset, offset=start + max(min(note.offset, duration), note.onset))
