"""What people see: progress, a line for each recording, and tables of scores and models."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from .plan import Job
from .score import Measure, Score, average
from .tuning import CONCERT_PITCH
from .work import Outcome, Watcher

if TYPE_CHECKING:
    from typing_extensions import Self

    from .checkpoint import CheckpointInfo

A_SCREENFUL = 20  # lines that can be read together

_WIDE = 160
_WIDTH_OF_ALL = 110  # columns that precision, recall and F1 of several pieces take
_ONCE = ("starting",)  # stages that do not grow with the audio
_MEASURES = ("note", "note_offset", "note_offset_velocity")


def console(*, stderr: bool = False) -> Console:
    """A console on standard output or error; a table in a file or a pipe is not folded."""
    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal:
        made.width = _WIDE
    return made


def print_scores(scores: Mapping[str, Score], pedal_threshold: int) -> None:
    """Scores as a table: of one piece in full, of several a row each and their mean."""
    out = console()
    if len(scores) == 1:
        table = _table_of_one(next(iter(scores.values())))
    else:
        mean = average(list(scores.values()))
        narrow = out.width < _WIDTH_OF_ALL
        table = _table_of_many([*scores.items(), (f"mean of {len(scores)}", mean)], narrow=narrow)
    out.print(table)
    out.print(_convention(pedal_threshold), style="dim")
    if any(score.note_offset_velocity is None for score in scores.values()):
        out.print("–: a reference with one velocity for all notes tells nothing of velocities.", style="dim")


def print_models(models: Mapping[str, CheckpointInfo | None], default: str) -> None:
    """A row for each model; one without weights says so.

    Args:
        models: what each checkpoint says of itself, by name; None where there is none yet.
        default: name of the model that is used when none is asked for.
    """
    table = Table(box=None, pad_edge=False)
    for column in ("model", "parameters", "look-ahead", "note F1", "+ offset", "+ velocity", "SHA-256"):
        table.add_column(column, justify="left" if column in ("model", "SHA-256") else "right")
    measured_on: dict[str, list[str]] = {}
    for name, info in models.items():
        if info is None:
            table.add_row(name, *("–",) * 5, "no trained weights yet")
            continue
        measured = [info.scores.get(f"{measure}_f1") for measure in _MEASURES]
        measured_on.setdefault(str(info.scores.get("test_set", "nothing yet")), []).append(name)
        table.add_row(
            f"{name} (default)" if name == default else name,
            f"{info.parameters / 1e6:.2f} M",
            f"{1000 * info.look_ahead:.0f} ms",
            *(_percent(value) for value in measured),
            info.sha256[:12],
        )
    out = console()
    out.print(table)
    parts = [f"{', '.join(names)} on {test_set}" for test_set, names in measured_on.items()]
    if len(measured_on) == 1:
        parts = [f"on {test_set}" for test_set in measured_on]
    if parts:
        out.print(f"Scores in %, measured {'; '.join(parts)}.", style="dim")


def print_timings(seconds: Mapping[str, float], audio_seconds: float) -> None:
    """A row for each stage: how long it was at work, and how many times faster than real time that is.

    Args:
        seconds: of each stage, as `Timings` counts them.
        audio_seconds: length of all that was transcribed.
    """
    table = Table(box=None, pad_edge=False)
    for column in ("stage", "seconds", "× real time"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage, spent in seconds.items():
        speed = "–" if stage in _ONCE or not spent else f"{audio_seconds / spent:.0f}"
        table.add_row(stage, f"{spent:.2f}", speed)
    out = console()
    out.print(table)
    out.print(
        "Stages work side by side, on several threads: they add up to more than the clock's time.",
        style="dim",
    )


def summary(outcome: Outcome) -> str:
    """One line on what became of a recording."""
    job = outcome.job
    written = ", ".join(str(path) for path in job.written)
    if outcome.kept:
        return f"{job.name}: {outcome.kept}, kept: {written} (--overwrite makes it anew)"
    speed = outcome.duration / outcome.seconds if outcome.seconds else 0.0
    count = "1 note" if outcome.notes == 1 else f"{outcome.notes} notes"
    line = f"{job.name}: {count} in {_clock(outcome.duration)} → {written} ({speed:.1f}× real time)"
    if outcome.tuning != CONCERT_PITCH:
        line = f"{line}, A4 = {outcome.tuning:g} Hz"
    return line if outcome.score is None else f"{line}, note F1 {_percent(outcome.score.note.f1, 1)} %"


def tally(outcomes: Sequence[Outcome], total: int) -> str:
    """One line on what became of all recordings, of which there were so many."""
    failed = sum(outcome.error is not None for outcome in outcomes)
    kept = sum(bool(outcome.kept) and outcome.error is None for outcome in outcomes)
    counts = {
        "done": len(outcomes) - failed - kept,
        "kept": kept,
        "failed": failed,
        "not begun": total - len(outcomes),
    }
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count)


def print_without_reference(jobs: Sequence[Job]) -> None:
    """Name the recordings that could not be scored, if there are any."""
    names = [job.name for job in jobs if job.reference is None]
    if names:
        rest = len(names) - A_SCREENFUL
        more = f", and {rest} more that --report names" if rest > 0 else ""
        click.echo(f"no reference for {len(names)} of {len(jobs)}: {', '.join(names[:A_SCREENFUL])}{more}")


def print_plan(jobs: Sequence[Job], foreseen: Mapping[Path, Outcome]) -> None:
    """A line for each recording with what would be written of it.

    Args:
        jobs: of the call.
        foreseen: what would be kept or refused, by source.
    """
    kept = failing = 0
    for job in jobs:
        written = ", ".join(map(str, job.written))
        outcome = foreseen.get(job.source)
        if outcome is not None and outcome.kept:
            kept += 1
            line = f"{job.name}: {outcome.kept}, would keep {written}"
        elif outcome is not None or not job.outputs:
            failing += 1
            reason = "is no recording" if outcome is None else _reason(outcome)
            line = f"{job.name}: would fail: {reason}"
        else:
            line = f"{job.name} → {written}"
        click.echo(line)
    counts = {"to do": len(jobs) - kept - failing, "to keep": kept, "to fail": failing}
    told = (f"{count} {word}" for word, count in counts.items() if count or word != "to fail")
    click.echo(f"{', '.join(told)}; nothing was written")


def _reason(outcome: Outcome) -> str:
    """Why a recording failed, without its name."""
    return str(outcome.error).removeprefix(f"{outcome.job.source}: ")


def print_failures(outcomes: Sequence[Outcome]) -> None:
    """A row for each recording that failed, as the lines that told it may be far above."""
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    table = Table(box=None, pad_edge=False)
    table.add_column("failed")
    table.add_column("reason", overflow="fold")
    for outcome in failed[:A_SCREENFUL]:
        table.add_row(Text(outcome.job.name), Text(_reason(outcome)))
    out = console(stderr=True)
    out.print(table)
    if len(failed) > A_SCREENFUL:
        out.print(f"and {len(failed) - A_SCREENFUL} more; --report names all of them")


class QuietWatcher(Watcher):
    """Says nothing but errors, on standard error."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...

    def finished(self, outcome: Outcome) -> None:
        if outcome.error is not None:
            self.say(f"error: {outcome.error}", err=True)

    def say(self, line: str, *, err: bool = False) -> None:
        """Print a line on standard output or on standard error; the work goes on where nobody listens."""
        with suppress(OSError):
            click.echo(line, err=err)


class LineWatcher(QuietWatcher):
    """One line for each recording: for pipes and log files."""

    def finished(self, outcome: Outcome) -> None:
        if outcome.kept or outcome.duration:
            self.say(summary(outcome))
        super().finished(outcome)


class _Bar:
    """A progress bar with the time left, on standard error while its context lasts.

    Args:
        description: beside the bar.
        more: columns after the usual ones.
        fields: what these columns show first.
    """

    def __init__(self, description: str = "", *more: ProgressColumn, **fields: Any) -> None:
        text = TextColumn("{task.description}", markup=False)
        columns = (text, BarColumn(), TaskProgressColumn(), TimeRemainingColumn(), *more)
        self._progress = Progress(*columns, console=console(stderr=True), transient=True)
        self._task = self._progress.add_task(description, total=None, **fields)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):  # the terminal is gone
            self._progress.stop()


class BarWatcher(_Bar, LineWatcher):
    """A progress bar below the lines of the recordings that are done.

    Args:
        total: how many recordings there are.
    """

    def __init__(self, total: int) -> None:
        super().__init__()
        self._total, self._done = total, 0
        self._lengths: dict[Path, float | None] = {}  # of those in work
        self._shares: dict[Path, float] = {}

    def started(self, job: Job, duration: float | None) -> None:
        self._lengths[job.source], self._shares[job.source] = duration, 0.0
        if self._total == 1:
            self._progress.reset(self._task, total=duration, description=job.name)
        else:
            self._tell(job.name)

    def advanced(self, job: Job, seconds: float) -> None:
        if self._total == 1:
            self._progress.update(self._task, completed=seconds)
            return
        length = self._lengths.get(job.source)
        self._shares[job.source] = min(seconds / length, 1.0) if length else 0.0
        self._tell(job.name)

    def finished(self, outcome: Outcome) -> None:
        super().finished(outcome)
        self._done += 1
        self._lengths.pop(outcome.job.source, None)
        self._shares.pop(outcome.job.source, None)
        if self._total > 1:
            self._tell("")

    def _tell(self, name: str) -> None:
        done = self._done + sum(self._shares.values())
        description = f"{min(self._done + len(self._shares), self._total)} of {self._total}  {name}"
        self._progress.update(self._task, total=self._total, completed=done, description=description)

    def say(self, line: str, *, err: bool = False) -> None:
        if err or _is_terminal(sys.stdout):  # on the terminal that has the bar: above it
            with suppress(OSError):  # it is gone
                self._progress.console.print(line, markup=False, soft_wrap=True)
        else:
            super().say(line)


def watcher(*, quiet: bool, total: int) -> QuietWatcher:
    """What fits the terminal, the pipe or the wish for silence; a context manager."""
    if quiet:
        return QuietWatcher()
    return BarWatcher(total) if _is_terminal(sys.stderr) else LineWatcher()


class TrainingLines:
    """Tells how training goes in a line an entry: for pipes and log files."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...

    def report(self, entry: Mapping[str, Any]) -> None:
        """Show what `training.logs.Reporter` is given."""
        click.echo(_entry_line(entry))


class TrainingBar(_Bar, TrainingLines):
    """A bar with the losses for the phase that is trained, above it a line for each validation."""

    def __init__(self) -> None:
        super().__init__(
            "reading the data", TextColumn("{task.fields[losses]}", markup=False, style="dim"), losses=""
        )

    def report(self, entry: Mapping[str, Any]) -> None:
        if "share_done" in entry:
            losses = {name: value for name, value in entry.items() if name.endswith(("loss", "error"))}
            self._progress.update(
                self._task,
                description=f"{entry['phase']} network",
                total=1.0,
                completed=entry["share_done"],
                losses=_entry_line(losses),
            )
        if "share_done" not in entry or "note_f1" in entry:
            self._progress.console.print(_entry_line(entry), markup=False, soft_wrap=True)


def training_watcher() -> TrainingLines:
    """What fits the terminal or the pipe; a context manager."""
    return TrainingBar() if _is_terminal(sys.stderr) else TrainingLines()


def _is_terminal(stream: TextIO | None) -> bool:
    """Whether someone looks at it; None is one that was closed before the program began."""
    return stream is not None and stream.isatty()


def _entry_line(entry: Mapping[str, Any]) -> str:
    values = {
        name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in entry.items()
    }
    return "  ".join(f"{name} {value}" for name, value in values.items())


def _convention(pedal_threshold: int) -> str:
    held = f"last while the sustain pedal (CC64) is at {pedal_threshold} or more"
    if pedal_threshold > 127:
        held = "end where the keys are released, whatever the pedal does"
    return f"In %, by mir_eval at ±50 ms. Notes read from MIDI {held}; other formats are taken as they are."


def _percent(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f}"


def _measure(measure: Measure | None) -> str:
    return "–" if measure is None else " ".join(_percent(value, 1) for value in astuple(measure))


def _milliseconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{1000 * seconds:+.1f} ms"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _table_of_one(score: Score) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("", "precision", "recall", "F1"):
        table.add_column(column, justify="right" if column else "left")
    for name, measure in (
        ("note", score.note),
        ("note + offset", score.note_offset),
        ("note + offset + velocity", score.note_offset_velocity),
    ):
        shares = (None, None, None) if measure is None else astuple(measure)
        table.add_row(name, *map(_percent, shares))
    table.add_section()
    table.add_row("note duration accuracy", _percent(score.duration_accuracy))
    table.add_row("held over 3 s too long", _percent(score.held_too_long))
    table.add_row("median onset error", _milliseconds(score.median_onset_error))
    table.add_row("notes estimated", str(score.estimated_notes))
    table.add_row("notes in the reference", str(score.reference_notes))
    return table


def _table_of_many(rows: Sequence[tuple[str, Score]], *, narrow: bool) -> Table:
    """A row for each; on a narrow terminal with F1 alone."""
    table = Table(box=None, pad_edge=False)
    table.add_column("piece", overflow="fold", min_width=12)
    shares = "F1" if narrow else "P    R    F1"
    measures = (f"note\n{shares}", f"+ offset\n{shares}", f"+ velocity\n{shares}")
    for column in (*measures, "duration\naccuracy", "onset\nerror", "notes"):
        table.add_column(column, justify="right", no_wrap=True)
    for index, (name, score) in enumerate(rows):
        table.add_row(
            Text(name),
            *(
                _percent(None if part is None else part.f1, 1) if narrow else _measure(part)
                for part in (score.note, score.note_offset, score.note_offset_velocity)
            ),
            _percent(score.duration_accuracy, 1),
            _milliseconds(score.median_onset_error),
            str(score.reference_notes),
            style="bold" if index == len(rows) - 1 else None,
        )
    return table
