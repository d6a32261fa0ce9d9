"""The network that corrects velocities learns what music is like."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from partranscribe.dynamics import evened
from partranscribe.errors import DataError
from partranscribe.notes import Note, in_order
from partranscribe.score import score
from partranscribe.training.fitting import Heard
from partranscribe.training.velocities import learn_velocities
from partranscribe.units import Units
from partranscribe.velocities import VELOCITY_FEATURES, corrected


def piece(seed: int) -> Heard:
    """A melody above chords that are softer, the louder the higher, and what is heard of both."""
    rng = np.random.default_rng(seed)
    heard, there = [], []
    for beat in range(60):
        onset = 0.4 * beat
        pitches = [int(rng.integers(72, 88)), *rng.choice(np.arange(36, 66), 3, replace=False).tolist()]
        for pitch in pitches:
            velocity = 85 if pitch >= 72 else 30 + pitch // 2
            there.append(Note(onset, onset + 0.3, pitch, velocity))
            heard.append(Note(onset, onset + 0.3, pitch, round(velocity + rng.normal(0, 9))))
    return Heard(in_order(heard), in_order(there))


def learnt(count: int, seed: int = 0, networks: int = 1, hidden: int = 8) -> Units:
    torch.manual_seed(seed)
    passages = [piece(number) for number in range(count)]
    return learn_velocities(passages, networks, hidden, np.random.default_rng(seed))


def test_what_is_regular_is_learnt() -> None:
    units = learnt(24)
    assert units.weight.shape == (8, VELOCITY_FEATURES)
    for seed in (100, 101):
        heard, there = piece(seed)
        even, found = (
            score(notes, there).note_offset_velocity.f1 for notes in (evened(heard), corrected(heard, units))
        )
        assert found > even + 0.1


def test_the_same_seed_gives_the_same_network() -> None:
    first, again, other = (learnt(6, seed, networks=2, hidden=3) for seed in (1, 1, 2))
    for one, same, different in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(one, same)
        assert not np.array_equal(one, different)
    assert first.bias.shape == (6,)


def test_too_few_passages_are_named() -> None:
    with pytest.raises(DataError, match="too few notes were found to learn their velocities from"):
        learnt(2)
