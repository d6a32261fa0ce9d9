"""One note, the states of which it is decoded, and the order in which lists of notes are kept."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

LOWEST_PITCH = 21
HIGHEST_PITCH = 108
PITCHES = HIGHEST_PITCH - LOWEST_PITCH + 1

OFF, OFFSET, ONSET, SUSTAIN, REONSET = range(5)  # what a pitch may do in a frame (section III-C of the paper)
NOTE_STATES = 5

PEDAL_THRESHOLD = 64  # CC64 values from here on mean that the sustain pedal is down

Place = tuple[float, int]
"""Onset in seconds and MIDI pitch of a note."""

_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


@dataclass(frozen=True, slots=True)
class Note:
    """One note of a transcription or of a reference.

    Args:
        onset: seconds from the start of the file, >= 0.
        offset: seconds from the start of the file, >= onset.
        pitch: MIDI key number, 0..127; a piano has 21..108.
        velocity: MIDI velocity, 1..127.
        confidence: probability that the model gave to this onset, 0..1; 1 for a note that was read.

    Raises:
        ValueError: a value is outside its range.
    """

    onset: float
    offset: float
    pitch: int
    velocity: int
    confidence: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.onset) and self.onset >= 0):
            raise ValueError(f"onset {self.onset} is not a time >= 0")
        if not (math.isfinite(self.offset) and self.offset >= self.onset):
            raise ValueError(f"offset {self.offset} is before onset {self.onset}")
        if not 0 <= self.pitch <= 127:
            raise ValueError(f"pitch {self.pitch} is not a MIDI key number (0 to 127)")
        if not 1 <= self.velocity <= 127:
            raise ValueError(f"velocity {self.velocity} is not a MIDI velocity (1 to 127)")
        if not 0 <= self.confidence <= 1:
            raise ValueError(f"confidence {self.confidence} is not within 0 to 1")

    @property
    def duration(self) -> float:
        """Seconds from onset to offset."""
        return self.offset - self.onset

    @property
    def place(self) -> Place:
        """Where it begins, by which what is measured of it is found."""
        return self.onset, self.pitch

    @property
    def name(self) -> str:
        """Scientific pitch name with sharps, middle C = C4."""
        return f"{_NAMES[self.pitch % 12]}{self.pitch // 12 - 1}"


def in_order(notes: Iterable[Note]) -> list[Note]:
    """Notes by onset, then pitch, then offset: the order of every list and file of this project."""
    return sorted(notes, key=lambda note: (note.onset, note.pitch, note.offset))
