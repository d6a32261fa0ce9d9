"""The speed benchmarks measure what they say, with systems that take a known time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import process
import speed
import systems


def test_a_process_is_measured_from_its_start_to_its_end() -> None:
    program = "import time; x = bytearray(200_000_000); time.sleep(0.5); print('done')"
    usage = process.measure([sys.executable, "-S", "-c", program])
    assert usage.seconds > 0.5
    assert usage.cpu_seconds < usage.seconds - 0.3
    assert 190 < usage.megabytes < 260
    assert usage.output == "done\n"


def test_a_recording_has_its_length(tmp_path: Path) -> None:
    speed.write_recording(tmp_path / "long.wav", 1.1)
    info = soundfile.info(tmp_path / "long.wav")
    assert info.frames / info.samplerate == pytest.approx(66.0)
    audio, rate = soundfile.read(tmp_path / "long.wav")
    example, _ = soundfile.read(speed.EXAMPLE)
    assert (audio[len(example) : len(example) + rate] == example[:rate]).all()


def test_systems_take_turns_and_the_fastest_run_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    seconds = iter([3.0, 9.0, 2.0, 7.0, 5.0, 8.0])

    def measure(command: list[str]) -> process.Usage:
        called.append(command[0])
        assert command[1:] == [str(tmp_path / "x.wav"), "-o", str(tmp_path)]
        return process.Usage(next(seconds), 1.0, 100.0, "")

    monkeypatch.setattr(speed, "measure", measure)
    found = speed.compare({"one": ["a"], "other": ["b"]}, {2.0: tmp_path / "x.wav"}, 3, tmp_path)
    assert called == list("ababab")
    assert {key: usage.seconds for key, usage in found.items()} == {("one", 2.0): 2.0, ("other", 2.0): 7.0}


def test_a_table_is_plain_text_and_markdown() -> None:
    assert systems.markdown([("a", "long"), ("more", "b")]) == (
        "| a    | long |\n| ---- | ---- |\n| more | b    |\n"
    )


@pytest.mark.parametrize(
    ("program", "shown"),
    [
        (
            ["speed.py", "--minutes", "0.05", "--runs", "1"],
            ["| par_compact", "decoding", "of a matrix product"],
        ),
        (["scaling.py", "--minutes", "0.05", "--files", "2"], ["| 1 ", "| 2 "]),
        (
            ["engines.py", str(speed.EXAMPLE.parent)],
            ["prelude.flac: ", "in all: ", "0 onsets differ, 0 notes differ"],
        ),
    ],
)
def test_the_programs_print_their_tables(program: list[str], shown: list[str]) -> None:
    name, *options = program
    done = subprocess.run(
        [sys.executable, str(Path(speed.__file__).with_name(name)), *options],
        capture_output=True,
        text=True,
        check=True,
    )
    assert [text for text in shown if text not in done.stdout] == []
