"""A recording as Opus, in short pieces that are files of their own and join without a seam."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 48_000  # what Opus decodes to, whatever was encoded
PIECE_SECONDS = 10.0  # one piece is decoded in some hundredths of a second, and held in 2 MB
MARGIN_SECONDS = 0.05  # a piece reaches so far into its neighbours, and is faded into them there

_BIT_RATE = 64_000  # mono
_EFFORT = 5  # of 10; half the time of the most, and no difference to hear at this rate


def opus_pieces(blocks: Iterable[NDArray[np.float32]]) -> Iterator[bytes]:
    """WebM files with Opus, which Chromium, Firefox and, from version 15 on, Safari decode.

    Args:
        blocks: (samples,) each, mono at `SAMPLE_RATE`, and `PIECE_SECONDS` long but for the last.

    Yields:
        Piece k, which begins `MARGIN_SECONDS` before k * `PIECE_SECONDS` (the first at 0) and ends so much
        after (k + 1) * `PIECE_SECONDS`, or where the recording does.
    """
    margin = round(MARGIN_SECONDS * SAMPLE_RATE)
    before = np.zeros(0, np.float32)  # the end of the block before
    held: NDArray[np.float32] | None = None
    for block in blocks:
        if held is not None:
            yield webm_bytes(np.concatenate((before, held, block[:margin])))
            before = held[-margin:]
        held = block
    if held is not None:
        yield webm_bytes(np.concatenate((before, held)))


def webm_bytes(samples: NDArray[np.float32]) -> bytes:
    """A WebM file with Opus of (samples,), mono at `SAMPLE_RATE`."""
    import av  # not at the top: most calls do not need it

    content = io.BytesIO()
    with av.open(content, "w", format="webm") as container:
        stream = container.add_stream(
            "libopus", rate=SAMPLE_RATE, options={"compression_level": str(_EFFORT)}
        )
        assert isinstance(stream, av.AudioStream)
        context = stream.codec_context
        context.layout, context.format, context.bit_rate = "mono", "flt", _BIT_RATE
        container.start_encoding()
        step = context.frame_size
        for first in range(0, len(samples), step):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples[None, first : first + step]), format="flt", layout="mono"
            )
            frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, first, Fraction(1, SAMPLE_RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return content.getvalue()
