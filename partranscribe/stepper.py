"""One frame at a time: `Par.step` as it is, and without what its generality costs on a CPU."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .model import LastFrame, Par, Prediction, SequenceModule, State
from .windows import Features


class Memory(NamedTuple):
    """What both LSTMs remember: first the note LSTM's, then the velocity LSTM's; changed in place.

    A row is a pitch of a piece: first all pitches of the first piece, then those of the next. `joined`
    (2, rows, context + 2 units) holds the recursive context and the hidden states of both layers side by
    side, as the products read them; `cells` (2, 2, rows, units) are those of the first and second layer.
    """

    joined: Tensor
    cells: Tensor


class Decoded(NamedTuple):
    """What was decoded, see `frames.Frames`: (batch, frames, pitches), and (…, states)."""

    state: Tensor
    velocity: Tensor
    probabilities: Tensor


def stepper_for(model: Par) -> Stepper:
    """The fastest stepper for a model."""
    if model.config.has_fast_loops:
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


class PitchwiseWeights(NamedTuple):
    """Weights of both sequence modules and the context, as the frames of `PitchwiseStepper` use them.

    H are the context's hidden units, C its size, U the units of an LSTM. Pairs belong to the note and the
    velocity network; gates stand in the order of `_update`.

    Args:
        embedding: (states, C), with the bias of the join.
        enter, enter_bias, deepen, deepen_bias: the context's two layers: (2, H), (H,), (H, H), (H,).
        join: (H, C).
        features, features_bias: of the first layers' inputs: (H', 4 U) and (4 U,) for each network.
        first: (2, C + U, 4 U).
        second, second_bias: (2, 2 U, 4 U) and (2, 1, 4 U).
        output, output_bias: (U, states or 1) and (states or 1,) for each network.
    """

    embedding: Tensor
    enter: Tensor
    enter_bias: Tensor
    deepen: Tensor
    deepen_bias: Tensor
    join: Tensor
    features: tuple[Tensor, Tensor]
    features_bias: tuple[Tensor, Tensor]
    first: Tensor
    second: Tensor
    second_bias: Tensor
    output: tuple[Tensor, Tensor]
    output_bias: tuple[Tensor, Tensor]


def pitchwise_weights(model: Par) -> PitchwiseWeights:
    """The weights of a model with pitch-wise LSTMs and the enhanced context."""
    context = model.context
    assert context is not None
    enter, _, deepen, _ = context.layers
    assert isinstance(enter, nn.Linear)
    assert isinstance(deepen, nn.Linear)
    note, velocity = sequences = (model.note_sequence, model.velocity_sequence)
    size, hidden = context.size, model.config.hidden_per_pitch
    embedded, enhanced = context.join.weight[:, :-hidden], context.join.weight[:, -hidden:]
    first = [_weight(sequence, "weight_ih_l0") for sequence in sequences]
    of_context = torch.stack([weight[:size] for weight in first])
    second = (_stacked(sequences, "weight_ih_l1"), _stacked(sequences, "weight_hh_l1"))
    return PitchwiseWeights(
        embedding=context.embedding.weight @ embedded.t() + context.join.bias,
        enter=enter.weight.t(),
        enter_bias=enter.bias,
        deepen=deepen.weight.t(),
        deepen_bias=deepen.bias,
        join=enhanced.t(),
        features=(first[0][size:], first[1][size:]),
        features_bias=(_bias(note, 0), _bias(velocity, 0)),
        first=torch.cat((of_context, _stacked(sequences, "weight_hh_l0")), dim=1),
        second=torch.cat(second, dim=1),
        second_bias=torch.stack([_bias(sequence, 1) for sequence in sequences]).unsqueeze(1),
        output=(note.output.weight.t(), velocity.output.weight.t()),
        output_bias=(note.output.bias, velocity.output.bias),
    )


class PitchwiseStepper(Stepper):
    """Steps through the frames of a model with pitch-wise LSTMs and the enhanced context.

    The note and the velocity LSTM of a frame do not wait for each other, so both run as one batch; what
    the acoustic features give to their first layers is computed for all frames at once.

    Args:
        model: in evaluation mode.
    """

    def __init__(self, model: Par) -> None:
        super().__init__(model)
        self.weights = pitchwise_weights(model)
        self._size = self.weights.join.shape[1]

    def inputs(self, features: Features) -> Tensor:
        """What the first layers receive from the features: (frames, 2, batch * pitches, 4 units)."""
        note: Tensor
        velocity: Tensor
        note, velocity = (part.transpose(0, 1).flatten(1, 2) for part in features)
        received = (note, torch.cat((note, velocity), dim=-1))
        weights, biases = self.weights.features, self.weights.features_bias
        gates = note.new_empty(len(note), 2, note.shape[1], len(biases[0]))
        for part, weight, bias, out in zip(received, weights, biases, gates.unbind(1), strict=True):
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
        weights, joined = self.weights, memory.joined
        first_end = self._size + memory.cells.shape[-1]
        note = torch.stack((last.duration.flatten(), last.velocity.flatten()), dim=-1)
        note = torch.addmm(weights.enter_bias, note, weights.enter).relu_()
        note = torch.addmm(weights.deepen_bias, note, weights.deepen).relu_()
        embedded = weights.embedding[last.state.flatten()]
        joined[..., : self._size] = torch.addmm(embedded, note, weights.join)
        hidden1, hidden2 = joined[..., self._size : first_end], joined[..., first_end:]
        _update(torch.baddbmm(inputs, joined[..., :first_end], weights.first), memory.cells[0], hidden1)
        gates = torch.baddbmm(weights.second_bias, joined[..., self._size :], weights.second)
        _update(gates, memory.cells[1], hidden2)
        states, velocity = map(torch.addmm, weights.output_bias, hidden2, weights.output)
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
