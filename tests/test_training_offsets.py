"""The network that chooses offsets learns how late the dampers of a recording are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from partranscribe.endings import BEFORE, FRAMES, Ending
from partranscribe.errors import DataError
from partranscribe.notes import Note, Place, in_order
from partranscribe.offsets import OF_A_RECORDING, chosen
from partranscribe.training.fitting import Heard
from partranscribe.training.offsets import _less_sure, learn_offsets
from partranscribe.units import Units
from synth import SECONDS_PER_FRAME, assert_seed_decides


def piece(seed: int, late: float) -> tuple[list[Note], list[Note]]:
    """Chords that end where the next begin, as they are heard where dampers are late, and as they are."""
    rng = np.random.default_rng(seed)
    begins = np.cumsum(rng.choice([0.2, 0.4, 0.6], 80))
    heard, there = [], []
    for begin, end in zip(begins[:-1].tolist(), begins[1:].tolist(), strict=True):
        for pitch in rng.choice(np.arange(40, 90), 3, replace=False).tolist():
            there.append(Note(begin, end, pitch, 64))
            heard.append(Note(begin, end + late, pitch, 64))
    return in_order(heard), in_order(there)


def pedalled(seed: int) -> tuple[list[Note], list[Note]]:
    """Arpeggios above a fifth that a pedal holds, whose upper notes are heard to end sooner."""
    rng = np.random.default_rng(seed)
    heard, there = [], []
    for bar in range(30):
        end = 2.0 * bar + 1.4
        for place, pitch in enumerate((40, 47, 64, 76, 88)):
            onset = 2.0 * bar + 0.2 * max(place - 1, 0)
            silent = min(onset + float(rng.uniform(0.3, 0.8)), end) if place > 1 else end
            there.append(Note(onset, end, pitch, 64))
            heard.append(Note(onset, silent, pitch, 64))
    return in_order(heard), in_order(there)


def as_heard(notes: Sequence[Note]) -> dict[Place, Ending]:
    """What says that all notes end where they were heard to."""
    logits = np.where(np.arange(FRAMES) == BEFORE, 4, 0).astype(np.float16)
    firsts = (note.offset - BEFORE * SECONDS_PER_FRAME for note in notes)
    endings = (Ending(first, SECONDS_PER_FRAME, logits) for first in firsts)
    return dict(zip((note.place for note in notes), endings, strict=True))


def learnt(
    pieces: Sequence[tuple[list[Note], list[Note]]], seed: int = 0, networks: int = 4, hidden: int = 16
) -> Units:
    torch.manual_seed(seed)
    passages = [Heard(heard, there, {}, {}, as_heard(heard)) for heard, there in pieces]
    return learn_offsets(passages, networks, hidden, np.random.default_rng(seed))


def test_late_ends_are_learnt_and_prompt_ones_left() -> None:
    pieces = [piece(seed, 0.15 if seed % 2 else 0.0) for seed in range(16)]
    network = learnt(pieces)
    for seed, late in ((100, 0.15), (101, 0.0)):
        heard, there = piece(seed, late)
        ends = zip(chosen(heard, as_heard(heard), network), there, strict=True)
        right = np.mean([abs(one.offset - other.offset) < 0.05 for one, other in ends])
        assert right > 0.95


def test_what_a_pedal_holds_is_learnt_to_end_together() -> None:
    """However soon each of it is silent."""
    pieces = [pedalled(seed) for seed in range(12)]
    units = learnt(pieces)
    heard, there = pedalled(100)
    was, found = (
        np.mean([abs(one.offset - other.offset) < 0.05 for one, other in zip(notes, there, strict=True)])
        for notes in (heard, chosen(heard, as_heard(heard), units))
    )
    assert was < 0.5
    assert found > 0.9


def test_the_same_seed_gives_the_same_network() -> None:
    pieces = [piece(seed, 0.1) for seed in range(3)]
    first, again, other = (learnt(pieces, seed=seed, networks=2, hidden=3) for seed in (1, 1, 2))
    assert_seed_decides(first, again, other)
    assert first.bias.shape == (6,)


def test_too_few_notes_are_named() -> None:
    with pytest.raises(DataError, match="too few notes were found to learn from where they end"):
        learnt([piece(0, 0.1)])


def test_what_tells_of_a_recording_is_never_sure() -> None:
    torch.manual_seed(0)
    of_note, deviation = (
        torch.randn(1, OF_A_RECORDING + 3).repeat(2000, 1),
        torch.ones(OF_A_RECORDING + 5) * 2,
    )
    mean = torch.full_like(deviation, 50.0)
    told = _less_sure(of_note, mean, deviation)
    assert torch.equal(told[:, :3], of_note[:, :3])  # what is of the note stays
    untold = (told[:, 3:] == mean[-OF_A_RECORDING:]).all(1)
    assert 0.25 < untold.float().mean() < 0.35
    noise = (told - of_note)[~untold, 3:]
    assert 0.55 < noise.std() < 0.65
    assert abs(float(noise.mean())) < 0.02
