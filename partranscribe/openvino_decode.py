"""The whole loop over frames as one OpenVINO graph: the fastest way through them on a CPU.

Each turn of the loop is one frame of one piece. The result is that of the loop in `decode`, but for the
order of sums; it depends neither on how many frames are given at a time nor on other pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from threading import local
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .model import (
    NOTE_STATES,
    ONSET,
    REONSET,
    SUSTAIN,
    ContextEncoder,
    Features,
    LastFrame,
    Par,
    SequenceModule,
    State,
)
from .notes import PITCHES
from .openvino_graph import array, compile_graph, constant, linear, op, ov
from .stepper import Decoded, Rules

_LAYERS = 2  # of each LSTM
_FRAMES = np.int64(0)  # the axis
_UNITS = np.int64(1)


class OpenVinoLoop:
    """The loop over the frames of pieces, one piece after the other.

    Args:
        model: in evaluation mode, on the CPU, with pitch-wise LSTMs and the enhanced context.
    """

    def __init__(self, model: Par) -> None:
        self._compiled = compile_graph(loop_graph(model), 1)
        self._own = local()

    def run(
        self, features: Features, lstm: State, last: LastFrame, rules: Rules
    ) -> tuple[Decoded, State, LastFrame]:
        """What was decoded of the next frames, and what they leave to those after them.

        Args:
            features: (batch, frames, pitches, hidden) each.
            lstm, last: what the frame before them left.
            rules: see there.
        """
        by_rules = [rules.silent, rules.sounding, torch.tensor([rules.shortest])]
        found = [
            self._infer([*(part[piece] for part in features), *of_pitches, *by_rules])
            for piece, of_pitches in enumerate(_of_pieces(lstm, last))
        ]
        state, velocity, probabilities, *left = (torch.stack(parts) for parts in zip(*found, strict=True))
        return Decoded(state, velocity, probabilities), *_of_batch(*left)

    def _infer(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        if not hasattr(self._own, "request"):  # a thread's own, as one request serves one thread at a time
            self._own.request = self._compiled.create_infer_request()
        arrays = [part.contiguous().numpy() for part in inputs]
        outputs = self._own.request.infer(arrays, share_inputs=True)
        return [torch.from_numpy(output.copy()) for output in outputs.values()]


def _of_pieces(lstm: State, last: LastFrame) -> list[list[Tensor]]:
    """What the graph takes of the frame before, for each piece: see `loop_graph`."""
    frames = (last.state.to(torch.int32), last.duration, last.velocity)
    memory = [part[layer] for memory in lstm for layer in range(_LAYERS) for part in memory]
    pieces = zip(*(part.view(-1, PITCHES, *part.shape[1:]) for part in memory), strict=True)
    return [[*(part[piece, 0] for part in frames), *own] for piece, own in enumerate(pieces)]


def _of_batch(state: Tensor, duration: Tensor, velocity: Tensor, *memory: Tensor) -> tuple[State, LastFrame]:
    """The inverse of `_of_pieces`, from the parts of all pieces: (batch, pitches, …) each."""
    parts = [part.flatten(0, 1) for part in memory]
    own = 2 * _LAYERS
    note, heard = ((torch.stack(one[::2]), torch.stack(one[1::2])) for one in (parts[:own], parts[own:]))
    last = (part.unsqueeze(1) for part in (state.long(), duration, velocity))
    return State(note, heard), LastFrame(*last)


def loop_graph(model: Par) -> ov.Model:
    """The graph of the loop.

    It takes the features (frames, pitches, hidden) of the note and of the velocity network; what the
    frame before left: state, duration and velocity (pitches,) each, and hidden state and cell (pitches,
    units) of each layer; and the biases of the states of a pitch that is silent and of one that sounds,
    (states,) each, and the duration (1,) before which no key is struck again. It gives states and
    velocities (frames, pitches), probabilities (frames, pitches, states), and what the last frame leaves.

    Args:
        model: see `OpenVinoLoop`.
    """
    given, frame = _parameters(model, -1), _parameters(model, 1)
    decoded, after = _frame(model, *frame)
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


def _parameters(model: Par, frames: int) -> tuple[list[Any], list[Any], list[Any]]:
    """Features, what the frame before left, and the rules, as `loop_graph` takes them; -1 frames are any."""
    config = model.config
    features = [op.parameter([frames, PITCHES, config.hidden_per_pitch], np.float32) for _ in range(2)]
    last = [op.parameter([PITCHES], kind) for kind in (np.int32, np.float32, np.float32)]
    memory = [op.parameter([PITCHES, config.lstm_units], np.float32) for _ in range(4 * _LAYERS)]
    rules = [op.parameter([size], np.float32) for size in (NOTE_STATES, NOTE_STATES, 1)]
    return features, [*last, *memory], rules


def _frame(
    model: Par, features: Sequence[Any], left: Sequence[Any], settings: Sequence[Any]
) -> tuple[list[Any], list[Any]]:
    """What is decoded of one frame, each with an axis of frames, and what it leaves to the next."""
    state, duration, velocity, *memory = left
    silent, sounding, shortest = settings
    assert model.context is not None
    context = _context(model.context, state, duration, velocity)
    of_notes, of_velocities = (op.squeeze(part, _FRAMES) for part in features)
    own = 2 * _LAYERS
    logits, note_memory = _sequence(model.note_sequence, [context, of_notes], memory[:own])
    heard, velocity_memory = _sequence(
        model.velocity_sequence, [context, of_notes, of_velocities], memory[own:]
    )
    heard = op.clamp(op.squeeze(heard, _UNITS), 0.0, 1.0)

    # As `decode._run` and `decode.advance` do.
    zero, one_frame = np.float32(0), np.float32(1 / model.config.max_duration_frames)
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


def _context(encoder: ContextEncoder, state: Any, duration: Any, velocity: Any) -> Any:
    """See `model.ContextEncoder`: (pitches, size)."""
    enter, _, deepen, _ = encoder.layers
    assert isinstance(enter, nn.Linear)
    assert isinstance(deepen, nn.Linear)
    embedded = op.gather(constant(array(encoder.embedding.weight)), state, np.int64(0))
    note = op.concat([op.unsqueeze(duration, _UNITS), op.unsqueeze(velocity, _UNITS)], 1)
    note = op.relu(linear(op.relu(linear(note, enter)), deepen))
    return linear(op.concat([embedded, note], 1), encoder.join)


def _sequence(module: SequenceModule, x: Sequence[Any], memory: Sequence[Any]) -> tuple[Any, list[Any]]:
    """See `model.SequenceModule`: (pitches, outputs), and hidden state and cell of both layers."""
    first = _lstm(module.lstm, 0, op.concat(list(x), 1), *memory[:2])
    second = _lstm(module.lstm, 1, first[0], *memory[2:])
    return linear(second[0], module.output), [*first, *second]


def _lstm(lstm: nn.LSTM, layer: int, x: Any, hidden: Any, cell: Any) -> list[Any]:
    """Hidden state and cell after one frame of a layer."""

    def gates(name: str) -> NDArray[np.float32]:
        """PyTorch's order is input, forget, cell, output; OpenVINO's forget comes first."""
        i, f, g, o = np.split(array(getattr(lstm, f"{name}_l{layer}")), 4)
        return np.concatenate((f, i, g, o))

    bias = gates("bias_ih") + gates("bias_hh")
    weights = (constant(part) for part in (gates("weight_ih"), gates("weight_hh"), bias))
    found = op.lstm_cell(x, hidden, cell, *weights, lstm.hidden_size)
    return [found.output(0), found.output(1)]
