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
        onsets = np.maximum(times + file["onset_shift"], times[0])  # (frames,)
    begins = [names.index("onset"), names.index("re-onset")]
    confidence = probabilities[..., begins].sum(axis=-1)  # (frames, 88)
    frames, keys = np.nonzero(np.isin(state, begins))
    least = np.argsort(confidence[frames, keys])[:5]
    for frame, key in zip(frames[least], keys[least], strict=True):
        beliefs = zip(names, probabilities[frame, key], strict=True)
        spread = "  ".join(f"{name} {probability:.2f}" for name, probability in beliefs)
        print(f"{onsets[frame]:8.3f} s  key {pitches[key]:3}  {confidence[frame, key]:.4f}  ({spread})")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
