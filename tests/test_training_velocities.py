"""The network that corrects velocities learns what music is like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from partranscribe.attacks import ATTACKS, Attack
from partranscribe.dynamics import evened
from partranscribe.errors import DataError
from partranscribe.notes import Note, Place, in_order
from partranscribe.score import score
from partranscribe.training import velocities as training
from partranscribe.training.fitting import Heard
from partranscribe.training.velocities import learn_velocities
from partranscribe.units import Units
from partranscribe.velocities import VELOCITY_FEATURES, corrected
from synth import assert_seed_decides


def piece(seed: int) -> Heard:
    """A melody above chords that are softer, the louder the higher, and what is heard of both."""
    rng = np.random.default_rng(seed)
    heard, there = [], []
    attacks: dict[Place, Attack] = {}
    for beat in range(60):
        onset = 0.4 * beat
        pitches = [int(rng.integers(72, 88)), *rng.choice(np.arange(36, 66), 3, replace=False).tolist()]
        for pitch in pitches:
            velocity = 85 if pitch >= 72 else 30 + pitch // 2
            there.append(Note(onset, onset + 0.3, pitch, velocity))
            heard.append(Note(onset, onset + 0.3, pitch, round(velocity + rng.normal(0, 9))))
            attacks[onset, pitch] = rng.normal(-50, 10, ATTACKS).astype(np.float32)
    return Heard(in_order(heard), in_order(there), attacks, {}, {})


def told_by_attacks(seed: int) -> Heard:
    """Velocities without order that are heard as if they were alike, and attacks that tell them."""
    rng = np.random.default_rng(seed)
    heard, there = [], []
    attacks: dict[Place, Attack] = {}
    for beat in range(120):
        onset, pitch, velocity = 0.2 * beat, int(rng.integers(40, 90)), int(rng.integers(30, 100))
        there.append(Note(onset, onset + 0.15, pitch, velocity))
        heard.append(Note(onset, onset + 0.15, pitch, 60 + int(rng.integers(0, 5))))
        attacks[onset, pitch] = np.full(ATTACKS, 0.3 * velocity - 0.2 * pitch - 60, np.float32)
    return Heard(heard, there, attacks, {}, {})


def learnt(count: int, seed: int = 0, networks: int = 1, hidden: int = 8) -> Units:
    torch.manual_seed(seed)
    passages = [piece(number) for number in range(count)]
    return learn_velocities(passages, networks, hidden, np.random.default_rng(seed))


def right(notes: Sequence[Note], there: Sequence[Note]) -> float:
    """F1 of notes with their velocities."""
    measured = score(notes, there).note_offset_velocity
    assert measured is not None
    return measured.f1


def test_what_is_regular_is_learnt() -> None:
    units = learnt(24)
    assert units.weight.shape == (8, VELOCITY_FEATURES)
    for seed in (100, 101):
        heard, there, attacks, *_ = piece(seed)
        assert right(corrected(heard, attacks, units), there) > right(evened(heard), there) + 0.1


def test_what_attacks_tell_is_learnt() -> None:
    torch.manual_seed(0)
    passages = [told_by_attacks(number) for number in range(24)]
    units = learn_velocities(passages, 1, 8, np.random.default_rng(0))
    heard, there, attacks, *_ = told_by_attacks(100)
    assert right(evened(heard), there) < 0.4
    assert right(corrected(heard, attacks, units), there) > 0.8


def test_the_same_seed_gives_the_same_network() -> None:
    first, again, other = (learnt(6, seed, networks=2, hidden=3) for seed in (1, 1, 2))
    assert_seed_decides(first, again, other)
    assert first.bias.shape == (6,)


def test_other_pianos_are_heard_wrongly_key_by_key(monkeypatch: pytest.MonkeyPatch) -> None:
    heard, *_ = piece(0)
    monkeypatch.setattr(training, "_MOMENT", 0.0)
    other = training._uneven(heard, np.random.default_rng(0))
    assert [replace(note, velocity=1) for note in other] == [replace(note, velocity=1) for note in heard]
    off = {(one.pitch, one.velocity - note.velocity) for one, note in zip(other, heard, strict=True)}
    assert len(off) == len({note.pitch for note in heard})
    assert len({error for _, error in off}) > 5


def test_a_part_of_what_is_learnt_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    part = learnt(6)
    monkeypatch.setattr(training, "_BELIEVED", np.float32(1.0))
    whole = learnt(6)
    np.testing.assert_allclose(part.output, 0.75 * whole.output, rtol=1e-6)


def test_too_few_passages_are_named() -> None:
    with pytest.raises(DataError, match="too few notes were found to learn their velocities from"):
        learnt(2)
