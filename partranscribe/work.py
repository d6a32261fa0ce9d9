"""One recording transcribed, written and scored: the one fault boundary, for one process."""

from __future__ import annotations

import math
import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from .audio import check_there, probe, read_blocks, unreachable
from .errors import AudioError, DeviceError, NoteFileError, OutputError, PartranscribeError
from .manifest import Entry, Made, Manifest, key_of, manifest_of
from .note_io import TELLING, WRITERS, format_of, read_notes
from .notes import PEDAL_THRESHOLD, Note
from .paths import is_file, is_folder, place, sha256_of
from .plan import PAGE, PLOT, POSTERIORS, SOUND, STEREO, Job
from .released import DEFAULT_NAME, checkpoint_path
from .remote import appearing, fetched, is_remote, is_url, location, named, told
from .score import Score, begun_between, read_reference, score
from .tuning import CONCERT_PITCH, measured
from .whole_file import check_place, partial_name

if TYPE_CHECKING:  # what takes long to load is loaded when there is something to transcribe
    from .frontend import LogMel
    from .timings import Timings
    from .transcribe import Transcriber, Transcription
    from .view import Contents


DONE = "done before"  # with the same bytes, model and settings

T = TypeVar("T")


class UnexpectedError(PartranscribeError):
    """A recording met a mistake of this program, not of its own."""


@dataclass(frozen=True)
class Settings:
    """What is the same for all recordings of a call.

    Args:
        model, device, engine, precision: see `Transcriber`.
        start, end: seconds of every recording between which it is transcribed.
        tuning: frequency of A4 in Hz; None to measure that of each recording.
        pedal_threshold: for references in MIDI, see `note_io.read_notes`.
    """

    model: str = DEFAULT_NAME
    device: str = "auto"
    engine: str = "auto"
    precision: str = "float32"
    start: float = 0.0
    end: float | None = None
    tuning: float | None = None
    pedal_threshold: int = PEDAL_THRESHOLD

    def transcriber(self, timings: Timings | None = None, threads: int | None = None) -> Transcriber:
        """Load the model.

        Args:
            timings: where the time of each stage is counted.
            threads: how many compute on a CPU.

        Raises:
            PartranscribeError: what is wrong with the model is wrong for every recording.
        """
        from .transcribe import Transcriber

        return Transcriber(
            self.model,
            self.device,
            engine=self.engine,
            precision=self.precision,
            timings=timings,
            threads=threads,
        )

    def front_end(self) -> LogMel:
        """The front end of the model alone.

        Raises:
            CheckpointError: there is no such model, or its file is damaged.
        """
        from .checkpoint import checkpoint_info, load_front_end

        return load_front_end(checkpoint_info(checkpoint_path(self.model)))

    def identity(self, checkpoint_sha256: str) -> dict[str, Any]:
        """What the notes of a recording depend on beside its bytes."""
        return {
            "checkpoint_sha256": checkpoint_sha256,
            "precision": self.precision,
            "start_s": self.start,
            "end_s": self.end,
            "tuning_hz": self.tuning,
        }

    def compared_with(self, job: Job, kind: str) -> str:
        """What an extra of a job compares its notes with; empty if with nothing.

        Raises:
            PartranscribeError: the reference cannot be read.
        """
        if job.reference is None or kind not in (PAGE, PLOT):
            return ""
        try:
            with told(job.reference):
                return f"{sha256_of(job.reference)} {self.pedal_threshold}"
        except OSError as error:
            fact = f"{job.reference}: cannot be read ({error.strerror or error})"
            raise NoteFileError(f"{fact}; is the path right?") from error


@dataclass(frozen=True)
class Outcome:
    """What became of one job.

    Args:
        job: the job.
        notes: how many notes were found.
        duration: seconds of audio.
        tuning: frequency of A4 in Hz that it was transcribed with.
        seconds: time that it took.
        score: against the reference, if there is one.
        error: what went wrong, if something did; the outputs may be there all the same where only the
            score failed.
        kept: why the outputs that were there already were left as they are; empty if they were made.
        source_sha256: of the recording's bytes; empty if they were not read.
    """

    job: Job
    notes: int = 0
    duration: float = 0.0
    tuning: float = CONCERT_PITCH
    seconds: float = 0.0
    score: Score | None = None
    error: PartranscribeError | None = None
    kept: str = ""
    source_sha256: str = ""


class Watcher:
    """Is told how the work goes; this one says nothing.

    `started` gives the seconds of a recording that will be transcribed, where its header tells, `advanced`
    those that are done, sometimes from another thread, `finished` the outcome.
    """

    def started(self, job: Job, duration: float | None) -> None: ...

    def advanced(self, job: Job, seconds: float) -> None: ...

    def finished(self, outcome: Outcome) -> None: ...


def work(
    jobs: Sequence[Job],
    transcriber: Transcriber,
    settings: Settings,
    watcher: Watcher,
    manifests: dict[Path, Manifest] | None = None,
) -> Iterator[Outcome]:
    """Do some jobs, side by side if the transcriber takes several, and enter them in their manifests.

    Args:
        jobs: which nobody else does meanwhile.
        transcriber: from `settings`.
        settings: of the call.
        watcher: is told how it goes, but not the outcomes.
        manifests: of folders, kept from call to call so that none is read from its beginning again.
    """
    manifests = {} if manifests is None else manifests
    waiting = list(jobs)
    while waiting:
        count = transcriber.together  # which is less from when on the device runs out of memory
        group, waiting = waiting[:count], waiting[count:]
        begun: list[_Begun] = []
        with ExitStack() as copies:
            for job in group:
                result = _guarded(job, partial(_begin, job, settings, watcher, copies))
                if isinstance(result, _Begun):
                    begun.append(result)
                else:
                    yield Outcome(job, error=result)
            results = _transcribe(begun, transcriber, settings, watcher)
            for one, heard in zip(begun, results, strict=True):
                outcome = _guarded(
                    one.job, partial(_finish, one, heard, transcriber, settings, watcher, manifests)
                )
                yield outcome if isinstance(outcome, Outcome) else Outcome(one.job, error=outcome)


def _guarded(job: Job, action: Callable[[], T]) -> T | PartranscribeError:
    """What an action gives, or what went wrong; even a mistake of this program costs one recording only."""
    try:
        return action()
    except PartranscribeError as error:
        return error.with_traceback(None)  # which would keep the decoder of the recording
    except MemoryError:
        return AudioError(f"{job.source}: not enough memory for it; is the file what it seems to be?")
    except OSError as error:
        return AudioError(f"{job.source}: {error.strerror or error}; is it still there?")
    except Exception as error:
        return unexpected(job, error)


def unexpected(job: Job, error: Exception) -> UnexpectedError:
    """What a job that met a mistake of this program fails with; where it was is printed."""
    traceback.print_exception(error)
    fact = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return UnexpectedError(f"{job.source}: {fact}; that is a mistake of partranscribe, please report it")


class _Begun(NamedTuple):
    """A job whose outputs can be written.

    Args:
        job: the job.
        file: the recording, or its copy on this machine.
        length: seconds that the recording's header tells.
        began: by the clock of `time.perf_counter`.
        size, modified_ns: of the recording's file.
        posteriors: where state probabilities wait until the notes are written; None if nobody asks for them.
    """

    job: Job
    file: Path
    length: float | None
    began: float
    size: int
    modified_ns: int
    posteriors: Path | None


def _begin(job: Job, settings: Settings, watcher: Watcher, copies: ExitStack) -> _Begun:
    with told(job.source):
        if is_folder(job.source):
            _refuse_unlisted(job.source)
            raise AudioError(f"{job.source}: no recording in this folder; is it the right one?")
    _refuse_note_list(job.source)
    file = copies.enter_context(fetched(job.source, partial(watcher.advanced, job, 0.0)))
    with named(job.source, file):
        length = probe(file).duration
    state = file.stat()
    part = length
    if length is not None:
        part = max(min(length, math.inf if settings.end is None else settings.end) - settings.start, 0.0)
    watcher.started(job, part)
    for path in job.written:
        if not is_remote(path):
            check_place(path)
    posteriors = None
    if POSTERIORS in job.extras:
        path = Path(place(job.extras[POSTERIORS].path))
        posteriors = path.with_name(partial_name(path.suffix))
        copies.callback(posteriors.unlink, missing_ok=True)
    return _Begun(job, file, length, time.perf_counter(), state.st_size, state.st_mtime_ns, posteriors)


def _refuse_unlisted(folder: Path) -> None:
    try:
        any(folder.iterdir())
    except PermissionError as error:
        fact = f"{folder}: cannot be listed ({error.strerror})"
        raise AudioError(f"{fact}; check its permissions, or leave it out with --exclude") from error


def _refuse_note_list(source: Path) -> None:
    if format_of(source) is not None:
        raise AudioError(f"{source}: is a note list; give the recording")


def _transcribe(
    begun: Sequence[_Begun], transcriber: Transcriber, settings: Settings, watcher: Watcher
) -> Iterator[Transcription | PartranscribeError]:
    """The notes of each, or why there are none. What fails them all is looked for in each alone."""
    start, end, tuning = settings.start, settings.end, settings.tuning
    if len(begun) > 1 and not any(one.posteriors for one in begun):
        try:
            yield from list(
                transcriber.transcribe_several(
                    [one.file for one in begun],
                    start=start,
                    end=end,
                    tuning=tuning,
                    progress=lambda row, seconds: watcher.advanced(begun[row].job, seconds),
                )
            )
            return
        except PartranscribeError:  # as of a device without memory for one, which may do for another
            pass
        except Exception:
            traceback.print_exc()
    for one in begun:
        progress = partial(watcher.advanced, one.job)
        hear = partial(
            transcriber.transcribe, one.file, start=start, end=end, tuning=tuning, progress=progress
        )
        if one.posteriors is not None:
            hear = partial(hear, posteriors=one.posteriors)
        result = _guarded(one.job, hear)
        if isinstance(result, DeviceError):
            result = DeviceError(f"{one.job.source}: {result}")
        yield result


def _finish(
    begun: _Begun,
    result: Transcription | PartranscribeError,
    transcriber: Transcriber,
    settings: Settings,
    watcher: Watcher,
    manifests: dict[Path, Manifest],
) -> Outcome:
    """Write the outputs and the extras, and the entry that says so."""
    job = begun.job
    if isinstance(result, PartranscribeError):
        with ExitStack() as names:
            names.enter_context(named(job.source, begun.file))
            if begun.posteriors is not None:
                names.enter_context(named(job.extras[POSTERIORS].path, begun.posteriors))
            raise result
    start, end = settings.start, settings.end
    about = {**transcriber.about(), **_about(job.source, result, begun.length, start, end)}
    with transcriber.timings.stage("writing"):
        contents = {name: WRITERS[name](result.notes, about) for name in job.outputs}
        alive = partial(watcher.advanced, job, result.duration)
        source = _source_sha256(begun, alive) if job.folder is not None else ""
        with ExitStack() as stack:
            for name, path in job.outputs.items():
                stack.enter_context(appearing(path, contents[name]))
            seconds = time.perf_counter() - begun.began
            done = Outcome(
                job, len(result.notes), result.duration, result.tuning, seconds, source_sha256=source
            )
            # Before they take their places, so that nobody ever takes them for another's.
            if job.folder is not None:
                manifest = manifests.setdefault(job.folder, manifest_of(job.folder))
                entry = _entry(manifest, begun, done, contents, settings.identity(transcriber.info.sha256))
                manifest.add(entry)
    try:
        wanted = _wanted(job, settings, _end_of_part(settings, result.duration))
        done = replace(done, score=None if wanted is None else score(result.notes, wanted))
    except PartranscribeError as error:
        return replace(done, error=error)
    if not job.extras:
        return done

    def enter(kind: str, path: Path, temporary: Path) -> None:
        nonlocal entry
        if job.folder is not None:
            made = Made.of(temporary, settings.compared_with(job, kind))
            entry = replace(entry, extras={**entry.extras, _from_folder(path, job.folder): made})
            manifest.add(entry)

    from .extras import write_extras

    try:
        with transcriber.timings.stage("extras"):
            write_extras(
                job.extras,
                _contents(job, settings, result.notes, transcriber.info.name, wanted, done),
                lambda: transcriber.front_end(result.tuning),
                begun.posteriors,
                alive,
                enter,
            )
    except PartranscribeError as error:
        return replace(done, error=error)
    return done


def view(job: Job, notes: Path, settings: Settings) -> None:
    """Write the page of a job, with notes that are there already.

    Args:
        job: with a page.
        notes: a note list.
        settings: of the call.

    Raises:
        PartranscribeError: the recording, the notes or the reference cannot be read, or the page not written.
    """
    from .extras import write_extras

    _refuse_note_list(job.source)
    written = read_notes(notes, pedal_threshold=settings.pedal_threshold)
    wanted = _wanted(job, settings, settings.end)
    for page, _ in job.extras.values():
        check_place(page)
    front_end = settings.front_end()
    tuning = settings.tuning
    if tuning is None:
        rate = front_end.config.sample_rate
        tuning = measured(read_blocks(job.source, rate, start=settings.start, end=settings.end), rate)
    contents = _contents(job, settings, written, notes.name, wanted, Outcome(job, tuning=tuning))
    write_extras(job.extras, contents, lambda: front_end.tuned(tuning))


def _contents(
    job: Job,
    settings: Settings,
    notes: Sequence[Note],
    notes_from: str,
    wanted: Sequence[Note] | None,
    heard: Outcome,
) -> Contents:
    from .view import Contents

    return Contents(
        recording=job.source,
        notes=notes,
        notes_from=notes_from,
        reference=wanted,
        reference_name="" if job.reference is None else job.reference.name,
        start=settings.start,
        end=settings.end,
        seconds=heard.duration or None,
        tuning=heard.tuning,
    )


def _source_sha256(begun: _Begun, alive: Callable[[], object]) -> str:
    """Of the recording's bytes, which must be those that were transcribed."""
    digest, state = sha256_of(begun.file, alive), begun.file.stat()
    if (state.st_size, state.st_mtime_ns) != (begun.size, begun.modified_ns):
        raise AudioError(
            f"{begun.job.source}: was written to while it was read; run again when it is finished"
        )
    return digest


def _entry(
    manifest: Manifest,
    begun: _Begun,
    done: Outcome,
    contents: Mapping[str, bytes],
    identity: Mapping[str, Any],
) -> Entry:
    """What the manifest is told; other outputs and extras that were made of the same stay entered."""
    key = key_of(manifest.folder, done.job.outputs)
    outputs = {name: sha256(content).hexdigest() for name, content in contents.items()}
    extras: Mapping[str, Made] = {}
    before = manifest.get(key)
    if before is not None and (before.source_sha256, before.work) == (done.source_sha256, identity):
        same = all(before.outputs.get(name, made) == made for name, made in outputs.items())
        outputs, extras = {**before.outputs, **outputs}, before.extras if same else {}
    return Entry(
        key=key,
        source=done.job.name,
        size=begun.size,
        modified_ns=begun.modified_ns,
        source_sha256=done.source_sha256,
        work=identity,
        outputs=outputs,
        extras=extras,
        notes=done.notes,
        duration_s=round(done.duration, 4),
        tuning_hz=done.tuning,
        seconds=round(done.seconds, 3),
        origin=_from_folder(done.job.source, manifest.folder),
    )


def _from_folder(path: Path, folder: Path) -> str:
    """Where a recording or what was made of it is, seen from a folder, so that both can be moved together."""
    if is_remote(path) or is_remote(folder):
        return place(path)
    with suppress(ValueError):  # on another drive
        return Path(os.path.relpath(place(path), place(folder))).as_posix()
    return place(path)


def _recording_of(entry: Entry, folder: Path) -> Path:
    """Where the recording was that an entry of a folder is of."""
    path = location(entry.origin)
    return path if is_remote(path) or is_remote(folder) else Path(place(Path(place(folder)) / path))


def reason_to_keep(job: Job, manifest: Manifest, identity: Mapping[str, Any], settings: Settings) -> str:
    """Why the outputs of a job that are there shall stay; empty where it is to be done.

    Outputs stay if they were made of the same bytes by the same work, with the same extras, and whenever they
    are not what the manifest says was written, for then they are another's work.

    Args:
        job: with a folder.
        manifest: of that folder.
        identity: of the call's settings.
        settings: of the call.

    Raises:
        AudioError: the recording is not there.
        OutputError: some outputs are there that were not made by this program, and others are missing; or
            they were made of another recording, which is still there and has other bytes.
    """
    there = {name: path for name, path in job.outputs.items() if is_file(path)}
    if not there:
        return ""
    check_there(job.source)
    missing = len(there) < len(job.outputs)
    key = key_of(manifest.folder, job.outputs)
    entry, hashes = manifest.get(key), {name: sha256_of(path) for name, path in there.items()}
    foreign = [path for name, path in there.items() if not manifest.has_written(key, hashes[name])]
    if foreign:
        reason = "already there" if entry is None else "changed since it was made"
        if missing:
            raise OutputError(f"{foreign[0]}: is {reason}, and would be replaced; --overwrite allows it")
        return reason
    assert entry is not None
    made = not missing and all(entry.outputs.get(name) == one for name, one in hashes.items())
    made = made and entry.work == identity
    moved = entry.origin not in ("", _from_folder(job.source, manifest.folder))
    same = (made or moved) and _is_source(job.source, entry, by_date=not moved)
    if moved and not same:
        # An address is not asked where only a manifest tells it, which may be anyone's.
        may_ask = is_remote(job.source) or not is_url(entry.origin)
        other = _recording_of(entry, manifest.folder) if may_ask else None
        if other is None or is_file(other):
            fact = (
                f"{next(iter(there.values()))}: is what {other or entry.origin} gave, and would be replaced"
            )
            raise OutputError(f"{fact}; name another folder with -o, or allow it with --overwrite")
    return DONE if made and same and _has_extras(job, manifest, entry, settings) else ""


def _has_extras(job: Job, manifest: Manifest, entry: Entry, settings: Settings) -> bool:
    """Whether the extras of a job are those that were made of the entry's notes and the job's reference."""
    for kind, extra in job.extras.items():
        made = entry.extras.get(_from_folder(extra.path, manifest.folder))
        made = made or entry.extras.get(place(extra.path))  # as it was entered once
        if made is None or not is_file(extra.path) or not made.is_that(extra.path):
            return False
        if made.compared_with != settings.compared_with(job, kind):
            return False
    return True


def refuse_foreign_extras(job: Job, manifest: Manifest | None) -> None:
    """Make sure that what is made beside the notes takes the place of nothing else in a folder.

    Args:
        job: that is to be done.
        manifest: of its outputs; None if they are not entered.

    Raises:
        OutputError: something is there that was not made by this program.
    """
    for kind, extra in job.extras.items():
        if extra.folder is None:
            if kind in (SOUND, STEREO) and is_file(extra.path):  # a recording may have been named by mistake
                from .sonify import refuse_other

                refuse_other(extra.path)
            continue
        key = "" if manifest is None else key_of(manifest.folder, job.outputs)
        if is_file(extra.path) and (manifest is None or not manifest.has_written(key, sha256_of(extra.path))):
            fact = f"{extra.path}: is already there, and would be replaced"
            raise OutputError(f"{fact}; --overwrite allows it")


def _is_source(source: Path, entry: Entry, *, by_date: bool) -> bool:
    """Whether a file has the bytes of an entry's; by date, one of its size and date is taken for it."""
    try:
        state = source.stat()
        dated = by_date and state.st_mtime_ns != 0  # some stores do not tell
        if dated and (state.st_size, state.st_mtime_ns) == (entry.size, entry.modified_ns):
            return True
        return state.st_size == entry.size and sha256_of(source) == entry.source_sha256
    except OSError as error:
        raise unreachable(source, error) from error


def keep(job: Job, reason: str, settings: Settings, entry: Entry | None = None) -> Outcome:
    """The outcome of a job whose outputs stay, with the score of what is there.

    Args:
        job: with outputs.
        reason: from `reason_to_keep`; empty for what was done meanwhile.
        settings: of the call.
        entry: the job's own, of the outputs that are there; None if they are another's work, of which nothing
            else is made.
    """
    outcome = Outcome(job, kept=reason)
    if entry is not None:
        outcome = replace(
            outcome,
            notes=entry.notes,
            duration=entry.duration_s,
            tuning=entry.tuning_hz,
            seconds=entry.seconds,
            source_sha256=entry.source_sha256,
        )
    written = job.outputs[min(job.outputs, key=TELLING.index)]
    missing = [extra.path for extra in job.extras.values() if entry is None and not is_file(extra.path)]
    if missing:
        fact = f"{missing[0]}: is not made, as {written} is {reason}"
        return replace(outcome, error=OutputError(f"{fact}; --overwrite makes all anew"))
    if job.reference is None:
        return outcome
    start, end = settings.start, settings.end
    if entry is not None:
        end = _end_of_part(settings, entry.duration_s)
    try:
        notes = read_notes(written, pedal_threshold=settings.pedal_threshold)
        wanted = _wanted(job, settings, end)
        measured = None if wanted is None else score(begun_between(notes, start, end), wanted)
    except PartranscribeError as error:
        return replace(outcome, error=error)
    return replace(outcome, notes=len(notes), score=measured)


def _end_of_part(settings: Settings, duration: float) -> float | None:
    """Where a part of so many seconds ended, as its recording may before the settings do; None for all."""
    return settings.start + duration if settings.start or settings.end is not None else None


def _wanted(job: Job, settings: Settings, end: float | None) -> list[Note] | None:
    """The part of a job's reference that was transcribed; None without a reference."""
    if job.reference is None:
        return None
    with told(job.reference):
        return read_reference(job.reference, settings.pedal_threshold, settings.start, end)


def _about(
    source: Path, result: Transcription, length: float | None, start: float, end: float | None
) -> dict[str, Any]:
    """What JSON tells of a recording: its length in seconds, and the part of it that was transcribed."""
    whole = not start and end is None
    duration = result.duration if whole else length  # a header may be wrong
    return {
        "source": source.name,
        "duration_s": None if duration is None else round(duration, 4),
        "start_s": start,
        "end_s": round(start + result.duration, 4),
        "tuning_hz": result.tuning,
    }
