"""Small networks of one hidden layer, by which notes are weighed once all of a recording were heard."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Units(NamedTuple):
    """One layer of hidden units with tanh, and their sum.

    Args:
        weight, bias: of the hidden units: (hidden, features) and (hidden,).
        output: weights of their sum: (hidden,).
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    output: NDArray[np.float32]

    def sum(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """The sum for each of some features (..., features): (...)."""
        # Not a matrix product of BLAS, whose threads would wait for cores that other recordings are on.
        hidden = np.tanh(np.einsum("...f,hf->...h", features, self.weight) + self.bias)
        total: NDArray[np.float32] = np.einsum("...h,h->...", hidden, self.output)
        return total
