"""Checkpoints of networks in PyTorch: written by training, read to go on with it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from .checkpoint import (
    ENDINGS,
    FILTERS,
    FORMAT,
    FORMAT_VERSION,
    GHOSTS,
    OFFSETS,
    VELOCITIES,
    CheckpointInfo,
    checkpoint_info,
    load_weights,
)
from .config import Config
from .endings import EndingNetwork
from .frontend import mel_filters
from .model import Par, par_with
from .units import Units
from .whole_file import whole_file


def save_checkpoint(
    path: Path,
    model: Par,
    config: Config,
    *,
    name: str,
    scores: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
    ghosts: Units | None = None,
    endings: EndingNetwork | None = None,
    offsets: Units | None = None,
    velocities: Units | None = None,
) -> None:
    """Write a network and everything needed to use it.

    Args:
        path: of the file to write; it appears whole or not at all.
        model: the network, built from `config.model`.
        config: of front end, network and decoding.
        name: of the model.
        scores, training: see `CheckpointInfo`.
        dtype: in which weights are stored.
        ghosts, endings, offsets, velocities: what tells, what chooses and what corrects them, in single
            precision. What chooses offsets needs what tells endings.
    """
    about = {
        "format": FORMAT,
        "version": str(FORMAT_VERSION),
        "name": name,
        "config": json.dumps(config.to_dict()),
        "scores": json.dumps(dict(scores or {})),
        "training": json.dumps(dict(training or {})),
    }
    tensors = {
        key: value.detach().to("cpu", dtype if value.is_floating_point() else value.dtype).contiguous()
        for key, value in model.state_dict().items()
    }
    tensors |= _packed(mel_filters(config.front_end))
    networks = ((GHOSTS, ghosts), (ENDINGS, endings), (OFFSETS, offsets), (VELOCITIES, velocities))
    for keys, network in networks:
        if network is not None:
            tensors |= _named(keys, network)
    with whole_file(path) as temporary:
        temporary.write_bytes(save(tensors, metadata=about))  # a file of its own would be private to the user


def copy_checkpoint(source: Path, target: Path, scores: Mapping[str, Any]) -> None:
    """Copy a checkpoint, every weight as it is stored, with other scores.

    Raises:
        CheckpointError: as `checkpoint_info`.
    """
    checkpoint_info(source)
    with safe_open(source, framework="pt") as file:
        about = {**file.metadata(), "scores": json.dumps(dict(scores))}
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    with whole_file(target) as temporary:
        temporary.write_bytes(save(tensors, metadata=about))


def load_checkpoint(path: Path) -> tuple[Par, CheckpointInfo]:
    """The network of a checkpoint, ready to transcribe, and what the checkpoint says of itself.

    Args:
        path: of the file; see `checkpoint_path` for the released ones.

    Raises:
        CheckpointError: as `checkpoint_info` and `load_weights`.
    """
    info = checkpoint_info(path)
    return par_with(info.config.model, load_weights(info)), info


def _named(keys: Sequence[str], network: Sequence[NDArray[np.float32]]) -> dict[str, Tensor]:
    """The parts of a network by their names in a checkpoint."""
    return dict(zip(keys, (torch.from_numpy(np.ascontiguousarray(part)) for part in network), strict=True))


def _packed(filters: NDArray[np.float32]) -> dict[str, Tensor]:
    """Mel filters as the places and values that are not zero: (places, 2) and (places,)."""
    places = np.argwhere(filters)
    parts = (places.astype(np.int32, order="C"), filters[tuple(places.T)])
    return dict(zip(FILTERS, map(torch.from_numpy, parts), strict=True))
