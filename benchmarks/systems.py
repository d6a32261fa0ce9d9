"""What the benchmarks run: checkpoints of this project and other transcribers, each as a command."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from peers import PEERS

from partranscribe.checkpoint import checkpoint_info
from partranscribe.released import checkpoint_path

HERE = Path(__file__).resolve().parent


def own_system(model: str, device: str, tuning: str = "auto") -> tuple[str, list[str]]:
    """Name and command of a checkpoint; the name tells its hash, and the tuning if that is not measured."""
    path = checkpoint_path(model).resolve()
    info = checkpoint_info(path)
    options = ["--model", str(path), "--device", device, "--tuning", tuning, "--quiet"]
    told = "" if tuning == "auto" else f", A4 = {tuning} Hz"
    return f"{info.name} {info.sha256[:8]}{told}", [sys.executable, "-m", "partranscribe", *options]


def peer_system(peer: str) -> tuple[str, list[str]]:
    """Name and command of NAME=PYTHON; the name tells the version that is installed there."""
    name, _, python = peer.partition("=")
    if name not in PEERS or not python:
        raise SystemExit(f"{peer}: is not NAME=PYTHON; known names are {', '.join(PEERS)}")
    program = f"from importlib.metadata import version; print(version({name!r}))"
    isolated = [str(Path(python).absolute()), "-I"]
    try:
        asked = subprocess.run([*isolated, "-c", program], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"{peer}: no Python that has {name}; see {HERE / 'peers.py'}") from error
    return f"{name} {asked.stdout.strip()}", [*isolated, str(HERE / "peers.py"), name]


def markdown(rows: Sequence[tuple[str, ...]]) -> str:
    """A table whose first row is the header, which reads well as plain text too."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    ruled = [rows[0], tuple("-" * width for width in widths), *rows[1:]]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in ruled]
    return "".join(f"| {line} |\n" for line in lines)
