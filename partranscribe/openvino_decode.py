"""The whole loop over frames as one OpenVINO graph: the fastest way through them on a CPU.

Each turn of the loop is one frame of one piece. The result is that of the loop in `torch_decode`, but for the
order of sums; it depends neither on how many frames are given at a time nor on other pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from threading import local
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .config import DecodeConfig, ModelConfig
from .frames import Frames, rules_of
from .notes import NOTE_STATES, OFF, OFFSET, ONSET, PITCHES, REONSET, SUSTAIN
from .openvino_graph import compile_graph, constant, linear, op, ov
from .weights import LSTM_LAYERS, Part, Weights

_FRAMES = np.int64(0)  # the axis
_UNITS = np.int64(1)

Left = list[NDArray[Any]]
"""What a frame leaves to the next: state, duration and velocity (pitches,) each, and hidden state and cell
(pitches, units) of each layer of the note LSTM, then of the velocity LSTM."""


class OpenVinoLoop:
    """The loop over the frames of a piece.

    Args:
        config: of a network with pitch-wise LSTMs and the enhanced context.
        weights: of the network.
    """

    def __init__(self, config: ModelConfig, weights: Weights) -> None:
        self._compiled = compile_graph(loop_graph(config, weights), 1)
        self._config, self._own = config, local()

    def initial_state(self) -> Left:
        """Before the first frame: nothing sounds."""
        sizes = [(PITCHES,), *[(PITCHES, self._config.lstm_units)] * 4 * LSTM_LAYERS]
        state = np.full(PITCHES, OFF, np.int32)
        return [state, np.zeros(PITCHES, np.float32), *(np.zeros(size, np.float32) for size in sizes)]

    def run(
        self, note: NDArray[np.float32], velocity: NDArray[np.float32], left: Left, settings: DecodeConfig
    ) -> tuple[Frames, Left]:
        """The next frames of a piece, with all probabilities, and what they leave to those after them.

        Args:
            note, velocity: features, (frames, pitches, hidden) each.
            left: by the frame before them.
            settings: biases of the states, and how soon a key may be struck again.
        """
        silent, sounding, shortest = rules_of(settings, self._config.max_duration_frames)
        if not hasattr(self._own, "request"):  # a thread's own, as one request serves one thread at a time
            self._own.request = self._compiled.create_infer_request()
        inputs = [note, velocity, *left, silent, sounding, np.array([shortest], np.float32)]
        outputs = self._own.request.infer([*map(np.ascontiguousarray, inputs)], share_inputs=True)
        state, heard, probabilities, *after = (output.copy() for output in outputs.values())
        begins = probabilities[..., ONSET] + probabilities[..., REONSET]
        ends = probabilities[..., OFF] + probabilities[..., OFFSET]
        return Frames(state.astype(np.int8), heard, begins, ends, probabilities), after


def loop_graph(config: ModelConfig, weights: Weights) -> ov.Model:
    """The graph of the loop.

    It takes the features (frames, pitches, hidden) of the note and of the velocity network; what the
    frame before left: state, duration and velocity (pitches,) each, and hidden state and cell (pitches,
    units) of each layer; and the biases of the states of a pitch that is silent and of one that sounds,
    (states,) each, and the duration (1,) before which no key is struck again. It gives states and
    velocities (frames, pitches), probabilities (frames, pitches, states), and what the last frame leaves.

    Args:
        config, weights: see `OpenVinoLoop`.
    """
    given, frame = _parameters(config, -1), _parameters(config, 1)
    decoded, after = _frame(config, Part(weights), *frame)
    goes_on = np.array([True])
    results = [op.result(part) for part in (*decoded, *after, op.constant(goes_on))]

    count = op.gather(op.shape_of(given[0][0], "i64"), np.array([0]), _FRAMES)
    loop = op.loop(count, op.constant(goes_on))
    loop.set_function(ov.Model(results, [*chain(*frame)], "frame"))
    loop.set_special_body_ports([-1, len(results) - 1])
    for part, whole in zip(frame[0], given[0], strict=True):
        loop.set_sliced_input(part, whole.output(0), 0, 1, 1, -1, 0)
    for part, whole, result in zip(frame[1], given[1], results[len(decoded) :], strict=False):
        loop.set_merged_input(part, whole.output(0), result.output(0))
    for part, whole in zip(frame[2], given[2], strict=True):
        loop.set_invariant_input(part, whole.output(0))
    state, velocity, logits = (
        loop.get_concatenated_slices(result.output(0), 0, 1, 1, -1, 0) for result in results[: len(decoded)]
    )
    ends = [loop.get_iter_value(result.output(0), -1) for result in results[len(decoded) : -1]]
    return ov.Model([state, velocity, op.softmax(logits, 2).output(0), *ends], [*chain(*given)])


def _parameters(config: ModelConfig, frames: int) -> tuple[list[Any], list[Any], list[Any]]:
    """Features, what the frame before left, and the rules, as `loop_graph` takes them; -1 frames are any."""
    features = [op.parameter([frames, PITCHES, config.hidden_per_pitch], np.float32) for _ in range(2)]
    last = [op.parameter([PITCHES], kind) for kind in (np.int32, np.float32, np.float32)]
    memory = [op.parameter([PITCHES, config.lstm_units], np.float32) for _ in range(4 * LSTM_LAYERS)]
    rules = [op.parameter([size], np.float32) for size in (NOTE_STATES, NOTE_STATES, 1)]
    return features, [*last, *memory], rules


def _frame(
    config: ModelConfig, network: Part, features: Sequence[Any], left: Sequence[Any], settings: Sequence[Any]
) -> tuple[list[Any], list[Any]]:
    """What is decoded of one frame, each with an axis of frames, and what it leaves to the next."""
    state, duration, velocity, *memory = left
    silent, sounding, shortest = settings
    context = _context(network.part("context"), state, duration, velocity)
    of_notes, of_velocities = (op.squeeze(part, _FRAMES) for part in features)
    own = 2 * LSTM_LAYERS
    logits, note_memory = _sequence(network.part("note_sequence"), [context, of_notes], memory[:own])
    heard, velocity_memory = _sequence(
        network.part("velocity_sequence"), [context, of_notes, of_velocities], memory[own:]
    )
    heard = op.clamp(op.squeeze(heard, _UNITS), 0.0, 1.0)

    # As `torch_decode._run` and `torch_decode.advance` do.
    zero, one_frame = np.float32(0), np.float32(1 / config.max_duration_frames)
    is_open = op.greater(duration, zero)
    biased = op.add(logits, op.select(op.unsqueeze(is_open, _UNITS), sounding, silent))
    best = op.squeeze(op.topk(biased, np.int64(1), 1, "max", "value", "i32").output(1), _UNITS)
    begins = op.logical_or(op.equal(best, np.int32(ONSET)), op.equal(best, np.int32(REONSET)))
    too_soon = op.logical_and(op.logical_and(is_open, op.less(duration, shortest)), begins)
    best = op.select(too_soon, np.int32(SUSTAIN), best)
    begins = op.logical_and(begins, op.logical_not(too_soon))
    continues = op.logical_and(op.equal(best, np.int32(SUSTAIN)), is_open)
    longer = op.minimum(op.add(duration, one_frame), np.float32(1))
    duration = op.select(begins, one_frame, op.select(continues, longer, zero))
    velocity = op.select(begins, heard, op.select(continues, velocity, zero))
    decoded = [op.unsqueeze(part, _FRAMES) for part in (best, heard, logits)]
    return decoded, [best, duration, velocity, *note_memory, *velocity_memory]


def _context(encoder: Part, state: Any, duration: Any, velocity: Any) -> Any:
    """See `model.ContextEncoder`: (pitches, size)."""
    embedded = op.gather(constant(encoder["embedding.weight"]), state, np.int64(0))
    note = op.concat([op.unsqueeze(duration, _UNITS), op.unsqueeze(velocity, _UNITS)], 1)
    for layer in ("layers.0", "layers.2"):
        note = op.relu(linear(note, encoder.part(layer)))
    return linear(op.concat([embedded, note], 1), encoder.part("join"))


def _sequence(module: Part, x: Sequence[Any], memory: Sequence[Any]) -> tuple[Any, list[Any]]:
    """See `model.SequenceModule`: (pitches, outputs), and hidden state and cell of both layers."""
    lstm = module.part("lstm")
    first = _lstm(lstm, 0, op.concat(list(x), 1), *memory[:2])
    second = _lstm(lstm, 1, first[0], *memory[2:])
    return linear(second[0], module.part("output")), [*first, *second]


def _lstm(lstm: Part, layer: int, x: Any, hidden: Any, cell: Any) -> list[Any]:
    """Hidden state and cell after one frame of a layer."""

    def gates(name: str) -> NDArray[np.float32]:
        """PyTorch's order is input, forget, cell, output; OpenVINO's forget comes first."""
        i, f, g, o = np.split(lstm[f"{name}_l{layer}"], 4)
        return np.concatenate((f, i, g, o))

    bias = gates("bias_ih") + gates("bias_hh")
    weights = (constant(part) for part in (gates("weight_ih"), gates("weight_hh"), bias))
    found = op.lstm_cell(x, hidden, cell, *weights, len(bias) // 4)
    return [found.output(0), found.output(1)]
