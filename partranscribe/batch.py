"""Many recordings in one call: which is written where, one fault boundary, and what became of each."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .audio import AUDIO_SUFFIXES, probe
from .errors import AudioError, NoteFileError, PartranscribeError
from .note_io import PEDAL_THRESHOLD, SUFFIXES, WRITERS, format_of, read_notes, whole_file
from .notes import Note
from .paths import is_file, is_folder, place
from .score import Score, score

if TYPE_CHECKING:  # torch is loaded when there is something to transcribe
    from .transcribe import Transcriber, Transcription

ENDINGS = {"midi": ".mid", "csv": ".csv", "json": ".json", "tsv": ".tsv"}


class UsageError(ValueError):
    """Sources and outputs that cannot be meant together."""


@dataclass(frozen=True)
class Job:
    """One recording, the files to be written of it, and the reference to score it with.

    Args:
        source: the recording.
        name: how it is called in reports: its path as given, or below the folder that was given.
        outputs: path of each format.
        kept: its outputs are all there already and shall stay.
        reference: a note list, or a folder in which `name` is looked up.
    """

    source: Path
    name: str
    outputs: Mapping[str, Path] = field(default_factory=dict)
    kept: bool = False
    reference: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of one job.

    Args:
        job: the job.
        notes: how many notes were found.
        duration: seconds of audio.
        seconds: time that it took.
        score: against the reference, if there is one.
        error: what went wrong, if something did; the outputs may be there all the same where only the
            score failed.
    """

    job: Job
    notes: int = 0
    duration: float = 0.0
    seconds: float = 0.0
    score: Score | None = None
    error: PartranscribeError | None = None


class Watcher:
    """Is told how the work goes; this one says nothing.

    `started` gives the length of a recording in seconds where its header tells, `advanced` the seconds
    that are done of it, `finished` the outcome.
    """

    def started(self, job: Job, duration: float | None) -> None: ...

    def advanced(self, seconds: float) -> None: ...

    def finished(self, outcome: Outcome) -> None: ...


def plan(
    sources: Sequence[Path],
    output: Path | None,
    formats: Sequence[str] = (),
    *,
    reference: Path | None = None,
    overwrite: bool = False,
    into_folder: bool = False,
) -> list[Job]:
    """Decide which recordings are meant, and where the outputs of each go.

    A folder stands for every recording in it and below. Outputs go beside their recordings, or into a
    folder, where the tree of a source folder is mirrored, of several each under its name. Two recordings
    of one folder that differ in their ending only keep it in the names of their outputs.

    Args:
        sources: recordings and folders. One that is not there becomes a job all the same, and fails
            like any other recording that cannot be read.
        output: a file, its format told by its ending, for one recording; a folder; or None.
        formats: names in `WRITERS`; by default that of `output`, or MIDI.
        reference: a note list, or a folder of them that is paired with the recordings by name.
        overwrite: outputs that are there are made anew; by default a recording whose outputs are all
            there is left alone, unless `output` names its file.
        into_folder: `output` is a folder, even if its name looks like that of a file.

    Raises:
        UsageError: the sources do not fit the output, two of them would be written to one file, an output
            would replace a source or a reference, or there is no reference.
    """
    sources = list(dict.fromkeys(sources))
    several = sum(is_folder(source) for source in sources) > 1
    found = [entry for source in sources for entry in _recordings(source, prefixed=several)]
    if output is None or into_folder or _is_folder(output):
        jobs = _jobs_in_folders(found, output, tuple(formats) or ("midi",), overwrite)
    else:
        jobs = [_job_to_file(found, sources, output, formats)]
    for job in jobs:
        if place(job.source) in map(place, job.outputs.values()):
            raise UsageError(f"{job.source} would be replaced by its own notes; write elsewhere with -o")
    return jobs if reference is None else _with_references(jobs, found, reference)


def run(
    jobs: Iterable[Job],
    transcriber: Callable[[], Transcriber],
    watcher: Watcher | None = None,
    *,
    start: float = 0.0,
    end: float | None = None,
    pedal_threshold: int = PEDAL_THRESHOLD,
) -> list[Outcome]:
    """Do all jobs; one that fails does not stop the others.

    Args:
        jobs: from `plan`.
        transcriber: makes the transcriber; called once, at the first job that needs it.
        watcher: is told how it goes.
        start, end: seconds of every recording between which it is transcribed.
        pedal_threshold: for references in MIDI, see `note_io.read_notes`.

    Raises:
        PartranscribeError: `transcriber` did: what is wrong with the model is wrong for every recording.
    """
    watcher = watcher or Watcher()
    ready: Transcriber | None = None
    outcomes = []
    for job in jobs:
        if not job.kept and ready is None:
            ready = transcriber()
        try:
            if job.kept or ready is None:
                outcome = _kept(job, start, end, pedal_threshold)
            else:
                if is_folder(job.source):
                    raise AudioError(f"{job.source}: no recording in this folder; is it the right one?")
                if not job.outputs:
                    raise AudioError(f"{job.source}: is a note list; give the recording")
                length = probe(job.source).duration
                watcher.started(job, length)
                outcome = _transcribe(job, ready, watcher, length, start, end, pedal_threshold)
        except PartranscribeError as error:
            outcome = Outcome(job, error=error)
        watcher.finished(outcome)
        outcomes.append(outcome)
    return outcomes


def _transcribe(
    job: Job,
    transcriber: Transcriber,
    watcher: Watcher,
    length: float | None,
    start: float,
    end: float | None,
    pedal_threshold: int,
) -> Outcome:
    began = time.perf_counter()
    with ExitStack() as stack:
        temporary = {name: stack.enter_context(whole_file(path)) for name, path in job.outputs.items()}
        result = transcriber.transcribe(job.source, start=start, end=end, progress=watcher.advanced)
        about = {**transcriber.about(), **_about(job.source, result, length, start, end)}
        with transcriber.timings.stage("writing"):
            for name, path in temporary.items():
                path.write_bytes(WRITERS[name](result.notes, about))
    seconds = time.perf_counter() - began
    last = start + result.duration if start or end is not None else None
    try:
        measured = _score(job.reference, result.notes, start, last, pedal_threshold)
    except PartranscribeError as error:
        return Outcome(job, len(result.notes), result.duration, seconds, error=error)
    return Outcome(job, len(result.notes), result.duration, seconds, measured)


def _kept(job: Job, start: float, end: float | None, pedal_threshold: int) -> Outcome:
    """What is there already is not made again, and is scored as it is."""
    if job.reference is None:
        return Outcome(job)
    notes = read_notes(next(iter(job.outputs.values())))
    return Outcome(job, len(notes), score=_score(job.reference, notes, start, end, pedal_threshold))


def _score(
    reference: Path | None, notes: Sequence[Note], start: float, end: float | None, pedal_threshold: int
) -> Score | None:
    """The score against the part of a reference from `start` to `end`; None without a reference."""
    if reference is None:
        return None
    wanted = read_notes(reference, pedal_threshold=pedal_threshold)
    wanted = [note for note in wanted if start <= note.onset and (end is None or note.onset < end)]
    if not wanted:
        raise NoteFileError(f"{reference}: no notes to score with; is it the right file?")
    return score(notes, wanted)


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
    }


@dataclass(frozen=True)
class _Recording:
    """A recording with its place.

    Args:
        path: of the file.
        below: its path from the folder that its outputs mirror.
        name: for reports.
        inside: its path from the source folder, by which a reference is found; of a file that was given
            itself, its name.
    """

    path: Path
    below: Path
    name: str
    inside: Path


def _recordings(source: Path, *, prefixed: bool) -> list[_Recording]:
    itself = _Recording(source, Path(source.name), str(source), Path(source.name))
    if not is_folder(source):
        return [itself]
    files = sorted(path for path in source.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    inside = [path.relative_to(source) for path in files if is_file(path) and not path.name.startswith(".")]
    top = Path(source.resolve().name) if prefixed else Path()
    # A folder without recordings is reported like a recording that cannot be read.
    return [_Recording(source / path, top / path, str(path), path) for path in inside] or [itself]


def _is_folder(output: Path) -> bool:
    return is_folder(output) or not (output.suffix or is_file(output))


def _jobs_in_folders(
    found: Sequence[_Recording], output: Path | None, formats: Sequence[str], overwrite: bool
) -> list[Job]:
    folders = [
        (recording.path.parent if output is None else output / recording.below.parent) for recording in found
    ]
    pairs = list(zip(folders, found, strict=True))
    stems = Counter(folder / each.path.stem for folder, each in pairs if format_of(each.path) is None)
    jobs = []
    taken: dict[Path, Path] = {}
    for folder, recording in pairs:
        if format_of(recording.path):  # a note list, which fails by itself
            jobs.append(Job(recording.path, recording.name))
            continue
        shared = stems[folder / recording.path.stem] > 1
        base = recording.path.name if shared else recording.path.stem
        outputs = {name: folder / (base + ENDINGS[name]) for name in formats}
        for path in outputs.values():
            if path in taken:
                raise UsageError(
                    f"{taken[path]} and {recording.path} would both be written to {path}; "
                    "give the folder that holds both, or run them one by one"
                )
            taken[path] = recording.path
        kept = not overwrite and all(is_file(path) for path in outputs.values())
        jobs.append(Job(recording.path, recording.name, outputs, kept))
    return jobs


def _job_to_file(
    found: Sequence[_Recording], sources: Sequence[Path], output: Path, formats: Sequence[str]
) -> Job:
    named = format_of(output)
    if named is None:
        raise UsageError(
            f"{output}: {output.suffix!r} is no format; end it with {', '.join(SUFFIXES)}, or name a folder"
        )
    if len(sources) > 1 or is_folder(sources[0]):
        raise UsageError(f"{output} is one file, and there may be several recordings; name a folder with -o")
    outputs = {named: output} | {name: output.with_suffix(ENDINGS[name]) for name in formats if name != named}
    return Job(found[0].path, found[0].name, outputs)


def _with_references(jobs: Sequence[Job], found: Sequence[_Recording], reference: Path) -> list[Job]:
    if not is_folder(reference):
        if len(jobs) > 1:
            raise UsageError(
                f"{reference} is one file, and there are several recordings; give a folder of references"
            )
        if not is_file(reference):
            raise UsageError(f"{reference}: no such note list or folder; is the path right?")
        (job,) = jobs
        if place(reference) in map(place, job.outputs.values()):
            raise UsageError(f"{reference} is the reference, and would be replaced; write elsewhere with -o")
        return [replace(job, reference=reference)]
    written = {place(path) for job in jobs for path in job.outputs.values()}
    paired = []
    for job, recording in zip(jobs, found, strict=True):
        stems = (recording.inside, Path(recording.path.name))
        candidates = [(reference / stem).with_suffix(ending) for stem in stems for ending in SUFFIXES]
        # A note list that this very call writes is no reference to it.
        there = (path for path in candidates if is_file(path) and place(path) not in written)
        paired.append(replace(job, reference=next(there, candidates[0])))
    return paired
