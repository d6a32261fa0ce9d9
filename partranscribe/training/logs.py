"""What a run tells of itself: lines of JSON, and curves for TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

Reporter = Callable[[Mapping[str, Any]], None]
"""Takes an entry: names and values, with the number of updates as `update`."""


def silent(_: Mapping[str, Any]) -> None:
    """A reporter that tells nobody."""


def log_to(folder: Path, also: Reporter) -> Reporter:
    """A reporter that writes each entry to `log.jsonl` and to TensorBoard's files, and passes it on.

    Args:
        folder: of one phase of a run.
        also: is given the same entries, with the name of the folder as `phase`.
    """
    curves = SummaryWriter(str(folder / "tensorboard"))

    def report(entry: Mapping[str, Any]) -> None:
        with (folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(entry) + "\n")
        for name, value in entry.items():
            if name != "update":
                curves.add_scalar(name, value, entry["update"])
        curves.flush()
        also({"phase": folder.name, **entry})

    return report
