"""Transcribes a recording and scores the result.

python examples/transcribe_and_score.py [RECORDING REFERENCE]
"""

from __future__ import annotations

import sys
from pathlib import Path

from partranscribe import Transcriber, read_notes
from partranscribe.score import score

HERE = Path(__file__).parent


def main(recording: Path = HERE / "prelude.flac", reference: Path = HERE / "prelude.mid") -> None:
    """Print the first notes and the scores."""
    result = Transcriber("par_compact", device="cpu").transcribe(recording)
    for note in result.notes[:5]:
        print(f"{note.onset:6.2f} s  {note.name:4} velocity {note.velocity:3}  {note.duration:.2f} s long")
    found = score(result.notes, read_notes(reference))
    print(f"note F1 {found.note.f1:.3f}, with offsets {found.note_offset.f1:.3f}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
