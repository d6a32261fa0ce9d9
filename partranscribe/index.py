"""The page of a batch: a table of its recordings, each of which opens its own page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from . import __version__
from .batch import Result
from .paths import is_file
from .plan import INDEX, PAGE, Job
from .report import row
from .template import MARK, data_element, template
from .whole_file import check_no_link_out, check_place, refuse_unmarked, whole_file
from .work import Outcome


def check_index(folder: Path, *, overwrite: bool) -> None:
    """Make sure that the page of a batch can be written, before the work of which it will tell.

    Args:
        folder: that the pages of the recordings are in.
        overwrite: replace even what this program did not write.

    Raises:
        OutputError: it cannot be written, would replace another's page, or a link leads it out of the folder.
    """
    path = folder / INDEX
    check_no_link_out(path, folder)
    check_place(path)
    if is_file(path) and not overwrite:
        refuse_unmarked(path, MARK)


def write_index(folder: Path, jobs: Sequence[Job], result: Result) -> Path:
    """Write the page of a batch, whole or not at all.

    Args:
        folder: that the pages of the recordings are in.
        jobs: all that there were.
        result: what became of them.

    Returns:
        The path of the page.

    Raises:
        OutputError: it cannot be written.
    """
    index, path = template("index"), folder / INDEX
    outcomes = {outcome.job.source: outcome for outcome in result.outcomes}
    data = {
        "made_by": f"partranscribe {__version__}",
        "interrupted": result.interrupted,
        "rows": [_row(job, outcomes.get(job.source), folder) for job in jobs],
    }
    with whole_file(path) as temporary:
        text = index.head + data_element("data", data) + index.script + index.tail
        temporary.write_text(text, "utf-8", newline="\n")
    return path


def _row(job: Job, outcome: Outcome | None, folder: Path) -> dict[str, Any]:
    told = row(job, outcome)
    score = told.get("score") or {}
    made = outcome is not None and outcome.error is None and PAGE in job.extras
    page = job.extras[PAGE].path if made else None
    return {
        "name": job.name,
        "page": None if page is None or not is_file(page) else _link(page, folder),
        "status": told["status"],
        "reason": told["reason"].removeprefix(f"{job.source}: "),
        "duration_s": told.get("duration_s") or None,
        "notes": told["notes"] if told.get("duration_s") else None,
        "note_f1": score.get("note_f1"),
        "note_offset_f1": score.get("note_offset_f1"),
        "note_offset_velocity_f1": score.get("note_offset_velocity_f1"),
        "duration_accuracy": score.get("duration_accuracy"),
    }


def _link(page: Path, folder: Path) -> str:
    """A relative URL, for any bytes that a name may hold."""
    return "/".join(quote(os.fsencode(part)) for part in page.relative_to(folder).parts)
