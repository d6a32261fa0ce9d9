"""The autoregressive loop over frames, and the rule by which frame states become notes (section III-C)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .config import DecodeConfig, ModelConfig
from .errors import first_line
from .model import NOTE_STATES, OFF, OFFSET, ONSET, REONSET, SUSTAIN, Features, LastFrame, Par, State
from .notes import LOWEST_PITCH, PITCHES, Note
from .stepper import Decoded, PitchwiseStepper, Rules, stepper_for

if TYPE_CHECKING:
    from .openvino_decode import OpenVinoLoop


class Frames(NamedTuple):
    """What was decoded for each frame and pitch: (frames, pitches) each.

    `state` are note states; `velocity` is within 0..1 and counts where a note begins; `confidence` is the
    probability of a note beginning here, and `ending` that of offset or off. `probabilities` are those of
    all states, (frames, pitches, states), where they were asked for; all three before biases and rules.
    """

    state: NDArray[np.int8]
    velocity: NDArray[np.float32]
    confidence: NDArray[np.float32]
    ending: NDArray[np.float32]
    probabilities: NDArray[np.float32] | None = None

    def part(self, frames: slice) -> Frames:
        """Some of them."""
        probabilities = None if self.probabilities is None else self.probabilities[frames]
        return Frames(
            self.state[frames],
            self.velocity[frames],
            self.confidence[frames],
            self.ending[frames],
            probabilities,
        )


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


def decode(
    model: Par,
    features: Features,
    state: DecoderState,
    settings: DecodeConfig | None = None,
    *,
    with_probabilities: bool = False,
    loop: OpenVinoLoop | None = None,
) -> tuple[Frames, DecoderState]:
    """Decode a piece frame by frame, each from the states that were decoded before it.

    The frames may be given in any number of calls: the results are the same to the bit.

    Args:
        model: the network, in evaluation mode.
        features: its acoustic features, (1, frames, pitches, hidden) each.
        state: from `initial_state`, or from the call before.
        settings: biases of the states, and how soon a key may be struck again.
        with_probabilities: hand over the probability of every state too.
        loop: what runs over the frames in place of PyTorch, from `compiled_loop`.
    """
    (frames,), state = decode_batch(
        model, features, state, settings, with_probabilities=with_probabilities, loop=loop
    )
    return frames, state


def decode_batch(
    model: Par,
    features: Features,
    state: DecoderState,
    settings: DecodeConfig | None = None,
    *,
    with_probabilities: bool = False,
    loop: OpenVinoLoop | None = None,
) -> tuple[list[Frames], DecoderState]:
    """Decode several pieces side by side; see `begin_decoding`."""
    decoding, state = begin_decoding(
        model, features, state, settings, with_probabilities=with_probabilities, loop=loop
    )
    return decoding.wait(), state


@torch.inference_mode()
def begin_decoding(
    model: Par,
    features: Features,
    state: DecoderState,
    settings: DecodeConfig | None = None,
    *,
    with_probabilities: bool = False,
    loop: OpenVinoLoop | None = None,
) -> tuple[Decoding, DecoderState]:
    """Begin to decode several pieces side by side, see `decode`; a GPU goes on by itself.

    Args:
        model: the network, in evaluation mode.
        features: (batch, frames, pitches, hidden) each; what follows the end of a shorter piece does not
            change its frames.
        state: from `initial_state` for as many, or from the call before.
        settings, with_probabilities, loop: as for `decode`.
    """
    settings = settings or DecodeConfig()
    longest = model.config.max_duration_frames
    if loop is None and model.config.has_fast_loops and _has_kernel(features.note.device, model.config):
        stepper = PitchwiseStepper(model)
        return _decode_in_kernel(stepper, features, state, settings, longest, with_probabilities)
    silent = torch.zeros(NOTE_STATES, device=features.note.device)
    silent[ONSET], silent[REONSET] = settings.onset_bias, settings.reonset_bias
    sounding = silent.clone()
    sounding[OFF] = sounding[OFFSET] = settings.offset_bias
    rules = Rules(silent, sounding, (settings.restrike_frames - 0.5) / longest)
    run = loop.run if loop is not None else partial(_run, model)
    decoded, lstm, last = run(features, state.lstm, state.last, rules)
    off, offset, onset, _, reonset = decoded.probabilities.unbind(-1)
    found = [decoded.state.to(torch.int8), decoded.velocity, onset + reonset, off + offset]
    if with_probabilities:
        found.append(decoded.probabilities)
    return Decoding(found), DecoderState(lstm, last)


def _run(
    model: Par, features: Features, lstm: State, last: LastFrame, rules: Rules
) -> tuple[Decoded, State, LastFrame]:
    """The loop over frames, by PyTorch; `openvino_decode.OpenVinoLoop.run` is the same."""
    stepper = stepper_for(model)
    states, velocities, logits = [], [], []
    with _one_thread() if len(features.note) == 1 else nullcontext():
        memory = stepper.remember(lstm)
        for inputs in stepper.inputs(features):
            prediction, memory = stepper.step(inputs, last, memory)
            is_open = last.duration > 0
            biased = prediction.states + torch.where(is_open.unsqueeze(-1), rules.sounding, rules.silent)
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


def compiled_loop(model: Par) -> OpenVinoLoop | None:
    """The loop of a model on a CPU by OpenVINO, for `decode`.

    None for an ablation that has no such loop, and, with a warning, where it does not compile.
    """
    if not model.config.has_fast_loops:
        return None
    from .openvino_decode import OpenVinoLoop

    try:
        return OpenVinoLoop(model)
    except RuntimeError as error:
        fact = f"openvino: does not compile the loop over frames ({first_line(error)})"
        warnings.warn(f"{fact}; PyTorch takes its place, half as fast", stacklevel=2)
        return None


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
    nothing = torch.zeros(NOTE_STATES, device=device)
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


def _lateness(
    probability: NDArray[np.float32], begins: NDArray[np.bool_], before: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """By how many frames a change is expected later than the frame that it was decided on.

    It was on the frame before with the probability there, else it is here with the probability here, and else
    on the next. A change halfway between two frames is on the first with a probability of a half.

    Args:
        probability: of the change, (frames, pitches).
        begins: where notes begin: a frame that begins one tells nothing of the change after it.
        before: what the frame before these leaves, (pitches,).

    Returns:
        The lateness where the change is, and what the last frame leaves.
    """
    rows = np.concatenate((before[None], np.where(begins, np.float32(0), probability)))
    earlier = rows[:-1]
    return (1 - earlier) * (1 - probability) - earlier, rows[-1]


class _OpenNote(NamedTuple):
    frame: float
    velocity: int
    confidence: float


class NoteCollector:
    """Turns decoded frames into notes, as they come.

    Args:
        seconds_per_frame: time between two frames.
        settings: whether times are between frames, and constant shifts of onsets and offsets.
    """

    def __init__(self, seconds_per_frame: float, settings: DecodeConfig | None = None) -> None:
        self._seconds_per_frame = seconds_per_frame
        self._settings = settings or DecodeConfig()
        self._open: dict[int, _OpenNote] = {}
        self._frame = 0
        self._before = np.zeros((2, PITCHES), np.float32)  # as `_lateness` takes it, of onsets and of ends

    def push(self, frames: Frames) -> list[Note]:
        """Take the next frames, and give the notes that ended in them."""
        notes = []
        before = np.zeros((1, PITCHES), bool)
        before[0, list(self._open)] = True
        sounds = np.isin(frames.state, (ONSET, REONSET, SUSTAIN))
        begins = np.isin(frames.state, (ONSET, REONSET))
        ends = ~sounds & np.concatenate((before, sounds[:-1]))
        late = np.zeros(frames.state.shape, np.float32)
        if self._settings.between_frames:
            onsets, self._before[0] = _lateness(frames.confidence, begins, self._before[0])
            offsets, self._before[1] = _lateness(frames.ending, begins, self._before[1])
            late = np.where(begins, onsets, offsets)
        for row, pitch in np.argwhere(begins | ends).tolist():
            frame = self._frame + row + float(late[row, pitch])
            if pitch in self._open:
                notes.append(self._note(pitch, frame))
            if begins[row, pitch]:
                velocity = min(max(round(float(frames.velocity[row, pitch]) * 127), 1), 127)
                confidence = min(float(frames.confidence[row, pitch]), 1.0)
                self._open[pitch] = _OpenNote(frame, velocity, confidence)
        self._frame += len(frames.state)
        return notes

    def finish(self) -> list[Note]:
        """The notes that still sound when the recording ends: they end with it."""
        return [self._note(pitch, self._frame) for pitch in list(self._open)]

    def _note(self, pitch: int, end: float) -> Note:
        begun = self._open.pop(pitch)
        onset = max(begun.frame * self._seconds_per_frame + self._settings.onset_shift, 0.0)
        offset = max(end * self._seconds_per_frame + self._settings.offset_shift, onset)
        return Note(onset, offset, pitch + LOWEST_PITCH, begun.velocity, begun.confidence)
