"""Notes scored against notes, with the measures of section IV-B of the paper, by mir_eval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, fields, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import NoteFileError
from .manifest import Manifest, has_made
from .note_io import SUFFIXES, TELLING, read_notes
from .notes import HIGHEST_PITCH, LOWEST_PITCH, PEDAL_THRESHOLD, Note
from .paths import is_folder, is_hidden
from .remote import files_below

HELD_TOO_LONG = 3.0  # seconds, section V-A
LENGTH_EDGES = (0.0, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, math.inf)  # seconds, for Figure 6
PITCH_EDGES = tuple(range(LOWEST_PITCH, HIGHEST_PITCH + 2))  # a bin for each key, for Figure 7

HIT, WRONG_OFFSET, INVENTED, MISSED = range(4)  # kinds of notes; page/view.js knows them by these numbers
NO_PARTNER = -1

_MIN_LENGTH = 1e-6  # seconds
_STRETCH = 256  # notes that are matched at once, or more where they follow each other closely
_ROUNDING = 1e-3  # seconds; mir_eval rounds distances to a tenth of it

_Pairs = NDArray[np.int64]


@dataclass(frozen=True)
class Tolerances:
    """How far a note may be off and still count, section IV-B.

    Args:
        onset: seconds, both ways.
        offset_ratio: of the reference note's duration, both ways.
        offset_min: seconds; an offset may always be off by this much.
        velocity: of the range from the softest to the loudest reference note, after the estimated
            velocities are rescaled to fit the reference best.
    """

    onset: float = 0.05
    offset_ratio: float = 0.2
    offset_min: float = 0.05
    velocity: float = 0.1


PAPER = Tolerances()


@dataclass(frozen=True)
class Measure:
    """Precision, recall and their harmonic mean, each 0..1."""

    precision: float
    recall: float
    f1: float


_SHARES = tuple(one.name for one in fields(Measure))


@dataclass(frozen=True)
class Score:
    """How well an estimate matches its reference.

    Args:
        note: notes with the right pitch and onset.
        note_offset: the right offset too.
        note_offset_velocity: the right velocity too; None if the reference has one velocity for all notes,
            which any would fit.
        duration_accuracy: recall with offsets / recall of onsets; None if no onset is right.
        median_onset_error: seconds, estimate - reference, over the notes with the right onset; None if
            there are none.
        held_too_long: share of the same notes that last more than 3 s longer than in the reference
            (section V-A); None if there are none.
        reference_notes: how many notes the reference has.
        estimated_notes: how many the estimate has.
        matched: how many have the right pitch and onset.
    """

    note: Measure
    note_offset: Measure
    note_offset_velocity: Measure | None
    duration_accuracy: float | None
    median_onset_error: float | None
    held_too_long: float | None
    reference_notes: int
    estimated_notes: int
    matched: int

    def to_dict(self) -> dict[str, float | int | None]:
        """Plain values under flat names, such as note_offset_f1."""
        flat: dict[str, float | int | None] = {}
        for name, value in vars(self).items():
            if name.startswith("note"):  # a measure
                shares = dict.fromkeys(_SHARES) if value is None else asdict(value)
                flat |= {f"{name}_{part}": share for part, share in shares.items()}
            else:
                flat[name] = value
        return flat


def score(
    estimate: Sequence[Note],
    reference: Sequence[Note],
    tolerances: Tolerances = PAPER,
    matches: Matches | None = None,
) -> Score:
    """Score an estimate as mir_eval does, at the paper's tolerances by default.

    Args:
        estimate: may be empty, which scores zero.
        reference: at its own times, not those of frames.
        matches: what `match` gives for them, where it is at hand.

    Raises:
        NoteFileError: the reference has no notes.
    """
    if matches is None:
        matches = match(estimate, reference, tolerances)
    of_velocities = None
    if len({note.velocity for note in reference}) > 1:
        hits = _velocity_hits(matches.offset, estimate, reference, tolerances.velocity)
        of_velocities = _measure(hits, len(estimate), len(reference))
    matched = len(matches.onset)
    errors = [estimate[j].onset - reference[i].onset for i, j in matches.onset]
    too_long = [estimate[j].duration - reference[i].duration > HELD_TOO_LONG for i, j in matches.onset]
    return Score(
        note=_measure(matched, len(estimate), len(reference)),
        note_offset=_measure(len(matches.offset), len(estimate), len(reference)),
        note_offset_velocity=of_velocities,
        duration_accuracy=len(matches.offset) / matched if matched else None,
        median_onset_error=float(np.median(errors)) if matched else None,
        held_too_long=float(np.mean(too_long)) if matched else None,
        reference_notes=len(reference),
        estimated_notes=len(estimate),
        matched=matched,
    )


def average(scores: Sequence[Score]) -> Score:
    """The macro average over pieces: each piece counts the same, whatever its length.

    A piece where a value is None does not count in it; numbers of notes are added up.

    Raises:
        ValueError: there are no scores.
    """
    if not scores:
        raise ValueError("there are no scores to average")
    of_velocities = (each.note_offset_velocity for each in scores)
    velocities = [each for each in of_velocities if each is not None]
    return Score(
        note=_mean_measure([each.note for each in scores]),
        note_offset=_mean_measure([each.note_offset for each in scores]),
        note_offset_velocity=_mean_measure(velocities) if velocities else None,
        duration_accuracy=_mean(each.duration_accuracy for each in scores),
        median_onset_error=_mean(each.median_onset_error for each in scores),
        held_too_long=_mean(each.held_too_long for each in scores),
        reference_notes=sum(each.reference_notes for each in scores),
        estimated_notes=sum(each.estimated_notes for each in scores),
        matched=sum(each.matched for each in scores),
    )


def aligned(
    estimate: Sequence[Note], reference: Sequence[Note], tolerances: Tolerances = PAPER
) -> list[Note]:
    """The estimate with its median onset error taken out of onsets and offsets.

    A time that would come before the start of the file becomes 0; without a match nothing moves.
    """
    error = score(estimate, reference, tolerances).median_onset_error or 0.0
    return [
        replace(note, onset=max(0.0, note.onset - error), offset=max(0.0, note.offset - error))
        for note in estimate
    ]


@dataclass(frozen=True)
class Bin:
    """Reference notes of one kind, and how many of them were found.

    Args:
        low: lower edge, which belongs to the bin.
        high: upper edge, which does not.
        notes: how many reference notes fall between.
        onset_hits: how many of them were found with the right onset.
        offset_hits: how many with the right offset too.
    """

    low: float
    high: float
    notes: int
    onset_hits: int
    offset_hits: int

    @property
    def onset_recall(self) -> float | None:
        """Share found with the right onset; None for a bin without notes."""
        return self.onset_hits / self.notes if self.notes else None

    @property
    def offset_recall(self) -> float | None:
        """Share found with the right onset and offset; None for a bin without notes."""
        return self.offset_hits / self.notes if self.notes else None


def recall_by_length(
    estimate: Sequence[Note],
    reference: Sequence[Note],
    edges: Sequence[float] = LENGTH_EDGES,
    tolerances: Tolerances = PAPER,
    matches: Matches | None = None,
) -> list[Bin]:
    """Recall over the duration of reference notes in seconds, as in Figure 6; `matches` as of `score`."""
    durations = [note.duration for note in reference]
    return _recall(durations, edges, matches or match(estimate, reference, tolerances))


def recall_by_pitch(
    estimate: Sequence[Note],
    reference: Sequence[Note],
    edges: Sequence[float] = PITCH_EDGES,
    tolerances: Tolerances = PAPER,
    matches: Matches | None = None,
) -> list[Bin]:
    """Recall over MIDI key numbers, as in Figure 7; `matches` as of `score`."""
    pitches = [note.pitch for note in reference]
    return _recall(pitches, edges, matches or match(estimate, reference, tolerances))


def _recall(values: Sequence[float], edges: Sequence[float], matches: Matches) -> list[Bin]:
    bins = np.digitize(values, edges) - 1  # (reference notes,)
    onset_bins, offset_bins = bins[matches.onset[:, 0]], bins[matches.offset[:, 0]]
    return [
        Bin(low, high, *(int(np.sum(chosen == number)) for chosen in (bins, onset_bins, offset_bins)))
        for number, (low, high) in enumerate(pairwise(edges))
    ]


@dataclass(frozen=True)
class Matches:
    """Pairs of indices (reference, estimate), shape (matches, 2), in order of the reference.

    Args:
        onset: of notes with the right pitch and onset.
        offset: of notes with the right offset too. They are matched anew, so that the two hardly ever, but
            sometimes, pair a note differently.
    """

    onset: _Pairs
    offset: _Pairs


def match(estimate: Sequence[Note], reference: Sequence[Note], tolerances: Tolerances = PAPER) -> Matches:
    """Match as mir_eval does, pitch by pitch and stretch by stretch.

    No match crosses pitches, or a pause in which no onset is near enough to another, so as many notes match,
    and the matrices that mir_eval makes stay small.

    Raises:
        NoteFileError: the reference has no notes.
    """
    from mir_eval import transcription, util

    if not reference:
        raise NoteFileError("the reference has no notes, so nothing can be scored; is it the right file?")
    no_pairs = np.empty((0, 2), dtype=np.int64)
    onset, offset = [no_pairs], [no_pairs]
    for rows, columns in _stretches(estimate, reference, tolerances.onset):
        pitch = reference[rows[0]].pitch
        hertz = [np.full(len(chosen), util.midi_to_hz(pitch)) for chosen in (rows, columns)]
        lists = (_intervals(reference, rows), hertz[0], _intervals(estimate, columns), hertz[1])
        limits = {"onset_tolerance": tolerances.onset, "offset_min_tolerance": tolerances.offset_min}
        for pairs, offset_ratio in ((onset, None), (offset, tolerances.offset_ratio)):
            matching = transcription.match_notes(*lists, **limits, offset_ratio=offset_ratio)
            pairs.extend(np.array([(rows[i], columns[j])]) for i, j in matching)
    return Matches(_by_reference(onset), _by_reference(offset))


@dataclass(frozen=True)
class Comparison:
    """What becomes of each note when an estimate is laid beside its reference.

    Args:
        kinds: HIT, WRONG_OFFSET or INVENTED for each estimated note.
        partners: the index of its reference note, or NO_PARTNER.
        missed: indices of the reference notes that have no partner.
    """

    kinds: list[int]
    partners: list[int]
    missed: list[int]


def compare(estimate: Sequence[Note], reference: Sequence[Note], matches: Matches) -> Comparison:
    """Give every note the kind that its best match allows.

    mir_eval matches onsets and offsets apart, and its two matchings may pair a note with different ones.
    """
    kinds, partners = [INVENTED] * len(estimate), [NO_PARTNER] * len(estimate)
    missed = [True] * len(reference)
    for kind, pairs in ((WRONG_OFFSET, matches.onset), (HIT, matches.offset)):
        for wanted, found in pairs.tolist():
            kinds[found], partners[found], missed[wanted] = kind, wanted, False
    return Comparison(kinds, partners, [index for index, is_missed in enumerate(missed) if is_missed])


def _intervals(notes: Sequence[Note], chosen: Sequence[int]) -> NDArray[np.float64]:
    """Onsets and offsets, shape (chosen notes, 2), never of no length, which mir_eval refuses."""
    return np.array([(notes[i].onset, max(notes[i].offset, notes[i].onset + _MIN_LENGTH)) for i in chosen])


def _by_pitch(notes: Sequence[Note]) -> dict[int, list[int]]:
    indices: dict[int, list[int]] = {}
    for index, note in enumerate(notes):
        indices.setdefault(note.pitch, []).append(index)
    return indices


def _stretches(
    estimate: Sequence[Note], reference: Sequence[Note], reach: float
) -> Iterator[tuple[list[int], list[int]]]:
    """Indices of reference and of estimate between which all matches are, none of either empty.

    Args:
        estimate, reference: notes.
        reach: seconds by which the onsets of a match differ at most.
    """
    of_estimate, of_reference = _by_pitch(estimate), _by_pitch(reference)
    for pitch in of_estimate.keys() & of_reference.keys():
        onsets = [(reference[i].onset, True, i) for i in of_reference[pitch]]
        onsets += [(estimate[j].onset, False, j) for j in of_estimate[pitch]]
        onsets.sort()
        first = 0
        for end in range(1, len(onsets) + 1):
            pause = onsets[end][0] - onsets[end - 1][0] if end < len(onsets) else math.inf
            if pause > reach + _ROUNDING and (end - first >= _STRETCH or end == len(onsets)):
                rows = [index for _, is_wanted, index in onsets[first:end] if is_wanted]
                columns = [index for _, is_wanted, index in onsets[first:end] if not is_wanted]
                if rows and columns:
                    yield sorted(rows), sorted(columns)
                first = end


def _by_reference(parts: list[_Pairs]) -> _Pairs:
    pairs = np.concatenate(parts)
    return pairs[np.argsort(pairs[:, 0])]


def _velocity_hits(
    pairs: _Pairs, estimate: Sequence[Note], reference: Sequence[Note], tolerance: float
) -> int:
    """Pairs whose velocities agree, by the rule of mir_eval.transcription_velocity.

    The velocities of the reference, which differ, are scaled to 0..1, and those of the estimate are fitted to
    them by the straight line with the least squared error.
    """
    if not len(pairs):
        return 0
    velocities = np.array([note.velocity for note in reference])
    lowest, span = velocities.min(), np.ptp(velocities)
    wanted = (velocities[pairs[:, 0]] - lowest) / span
    given = np.array([estimate[j].velocity for j in pairs[:, 1]])
    line = np.vstack([given, np.ones(len(given))]).T  # (pairs, 2)
    slope, intercept = np.linalg.lstsq(line, wanted, rcond=None)[0]
    return int(np.sum(np.abs(slope * given + intercept - wanted) < tolerance))


def _measure(hits: int, estimated: int, wanted: int) -> Measure:
    precision, recall = hits / max(1, estimated), hits / wanted
    return Measure(precision, recall, f1=2 * precision * recall / (precision + recall) if hits else 0.0)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _mean_measure(measures: Sequence[Measure]) -> Measure:
    return Measure(*np.mean([astuple(measure) for measure in measures], axis=0).tolist())


def read_reference(
    path: Path, pedal_threshold: int = PEDAL_THRESHOLD, start: float = 0.0, end: float | None = None
) -> list[Note]:
    """The notes of a reference that begin in some part of it, as far as they last there.

    Args:
        path: of the note list.
        pedal_threshold: see `note_io.read_notes`.
        start, end: seconds; None for all the rest.

    Raises:
        NoteFileError: it cannot be read, or has no notes there.
    """
    notes = begun_between(read_notes(path, pedal_threshold=pedal_threshold), start, end)
    if not notes:
        raise NoteFileError(f"{path}: no notes to score with; is it the right file?")
    return notes


def begun_between(notes: Iterable[Note], start: float, end: float | None) -> list[Note]:
    """The notes that begin from `start` on and before `end`, up to there, in seconds; None for the rest."""
    last = math.inf if end is None else end
    return [replace(note, offset=min(note.offset, last)) for note in notes if start <= note.onset < last]


@dataclass(frozen=True)
class FilePair:
    """An estimate and its reference, with the name that they share below their folders."""

    name: str
    estimate: Path
    reference: Path


@dataclass(frozen=True)
class Pairing:
    """What two folders have in common, and what only one of them has."""

    pairs: list[FilePair]
    only_estimate: list[Path]
    only_reference: list[Path]


def pair_files(estimates: Path, references: Path) -> Pairing:
    """Pair the note files of two folders, and of the folders in them, by path without its ending.

    Of several formats of one name, the first of `TELLING` counts for an estimate, and the first of `SUFFIXES`
    for a reference, one that was not transcribed by this program if there is any. Hidden files do not.

    Raises:
        NoteFileError: one of the two is not a folder, or something in it cannot be listed.
    """
    told = [ending for name in TELLING for ending, one in SUFFIXES.items() if one == name]
    estimate, reference = _note_files(estimates, told), _note_files(references, SUFFIXES, as_truth=True)
    return Pairing(
        pairs=[FilePair(name, estimate[name], reference[name]) for name in estimate if name in reference],
        only_estimate=[path for name, path in estimate.items() if name not in reference],
        only_reference=[path for name, path in reference.items() if name not in estimate],
    )


def _refuse_unlisted(error: OSError) -> None:
    raise NoteFileError(f"{error.filename}: cannot be listed ({error.strerror}); check its permissions")


def _note_files(folder: Path, endings: Iterable[str], *, as_truth: bool = False) -> dict[str, Path]:
    """One note list for each name, that whose ending comes first."""
    if not is_folder(folder):
        raise NoteFileError(f"{folder}: is not a folder; is the path right?")
    found: dict[str, list[Path]] = {}
    rank = {ending: number for number, ending in enumerate(endings)}
    below = [path for path in files_below(folder, rank, _refuse_unlisted) if not is_hidden(path)]
    for path in sorted(below, key=lambda path: rank[path.suffix.lower()]):
        found.setdefault(path.with_suffix("").as_posix(), []).append(folder / path)
    manifests: dict[Path, Manifest] = {}
    for paths in found.values():
        if as_truth and len(paths) > 1:
            paths.sort(key=lambda path: has_made(path, folder, manifests))
    return {name: found[name][0] for name in sorted(found)}
