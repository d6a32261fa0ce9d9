"""Whether the engines hear the same notes: `python benchmarks/engines.py FOLDER`.

Each recording of the folder is transcribed by plain PyTorch and by the default engine of the device; what one
has and the other has not is counted, to the bit of its onset, and of all its times and its velocity.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path

from partranscribe import Transcriber
from partranscribe.audio import AUDIO_SUFFIXES
from partranscribe.notes import Note


def onsets(notes: list[Note]) -> set[tuple[float, int]]:
    """Onset and pitch of each note."""
    return {(note.onset, note.pitch) for note in notes}


def bare(note: Note) -> Note:
    """A note without its confidence, the bits of which depend on the order of sums."""
    return replace(note, confidence=0.0)


def told(counts: Counter[str]) -> str:
    """The counts in a line."""
    return ", ".join(f"{counts[name]} {name}" for name in ("notes", "onsets differ", "notes differ"))


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="par_compact")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="float32", help="of the default engine")
    arguments = parser.parse_args()
    plain = Transcriber(arguments.model, "cpu", engine="torch")
    fast = Transcriber(arguments.model, arguments.device, precision=arguments.precision)
    counts: Counter[str] = Counter()
    for path in sorted(path for path in arguments.folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES):
        expected, found = (one.transcribe(path).notes for one in (plain, fast))
        here = Counter(
            {
                "notes": len(expected),
                "onsets differ": len(onsets(expected) ^ onsets(found)),
                "notes differ": len(set(map(bare, expected)) ^ set(map(bare, found))),
            }
        )
        counts += here
        print(f"{path.name}: {told(here)}", flush=True)
    print(f"in all: {told(counts)}")


if __name__ == "__main__":
    main()
