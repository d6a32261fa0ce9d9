"""Audio to notes: the one pipeline, in flat memory whatever the length of the recording."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .acoustic import acoustic, windows
from .audio import read_blocks
from .checkpoint import DEFAULT_NAME, CheckpointInfo, checkpoint_path, load_checkpoint, load_front_end
from .config import DecodeConfig
from .decode import NoteCollector, decode, initial_state
from .errors import AudioError, DeviceError
from .frontend import LogMelStream
from .note_io import without_overlaps
from .notes import Note
from .timings import Timings

_GROUP_FRAMES = 64

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


class Transcriber:
    """A network, ready to transcribe any number of recordings.

    Args:
        model: a released name ("par_compact", "par") or the path of a checkpoint.
        device: "auto", "cpu", "cuda" or "cuda:N".
        decode: in place of the decoding settings of the checkpoint.
        engine: what computes the acoustic modules, one of `acoustic.ENGINES`.
        timings: where the time of each stage is counted.

    Raises:
        CheckpointError: the checkpoint is missing or damaged.
        DeviceError: the device or the engine is not there.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_NAME,
        device: str = "auto",
        decode: DecodeConfig | None = None,
        engine: str = "auto",
        timings: Timings | None = None,
    ) -> None:
        self.device = resolve_device(device)
        self.model, info = load_checkpoint(checkpoint_path(str(model)), self.device)
        self.info: CheckpointInfo = (
            info if decode is None else replace(info, config=replace(info.config, decode=decode))
        )
        self._log_mel = load_front_end(info, self.device)
        self._acoustic = acoustic(self.model, self.device, engine)
        self.timings = timings or Timings()

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
        spectra = LogMelStream(self._log_mel, _GROUP_FRAMES)
        parts = windows(self._mels(spectra, blocks), config.model.margin_frames)
        collector = NoteCollector(config.front_end.seconds_per_frame, config.decode)
        state = initial_state(self.model)
        notes: list[Note] = []
        done = 0
        # On CUDA, full precision and fixed algorithms, so that the notes are those of the CPU.
        with (
            torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False),
            closing(self._acoustic.features(parts, self.timings)) as stream,
        ):
            for features in stream:
                with self.timings.stage("decoding"):
                    frames, state = decode(self.model, features, state, config.decode)
                    notes += collector.push(frames)
                done += len(frames.state)
                if progress is not None:
                    heard = spectra.samples / config.front_end.sample_rate
                    progress(min(done * config.front_end.seconds_per_frame, heard))
        notes += collector.finish()
        duration = spectra.samples / config.front_end.sample_rate
        placed = [_placed(note, start, duration) for note in notes if note.onset < duration]
        return Transcription(notes=without_overlaps(placed), duration=duration)

    def _mels(self, spectra: LogMelStream, blocks: Iterable[NDArray[np.float32]]) -> Iterator[Tensor]:
        """The log-mel frames of audio that comes in blocks: (frames, mels) each."""
        with closing(self.timings.each("reading", blocks)) as timed:
            for block in timed:
                with self.timings.stage("log-mel"):
                    mels = spectra.push(block)
                yield from mels
        if spectra.samples <= self._log_mel.half_window:
            rate = self.info.config.front_end.sample_rate
            raise _TooShortError(
                f"{spectra.samples / rate:.4f} s of audio, and one spectrum needs "
                f"{(self._log_mel.half_window + 1) / rate:.3f} s"
            )
        with self.timings.stage("log-mel"):
            mels = spectra.finish()
        yield from mels


class _TooShortError(AudioError):
    """There is not enough audio for one spectrum."""


def _placed(note: Note, start: float, duration: float) -> Note:
    """The note within the recording, with times from the start of the file."""
    return replace(note, onset=start + note.onset, offset=start + max(min(note.offset, duration), note.onset))
