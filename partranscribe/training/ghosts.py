"""The network of `partranscribe.ghosts`, trained on what a trained network decodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import DataError
from ..ghosts import features_of_ghosts
from ..score import match
from ..units import Units
from .fitting import Heard, Hidden, fitted

_BATCH, _EPOCHS = 512, 8  # of notes


def learn_ghosts(passages: Sequence[Heard], networks: int, hidden: int) -> Units:
    """Learn which of the notes that are found are there.

    Args:
        passages: to learn from.
        networks, hidden: how many are fitted, and units of each.

    Raises:
        DataError: too few notes are found in them.
    """
    parts = [np.concatenate([*features_of_ghosts(one.found)]) for one in passages]
    features = torch.from_numpy(np.concatenate(parts))
    if len(features) < _BATCH:
        raise DataError("too few notes were found to learn which are there; give more passages")
    is_there = torch.cat([_is_there(one) for one in passages])

    def loss(network: Hidden, batch: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(network(features[batch]), is_there[batch])

    return fitted(networks, hidden, [features], loss, len(features), _BATCH, _EPOCHS)


def _is_there(passage: Heard) -> Tensor:
    """1 for each note that was found and is there, else 0: (notes,)."""
    found = torch.zeros(len(passage.found))
    found[torch.from_numpy(match(passage.found, passage.there).onset[:, 1])] = 1.0
    return found
