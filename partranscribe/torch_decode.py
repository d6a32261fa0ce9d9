"""The autoregressive loop over frames in PyTorch (section III-C)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from .config import DecodeConfig, ModelConfig
from .errors import first_line
from .frames import Frames, Rules, rules_of
from .model import LastFrame, Par, State
from .notes import NOTE_STATES, OFF, ONSET, PITCHES, REONSET, SUSTAIN
from .stepper import Decoded, PitchwiseStepper, stepper_for
from .windows import Features


class Decoding:
    """Frames of several pieces on their way from the device.

    Args:
        parts: of `Frames`, with a leading axis for the pieces.
    """

    def __init__(self, parts: Sequence[Tensor]) -> None:
        self._parts = [part.to("cpu", non_blocking=True) for part in parts]
        self._done: torch.cuda.Event | None = None
        if parts[0].is_cuda:
            self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._done.record(torch.cuda.current_stream(parts[0].device))

    def wait(self) -> list[Frames]:
        """The frames of each piece, once they are there."""
        if self._done is not None:
            self._done.synchronize()
        pieces = zip(*(part.numpy() for part in self._parts), strict=True)
        return [Frames(*piece) for piece in pieces]


@dataclass(frozen=True)
class DecoderState:
    """All that one frame leaves to the next: what the LSTMs remember, and the recursive context."""

    lstm: State
    last: LastFrame


def initial_state(model: Par, batch: int = 1) -> DecoderState:
    """Before the first frame of `batch` pieces: nothing sounds."""
    zeros = next(model.parameters()).new_zeros(batch, 1, PITCHES)
    silence = LastFrame(torch.full_like(zeros, OFF, dtype=torch.long), zeros, zeros)
    return DecoderState(model.initial_state(batch), silence)


def advance(last: LastFrame, state: Tensor, velocity: Tensor, max_duration: int) -> LastFrame:
    """The recursive context after one more frame.

    A note opens at an onset or re-onset, and is open until the first frame that is neither of them nor
    sustain. A sustain without an open note is no note: its duration and velocity are zero.

    Args:
        last: the context before this frame.
        state: note states of this frame.
        velocity: velocities 0..1 of this frame, taken where a note begins.
        max_duration: frames at which the count of the duration ends.
    """
    begins = (state == ONSET) | (state == REONSET)
    continues = (state == SUSTAIN) & (last.duration > 0)
    longer = torch.clamp(last.duration + 1 / max_duration, max=1.0)
    duration = torch.where(begins, 1 / max_duration, torch.where(continues, longer, 0.0))
    return LastFrame(
        state, duration, torch.where(begins, velocity, torch.where(continues, last.velocity, 0.0))
    )


@torch.inference_mode()
def begin_decoding(
    model: Par,
    features: Features,
    state: DecoderState,
    settings: DecodeConfig,
    *,
    with_probabilities: bool = False,
) -> tuple[Decoding, DecoderState]:
    """Begin to decode several pieces side by side, frame by frame, each from the states before it.

    The frames may be given in any number of calls: the results are the same to the bit. A GPU goes on by
    itself.

    Args:
        model: the network, in evaluation mode.
        features: (batch, frames, pitches, hidden) each; what follows the end of a shorter piece does not
            change its frames.
        state: from `initial_state` for as many, or from the call before.
        settings: biases of the states, and how soon a key may be struck again.
        with_probabilities: hand over the probability of every state too.
    """
    longest = model.config.max_duration_frames
    if model.config.has_fast_loops and _has_kernel(features.note.device, model.config):
        stepper = PitchwiseStepper(model)
        return _decode_in_kernel(stepper, features, state, settings, longest, with_probabilities)
    decoded, lstm, last = _run(model, features, state.lstm, state.last, rules_of(settings, longest))
    off, offset, onset, _, reonset = decoded.probabilities.unbind(-1)
    found = [decoded.state.to(torch.int8), decoded.velocity, onset + reonset, off + offset]
    if with_probabilities:
        found.append(decoded.probabilities)
    return Decoding(found), DecoderState(lstm, last)


def _run(
    model: Par, features: Features, lstm: State, last: LastFrame, rules: Rules
) -> tuple[Decoded, State, LastFrame]:
    """The loop over frames; `openvino_decode.loop_graph` is the same."""
    stepper = stepper_for(model)
    silent, sounding = (torch.from_numpy(part).to(features.note.device) for part in rules[:2])
    states, velocities, logits = [], [], []
    with _one_thread() if len(features.note) == 1 else nullcontext():
        memory = stepper.remember(lstm)
        for inputs in stepper.inputs(features):
            prediction, memory = stepper.step(inputs, last, memory)
            is_open = last.duration > 0
            biased = prediction.states + torch.where(is_open.unsqueeze(-1), sounding, silent)
            best = biased.argmax(dim=-1)
            too_soon = is_open & (last.duration < rules.shortest)
            best = torch.where(too_soon & ((best == ONSET) | (best == REONSET)), SUSTAIN, best)
            velocity = prediction.velocity.clamp(0.0, 1.0)
            last = advance(last, best, velocity, model.config.max_duration_frames)
            states.append(best)
            velocities.append(velocity)
            logits.append(prediction.states)
    state, velocity, logit = (torch.cat(parts, dim=1) for parts in (states, velocities, logits))
    return Decoded(state, velocity, logit.softmax(dim=-1)), stepper.state(memory), last


def _decode_in_kernel(
    stepper: PitchwiseStepper,
    features: Features,
    state: DecoderState,
    settings: DecodeConfig,
    max_duration: int,
    with_probabilities: bool,
) -> tuple[Decoding, DecoderState]:
    """As `begin_decoding`, by `triton_decode`."""
    from .triton_decode import decode_rows

    memory = stepper.remember(state.lstm)
    found, last = decode_rows(
        stepper.weights,
        stepper.inputs(features),
        memory,
        state.last,
        settings,
        max_duration,
        with_probabilities=with_probabilities,
    )
    batch, frames, pitches = features.note.shape[:3]
    parts = [
        part.view(frames, batch, pitches, *part.shape[2:]).transpose(0, 1)
        for part in found
        if part is not None
    ]
    return Decoding(parts), DecoderState(stepper.state(memory), last)


@torch.inference_mode()
def _compare_kernel(device: torch.device, sizes: ModelConfig) -> None:
    """Decode a frame of a network of these sizes in the kernel, and by the loop.

    Raises:
        RuntimeError: it does not run, or does not give the same.
    """
    chance = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=chance).to(device)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Par(replace(sizes, head="compact", cnn_units=1, n_mels=4)).to(device).eval()
    model.velocity_sequence.output.bias.fill_(0.5)  # most of what it tells is within 0 and 1
    features = Features(*(draw(1, 1, PITCHES, sizes.hidden_per_pitch) for _ in range(2)))
    lstm = State(*((draw(*part.shape), draw(*part.shape)) for part, _ in model.initial_state(1)))
    state = torch.randint(NOTE_STATES, (1, 1, PITCHES), generator=chance).to(device)
    before = LastFrame(state, draw(1, 1, PITCHES).sigmoid(), draw(1, 1, PITCHES).sigmoid())
    nothing = np.zeros(NOTE_STATES, np.float32)
    expected, *_ = _run(model, features, lstm, before, Rules(nothing, nothing, 0.0))
    stepper, longest = PitchwiseStepper(model), model.config.max_duration_frames
    whole = DecoderState(lstm, before)
    settings = DecodeConfig(restrike_frames=1)
    decoding, _ = _decode_in_kernel(stepper, features, whole, settings, longest, True)
    (found,) = decoding.wait()
    for name in ("probabilities", "velocity"):
        ours, theirs = torch.from_numpy(getattr(found, name)), getattr(expected, name)[0].cpu()
        if not torch.allclose(ours, theirs, atol=1e-4):
            raise RuntimeError(f"its {name} are not those of PyTorch")


@lru_cache
def _has_kernel(device: torch.device, sizes: ModelConfig) -> bool:
    """Whether the frames of a network are decoded in one launch on a device; it says so once where not."""
    if device.type != "cuda":
        return False
    try:
        _compare_kernel(device, sizes)
    except Exception as error:  # Triton's many: a driver, a compiler or a device that it does not know
        fact = f"the kernel does not run ({first_line(error)})"
        warnings.warn(f"{device}: decodes frame by frame; {fact}", stacklevel=2)
        return False
    return True


@contextmanager
def _one_thread() -> Iterator[None]:
    """A frame is too small to share: several threads take longer, and their number could change its bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
