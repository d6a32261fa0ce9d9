"""The network of `partranscribe.offsets`, trained on what a trained network decodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..endings import Ending
from ..errors import DataError
from ..note_array import OFFSET_COLUMN, ONSET_COLUMN, note_array
from ..notes import Note, Place, in_order
from ..offsets import OF_A_RECORDING, WHICH, choices_of
from ..score import match
from ..units import Units
from .fitting import Heard, Hidden, fitted, passes

_RIGHT, _RIGHT_SHARE = 0.045, 0.18  # seconds, and of the duration: a tenth less than the measure forgives
# Seconds of standard deviation at most: a Disklavier plays tones 20 ms early to 30 late (Goebl, Bresin 2003).
_ONSETS_MOVED, _OFFSETS_MOVED = 0.012, 0.015
_BATCH, _EPOCHS, _UPDATES = 1024, 4, 200  # of notes; passes and updates at least
_NOT_POSSIBLE = -30.0  # as a logit
# What tells of a recording as a whole may be unlike all that was learnt from, so it is not to be relied on.
_UNSURE, _UNTOLD = 0.3, 0.3  # deviations of noise on it, and the share of notes that are not told it


class _Examples(NamedTuple):
    """Notes one of whose choices is their end.

    Args:
        features, of_note, possible: see `offsets.Choices`.
        right: which choices are the end of the note: (notes, choices).
    """

    features: NDArray[np.float32]
    of_note: NDArray[np.float32]
    possible: NDArray[np.bool_]
    right: NDArray[np.bool_]


def learn_offsets(passages: Sequence[Heard], networks: int, hidden: int, rng: np.random.Generator) -> Units:
    """Learn where notes end, each passage as it was heard and as another piano may play it.

    Args:
        passages: to learn from.
        networks, hidden: how many are fitted, and units of each.
        rng: draws by how much onsets and offsets are off, where another piano plays.

    Raises:
        DataError: too few notes are found in them.
    """
    examples = [
        _examples(*heard, one.there)
        for one in passages
        for heard in ((one.found, one.endings), _uneven(one.found, one.endings, rng))
    ]
    count = sum(len(one.right) for one in examples)
    if count < _BATCH:
        raise DataError("too few notes were found to learn from where they end; give more passages")
    features, of_note, possible, right = (
        torch.from_numpy(np.concatenate(parts)) for parts in zip(*examples, strict=True)
    )
    which, epochs = torch.from_numpy(WHICH), passes(_EPOCHS, _UPDATES, _BATCH, count)

    def loss(network: Hidden, batch: Tensor) -> Tensor:
        of_notes = _less_sure(of_note[batch], network.mean, network.deviation)
        logits = network(which, features[batch], of_notes[:, None])
        logits = logits.masked_fill(~possible[batch], _NOT_POSSIBLE)
        of_right = logits.masked_fill(~right[batch], _NOT_POSSIBLE)
        mean: Tensor = (logits.logsumexp(1) - of_right.logsumexp(1)).mean()
        return mean

    return fitted(networks, hidden, [which, features[possible], of_note], loss, count, _BATCH, epochs)


def _less_sure(of_note: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """What tells of notes, of whose recordings less is known.

    Args:
        of_note: see `offsets.Choices`.
        mean, deviation: of all features, whose last ones are these.
    """
    of_notes, recording = of_note[:, :-OF_A_RECORDING], of_note[:, -OF_A_RECORDING:]
    noise = _UNSURE * deviation[-OF_A_RECORDING:] * torch.randn_like(recording)
    untold = torch.rand(len(of_note), 1) < _UNTOLD
    return torch.cat((of_notes, torch.where(untold, mean[-OF_A_RECORDING:], recording + noise)), dim=1)


def _uneven(
    notes: Sequence[Note], endings: Mapping[Place, Ending], rng: np.random.Generator
) -> tuple[list[Note], dict[Place, Ending]]:
    """The same as a piano might give them whose keys and dampers are less exact."""
    size = len(notes)
    onsets = rng.normal(0, rng.uniform(0, _ONSETS_MOVED), size)
    offsets = rng.normal(0, rng.uniform(0, _OFFSETS_MOVED), size)
    moved, of_moved = [], {}
    for note, onset, offset in zip(notes, onsets.tolist(), offsets.tolist(), strict=True):
        begin = max(note.onset + onset, 0.0)
        moved.append(Note(begin, max(note.offset + offset, begin + 0.02), note.pitch, note.velocity))
        of_moved[begin, note.pitch] = endings[note.place]
    return in_order(moved), of_moved


def _examples(
    estimate: Sequence[Note], endings: Mapping[Place, Ending], reference: Sequence[Note]
) -> _Examples:
    """Those of the notes that were found and are there, but for those that no choice ends rightly."""
    pairs, wanted = match(estimate, reference).onset, note_array(reference)
    found = choices_of(note_array(estimate), [endings[note.place] for note in estimate])
    seconds, possible, features, of_note, _ = (
        np.concatenate(part)[pairs[:, 1]] for part in zip(*found, strict=True)
    )
    ends = wanted[pairs[:, 0]]
    lengths = ends[:, OFFSET_COLUMN] - ends[:, ONSET_COLUMN]
    tolerances = np.maximum(_RIGHT, _RIGHT_SHARE * lengths)
    right = possible & (np.abs(seconds - ends[:, OFFSET_COLUMN, None]) <= tolerances[:, None])
    known = right.any(axis=1)
    return _Examples(features[known], of_note[known], possible[known], right[known])
