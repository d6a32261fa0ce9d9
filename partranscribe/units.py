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

    def sum(self, *features: NDArray[np.float32]) -> NDArray[np.float32]:
        """The sum for each of some features: (...).

        Args:
            features: all, (..., features), or parts of them, one after the other, which broadcast.
        """
        # Not a matrix product of BLAS, whose threads would wait for cores that other recordings are on.
        places = np.cumsum([part.shape[-1] for part in features])[:-1]
        weights = np.split(self.weight, places, axis=1)
        hidden = self.bias
        for part, weight in zip(features, weights, strict=True):
            hidden = hidden + np.einsum("...f,hf->...h", part, weight)
        total: NDArray[np.float32] = np.einsum("...h,h->...", np.tanh(hidden), self.output)
        return total
