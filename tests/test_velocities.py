"""Velocities that are corrected by the notes around them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from partranscribe import velocities
from partranscribe.attacks import ATTACKS
from partranscribe.dynamics import evened
from partranscribe.note_array import note_array
from partranscribe.notes import Note, in_order
from partranscribe.units import Units
from partranscribe.velocities import (
    SCALE,
    SURROUNDINGS,
    VELOCITY_FEATURES,
    corrected,
    features_of_attacks,
    features_of_surroundings,
)
from synth import random_attacks, random_units

NARROW = 0.01  # what a linear unit of tanh is still linear for
PLACES = {  # of some features
    "even": 0,
    "heard": 1,
    "height": 2,
    "mean of chord": 4,
    "loudest of chord": 5,
    "below top": 7,
    "above bottom": 8,
    "is top": 9,
    "since": 11,
    "until": 12,
    "loudest of next": 18,
    "former of voice": 21,
    "latter of voice": 30,
    "key before": 39,
    "seconds before": 41,
    "key after": 42,
    "seconds after": 44,
    "octave below": 61,
    "louder below": 62,
}


def weighed(name: str, by: float) -> Units:
    """A network that adds to each velocity a feature of it, times a number."""
    weight = np.zeros((1, VELOCITY_FEATURES), np.float32)
    weight[0, PLACES[name]] = NARROW
    return Units(weight, np.zeros(1, np.float32), np.full(1, by / NARROW, np.float32))


def music(count: int = 120, seed: int = 0) -> list[Note]:
    """A melody over chords, with velocities of its own."""
    rng = np.random.default_rng(seed)
    notes = []
    for beat in range(count // 4):
        onset = 0.4 * beat
        notes.append(Note(onset, onset + 0.3, int(rng.integers(70, 90)), int(rng.integers(60, 100))))
        chord = zip(rng.choice(np.arange(30, 60), 3, replace=False), rng.integers(30, 70, 3), strict=True)
        notes += [Note(onset, onset + 0.3, int(pitch), int(velocity)) for pitch, velocity in chord]
    return in_order(notes)


def features(notes: list[Note], even: NDArray[np.float64] | None = None) -> NDArray[np.float32]:
    table = note_array(notes)
    return np.concatenate([*features_of_surroundings(table, table[:, 3] if even is None else even)])


def test_a_network_that_says_nothing_leaves_velocities_as_they_are_expected() -> None:
    notes = music()
    assert corrected(notes, random_attacks(notes), weighed("even", 0.0)) == evened(notes)
    assert corrected([], {}, weighed("even", 1.0)) == []
    assert corrected(notes[:1], random_attacks(notes), weighed("heard", 0.0)) == notes[:1]


def test_only_velocities_change() -> None:
    notes = music()
    found = corrected(notes, random_attacks(notes), random_units(5, VELOCITY_FEATURES))
    assert found != evened(notes)
    assert [replace(note, velocity=1) for note in found] == [replace(note, velocity=1) for note in notes]
    assert all(1 <= note.velocity <= 127 for note in found)


def test_what_the_network_says_is_added_but_for_its_mean() -> None:
    notes = music()
    found, even = corrected(notes, random_attacks(notes), weighed("is top", 0.8)), evened(notes)
    louder = [one.velocity - other.velocity for one, other in zip(found, even, strict=True)]
    assert louder == [6 if note.pitch >= 70 else -2 for note in notes]


@pytest.mark.parametrize("count", [1, 120])
def test_how_loud_a_recording_is_stays(count: int) -> None:
    notes, units = music()[:count], random_units(5, VELOCITY_FEATURES)
    units = units._replace(output=units.output * np.float32(0.5))
    even, found = (
        np.mean([note.velocity for note in some])
        for some in (evened(notes), corrected(notes, random_attacks(notes), units))
    )
    assert found == pytest.approx(even, abs=0.5)


def test_offsets_do_not_matter() -> None:
    notes, units = music(), random_units(5, VELOCITY_FEATURES)
    longer = [replace(note, offset=note.offset + 3.0) for note in notes]
    found, of_longer = (corrected(some, random_attacks(notes), units) for some in (notes, longer))
    for one, other in zip(found, of_longer, strict=True):
        assert one.velocity == other.velocity


def test_notes_are_weighed_some_at_a_time_without_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    notes, units = music(), random_units(5, VELOCITY_FEATURES)
    attacks = random_attacks(notes)
    whole, found = features(notes), corrected(notes, attacks, units)
    monkeypatch.setattr(velocities, "_TOGETHER", 7)
    np.testing.assert_array_equal(features(notes), whole)
    assert corrected(notes, attacks, units) == found


def test_features_tell_what_surrounds_a_note() -> None:
    notes = [
        Note(0.0, 0.3, 48, 40),
        Note(0.0, 0.3, 60, 50),
        Note(0.0, 0.3, 76, 80),
        Note(0.5, 0.8, 77, 70),
        Note(2.0, 2.3, 60, 60),
    ]
    low, middle, high, second, last = (
        dict(zip(PLACES, row, strict=True)) for row in features(notes)[:, [*PLACES.values()]]
    )
    assert middle["even"] == pytest.approx((50 - 60) / SCALE)
    assert middle["heard"] == middle["even"]
    assert middle["height"] == 0
    assert high["height"] == pytest.approx(16 / 12)
    assert middle["mean of chord"] == pytest.approx((170 / 3 - 50) / SCALE)
    assert middle["loudest of chord"] == pytest.approx(3.0)
    assert (middle["below top"], middle["above bottom"]) == (pytest.approx(16 / 12), pytest.approx(1.0))
    assert [one["is top"] for one in (low, middle, high, second, last)] == [0, 0, 1, 1, 1]
    assert second["since"] == pytest.approx(np.log(0.53))
    assert second["until"] == pytest.approx(np.log(1.53))
    assert high["loudest of next"] == pytest.approx(-1.0)
    assert second["former of voice"] == pytest.approx(1.0)  # the highest note of the chord
    assert high["latter of voice"] == pytest.approx(-1.0)
    assert middle["key after"] == pytest.approx(1.0)
    assert middle["seconds after"] == pytest.approx(np.log(2.03))
    assert (middle["key before"], middle["seconds before"]) == (0, pytest.approx(np.log(20.03)))
    assert last["key before"] == pytest.approx(-1.0)
    assert (middle["octave below"], middle["louder below"]) == (1, pytest.approx(-1.0))
    assert (high["octave below"], high["louder below"]) == (0, 0)


def test_keys_that_are_heard_too_loud_are_told_from_those_that_are_played_so() -> None:
    notes = music()
    even = note_array(notes)[:, 3].copy()
    loud = np.array([note.pitch == notes[0].pitch for note in notes])
    even[loud] -= 20.0
    off = features(notes, even)[:, 45]
    count = int(loud.sum())
    assert off[loud] == pytest.approx(2.0 * count / (count + 2))
    assert not off[~loud].any()


@pytest.mark.parametrize("pitch", [21, 108])
def test_partials_beyond_the_keyboard_are_no_notes(pitch: int) -> None:
    notes = [Note(0.0, 1.0, pitch, 60), Note(0.0, 1.0, 64, 40)]
    row = features(in_order(notes))[[note.pitch for note in in_order(notes)].index(pitch)]
    assert not row[57:65].any()


def attacks_like(notes: list[Note], loud: NDArray[np.float64]) -> NDArray[np.float32]:
    """Attacks that rise with velocities and fall with pitches, louder by some decibels: (notes, ATTACKS)."""
    table = note_array(notes)
    attacks = 0.4 * table[:, 3] - 0.3 * table[:, 2] - 60 + loud
    return np.repeat(attacks[:, None], ATTACKS, axis=1).astype(np.float32)


def above(notes: list[Note], loud: NDArray[np.float64]) -> NDArray[np.float32]:
    """What is told of the first number of attacks: (notes, 5)."""
    table = note_array(notes)
    features = features_of_attacks(table, table[:, 3], attacks_like(notes, loud))
    assert features.shape == (len(notes), VELOCITY_FEATURES - SURROUNDINGS)
    return features[:, ::ATTACKS]


def test_attacks_count_by_how_much_they_are_above_those_of_such_velocities_and_keys() -> None:
    notes = music(400)
    loud = np.zeros(len(notes))
    assert np.abs(above(notes, loud)[:, 0]).max() < 0.05
    loud[17] = 10.0
    own = above(notes, loud)[:, 0]
    assert own[17] == pytest.approx(1.0, abs=0.1)
    assert np.abs(np.delete(own, 17)).max() < 0.15


def test_attacks_of_the_same_key_and_of_the_same_moment_are_told() -> None:
    notes = music(400)
    table = note_array(notes)
    of_key, of_chord = table[:, 2] == notes[4].pitch, table[:, 0] == notes[4].onset
    key, chord = above(notes, 10.0 * of_key)[:, 1], above(notes, 10.0 * of_chord)[:, 2]
    count = int(of_key.sum())
    assert key[of_key] == pytest.approx(np.full(count, count / (count + 2)), abs=0.15)
    assert chord[of_chord] == pytest.approx(np.full(4, 1.0), abs=0.1)
    assert np.abs(chord[~of_chord]).max() < 0.15


def test_how_attacks_rise_with_velocities_and_how_much_they_differ_is_told_of_all() -> None:
    notes = music(400)
    differ = np.random.default_rng(0).normal(0, 3.0, len(notes))
    slope, spread = above(notes, differ)[:, 3:].T
    assert slope == pytest.approx(np.full(len(notes), 0.4), abs=0.05)  # 4 dB for 10 of velocity
    assert spread == pytest.approx(np.full(len(notes), 0.35), abs=0.04)


def test_a_louder_attack_makes_a_note_louder() -> None:
    notes = music()
    weight = np.zeros((1, VELOCITY_FEATURES), np.float32)
    weight[0, SURROUNDINGS] = NARROW
    units = Units(weight, np.zeros(1, np.float32), np.full(1, 1 / NARROW, np.float32))
    loud = np.zeros(len(notes))
    loud[17] = 15.0
    places = [(note.onset, note.pitch) for note in notes]
    quiet, louder = (
        corrected(notes, dict(zip(places, attacks_like(notes, some), strict=True)), units)
        for some in (0 * loud, loud)
    )
    off = [one.velocity - other.velocity for one, other in zip(louder, quiet, strict=True)]
    assert off[17] >= 10
    assert max(map(abs, np.delete(off, 17).tolist())) <= 2
