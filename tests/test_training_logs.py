"""The log of a run: whole in JSON, and as curves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from partranscribe.training.logs import log_to

ENTRIES: list[dict[str, Any]] = [
    {"update": 10, "loss": 0.5},
    {"update": 20, "loss": 0.25, "note_f1": 0.75},
]


def test_an_entry_is_a_line_of_json_and_a_point_of_each_curve(tmp_path: Path) -> None:
    told: list[Any] = []
    report = log_to(tmp_path / "note", told.append)
    for entry in ENTRIES:
        report(entry)
    lines = (tmp_path / "note" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == ENTRIES
    assert told == [{"phase": "note", **entry} for entry in ENTRIES]
    curves = EventAccumulator(str(tmp_path / "note" / "tensorboard"))
    curves.Reload()
    points = {
        name: [(point.step, point.value) for point in curves.Scalars(name)]
        for name in curves.Tags()["scalars"]
    }
    assert points == {"loss": [(10, 0.5), (20, 0.25)], "note_f1": [(20, 0.75)]}


def test_a_run_that_goes_on_adds_to_its_log(tmp_path: Path) -> None:
    for entry in ENTRIES:
        log_to(tmp_path, lambda _: None)(entry)
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2
