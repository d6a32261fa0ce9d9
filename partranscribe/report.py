"""What became of a batch, as one JSON file for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import __version__
from .batch import Result
from .plan import Job
from .score import average
from .whole_file import whole_file
from .work import Outcome, Settings

FORMAT = "partranscribe-report"
FORMAT_VERSION = 1


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
    files = [_row(job, outcomes.get(job.source)) for job in jobs]
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


def _row(job: Job, outcome: Outcome | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "source": str(job.source),
        "status": _status(outcome),
        "reason": "",
        "outputs": {name: str(path) for name, path in job.outputs.items()},
    }
    if outcome is None:
        return row
    return {
        **row,
        "reason": str(outcome.error) if outcome.error is not None else outcome.kept,
        "source_sha256": outcome.source_sha256 or None,
        "notes": outcome.notes,
        "duration_s": round(outcome.duration, 4),
        "seconds": round(outcome.seconds, 3),
        "score": None if outcome.score is None else outcome.score.to_dict(),
    }


def _status(outcome: Outcome | None) -> str:
    if outcome is None:
        return "not begun"
    if outcome.error is not None:
        return "failed"
    return "kept" if outcome.kept else "done"
