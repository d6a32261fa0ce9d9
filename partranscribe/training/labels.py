"""Notes to the note states, velocities and recursive context of each frame: sections III-A and III-C."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..note_array import OFFSET_COLUMN, ONSET_COLUMN, PITCH_COLUMN, VELOCITY_COLUMN, NoteArray
from ..notes import LOWEST_PITCH, OFF, OFFSET, ONSET, PITCHES, REONSET, SUSTAIN

EARLY_FRAMES = 2  # by which an onset may be heard early

_Scalar = TypeVar("_Scalar", bound=np.generic)


class FrameLabels(NamedTuple):
    """(frames, pitches) each: note state, and velocity 0..1 on the frame where a note begins."""

    state: NDArray[np.int8]
    velocity: NDArray[np.float32]


class ContextLabels(NamedTuple):
    """(frames, pitches) each: the recursive context that the frame before leaves to each frame."""

    state: NDArray[np.int8]
    duration: NDArray[np.float32]
    velocity: NDArray[np.float32]


def frame_labels(notes: NoteArray, first: int, frames: int, frames_per_second: float) -> FrameLabels:
    """Label frames `first` to `first + frames` of a recording.

    Onsets and ends are rounded to frames. A note keeps its onset frame even where both round to the same
    one; the offset state takes the one frame after the note; an onset on a pitch that sounds is a re-onset
    and ends the note before it.

    Args:
        notes: of the recording, at least all that sound within these frames.
        first: index of the first frame.
        frames: how many.
        frames_per_second: frame rate.
    """
    state = np.full((frames, PITCHES), OFF, np.int8)
    velocity = np.zeros((frames, PITCHES), np.float32)
    begins = np.floor(notes[:, ONSET_COLUMN] * frames_per_second + 0.5).astype(int) - first
    ends = np.floor(notes[:, OFFSET_COLUMN] * frames_per_second + 0.5).astype(int) - first
    ends = np.maximum(ends, begins + 1)
    pitches = notes[:, PITCH_COLUMN].astype(int) - LOWEST_PITCH
    never = np.iinfo(int).min
    begun, sounding_until = np.full(PITCHES, never), np.full(PITCHES, never)
    restruck = np.zeros(PITCHES, bool)
    for begin, end, pitch, loudness in zip(begins, ends, pitches, notes[:, VELOCITY_COLUMN], strict=True):
        if not 0 <= pitch < PITCHES:
            continue
        if begin > begun[pitch]:
            restruck[pitch] = sounding_until[pitch] >= begin
        begun[pitch], sounding_until[pitch] = begin, end
        if begin >= frames:
            continue
        state[max(begin, 0) : max(end, 0), pitch] = SUSTAIN
        state[max(end, 0) :, pitch] = OFF
        if 0 <= end < frames:
            state[end, pitch] = OFFSET
        if begin >= 0:
            state[begin, pitch] = REONSET if restruck[pitch] else ONSET
            velocity[begin, pitch] = loudness / 127
    return FrameLabels(state, velocity)


def context_labels(labels: FrameLabels, max_duration: int) -> ContextLabels:
    """The context that each frame receives, by the rule of `torch_decode.advance` over all frames at once.

    Args:
        labels: of the frames; the first of them receives the context of silence.
        max_duration: frames at which the count of the duration ends.
    """
    state, velocity = labels
    frame = np.arange(len(state))[:, None]
    begins = (state == ONSET) | (state == REONSET)
    sounds = begins | (state == SUSTAIN)
    last_begin = np.maximum.accumulate(np.where(begins, frame, -1), axis=0)
    last_silence = np.maximum.accumulate(np.where(sounds, -1, frame), axis=0)
    is_open = sounds & (last_begin > last_silence)
    duration = np.where(is_open, np.minimum(frame - last_begin + 1, max_duration) / max_duration, 0)
    carried = np.where(is_open, np.take_along_axis(velocity, np.maximum(last_begin, 0), axis=0), 0)
    return ContextLabels(
        state=_delayed(state),
        duration=_delayed(duration.astype(np.float32)),
        velocity=_delayed(carried.astype(np.float32)),
    )


def silence_before(labels: FrameLabels) -> ContextLabels:
    """The context of frames before each of which nothing sounded."""
    silence = np.zeros_like(labels.velocity)
    return ContextLabels(np.full_like(labels.state, OFF), silence, silence)


def forgiving_labels(labels: FrameLabels, context: ContextLabels, max_duration: int) -> FrameLabels:
    """What is best to answer to a context in which some onsets are a frame or two off.

    An onset that the context has heard up to two frames early is not asked for again, and what it heard
    goes on until there; one that it has missed may be made up for on the next frame, which is still within
    the 50 ms of a score. Velocities are also told a frame before and after each onset, for one that is
    decoded there.
    """
    state, velocity = labels.state.copy(), labels.velocity.copy()
    begins = (labels.state == ONSET) | (labels.state == REONSET)
    age = np.round(context.duration * max_duration)  # frames since the onset in the context; 0 is off
    for early in range(1, EARLY_FRAMES + 1):
        heard = begins[early:] & (age[early:] == early) & ~begins[:-early]
        for between in range(early):
            state[between + 1 : len(state) - early + between + 1][heard] = SUSTAIN
    missed = begins[:-1] & (labels.state[1:] == SUSTAIN) & ((age[1:] == 0) | (age[1:] > EARLY_FRAMES + 1))
    late = np.concatenate((np.zeros_like(missed[:1]), missed))
    state[late] = np.where(age[late] == 0, ONSET, REONSET)
    before, after = velocity[1:].copy(), velocity[:-1].copy()
    velocity[:-1] = np.where(velocity[:-1] > 0, velocity[:-1], before)
    velocity[1:] = np.where(velocity[1:] > 0, velocity[1:], after)
    return FrameLabels(state, velocity)


def _delayed(frames: NDArray[_Scalar]) -> NDArray[_Scalar]:
    """One frame later; the first frame is zero, which is also the state off."""
    return np.concatenate((np.zeros_like(frames[:1]), frames[:-1]))
