"""What a trained network decodes of some passages is learnt from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from conftest import TINY, swelling_noise
from partranscribe.endings import EndingNetwork
from partranscribe.errors import DataError
from partranscribe.ghosts import without_ghosts
from partranscribe.model import Par
from partranscribe.note_array import note_array
from partranscribe.notes import Note
from partranscribe.offsets import FEATURES
from partranscribe.training import hindsight
from partranscribe.training.augment import Augmenter
from partranscribe.training.data import Passage
from partranscribe.training.fitting import Heard
from partranscribe.training.hindsight import HindsightConfig, train_hindsight
from partranscribe.training.logs import Reporter, silent
from partranscribe.velocities import VELOCITY_FEATURES
from partranscribe.windows import NumpyArrays
from synth import ending_network, ghost_network, random_units

RATE = TINY.front_end.sample_rate


class Noise:
    """Passages in which the lively network finds many notes, of which every other one is said to be empty.

    Args:
        notes: that are there.
    """

    def __init__(self, notes: int) -> None:
        self.drawn = 0
        self._notes = note_array([Note(0.1 * i, 0.1 * i + 0.05, 40 + i % 40, 60) for i in range(notes)])

    def draw(self, samples: int, lead: int, rng: np.random.Generator) -> Passage:
        self.drawn += 1
        audio = swelling_noise(int(rng.integers(100)), samples)
        notes = self._notes[: 0 if self.drawn % 2 else None].copy()
        notes[:, :2] += lead / RATE
        return Passage(audio, notes)


def train(lively: Par, source: Noise, passages: int, seed: int = 0, report: Reporter = silent) -> Any:
    settings = HindsightConfig(
        passages, 4.0, networks=1, ghost_hidden=4, ending_hidden=5, hidden=2, velocity_hidden=3, seed=seed
    )
    return train_hindsight(lively, TINY, source, Augmenter(), settings, report)


def test_what_is_found_in_passages_is_learnt_from(monkeypatch: pytest.MonkeyPatch, lively: Par) -> None:
    heard: list[list[Heard]] = []
    sizes: list[tuple[int, ...]] = []
    chance: list[tuple[float, ...]] = []
    ghosts, offsets = ghost_network(0.6), random_units(2, FEATURES)
    velocities = random_units(3, VELOCITY_FEATURES)
    endings = ending_network(5, TINY.model.hidden_per_pitch)

    def learner(gives: Any) -> Any:
        def learn(passages: list[Heard], networks: int, hidden: int, *rng: np.random.Generator) -> Any:
            heard.append(passages)
            sizes.append((networks, hidden))
            chance.append((float(torch.rand(1)), *(float(one.random()) for one in rng)))
            return gives

        return learn

    def learn_endings(passages: list[Heard], hidden: int, seconds_per_frame: float) -> EndingNetwork:
        heard.append(passages)
        sizes.append((hidden,))
        chance.append((float(torch.rand(1)),))
        assert seconds_per_frame == TINY.front_end.seconds_per_frame
        return endings

    monkeypatch.setattr(hindsight, "learn_ghosts", learner(ghosts))
    monkeypatch.setattr(hindsight, "learn_endings", learn_endings)
    monkeypatch.setattr(hindsight, "learn_offsets", learner(offsets))
    monkeypatch.setattr(hindsight, "learn_velocities", learner(velocities))
    source = Noise(30)
    before = torch.get_rng_state()
    entries: list[Mapping[str, Any]] = []
    assert train(lively, source, 20, report=entries.append) == (ghosts, endings, offsets, velocities)
    assert entries == [
        *({"phase": "hindsight", "passages_heard": heard, "of": 20} for heard in (0, 16)),
        *(
            {"phase": "hindsight", "learning": what}
            for what in ("ghosts", "endings", "offsets", "velocities")
        ),
    ]
    assert torch.equal(torch.get_rng_state(), before)
    assert source.drawn == 20
    assert sizes == [(1, 4), (5,), (1, 2), (1, 3)]
    left = [without_ghosts(one.found, ghosts) for one in heard[0]]
    assert [[one.found for one in passages] for passages in heard[1:4]] == [left] * 3
    assert heard[2] is heard[3]
    assert left != [one.found for one in heard[0]]
    assert len(heard[0]) == 10
    for one in heard[2]:
        assert one.endings.keys() == {note.place for note in one.found}
        for place, ending in one.endings.items():
            first, window = one.ends[place]
            assert ending.first == pytest.approx(first * TINY.front_end.seconds_per_frame)
            logits = endings.logits(window[None].astype(np.float32), NumpyArrays())[0]
            np.testing.assert_array_equal(ending.logits, logits.astype(np.float16))
    for found, there, attacks, ends, told in heard[0]:
        assert attacks.keys() == ends.keys() == {note.place for note in found}
        assert told == {}
        assert len(there) == 30
        assert there[0].onset == pytest.approx(0.0)
        assert len(found) >= 20
        assert all(0 <= note.onset < 4.0 for note in found)
    train(lively, Noise(30), 20)
    train(lively, Noise(30), 20, seed=1)
    assert chance[:4] == chance[4:8]
    assert not set(sum(chance[:4], ())) & set(sum(chance[8:], ()))


def test_passages_with_few_notes_are_of_no_use(lively: Par) -> None:
    with pytest.raises(DataError, match="too few notes were found to learn from; give more passages, or lon"):
        train(lively, Noise(19), 4)
