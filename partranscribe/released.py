"""Where the released checkpoints are, found by name without loading anything."""

from __future__ import annotations

from pathlib import Path

from .errors import CheckpointError
from .paths import is_file, sha256_of

NAMES = ("par_compact", "par")
DEFAULT_NAME = "par_compact"

_SUFFIX = ".safetensors"


def weights_folder() -> Path:
    """Where the released checkpoints are: in the installed package, or at the top of the repository."""
    package = Path(__file__).parent
    packed = package / "weights"
    return packed if packed.is_dir() else package.parent / "weights"


def checkpoint_path(model: str) -> Path:
    """The file of a model's name, or the path that was given in its place.

    Raises:
        CheckpointError: there is no such model, it is not released yet, or the file is missing.
    """
    if model in NAMES:
        path = weights_folder() / f"{model}{_SUFFIX}"
        if not is_file(path):
            others = ", ".join(released()) or "none"
            raise CheckpointError(f"{model}: no trained weights are released yet; released: {others}")
        return path
    path = Path(model)
    if not is_file(path):
        raise CheckpointError(f"{model}: no such checkpoint; name {' or '.join(NAMES)}, or a {_SUFFIX} file")
    return path


def checkpoint_sha256(model: str) -> str:
    """The SHA-256 of the file of a model.

    Raises:
        CheckpointError: as of `checkpoint_path`, or it cannot be read.
    """
    path = checkpoint_path(model)
    try:
        return sha256_of(path)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}; check its permissions") from error


def released() -> list[str]:
    """Names of the models whose weights are here."""
    return [name for name in NAMES if (weights_folder() / f"{name}{_SUFFIX}").is_file()]
