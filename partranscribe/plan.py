"""Which recordings are meant, and where the outputs of each go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

from .audio import AUDIO_SUFFIXES
from .manifest import NAME, Manifest, has_entered, has_made
from .note_io import SUFFIXES, format_of
from .paths import is_file, is_folder, is_hidden, place
from .remote import files_below, is_remote

ENDINGS = {"midi": ".mid", "csv": ".csv", "json": ".json", "tsv": ".tsv"}
INDEX = "index.html"  # beside the pages of several recordings
PAGE, PLOT, SOUND, STEREO, POSTERIORS = "page", "plot", "sound", "stereo", "posteriors"
_SOUND_ENDINGS = (".wav", ".flac", ".ogg", ".opus", ".mp3")
EXTRA_ENDINGS = {  # the first one is that of files in a folder
    PAGE: (".html", ".htm"),
    PLOT: (".png", ".svg", ".pdf"),
    SOUND: _SOUND_ENDINGS,
    STEREO: _SOUND_ENDINGS,
    POSTERIORS: (".npz",),
}


class Extra(NamedTuple):
    """A file that is made of a recording and its notes.

    Args:
        path: of the file.
        folder: that was given, in which the file has the recording's name; None where the file was named, and
            is made anew whatever is there.
    """

    path: Path
    folder: Path | None


class UsageError(ValueError):
    """Sources and outputs that cannot be meant together."""


@dataclass(frozen=True)
class Job:
    """One recording, the files to be written of it, and the reference to score it with.

    Args:
        source: the recording.
        name: how it is called in reports: its path as given, or below the folder that was given.
        outputs: path of each format; without a folder, the one that was named comes first.
        folder: of the manifest that the outputs are entered in; None where `output` named the file, which is
            made anew whatever is there.
        reference: a note list to score it with; None without one.
        extras: what else is made of it and its notes, by its kind in `EXTRA_ENDINGS`.
    """

    source: Path
    name: str
    outputs: Mapping[str, Path] = field(default_factory=dict)
    folder: Path | None = None
    reference: Path | None = None
    extras: Mapping[str, Extra] = field(default_factory=dict)

    @property
    def written(self) -> list[Path]:
        """All files that are written of it."""
        return [*self.outputs.values(), *(extra.path for extra in self.extras.values())]


def plan(
    sources: Sequence[Path],
    output: Path | None,
    formats: Sequence[str] = (),
    *,
    reference: Path | None = None,
    extras: Mapping[str, Path] | None = None,
    extra_folders: Collection[str] = (),
    into_folder: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
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
        extras: what else is made, by its kind in `EXTRA_ENDINGS`: a file for one recording, or a folder that
            mirrors the tree of the sources.
        extra_folders: kinds whose path is a folder, even if its name looks like that of a file.
        into_folder: `output` is a folder, even if its name looks like that of a file.
        include, exclude: patterns such as `*.flac` or `live/*`, of names or of paths below a source folder.
            Of what a folder holds, recordings that any of the first fits are meant (or all, without one),
            unless one of the others does.

    Raises:
        UsageError: the sources do not fit the output or an extra, two of them would be written to one file,
            a file would replace a source or a reference, or there is no reference.
    """
    sources = list(dict.fromkeys(sources))
    several = sum(is_folder(source) for source in sources) > 1
    each: dict[Path, _Recording] = {}
    for source in sources:
        for recording in _recordings(source, include, exclude, prefixed=several, alone=len(sources) == 1):
            each.setdefault(recording.path, recording)
    found = list(each.values())
    if output is None or into_folder or names_folder(output):
        jobs = _jobs_in_folders(found, output, tuple(formats) or ("midi",))
    else:
        jobs = [_job_to_file(found, sources, output, formats)]
    read = {place(job.source): job.source for job in jobs}
    for job in jobs:
        for path in job.outputs.values():
            if place(path) in read:
                other = read[place(path)]
                whose = "its own notes" if other == job.source else f"the notes of {job.source}"
                raise UsageError(f"{other} would be replaced by {whose}; write elsewhere with -o")
    if reference is not None:
        jobs = _with_references(jobs, found, reference)
    if not extras:
        return jobs
    for kind in (SOUND, STEREO):
        for source in filter(is_folder, sources if kind in extras else ()):
            if Path(place(extras[kind])).is_relative_to(place(source)):
                fact = f"{extras[kind]} lies in {source}, where its sound would be taken for a recording"
                raise UsageError(f"{fact}; name another folder")
    return with_extras(jobs, extras, [recording.below for recording in found], extra_folders)


def check_tables(tables: Sequence[Path], jobs: Sequence[Job], model: Path) -> None:
    """Make sure that what tells of all jobs takes the place of nothing that a call reads or writes.

    Args:
        tables: to be written.
        jobs: of the call.
        model: its checkpoint.

    Raises:
        UsageError: it would, or has the name of a recording.
    """
    taken = {place(model)}
    taken |= {place(path) for job in jobs for path in (job.source, *job.written)}
    taken |= {place(job.reference) for job in jobs if job.reference is not None}
    taken |= {place(job.folder / NAME) for job in jobs if job.folder is not None}
    pages = (job.extras[PAGE].folder for job in jobs if PAGE in job.extras)
    taken |= {place(folder / INDEX) for folder in pages if folder is not None}
    for path in tables:
        if place(path) in taken:
            raise UsageError(f"{path} would replace a file that this call reads or writes; name another")
        if path.suffix.lower() in AUDIO_SUFFIXES:
            raise UsageError(f"{path} has the name of a recording; name a table to be written")
        taken.add(place(path))


def with_extras(
    jobs: Sequence[Job], extras: Mapping[str, Path], below: Sequence[Path], folders: Collection[str] = ()
) -> list[Job]:
    """The jobs, with what else is made of each.

    Args:
        jobs: of a call.
        extras: see `plan`.
        below: path of each job's recording from the folder that an extra's folder mirrors.
        folders: kinds whose path is a folder, even if its name looks like that of a file.

    Raises:
        UsageError: an extra is one file for several jobs, has an unknown ending, would be made of a recording
            that is not on this machine, or would replace another file.
    """
    wanted = []
    for job, path_below in zip(jobs, below, strict=True):
        is_none = len(jobs) > 1 and not job.outputs  # which fails by itself
        made = {
            kind: _extra(kind, path, job, path_below, len(jobs), is_folder=kind in folders)
            for kind, path in ({} if is_none else extras).items()
        }
        wanted.append(replace(job, extras=made))
    others = {place(path) for job in wanted for path in (job.source, job.reference) if path is not None}
    others |= {place(path) for job in wanted for path in job.outputs.values()}
    taken: dict[str, Path] = {}
    for job in wanted:
        for path in (extra.path for extra in job.extras.values()):
            if is_remote(job.source):
                raise UsageError(f"{job.source}: {path} is made of a recording on this machine; copy it here")
            if place(path) in others:
                raise UsageError(f"{path} would replace a recording, its notes or a reference; name another")
            if place(path) in taken:
                both = f"{taken[place(path)]} and {job.source}"
                raise UsageError(f"{both} would both be written to {path}; name different folders")
            taken[place(path)] = job.source
    return wanted


def _extra(kind: str, path: Path, job: Job, below: Path, jobs: int, *, is_folder: bool) -> Extra:
    """Where an extra of a job goes."""
    endings = EXTRA_ENDINGS[kind]
    if is_folder or names_folder(path):
        named = next(iter(job.outputs.values()), job.source)  # a recording may keep its ending in it
        name = f"{named.name.removesuffix(named.suffix)}{endings[0]}"
        if name.lower() == INDEX:
            name = f"{job.source.name}{endings[0]}"
        return Extra(path / below.parent / name, path)
    if path.suffix.lower() not in endings:
        fact = f"{path}: {path.suffix!r} is no ending of a {kind}"
        raise UsageError(f"{fact}; use {' or '.join(endings)}, or name a folder")
    if jobs > 1:
        raise UsageError(f"{path} is the {kind} of one recording, and there are {jobs}; name a folder")
    return Extra(path, None)


@dataclass(frozen=True)
class _Recording:
    """A recording with its place.

    Args:
        path: of the file.
        below: its path from the folder that its outputs mirror.
        name: for reports.
        inside: its path from the source folder, by which a reference is found; of a file that was given
            itself, its name.
        top: the folder that it was found in.
    """

    path: Path
    below: Path
    name: str
    inside: Path
    top: Path

    @property
    def is_none(self) -> bool:
        """Whether it is a note list, or a folder in which there is no recording to be seen."""
        return bool(format_of(self.path)) or (
            self.path.suffix.lower() not in AUDIO_SUFFIXES and is_folder(self.path)
        )


def _recordings(
    source: Path, include: Sequence[str], exclude: Sequence[str], *, prefixed: bool, alone: bool
) -> list[_Recording]:
    """A recording, or those of a folder.

    Args:
        source: file or folder.
        include, exclude: see `plan`.
        prefixed: outputs go below the folder's name, as there are other folders.
        alone: there is no other source, so that paths below the folder are names enough.
    """
    itself = _Recording(source, Path(source.name), str(source), Path(source.name), source.parent)
    if not is_folder(source):
        return [itself]
    unlisted: list[OSError] = []
    inside = files_below(source, AUDIO_SUFFIXES, unlisted.append)
    meant = [path for path in inside if _fits(path, include or ["*"])]
    # Folders without recordings, and those that cannot be listed, fail like recordings that cannot be read.
    meant += [Path(error.filename).relative_to(source) for error in unlisted]
    top = Path(source.resolve().name) if prefixed else Path()
    return [
        _Recording(source / path, top / path, str(path if alone else source / path), path, source)
        for path in sorted(meant)
        if path.name and not is_hidden(path) and not _fits(path, exclude)
    ] or [itself]


def _fits(path: Path, patterns: Sequence[str]) -> bool:
    """Whether any pattern is that of the path, or without a slash of its name, be it in capitals or not."""
    whole, name = path.as_posix().lower(), path.name.lower()
    return any(fnmatchcase(whole if "/" in one else name, one.lower()) for one in patterns)


def names_folder(output: Path) -> bool:
    """Whether an output is a folder: one that is there, or a path without an ending."""
    return is_folder(output) or not (output.suffix or is_file(output))


def _folded(path: Path) -> str:
    """The same for paths that are one on some disks: those that know no capitals, or no accents apart."""
    return normalize("NFC", str(path)).casefold()


def _jobs_in_folders(found: Sequence[_Recording], output: Path | None, formats: Sequence[str]) -> list[Job]:
    folders = [
        (recording.path.parent if output is None else output.joinpath(*recording.below.parent.parts))
        for recording in found
    ]
    pairs = list(zip(folders, found, strict=True))
    bases = _apart(pairs, _bases(pairs))
    jobs = []
    taken: dict[str, Path] = {}
    for (folder, recording), base in zip(pairs, bases, strict=True):
        if recording.is_none:  # which fails by itself
            jobs.append(Job(recording.path, recording.name))
            continue
        outputs = {name: folder / (base + ENDINGS[name]) for name in formats}
        for path in outputs.values():
            other = taken.setdefault(place(path), recording.path)
            if other != recording.path:
                raise UsageError(
                    f"{other} and {recording.path} would both be written to {path}; "
                    "give the folder that holds both, or run them one by one"
                )
        jobs.append(Job(recording.path, recording.name, outputs, recording.top if output is None else output))
    return jobs


def _bases(pairs: Sequence[tuple[Path, _Recording]]) -> list[str]:
    """Names of outputs without their ending, by folder and recording.

    That of the recording without its own ending, which it keeps where another would have the same name.
    """
    bases = [recording.path.stem for _, recording in pairs]
    while True:
        named = [
            _folded(folder / base)
            for (folder, each), base in zip(pairs, bases, strict=True)
            if not each.is_none
        ]
        count = Counter(named)
        shared = [
            index
            for index, (folder, each) in enumerate(pairs)
            if count[_folded(folder / bases[index])] > 1
            and bases[index] != each.path.name
            and not each.is_none
        ]
        if not shared:
            return bases
        for index in shared:
            bases[index] = pairs[index][1].path.name


def _apart(pairs: Sequence[tuple[Path, _Recording]], bases: Sequence[str]) -> list[str]:
    """The same names, with a number where two that differ are one on some disks."""
    taken: dict[str, Path] = {}
    apart = []
    for (folder, recording), base in zip(pairs, bases, strict=True):
        name, number = base, 1
        while not recording.is_none and taken.get(_folded(folder / name), folder / name) != folder / name:
            number += 1
            name = f"{base} ({number})"
        taken[_folded(folder / name)] = folder / name
        apart.append(name)
    return apart


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
    # One listing, as each question to a store takes its time.
    listed = {reference / path for path in files_below(reference, SUFFIXES)} if is_remote(reference) else None
    paired = []
    manifests: dict[Path, Manifest] = {}
    named: dict[str, set[Path]] = {}
    for recording in found:
        named.setdefault(recording.path.stem, set()).add(recording.inside.parent / recording.inside.stem)
    for job, recording in zip(jobs, found, strict=True):
        stems = [recording.inside]
        if len(named[recording.path.stem]) == 1:  # else it may be the reference of another recording
            stems.append(Path(recording.path.name))
        endings = [each for ending in SUFFIXES for each in (ending, ending.upper())]
        candidates = [(reference / stem).with_suffix(one) for stem in stems if stem.name for one in endings]
        there = [path for path in candidates if (is_file(path) if listed is None else path in listed)]
        there = list(dict.fromkeys(there))
        # A note list that this program writes is no reference to it; but what was there before is one.
        mine = [path for path in there if place(path) in written]
        for path in mine if job.folder is not None else ():
            if not has_entered(path, reference, manifests):
                raise UsageError(f"{path} may be a reference, and would be replaced; write elsewhere with -o")
        there = [path for path in there if path not in mine]
        if len(there) > 1:  # one that some call has written is taken only where nothing else is
            there.sort(key=lambda path: has_made(path, reference, manifests))
        paired.append(replace(job, reference=there[0] if there else None))
    if not any(job.reference for job in paired):
        raise UsageError(
            f"{reference}: no note list there has the name of a recording; is it the right folder?"
        )
    return paired
