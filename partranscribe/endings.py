"""How likely each frame around the moment at which a note was heard to end is its end.

The network decides that a note has ended while it hears it, with a third of a second of what follows. What
its acoustic module says of the pitch goes on: a string that a damper has touched is silent two seconds later,
one that a pedal holds is not. So what is said of the pitch of a note from a second before the end that was
heard to two seconds after it is looked at by a small convolutional network, trained on what a trained network
decodes. This is not of the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .notes import LOWEST_PITCH, Note, Place
from .windows import Array, Arrays, NumpyArrays

BEFORE, AFTER = 31, 65  # frames around the one at which a note was heard to end
FRAMES = BEFORE + 1 + AFTER
"""Of a note that are looked at, and each of which may be its end."""

BESIDE = 3
"""Numbers of a frame beside what the acoustic module says: whether there is one, whether the note has begun,
and how far it is from the end that was heard."""

DILATIONS = (1, 2, 4)
"""Frames from one tap of each layer to the next."""

TAPS = 5
"""Frames that each layer sees at once."""

_TOGETHER = 128  # notes that are looked at at once


class EndingNetwork(NamedTuple):
    """Three layers of convolutions over frames with ReLU, and the sum of their units.

    Args:
        first: (TAPS, inputs, hidden), of which the last BESIDE inputs are not of the acoustic module.
        second, third: (TAPS, hidden, hidden).
        first_bias, second_bias, third_bias, output: (hidden,).
    """

    first: Array
    first_bias: Array
    second: Array
    second_bias: Array
    third: Array
    third_bias: Array
    output: Array

    def logits(self, windows: Array, arrays: Arrays) -> Array:
        """How likely each frame is the end, where frames before the note may be as likely: (notes, FRAMES).

        Args:
            windows: from `windows_of`.
            arrays: of the kind of the network and of these.
        """
        hidden = windows
        weights = (self.first, self.second, self.third)
        biases = (self.first_bias, self.second_bias, self.third_bias)
        for weight, bias, dilation in zip(weights, biases, DILATIONS, strict=True):
            frames, reach = hidden.shape[1], dilation * (TAPS // 2)
            padded = arrays.zeros(len(hidden), frames + 2 * reach, hidden.shape[2])
            padded[:, reach : reach + frames] = hidden
            hidden = bias
            # One product of each note: BLAS computes it on one thread, and however many there are alike.
            for tap, of_tap in enumerate(weight):
                hidden = hidden + padded[:, tap * dilation : tap * dilation + frames] @ of_tap
            hidden = hidden.clip(min=0)
        return (hidden * self.output).sum(-1)


class Ending(NamedTuple):
    """How likely the frames around the end of a note are its end.

    Args:
        first: seconds of the first frame.
        seconds_per_frame: from one to the next.
        logits: (FRAMES,).
    """

    first: float
    seconds_per_frame: float
    logits: NDArray[np.float16]


class EndHeard(NamedTuple):
    """What is heard around the end of a note.

    Args:
        first: the number of the first frame.
        window: see `windows_of`: (FRAMES, hidden + BESIDE).
    """

    first: int
    window: NDArray[np.float16]


def windows_of(
    features: Array, first: int, notes: Sequence[Note], seconds_per_frame: float, arrays: Arrays
) -> Array:
    """What an `EndingNetwork` is given of some notes: (notes, FRAMES, hidden + BESIDE).

    Args:
        features: what the acoustic module of the note network says: (frames, pitches, hidden).
        first: the number of the first of these, which are all frames that there are around the ends of notes.
        notes: one at least.
        seconds_per_frame: of the front end.
        arrays: of the kind of the features.
    """
    frames = first_frames(notes, seconds_per_frame)[:, None] + np.arange(FRAMES)
    count, hidden = len(features), features.shape[2]
    there = (frames >= first) & (frames < first + count)
    places = (frames - first).clip(0, count - 1)
    beside = np.empty((*frames.shape, BESIDE), np.float32)
    beside[..., 0] = there
    beside[..., 1] = frames * seconds_per_frame >= np.array([[note.onset] for note in notes])
    beside[..., 2] = (np.arange(FRAMES) - BEFORE) / BEFORE
    windows = arrays.zeros(*frames.shape, hidden + BESIDE)
    windows[..., hidden:] = arrays.array(beside)
    keys = np.array([[note.pitch - LOWEST_PITCH] for note in notes])
    windows[..., :hidden] = features[places, keys] * windows[..., hidden : hidden + 1]
    return windows


def ends_heard(
    features: NDArray[np.float32], notes: Sequence[Note], seconds_per_frame: float
) -> dict[Place, EndHeard]:
    """What is heard around the ends of notes, by their onsets and pitches.

    Args:
        features: see `windows_of`; of a whole recording.
        notes: that were heard in it, one at least.
        seconds_per_frame: of the front end.
    """
    windows = windows_of(features, 0, notes, seconds_per_frame, NumpyArrays()).astype(np.float16)
    firsts = first_frames(notes, seconds_per_frame).tolist()
    places = (note.place for note in notes)
    return dict(zip(places, map(EndHeard, firsts, windows), strict=True))


def endings_of(
    network: EndingNetwork, features: NDArray[np.float32], notes: Sequence[Note], seconds_per_frame: float
) -> dict[Place, Ending]:
    """The endings of notes, by their onsets and pitches.

    Args:
        network: that tells them.
        features: see `windows_of`; of a whole recording.
        notes: that were heard in it.
        seconds_per_frame: of the front end.
    """
    meter = EndingMeter(network, seconds_per_frame, NumpyArrays())
    meter.take(features, [], 0.0)
    return meter.finish(notes)


def first_frames(notes: Sequence[Note], seconds_per_frame: float) -> NDArray[np.int_]:
    """Numbers of the first frames that are looked at of some notes: (notes,)."""
    return np.array([round(note.offset / seconds_per_frame) - BEFORE for note in notes])


class EndingMeter:
    """Tells the endings of notes while a recording is decoded, and keeps no more of it than it needs.

    Args:
        network: that tells them.
        seconds_per_frame: of the front end.
        arrays: of the kind of the features.
        start: seconds that are added to all times in what it gives.
    """

    def __init__(
        self, network: EndingNetwork, seconds_per_frame: float, arrays: Arrays, start: float = 0.0
    ) -> None:
        self._network = EndingNetwork(*map(arrays.array, network))
        self._seconds_per_frame, self._arrays, self._start = seconds_per_frame, arrays, start
        self._features: Array | None = None
        self._first = 0  # the number of the first frame that is kept
        self._waiting: list[Note] = []  # that ended, and whose frames have not all come
        self._looked: tuple[Sequence[Note], Array] | None = None
        self._endings: dict[Place, Ending] = {}

    def take(self, features: Array, ended: Sequence[Note], seconds: float) -> None:
        """Take the next frames and what was decoded of them.

        Args:
            features: by the acoustic module of the note network: (frames, pitches, hidden).
            ended: notes that have ended since.
            seconds: before which no more notes will end.
        """
        kept = () if self._features is None else (self._features,)
        self._features = self._arrays.join((*kept, features))
        waiting, self._waiting = [*self._waiting, *ended], []
        count, over = self._first + len(self._features), list[Note]()
        for note in waiting:
            (over if self._frame(note.offset) + AFTER < count else self._waiting).append(note)
        self._look(over)
        self._forget(min([seconds, *(note.offset for note in self._waiting)]))

    def finish(self, ended: Sequence[Note]) -> dict[Place, Ending]:
        """Those of all notes, when no more frames come.

        Args:
            ended: the notes that have ended since.
        """
        self._look([*self._waiting, *ended])
        self._keep()
        return self._endings

    def _look(self, notes: Sequence[Note]) -> None:
        """At what is heard of notes; what a device finds is asked for when it has had time for it."""
        if self._features is None:
            return
        for first in range(0, len(notes), _TOGETHER):
            some = notes[first : first + _TOGETHER]
            windows = windows_of(self._features, self._first, some, self._seconds_per_frame, self._arrays)
            self._keep()
            self._looked = some, self._network.logits(windows, self._arrays)

    def _keep(self) -> None:
        """What was found of the notes that were looked at last."""
        if self._looked is None:
            return
        notes, found = self._looked
        self._looked = None
        firsts = (
            self._start + self._seconds_per_frame * first_frames(notes, self._seconds_per_frame)
        ).tolist()
        logits = self._arrays.to_numpy(found).astype(np.float16)
        for note, first, of_note in zip(notes, firsts, logits, strict=True):
            ending = Ending(first, self._seconds_per_frame, of_note)
            self._endings[self._start + note.onset, note.pitch] = ending

    def _forget(self, seconds: float) -> None:
        """What is before the frames of notes that end at some second or later."""
        over = max(self._frame(seconds) - BEFORE - 1 - self._first, 0)
        if not over or self._features is None:
            return
        self._features = self._features[over:]
        self._first += over

    def _frame(self, seconds: float) -> int:
        return round(seconds / self._seconds_per_frame)
