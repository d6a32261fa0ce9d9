"""Checkpoints: safetensors with all settings inside, found by name or by path; no pickle is ever loaded."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .config import Config
from .errors import CheckpointError
from .frontend import LogMel, mel_filters
from .model import Par
from .paths import sha256_of
from .whole_file import whole_file

FORMAT = "partranscribe-checkpoint"
FORMAT_VERSION = 1

_STORED = (torch.float32, torch.float16, torch.bfloat16, torch.float64)  # what weights may be stored in
_FILTERS = ("front_end.filters.index", "front_end.filters.weight")


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says of itself.

    Args:
        name: of the model.
        path: of the file.
        sha256: of the file's bytes.
        config: front end, network and decoding.
        parameters: trainable numbers of the network.
        scores: measured scores 0..1 by measure, and the name of the test set.
        training: how it was trained: data, hours of audio, updates.
    """

    name: str
    path: Path
    sha256: str
    config: Config
    parameters: int
    scores: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def look_ahead(self) -> float:
        """Seconds of audio after a frame that its prediction waits for (Table IV)."""
        front_end = self.config.front_end
        margin = self.config.model.margin_frames * front_end.seconds_per_frame
        return margin + front_end.n_fft / 2 / front_end.sample_rate


def save_checkpoint(
    path: Path,
    model: Par,
    config: Config,
    *,
    name: str,
    scores: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a network and everything needed to use it.

    Args:
        path: of the file to write; it appears whole or not at all.
        model: the network, built from `config.model`.
        config: of front end, network and decoding.
        name: of the model.
        scores, training: see `CheckpointInfo`.
        dtype: in which weights are stored.
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
    tensors |= _packed(torch.from_numpy(mel_filters(config.front_end)))
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


def checkpoint_info(path: Path) -> CheckpointInfo:
    """Read what a checkpoint says of itself, without its weights.

    Raises:
        CheckpointError: the file is not a checkpoint, is damaged, or is of a later version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error
    if about.get("format") != FORMAT:
        raise CheckpointError(f"{path}: a safetensors file, but not a checkpoint of partranscribe")
    if about.get("version") != str(FORMAT_VERSION):
        raise CheckpointError(
            f"{path}: checkpoint version {about.get('version')}, and this program reads {FORMAT_VERSION}; "
            "update partranscribe"
        )
    try:
        config = Config.from_dict(json.loads(about["config"]))
        scores, training = _table(about["scores"]), _table(about["training"])
    except (KeyError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its settings cannot be read ({error}); export it again") from error
    return CheckpointInfo(
        name=about.get("name", path.stem),
        path=path,
        sha256=sha256_of(path),
        config=config,
        parameters=sum(math.prod(shape) for key, shape in shapes.items() if _is_trained(key)),
        scores=scores,
        training=training,
    )


def _table(text: str) -> dict[str, Any]:
    """What JSON says, if it is a table."""
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError(f"{text[:80]!r} is not a table")
    return values


def load_front_end(info: CheckpointInfo, device: torch.device | str = "cpu") -> LogMel:
    """The front end of a checkpoint, with the mel filters that it holds, or new ones if it holds none.

    Raises:
        CheckpointError: its filters are not those of its settings.
    """
    config = info.config.front_end
    try:
        with safe_open(info.path, framework="pt") as file:
            parts = [file.get_tensor(key) for key in _FILTERS if key in set(file.keys())]
    except (SafetensorError, OSError) as error:
        raise _damaged(info.path, error) from error
    if len(parts) < len(_FILTERS):
        return LogMel(config).to(device)
    index, weight = parts
    if weight.dtype not in _STORED or not weight.isfinite().all():
        raise CheckpointError(f"{info.path}: mel filters that are no numbers; export it again")
    shape = (config.n_mels, config.n_fft // 2 + 1)
    try:
        # `check_invariants=True` does the same, but PyTorch 2.11 warns all the same that nothing is checked.
        with torch.sparse.check_sparse_tensor_invariants():  # type: ignore[no-untyped-call]
            filters = torch.sparse_coo_tensor(index.t().long(), weight.float(), shape)
    except RuntimeError as error:
        fact = str(error).splitlines()[0]
        raise CheckpointError(f"{info.path}: mel filters that are none ({fact}); export it again") from error
    return LogMel(config, filters.to_dense()).to(device)


def _packed(filters: Tensor) -> dict[str, Tensor]:
    """Mel filters as the places and values that are not zero: (places, 2) and (places,)."""
    places = filters.nonzero()
    return dict(zip(_FILTERS, (places.to(torch.int32).contiguous(), filters[tuple(places.t())]), strict=True))


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> tuple[Par, CheckpointInfo]:
    """The network of a checkpoint, ready to transcribe, and what the checkpoint says of itself.

    Args:
        path: of the file; see `checkpoint_path` for the released ones.
        device: where the network is put.

    Raises:
        CheckpointError: as `checkpoint_info`, or the weights are not those of its settings.
    """
    info = checkpoint_info(path)
    model = Par(info.config.model)
    tensors = {}
    try:
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118 - not a dict
                if key not in _FILTERS:
                    tensors[key] = file.get_tensor(key)
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error
    _check(path, tensors, model.state_dict())
    broken = [key for key, value in tensors.items() if not all(end.isfinite() for end in value.aminmax())]
    if broken:
        raise CheckpointError(
            f"{path}: weights that are not finite ({broken[0]}, {len(broken)} in all); export it again"
        )
    model.load_state_dict(tensors)  # what is stored in half precision becomes single here
    model.requires_grad_(False)
    return model.to(device).eval(), info


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path}: not a whole safetensors file ({error}); copy or download it again")


def _check(path: Path, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    lacking, unknown = expected.keys() - found.keys(), found.keys() - expected.keys()
    for word, keys in (("lacks", lacking), ("has unknown", unknown)):
        if keys:
            first = ", ".join(sorted(keys)[:3])
            raise CheckpointError(f"{path}: {word} weights ({first}, {len(keys)} in all); export it again")
    for key, tensor in expected.items():
        if found[key].dtype not in (tensor.dtype, *_STORED):
            raise CheckpointError(f"{path}: {key} is of {found[key].dtype}; export it again")
        if found[key].shape != tensor.shape:
            raise CheckpointError(
                f"{path}: {key} is {tuple(found[key].shape)}, and its settings say {tuple(tensor.shape)}; "
                "export it again"
            )


def _is_trained(key: str) -> bool:
    """Whether a tensor is the network's own, and no statistic of a batch norm."""
    return key not in _FILTERS and not key.endswith(("running_mean", "running_var", "num_batches_tracked"))
