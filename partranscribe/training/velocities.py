"""The network of `partranscribe.velocities`, trained on what a trained network decodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..dynamics import evened
from ..errors import DataError
from ..note_array import PITCH_COLUMN, VELOCITY_COLUMN, note_array
from ..notes import HIGHEST_PITCH, LOWEST_PITCH, PITCHES, Note
from ..rhythm import Floats
from ..score import PAPER, match
from ..units import Units
from ..velocities import SCALE, attacks_in, features_of_velocities
from .fitting import Heard, Hidden, fitted

# MIDI velocities of standard deviation at most, by which pianos that were not trained are heard wrongly.
_KEY, _REGISTER, _MOMENT = 6.0, 4.0, 3.0
_REGISTERS = 6  # from the bottom to the top
_FEWEST_MATCHED = 20  # notes of a passage that were found and are there
_FAR, _SHARE_OF_FAR = 4.0, 0.05  # tolerances that an error counts at most, and how much it counts
_BATCH, _EPOCHS = 8, 12  # of passages
_BELIEVED = np.float32(0.75)  # of each correction: other pianos are not heard as those that were trained


class _Examples(NamedTuple):
    """The notes of a passage that were found and are there.

    Args:
        features: (notes, VELOCITY_FEATURES).
        even: velocities from `dynamics.evened`, less their mean, in `velocities.SCALE`: (notes,).
        right: velocities less their mean, in what the measure forgives of the span of these: (notes,).
    """

    features: Tensor
    even: Tensor
    right: Tensor


def learn_velocities(
    passages: Sequence[Heard], networks: int, hidden: int, rng: np.random.Generator
) -> Units:
    """Learn by how much velocities are off, each passage as it was heard and as another piano's may be.

    Args:
        passages: to learn from.
        networks, hidden: how many are fitted, and units of each.
        rng: draws what other pianos are.

    Raises:
        DataError: too few notes are found in them.
    """
    pairs = [(one, match(one.found, one.there).onset) for one in passages]
    examples = [
        _examples(notes, one, matched)
        for one, matched in pairs
        if len(matched) >= _FEWEST_MATCHED
        for notes in (one.found, _uneven(one.found, rng))
    ]
    if len(examples) < _BATCH:
        raise DataError("too few notes were found to learn their velocities from; give more passages")

    def loss(network: Hidden, batch: Tensor) -> Tensor:
        chosen = [examples[index] for index in batch.tolist()]
        corrections = network(torch.cat([one.features for one in chosen]))
        parts = corrections.split([len(one.right) for one in chosen])
        return torch.stack([_loss(one, part) for one, part in zip(chosen, parts, strict=True)]).mean()

    features = torch.cat([one.features for one in examples])
    parts = torch.split(features, [len(one.right) for one in examples])
    examples = [one._replace(features=part) for one, part in zip(examples, parts, strict=True)]
    units = fitted(networks, hidden, [features], loss, len(examples), _BATCH, _EPOCHS)
    return units._replace(output=_BELIEVED * units.output)


def _examples(notes: Sequence[Note], passage: Heard, matched: NDArray[np.int64]) -> _Examples:
    """Those of what was found of a passage, or as of another piano, and what it is matched with."""
    table, even = note_array(notes), note_array(evened(notes))[:, VELOCITY_COLUMN]
    parts = features_of_velocities(table, even, attacks_in(notes, passage.attacks))
    features = np.concatenate([*parts])[matched[:, 1]]
    right = note_array(passage.there)[matched[:, 0], VELOCITY_COLUMN]
    right = (right - right.mean()) / (PAPER.velocity * max(float(np.ptp(right)), 1.0))
    even = (even - even.mean()) / SCALE
    return _Examples(torch.from_numpy(features), _single(even[matched[:, 1]]), _single(right))


def _single(values: Floats) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def _loss(of: _Examples, corrections: Tensor) -> Tensor:
    """How many velocities are wrong, smoothly, after the straight line that the measure fits."""
    expected = of.even + corrections
    expected = expected - expected.mean()
    slope = (expected * of.right).sum() / (expected.square().sum() + 1e-3)
    error = (slope * expected - of.right).abs()
    wrong = 1 - torch.exp(-error.square() / 2)
    mean: Tensor = (wrong + _SHARE_OF_FAR * error.clamp(max=_FAR)).mean()
    return mean


def _uneven(notes: Sequence[Note], rng: np.random.Generator) -> list[Note]:
    """The same as they may be heard of a piano that sounds different from those that were trained."""
    key, register, moment = rng.uniform(0, (_KEY, _REGISTER, _MOMENT))
    pitches = np.arange(LOWEST_PITCH, HIGHEST_PITCH + 1)
    places = np.linspace(LOWEST_PITCH, HIGHEST_PITCH, _REGISTERS)
    of_keys = rng.normal(0, key, PITCHES) + np.interp(pitches, places, rng.normal(0, register, _REGISTERS))
    table = note_array(notes)
    off = of_keys[table[:, PITCH_COLUMN].astype(int) - LOWEST_PITCH] + rng.normal(0, moment, len(table))
    velocities = np.clip(np.round(table[:, VELOCITY_COLUMN] + off), 1, 127).astype(int).tolist()
    return [replace(note, velocity=velocity) for note, velocity in zip(notes, velocities, strict=True)]
