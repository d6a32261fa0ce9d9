"""What computes a network: OpenVINO on a CPU, or PyTorch, which is loaded only then."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .config import Config, DecodeConfig
from .errors import DeviceError, first_line
from .frames import Frames
from .machine import default_threads
from .timings import Timings
from .weights import Weights
from .windows import Array, Arrays, Features, Window

ENGINES = ("auto", "openvino", "torch")
PRECISIONS = ("float32", "bfloat16")

_MOST_THREADS = 4  # more would wait for the decoding, which is one thread's work


class Decoding(Protocol):
    """Frames of several pieces that are being decoded."""

    def wait(self) -> list[Frames]:
        """The frames of each piece, once they are there."""


class Engine(Arrays, Protocol):
    """Turns spans of audio into decoded frames.

    Args:
        name: one of `ENGINES`.
        lacks_memory: what it raises where its device has not enough memory.
    """

    name: str
    lacks_memory: tuple[type[Exception], ...]

    def mels(self, spans: Sequence[NDArray[np.float32]], tuning: float) -> list[Array]:
        """Log-mel frames (frames, mels) of spans of pianos whose A4 has a frequency in Hz."""

    def features(self, windows: Iterable[Window], timings: Timings) -> Generator[Features]:
        """The features of what is wanted of each window, in order: (1, frames, pitches, hidden) each."""

    def together(self, windows: Sequence[Window]) -> list[Features]:
        """The same of windows that are there already, computed side by side."""

    def initial_state(self, batch: int) -> Any:
        """Before the first frame of so many pieces: nothing sounds."""

    def begin_decoding(
        self, features: Features, state: Any, settings: DecodeConfig, *, with_probabilities: bool = False
    ) -> tuple[Decoding, Any]:
        """Begin to decode several pieces side by side, frame by frame, each from those before it.

        The frames may be given in any number of calls: the results are the same to the bit.

        Args:
            features: (batch, frames, pitches, hidden) each; what follows the end of a shorter piece does not
                change its frames.
            state: from `initial_state` for as many, or from the call before.
            settings: biases of the states, and how soon a key may be struck again.
            with_probabilities: hand over the probability of every state too.
        """

    def free_memory(self) -> None:
        """Give back what the device has kept."""


def engine_for(
    config: Config,
    weights: Weights,
    filters: NDArray[np.float32] | None = None,
    device: str = "cpu",
    engine: str = "auto",
    precision: str = "float32",
    threads: int | None = None,
) -> Engine:
    """The engine for a network on a device.

    Args:
        config: of front end and network.
        weights: of the network, which are copied.
        filters: mel filters (mels, n_fft / 2 + 1), where they are at hand.
        device: "cpu", "cuda" or "cuda:N".
        engine: one of `ENGINES`; "auto" takes OpenVINO on a CPU on which it runs.
        precision: of the acoustic modules, one of `PRECISIONS`. The shorter one is faster where the processor
            knows it, and moves a note here and there.
        threads: how many compute at once on a CPU, at most; by default those of PyTorch, or of
            `machine.default_threads`.

    Raises:
        DeviceError: engine or precision is unknown, or the engine is not there, or not for this device or
            network.
    """
    if engine not in ENGINES:
        raise DeviceError(f"{engine}: no such engine; use {', '.join(ENGINES)}")
    if precision not in PRECISIONS:
        raise DeviceError(f"{precision}: no such precision; use {', '.join(PRECISIONS)}")
    short = precision == "bfloat16"
    refused = _refusal(config, device)
    if engine == "openvino" and refused is not None:
        raise DeviceError(f"openvino: {refused}; use --engine torch")
    if engine != "torch" and refused is None:
        try:
            from .openvino_engine import OpenVinoEngine

            streams = min(threads or default_threads(), _MOST_THREADS)
            return OpenVinoEngine(config, weights, filters, streams, short=short)
        except (ImportError, OSError, RuntimeError) as error:
            fact = f"openvino: does not run here ({first_line(error)})"
            if engine == "openvino":
                raise DeviceError(f"{fact}; use --engine torch") from error
            warnings.warn(f"{fact}; PyTorch takes its place, at half the speed", stacklevel=2)
    from .torch_engine import TorchEngine

    return TorchEngine(config, weights, filters, device, threads, short=short)


def side_by_side(engine: Engine, features: Mapping[int, Features], batch: int, frames: int) -> Features:
    """The first frames of several pieces, with zeros where there are none.

    Args:
        engine: of which they are.
        features: (1, frames, pitches, hidden) each, by the row of the piece; at least one.
        batch: how many rows there are.
        frames: how many of each.
    """
    shape = next(iter(features.values())).note.shape[2:]
    whole = Features(*(engine.zeros(batch, frames, *shape) for _ in Features._fields))
    for row, parts in features.items():
        for whole_part, part in zip(whole, parts, strict=True):
            whole_part[row, : part.shape[1]] = part[0, :frames]
    return whole


def _refusal(config: Config, device: str) -> str | None:
    """Why OpenVINO cannot compute a network on a device; None if it can."""
    if device != "cpu":
        return f"is for the CPU, and the device is {device}"
    if importlib.util.find_spec("openvino") is None:
        return "is not installed for this Python"
    if not config.model.has_fast_loops:
        return "does not know the recursion of this network"
    return None
