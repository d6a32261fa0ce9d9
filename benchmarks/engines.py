"""Whether the engines hear the same notes: `python benchmarks/engines.py FOLDER [--model NAME]`.

Each recording of the folder is transcribed by plain PyTorch and by the default engine of the device; what one
has and the other has not is counted, to the bit of its times and velocity.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from partranscribe import Transcriber
from partranscribe.audio import AUDIO_SUFFIXES


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="par_compact")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    plain = Transcriber(arguments.model, "cpu", engine="torch")
    fast = Transcriber(arguments.model, arguments.device)
    differing = total = 0
    for path in sorted(path for path in arguments.folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES):
        expected, found = (
            {(note.onset, note.offset, note.pitch, note.velocity) for note in one.transcribe(path).notes}
            for one in (plain, fast)
        )
        differing += len(expected ^ found)
        total += len(expected)
        print(f"{path.name}: {len(expected)} notes, {len(expected ^ found)} differ", flush=True)
    print(f"{total} notes in all, {differing} differ")


if __name__ == "__main__":
    main()
