"""One frame at a time: `Par.step` as it is, and without what its generality costs on a CPU."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .model import Features, LastFrame, Par, Prediction, SequenceModule, State


class Memory(NamedTuple):
    """What both LSTMs remember: first the note LSTM's, then the velocity LSTM's; changed in place.

    A row is a pitch of a piece: first all pitches of the first piece, then those of the next. `joined`
    (2, rows, context + 2 units) holds the recursive context and the hidden states of both layers side by
    side, as the products read them; `cells` (2, 2, rows, units) are those of the first and second layer.
    """

    joined: Tensor
    cells: Tensor


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
        self._outputs = [sequence.output for sequence in sequences]
        self._layers = context.layers
        self._size, hidden = context.size, model.config.hidden_per_pitch
        embedded, enhanced = context.join.weight[:, :-hidden], context.join.weight[:, -hidden:]
        self._embedding = context.embedding.weight @ embedded.t() + context.join.bias  # (states, size)
        self._join = enhanced.t()
        first = [_weight(sequence, "weight_ih_l0") for sequence in sequences]
        self._features = [weight[self._size :] for weight in first]  # (hidden, 4 units), (2 hidden, 4 units)
        self._first_bias = [_bias(sequence, 0) for sequence in sequences]
        # (2, context + units, 4 units) and (2, 2 units, 4 units)
        context_weight = torch.stack([weight[: self._size] for weight in first])
        self._first = torch.cat((context_weight, _stacked(sequences, "weight_hh_l0")), dim=1)
        second = (_stacked(sequences, "weight_ih_l1"), _stacked(sequences, "weight_hh_l1"))
        self._second = torch.cat(second, dim=1)
        self._second_bias = torch.stack([_bias(sequence, 1) for sequence in sequences]).unsqueeze(1)

    def inputs(self, features: Features) -> Tensor:
        """What the first layers receive from the features: (frames, 2, batch * pitches, 4 units)."""
        note, velocity = (part.transpose(0, 1).flatten(1, 2) for part in features)
        received = (note, torch.cat((note, velocity), dim=-1))
        gates = note.new_empty(len(note), 2, note.shape[1], self._second_bias.shape[-1])
        for part, weight, bias, out in zip(
            received, self._features, self._first_bias, gates.unbind(1), strict=True
        ):
            # One product a frame, so that the number of frames cannot change the bits of any.
            torch.baddbmm(bias, part, weight.expand(len(part), -1, -1), out=out)
        return gates

    def remember(self, state: State) -> Memory:
        """The LSTMs' memory as one batch."""
        (note_hidden, note_cell), (velocity_hidden, velocity_cell) = state
        hidden = torch.stack((note_hidden, velocity_hidden), dim=1)  # (layers, 2, rows, units)
        context = hidden.new_zeros(*hidden.shape[1:3], self._size)
        return Memory(
            joined=torch.cat((context, hidden[0], hidden[1]), dim=-1),
            cells=torch.stack((note_cell, velocity_cell), dim=1),
        )

    def state(self, memory: Memory) -> State:
        """The inverse of `remember`."""
        hidden = torch.stack(memory.joined[..., self._size :].chunk(2, dim=-1))
        cells = memory.cells.clone()
        return State((hidden[:, 0], cells[:, 0]), (hidden[:, 1], cells[:, 1]))

    def step(self, inputs: Tensor, last: LastFrame, memory: Memory) -> tuple[Prediction, Memory]:
        """One frame, see `Stepper.step`."""
        note = self._layers(torch.stack((last.duration.flatten(), last.velocity.flatten()), dim=-1))
        joined, units = memory.joined, memory.cells.shape[-1]
        first_end = self._size + units
        hidden1, hidden2 = joined[..., self._size : first_end], joined[..., first_end:]
        joined[..., : self._size] = torch.addmm(self._embedding[last.state.flatten()], note, self._join)
        _update(torch.baddbmm(inputs, joined[..., :first_end], self._first), memory.cells[0], hidden1)
        gates = torch.baddbmm(self._second_bias, joined[..., self._size :], self._second)
        _update(gates, memory.cells[1], hidden2)
        states, velocity = (output(part) for output, part in zip(self._outputs, hidden2, strict=True))
        prediction = Prediction(states.view(*last.state.shape, -1), velocity.view(last.state.shape))
        return prediction, memory


def _update(gates: Tensor, cell: Tensor, hidden: Tensor) -> None:
    """Bring the cell and hidden state of an LSTM to the next frame, in place.

    Args:
        gates: (…, 4 units) in the order input, forget, output, cell; the last is doubled, as tanh(x) is
            2 sigmoid(2 x) - 1 and one pass over contiguous memory is the fastest.
        cell, hidden: (…, units).
    """
    i, f, o, g = gates.sigmoid_().chunk(4, dim=-1)
    cell.mul_(f).addcmul_(i, g, value=2).sub_(i)
    torch.mul(o, (2 * cell).sigmoid_().mul_(2).sub_(1), out=hidden)


def _in_order(weight: Tensor) -> Tensor:
    """Rows of an LSTM's weight or bias with its gates as `_update` takes them; PyTorch's order is i f g o."""
    i, f, g, o = weight.chunk(4)
    return torch.cat((i, f, o, 2 * g))


def _bias(sequence: SequenceModule, layer: int) -> Tensor:
    lstm = sequence.lstm
    return _in_order(getattr(lstm, f"bias_ih_l{layer}") + getattr(lstm, f"bias_hh_l{layer}"))


def _stacked(sequences: Sequence[SequenceModule], name: str) -> Tensor:
    """A weight of both LSTMs, ready to be multiplied with: (2, inputs, 4 units)."""
    return torch.stack([_weight(sequence, name) for sequence in sequences])


def _weight(sequence: SequenceModule, name: str) -> Tensor:
    return _in_order(getattr(sequence.lstm, name)).t()
