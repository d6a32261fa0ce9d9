"""Small networks of one hidden layer, by which notes are weighed once all of a recording were heard."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_SMALL = 1 << 17  # multiplications of a product that BLAS does not divide among threads


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
        places = np.cumsum([part.shape[-1] for part in features])[:-1]
        weights = np.split(self.weight, places, axis=1)
        hidden = self.bias
        for part, weight in zip(features, weights, strict=True):
            hidden = hidden + _product(part, weight.T)
        total: NDArray[np.float32] = np.einsum("...h,h->...", np.tanh(hidden, out=hidden), self.output)
        return total


def _product(features: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """A matrix product, (..., features) by (features, hidden), on one thread: (..., hidden).

    BLAS takes several for large ones, which would wait for cores that other recordings are on; so it is given
    small ones, a few rows each.
    """
    flat = features.reshape(-1, len(weight))
    rows = max(_SMALL // weight.size, 1)
    whole = len(flat) // rows * rows
    product = np.empty((len(flat), weight.shape[1]), np.float32)
    np.matmul(
        flat[:whole].reshape(-1, rows, len(weight)),
        weight,
        product[:whole].reshape(-1, rows, weight.shape[1]),
    )
    np.matmul(flat[whole:], weight, product[whole:])
    return product.reshape(*features.shape[:-1], weight.shape[1])
