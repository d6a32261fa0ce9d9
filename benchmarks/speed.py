"""Time and memory of the whole program: `python benchmarks/speed.py [--minutes 5] [--model NAME]`.

The recording is the example, repeated; each figure is of a process of its own, from its start to its end.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

EXAMPLE = Path(__file__).parent.parent / "examples" / "prelude.flac"


def write_recording(path: Path, minutes: float) -> None:
    """The example again and again, up to this length."""
    audio, rate = soundfile.read(EXAMPLE, dtype="int16")
    left = round(minutes * 60 * rate)
    with soundfile.SoundFile(path, "w", rate, 1, "PCM_16") as file:
        while left > 0:
            part = np.asarray(audio[:left])
            file.write(part)
            left -= len(part)


def measure(command: list[str]) -> tuple[float, float]:
    """Wall seconds and peak resident megabytes of a process that succeeds."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with status {process.returncode}")
    return seconds, usage.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--model", default="par_compact")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    program = [sys.executable, "-m", "partranscribe"]
    help_seconds = sorted(measure([*program, "--help"])[0] for _ in range(5))[2]
    print(f"--help: {help_seconds:.2f} s")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "recording.wav"
        write_recording(source, arguments.minutes)
        options = ["--model", arguments.model, "--device", arguments.device, "--quiet"]
        command = [*program, str(source), "-o", str(source.with_suffix(".mid")), *options]
        for _ in range(arguments.runs):
            seconds, megabytes = measure(command)
            speed = arguments.minutes * 60 / seconds
            print(
                f"{arguments.minutes:g} min: {seconds:.1f} s, {speed:.1f}× real time, peak {megabytes:.0f} MB"
            )


if __name__ == "__main__":
    main()
