"""Lossy coding, which a network can tell as well as it can tell a piano."""

from __future__ import annotations

import io

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

_BITS_A_SECOND = 31_000  # of the recordings of MAPS at hand
_COMPLEXITY = 5  # of 0..10: from 7 on libopus takes some music for speech, which it did not with those


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
    with av.open(file, "w", format="ogg") as container:
        stream = container.add_stream(
            "libopus", rate=sample_rate, options={"compression_level": str(_COMPLEXITY)}
        )
        stream.bit_rate, stream.layout = _BITS_A_SECOND, "mono"
        frame = av.AudioFrame.from_ndarray((audio / scale)[None], format="flt", layout="mono")
        frame.sample_rate, frame.pts = sample_rate, 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    file.seek(0)
    coded, _ = soundfile.read(file, dtype="float32")
    return np.asarray(coded * scale, np.float32)
