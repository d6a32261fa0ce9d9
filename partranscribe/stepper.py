"""One frame at a time: `Par.step` as it is, and without what its generality costs on a CPU."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .model import Features, LastFrame, Par, Prediction, SequenceModule, State


class Memory(NamedTuple):
    """What both LSTMs remember, (2, rows, units) each: first the note LSTM's, then the velocity LSTM's.

    A row is a pitch of a piece: first all pitches of the first piece, then those of the next.
    """

    hidden1: Tensor
    cell1: Tensor
    hidden2: Tensor
    cell2: Tensor


def stepper_for(model: Par) -> Stepper:
    """The fastest stepper for a model."""
    if model.config.pitchwise and model.config.context == "enhanced":
        return PitchwiseStepper(model)
    return Stepper(model)


class Stepper:
    """Steps through the frames of any model.

    Args:
        model: in evaluation mode.
    """

    def __init__(self, model: Par) -> None:
        self._model = model

    def inputs(self, features: Features) -> Iterable[Any]:
        """What `step` takes of each frame, from features of all frames: (batch, frames, pitches, hidden)."""
        frames = range(features.note.shape[1])
        return [Features(features.note[:, [t]], features.velocity[:, [t]]) for t in frames]

    def remember(self, state: State) -> Any:
        """The LSTMs' memory in the form that `step` takes."""
        return state

    def state(self, memory: Any) -> State:
        """The inverse of `remember`."""
        assert isinstance(memory, State)
        return memory

    def step(self, inputs: Any, last: LastFrame, memory: Any) -> tuple[Prediction, Any]:
        """One frame.

        Args:
            inputs: of this frame, from `inputs`.
            last: (batch, 1, pitches) each.
            memory: from `remember`, or from the step before.
        """
        return self._model.step(inputs, last, memory)


class PitchwiseStepper(Stepper):
    """Steps through the frames of a model with pitch-wise LSTMs and the enhanced context.

    The note and the velocity LSTM of a frame do not wait for each other, so both run as one batch; what
    the acoustic features give to their first layers is computed for all frames at once.

    Args:
        model: in evaluation mode.
    """

    def __init__(self, model: Par) -> None:
        super().__init__(model)
        context = model.context
        assert context is not None
        sequences = (model.note_sequence, model.velocity_sequence)
        self._note, self._velocity = model.note_sequence.output, model.velocity_sequence.output
        self._layers = context.layers
        size, hidden = context.size, model.config.hidden_per_pitch
        embedded, enhanced = context.join.weight[:, :-hidden], context.join.weight[:, -hidden:]
        self._embedding = context.embedding.weight @ embedded.t() + context.join.bias  # (states, size)
        self._join = enhanced.t()
        first = [_weight(sequence, "weight_ih_l0") for sequence in sequences]
        self._context = torch.cat([weight[:size] for weight in first], dim=1)  # (size, 8 units)
        note = torch.cat([weight[size : size + hidden] for weight in first], dim=1)
        velocity = F.pad(first[1][size + hidden :], (note.shape[1] // 2, 0))
        self._features = torch.cat((note, velocity))  # (2 hidden, 8 units)
        self._bias = torch.cat([_bias(sequence, 0) for sequence in sequences])
        self._first = _stacked(sequences, "weight_hh_l0")
        second = (_stacked(sequences, "weight_ih_l1"), _stacked(sequences, "weight_hh_l1"))
        self._second = torch.cat(second, dim=1)  # (2, 2 units, 4 units)
        self._second_bias = torch.stack([_bias(sequence, 1) for sequence in sequences]).unsqueeze(1)

    def inputs(self, features: Features) -> Tensor:
        """What the first layers receive from the features: (frames, batch * pitches, 8 units)."""
        both = torch.cat(features, dim=-1).transpose(0, 1).flatten(1, 2)
        # One product a frame, so that the number of frames cannot change the bits of any.
        return torch.baddbmm(self._bias, both, self._features.expand(len(both), -1, -1))

    def remember(self, state: State) -> Memory:
        """The LSTMs' memory as one batch."""
        (note_hidden, note_cell), (velocity_hidden, velocity_cell) = state
        hidden = torch.stack((note_hidden, velocity_hidden), dim=1)  # (layers, 2, rows, units)
        cell = torch.stack((note_cell, velocity_cell), dim=1)
        return Memory(hidden[0], cell[0], hidden[1], cell[1])

    def state(self, memory: Memory) -> State:
        """The inverse of `remember`."""
        hidden = torch.stack((memory.hidden1, memory.hidden2))
        cell = torch.stack((memory.cell1, memory.cell2))
        return State((hidden[:, 0], cell[:, 0]), (hidden[:, 1], cell[:, 1]))

    def step(self, inputs: Tensor, last: LastFrame, memory: Memory) -> tuple[Prediction, Memory]:
        """One frame, see `Stepper.step`."""
        note = self._layers(torch.stack((last.duration.flatten(), last.velocity.flatten()), dim=-1))
        context = torch.addmm(self._embedding[last.state.flatten()], note, self._join)  # (rows, size)
        gates = torch.addmm(inputs, context, self._context)
        gates = gates.view(len(gates), 2, -1).transpose(0, 1)  # (2, rows, 4 units)
        hidden1, cell1 = _cell(torch.baddbmm(gates, memory.hidden1, self._first), memory.cell1)
        both = torch.cat((hidden1, memory.hidden2), dim=-1)
        hidden2, cell2 = _cell(torch.baddbmm(self._second_bias, both, self._second), memory.cell2)
        states, velocity = self._note(hidden2[0]), self._velocity(hidden2[1])
        prediction = Prediction(states.view(*last.state.shape, -1), velocity.view(last.state.shape))
        return prediction, Memory(hidden1, cell1, hidden2, cell2)


def _cell(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Hidden and cell state after one frame, from gates in the order input, forget, output, cell."""
    units = cell.shape[-1]
    i, f, o = torch.sigmoid(gates[..., : 3 * units]).chunk(3, dim=-1)
    cell = torch.addcmul(i * torch.tanh(gates[..., 3 * units :]), f, cell)
    return o * torch.tanh(cell), cell


def _in_order(weight: Tensor) -> Tensor:
    """Rows of an LSTM's weight or bias with its gates in the order of `_cell`; PyTorch's is i f g o."""
    i, f, g, o = weight.chunk(4)
    return torch.cat((i, f, o, g))


def _bias(sequence: SequenceModule, layer: int) -> Tensor:
    lstm = sequence.lstm
    return _in_order(getattr(lstm, f"bias_ih_l{layer}") + getattr(lstm, f"bias_hh_l{layer}"))


def _stacked(sequences: Sequence[SequenceModule], name: str) -> Tensor:
    """A weight of both LSTMs, ready to be multiplied with: (2, inputs, 4 units)."""
    return torch.stack([_weight(sequence, name) for sequence in sequences])


def _weight(sequence: SequenceModule, name: str) -> Tensor:
    return _in_order(getattr(sequence.lstm, name)).t()
