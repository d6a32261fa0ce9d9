"""Checkpoints: safetensors with all settings inside, found by name or by path; no pickle is ever loaded."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from .config import Config
from .endings import BESIDE, TAPS, EndingNetwork
from .errors import CheckpointError
from .frontend import LogMel, mel_filters
from .ghosts import GHOST_FEATURES
from .machine import default_threads
from .offsets import FEATURES
from .paths import sha256_of
from .units import Units
from .velocities import VELOCITY_FEATURES
from .weights import COUNTS, Weights, is_trained, weight_shapes

FORMAT = "partranscribe-checkpoint"
FORMAT_VERSION = 1

FILTERS = ("front_end.filters.index", "front_end.filters.weight")
GHOSTS, OFFSETS, VELOCITIES = (
    tuple(f"{network}.{name}" for name in Units._fields) for network in ("ghosts", "offsets", "velocities")
)
ENDINGS = tuple(f"endings.{name}" for name in EndingNetwork._fields)

_STORED = ("F32", "F16", "BF16", "F64")  # what weights may be stored in


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


def checkpoint_info(path: Path) -> CheckpointInfo:
    """Read what a checkpoint says of itself, without its weights.

    Raises:
        CheckpointError: the file is not a checkpoint, is damaged, or is of a later version.
    """
    with _opened(path) as file:
        about = file.metadata() or {}
        shapes = {key: file.get_slice(key).get_shape() for key in _weights_in(file)}
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
        parameters=sum(math.prod(shape) for key, shape in shapes.items() if is_trained(key)),
        scores=scores,
        training=training,
    )


def _table(text: str) -> dict[str, Any]:
    """What JSON says, if it is a table."""
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError(f"{text[:80]!r} is not a table")
    return values


def load_weights(info: CheckpointInfo) -> Weights:
    """The weights of a checkpoint, in single precision whatever they are stored in.

    Raises:
        CheckpointError: they are not those of its settings.
    """
    expected = weight_shapes(info.config.model)
    with _opened(info.path) as file:
        found = {key: file.get_slice(key) for key in _weights_in(file)}
        for word, keys in (("lacks", expected.keys() - found), ("has unknown", found.keys() - expected)):
            if keys:
                fact = f"{word} weights ({', '.join(sorted(keys)[:3])}, {len(keys)} in all)"
                raise CheckpointError(f"{info.path}: {fact}; export it again")
        for key, shape in expected.items():
            kind, stored = found[key].get_dtype(), tuple(found[key].get_shape())
            if kind not in _STORED:
                raise CheckpointError(f"{info.path}: {key} is of {kind}; export it again")
            if stored != shape:
                fact = f"{key} is {stored}, and its settings say {shape}"
                raise CheckpointError(f"{info.path}: {fact}; export it again")
        tensors = [_stored(info.path, file, key) for key in expected]
    with ThreadPoolExecutor(default_threads()) as pool:  # from half precision, 8 ns a number
        weights = dict(zip(expected, pool.map(_single, tensors), strict=True))
    broken = [key for key, value in weights.items() if not np.isfinite(value).all()]
    if broken:
        raise CheckpointError(
            f"{info.path}: weights that are not finite ({broken[0]}, {len(broken)} in all); export it again"
        )
    return weights


def load_filters(info: CheckpointInfo) -> NDArray[np.float32]:
    """The mel filters (mels, n_fft / 2 + 1) of a checkpoint, or new ones if it holds none.

    Raises:
        CheckpointError: they are not those of its settings.
    """
    config = info.config.front_end
    with _opened(info.path) as file:
        if not set(FILTERS) <= set(file.keys()):
            return mel_filters(config)
        kinds = [file.get_slice(key).get_dtype() for key in FILTERS]
        if kinds[0] not in ("I32", "I64") or kinds[1] not in _STORED:
            raise CheckpointError(f"{info.path}: mel filters that are no numbers; export it again")
        places, values = file.get_tensor(FILTERS[0]), _single(_stored(info.path, file, FILTERS[1]))
    if not np.isfinite(values).all():
        raise CheckpointError(f"{info.path}: mel filters that are no numbers; export it again")
    filters = np.zeros((config.n_mels, config.n_fft // 2 + 1), np.float32)
    fact = None
    if values.ndim != 1 or places.shape != (len(values), 2):
        fact = f"places {places.shape} and values {values.shape}"
    elif ((places < 0) | (places >= filters.shape)).any():
        fact = f"places beyond {filters.shape}"
    if fact is not None:
        raise CheckpointError(f"{info.path}: mel filters that are none ({fact}); export it again")
    filters[tuple(places.T)] = values
    return filters


def load_offsets(info: CheckpointInfo) -> Units | None:
    """The network of a checkpoint that chooses offsets, where its settings ask for it.

    Raises:
        CheckpointError: it is not there, or is none.
    """
    return _asked_for(info, "choose_offsets", OFFSETS, FEATURES, "a network that chooses offsets")


def load_endings(info: CheckpointInfo) -> EndingNetwork | None:
    """The network of a checkpoint that tells how likely notes end when, where its settings ask for it.

    Raises:
        CheckpointError: it is not there, or is none.
    """
    what = "a network that tells endings"
    with _asked(info, "choose_offsets", ENDINGS, what) as file:
        if file is None:
            return None
        found = _numbers(info.path, file, ENDINGS)
        units = found[ENDINGS[-1]].size if ENDINGS[-1] in found else 0
        inputs = info.config.model.hidden_per_pitch + BESIDE
        layers = ((TAPS, inputs, units), (units,), *(2 * ((TAPS, units, units), (units,))), (units,))
        _check(info.path, what, found, dict(zip(ENDINGS, layers, strict=True)))
        return EndingNetwork(*(found[key] for key in ENDINGS))


def load_ghosts(info: CheckpointInfo) -> Units | None:
    """The network of a checkpoint that tells which notes are there, where its settings ask for it.

    Raises:
        CheckpointError: it is not there, or is none.
    """
    what = "a network that tells which notes are there"
    return _asked_for(info, "drop_ghosts", GHOSTS, GHOST_FEATURES, what)


def load_velocities(info: CheckpointInfo) -> Units | None:
    """The network of a checkpoint that corrects velocities, if it has one and its settings even velocities.

    Raises:
        CheckpointError: it is none.
    """
    if not info.config.decode.even_velocities:
        return None
    with _opened(info.path) as file:
        if not set(VELOCITIES) & set(file.keys()):
            return None
        return _units(info.path, file, VELOCITIES, VELOCITY_FEATURES, "a network that corrects velocities")


def _asked_for(
    info: CheckpointInfo, setting: str, keys: Sequence[str], features: int, what: str
) -> Units | None:
    """Those of some names, which have to be there if a setting of decoding asks for them."""
    with _asked(info, setting, keys, what) as file:
        return None if file is None else _units(info.path, file, keys, features, what)


@contextmanager
def _asked(info: CheckpointInfo, setting: str, keys: Sequence[str], what: str) -> Iterator[Any]:
    """The checkpoint, which has to have some of these if a setting of decoding asks for them, or None."""
    if not getattr(info.config.decode, setting):
        yield None
        return
    with _opened(info.path) as file:
        if not set(keys) & set(file.keys()):
            fact = f"its settings ask for {what}, and there is none"
            raise CheckpointError(f"{info.path}: {fact}; export it again, or decode without {setting}")
        yield file


def _units(path: Path, file: Any, keys: Sequence[str], features: int, what: str) -> Units:
    """Those of some names, if they are of so many features."""
    found = _numbers(path, file, keys)
    hidden = found[keys[-1]].size if keys[-1] in found else 0
    _check(path, what, found, dict(zip(keys, ((hidden, features), (hidden,), (hidden,)), strict=True)))
    return Units(*(found[key] for key in keys))


def _numbers(path: Path, file: Any, keys: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """Those of some names that are there and are numbers."""
    there = set(file.keys())
    numbers = [key for key in keys if key in there and file.get_slice(key).get_dtype() in _STORED]
    return {key: _single(_stored(path, file, key)) for key in numbers}


def _check(
    path: Path, what: str, found: Mapping[str, NDArray[np.float32]], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Whether a network is whole: of some shapes, and finite."""
    fits = {key: part.shape for key, part in found.items()} == shapes
    if not fits or not all(np.isfinite(part).all() for part in found.values()):
        told = ", ".join(f"{key} {part.shape}" for key, part in found.items()) or "no numbers"
        raise CheckpointError(f"{path}: {what} that is none (it has {told}); export it again")


def load_front_end(info: CheckpointInfo) -> LogMel:
    """The front end of a checkpoint.

    Raises:
        CheckpointError: as `load_filters`.
    """
    return LogMel(info.config.front_end, load_filters(info))


def _stored(path: Path, file: Any, key: str) -> NDArray[np.floating]:
    """A tensor as it is stored, but for bfloat16, which NumPy does not know."""
    stored: NDArray[np.floating]
    if file.get_slice(key).get_dtype() == "BF16":
        with safe_open(path, framework="pt") as same:
            stored = same.get_tensor(key).float().numpy()
    else:
        stored = file.get_tensor(key)
    return stored


def _single(stored: NDArray[np.floating]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what is infinite then is found as such
        return stored.astype(np.float32, copy=False)


def _weights_in(file: Any) -> list[str]:
    """Names of what a checkpoint holds of its model, beside counts."""
    others = {*FILTERS, *GHOSTS, *ENDINGS, *OFFSETS, *VELOCITIES}
    return [key for key in file.keys() if key not in others and not key.endswith(COUNTS)]  # noqa: SIM118


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A checkpoint, mapped into memory."""
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except (SafetensorError, OSError) as error:
        fact = f"not a whole safetensors file ({error})"
        raise CheckpointError(f"{path}: {fact}; copy or download it again") from error
