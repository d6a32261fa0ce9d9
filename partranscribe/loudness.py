"""How loud a recording is as a whole, and the gain that brings it to a level."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

_SPAN_SECONDS = 0.4
_SILENCE_DB = -70.0  # spans below it do not count, so that a recording of silence has no loudness
_PAUSE_DB = -20.0  # nor do those so far below the mean of the rest
_MOST_GAIN_DB = 30.0  # beyond it, what is soft is noise
_KEPT_SECONDS = 600.0  # of a recording, which take 38 MB at 16 kHz; a longer one is read twice

Samples = NDArray[np.float32]


def loudness(blocks: Iterable[Samples], sample_rate: int) -> float | None:
    """RMS of what is no silence, in decibels relative to full scale.

    Args:
        blocks: (samples,) each; where they are cut changes nothing but the last bits.
        sample_rate: of them.

    Returns:
        None where all is silence.
    """
    span = round(_SPAN_SECONDS * sample_rate)
    powers: list[NDArray[np.float64]] = []
    rest = np.zeros(0, np.float32)
    for block in blocks:
        joined = np.concatenate((rest, block))
        whole = len(joined) // span * span
        powers.append(np.square(joined[:whole].reshape(-1, span), dtype=np.float64).mean(axis=1))
        rest = joined[whole:]
    if len(rest):
        powers.append(np.square(rest, dtype=np.float64).mean(keepdims=True))
    power = np.concatenate(powers) if powers else np.zeros(0)
    heard = power[power > 10 ** (_SILENCE_DB / 10)]
    if not len(heard):
        return None
    heard = heard[heard > heard.mean() * 10 ** (_PAUSE_DB / 10)]
    return float(10 * np.log10(heard.mean()))


def gain_to(level: float, loud: float | None) -> float:
    """What samples are multiplied by to bring a recording to a level, 30 dB at most; 1 for silence.

    Args:
        level: RMS in decibels.
        loud: that of the recording, from `loudness`.
    """
    if loud is None:
        return 1.0
    return float(10 ** (min(level - loud, _MOST_GAIN_DB) / 20))


def brought_to(
    level: float,
    read: Callable[[], Iterable[Samples]],
    sample_rate: int,
    heard: Callable[[Samples], object] | None = None,
) -> Iterator[Samples]:
    """The blocks of a recording with the gain that brings all of it to a level; a long one is read twice.

    Args:
        level: RMS in decibels; 0 leaves the recording as it is.
        read: its blocks, from the beginning.
        sample_rate: of them.
        heard: called with each block as it is read, before the first one is given.
    """
    if level == 0 and heard is None:
        yield from read()
        return
    kept: deque[Samples] = deque()
    loud = loudness(_keeping(read(), kept, sample_rate, heard), sample_rate)
    gain = np.float32(gain_to(level, loud) if level else 1.0)
    for block in _taken(kept) if kept else read():
        yield block * gain


def _keeping(
    blocks: Iterable[Samples],
    kept: deque[Samples],
    sample_rate: int,
    heard: Callable[[Samples], object] | None,
) -> Iterator[Samples]:
    """The same blocks, of which none is kept once there are too many."""
    samples = 0
    for block in blocks:
        samples += len(block)
        if samples <= _KEPT_SECONDS * sample_rate:
            kept.append(block)
        else:
            kept.clear()
        if heard is not None:
            heard(block)
        yield block


def _taken(kept: deque[Samples]) -> Iterator[Samples]:
    while kept:
        yield kept.popleft()
