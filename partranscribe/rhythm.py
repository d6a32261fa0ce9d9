"""Whether a piece was entered note by note or performed, by when its notes begin.

In a piece that was entered the notes of a chord begin together to the millisecond, and notes of the same
value follow each other evenly. What a network hears of both is a few milliseconds off, what people play is
more. This is not of the paper.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NEAR = 0.03  # seconds between onsets that are one beginning
CHORD = 0.05  # seconds at most between notes of one chord
_FEW = 6  # chords, and pairs of intervals, as performances have them, that are added to those of a recording
_USUAL_GAP, _USUAL_UNEVENNESS = 0.01, 0.02  # seconds
_USUAL_FROM_RATIOS = 0.1
_EXACT, _UNEVEN = 0.001, 0.002  # seconds, added to gaps and unevenness of which logarithms are taken
_SHORT = 0.03  # seconds, added to intervals of which logarithms are taken
_USUAL_INTERVAL = 0.2  # seconds
_PAUSE = 2.0  # seconds between beginnings that are no rhythm
_RATIOS = np.log(
    [1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 4, 1, 4 / 3, 3 / 2, 2, 3, 4]
)  # of an interval to the one before
_EVEN = 0.35  # logarithm of a ratio of two intervals that are meant to be alike
_CHANGE = 0.1  # seconds at most between two such intervals
_NO_MORE_LIKELY = 1e-4  # seconds squared, the sum of a few changes that neither go on nor back

RHYTHM_FEATURES = 9
"""Numbers of a recording by which it is told whether its piece was entered."""


class Beginnings(NamedTuple):
    """Moments at which notes begin, those of a chord as one.

    Args:
        seconds: the mean onset of each: (beginnings,).
        group: which of them each note is of: (notes,).
    """

    seconds: Floats
    group: NDArray[np.intp]

    @property
    def interval(self) -> float:
        """Seconds from one to the next, the logarithm of the median."""
        intervals = np.diff(self.seconds)
        return float(np.log(_SHORT + (np.median(intervals) if len(intervals) else _USUAL_INTERVAL)))


def beginnings_of(onsets: Floats) -> Beginnings:
    """Where some notes begin.

    Args:
        onsets: seconds, in order; one at least.
    """
    group = np.cumsum(np.concatenate(([True], np.diff(onsets) > NEAR))) - 1
    return Beginnings(np.bincount(group, onsets) / np.bincount(group), group)


def gaps_in_chords(onsets: Floats) -> Floats:
    """Seconds from each note of a chord to its next one.

    Args:
        onsets: seconds, in order.
    """
    gaps = np.diff(onsets)
    return gaps[gaps < CHORD]


def density(onsets: Floats) -> float:
    """The logarithm of notes a second.

    Args:
        onsets: seconds, in order; one at least.
    """
    return float(np.log(len(onsets) / (onsets[-1] - onsets[0] + 1.0)))


def features_of_rhythm(onsets: Floats) -> NDArray[np.float32]:
    """How exact the chords of a recording are and how even the time between them: (RHYTHM_FEATURES,).

    The last is the correlation of changes of intervals with those that follow: -2/3 where single onsets are
    off, by the piano or by what hears it, and more where the tempo is.

    Args:
        onsets: seconds, in order; one at least.
    """
    gaps = np.concatenate((gaps_in_chords(onsets), np.full(_FEW, _USUAL_GAP)))
    beginnings = beginnings_of(onsets)
    intervals = np.diff(beginnings.seconds)
    intervals = intervals[intervals < _PAUSE]
    ratios = np.log(intervals[1:] / intervals[:-1])
    alike = np.abs(ratios) < _EVEN
    shorter = np.minimum(intervals[1:], intervals[:-1])
    uneven = np.concatenate((np.abs(ratios[alike]) * shorter[alike], np.full(_FEW, _USUAL_UNEVENNESS)))
    from_ratios = np.abs(ratios[:, None] - _RATIOS).min(axis=1)
    pairs = len(ratios) + _FEW
    changes = np.diff(intervals)
    small = alike & (np.abs(changes) < _CHANGE)
    former, latter = (part[small[1:] & small[:-1]] for part in (changes[:-1], changes[1:]))
    spread = np.sqrt((former**2).sum() * (latter**2).sum()) + _NO_MORE_LIKELY
    return np.array(
        [
            np.log(_EXACT + np.median(gaps)),
            np.log(_EXACT + np.minimum(gaps, NEAR).mean()),
            beginnings.interval,
            density(onsets),
            np.log(_UNEVEN + np.median(uneven)),
            np.log(_UNEVEN + np.minimum(uneven, 2 * _USUAL_UNEVENNESS).mean()),
            (from_ratios.sum() + _FEW * _USUAL_FROM_RATIOS) / pairs,
            (alike.sum() + _FEW / 2) / pairs,
            (former * latter).sum() / spread,
        ],
        np.float32,
    )
