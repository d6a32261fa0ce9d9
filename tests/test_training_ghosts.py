"""Which notes are there is learnt from what is heard of passages."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from partranscribe.errors import DataError
from partranscribe.ghosts import GHOST_FEATURES, without_ghosts
from partranscribe.notes import Note, in_order
from partranscribe.score import score
from partranscribe.training.fitting import Heard
from partranscribe.training.ghosts import learn_ghosts
from partranscribe.units import Units
from synth import assert_seed_decides


def piece(seed: int) -> Heard:
    """Loud notes, and what is heard an octave above some of them, as surely as they are."""
    rng = np.random.default_rng(seed)
    heard, there = [], []
    for beat in range(60):
        onset, pitch = 0.4 * beat, int(rng.integers(40, 60))
        there.append(Note(onset, onset + 0.3, pitch, 80))
        sure = rng.uniform(0.5, 0.9, 2)
        heard.append(Note(onset, onset + 0.3, pitch, 80, sure[0]))
        if beat % 2:
            heard.append(Note(onset, onset + 0.2, pitch + 12, 30, sure[1]))
    return Heard(in_order(heard), there, {}, {}, {})


def learnt(count: int, seed: int = 0, networks: int = 1, hidden: int = 8) -> Units:
    torch.manual_seed(seed)
    return learn_ghosts([piece(number) for number in range(count)], networks, hidden)


def test_what_ghosts_are_like_is_learnt() -> None:
    units = learnt(60)
    assert units.weight.shape == (8, GHOST_FEATURES)
    for seed in (100, 101):
        heard, there, *_ = piece(seed)
        assert score(heard, there).note.precision == pytest.approx(2 / 3)
        assert score(without_ghosts(heard, units), there).note.f1 > 0.98


def test_the_same_seed_gives_the_same_network() -> None:
    first, again, other = (learnt(8, seed, networks=2, hidden=3) for seed in (1, 1, 2))
    assert_seed_decides(first, again, other)
    assert first.bias.shape == (6,)


def test_too_few_notes_are_named() -> None:
    with pytest.raises(DataError, match="too few notes were found to learn which are there"):
        learnt(2)
