"""The throughput benchmark transcribes all of a folder, and counts what it could read."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import soundfile

from conftest import swelling_noise

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import throughput


def test_a_folder_is_measured_by_the_recordings_that_can_be_read(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "below").mkdir()
    for seed, path in enumerate((tmp_path / "a.wav", tmp_path / "below" / "b.flac")):
        soundfile.write(path, swelling_noise(seed, 16_000 * 3), 16_000)
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    arguments = [str(tmp_path), "--model", str(tiny_checkpoint), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["throughput.py", *arguments])
    throughput.main()
    line = capsys.readouterr().out
    assert ", float32, CPU, 1 at once: 2 recordings, 0.1 min, " in line
    told = re.search(r"([\d.]+) s, (\d+) x real time, .*decoding", line)
    assert told is not None
    assert int(told[2]) == pytest.approx(6 / float(told[1]), rel=0.2, abs=0.51)
