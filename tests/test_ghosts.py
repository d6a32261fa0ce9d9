"""Notes that were heard and are not there are left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from partranscribe import velocities
from partranscribe.ghosts import GHOST_FEATURES, features_of_ghosts, without_ghosts
from partranscribe.notes import Note, in_order
from partranscribe.units import Units
from synth import ghost_network, random_units

ODDS, LENGTH, UNTIL_STRIKE, USUAL_ODDS = range(GHOST_FEATURES - 4, GHOST_FEATURES)


def test_what_it_is_not_sure_of_stays() -> None:
    note = Note(0.0, 0.5, 60, 64, 0.5)
    against = np.zeros((1, GHOST_FEATURES), np.float32)
    for odds, stays in ((-0.35, True), (-0.45, False)):
        units = Units(against, np.ones(1, np.float32), np.full(1, odds / np.tanh(1), np.float32))
        assert without_ghosts([note], units) == ([note] if stays else [])


def test_what_is_likelier_not_there_is_left_out() -> None:
    notes = [Note(0.1 * i, 0.1 * i + 0.05, 60 + i, 64, confidence) for i, confidence in enumerate([0.9, 0.4])]
    assert without_ghosts(notes, ghost_network(0.5)) == notes[:1]
    assert without_ghosts(notes, ghost_network(0.3)) == notes
    assert without_ghosts([], ghost_network(0.5)) == []


def test_a_note_goes_on_where_its_key_was_not_struck_again() -> None:
    notes = [
        Note(0.0, 0.5, 60, 64, 0.9),
        Note(0.505, 0.9, 60, 30, 0.4),
        Note(0.7, 0.8, 72, 30, 0.4),  # of another key
        Note(0.91, 1.2, 60, 30, 0.4),  # the ghost of a ghost
        Note(1.5, 1.7, 60, 30, 0.4),  # long after
        Note(2.0, 2.4, 60, 64, 0.9),
    ]
    assert without_ghosts(notes, ghost_network(0.5)) == [replace(notes[0], offset=1.2), notes[-1]]


def test_a_note_that_follows_is_not_cut_for_it() -> None:
    """Nothing overlaps: what is left out ended before its key was struck again."""
    notes = [Note(0.0, 0.5, 60, 64, 0.9), Note(0.51, 0.9, 60, 30, 0.4), Note(0.9, 1.2, 60, 64, 0.9)]
    assert without_ghosts(notes, ghost_network(0.5)) == [replace(notes[0], offset=0.9), notes[2]]


def test_it_is_told_how_sure_and_how_long_a_note_is() -> None:
    notes = [
        Note(0.0, 0.4, 60, 64, 0.75),
        Note(0.5, 1.47, 60, 64, 0.9),
        Note(0.6, 0.97, 64, 64, 1.0),
    ]
    found = np.concatenate([*features_of_ghosts(notes)])
    assert found.shape == (3, GHOST_FEATURES)
    assert np.exp(found[:2, ODDS]) == pytest.approx([3.0, 9.0], rel=1e-4)
    assert np.isfinite(found).all()
    assert np.exp(found[:, LENGTH]) == pytest.approx([0.43, 1.0, 0.4], rel=1e-4)
    assert found[:, UNTIL_STRIKE] == pytest.approx([0.1, 2.0, 2.0], rel=1e-4)
    assert found[:, USUAL_ODDS] == pytest.approx(np.log(9.0), rel=1e-4)


def test_parts_of_a_recording_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    times, keys = np.sort(rng.uniform(0, 20, 90)), rng.permutation(90) % 88 + 21
    notes = in_order(
        [
            Note(time, time + 0.1, int(key), int(rng.integers(1, 127)), float(rng.uniform(0.3, 1)))
            for time, key in zip(times.tolist(), keys, strict=True)
        ]
    )
    units = random_units(5, GHOST_FEATURES)
    whole = without_ghosts(notes, units)
    assert 0 < len(whole) < len(notes)
    monkeypatch.setattr(velocities, "_TOGETHER", 7)
    assert without_ghosts(notes, units) == whole
