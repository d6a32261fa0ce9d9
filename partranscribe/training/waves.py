"""Sums of many damped waves: strings, and what is knocked on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BLOCK = 256  # samples


def damped_waves(
    amplitudes: NDArray[np.complex128], rates: NDArray[np.complex128], samples: int
) -> NDArray[np.float32]:
    """The real part of the sum of amplitudes * exp(rates * n), n being the number of the sample.

    Args:
        amplitudes: (sounds, waves).
        rates: (waves,), of decay and of phase, a sample; the same for all sounds.
        samples: how many.

    Returns:
        (sounds, samples).
    """
    # e^(x (block + sample)) is e^(x block) times e^(x sample): two short tables and one product.
    blocks = amplitudes[:, None] * np.exp(np.arange(0, samples, _BLOCK)[:, None] * rates)
    within = np.exp(rates[:, None] * np.arange(_BLOCK))
    found: NDArray[np.float32] = (blocks.astype(np.complex64) @ within.astype(np.complex64)).real
    return found.reshape(len(amplitudes), -1)[:, :samples]
