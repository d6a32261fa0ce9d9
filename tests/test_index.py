"""The data of a batch's page."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from partranscribe.batch import Result
from partranscribe.errors import AudioError, OutputError
from partranscribe.index import check_index, write_index
from partranscribe.plan import PAGE, Extra, Job
from partranscribe.work import Outcome


def rows(index: Path) -> list[dict[str, Any]]:
    text = index.read_text("utf-8").partition('<script type="application/json" id="data">')[2]
    return list(json.loads(text.partition("</script>")[0])["rows"])


def result(*outcomes: Outcome) -> Result:
    return Result(outcomes, interrupted=False, seconds=1.0)


def test_row_holds_what_the_report_holds(tmp_path: Path) -> None:
    page = tmp_path / "a b" / "50%.html"
    page.parent.mkdir()
    page.touch()
    done = Outcome(
        Job(Path("in/50%.wav"), "50%.wav", extras={PAGE: Extra(page, tmp_path)}), notes=7, duration=2.5
    )
    failed = Outcome(Job(Path("in/no.wav"), "no.wav"), error=AudioError("in/no.wav: cut short"))
    waiting = Job(Path("in/x.wav"), "x.wav", extras={PAGE: Extra(tmp_path / "x.html", tmp_path)})
    scores = dict.fromkeys(("note_f1", "note_offset_f1", "note_offset_velocity_f1", "duration_accuracy"))
    nothing = {"duration_s": None, "notes": None, **scores}
    expected = [
        {
            "name": "50%.wav", "page": "a%20b/50%25.html", "status": "done", "reason": "",
            **nothing, "duration_s": 2.5, "notes": 7,
        },
        {"name": "no.wav", "page": None, "status": "failed", "reason": "cut short", **nothing},
        {"name": "x.wav", "page": None, "status": "not begun", "reason": "", **nothing},
    ]  # fmt: skip
    index = write_index(tmp_path, [done.job, failed.job, waiting], result(done, failed))
    assert index == tmp_path / "index.html"
    assert rows(index) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="names are text there")
def test_a_name_that_is_no_text_is_linked_by_its_bytes(tmp_path: Path) -> None:
    page = tmp_path / os.fsdecode(b"caf\xe9.html")
    page.touch()
    job = Job(
        Path(os.fsdecode(b"caf\xe9.wav")), os.fsdecode(b"caf\xe9.wav"), extras={PAGE: Extra(page, tmp_path)}
    )
    index = write_index(tmp_path, [job], result(Outcome(job, notes=1, duration=1.0)))
    (row,) = rows(index)
    assert row["page"] == "caf%E9.html"
    assert os.fsencode(row["name"]) == b"caf\xe9.wav"


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "pages").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_index(tmp_path / "pages", [], result())


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_link_leads_the_page_nowhere_else(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "index.html").symlink_to(tmp_path / "elsewhere.html")
    with pytest.raises(OutputError, match="a link leads it out of"):
        check_index(tmp_path / "pages", overwrite=overwrite)


def test_the_page_of_something_else_is_not_replaced(tmp_path: Path) -> None:
    index = tmp_path / "index.html"
    index.write_text("<!doctype html><title>My site</title>")
    with pytest.raises(OutputError, match="was not made by partranscribe"):
        check_index(tmp_path, overwrite=False)
    check_index(tmp_path, overwrite=True)
    assert index.read_text() == "<!doctype html><title>My site</title>"
    write_index(tmp_path, [], result())
    check_index(tmp_path, overwrite=False)


def test_a_row_that_failed_does_not_open_an_old_page(tmp_path: Path) -> None:
    page = tmp_path / "a.html"
    page.touch()
    job = Job(Path("a.wav"), "a.wav", extras={PAGE: Extra(page, tmp_path)})
    (row,) = rows(write_index(tmp_path, [job], result(Outcome(job, error=AudioError("a.wav: no")))))
    assert row["page"] is None
