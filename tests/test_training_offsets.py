"""The network that chooses offsets learns how late the dampers of a recording are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from partranscribe.errors import DataError
from partranscribe.notes import Note, in_order
from partranscribe.offsets import OffsetNetwork, chosen
from partranscribe.training.fitting import Heard
from partranscribe.training.offsets import learn_offsets
from synth import assert_seed_decides


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


def performed(piece: tuple[list[Note], list[Note]], seed: int) -> tuple[list[Note], list[Note]]:
    """The same with notes of chords that begin up to 40 ms later than the first."""
    rng = np.random.default_rng(seed)
    later = rng.uniform(0, 0.04, len(piece[0])).tolist()
    heard, there = (
        in_order([replace(note, onset=note.onset + gap) for note, gap in zip(notes, later, strict=True)])
        for notes in piece
    )
    return heard, there


def learnt(
    pieces: Sequence[tuple[list[Note], list[Note]]], seed: int = 0, networks: int = 4, hidden: int = 16
) -> OffsetNetwork:
    torch.manual_seed(seed)
    passages = [Heard(*piece) for piece in pieces]
    network = learn_offsets(passages, networks, hidden, np.random.default_rng(seed))
    assert network is not None
    return network


def test_late_ends_are_learnt_and_prompt_ones_left() -> None:
    pieces = [piece(seed, 0.15 if seed % 2 else 0.0) for seed in range(16)]
    network = learnt(pieces)
    for seed, late in ((100, 0.15), (101, 0.0)):
        heard, there = piece(seed, late)
        ends = zip(chosen(heard, network), there, strict=True)
        right = np.mean([abs(one.offset - other.offset) < 0.05 for one, other in ends])
        assert right > 0.95


def test_performances_are_left_as_they_were_heard() -> None:
    """Even where their ends are as late as those of pieces that were entered note by note."""
    pieces = [piece(seed, 0.15) for seed in range(16)]
    pieces += [performed(piece(seed, 0.15), seed) for seed in range(16, 32)]
    network = learnt(pieces)
    entered, _ = piece(100, 0.15)
    heard, _ = performed(piece(100, 0.15), 100)
    moved, left = (
        np.mean(
            [one.offset != other.offset for one, other in zip(notes, chosen(notes, network), strict=True)]
        )
        for notes in (entered, heard)
    )
    assert moved > 0.95
    assert left < 0.05


def test_the_same_seed_gives_the_same_network() -> None:
    pieces = [piece(seed, 0.1) for seed in range(3)]
    first, again, other = (learnt(pieces, seed=seed, networks=2, hidden=3) for seed in (1, 1, 2))
    for part in OffsetNetwork._fields:
        assert_seed_decides(*(getattr(network, part) for network in (first, again, other)))
    assert first.choice.bias.shape == first.entered.bias.shape == (6,)


def test_too_few_notes_are_named() -> None:
    with pytest.raises(DataError, match="too few notes were found to learn from where they end"):
        learnt([piece(0, 0.1)])


def test_from_performances_alone_nothing_is_learnt() -> None:
    pieces = [performed(piece(seed, 0.1), seed) for seed in range(3)]
    assert learn_offsets([Heard(*one) for one in pieces], 1, 4, np.random.default_rng(0)) is None
