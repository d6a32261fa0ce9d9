"""Audio to notes: the one pipeline, in flat memory whatever the length of the recording."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .ahead import Ahead
from .attacks import AttackMeter
from .audio import read_blocks
from .checkpoint import (
    CheckpointInfo,
    checkpoint_info,
    load_endings,
    load_filters,
    load_ghosts,
    load_offsets,
    load_velocities,
    load_weights,
)
from .config import DecodeConfig
from .device import resolve_device
from .dynamics import evened
from .endings import EndingMeter
from .engine import Decoding, Engine, engine_for, side_by_side
from .errors import AudioError, DeviceError
from .frames import Frames, NoteCollector
from .frontend import LogMel, Spans
from .ghosts import without_ghosts
from .loudness import brought_to
from .note_io import without_overlaps
from .notes import Note
from .offsets import chosen
from .posteriors import PosteriorCollector, posterior_collector
from .released import DEFAULT_NAME, checkpoint_path
from .timings import Timings
from .tuning import CONCERT_PITCH, KnownTuning, Tuning, tuning_of
from .velocities import corrected
from .whole_file import whole_file
from .windows import Array, Features, Window, WindowCutter, windows

_GROUP_FRAMES = 128
_GROUP_FRAMES_ON_CUDA = 256  # fewer and larger launches
_TOGETHER_ON_CUDA = 16
_LEAD_SECONDS = 2.0  # that are heard before a part of a recording
_WAITING = 2  # windows of each recording that are ready before they are asked for

ProgressCallback = Callable[[float], None]


@dataclass(frozen=True)
class Transcription:
    """The notes of one recording.

    Args:
        notes: in order, no two of one pitch overlapping; times count from the start of the file.
        duration: seconds of audio that were transcribed.
        tuning: frequency of A4 in Hz that it was transcribed with.
    """

    notes: list[Note]
    duration: float
    tuning: float = CONCERT_PITCH


class Transcriber:
    """A network, ready to transcribe any number of recordings.

    Args:
        model: a released name ("par_compact", "par") or the path of a checkpoint.
        device: "auto", "cpu", "cuda" or "cuda:N".
        decode: in place of the decoding settings of the checkpoint.
        engine: what computes the network, one of `engine.ENGINES`.
        precision: of the acoustic modules, one of `engine.PRECISIONS`.
        timings: where the time of each stage is counted.
        together: how many recordings `transcribe_several` takes at once; by default 16 on CUDA, one on a CPU.
        threads: how many compute on a CPU; see `engine.engine_for`.

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
        precision: str = "float32",
        timings: Timings | None = None,
        together: int | None = None,
        threads: int | None = None,
    ) -> None:
        self.device = resolve_device(device)
        info = checkpoint_info(checkpoint_path(str(model)))
        self.info: CheckpointInfo = (
            info if decode is None else replace(info, config=replace(info.config, decode=decode))
        )
        self._filters = load_filters(info)
        self.ghosts, self.endings = load_ghosts(self.info), load_endings(self.info)
        self.offsets, self.velocities = load_offsets(self.info), load_velocities(self.info)
        weights = load_weights(info)
        self.engine: Engine = engine_for(
            info.config, weights, self._filters, self.device, engine, precision, threads
        )
        self.precision = precision
        self.timings = timings or Timings()
        on_cuda = self.device.startswith("cuda")
        self.together = together or (_TOGETHER_ON_CUDA if on_cuda else 1)
        self.group_frames = _GROUP_FRAMES_ON_CUDA if on_cuda else _GROUP_FRAMES

    def front_end(self, tuning: float = CONCERT_PITCH) -> LogMel:
        """That of the model, for a piano whose A4 has a frequency in Hz."""
        return self._log_mel.tuned(tuning)

    @cached_property
    def _log_mel(self) -> LogMel:
        return LogMel(self.info.config.front_end, self._filters)

    def about(self) -> dict[str, Any]:
        """The model's name, checkpoint hash, settings and precision, as JSON outputs carry them."""
        return {
            "model": self.info.name,
            "checkpoint_sha256": self.info.sha256,
            "settings": self.info.config.to_dict(),
            "precision": self.precision,
        }

    def transcribe(
        self,
        path: str | Path,
        *,
        start: float = 0.0,
        end: float | None = None,
        tuning: float | None = None,
        progress: ProgressCallback | None = None,
        posteriors: str | Path | None = None,
    ) -> Transcription:
        """The notes of an audio file.

        Args:
            path: of a file in any format that `audio.read_blocks` reads.
            start, end: seconds between which it is transcribed; times still count from the file's start.
            tuning: frequency of A4 in Hz; None to measure it, as `tuning.TuningMeter` does.
            progress: called with the seconds of audio that are done; from a thread of its own, and with 0,
                while the loudness and the tuning of the recording are measured.
            posteriors: a file to write, whole or not at all, with what `posteriors` tells.

        Raises:
            AudioError: the file cannot be read, or is too short for one spectrum.
            DeviceError: the device has not enough memory.
            OutputError: the posteriors cannot be written.
        """
        piece = _Piece.of_file(self, Path(path), start, end, tuning, progress)
        if posteriors is None:
            return self._transcribe(piece)
        with whole_file(Path(posteriors)) as file, posterior_collector(file.parent) as collector:
            result = self._transcribe(piece, collector)
            with self.timings.stage("writing"):
                collector.write(file, self.info, start)
        return result

    def transcribe_several(
        self,
        paths: Sequence[str | Path],
        *,
        start: float = 0.0,
        end: float | None = None,
        tuning: float | None = None,
        progress: Callable[[int, float], None] | None = None,
    ) -> Iterator[Transcription | AudioError]:
        """The notes of each audio file, or why there are none, in the order of the files.

        `together` of them are transcribed side by side, while the next ones are read; where the device has
        not enough memory for that, it says so and goes on with half as many. What one file gives does not
        depend on the others, but for the last bits of sums where a library computes more of them side by side
        in another order.

        Args:
            paths: of the files; those of similar length should be next to each other.
            start, end, tuning: as for `transcribe`.
            progress: called with the index of a file and the seconds of its audio that are done; also from
                other threads, as by `transcribe`.

        Raises:
            DeviceError: the device has not enough memory for one file.
        """
        begin = partial(self._group, paths, start, end, tuning, progress)
        done, coming = 0, begin(0)
        try:
            while (group := coming).pieces:
                with closing(group):
                    coming = begin(done + len(group.pieces))
                    try:
                        found = self._transcribe_together(group)
                    except self.engine.lacks_memory:
                        coming.close()
                        self._use_less_memory(len(group.pieces))
                        coming = begin(done)
                        continue
                yield from found
                done += len(found)
        finally:
            coming.close()

    def _group(
        self,
        paths: Sequence[str | Path],
        start: float,
        end: float | None,
        tuning: float | None,
        progress: Callable[[int, float], None] | None,
        first: int,
    ) -> _Group:
        """As many files as are taken side by side, from one of them on; none after the last."""
        return _Group(
            _Piece.of_file(
                self, Path(path), start, end, tuning, None if progress is None else partial(progress, index)
            )
            for index, path in enumerate(paths[first : first + self.together], first)
        )

    def _use_less_memory(self, tried: int) -> None:
        if tried == 1:
            raise self._lacks_memory()
        self.together = tried // 2
        self.engine.free_memory()
        warnings.warn(
            f"{self.device}: not enough memory for {tried} recordings at once; goes on with {self.together}",
            stacklevel=3,
        )

    def _lacks_memory(self) -> DeviceError:
        self.engine.free_memory()
        return DeviceError(f"{self.device}: not enough memory for one recording; use --device cpu")

    def _transcribe_together(self, group: _Group) -> list[Transcription | AudioError]:
        """Window after window of all pieces, those that have ended being silent until the last one does.

        What was decoded becomes notes while the device computes what follows it.
        """
        pieces, sources = group.pieces, group.sources
        errors: dict[int, AudioError] = {}
        state = self.engine.initial_state(len(pieces))
        waiting: dict[int, Features] = {}  # not yet decoded
        begun: tuple[Decoding, dict[int, int], Array] | None = None
        while (ready := self._next_of_each(sources, errors)) or waiting:
            with self.timings.stage("acoustic"):
                for row, features in zip(ready, self.engine.together([*ready.values()]), strict=True):
                    waiting[row] = self._joined(waiting.get(row), features)
            # No further than all that go on: only silence after the end may stand in for what is missing.
            lengths = {row: features.note.shape[1] for row, features in waiting.items()}
            frames = min(lengths[row] for row in ready) if ready else max(lengths.values())
            with self.timings.stage("decoding"):
                batch = side_by_side(self.engine, waiting, len(pieces), frames)
                decoding, state = self.engine.begin_decoding(batch, state, self.info.config.decode)
                for row, length in lengths.items():
                    waiting[row] = Features(*(part[:, frames:] for part in waiting[row]))
                    if length <= frames:
                        del waiting[row]
                if begun is not None:
                    _take(pieces, *begun)
            begun = decoding, lengths, batch.note
        if begun is not None:
            with self.timings.stage("decoding"):
                _take(pieces, *begun)
        return [errors.get(row) or piece.finish() for row, piece in enumerate(pieces)]

    def _next_of_each(self, sources: Sequence[_Windows], errors: dict[int, AudioError]) -> dict[int, Window]:
        """The next window of each that has one, log-mel frames of all computed side by side.

        An error of one is noted, and ends that one alone.
        """
        found: dict[int, Window] = {}
        rows = [*range(len(sources))]
        while rows:
            spans = {}
            for row in rows:
                try:
                    spans[row] = next(sources[row].spans)
                except StopIteration:
                    window = sources[row].cutter.finish()
                    if window is not None:
                        found[row] = window
                except AudioError as error:
                    errors[row] = error
            rows = []  # those whose windows are not complete yet
            for row, mel in self._mels(spans, sources).items():
                window = sources[row].cutter.push(mel)
                if window is None:
                    rows.append(row)
                else:
                    found[row] = window
        return found

    def _joined(self, before: Features | None, after: Features) -> Features:
        if before is None:
            return after
        return Features(*(self.engine.join(parts, 1) for parts in zip(before, after, strict=True)))

    def _mels(
        self, spans: Mapping[int, NDArray[np.float32]], sources: Sequence[_Windows]
    ) -> dict[int, Array]:
        """Log-mel frames of a span of each row, those of one tuning side by side."""
        found: dict[int, Array] = {}
        with self.timings.stage("log-mel"):
            for tuning in {sources[row].tuning for row in spans}:
                rows = [row for row in spans if sources[row].tuning == tuning]
                mels = self.engine.mels([spans[row] for row in rows], tuning)
                found.update(zip(rows, mels, strict=True))
        return found

    def transcribe_audio(self, audio: NDArray[np.floating], *, tuning: float | None = None) -> Transcription:
        """The notes of audio in memory: (samples,), mono, at the front end's sample rate.

        Args:
            audio: floats, of which full scale is -1 to 1.
            tuning: as for `transcribe`.

        Raises:
            AudioError: it is no such audio, or too short for one spectrum.
        """
        if audio.ndim != 1 or not np.issubdtype(audio.dtype, np.floating):
            fact = f"audio of shape {audio.shape} and type {audio.dtype}"
            raise AudioError(f"{fact}; give one channel of floats, -1 to 1: (samples,)")
        if not np.isfinite(audio).all():
            raise AudioError("some samples are not finite; check where the audio comes from")
        front_end, samples = self.info.config.front_end, audio.astype(np.float32, copy=False)
        heard = tuning_of(tuning, front_end.sample_rate)
        blocks = brought_to(front_end.level, lambda: [samples], front_end.sample_rate, heard.push)
        return self._transcribe(_Piece(self, blocks, 0.0, heard))

    def transcribe_blocks(
        self,
        blocks: Iterable[NDArray[np.float32]],
        *,
        start: float = 0.0,
        tuning: float = CONCERT_PITCH,
        progress: ProgressCallback | None = None,
    ) -> Transcription:
        """The notes of audio that comes in blocks; they do not depend on where it is cut.

        Args:
            blocks: (samples,) each, mono, at the front end's sample rate, and as a whole at its level: see
                `loudness.brought_to`.
            start: seconds that are added to all times.
            tuning: frequency of A4 in Hz.
            progress: called with the seconds of audio that are done.

        Raises:
            AudioError: there is too little audio for one spectrum.
        """
        return self._transcribe(_Piece(self, blocks, start, KnownTuning(tuning), progress=progress))

    def _transcribe(self, piece: _Piece, posteriors: PosteriorCollector | None = None) -> Transcription:
        with suppress(*self.engine.lacks_memory):
            return self._transcribe_piece(piece, posteriors)
        raise self._lacks_memory()  # not while its error holds what filled the memory

    def _transcribe_piece(self, piece: _Piece, posteriors: PosteriorCollector | None) -> Transcription:
        wanted = posteriors is not None
        state = self.engine.initial_state(1)
        with closing(self.engine.features(piece.windows(), self.timings)) as stream:
            for features in stream:
                with self.timings.stage("decoding"):
                    decoding, state = self.engine.begin_decoding(
                        features, state, self.info.config.decode, with_probabilities=wanted
                    )
                    (frames,) = decoding.wait()
                    frames = piece.take(frames, features.note[0])
                if posteriors is not None:
                    with self.timings.stage("writing"):
                        posteriors.push(frames)
                piece.tell()
        return piece.finish()


class _Piece:
    """One recording on its way from audio to notes.

    Args:
        transcriber: whose front end and settings it takes.
        blocks: (samples,) each, mono, at the front end's sample rate.
        start: seconds that are added to all times.
        tuning: of the piano, heard when the first block is given.
        lead: frames from before that time, of which no notes are wanted.
        seconds: how much is wanted from there on; None for all that comes.
        name: what an error calls it, for example a path.
        remedy: what an error advises when there is too little audio.
        progress: called with the seconds of audio that are done.
    """

    def __init__(
        self,
        transcriber: Transcriber,
        blocks: Iterable[NDArray[np.float32]],
        start: float,
        tuning: Tuning,
        lead: int = 0,
        seconds: float | None = None,
        name: str = "audio",
        remedy: str = "give more",
        progress: ProgressCallback | None = None,
    ) -> None:
        self._name, self._remedy, self._progress = name, remedy, progress
        self._config, self._timings = transcriber.info.config, transcriber.timings
        self._ghosts = transcriber.ghosts
        self._offsets, self._velocities = transcriber.offsets, transcriber.velocities
        self._blocks, self._start, self._lead, self._seconds = blocks, start, lead, seconds
        self._engine, self._tuning = transcriber.engine, tuning
        self._spans = Spans(self._config.front_end, transcriber.group_frames)
        frame = self._config.front_end.seconds_per_frame
        self._collector = NoteCollector(frame, self._config.decode)
        rate, begins = self._config.front_end.sample_rate, start - self._lead_seconds
        self._attacks = None if self._velocities is None else AttackMeter(rate, begins)
        self._endings: EndingMeter | None = None
        if transcriber.endings is not None:
            self._endings = EndingMeter(transcriber.endings, frame, self._engine, begins)
        self._notes: list[Note] = []
        self._frames = 0
        self._wanted_frames: int | None = None
        if seconds is not None:
            samples = round(seconds * self._config.front_end.sample_rate)
            self._wanted_frames = lead + 1 + samples // self._config.front_end.hop_length

    @classmethod
    def of_file(
        cls,
        transcriber: Transcriber,
        path: Path,
        start: float,
        end: float | None,
        tuning: float | None,
        progress: ProgressCallback | None,
    ) -> _Piece:
        """A file, or the part of it between two times; 0 is done while its loudness and tuning are measured.

        Of a part, what is around it is heard, too: else notes that sound at its edges would be struck there.
        """
        config = transcriber.info.config
        rate, hop = config.front_end.sample_rate, config.front_end.hop_length
        lead = min(round(_LEAD_SECONDS * rate), int(start * rate)) // hop
        tail = config.model.margin_frames * hop + config.front_end.n_fft // 2
        read = partial(
            read_blocks, path, rate, start=start, end=end, before=lead * hop / rate, beyond=tail / rate
        )
        heard = tuning_of(tuning, rate)

        def hear(block: NDArray[np.float32]) -> None:
            heard.push(block)
            if progress is not None:
                progress(0.0)

        blocks = brought_to(config.front_end.level, read, rate, hear)
        remedy = "is the file complete?" if end is None and not start else "choose a longer part"
        seconds = None if end is None else end - start
        return cls(transcriber, blocks, start, heard, lead, seconds, str(path), remedy, progress)

    @property
    def tuning(self) -> float:
        """Frequency of A4 in Hz; if it is measured, that is done when the first span comes."""
        return self._tuning.hertz

    def cutter(self) -> WindowCutter:
        """What cuts windows of log-mel frames."""
        return WindowCutter(self._config.model.margin_frames, self._engine.join)

    def spans(self) -> Generator[NDArray[np.float32]]:
        """What log-mel frames are made of, as the audio comes; see `frontend.Spans`.

        Raises:
            AudioError: the file cannot be read, or is too short for one spectrum.
        """
        spans, config = self._spans, self._config.front_end
        with closing(self._timings.each("reading", self._blocks)) as timed:
            for block in timed:
                if self._attacks is not None:
                    self._attacks.push(block)
                yield from spans.push(block)
        if spans.samples < spans.needed:
            there = spans.samples / config.sample_rate
            needed_seconds = spans.needed / config.sample_rate
            fact = f"{there:.4f} s of audio, and one spectrum needs {needed_seconds:.3f} s"
            raise AudioError(f"{self._name}: {fact}; {self._remedy}")
        yield from spans.finish()

    def windows(self) -> Generator[Window]:
        """What the acoustic modules are given, made as the audio comes."""
        with closing(self.spans()) as spans:
            yield from windows(map(self._mel, spans), self.cutter())

    def _mel(self, span: NDArray[np.float32]) -> Array:
        with self._timings.stage("log-mel"):
            return self._engine.mels([span], self.tuning)[0]

    def take(self, frames: Frames, features: Array) -> Frames:
        """What was decoded of the next frames; gives those that are of the wanted part.

        Args:
            frames: the next ones.
            features: of the note network, that they were decoded from: (frames, pitches, hidden).
        """
        if self._wanted_frames is not None:
            frames = frames.part(slice(self._wanted_frames - self._frames))
        ended = self._collector.push(frames)
        self._notes += ended
        begun, decided = self._collector.begun, self._collector.decided
        if self._attacks is not None:
            self._attacks.begin(begun, decided, self.tuning)
        if self._endings is not None:
            self._endings.take(features, ended, decided)
        wanted = frames.part(slice(max(self._lead - self._frames, 0), None))
        self._frames += len(frames.state)
        return wanted

    def tell(self) -> None:
        """Say how many seconds of audio are decoded."""
        if self._progress is not None:
            seconds = (self._frames - self._lead) * self._config.front_end.seconds_per_frame
            self._progress(max(min(seconds, self._duration), 0.0))

    @property
    def _lead_seconds(self) -> float:
        return self._lead * self._config.front_end.seconds_per_frame

    @property
    def _duration(self) -> float:
        """Seconds of the wanted part that have come."""
        seconds = self._spans.samples / self._config.front_end.sample_rate - self._lead_seconds
        return seconds if self._seconds is None else min(seconds, self._seconds)

    def finish(self) -> Transcription:
        """All notes, when all frames were taken."""
        ended = self._collector.finish()
        notes = [*self._notes, *ended]
        first, last = self._lead_seconds, self._lead_seconds + self._duration
        # The last frame hears the end of the audio twice, the second time backwards, as if struck again.
        front_end = self._config.front_end
        begin_before = min(last, self._spans.samples / front_end.sample_rate - front_end.seconds_per_frame)
        begun = [note for note in notes if first <= note.onset < begin_before]
        placed = [_placed(note, self._start - first, last) for note in begun]
        found = without_overlaps(placed)
        if self._ghosts is not None:
            found = without_ghosts(found, self._ghosts)
        if self._offsets is not None and self._endings is not None:
            found = chosen(found, self._endings.finish(ended), self._offsets)
        if self._velocities is not None and self._attacks is not None:
            found = corrected(found, self._attacks.finish(self.tuning), self._velocities)
        elif self._config.decode.even_velocities:
            found = evened(found)
        return Transcription(found, self._duration, self.tuning)


class _Windows:
    """Where the windows of one of several recordings come from, read ahead from now on.

    Args:
        piece: the recording.
    """

    def __init__(self, piece: _Piece) -> None:
        self._piece = piece
        self.spans, self.cutter = Ahead(piece.spans(), _WAITING), piece.cutter()

    @property
    def tuning(self) -> float:
        """See `_Piece.tuning`."""
        return self._piece.tuning


class _Group:
    """Recordings that are transcribed side by side; they are read from now on until the group is closed.

    Args:
        pieces: the recordings.
    """

    def __init__(self, pieces: Iterable[_Piece]) -> None:
        self.pieces = list(pieces)
        self.sources = [_Windows(piece) for piece in self.pieces]

    def close(self) -> None:
        """Read no further."""
        for source in self.sources:
            source.spans.close()


def _take(pieces: Sequence[_Piece], decoding: Decoding, lengths: Mapping[int, int], features: Array) -> None:
    """Give each piece what was decoded of it, no more frames than it has, and have it say so."""
    decoded = decoding.wait()
    for row, length in lengths.items():
        pieces[row].take(decoded[row].part(slice(length)), features[row, :length])
        pieces[row].tell()


def _placed(note: Note, start: float, end: float) -> Note:
    """The note, which ends at `end` at the latest, with `start` added to its times."""
    if not start and note.offset <= end:
        return note
    return replace(note, onset=start + note.onset, offset=start + max(min(note.offset, end), note.onset))
