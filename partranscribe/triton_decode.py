"""The whole loop over frames in one CUDA kernel, in Triton.

Pitches do not talk to each other: each block of the kernel takes a few of them (rows), keeps what they
remember, and runs over all frames; the rows may belong to any number of pieces. The result is that of the
loop in `torch_decode`, but for the order of sums.
"""

# Triton reads annotations as types of its own, so the kernel has none; its constants are in capitals.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
# ruff: noqa: N803
from __future__ import annotations

from contextlib import nullcontext
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from .config import DecodeConfig
from .model import LastFrame
from .notes import NOTE_STATES
from .stepper import Memory, PitchwiseWeights

_ROWS = 16  # of a block; the least that a matrix product takes
_WARPS = 8


class DecodedRows(NamedTuple):
    """What was decoded, see `frames.Frames`: (frames, rows) each, and (frames, rows, states)."""

    state: Tensor
    velocity: Tensor
    confidence: Tensor
    ending: Tensor
    probabilities: Tensor | None


@triton.jit
def _lstm(i, f, o, g, cell):
    """The next hidden and cell state; g is doubled, as tanh(x) = 2 sigmoid(2 x) - 1."""
    cell = tl.sigmoid(f) * cell + tl.sigmoid(i) * (2 * tl.sigmoid(g) - 1)
    return tl.sigmoid(o) * (2 * tl.sigmoid(2 * cell) - 1), cell


@triton.jit
def _product(x, matrix, gate, units, UNITS: tl.constexpr):
    """x times the columns of one gate of a (units, 4 units) matrix."""
    k, n = tl.arange(0, UNITS), tl.arange(0, UNITS)
    inside = (k[:, None] < units) & (n[None, :] < units)
    weight = tl.load(matrix + k[:, None] * 4 * units + gate * units + n[None, :], inside, 0.0)
    return tl.dot(x, weight, input_precision="tf32x3")


@triton.jit
def _row_of_gate(vector, gate, units, UNITS: tl.constexpr):
    n = tl.arange(0, UNITS)
    return tl.load(vector + gate * units + n, n < units, 0.0)[None, :]


@triton.jit
def _first_gate(
    received, gate, hidden, first, c0, c1, c2, c3, inside,
    row, units, UNITS: tl.constexpr,
):  # fmt: skip
    """A gate of a first layer, from what it received from the features, the context, and its own past."""
    n = tl.arange(0, UNITS)
    x = tl.load(received + row[:, None] * 4 * units + gate * units + n[None, :], inside, 0.0)
    x += c0[:, None] * _row_of_gate(first, gate, units, UNITS)
    x += c1[:, None] * _row_of_gate(first + 4 * units, gate, units, UNITS)
    x += c2[:, None] * _row_of_gate(first + 8 * units, gate, units, UNITS)
    x += c3[:, None] * _row_of_gate(first + 12 * units, gate, units, UNITS)
    return x + _product(hidden, first + 16 * units, gate, units, UNITS)


@triton.jit
def _second_gate(bias, gate, below, hidden, second, units, UNITS: tl.constexpr):
    x = _product(below, second, gate, units, UNITS) + _row_of_gate(bias, gate, units, UNITS)
    return x + _product(hidden, second + units * 4 * units, gate, units, UNITS)


@triton.jit
def _both_layers(
    received, first, second, second_bias, c0, c1, c2, c3, hidden1, cell1, hidden2, cell2,
    inside, row, units, UNITS: tl.constexpr,
):  # fmt: skip
    """The next hidden and cell states of an LSTM."""
    i = _first_gate(received, 0, hidden1, first, c0, c1, c2, c3, inside, row, units, UNITS)
    f = _first_gate(received, 1, hidden1, first, c0, c1, c2, c3, inside, row, units, UNITS)
    o = _first_gate(received, 2, hidden1, first, c0, c1, c2, c3, inside, row, units, UNITS)
    g = _first_gate(received, 3, hidden1, first, c0, c1, c2, c3, inside, row, units, UNITS)
    hidden1, cell1 = _lstm(i, f, o, g, cell1)
    i = _second_gate(second_bias, 0, hidden1, hidden2, second, units, UNITS)
    f = _second_gate(second_bias, 1, hidden1, hidden2, second, units, UNITS)
    o = _second_gate(second_bias, 2, hidden1, hidden2, second, units, UNITS)
    g = _second_gate(second_bias, 3, hidden1, hidden2, second, units, UNITS)
    hidden2, cell2 = _lstm(i, f, o, g, cell2)
    return hidden1, cell1, hidden2, cell2


@triton.jit
def _context(note, join, embedding, state, column, hidden, HIDDEN: tl.constexpr):
    """One of the four values of the recursive context."""
    k = tl.arange(0, HIDDEN)
    weight = tl.load(join + k * 4 + column, k < hidden, 0.0)
    return tl.load(embedding + state * 4 + column) + tl.sum(note * weight[None, :], 1)


@triton.jit
def _output(hidden, weight, bias, column, columns, units, UNITS: tl.constexpr):
    k = tl.arange(0, UNITS)
    return tl.sum(hidden * tl.load(weight + k * columns + column, k < units, 0.0)[None, :], 1) + tl.load(
        bias + column
    )


@triton.jit(do_not_specialize=["frames"])  # which would be compiled again for the last window of a recording
def _decode(
    received, embedding, enter, enter_bias, deepen, deepen_bias, join, first, second, second_bias,
    note_output, note_bias, velocity_output, velocity_bias,
    joined, cells, last_state, last_duration, last_velocity,
    states, velocities, confidences, endings, probabilities,
    frames, rows, units, hidden_units, onset_bias, reonset_bias, offset_bias, shortest, max_duration,
    ROWS: tl.constexpr, UNITS: tl.constexpr, HIDDEN: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    real = row < rows
    n = tl.arange(0, UNITS)
    inside = real[:, None] & (n[None, :] < units)
    width = 4 + 2 * units
    of_note, of_velocity = (
        row[:, None] * width + 4 + n[None, :],
        (rows + row)[:, None] * width + 4 + n[None, :],
    )
    of_cell, of_layer = row[:, None] * units + n[None, :], 2 * rows * units
    note1 = tl.load(joined + of_note, inside, 0.0)
    note2 = tl.load(joined + of_note + units, inside, 0.0)
    velocity1 = tl.load(joined + of_velocity, inside, 0.0)
    velocity2 = tl.load(joined + of_velocity + units, inside, 0.0)
    note_cell1 = tl.load(cells + of_cell, inside, 0.0)
    note_cell2 = tl.load(cells + of_layer + of_cell, inside, 0.0)
    velocity_cell1 = tl.load(cells + rows * units + of_cell, inside, 0.0)
    velocity_cell2 = tl.load(cells + of_layer + rows * units + of_cell, inside, 0.0)
    state = tl.load(last_state + row, real, 0)
    duration = tl.load(last_duration + row, real, 0.0)
    loudness = tl.load(last_velocity + row, real, 0.0)
    first_of_velocity, second_of_velocity = first + (4 + units) * 4 * units, second + 2 * units * 4 * units
    bias_of_velocity = second_bias + 4 * units
    k = tl.arange(0, HIDDEN)
    known = k < hidden_units
    square = known[:, None] & known[None, :]
    enter_duration = tl.load(enter + k, known, 0.0)[None, :]
    enter_loudness = tl.load(enter + hidden_units + k, known, 0.0)[None, :]
    entered = tl.load(enter_bias + k, known, 0.0)[None, :]
    deepened = tl.load(deepen_bias + k, known, 0.0)[None, :]
    for _ in range(frames):
        note = duration[:, None] * enter_duration + loudness[:, None] * enter_loudness + entered
        weight = tl.load(deepen + k[:, None] * hidden_units + k[None, :], square, 0.0)
        note = tl.maximum(tl.dot(tl.maximum(note, 0.0), weight, input_precision="tf32x3") + deepened, 0.0)
        c0 = _context(note, join, embedding, state, 0, hidden_units, HIDDEN)
        c1 = _context(note, join, embedding, state, 1, hidden_units, HIDDEN)
        c2 = _context(note, join, embedding, state, 2, hidden_units, HIDDEN)
        c3 = _context(note, join, embedding, state, 3, hidden_units, HIDDEN)
        note1, note_cell1, note2, note_cell2 = _both_layers(
            received, first, second, second_bias, c0, c1, c2, c3,
            note1, note_cell1, note2, note_cell2, inside, row, units, UNITS,
        )  # fmt: skip
        received += rows * 4 * units
        velocity1, velocity_cell1, velocity2, velocity_cell2 = _both_layers(
            received, first_of_velocity, second_of_velocity, bias_of_velocity, c0, c1, c2, c3,
            velocity1, velocity_cell1, velocity2, velocity_cell2, inside, row, units, UNITS,
        )  # fmt: skip
        off = _output(note2, note_output, note_bias, 0, 5, units, UNITS)
        offset = _output(note2, note_output, note_bias, 1, 5, units, UNITS)
        onset = _output(note2, note_output, note_bias, 2, 5, units, UNITS)
        sustain = _output(note2, note_output, note_bias, 3, 5, units, UNITS)
        reonset = _output(note2, note_output, note_bias, 4, 5, units, UNITS)
        heard = _output(velocity2, velocity_output, velocity_bias, 0, 1, units, UNITS)
        highest = tl.maximum(tl.maximum(tl.maximum(off, offset), tl.maximum(onset, sustain)), reonset)
        begun = tl.exp(onset - highest) + tl.exp(reonset - highest)
        ended = tl.exp(off - highest) + tl.exp(offset - highest)
        all_states = begun + ended + tl.exp(sustain - highest)
        sounds = duration > 0
        ending = tl.where(sounds, offset_bias, 0.0)
        best, chosen = off + ending, tl.zeros_like(state)
        value = offset + ending
        chosen, best = tl.where(value > best, 1, chosen), tl.maximum(best, value)
        value = onset + onset_bias
        chosen, best = tl.where(value > best, 2, chosen), tl.maximum(best, value)
        chosen, best = tl.where(sustain > best, 3, chosen), tl.maximum(best, sustain)
        chosen = tl.where(reonset + reonset_bias > best, 4, chosen)
        begins = (chosen == 2) | (chosen == 4)
        chosen = tl.where(begins & sounds & (duration < shortest), 3, chosen)
        begins = (chosen == 2) | (chosen == 4)
        goes_on = (chosen == 3) & sounds
        clamped = tl.minimum(tl.maximum(heard, 0.0), 1.0)
        longer = tl.minimum(duration + 1.0 / max_duration, 1.0)
        duration = tl.where(begins, 1.0 / max_duration, tl.where(goes_on, longer, 0.0))
        loudness = tl.where(begins, clamped, tl.where(goes_on, loudness, 0.0))
        state = chosen
        tl.store(states + row, chosen.to(tl.int8), real)
        tl.store(velocities + row, clamped, real)
        tl.store(confidences + row, begun / all_states, real)
        tl.store(endings + row, ended / all_states, real)
        if probabilities is not None:  # decided when the kernel is compiled
            of_off = probabilities + 5 * row
            tl.store(of_off, tl.exp(off - highest) / all_states, real)
            tl.store(of_off + 1, tl.exp(offset - highest) / all_states, real)
            tl.store(of_off + 2, tl.exp(onset - highest) / all_states, real)
            tl.store(of_off + 3, tl.exp(sustain - highest) / all_states, real)
            tl.store(of_off + 4, tl.exp(reonset - highest) / all_states, real)
            probabilities += 5 * rows
        received += rows * 4 * units
        states += rows
        velocities += rows
        confidences += rows
        endings += rows
    tl.store(joined + of_note, note1, inside)
    tl.store(joined + of_note + units, note2, inside)
    tl.store(joined + of_velocity, velocity1, inside)
    tl.store(joined + of_velocity + units, velocity2, inside)
    tl.store(cells + of_cell, note_cell1, inside)
    tl.store(cells + of_layer + of_cell, note_cell2, inside)
    tl.store(cells + rows * units + of_cell, velocity_cell1, inside)
    tl.store(cells + of_layer + rows * units + of_cell, velocity_cell2, inside)
    tl.store(last_state + row, state, real)
    tl.store(last_duration + row, duration, real)
    tl.store(last_velocity + row, loudness, real)


def decode_rows(
    weights: PitchwiseWeights,
    received: Tensor,
    memory: Memory,
    last: LastFrame,
    settings: DecodeConfig,
    max_duration: int,
    *,
    with_probabilities: bool = False,
) -> tuple[DecodedRows, LastFrame]:
    """Decode all frames of all rows; `memory` is changed in place.

    Args:
        weights: of the model.
        received: what its first layers receive from the features: (frames, 2, rows, 4 units).
        memory: of the LSTMs.
        last: the frame before, (batch, 1, pitches) each, batch * pitches = rows.
        settings, with_probabilities: see `torch_decode.begin_decoding`.
        max_duration: frames at which the count of a duration ends.
    """
    frames, _, rows, _ = received.shape
    units, hidden = memory.cells.shape[-1], len(weights.enter_bias)
    found = DecodedRows(
        received.new_empty(frames, rows, dtype=torch.int8),
        received.new_empty(frames, rows),
        received.new_empty(frames, rows),
        received.new_empty(frames, rows),
        received.new_empty(frames, rows, NOTE_STATES) if with_probabilities else None,
    )
    state = last.state.to(torch.int32).flatten()
    duration, velocity = last.duration.flatten().clone(), last.velocity.flatten().clone()
    tensors = (
        weights.embedding, weights.enter, weights.enter_bias, weights.deepen, weights.deepen_bias,
        weights.join, weights.first, weights.second, weights.second_bias, weights.output[0],
        weights.output_bias[0], weights.output[1], weights.output_bias[1],
    )  # fmt: skip
    # Triton launches on the current device, whichever the tensors are on.
    with torch.cuda.device(received.device) if received.is_cuda else nullcontext():
        _decode[(triton.cdiv(rows, _ROWS),)](
            received.contiguous(), *(tensor.contiguous() for tensor in tensors),
            memory.joined, memory.cells, state, duration, velocity, *found,
            frames, rows, units, hidden,
            *settings.begin_biases, settings.offset_bias,
            (settings.restrike_frames - 0.5) / max_duration if settings.restrike_frames > 1 else 0.0,
            float(max_duration),
            ROWS=_ROWS,
            UNITS=max(triton.next_power_of_2(units), 16),
            HIDDEN=max(triton.next_power_of_2(hidden), 16),
            num_warps=_WARPS,
            num_stages=1,  # loads of later frames cannot begin before this one is decided
        )  # fmt: skip
    shape = last.state.shape
    return found, LastFrame(state.long().view(shape), duration.view(shape), velocity.view(shape))
