"""The networks of `partranscribe.offsets`, trained on what a trained network decodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..config import Config
from ..errors import DataError
from ..model import Par
from ..note_array import OFFSET_COLUMN, ONSET_COLUMN, NoteArray, note_array
from ..notes import Note, in_order
from ..offsets import OffsetNetwork, Units, choices_of
from ..rhythm import features_of_rhythm, gaps_in_chords
from ..score import match
from .augment import Augmenter
from .calibrate import found_in, hold_out
from .data import Source, drawn

_AT_ONCE = 16  # passages that are decoded
_RIGHT, _RIGHT_SHARE = 0.045, 0.18  # seconds, and of the duration: a tenth less than the measure forgives
# Seconds of standard deviation at most: a Disklavier plays tones 20 ms early to 30 late (Goebl, Bresin 2003).
_ONSETS_MOVED, _OFFSETS_MOVED = 0.008, 0.015
_EXACTLY = 0.001  # seconds between notes of a chord that was entered
_FEWEST = 20  # notes of a passage that is of use
_COPIES = 3  # of each passage, moved at random, by which it is learnt whether a piece was entered
_BATCH, _EPOCHS = 512, 12  # of notes
_FEW, _MANY = 64, 100  # the same of passages
_LEARNING_RATE, _WEIGHT_DECAY = 3e-3, 0.01
_NOT_POSSIBLE = -30.0  # as a logit


@dataclass(frozen=True)
class OffsetsConfig:
    """How the networks that choose offsets are trained.

    Args:
        passages: how many are heard; 0 leaves offsets where the note network ends its notes.
        seconds: of each. What tells of a recording as a whole takes some notes to show.
        networks: how many of each kind are fitted, from different weights, whose mean counts.
        hidden: units of each.
        seed: of their weights and of the passages.
    """

    passages: int = 0
    seconds: float = 45.0
    networks: int = 4
    hidden: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.passages, self.seed) < 0:
            raise ValueError("passages or seed are not from 0 on")
        if min(self.networks, self.hidden) < 1 or not self.seconds > 0:
            raise ValueError("networks, hidden or seconds are not above 0")


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


def train_offsets(
    model: Par,
    config: Config,
    source: Source,
    augmenter: Augmenter,
    settings: OffsetsConfig,
) -> OffsetNetwork:
    """Have passages transcribed and learn from where their notes end.

    Args:
        model: in evaluation mode.
        config: its front end and network, and how it decodes.
        source: of passages, which the network may have been trained on.
        augmenter: what is done to them, but for detuning.
        settings: how many, and how large the network is.

    Raises:
        DataError: too few notes are found in them.
    """
    rng = np.random.default_rng(settings.seed)
    examples, rhythms, entered = [], [], []
    for estimate, reference in _transcribed(model, config, source, augmenter, settings, rng):
        heard = [estimate, *(_uneven(estimate, rng) for _ in range(_COPIES))]
        rhythms += [features_of_rhythm(note_array(notes)[:, ONSET_COLUMN]) for notes in heard]
        entered += len(heard) * [_is_entered(note_array(reference))]
        if entered[-1]:
            examples += [_examples(notes, reference) for notes in heard[:2]]
    if sum(len(one.right) for one in examples) < _BATCH:
        raise DataError("too few notes were found to learn from where they end; give more passages")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return OffsetNetwork(
            choice=_choice(examples, settings),
            entered=_entered(np.stack(rhythms), np.array(entered), settings),
        )


def _transcribed(
    model: Par,
    config: Config,
    source: Source,
    augmenter: Augmenter,
    settings: OffsetsConfig,
    rng: np.random.Generator,
) -> Iterator[tuple[Sequence[Note], Sequence[Note]]]:
    """What is found in each passage, and what there is."""
    rate = config.front_end.sample_rate
    for first in range(0, settings.passages, _AT_ONCE):
        count = min(_AT_ONCE, settings.passages - first)
        passages = [
            one for one in drawn(source, rate, count, settings.seconds, augmenter, rng) if len(one.notes)
        ]
        if not passages:
            continue
        held_out = hold_out(model, config, passages, settings.seconds)
        for estimate, reference in zip(found_in(held_out, config.decode), held_out.notes, strict=True):
            if min(len(estimate), len(reference)) >= _FEWEST:
                yield estimate, reference


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


class _Hidden(nn.Module):
    """`Units` as they are trained.

    Args:
        hidden: units.
        mean, deviation: of each feature, by which they are brought to one scale: (features,).
    """

    def __init__(self, hidden: int, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.hidden, self.output = nn.Linear(len(mean), hidden), nn.Linear(hidden, 1, bias=False)
        self.mean, self.deviation = mean, deviation

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.output(torch.tanh(self.hidden((features - self.mean) / self.deviation)))[..., 0]
        return logits

    @torch.no_grad()
    def finished(self) -> Units:
        """For features as they are."""
        weight = self.hidden.weight / self.deviation
        bias = self.hidden.bias - weight @ self.mean
        return Units(weight.numpy(), bias.numpy(), self.output.weight[0].numpy())


def _choice(examples: Sequence[_Examples], settings: OffsetsConfig) -> Units:
    """What finds the right choices of notes."""
    features, possible, right = (
        torch.from_numpy(np.concatenate([getattr(one, name) for one in examples]))
        for name in _Examples._fields
    )

    def loss(network: _Hidden, batch: Tensor) -> Tensor:
        logits = network(features[batch]).masked_fill(~possible[batch], _NOT_POSSIBLE)
        of_right = logits.masked_fill(~right[batch], _NOT_POSSIBLE)
        mean: Tensor = (logits.logsumexp(1) - of_right.logsumexp(1)).mean()
        return mean

    return _fitted(settings, features[possible], loss, len(features), _BATCH, _EPOCHS)


def _entered(rhythms: NDArray[np.float32], entered: NDArray[np.bool_], settings: OffsetsConfig) -> Units:
    """What tells pieces that were entered note by note from as many performances."""
    features, right = torch.from_numpy(rhythms), torch.from_numpy(entered.astype(np.float32))
    share = right.mean().clamp(0.05, 0.95)
    weights = torch.where(right > 0, 0.5 / share, 0.5 / (1 - share))

    def loss(network: _Hidden, batch: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(
            network(features[batch]), right[batch], weights[batch]
        )

    return _fitted(settings, features, loss, len(features), min(_FEW, len(features)), _MANY)


def _fitted(
    settings: OffsetsConfig,
    features: Tensor,
    loss: Callable[[_Hidden, Tensor], Tensor],
    examples: int,
    batch: int,
    epochs: int,
) -> Units:
    """Units whose sum is the mean of those of some networks.

    Args:
        settings: how many networks there are, and how large they are.
        features: all there are, for their scale: (any, features).
        loss, examples, batch, epochs: as of `_fit`.
    """
    mean, deviation = features.mean(0), features.std(0) + 1e-3
    networks = []
    for _ in range(settings.networks):
        network = _Hidden(settings.hidden, mean, deviation)
        _fit(network, loss, examples, batch, epochs)
        networks.append(network.finished())
    weight, bias, output = (np.concatenate(parts) for parts in zip(*networks, strict=True))
    return Units(weight, bias, (output / len(networks)).astype(np.float32))


def _fit(
    network: _Hidden, loss: Callable[[_Hidden, Tensor], Tensor], examples: int, batch: int, epochs: int
) -> None:
    """Pass over all examples some times, in random order.

    Args:
        network: what learns.
        loss: of the examples of some numbers.
        examples: how many there are.
        batch: how many an update takes.
        epochs: passes.
    """
    optimiser = torch.optim.AdamW(network.parameters(), _LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    updates = epochs * (examples // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _LEARNING_RATE, total_steps=updates + 1)
    for _ in range(epochs):
        order = torch.randperm(examples)
        for first in range(0, examples - batch + 1, batch):
            optimiser.zero_grad()
            torch.autograd.backward(loss(network, order[first : first + batch]))
            optimiser.step()
            schedule.step()
