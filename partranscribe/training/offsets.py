"""The networks of `partranscribe.offsets`, trained on what a trained network decodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import DataError
from ..note_array import OFFSET_COLUMN, ONSET_COLUMN, NoteArray, note_array
from ..notes import Note, in_order
from ..offsets import OffsetNetwork, choices_of
from ..rhythm import features_of_rhythm, gaps_in_chords
from ..score import match
from ..units import Units
from .fitting import Heard, Hidden, fitted

_RIGHT, _RIGHT_SHARE = 0.045, 0.18  # seconds, and of the duration: a tenth less than the measure forgives
# Seconds of standard deviation at most: a Disklavier plays tones 20 ms early to 30 late (Goebl, Bresin 2003).
_ONSETS_MOVED, _OFFSETS_MOVED = 0.008, 0.015
_EXACTLY = 0.001  # seconds between notes of a chord that was entered
_COPIES = 3  # of each passage, moved at random, by which it is learnt whether a piece was entered
_BATCH, _EPOCHS = 512, 12  # of notes
_FEW, _MANY = 64, 100  # the same of passages
_NOT_POSSIBLE = -30.0  # as a logit


class _Examples(NamedTuple):
    """Notes whose ends are known.

    Args:
        features: of each choice: (notes, choices, FEATURES).
        possible: (notes, choices).
        right: which choices are the end of the note, the one that was heard where none is: (notes, choices).
    """

    features: NDArray[np.float32]
    possible: NDArray[np.bool_]
    right: NDArray[np.bool_]


def learn_offsets(
    passages: Sequence[Heard], networks: int, hidden: int, rng: np.random.Generator
) -> OffsetNetwork | None:
    """Learn which pieces were entered note by note, and where the notes of these end; None if none was.

    Args:
        passages: to learn from.
        networks, hidden: how many of each kind are fitted, and units of each.
        rng: draws by how much onsets and offsets are off, where another piano plays.

    Raises:
        DataError: too few notes are found in them.
    """
    examples, rhythms, entered = [], [], []
    for found, there in passages:
        heard = [found, *(_uneven(found, rng) for _ in range(_COPIES))]
        rhythms += [features_of_rhythm(note_array(notes)[:, ONSET_COLUMN]) for notes in heard]
        entered += len(heard) * [_is_entered(note_array(there))]
        if entered[-1]:
            examples += [_examples(notes, there) for notes in heard[:2]]
    if not examples:
        return None
    if sum(len(one.right) for one in examples) < _BATCH:
        raise DataError("too few notes were found to learn from where they end; give more passages")
    return OffsetNetwork(
        choice=_choice(examples, networks, hidden),
        entered=_entered(np.stack(rhythms), np.array(entered), networks, hidden),
    )


def _uneven(notes: Sequence[Note], rng: np.random.Generator) -> list[Note]:
    """The same as a piano might give them whose keys and dampers are less exact."""
    size = len(notes)
    onsets = rng.normal(0, rng.uniform(0, _ONSETS_MOVED), size)
    offsets = rng.normal(0, rng.uniform(0, _OFFSETS_MOVED), size)
    moved = []
    for note, onset, offset in zip(notes, onsets.tolist(), offsets.tolist(), strict=True):
        begin = max(note.onset + onset, 0.0)
        moved.append(Note(begin, max(note.offset + offset, begin + 0.02), note.pitch, note.velocity))
    return in_order(moved)


def _examples(estimate: Sequence[Note], reference: Sequence[Note]) -> _Examples:
    """Those of the notes that were found and are there."""
    table, wanted = note_array(estimate), note_array(reference)
    pairs = match(estimate, reference).onset
    parts = [*choices_of(table)]
    features, possible, seconds = (
        np.concatenate([getattr(part, name) for part in parts])[pairs[:, 1]]
        for name in ("features", "possible", "seconds")
    )
    ends = wanted[pairs[:, 0]]
    lengths = ends[:, OFFSET_COLUMN] - ends[:, ONSET_COLUMN]
    tolerances = np.maximum(_RIGHT, _RIGHT_SHARE * lengths)
    right = possible & (np.abs(seconds - ends[:, OFFSET_COLUMN, None]) <= tolerances[:, None])
    right[~right.any(axis=1), 0] = True
    return _Examples(features, possible, right)


def _is_entered(reference: NoteArray) -> bool:
    """Whether a piece was entered note by note: half of its chords and more begin exactly together."""
    gaps = gaps_in_chords(np.sort(reference[:, ONSET_COLUMN]))
    return len(gaps) > 0 and bool(np.median(gaps) < _EXACTLY)


def _choice(examples: Sequence[_Examples], networks: int, hidden: int) -> Units:
    """What finds the right choices of notes."""
    features, possible, right = (
        torch.from_numpy(np.concatenate([getattr(one, name) for one in examples]))
        for name in _Examples._fields
    )

    def loss(network: Hidden, batch: Tensor) -> Tensor:
        logits = network(features[batch]).masked_fill(~possible[batch], _NOT_POSSIBLE)
        of_right = logits.masked_fill(~right[batch], _NOT_POSSIBLE)
        mean: Tensor = (logits.logsumexp(1) - of_right.logsumexp(1)).mean()
        return mean

    return fitted(networks, hidden, features[possible], loss, len(features), _BATCH, _EPOCHS)


def _entered(rhythms: NDArray[np.float32], entered: NDArray[np.bool_], networks: int, hidden: int) -> Units:
    """What tells pieces that were entered note by note from as many performances."""
    features, right = torch.from_numpy(rhythms), torch.from_numpy(entered.astype(np.float32))
    share = right.mean().clamp(0.05, 0.95)
    weights = torch.where(right > 0, 0.5 / share, 0.5 / (1 - share))

    def loss(network: Hidden, batch: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(
            network(features[batch]), right[batch], weights[batch]
        )

    return fitted(networks, hidden, features, loss, len(features), min(_FEW, len(features)), _MANY)
