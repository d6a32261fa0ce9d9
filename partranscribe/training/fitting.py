"""Fitting the small networks that weigh notes once all of a recording were heard, see `units.Units`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ..attacks import Attack
from ..endings import EndHeard, Ending
from ..notes import Note, Place
from ..units import Units

Network = TypeVar("Network", bound=nn.Module)

_LEARNING_RATE, _WEIGHT_DECAY = 3e-3, 0.01


class Heard(NamedTuple):
    """A passage: the notes that a trained network found, and those that are there.

    `attacks`, `ends` and, where they were told, `endings` are those of what was found.
    """

    found: Sequence[Note]
    there: Sequence[Note]
    attacks: Mapping[Place, Attack]
    ends: Mapping[Place, EndHeard]
    endings: Mapping[Place, Ending]


class Hidden(nn.Module):
    """`Units` as they are trained.

    Args:
        hidden: units.
        mean, deviation: of each feature, by which they are brought to one scale: (features,).
    """

    def __init__(self, hidden: int, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.hidden, self.output = nn.Linear(len(mean), hidden), nn.Linear(hidden, 1, bias=False)
        self.mean, self.deviation = mean, deviation

    def forward(self, *features: Tensor) -> Tensor:
        """The sum for each of some features, see `Units.sum`: (...)."""
        sizes = [part.shape[-1] for part in features]
        scales = (
            torch.split(all_of, sizes, -1) for all_of in (self.mean, self.deviation, self.hidden.weight)
        )
        sums = [
            ((part - mean) / deviation) @ weight.T
            for part, mean, deviation, weight in zip(features, *scales, strict=True)
        ]
        total: Tensor = self.output(torch.tanh(sum(sums, self.hidden.bias)))[..., 0]
        return total

    @torch.no_grad()
    def finished(self) -> Units:
        """For features as they are."""
        weight = self.hidden.weight / self.deviation
        bias = self.hidden.bias - weight @ self.mean
        return Units(weight.numpy(), bias.numpy(), self.output.weight[0].numpy())


def fitted(
    networks: int,
    hidden: int,
    features: Sequence[Tensor],
    loss: Callable[[Hidden, Tensor], Tensor],
    examples: int,
    batch: int,
    epochs: int,
) -> Units:
    """Units whose sum is the mean of those of some networks.

    Args:
        networks: how many are fitted, from different weights.
        hidden: units of each.
        features: all there are, for their scale: (any, features), or parts of them.
        loss: of a network on the examples of some numbers.
        examples: how many there are.
        batch: how many an update takes.
        epochs: passes over all of them, in random order.
    """
    mean = torch.cat([part.mean(0) for part in features])
    deviation = torch.cat([part.std(0) for part in features]) + 1e-3
    units = []
    for _ in range(networks):
        network = Hidden(hidden, mean, deviation)
        fit(network, loss, examples, batch, epochs)
        units.append(network.finished())
    weight, bias, output = (np.concatenate(parts) for parts in zip(*units, strict=True))
    return Units(weight, bias, (output / networks).astype(np.float32))


def fit(
    network: Network, loss: Callable[[Network, Tensor], Tensor], examples: int, batch: int, epochs: int
) -> None:
    """Pass over all examples some times, in random order.

    Args:
        network: what is fitted.
        loss, examples, batch, epochs: see `fitted`.
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


def passes(least: int, updates: int, batch: int, examples: int) -> int:
    """Passes over all examples: so many, or as many as it takes to make so many updates.

    Args:
        least: passes at least.
        updates: how many there are at least.
        batch, examples: see `fitted`.
    """
    return max(least, -(-updates * batch // examples))
