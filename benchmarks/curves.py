"""The curves of a run as a picture: `python benchmarks/curves.py RUN... -o curves.png`.

Losses over the hours of audio that a network has heard, and the F1 of free-running decoding where the log has
it. Several runs follow one another, each begun with the weights of the one before.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The entries of one phase of a run, with the hours of audio heard until each."""
    log = folder / "log.jsonl"
    if not log.exists():  # the phase was left out, or has only just begun
        return []
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    hours, seconds = 0.0, 0.0
    for entry in entries:
        hours += max(entry["seconds"] - seconds, 0.0) * entry["audio_per_second"] / 3600
        seconds = entry["seconds"]
        entry["hours"] = hours
    return entries


def smoothed(values: list[float], width: int = 9) -> NDArray[np.float64]:
    """A moving median, as long as its input."""
    padded = np.pad(np.array(values), width // 2, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, width)
    return np.asarray(np.median(windows, axis=-1), np.float64)


def main() -> None:
    """Read the logs and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
    panels = (
        ("note", "loss", "loss of the note network"),
        ("velocity", "velocity_error", "velocity error (of 0..1)"),
        ("note", "note_f1", "F1 on what is held out, %"),
    )
    for axis, (phase, name, title) in zip(axes, panels, strict=True):
        heard, labelled = 0.0, False
        for run in arguments.runs:
            entries = read_log(run / phase)
            points = [(heard + entry["hours"], entry) for entry in entries if name in entry]
            if points:
                x = [hours for hours, _ in points]
                if name == "note_f1":
                    measures = (("note_f1", "note", "C0"), ("note_offset_f1", "+ offset", "C1"))
                    for measure, label, colour in measures:
                        y = [100 * entry[measure] for _, entry in points]
                        axis.plot(x, y, "o-", color=colour, label=None if labelled else label)
                    labelled = True
                else:
                    axis.plot(x, smoothed([entry[name] for _, entry in points]), label=run.name)
            heard += entries[-1]["hours"] if entries else 0.0
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("hours of audio")
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=8)
    figure.savefig(arguments.output, dpi=110)


if __name__ == "__main__":
    main()
