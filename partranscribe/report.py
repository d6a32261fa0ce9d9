"""What became of a batch, and scores, as JSON and CSV for programs."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import __version__
from .batch import Result
from .paths import is_file
from .plan import Job
from .score import Score, average
from .whole_file import beginning_of, check_place, refuse_unmarked, whole_file
from .work import Outcome, Settings

FORMAT = "partranscribe-report"
FORMAT_VERSION = 1
REPORT_MARK = f'"format": "{FORMAT}"'  # by which a report of an earlier call is known,
SCORES_MARK = "piece,pedal_threshold,"  # and scores


def check_table(path: Path, mark: str, *, overwrite: bool) -> None:
    """Make sure that a table can be written, before the work of which it will tell.

    Args:
        path: of the table.
        mark: of its kind.
        overwrite: replace even what this program did not write.

    Raises:
        OutputError: it cannot be written, or something else would be replaced.
    """
    check_place(path)
    if is_file(path) and not overwrite:
        refuse_unmarked(path, mark)


def is_table(path: Path) -> bool:
    """Whether a file is a report or a table of scores, as far as can be seen."""
    try:
        beginning = beginning_of(path)
    except OSError:
        return False
    return REPORT_MARK in beginning or beginning.startswith(SCORES_MARK)


def write_report(path: Path, jobs: Sequence[Job], result: Result, settings: Settings) -> None:
    """Write a report: a row for each recording, and what they have in common.

    Args:
        path: of the file; it appears whole or not at all.
        jobs: all that there were.
        result: what became of them.
        settings: that they were done with.

    Raises:
        OutputError: it cannot be written.
    """
    outcomes = {outcome.job.source: outcome for outcome in result.outcomes}
    files = [row(job, outcomes.get(job.source)) for job in jobs]
    scores = [outcome.score for outcome in result.outcomes if outcome.score is not None]
    document = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "partranscribe": __version__,
        "settings": asdict(settings),
        "interrupted": result.interrupted,
        "seconds": round(result.seconds, 3),
        "counts": dict(Counter(file["status"] for file in files)),
        "mean_score": average(scores).to_dict() if scores else None,
        "files": files,
    }
    with whole_file(path) as temporary:
        text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        temporary.write_text(text, "utf-8", "backslashreplace")  # some names are no valid text


def write_scores(path: Path, scores: Mapping[str, Score], pedal_threshold: int) -> None:
    """Write what `scores_as_csv` gives to a file, which appears whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    with whole_file(path) as temporary:
        temporary.write_text(scores_as_csv(scores, pedal_threshold), "utf-8", "backslashreplace", newline="")


def scores_as_csv(scores: Mapping[str, Score], pedal_threshold: int) -> str:
    """Scores 0..1 as comma-separated values: a row for each piece.

    Args:
        scores: by the name of the piece; at least one.
        pedal_threshold: that references were read with.
    """
    text = io.StringIO(newline="")
    rows = [
        {"piece": name, "pedal_threshold": pedal_threshold, **one.to_dict()} for name, one in scores.items()
    ]
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def scores_as_json(scores: Mapping[str, Score], pedal_threshold: int) -> str:
    """Scores 0..1 as one JSON object, with their mean over pieces.

    Args:
        scores: by the name of the piece; at least one.
        pedal_threshold: that references were read with.
    """
    document = {
        "pedal_threshold": pedal_threshold,
        "pieces": {name: one.to_dict() for name, one in scores.items()},
        "mean": average(list(scores.values())).to_dict(),
    }
    return json.dumps(document, indent=1) + "\n"


def row(job: Job, outcome: Outcome | None) -> dict[str, Any]:
    """What a report tells of a recording; one without an outcome was not begun."""
    told: dict[str, Any] = {
        "source": str(job.source),
        "status": _status(outcome),
        "reason": "",
        "outputs": {name: str(path) for name, path in job.outputs.items()},
        "extras": {kind: str(extra.path) for kind, extra in job.extras.items()},
        "reference": None if job.reference is None else str(job.reference),
    }
    if outcome is None:
        return told
    return {
        **told,
        "reason": str(outcome.error) if outcome.error is not None else outcome.kept,
        "source_sha256": outcome.source_sha256 or None,
        "notes": outcome.notes,
        "duration_s": round(outcome.duration, 4),
        "tuning_hz": outcome.tuning if outcome.duration else None,
        "seconds": round(outcome.seconds, 3),
        "score": None if outcome.score is None else outcome.score.to_dict(),
    }


def _status(outcome: Outcome | None) -> str:
    if outcome is None:
        return "not begun"
    if outcome.error is not None:
        return "failed"
    return "kept" if outcome.kept else "done"
