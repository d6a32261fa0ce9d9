"""Decoded frames, the rules by which their states are chosen, and how they become notes (section III-C)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .config import DecodeConfig
from .notes import LOWEST_PITCH, NOTE_STATES, OFF, OFFSET, ONSET, PITCHES, REONSET, SUSTAIN, Note, Place


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


class Rules(NamedTuple):
    """How the states of a frame are chosen from their logits.

    Args:
        silent, sounding: added to the logits of a pitch that is silent, and of one that sounds: (states,).
        shortest: share of the longest duration before which a key is not struck again: an onset or
            re-onset there is sustain.
    """

    silent: NDArray[np.float32]
    sounding: NDArray[np.float32]
    shortest: float


def rules_of(settings: DecodeConfig, max_duration: int) -> Rules:
    """The rules of some settings.

    Args:
        settings: biases of the states, and how soon a key may be struck again.
        max_duration: frames at which the count of the duration ends.
    """
    silent = np.zeros(NOTE_STATES, np.float32)
    silent[ONSET], silent[REONSET] = settings.begin_biases
    sounding = silent.copy()
    sounding[[OFF, OFFSET]] = settings.offset_bias
    return Rules(silent, sounding, (settings.restrike_frames - 0.5) / max_duration)


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
    onset: float
    velocity: int
    confidence: float


class NoteCollector:
    """Turns decoded frames into notes, as they come.

    Args:
        seconds_per_frame: time between two frames.
        settings: whether times are between frames, and constant shifts of onsets and offsets.

    `begun` are onset and pitch of the notes that began in the frames that were pushed last.
    """

    def __init__(self, seconds_per_frame: float, settings: DecodeConfig | None = None) -> None:
        self._seconds_per_frame = seconds_per_frame
        self._settings = settings or DecodeConfig()
        self._open: dict[int, _OpenNote] = {}
        self._frame = 0
        self.begun: list[Place] = []
        self._before = np.zeros((2, PITCHES), np.float32)  # as `_lateness` takes it, of onsets and of ends

    def push(self, frames: Frames) -> list[Note]:
        """Take the next frames, and give the notes that ended in them."""
        notes = []
        self.begun = []
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
                onset = max(frame * self._seconds_per_frame + self._settings.onset_shift, 0.0)
                self._open[pitch] = _OpenNote(onset, velocity, confidence)
                self.begun.append((onset, pitch + LOWEST_PITCH))
        self._frame += len(frames.state)
        return notes

    @property
    def decided(self) -> float:
        """Seconds before which no more notes begin or end: a frame earlier at most than is decided on."""
        shift = min(self._settings.onset_shift, self._settings.offset_shift)
        return (self._frame - 1) * self._seconds_per_frame + shift

    def finish(self) -> list[Note]:
        """The notes that still sound when the recording ends: they end with it."""
        return [self._note(pitch, self._frame) for pitch in list(self._open)]

    def _note(self, pitch: int, end: float) -> Note:
        begun = self._open.pop(pitch)
        offset = max(end * self._seconds_per_frame + self._settings.offset_shift, begun.onset)
        return Note(begun.onset, offset, pitch + LOWEST_PITCH, begun.velocity, begun.confidence)
