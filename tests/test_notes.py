"""One note: what it may be, and the order of many."""

from __future__ import annotations

import math
import random
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from partranscribe.notes import HIGHEST_PITCH, LOWEST_PITCH, PITCHES, Note, in_order


def test_a_piano_has_88_keys() -> None:
    assert (LOWEST_PITCH, HIGHEST_PITCH, PITCHES) == (21, 108, 88)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"onset": 0.0, "offset": 0.0},
        {"pitch": 0},
        {"pitch": 127},
        {"velocity": 1},
        {"velocity": 127},
        {"confidence": 0.0},
    ],
)
def test_the_ends_of_every_range_are_allowed(values: dict[str, Any]) -> None:
    note = Note(**{"onset": 1.0, "offset": 2.0, "pitch": 60, "velocity": 64} | values)
    assert note.duration == note.offset - note.onset


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"onset": -0.001}, "onset -0.001 is not a time"),
        ({"onset": math.nan}, "onset nan is not a time"),
        ({"onset": math.inf, "offset": math.inf}, "onset inf is not a time"),
        ({"offset": 0.999}, "offset 0.999 is before onset 1.0"),
        ({"offset": math.nan}, "offset nan"),
        ({"offset": math.inf}, "offset inf"),
        ({"pitch": -1}, "pitch -1 is not a MIDI key number"),
        ({"pitch": 128}, "pitch 128 is not a MIDI key number"),
        ({"velocity": 0}, "velocity 0 is not a MIDI velocity"),
        ({"velocity": 128}, "velocity 128 is not a MIDI velocity"),
        ({"confidence": -0.1}, "confidence -0.1 is not within 0 to 1"),
        ({"confidence": 1.1}, "confidence 1.1 is not within 0 to 1"),
        ({"confidence": math.nan}, "confidence nan is not within 0 to 1"),
    ],
)
def test_a_value_outside_its_range_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Note(**{"onset": 1.0, "offset": 2.0, "pitch": 60, "velocity": 64} | values)


def test_a_note_cannot_be_changed() -> None:
    note = Note(1.0, 2.0, 60, 64)
    with pytest.raises(FrozenInstanceError):
        note.onset = 0.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("pitch", "name"), [(21, "A0"), (60, "C4"), (61, "C#4"), (69, "A4"), (108, "C8"), (0, "C-1"), (127, "G9")]
)
def test_middle_c_is_c4(pitch: int, name: str) -> None:
    assert Note(0.0, 1.0, pitch, 64).name == name


def test_order_is_onset_then_pitch_then_offset() -> None:
    ordered = [
        Note(0.0, 9.0, 70, 64),
        Note(1.0, 2.0, 60, 64),
        Note(1.0, 3.0, 60, 64),
        Note(1.0, 1.5, 61, 64),
        Note(2.0, 2.5, 21, 64),
    ]
    shuffled = ordered.copy()
    random.Random(0).shuffle(shuffled)
    assert shuffled != ordered
    assert in_order(iter(shuffled)) == ordered
