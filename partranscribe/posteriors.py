"""What the network believed of every frame, pitch and state, in an .npz file for researchers.

`numpy.load` reads it, without pickle. It holds, of F frames:

    probabilities      (F, 88, 5) float32   of the states; the five add up to one
    states             (5,) text            their names: off, offset, onset, sustain, re-onset
    state              (F, 88) int8         which of them was decided on
    velocity           (F, 88) float32      0..1, times 127 in MIDI; counts where a note begins,
                                            before `even_velocities`
    times              (F,) float64         seconds from the start of the recording
    pitches            (88,) int64          MIDI key numbers
    frames_per_second  float64
    onset_bias, reonset_bias, offset_bias, restrike_frames, between_frames, onset_shift, offset_shift,
    even_velocities, choose_offsets, drop_ghosts
                       numbers, of `config.DecodeConfig`
    model, checkpoint_sha256
                       text

The probabilities of a frame are the softmax of the network's logits, given what was decided in the frames
before. The state has the highest sum of logarithm and bias, unless `restrike_frames` forbids it; with
`drop_ghosts` the biases of onset and re-onset are higher by `config.DOUBTFUL`. Where it is onset or re-onset
a note begins: its confidence c is the sum of both probabilities, and its onset is the time of the frame plus
`onset_shift`, but never before the first frame. With `between_frames` it is later by (1 - b) (1 - c) - b
frames, where b is the sum on the frame before, or 0 if a note begins there. What would begin less than a
frame before the recording ends is no note. Of a part of a recording, what was decided before its first frame
is not told, nor is which notes `drop_ghosts` leaves out.

An hour takes 248 MB. Compression would take off 7 % of that, so there is none; half precision would halve it,
with errors of up to 0.00024, which show in a confidence of four decimals.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO
from zipfile import ZipFile, ZipInfo

import numpy as np

from .checkpoint import CheckpointInfo
from .frames import Frames
from .notes import LOWEST_PITCH, NOTE_STATES, PITCHES

STATES = ("off", "offset", "onset", "sustain", "re-onset")  # as the constants of `notes` number them

# What comes frame by frame: of which type, and the shape of a frame.
_ROWS = {
    "probabilities": (np.float32, (PITCHES, NOTE_STATES)),
    "state": (np.int8, (PITCHES,)),
    "velocity": (np.float32, (PITCHES,)),
}


class PosteriorCollector:
    """Keeps decoded frames on the disk until all are there, as an array begins with its shape.

    Args:
        spools: an empty file for each of `_ROWS`.
    """

    def __init__(self, spools: Mapping[str, IO[bytes]]) -> None:
        self._spools = spools
        self._frames = 0

    def push(self, frames: Frames) -> None:
        """Take the next frames, decoded with probabilities."""
        for name, spool in self._spools.items():
            spool.write(getattr(frames, name).tobytes())
        self._frames += len(frames.state)

    def write(self, path: Path, info: CheckpointInfo, start: float) -> None:
        """Write everything; the same frames and arguments give the same bytes.

        Args:
            path: of the file.
            info: of the checkpoint, with the settings that the frames were decoded with.
            start: seconds from the start of the recording to the first frame.
        """
        front_end = info.config.front_end
        facts = {
            "states": STATES,
            "times": start + np.arange(self._frames) * front_end.seconds_per_frame,
            "pitches": np.arange(PITCHES, dtype=np.int64) + LOWEST_PITCH,
            "frames_per_second": front_end.frames_per_second,
            **asdict(info.config.decode),
            "model": info.name,
            "checkpoint_sha256": info.sha256,
        }
        with ZipFile(path, "w") as archive:
            for name, (kind, shape) in _ROWS.items():
                with _array_in(archive, name) as file:
                    np.lib.format.write_array_header_1_0(
                        file,
                        {
                            "descr": np.lib.format.dtype_to_descr(np.dtype(kind)),
                            "fortran_order": False,
                            "shape": (self._frames, *shape),
                        },
                    )
                    self._spools[name].seek(0)
                    shutil.copyfileobj(self._spools[name], file)
            for name, value in facts.items():
                with _array_in(archive, name) as file:
                    np.lib.format.write_array(file, np.asarray(value), allow_pickle=False)


@contextmanager
def posterior_collector(folder: Path) -> Iterator[PosteriorCollector]:
    """A collector of frames whose disk space, in a folder, is given back at the end whatever happens.

    It takes as much as the file that is written, which is beside it then.
    """
    with ExitStack() as stack:
        yield PosteriorCollector({name: stack.enter_context(TemporaryFile(dir=folder)) for name in _ROWS})


def _array_in(archive: ZipFile, name: str) -> IO[bytes]:
    """A new array in an .npz file, to be written; its date is that of no clock."""
    return archive.open(ZipInfo(f"{name}.npy"), "w", force_zip64=True)
