"""Velocities that make each other likelier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from partranscribe.dynamics import evened
from partranscribe.note_array import note_array
from partranscribe.notes import HIGHEST_PITCH, LOWEST_PITCH, Note


def played(
    seed: int, count: int, key_error: float = 0.0, error: float = 0.0
) -> tuple[list[Note], list[Note]]:
    """A crescendo and diminuendo with accents, as it was played and as it was heard."""
    rng = np.random.default_rng(seed)
    keys = rng.normal(0, key_error, HIGHEST_PITCH + 1) if key_error else np.zeros(HIGHEST_PITCH + 1)
    onsets = np.cumsum(rng.uniform(0, 0.3, count))
    pitches = rng.integers(45, 80, count)
    velocities = 64 + 25 * np.sin(onsets / 12) + rng.normal(0, 3, count)
    heard = velocities + keys[pitches] + rng.normal(0, error, count)
    return listed(onsets, pitches, velocities), listed(onsets, pitches, heard)


def listed(onsets: NDArray[Any], pitches: NDArray[Any], velocities: NDArray[Any]) -> list[Note]:
    return [
        Note(float(onset), float(onset) + 0.5, int(pitch), int(np.clip(round(velocity), 1, 127)), 0.9)
        for onset, pitch, velocity in zip(onsets, pitches, velocities, strict=True)
    ]


def velocities(notes: Sequence[Note]) -> NDArray[np.float64]:
    return np.array([note.velocity for note in notes], float)


def test_only_velocities_change() -> None:
    _, heard = played(0, 300, key_error=4.0, error=3.0)
    found = evened(heard)
    assert velocities(found).tolist() != velocities(heard).tolist()
    assert [replace(note, velocity=1) for note in found] == [replace(note, velocity=1) for note in heard]


@pytest.mark.parametrize("count", [0, 1])
def test_with_nothing_to_compare_velocities_stay(count: int) -> None:
    heard = [Note(1.0, 2.0, 60, 31)][:count]
    assert evened(heard) == heard


def test_what_is_even_stays() -> None:
    heard = [Note(i * 0.1, i * 0.1 + 0.2, LOWEST_PITCH + i % 88, 80) for i in range(500)]
    assert evened(heard) == heard


@pytest.mark.parametrize(("key_error", "error"), [(4.0, 0.0), (0.0, 4.0), (3.0, 3.0)])
def test_errors_of_keys_and_of_moments_become_smaller(key_error: float, error: float) -> None:
    truth, heard = played(1, 600, key_error, error)
    wrong, left = (np.std(velocities(notes) - velocities(truth)) for notes in (heard, evened(heard)))
    assert left < 0.85 * wrong


def test_a_key_that_is_always_too_loud_is_told_from_one_that_is_played_loudly_once() -> None:
    count = 400
    onsets, pitches = 0.2 * np.arange(count), 50 + np.arange(count) % 12
    always = np.full(count, 64.0)
    always[pitches == 55] += 12
    once = np.full(count, 64.0)
    once[np.flatnonzero(pitches == 55)[15]] += 12
    (loud,) = {note.velocity for note in evened(listed(onsets, pitches, always))[185:206] if note.pitch == 55}
    assert max(velocities(evened(listed(onsets, pitches, once)))) > loud + 2


def test_velocities_stay_those_of_midi() -> None:
    pitches = 50 + np.arange(400) % 12
    heard = np.where(pitches == 55, 100, 120)
    heard[np.flatnonzero(pitches == 55)[15]] = 127  # as loud as a key can be that sounds too soft
    assert max(velocities(evened(listed(0.2 * np.arange(400), pitches, heard)))) == 127


def test_a_part_is_the_regression_that_is_described() -> None:
    _, heard = played(3, 70, key_error=3.0, error=2.0)
    heard = [replace(note, onset=float(round(note.onset))) for note in heard]  # in chords of some notes
    table = note_array(heard)
    onset, pitch, velocity = table[:, 0], table[:, 2], table[:, 3]
    semitones, seconds = pitch[:, None] - pitch, abs(onset[:, None] - onset)
    music = (
        64.0 * np.exp(-seconds / 5 - (semitones / 7) ** 2 / 2) + 4.0 * (seconds == 0) + 3.0**2 * np.eye(70)
    )
    errors = 2.5**2 * (semitones == 0) + np.exp(-((semitones / 12) ** 2) / 2) + 2.5**2 * np.eye(70)
    expected = velocity.mean() + music @ np.linalg.solve(music + errors, velocity - velocity.mean())
    assert np.abs(velocities(evened(heard)) - expected).max() <= 0.5 + 1e-6


def test_parts_of_a_recording_share_the_errors_of_its_keys() -> None:
    truth, heard = played(4, 2000, key_error=4.0)
    alone = [note for first in range(0, 2000, 80) for note in evened(heard[first : first + 80])]
    wrong, left = (np.std(velocities(notes) - velocities(truth)) for notes in (alone, evened(heard)))
    assert left < 0.8 * wrong
