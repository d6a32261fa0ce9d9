"""A report tells programs what became of every recording."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from partranscribe import __version__
from partranscribe.batch import Result
from partranscribe.errors import AudioError, OutputError
from partranscribe.notes import Note
from partranscribe.plan import Job
from partranscribe.report import REPORT_MARK, SCORES_MARK, check_table, write_report, write_scores
from partranscribe.score import score
from partranscribe.work import Outcome, Settings

SETTINGS = Settings(model="par", device="cpu", start=1.0)
JOBS = [
    Job(Path(f"in/{name}.wav"), f"{name}.wav", {"midi": Path(f"out/{name}.mid")}, Path("out"))
    for name in ("Prélude", "kept", "bad", "later")
]


def written(path: Path, jobs: list[Job], result: Result) -> dict[str, Any]:
    write_report(path, jobs, result, SETTINGS)
    document: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return document


def test_every_recording_has_a_row_in_the_order_of_the_call(tmp_path: Path) -> None:
    done, kept, bad, _ = JOBS
    outcomes = [
        Outcome(done, notes=12, duration=1.50004, seconds=0.25049, source_sha256="ab"),
        Outcome(kept, kept="done before"),
        Outcome(bad, error=AudioError("in/bad.wav: the file is empty")),
    ]
    document = written(tmp_path / "report.json", JOBS, Result(outcomes, interrupted=True, seconds=3.00049))
    unmade = {
        "source_sha256": None,
        "notes": 0,
        "duration_s": 0.0,
        "tuning_hz": None,
        "seconds": 0.0,
        "score": None,
    }
    assert document == {
        "format": "partranscribe-report",
        "version": 1,
        "partranscribe": __version__,
        "settings": {
            "model": "par",
            "device": "cpu",
            "engine": "auto",
            "precision": "float32",
            "start": 1.0,
            "end": None,
            "tuning": None,
            "pedal_threshold": 64,
        },
        "interrupted": True,
        "seconds": 3.0,
        "counts": {"done": 1, "kept": 1, "failed": 1, "not begun": 1},
        "mean_score": None,
        "files": [
            {
                "source": str(done.source),
                "status": "done",
                "reason": "",
                "outputs": {"midi": str(done.outputs["midi"])},
                "extras": {},
                "reference": None,
                "source_sha256": "ab",
                "notes": 12,
                "duration_s": 1.5,
                "tuning_hz": 440.0,
                "seconds": 0.25,
                "score": None,
            },
            {
                "source": str(kept.source),
                "status": "kept",
                "reason": "done before",
                "outputs": {"midi": str(kept.outputs["midi"])},
                "extras": {},
                "reference": None,
                **unmade,
            },
            {
                "source": str(bad.source),
                "status": "failed",
                "reason": "in/bad.wav: the file is empty",
                "outputs": {"midi": str(bad.outputs["midi"])},
                "extras": {},
                "reference": None,
                **unmade,
            },
            {
                "source": str(Path("in/later.wav")),
                "status": "not begun",
                "reason": "",
                "outputs": {"midi": str(Path("out/later.mid"))},
                "extras": {},
                "reference": None,
            },
        ],
    }


def test_scores_are_told_with_their_mean(tmp_path: Path) -> None:
    truth = [Note(0.5, 1.0, 60, 64), Note(1.5, 2.0, 62, 64)]
    outcomes = [
        Outcome(JOBS[0], score=score(truth, truth)),
        Outcome(JOBS[1], score=score(truth[:1], truth), kept="done before"),
        Outcome(JOBS[2]),
    ]
    document = written(tmp_path / "report.json", JOBS[:3], Result(outcomes, interrupted=False, seconds=1.0))
    recalls = [file["score"] and file["score"]["note_recall"] for file in document["files"]]
    assert recalls == [1.0, 0.5, None]
    assert document["mean_score"]["note_recall"] == 0.75
    assert document["mean_score"]["reference_notes"] == 4


def test_nothing_to_do_is_a_report_too(tmp_path: Path) -> None:
    document = written(tmp_path / "new" / "report.json", [], Result([], interrupted=False, seconds=0.0))
    assert (document["files"], document["counts"]) == ([], {})


def test_a_table_takes_no_place_but_that_of_an_earlier_one(tmp_path: Path) -> None:
    report, scores = tmp_path / "report.json", tmp_path / "scores.csv"
    other, empty = tmp_path / "notes.csv", tmp_path / "empty.csv"
    write_report(report, [], Result([], False, 0.0), Settings())
    write_scores(scores, {"song": score([Note(0.0, 1.0, 60, 64)], [Note(0.0, 1.0, 60, 64)])}, 64)
    other.write_text("onset_s,offset_s,pitch,name,velocity,confidence\n")
    empty.touch()
    kept = {path: path.read_bytes() for path in (report, scores, other)}
    for path, mark in (
        (report, REPORT_MARK),
        (scores, SCORES_MARK),
        (empty, SCORES_MARK),
        (empty, REPORT_MARK),
    ):
        check_table(path, mark, overwrite=False)
    for path, mark in ((report, SCORES_MARK), (scores, REPORT_MARK), (other, SCORES_MARK)):
        with pytest.raises(OutputError, match=r"was not made by partranscribe.* --overwrite allows it"):
            check_table(path, mark, overwrite=False)
        check_table(path, mark, overwrite=True)
    assert {path: path.read_bytes() for path in kept} == kept


def test_a_report_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "report.json").mkdir()
    with pytest.raises(OutputError, match=r"report\.json"):
        write_report(tmp_path / "report.json", [], Result([], interrupted=False, seconds=0.0), SETTINGS)
