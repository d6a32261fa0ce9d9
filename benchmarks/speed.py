"""Time and memory of whole processes, and what the machine could do at best.

`python benchmarks/speed.py [--minutes 5 --minutes 60] [--peer NAME=PYTHON]` transcribes the example, repeated
to that length, with each system in turn, and prints a row for each: the fastest of its runs. Below it are the
stages of one of them, and the share of the machine's peak that the acoustic modules reach by themselves; the
peak is that of a matrix product in the same run. peers.py tells how to install the peers.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from process import Usage, measure
from systems import markdown, own_system, peer_system
from torch.utils.flop_counter import FlopCounterMode

from partranscribe.engine import engine_for
from partranscribe.model import weights_of
from partranscribe.released import DEFAULT_NAME, checkpoint_path
from partranscribe.timings import Timings
from partranscribe.torch_checkpoint import load_checkpoint
from partranscribe.windows import Window

EXAMPLE = Path(__file__).parent.parent / "examples" / "prelude.flac"
COLUMNS = ("system", "recording", "seconds", "CPU seconds", "× real time", "peak MB")
WINDOW_FRAMES = 64


def write_recording(path: Path, minutes: float, repeated: Path = EXAMPLE) -> None:
    """A recording again and again, up to this length."""
    audio, rate = soundfile.read(repeated, dtype="int16")
    left = round(minutes * 60 * rate)
    with soundfile.SoundFile(path, "w", rate, 1, "PCM_16") as file:
        while left > 0:
            part = np.asarray(audio[:left])
            file.write(part)
            left -= len(part)


def fastest(action: Callable[[], object], runs: int = 5) -> float:
    """Seconds of the fastest of some runs."""
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def peak_gflops() -> float:
    """Billions of operations a second in a matrix product, on all threads."""
    size = 2000
    one, other = torch.randn(2, size, size)
    return 2 * size**3 / fastest(lambda: one @ other, runs=10) / 1e9


def acoustic_gflops(model: str) -> float:
    """Billions of operations a second in the acoustic modules on the CPU, margins included."""
    network, info = load_checkpoint(checkpoint_path(model))
    engine = engine_for(info.config, weights_of(network), engine="openvino")
    mel = torch.rand(WINDOW_FRAMES, info.config.front_end.n_mels)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network.features(mel.unsqueeze(0))
    window = Window(mel.numpy(), slice(0, WINDOW_FRAMES))
    windows = [window] * 60

    def compute() -> None:
        for _ in engine.features(windows, Timings()):
            pass

    operations: int = counter.get_total_flops() * len(windows)
    return operations / fastest(compute) / 1e9


def row(system: str, minutes: float, usage: Usage) -> tuple[str, ...]:
    """A row of the table."""
    return (
        system,
        f"{minutes:g} min",
        f"{usage.seconds:.1f}",
        f"{usage.cpu_seconds:.1f}",
        f"{minutes * 60 / usage.seconds:.1f}",
        f"{usage.megabytes:.0f}",
    )


def compare(
    systems: Mapping[str, Sequence[str]], recordings: Mapping[float, Path], runs: int, output: Path
) -> dict[tuple[str, float], Usage]:
    """The fastest run of each system on each recording, the systems taking turns."""
    found: dict[tuple[str, float], Usage] = {}
    for minutes, recording in recordings.items():
        for _ in range(runs):
            for system, command in systems.items():
                usage = measure([*command, str(recording), "-o", str(output)])
                best = found.setdefault((system, minutes), usage)
                found[system, minutes] = min(best, usage)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, action="append", default=[])
    parser.add_argument("--model", action="append", default=[], metavar="NAME|PATH", dest="models")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON", dest="peers")
    parser.add_argument("--device", default="auto", help="of the models; peers use the CPU")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    models = arguments.models or [DEFAULT_NAME]
    systems: dict[str, Sequence[str]] = {}
    for model in models:
        name, command = own_system(model, arguments.device)
        systems[name] = [*command, "--timings", "--overwrite"]
    systems |= dict([peer_system(peer) for peer in arguments.peers])
    with tempfile.TemporaryDirectory() as folder:
        recordings = {minutes: Path(folder) / f"{minutes:g}.wav" for minutes in arguments.minutes or [5.0]}
        for minutes, path in recordings.items():
            write_recording(path, minutes)
        output = Path(folder) / "out"
        output.mkdir()
        found = compare(systems, recordings, arguments.runs, output)
    print(markdown([COLUMNS, *(row(*key, usage) for key, usage in found.items())]))
    print(next(usage.output for usage in reversed(found.values()) if "acoustic" in usage.output))
    peak = peak_gflops()
    for model in models:
        reached = acoustic_gflops(model)
        share = f"{100 * reached / peak:.0f} % of the {peak:.0f} of a matrix product"
        print(f"{model}: its acoustic modules alone do {reached:.0f} GFLOP/s on the CPU, {share}")


if __name__ == "__main__":
    main()
