"""Audio kept as Opus is as long, as loud and as early as before."""

from __future__ import annotations

import numpy as np
import pytest

from partranscribe.training.coding import through_opus
from synth import tone

RATE = 16_000


@pytest.mark.parametrize("peak", [0.01, 4.0])
def test_sound_is_neither_late_nor_clipped(peak: float) -> None:
    audio = np.concatenate([tone(pitch, 0.5, RATE) for pitch in (48, 60, 72, 84)])
    audio *= peak / np.abs(audio).max()
    coded = through_opus(audio, RATE)
    assert coded.dtype == np.float32
    assert coded.shape == audio.shape
    product = np.fft.irfft(np.fft.rfft(coded) * np.conj(np.fft.rfft(audio)))
    assert np.argmax(product) == 0
    assert np.sqrt(np.mean(coded**2)) == pytest.approx(np.sqrt(np.mean(audio**2)), rel=0.05)
