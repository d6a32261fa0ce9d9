"""Makes prelude.flac and prelude.mid: the beginning of Bach's Prelude in C major, played on a sampled piano.

python examples/make_recording.py FOLDER, where FOLDER holds grand-steinway.opus and grand-steinway.csv.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import soundfile

from partranscribe.note_io import write_notes
from partranscribe.notes import Note, in_order
from partranscribe.sampler import load_instrument
from partranscribe.training.synthesis import Performance, render_excerpt, sounding, vary_instrument
from partranscribe.whole_file import whole_file

# BWV 846, bars 1 to 19, from below. The first two are held, the others run up twice in each half bar.
BARS = """
C4 E4 G4 C5 E5    C4 D4 A4 D5 F5    B3 D4 G4 D5 F5    C4 E4 G4 C5 E5
C4 E4 A4 E5 A5    C4 D4 F#4 A4 D5   B3 D4 G4 D5 G5    B3 C4 E4 G4 C5
A3 C4 E4 G4 C5    D3 A3 D4 F#4 C5   G3 B3 D4 G4 B4    G3 Bb3 E4 G4 C#5
F3 A3 D4 A4 D5    F3 Ab3 D4 F4 B4   E3 G3 C4 G4 C5    E3 F3 A3 C4 F4
D3 F3 A3 C4 F4    G2 D3 G3 B3 F4    C3 E3 G3 C4 E4
"""
BEATS_PER_MINUTE = 112
STEPS = 8  # sixteenths in half a bar
ORDER = (0, 1, 2, 3, 4, 2, 3, 4)  # of the five notes
LAST_CHORD = 4.0  # seconds
BEGIN = 0.3  # seconds of silence
SEED = 846


def pitch_of(name: str) -> int:
    """The MIDI key of a name such as Bb3."""
    step = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}[name[0]]
    return step + name.count("#") - name.count("b") + 12 * (int(name[-1]) + 1)


def play() -> Performance:
    """The piece as played: it breathes every four bars, grows up to bar 12, and slows down at the end."""
    names = BARS.split()
    bars = [[pitch_of(name) for name in names[first : first + 5]] for first in range(0, len(names), 5)]
    rng = np.random.default_rng(SEED)
    keys, pedal = [], []
    clock = BEGIN
    halves = [bar for bar in bars for _ in range(2)][:-1]  # the last bar is one run and a held chord
    for index, chord in enumerate(halves):
        bar, is_last = index / 2, index == len(halves) - 1
        hurry = 1 + 0.04 * np.sin(np.pi * (bar % 4) / 4) - 0.3 * max(0, bar - 16.5) / 1.5
        step = 60 / BEATS_PER_MINUTE / 4 / hurry
        swell = 56 + 14 * np.sin(np.pi * min(bar / 11, 1) / 2) - 3 * max(0, bar - 11)
        end = clock + STEPS * step + (LAST_CHORD if is_last else 0.0)
        for place, voice in enumerate(ORDER):
            onset = clock + place * step + rng.normal(0, 0.004)
            is_held = place < 2 or (is_last and place > 4)
            offset = end - 0.03 if is_held else onset + 0.9 * step
            accent = (7, 0, -3, -1, 4)[voice] - (4 if index % 2 else 0)
            keys.append((onset, offset, chord[voice], round(swell + accent + rng.normal(0, 1.5))))
        pedal += [(clock + 0.16, 127.0), (end + 0.01, 0.0)]
        clock = end
    return Performance(np.array(sorted(keys), float), np.array(pedal))


def main() -> None:
    """Write both files beside this script."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("samples", type=Path, help="folder of sampled pianos")
    arguments.add_argument("--piano", default="grand-steinway")
    arguments.add_argument("--output", type=Path, default=Path(__file__).parent)
    chosen = arguments.parse_args()
    table = chosen.samples / f"{chosen.piano}.csv"
    piano = load_instrument(table.with_suffix(".opus"), table)
    performance = play()
    notes = [
        Note(float(onset), float(offset), int(pitch), int(velocity))
        for onset, offset, pitch, velocity in sounding(performance)
    ]
    samples = round((max(note.offset for note in notes) + 1) * piano.sample_rate)
    settings = vary_instrument(piano, np.random.default_rng(SEED))
    audio, _ = render_excerpt(performance, piano, 0.0, samples, settings)
    with whole_file(chosen.output / "prelude.flac") as path:
        soundfile.write(path, 0.5 * audio / np.abs(audio).max(), piano.sample_rate, subtype="PCM_16")
    write_notes(chosen.output / "prelude.mid", in_order(notes))
    print(f"{len(notes)} notes in {samples / piano.sample_rate:.1f} s")


if __name__ == "__main__":
    main()
