"""Whether the engines hear the same notes: `python benchmarks/engines.py FOLDER`.

Each recording of the folder is transcribed by plain PyTorch and by the default engine of the device; what one
has and the other has not is counted: onsets, and notes with their offsets and velocities. Times are the same
within a millisecond: where they lie between frames depends on the last bits of probabilities.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from partranscribe import Transcriber
from partranscribe.audio import AUDIO_SUFFIXES
from partranscribe.notes import Note
from partranscribe.remote import files_below

TOLERANCE = 0.001  # seconds


def is_same(note: Note, other: Note, *, whole: bool) -> bool:
    """Whether two notes of one pitch have the same onset, and as a whole the same offset and velocity too."""
    if abs(note.onset - other.onset) > TOLERANCE:
        return False
    return not whole or (abs(note.offset - other.offset) <= TOLERANCE and note.velocity == other.velocity)


def differences(notes: Sequence[Note], others: Sequence[Note], *, whole: bool) -> int:
    """How many notes of either the other has not."""
    lacking = 0
    for ours, theirs in ((notes, others), (others, notes)):
        of_pitch = defaultdict(list)
        for note in theirs:
            of_pitch[note.pitch].append(note)
        lacking += sum(not any(is_same(note, o, whole=whole) for o in of_pitch[note.pitch]) for note in ours)
    return lacking


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
    for path in files_below(arguments.folder, AUDIO_SUFFIXES):
        expected, found = (one.transcribe(arguments.folder / path).notes for one in (plain, fast))
        here = Counter(
            {
                "notes": len(expected),
                "onsets differ": differences(expected, found, whole=False),
                "notes differ": differences(expected, found, whole=True),
            }
        )
        counts += here
        print(f"{path.name}: {told(here)}", flush=True)
    print(f"in all: {told(counts)}")


if __name__ == "__main__":
    main()
