"""How often notes end where others begin: `python benchmarks/coincidence.py FOLDER...`.

Pieces that were entered note by note end most notes exactly where the next begin, and pianists do not. For
each folder of note lists, the share of offsets within some milliseconds of an onset, and that of times that
lie 0.2 to 0.6 s after the offsets, which stand for chance. Notes that end because their own key is struck
again are left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from systems import markdown

from partranscribe.note_io import SUFFIXES, read_notes
from partranscribe.notes import Note
from partranscribe.remote import files_below

WITHIN = (0.01, 0.025, 0.05)


def from_nearest(onsets: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Seconds from each time to the nearest of some onsets."""
    onsets = np.concatenate(([-np.inf], np.sort(onsets), [np.inf]))
    after = np.searchsorted(onsets, times).clip(1, len(onsets) - 1)
    nearest: NDArray[np.float64] = np.minimum(times - onsets[after - 1], onsets[after] - times)
    return nearest


def let_go(notes: Sequence[Note]) -> NDArray[np.float64]:
    """Offsets of the notes whose key was not struck again within 10 ms."""
    around = (-0.01, 0.0, 0.01)
    begins = {(note.pitch, round(round(note.onset, 2) + step, 2)) for note in notes for step in around}
    return np.array([note.offset for note in notes if (note.pitch, round(note.offset, 2)) not in begins])


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--only", default="*", help="pattern of the names of note lists")
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    rows: list[tuple[str, ...]] = [
        ("note lists", "offsets", *(f"within {1000 * one:g} ms, by chance" for one in WITHIN))
    ]
    for folder in arguments.folders:
        found, chance = [], []
        for path in files_below(folder, SUFFIXES):
            if not path.match(arguments.only):
                continue
            notes = read_notes(folder / path)
            onsets, offsets = np.array([note.onset for note in notes]), let_go(notes)
            found.append(from_nearest(onsets, offsets))
            chance.append(from_nearest(onsets, offsets + random.uniform(0.2, 0.6, len(offsets))))
        if not found:
            raise SystemExit(f"{folder}: no note list that counts (--only {arguments.only})")
        distances, others = np.concatenate(found), np.concatenate(chance)
        shares = (
            f"{100 * np.mean(distances < one):.0f}, {100 * np.mean(others < one):.0f}" for one in WITHIN
        )
        rows.append((folder.name, str(len(distances)), *shares))
    print(markdown(rows))


if __name__ == "__main__":
    main()
