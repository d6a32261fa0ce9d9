"""Pictures of notes and of scores, drawn by matplotlib, which is loaded when there is something to draw."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import OutputError
from .notes import HIGHEST_PITCH, LOWEST_PITCH, Note
from .paths import is_file
from .score import (
    HIT,
    INVENTED,
    MISSED,
    WRONG_OFFSET,
    Bin,
    Matches,
    compare,
    match,
    recall_by_length,
    recall_by_pitch,
)
from .whole_file import check_no_link_out, refuse_unmarked, whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What differs from run to run is left out of the metadata of each format.
_METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": "partranscribe"},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}
_MARK = "Software\0partranscribe"  # near the beginning of every PNG

# The colours of page/view.css, which remain apart to the colour-blind.
_INK, _FAINT, _EDGE, _GRID, _BLACK_KEY = "#171b22", "#5c6675", "#c3cad4", "#dfe3e9", "#f1f3f6"
_ACCENT, _MIDDLE, _OFFSET, _INVENTED, _MISSED = "#0f6b52", "#2aa37a", "#d08700", "#cf3f02", "#0064b0"
_VELOCITIES = (16, 64, 112)  # soft, middle, loud; hardly any piano note is outside
_VELOCITY_COLOURS = np.array([(165, 220, 195), (42, 163, 122), (6, 74, 56)]) / 255

_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": _EDGE,
    "axes.labelcolor": _FAINT,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10.0,
    "font.size": 9.0,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # TrueType, which journals ask for
    "svg.hashsalt": "partranscribe",  # else names in the file are random
    "text.color": _INK,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
}
_LONGEST_TITLE = 80  # characters

# Of a roll, in inches.
_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM, _BETWEEN = 10.0, 0.6, 0.25, 0.66, 0.2, 0.3
_KEY, _SMALL_KEY = 0.045, 0.03  # of one row, of one of several
_ROLL_DPI = 150
_ALWAYS_SHOWN = (48, 83)  # pitches
_ROW_SECONDS, _MOST_ROWS = 30.0, 16
_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600)  # seconds
_FINE_SECONDS = 60.0  # in a row, up to which notes have outlines
_KINDS = {HIT: "Hit", INVENTED: "Invented", MISSED: "Missed", WRONG_OFFSET: "Wrong offset"}
_TABLE = np.dtype(
    [
        *((name, float) for name in ("onset", "offset", "pitch", "velocity", "confidence")),
        ("kind", int),
        ("wanted_offset", float),
    ]
)

_ERROR_EDGES = np.arange(-50, 51, 2) / 1000  # seconds
_CONFIDENCE_EDGES = np.arange(21) / 20
_FEW = 10  # notes, of which no share is to be relied on


@dataclass(frozen=True)
class Pair:
    """The notes that were found in a piece, those that are there, and how they match, where it is at hand."""

    estimate: Sequence[Note]
    reference: Sequence[Note]
    matches: Matches | None = None


@dataclass(frozen=True)
class OnsetErrors:
    """By how much the onsets of matched notes are off.

    Args:
        edges: of the bins, seconds, estimate - reference.
        counts: notes in each bin, one fewer than edges.
        median: seconds; None if no note matches.
    """

    edges: list[float]
    counts: list[int]
    median: float | None


@dataclass(frozen=True)
class ConfidenceBin:
    """Estimated notes of about one confidence, and how many of them have the right pitch and onset.

    Args:
        low: lower edge, which belongs to the bin.
        high: upper edge, which does not, but for 1.
        notes: how many estimated notes fall between.
        hits: how many of them match a reference note.
        confidence: the mean of their confidences; None for a bin without notes.
    """

    low: float
    high: float
    notes: int
    hits: int
    confidence: float | None

    @property
    def precision(self) -> float | None:
        """Share of hits; None for a bin without notes."""
        return self.hits / self.notes if self.notes else None


@dataclass(frozen=True)
class Summary:
    """What the pictures of a score show, over the notes of all pieces.

    Args:
        pieces: how many there are.
        by_length: recall over the duration of reference notes.
        by_pitch: recall over their pitch.
        onset_errors: of the matched notes.
        reliability: of the pieces whose notes have confidences.
        without_confidence: how many pieces have none, as those read from MIDI or TSV.
    """

    pieces: int
    by_length: list[Bin]
    by_pitch: list[Bin]
    onset_errors: OnsetErrors
    reliability: list[ConfidenceBin]
    without_confidence: int


def check_picture(path: Path) -> None:
    """Make sure that a picture can be drawn, before the work which it will show.

    Raises:
        OutputError: its ending is none of a picture, or matplotlib is not installed.
    """
    if path.suffix.lower() not in _METADATA:
        endings = ", ".join(_METADATA)
        raise OutputError(f"{path}: {path.suffix!r} is no ending of a picture; use {endings}")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        fact = f"{path}: pictures need matplotlib, which is not installed"
        raise OutputError(f"{fact}; pip install 'partranscribe[plots]'") from error


def write_plot(
    path: Path,
    notes: Sequence[Note],
    *,
    title: str,
    reference: Sequence[Note] | None = None,
    start: float = 0.0,
    end: float | None = None,
) -> None:
    """Draw the piano roll of a recording, whole or not at all.

    As on the page of `view`, colour is velocity and opacity is confidence. Beside a reference, a wrong
    offset has an amber end, what is invented has a cross, and what is missed is an outline with a ring.

    Args:
        path: of the picture: .png, .svg or .pdf. A file that is there is replaced.
        notes: in any order.
        title: any text; what the font has no sign for becomes �.
        reference: notes to compare with; None to compare with nothing.
        start: seconds from the start of the file at which the picture begins.
        end: seconds at which it ends; None for the last offset of a note.

    Raises:
        NoteFileError: there is a reference, and it has no notes.
        OutputError: the picture cannot be drawn or written.
    """
    check_picture(path)
    table = roll(notes, reference)
    if end is None:
        end = max([start + 1.0, *table["offset"]])
    with _style():
        shown = sounding(table, start, end)
        figure = _draw_roll(shown, start, end, title, is_compared=reference is not None)
        _save(figure, path)


def write_score_plots(folder: Path, pieces: Mapping[str, Pair]) -> list[Path]:
    """Draw what the scores of some pieces are made of, all their notes together, as four pictures.

    They are recall by the length and by the pitch of notes (Figures 6 and 7 of the paper), the errors of
    onsets, and how far confidences can be relied on.

    Args:
        folder: where the pictures shall be; made where there is none.
        pieces: by name.

    Returns:
        The files that were written.

    Raises:
        NoteFileError: a reference has no notes.
        OutputError: a picture cannot be drawn or written, or would replace another's.
    """
    paths = [folder / f"{name}.png" for name in _SCORE_PLOTS]
    check_picture(paths[0])
    for path in paths:
        check_no_link_out(path, folder)
        if is_file(path):
            refuse_unmarked(path, _MARK, "name another folder")
    summary = summarise(pieces)
    for path, draw in zip(paths, _SCORE_PLOTS.values(), strict=True):
        with _style():
            _save(draw(summary), path)
    return paths


def summarise(pieces: Mapping[str, Pair]) -> Summary:
    """Match the notes of every piece once, and put them into the bins of all pictures.

    Raises:
        NoteFileError: a reference has no notes.
    """
    by_length: list[list[Bin]] = []
    by_pitch: list[list[Bin]] = []
    errors: list[float] = []
    confidences: list[float] = []
    hits: list[bool] = []
    without_confidence = 0
    for pair in pieces.values():
        estimate, reference = pair.estimate, pair.reference
        matches = pair.matches or match(estimate, reference)
        by_length.append(recall_by_length(estimate, reference, matches=matches))
        by_pitch.append(recall_by_pitch(estimate, reference, matches=matches))
        errors += [estimate[j].onset - reference[i].onset for i, j in matches.onset]
        if estimate and all(note.confidence == 1.0 for note in estimate):
            without_confidence += 1
            continue
        matched = set(matches.onset[:, 1].tolist())
        confidences += [note.confidence for note in estimate]
        hits += [index in matched for index in range(len(estimate))]
    return Summary(
        pieces=len(pieces),
        by_length=_added(by_length),
        by_pitch=_added(by_pitch),
        onset_errors=onset_errors(errors),
        reliability=reliability(confidences, hits),
        without_confidence=without_confidence,
    )


def onset_errors(errors: Sequence[float]) -> OnsetErrors:
    """Errors of matched onsets in bins of 2 ms.

    Args:
        errors: seconds, estimate - reference, none beyond the tolerance.
    """
    within = np.clip(errors, _ERROR_EDGES[0], _ERROR_EDGES[-1])  # mir_eval rounds, so one may be just outside
    counts, _ = np.histogram(within, _ERROR_EDGES)
    median = float(np.median(errors)) if len(errors) else None
    return OnsetErrors(_ERROR_EDGES.tolist(), counts.tolist(), median)


def reliability(confidences: Sequence[float], hits: Sequence[bool]) -> list[ConfidenceBin]:
    """How many notes are hits among those of about one confidence.

    Args:
        confidences: of estimated notes, 0..1.
        hits: whether each has the right pitch and onset.
    """
    values, are_hits = np.array(confidences, dtype=float), np.array(hits, dtype=bool)
    numbers = np.digitize(values, _CONFIDENCE_EDGES[1:-1])  # (notes,)
    bins = []
    for number, (low, high) in enumerate(pairwise(_CONFIDENCE_EDGES.tolist())):
        chosen = numbers == number
        mean = float(values[chosen].mean()) if chosen.any() else None
        bins.append(ConfidenceBin(low, high, int(chosen.sum()), int(are_hits[chosen].sum()), mean))
    return bins


def calibration_error(bins: Sequence[ConfidenceBin]) -> float | None:
    """The expected calibration error: the mean distance of confidence and precision; None without notes."""
    notes = sum(each.notes for each in bins)
    distance = sum(abs(each.hits - each.notes * (each.confidence or 0.0)) for each in bins)
    return distance / notes if notes else None


def _added(parts: Sequence[Sequence[Bin]]) -> list[Bin]:
    """The bins of several pieces as those of one."""
    return [
        Bin(
            same[0].low,
            same[0].high,
            notes=sum(each.notes for each in same),
            onset_hits=sum(each.onset_hits for each in same),
            offset_hits=sum(each.offset_hits for each in same),
        )
        for same in zip(*parts, strict=True)
    ]


def roll(notes: Sequence[Note], reference: Sequence[Note] | None = None) -> NDArray[np.void]:
    """The notes of a picture as a table: all that were found, then those that were missed.

    Returns:
        The fields of a note, its kind, which is HIT without a reference, and wanted_offset in seconds,
        which is not offset where the kind is WRONG_OFFSET.

    Raises:
        NoteFileError: there is a reference, and it has no notes.
    """
    if reference is None:
        entries = [_entry(note, HIT, note.offset) for note in notes]
    else:
        comparison = compare(notes, reference, match(notes, reference))
        entries = [
            _entry(note, kind, reference[partner].offset if kind == WRONG_OFFSET else note.offset)
            for note, kind, partner in zip(notes, comparison.kinds, comparison.partners, strict=True)
        ]
        entries += [_entry(reference[i], MISSED, reference[i].offset) for i in comparison.missed]
    return np.array(entries, dtype=_TABLE)


def _entry(note: Note, kind: int, wanted_offset: float) -> tuple[float, ...]:
    return (note.onset, note.offset, note.pitch, note.velocity, note.confidence, kind, wanted_offset)


def sounding(table: NDArray[np.void], start: float, end: float) -> NDArray[np.void]:
    """The rows of a table with notes that sound, or should sound, between two times."""
    last = np.maximum(table["offset"], table["wanted_offset"])
    chosen = (table["onset"] < end) & ((last > start) | (table["onset"] == start))
    return np.asarray(table[chosen])


def rows(start: float, end: float) -> list[tuple[float, float]]:
    """Stretches of time that stand below each other, all as long: 30 s at most, until they are too many."""
    count = min(max(1, math.ceil((end - start) / _ROW_SECONDS)), _MOST_ROWS)
    return list(pairwise(np.linspace(start, end, count + 1).tolist()))


def tick_for(seconds: float) -> float:
    """Seconds between the ticks of an axis, of which there are at most twelve."""
    return next((tick for tick in _TICKS if seconds <= 12 * tick), seconds / 12)


@contextmanager
def _style() -> Iterator[None]:
    """Draw alike, whatever settings matplotlib finds."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def _save(figure: Figure, path: Path) -> None:
    suffix = path.suffix.lower()
    with whole_file(path) as temporary:
        figure.savefig(temporary, format=suffix[1:], metadata=_METADATA[suffix])


def _readable(text: str) -> str:
    """One line of text that the font has signs for, not too long; each run of other characters becomes �."""
    from matplotlib import font_manager

    font = font_manager.get_font(font_manager.findfont(font_manager.FontProperties(weight="bold")))
    signs = font.get_charmap()
    known = "".join(char if char.isprintable() and ord(char) in signs else "�" for char in text)
    known = re.sub("�+", "�", known)
    return known if len(known) <= _LONGEST_TITLE else f"{known[: _LONGEST_TITLE - 1]}…"


def _draw_roll(table: NDArray[np.void], start: float, end: float, title: str, *, is_compared: bool) -> Figure:
    """The picture of `write_plot`.

    Args:
        table: as `roll` gives it, of notes that sound between start and end.
        start, end: seconds.
        title: any text.
        is_compared: whether there is a reference.
    """
    from matplotlib.figure import Figure

    stretches = rows(start, end)
    lowest, highest = min([*_ALWAYS_SHOWN, *table["pitch"]]), max([*_ALWAYS_SHOWN, *table["pitch"]])
    row_height = (highest - lowest + 3) * (_KEY if len(stretches) == 1 else _SMALL_KEY)
    height = _TOP + len(stretches) * (row_height + _BETWEEN) + _BOTTOM
    figure = Figure(figsize=(_WIDTH, height), dpi=_ROLL_DPI)
    _draw_head(figure, table, title, is_compared=is_compared)
    for number, (left, right) in enumerate(stretches):
        bottom = height - _TOP - row_height - number * (row_height + _BETWEEN)
        axes = _axes_at(figure, _LEFT, bottom, _WIDTH - _LEFT - _RIGHT, row_height)
        axes.set(xlim=(left, right), ylim=(lowest - 1.5, highest + 1.5), ylabel="Pitch")
        _draw_keys(axes)
        _draw_time(axes)
        _draw_notes(axes, sounding(table, left, right))
    axes.set_xlabel("Time (min:s)")
    if not len(table):
        _say(axes, "No notes")
    return figure


def _axes_at(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place in inches."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def _draw_head(figure: Figure, table: NDArray[np.void], title: str, *, is_compared: bool) -> None:
    """The title, and below it what shapes and colours mean."""
    from matplotlib.lines import Line2D

    height = figure.get_figheight()
    left, low = _LEFT / _WIDTH, (height - _TOP + 0.16) / height
    figure.text(left, 1 - 0.1 / height, _readable(title), va="top", size=11, weight="bold", parse_math=False)
    if is_compared:
        numbers = {kind: int(np.sum(table["kind"] == kind)) for kind in _KINDS}
        signs = [
            Line2D([], [], label=f"{name} {numbers[kind]:,}", **_sign(kind, 6.0))
            for kind, name in _KINDS.items()
        ]
        place = {"bbox_to_anchor": (left, low), "borderaxespad": 0.0, "borderpad": 0.0, "handlelength": 1.2}
        figure.legend(handles=signs, loc="center left", ncols=len(signs), **place)
    else:
        figure.text(left, low, f"{len(table):,} notes", va="center", color=_FAINT)
    shares = np.linspace(0, 1, 64)
    soft, loud = _VELOCITIES[0], _VELOCITIES[-1]
    _draw_scale(figure, 8.9, ("soft", "loud"), _colours(soft + (loud - soft) * shares, np.ones(64)))
    if np.any(table["confidence"] < 1):
        _draw_scale(figure, 7.2, ("unsure", "sure"), _colours(np.full(64, _VELOCITIES[1]), shares))


def _draw_scale(figure: Figure, left: float, ends: tuple[str, str], colours: NDArray[np.float64]) -> None:
    """A strip of colours, (colours, 4), with a word at each end; left in inches."""
    axes = _axes_at(figure, left, figure.get_figheight() - _TOP + 0.1, 0.5, 0.12)
    axes.imshow(colours[None], aspect="auto")
    axes.set_axis_off()
    for name, x, alignment in ((f"{ends[0]} ", 0, "right"), (f" {ends[1]}", 1, "left")):
        axes.text(x, 0.5, name, transform=axes.transAxes, ha=alignment, va="center", color=_FAINT)


def _draw_keys(axes: Axes) -> None:
    """Where the black keys are, and the names of the Cs."""
    left, right = axes.get_xlim()
    low, high = axes.get_ylim()
    keys = [
        Note(0.0, 0.0, pitch, 1) for pitch in range(max(0, math.ceil(low)), min(127, math.floor(high)) + 1)
    ]
    black = np.array([key.pitch for key in keys if "#" in key.name])
    _draw_boxes(
        axes, np.full(len(black), left), np.full(len(black), right), black, 1.0, facecolors=_BLACK_KEY
    )
    octaves = [key for key in keys if key.name.startswith("C") and "#" not in key.name]
    axes.hlines([key.pitch - 0.5 for key in octaves], left, right, colors=_EDGE, linewidth=0.6, zorder=0.9)
    axes.set_yticks([key.pitch for key in octaves], [key.name for key in octaves])
    axes.tick_params(axis="y", length=0)


def _draw_time(axes: Axes) -> None:
    from matplotlib.ticker import MultipleLocator

    left, right = axes.get_xlim()
    tick = tick_for(right - left)
    digits = "04.1f" if tick < 1 else "02.0f"
    axes.xaxis.set_major_locator(MultipleLocator(tick))
    axes.xaxis.set_major_formatter(
        lambda seconds, _: f"{round(seconds, 1) // 60:.0f}:{round(seconds, 1) % 60:{digits}}"
    )
    axes.grid(axis="x")


def _draw_notes(axes: Axes, table: NDArray[np.void]) -> None:
    """All notes of a row, as few artists."""
    left, right = axes.get_xlim()
    is_fine = right - left <= _FINE_SECONDS
    pixel = (right - left) / axes.bbox.width  # seconds
    line, size = (0.8, 4.5) if is_fine else (0.5, 2.5)  # points

    missed, found, invented, wrong = (
        table[np.isin(table["kind"], kinds)]
        for kinds in ((MISSED,), (HIT, WRONG_OFFSET), (INVENTED,), (WRONG_OFFSET,))
    )
    outline = {"facecolors": "none", "linewidths": line}
    _draw_whole(axes, missed, pixel, edgecolors=_MISSED, linestyles="--" if is_fine else "-", **outline)
    colours = _colours(found["velocity"], found["confidence"])
    _draw_whole(axes, found, pixel, facecolors=colours)
    too_long = wrong[wrong["wanted_offset"] < wrong["offset"]]
    begins = np.maximum(too_long["onset"], too_long["wanted_offset"])
    _draw_boxes(axes, begins, too_long["offset"], too_long["pitch"], 0.45, facecolors=_OFFSET)
    short = wrong[wrong["wanted_offset"] > wrong["offset"]]
    _draw_boxes(
        axes, short["offset"], short["wanted_offset"], short["pitch"], 0.45, edgecolors=_OFFSET, **outline
    )
    low, high = wrong["pitch"] - 0.6, wrong["pitch"] + 0.6
    axes.vlines(wrong["wanted_offset"], low, high, colors=_OFFSET, linewidth=2 * line)
    _draw_whole(axes, invented, pixel, facecolors=(_INVENTED, 0.35), edgecolors=_INVENTED, linewidths=line)
    for kind, notes in ((MISSED, missed), (INVENTED, invented)):
        begun = notes[notes["onset"] >= left]
        axes.plot(begun["onset"], begun["pitch"], clip_on=False, **_sign(kind, size))
    for artist in axes.collections:
        artist.set_rasterized(not is_fine)  # tens of thousands of shapes would choke who opens the file


def _draw_whole(axes: Axes, table: NDArray[np.void], pixel: float, **style: Any) -> None:
    """Notes from onset to offset, none shorter than a pixel."""
    offsets = np.maximum(table["offset"], table["onset"] + pixel)
    _draw_boxes(axes, table["onset"], offsets, table["pitch"], 0.85, **style)


def _draw_boxes(axes: Axes, left: Any, right: Any, pitch: Any, height: float, **style: Any) -> None:
    """Boxes as one artist: left and right in seconds, height in keys."""
    from matplotlib.collections import PolyCollection

    low, high = pitch - height / 2, pitch + height / 2
    corners = np.stack([left, low, left, high, right, high, right, low], axis=-1)  # (boxes, 8)
    style = {"linewidths": 0.0, **style}
    axes.add_collection(PolyCollection(list(corners.reshape(-1, 4, 2)), **style), autolim=False)


def _colours(velocities: Any, confidences: Any) -> NDArray[np.float64]:
    """Colours by velocity with opacity by confidence, as on the page: (notes,) twice -> (notes, 4)."""
    channels = [np.interp(velocities, _VELOCITIES, channel) for channel in _VELOCITY_COLOURS.T]
    return np.stack([*channels, 0.3 + 0.7 * confidences], axis=-1)


def _sign(kind: int, size: float) -> dict[str, Any]:
    """How the markers of a kind look, as on the page, so that nobody has to tell colours apart."""
    from matplotlib.path import Path as Outline

    bar = [(-1, -0.6), (1, -0.6), (1, 0.6), (-1, 0.6)]
    end = Outline([(-1, 0), (0.6, 0), (0.6, -0.8), (0.6, 0.8)], [1, 2, 1, 2])
    marker, colour = {
        HIT: (bar, _MIDDLE),
        WRONG_OFFSET: (end, _OFFSET),
        INVENTED: ("x", _INVENTED),
        MISSED: ("o", _MISSED),
    }[kind]
    face = "none" if kind in (MISSED, WRONG_OFFSET) else colour
    look = {"markersize": size, "markeredgewidth": size / 4, "markerfacecolor": face, "color": colour}
    return {"linestyle": "none", "marker": marker, **look}


def _draw_recall_by_length(summary: Summary) -> Figure:
    figure, axes, behind = _panel("Recall by note length", _extent(summary))
    positions = np.arange(len(summary.by_length))
    _draw_recall(axes, behind, positions, summary.by_length)
    edges = [*(each.low for each in summary.by_length), math.inf]
    names = [f"{edge:g}" if math.isfinite(edge) else "∞" for edge in edges]
    axes.set_xticks(np.arange(len(edges)) - 0.5, names)
    axes.set_xlabel("Length of the reference note (s)")
    return figure


def _draw_recall_by_pitch(summary: Summary) -> Figure:
    figure, axes, behind = _panel("Recall by pitch", _extent(summary))
    _draw_recall(axes, behind, np.array([each.low for each in summary.by_pitch]), summary.by_pitch)
    named = [Note(0.0, 0.0, pitch, 1) for pitch in range(24, HIGHEST_PITCH + 1, 12)]
    axes.set_xticks([note.pitch for note in named], [note.name for note in named])
    axes.set_xlim(LOWEST_PITCH - 1, HIGHEST_PITCH + 1)
    axes.set_xlabel("Pitch")
    return figure


def _draw_recall(axes: Axes, behind: Axes, positions: NDArray[Any], bins: Sequence[Bin]) -> None:
    """Two lines over the bins, with hollow marks where notes are few, and bars of the notes behind them."""
    notes = np.array([each.notes for each in bins])
    behind.bar(positions, notes, width=0.9, color=_GRID, label="Reference notes")
    behind.set_ylabel("Reference notes (log scale)")
    few, known = (notes > 0) & (notes < _FEW), notes > 0
    size = 5.0 if len(bins) < 20 else 3.0
    for name, colour, line, values in (
        ("Onset", _ACCENT, "-", [each.onset_recall for each in bins]),
        ("Onset and offset", _OFFSET, ":", [each.offset_recall for each in bins]),
    ):
        shares = np.array(values, dtype=float)
        look: dict[str, Any] = {"color": colour, "markersize": size, "clip_on": False}
        axes.plot(positions[known], shares[known], f"o{line}", linewidth=size / 3, label=name, **look)
        axes.plot(positions[few], shares[few], "o", markerfacecolor="white", **look)
    axes.plot([], [], "o", markerfacecolor="white", color=_FAINT, label=f"Fewer than {_FEW} notes")
    axes.set(ylim=(0, 1.02), ylabel="Recall")
    _finish(axes, behind, "" if known.any() else "No reference notes")


def _draw_onset_errors(summary: Summary) -> Figure:
    errors = summary.onset_errors
    figure, axes, behind = _panel("Onset errors", f"{sum(errors.counts):,} matched notes")
    behind.set_axis_off()
    axes.stairs(errors.counts, np.array(errors.edges) * 1000, fill=True, color=_MIDDLE)
    if errors.median is None:
        _say(axes, "No note has the right pitch and onset")
    else:
        median = errors.median * 1000
        axes.axvline(median, color=_INK, linewidth=1.2, label=f"Median {median:+.1f} ms".replace("-", "−"))
        axes.legend(loc="upper right")
    axes.set(xlim=(-50, 50), xlabel="Onset error, estimate − reference (ms)", ylabel="Notes per 2 ms")
    return figure


def _draw_reliability(summary: Summary) -> Figure:
    bins = [each for each in summary.reliability if each.notes]
    error = calibration_error(bins)
    detail = "" if error is None else f"expected calibration error {error:.3f}"
    figure, axes, behind = _panel("Reliability of the confidence", detail)
    middles = [(each.low + each.high) / 2 for each in bins]
    behind.bar(middles, [each.notes for each in bins], width=0.045, color=_GRID, label="Estimated notes")
    behind.set_ylabel("Estimated notes (log scale)")
    axes.plot([0, 1], [0, 1], "--", color=_FAINT, linewidth=1.0, label="Perfect calibration")
    points = np.array([(each.confidence, each.precision) for each in bins], dtype=float).reshape(-1, 2)
    axes.plot(*points.T, "o-", color=_ACCENT, clip_on=False, label="Share of hits")
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), ylabel="Share with the right pitch and onset")
    without = f"\nno confidences in {summary.without_confidence:,} of {summary.pieces:,} pieces"
    axes.set_xlabel("Mean confidence of the notes" + (without if summary.without_confidence else ""))
    _finish(axes, behind, "" if bins else "No confidences: MIDI and TSV files hold none")
    return figure


def _panel(title: str, detail: str) -> tuple[Figure, Axes, Axes]:
    """A figure with axes, and axes behind them for numbers of notes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), dpi=200, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", weight="bold")
    axes.set_title(detail, loc="right", size=9, color=_FAINT)
    axes.grid(axis="y")
    behind = axes.twinx()
    behind.set_zorder(axes.get_zorder() - 1)
    axes.patch.set_visible(False)
    return figure, axes, behind


def _finish(axes: Axes, behind: Axes, remark: str) -> None:
    """Say what is what, and scale the numbers of notes; where there are none, the remark says why."""
    if remark:
        behind.set_axis_off()
        _say(axes, remark)
        return
    lines, bars = axes.get_legend_handles_labels(), behind.get_legend_handles_labels()
    axes.figure.legend(lines[0] + bars[0], lines[1] + bars[1], loc="outside lower center", ncols=4)
    behind.set_yscale("log")
    behind.set_ylim(bottom=0.7)
    behind.yaxis.set_major_formatter("{x:,.0f}")
    behind.minorticks_off()


def _say(axes: Axes, text: str) -> None:
    place: dict[str, Any] = {"transform": axes.transAxes, "ha": "center", "va": "center"}
    axes.text(0.5, 0.5, text, color=_FAINT, size=11, backgroundcolor="white", **place)


def _extent(summary: Summary) -> str:
    notes = sum(each.notes for each in summary.by_length)
    return f"{notes:,} notes of {'one piece' if summary.pieces == 1 else f'{summary.pieces:,} pieces'}"


_SCORE_PLOTS: dict[str, Callable[[Summary], Figure]] = {
    "recall-by-length": _draw_recall_by_length,
    "recall-by-pitch": _draw_recall_by_pitch,
    "onset-errors": _draw_onset_errors,
    "reliability": _draw_reliability,
}
