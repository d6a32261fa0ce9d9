"""The picture of a run's curves is drawn from its logs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from PIL import Image

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "curves.py"


def test_the_curves_of_two_runs_become_a_picture(tmp_path: Path) -> None:
    for run in ("first", "second"):
        for phase, losses in (("note", {"loss": 3.0}), ("velocity", {"velocity_error": 0.1})):
            (tmp_path / run / phase).mkdir(parents=True)
            entries = [{"seconds": 30.0 * k, "audio_per_second": 20.0, **losses} for k in range(1, 20)]
            entries[-1] |= {"note_f1": 0.9, "note_offset_f1": 0.6} if phase == "note" else {}
            lines = [json.dumps(entry) for entry in entries]
            (tmp_path / run / phase / "log.jsonl").write_text("\n".join(lines))
    picture = tmp_path / "curves.png"
    command = [
        sys.executable,
        str(SCRIPT),
        str(tmp_path / "first"),
        str(tmp_path / "second"),
        "-o",
        str(picture),
    ]
    subprocess.run(command, check=True, capture_output=True)
    with Image.open(picture) as image:
        assert image.width > 800
        assert sum(count > 0 for count in image.convert("L").histogram()) > 20
