"""Lossy coding, which a network can tell as well as it can tell a piano."""

from __future__ import annotations

import io

import numpy as np
import soundfile
from numpy.typing import NDArray

_COMPRESSION = 0.9  # of libsndfile: Opus at 6 kbit/s and a tenth of the way from there to 256


def through_opus(audio: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """What is left of audio that was kept as Opus at 31 kbit/s: as long as before, and not late.

    Args:
        audio: mono, of any level: (samples,).
        sample_rate: 8000, 12000, 16000, 24000 or 48000.
    """
    if not len(audio):
        return audio
    scale = np.float32(max(1.0, float(np.abs(audio).max())))  # Opus would clip
    file = io.BytesIO()
    soundfile.write(
        file, audio / scale, sample_rate, format="OGG", subtype="OPUS", compression_level=_COMPRESSION
    )
    file.seek(0)
    coded, _ = soundfile.read(file, dtype="float32")
    return np.asarray(coded * scale, np.float32)
