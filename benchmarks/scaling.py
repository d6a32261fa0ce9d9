"""Cost against the length of a recording and against the number of files: `python benchmarks/scaling.py`.

Each row is a process of its own. The recordings are the example, repeated or cut, or another recording with
more notes (`--repeat`): what is kept of a long recording grows with its notes.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from process import measure
from speed import EXAMPLE, write_recording
from systems import markdown, own_system

from partranscribe.released import DEFAULT_NAME

COLUMNS = ("recordings", "audio", "seconds", "seconds a minute of audio", "peak MB")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, nargs="*", default=[1, 5, 20, 60, 180])
    parser.add_argument("--files", type=int, nargs="*", default=[1, 10, 100])
    parser.add_argument("--file-minutes", type=float, default=1 / 6, help="length of each of several files")
    parser.add_argument(
        "--repeat", type=Path, default=EXAMPLE, metavar="RECORDING", help="mono, in place of the example"
    )
    parser.add_argument("--model", default=DEFAULT_NAME, metavar="NAME|PATH")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    _, command = own_system(arguments.model, arguments.device)
    cases = [(1, minutes) for minutes in arguments.minutes] + [
        (count, arguments.file_minutes) for count in arguments.files
    ]
    rows = [COLUMNS]
    for count, minutes in cases:
        with tempfile.TemporaryDirectory() as folder:
            sources = Path(folder) / "in"
            sources.mkdir()
            for number in range(count):
                write_recording(sources / f"{number}.wav", minutes, arguments.repeat)
            usage = measure([*command, str(sources), "-o", str(Path(folder) / "out")])
        total = count * minutes
        cost = usage.seconds / total
        rows.append(
            (str(count), f"{total:.4g} min", f"{usage.seconds:.1f}", f"{cost:.2f}", f"{usage.megabytes:.0f}")
        )
        print(" | ".join(rows[-1]), flush=True)
    print(markdown(rows))


if __name__ == "__main__":
    main()
