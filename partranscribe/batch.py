"""Many recordings in one call: which is written where, one fault boundary, and what became of each."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .audio import AUDIO_SUFFIXES, probe
from .errors import AudioError, NoteFileError, PartranscribeError
from .note_io import PEDAL_THRESHOLD, SUFFIXES, WRITERS, format_of, read_notes, whole_file
from .score import Score, score

if TYPE_CHECKING:  # torch is loaded when there is something to transcribe
    from .transcribe import Transcriber

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

    Raises:
        UsageError: the sources do not fit the output, or two of them would be written to one file.
    """
    several = sum(source.is_dir() for source in sources) > 1
    found = [entry for source in sources for entry in _recordings(source, prefixed=several)]
    if output is None or _is_folder(output):
        jobs = _jobs_in_folders(found, output, tuple(formats) or ("midi",), overwrite)
    else:
        jobs = [_job_to_file(found, sources, output, formats)]
    if reference is None:
        return jobs
    return [_with_reference(job, reference, alone=len(found) == 1) for job in jobs]


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
                outcome = Outcome(job)
            else:
                if job.source.is_dir():
                    raise AudioError(f"{job.source}: no recording in this folder; is it the right one?")
                watcher.started(job, probe(job.source).duration)
                outcome = _transcribe(job, ready, watcher, start, end, pedal_threshold)
        except PartranscribeError as error:
            outcome = Outcome(job, error=error)
        watcher.finished(outcome)
        outcomes.append(outcome)
    return outcomes


def _transcribe(
    job: Job,
    transcriber: Transcriber,
    watcher: Watcher,
    start: float,
    end: float | None,
    pedal_threshold: int,
) -> Outcome:
    began = time.perf_counter()
    with ExitStack() as stack:
        temporary = {name: stack.enter_context(whole_file(path)) for name, path in job.outputs.items()}
        result = transcriber.transcribe(job.source, start=start, end=end, progress=watcher.advanced)
        about = {**transcriber.about(), "source": job.source.name, "duration_s": round(result.duration, 4)}
        for name, path in temporary.items():
            path.write_bytes(WRITERS[name](result.notes, about))
    seconds = time.perf_counter() - began
    measured, error = None, None
    if job.reference is not None:
        try:
            wanted = read_notes(job.reference, pedal_threshold=pedal_threshold)
            if start or end is not None:
                wanted = [note for note in wanted if start <= note.onset < start + result.duration]
            if not wanted:
                raise NoteFileError(f"{job.reference}: no notes to score with; is it the right file?")
            measured = score(result.notes, wanted)
        except PartranscribeError as failure:
            error = failure
    return Outcome(job, len(result.notes), result.duration, seconds, measured, error)


@dataclass(frozen=True)
class _Recording:
    """A recording with its place: `below` is its path from the folder that its outputs mirror."""

    path: Path
    below: Path
    name: str


def _recordings(source: Path, *, prefixed: bool) -> list[_Recording]:
    if not source.is_dir():
        return [_Recording(source, Path(source.name), str(source))]
    files = sorted(path for path in source.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    inside = [path.relative_to(source) for path in files if path.is_file() and not path.name.startswith(".")]
    top = Path(source.resolve().name) if prefixed else Path()
    # A folder without recordings is reported like a recording that cannot be read.
    return [_Recording(source / path, top / path, str(path)) for path in inside] or [
        _Recording(source, Path(source.name), str(source))
    ]


def _is_folder(output: Path) -> bool:
    return output.is_dir() or not output.suffix


def _jobs_in_folders(
    found: Sequence[_Recording], output: Path | None, formats: Sequence[str], overwrite: bool
) -> list[Job]:
    places = [
        (recording.path.parent if output is None else output / recording.below.parent) for recording in found
    ]
    stems = Counter(place / recording.path.stem for place, recording in zip(places, found, strict=True))
    jobs = []
    taken: dict[Path, Path] = {}
    for place, recording in zip(places, found, strict=True):
        shared = stems[place / recording.path.stem] > 1
        base = recording.path.name if shared else recording.path.stem
        outputs = {name: place / (base + ENDINGS[name]) for name in formats}
        for path in outputs.values():
            if path in taken:
                raise UsageError(
                    f"{taken[path]} and {recording.path} would both be written to {path}; "
                    "give the folder that holds both, or run them one by one"
                )
            taken[path] = recording.path
        kept = not overwrite and all(path.exists() for path in outputs.values())
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
    if len(sources) > 1 or sources[0].is_dir():
        raise UsageError(f"{output} is one file, and there may be several recordings; name a folder with -o")
    outputs = {named: output} | {name: output.with_suffix(ENDINGS[name]) for name in formats if name != named}
    return Job(found[0].path, found[0].name, outputs)


def _with_reference(job: Job, reference: Path, *, alone: bool) -> Job:
    if not reference.is_dir():
        if not alone:
            raise UsageError(
                f"{reference} is one file, and there are several recordings; give a folder of references"
            )
        return replace(job, reference=reference)
    stem = Path(job.name) if not Path(job.name).is_absolute() else Path(job.source.name)
    candidates = [(reference / stem).with_suffix(ending) for ending in SUFFIXES]
    candidates += [(reference / job.source.name).with_suffix(ending) for ending in SUFFIXES]
    return replace(job, reference=next((path for path in candidates if path.is_file()), candidates[0]))
