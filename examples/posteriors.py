"""Prints the five onsets that the network was least sure of. NumPy is all that it needs.

python examples/posteriors.py POSTERIORS, where POSTERIORS is what `partranscribe --posteriors` wrote.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np


def main(path: Path) -> None:
    """Print when and at which key they are, and what else the network thought of there."""
    with np.load(path) as file:
        probabilities = file["probabilities"]  # (frames, 88, 5)
        state = file["state"]  # (frames, 88), each an index in the next
        names = file["states"].tolist()  # (5,)
        times, pitches = file["times"], file["pitches"]  # (frames,) and (88,)
        shift, between, rate = file["onset_shift"], file["between_frames"], file["frames_per_second"]
    begins = [names.index("onset"), names.index("re-onset")]
    confidence = probabilities[..., begins].sum(axis=-1)  # (frames, 88)
    is_onset = np.isin(state, begins)
    before = np.roll(np.where(is_onset, 0, confidence), 1, axis=0)
    before[0] = 0
    late = (1 - before) * (1 - confidence) - before if between else np.zeros_like(before)  # in frames
    onsets = np.maximum(times[:, None] + late / rate + shift, times[0])  # (frames, 88)
    frames, keys = np.nonzero(is_onset)
    least = np.argsort(confidence[frames, keys])[:5]
    for frame, key in zip(frames[least], keys[least], strict=True):
        beliefs = zip(names, probabilities[frame, key], strict=True)
        spread = "  ".join(f"{name} {probability:.2f}" for name, probability in beliefs)
        print(f"{onsets[frame, key]:8.3f} s  key {pitches[key]:3}  {confidence[frame, key]:.4f}  ({spread})")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
