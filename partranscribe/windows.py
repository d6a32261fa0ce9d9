"""A recording's log-mel frames in windows, of which acoustic features are computed without a seam."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

WAITING = 4  # windows that are ready before they are asked for

Array = Any  # of NumPy or of PyTorch, as the engine has it


class Arrays(Protocol):
    """What is done with arrays that an engine has."""

    def join(self, arrays: Sequence[Array], axis: int = 0) -> Array:
        """Arrays one after the other, as an array of its own."""

    def zeros(self, *shape: int) -> Array:
        """An array like features."""

    def array(self, values: NDArray[np.float32]) -> Array:
        """The same values as an array like features."""

    def to_numpy(self, array: Array) -> NDArray[np.float32]:
        """The same values as an array of NumPy."""


class NumpyArrays:
    """Arrays of NumPy; see `Arrays`."""

    def join(self, arrays: Sequence[NDArray[np.float32]], axis: int = 0) -> NDArray[np.float32]:
        """See `Arrays.join`."""
        return np.concatenate(arrays, axis)

    def zeros(self, *shape: int) -> NDArray[np.float32]:
        """See `Arrays.zeros`."""
        return np.zeros(shape, np.float32)

    def array(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Arrays.array`."""
        return values

    def to_numpy(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Arrays.to_numpy`."""
        return array


class Features(NamedTuple):
    """What the two acoustic modules say of each frame: (batch, frames, pitches, hidden) each."""

    note: Array
    velocity: Array


class Window(NamedTuple):
    """Frames to compute together: log-mel (frames, mels) with a margin, and which of them are wanted."""

    mel: Array
    inside: slice


Join = Callable[[Sequence[Array]], Array]


class WindowCutter:
    """Cuts a recording's log-mel frames to windows with the margin of the convolutions on either side.

    What is wanted of each window lies without gap or overlap, so that features have no seam. Where they
    are cut depends on the groups alone in which the frames come.

    Args:
        margin: frames on either side, less at the recording's edges; `ModelConfig.margin_frames`.
        join: puts arrays of frames one after the other, as `numpy.concatenate` does.
    """

    def __init__(self, margin: int, join: Join) -> None:
        self._margin, self._join = margin, join
        self._held: Array | None = None
        self._before = 0  # frames of margin at the beginning of what is held

    def push(self, mel: Array) -> Window | None:
        """Take the next frames, (frames, mels), and give the window that is now complete, if one is."""
        held = mel if self._held is None else self._join((self._held, mel))
        before, ready = self._before, len(held) - self._before - self._margin
        self._held = held
        if ready <= 0:
            return None
        self._before = min(self._margin, before + ready)
        self._held = held[before + ready - self._before :]
        return Window(held, slice(before, before + ready))

    def finish(self) -> Window | None:
        """The window that remains when no more frames come, if one does; None from then on."""
        held, self._held = self._held, None
        if held is None or len(held) <= self._before:
            return None
        return Window(held, slice(self._before, len(held)))


def windows(mels: Iterable[Array], cutter: WindowCutter) -> Generator[Window]:
    """The windows of a recording, of log-mel frames in order."""
    for mel in mels:
        window = cutter.push(mel)
        if window is not None:
            yield window
    window = cutter.finish()
    if window is not None:
        yield window
