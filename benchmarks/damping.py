"""How fast pianos fall silent after an offset: `python benchmarks/damping.py FOLDER`.

For each piano, which the names of MAPS end with, a row of the median level of the fundamental at some times
from the offset of the label, in dB relative to 50 ms before it. Only notes count whose fundamental no other
note sounds near. With `--pianos` and `--performances`, sampled pianos follow as training plays them, at each
of some settings of `SamplerSettings`. The ranges of `PlayedConfig` were chosen by what it prints of the
software pianos of MAPS.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from mir_eval.util import midi_to_hz
from numpy.typing import NDArray
from systems import markdown

from partranscribe.config import FrontEndConfig
from partranscribe.note_array import OFFSET_COLUMN, ONSET_COLUMN, PITCH_COLUMN, NoteArray
from partranscribe.training.augment import Augmenter
from partranscribe.training.data import Recording, drawn, load_folder
from partranscribe.training.played import Played, PlayedConfig, load_instruments, load_performances

TIMES = (-0.1, 0.0, 0.02, 0.04, 0.06, 0.1, 0.14, 0.2, 0.3)  # seconds from the offset
REFERENCE = -0.05
WINDOW = 0.064  # seconds
PITCHES = range(50, 89)
CLEAR_HERTZ = 35.0  # between the fundamental and what else sounds
SHORTEST = 0.12  # seconds of a note
SECONDS = 120.0  # of each recording
UNCHANGED = Augmenter(gain_db=0.0, equaliser_db=0.0, noise_share=0.0)
DAMPERS = ((1.0, 0.0), (1.0, 0.06), (2.5, 0.03), (6.0, 0.0), (6.0, 0.06))  # slowness, delay in seconds


def is_clear(notes: NoteArray, index: int) -> bool:
    """Whether no partial of another note lies near the fundamental while it is measured."""
    end, fundamental = notes[index, OFFSET_COLUMN], midi_to_hz(notes[index, PITCH_COLUMN])
    near = (notes[:, ONSET_COLUMN] < end + 0.5) & (notes[:, OFFSET_COLUMN] > end - 0.8)
    near[index] = False
    others = [midi_to_hz(pitch) for pitch in notes[near, PITCH_COLUMN]]
    return all(abs(other * k - fundamental) > CLEAR_HERTZ for other in others for k in range(1, 13))


def levels(audio: NDArray[np.float64], rate: int, fundamental: float, offset: float) -> list[float] | None:
    """Level at each of `TIMES`, in dB; None where the recording does not reach so far."""
    size = round(WINDOW * rate)
    wave = np.hanning(size) * np.exp(-2j * np.pi * fundamental / rate * np.arange(size))
    found = []
    for time in (REFERENCE, *TIMES):
        begin = round((offset + time) * rate) - size // 2
        if begin < 0 or begin + size > len(audio):
            return None
        found.append(20 * np.log10(abs(np.dot(audio[begin : begin + size], wave)) + 1e-6))
    return [level - found[0] for level in found[1:]]


def row(name: str, recordings: Iterable[Recording], rate: int) -> tuple[str, ...]:
    """Of one piano."""
    curves = []
    for recording in recordings:
        audio = recording.audio[: round(SECONDS * rate)].astype(float) / 32768
        notes = recording.notes
        for index, (onset, offset, pitch, _) in enumerate(notes):
            if pitch in PITCHES and offset - onset >= SHORTEST and is_clear(notes, index):
                curve = levels(audio, rate, midi_to_hz(pitch), offset)
                curves += [] if curve is None else [curve]
    medians = np.median(curves, axis=0) if curves else np.full(len(TIMES), np.nan)
    return (name, str(len(curves)), *(f"{level:.0f}" for level in medians))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pianos", type=Path)
    parser.add_argument("--performances", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("cache"), help="for decoded audio")
    arguments = parser.parse_args()
    rate = FrontEndConfig().sample_rate
    groups: dict[str, list[Recording]] = {}
    for recording in load_folder(arguments.folder, arguments.cache, rate):
        groups.setdefault(recording.name.rsplit("_", 1)[-1], []).append(recording)
    rows = [("piano", "notes", *(f"{1000 * time:+.0f} ms" for time in TIMES))]
    rows += [row(name, recordings, rate) for name, recordings in sorted(groups.items())]
    if arguments.pianos and arguments.performances:
        performances = load_performances(arguments.performances, arguments.cache)
        plain = PlayedConfig(transpose=0, tempo=(1.0, 1.0), touch=(1.0, 1.0))
        for instrument in load_instruments(arguments.pianos, rate):
            for slowness, delay in DAMPERS:
                settings = replace(plain, slowness=(slowness, slowness), damper_delay=(delay, delay))
                source, rng = Played(performances, [instrument], settings), np.random.default_rng(0)
                passages = drawn(source, rate, 8, 60.0, UNCHANGED, rng)
                name = f"{instrument.name}, slowness {slowness:g}, delay {1000 * delay:.0f} ms"
                rows.append(row(name, passages, rate))
    print(markdown(rows))


if __name__ == "__main__":
    main()
