"""What chance draws in more than one place."""

from __future__ import annotations

import numpy as np


def log_uniform(rng: np.random.Generator, between: tuple[float, float]) -> float:
    """A number above zero, drawn evenly on a logarithmic scale.

    Args:
        rng: draws it.
        between: the lowest and the highest.
    """
    return float(np.exp(rng.uniform(*np.log(between))))
