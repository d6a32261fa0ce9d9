"""Names and shapes of a network's weights, which its settings tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from .config import ModelConfig
from .notes import NOTE_STATES, PITCHES

STATE_EMBEDDING = 2
CONTEXT_EMBEDDING = 4
FILM_UNITS = 16
FULL_HEAD_UNITS = 768
LSTM_LAYERS = 2
SQUEEZED_CHANNELS = 4
NORM_EPSILON = 1e-5  # of batch and layer norms
ACOUSTIC_BLOCKS = 3
COUNTS = "num_batches_tracked"  # of batch norms, in what PyTorch stores; nothing depends on them
_STATISTICS = ("running_mean", "running_var")

Weights = Mapping[str, NDArray[np.float32]]
Shapes = Iterator[tuple[str, tuple[int, ...]]]


class Part:
    """The weights of a part of a network, by their names within it.

    Args:
        weights: of the whole network.
        name: of the part, "" for all.
    """

    def __init__(self, weights: Weights, name: str = "") -> None:
        self._weights, self._name = weights, name

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        return self._weights[self._of(name)]

    def __contains__(self, name: str) -> bool:
        return self._of(name) in self._weights

    def part(self, name: str) -> Part:
        """A part of this one."""
        return Part(self._weights, self._of(name))

    def _of(self, name: str) -> str:
        return f"{self._name}.{name}" if self._name else name


def weight_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The shape of every weight and statistic of a network, by the names of `model.Par`."""
    found = {
        f"{network}_acoustic.{name}": shape
        for network in ("note", "velocity")
        for name, shape in _acoustic(config)
    }
    context = 0
    if config.context != "none":
        context = CONTEXT_EMBEDDING if config.context == "enhanced" else STATE_EMBEDDING
        found |= {f"context.{name}": shape for name, shape in _context(config)}
    hidden = config.hidden_per_pitch
    for network, inputs, outputs in (("note", hidden, NOTE_STATES), ("velocity", 2 * hidden, 1)):
        shapes = _sequence(config, context + inputs, outputs)
        found |= {f"{network}_sequence.{name}": shape for name, shape in shapes}
    return found


def is_trained(name: str) -> bool:
    """Whether a weight is one that training changes, and no statistic of a batch norm."""
    return not name.endswith(_STATISTICS)


def _acoustic(config: ModelConfig) -> Shapes:
    units, hidden, bins = config.cnn_units, config.hidden_per_pitch, config.pooled_mels
    for level in range(ACOUSTIC_BLOCKS):
        inputs = units if level else 1
        block, widths = f"blocks.{level}", config.time_widths[2 * level : 2 * level + 2]
        for layer, (channels, width) in enumerate(zip((inputs, units), widths, strict=True), 1):
            yield f"{block}.conv{layer}.weight", (units, channels, width, 3)
            yield f"{block}.conv{layer}.bias", (units,)
        yield from _norm(f"{block}.norm", units)
        if config.film:
            for factor in ("gamma", "beta"):
                yield from _film(f"{block}.film.{factor}", units)
    if config.head == "full":
        yield from _linear("head.collect", units * bins, FULL_HEAD_UNITS)
        yield from _linear("head.split", FULL_HEAD_UNITS, PITCHES * hidden)
        yield from _weight_and_bias("head.norm", (PITCHES, hidden))
        return
    yield "head.squeeze.0.weight", (SQUEEZED_CHANNELS, units, 1, 1)
    yield "head.squeeze.0.bias", (SQUEEZED_CHANNELS,)
    yield from _norm("head.squeeze.1", SQUEEZED_CHANNELS)
    yield "head.squeeze.3.weight", (1, SQUEEZED_CHANNELS, 1, 1)
    yield "head.squeeze.3.bias", (1,)
    yield from _linear("head.split", bins, PITCHES * hidden)
    yield from _norm("head.split_norm", PITCHES * hidden)
    for layer in range(2):
        yield f"head.layers.{layer}.weight", (PITCHES, hidden, hidden)
        yield f"head.layers.{layer}.bias", (PITCHES, 1, hidden)
        yield from _norm(f"head.norms.{layer}", PITCHES * hidden)


def _film(name: str, channels: int) -> Shapes:
    for layer, inputs in zip((0, 2, 4), (1, FILM_UNITS, FILM_UNITS), strict=True):
        yield from _linear(f"{name}.{layer}", inputs, FILM_UNITS)
    yield f"{name}.6.weight", (channels, FILM_UNITS)


def _context(config: ModelConfig) -> Shapes:
    hidden = config.hidden_per_pitch
    yield "embedding.weight", (NOTE_STATES, STATE_EMBEDDING)
    if config.context == "enhanced":
        yield from _linear("layers.0", 2, hidden)
        yield from _linear("layers.2", hidden, hidden)
        yield from _linear("join", hidden + STATE_EMBEDDING, CONTEXT_EMBEDDING)


def _sequence(config: ModelConfig, inputs: int, outputs: int) -> Shapes:
    copies, units = (1, config.lstm_units) if config.pitchwise else (PITCHES, config.global_lstm_units)
    for layer in range(LSTM_LAYERS):
        yield f"lstm.weight_ih_l{layer}", (4 * units, units if layer else copies * inputs)
        yield f"lstm.weight_hh_l{layer}", (4 * units, units)
        yield f"lstm.bias_ih_l{layer}", (4 * units,)
        yield f"lstm.bias_hh_l{layer}", (4 * units,)
    yield from _linear("output", units, copies * outputs)


def _linear(name: str, inputs: int, outputs: int) -> Shapes:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)


def _norm(name: str, units: int) -> Shapes:
    yield from _weight_and_bias(name, (units,))
    for statistic in _STATISTICS:
        yield f"{name}.{statistic}", (units,)


def _weight_and_bias(name: str, shape: tuple[int, ...]) -> Shapes:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape
