"""Performances on the piano of a soundfont: `python benchmarks/soundfont.py PERFORMANCES FONT.sf2 FOLDER`.

Makes a test set for accuracy.py of a piano that the weights have not heard: some of the MIDI files in
PERFORMANCES and below, played by fluidsynth (a package of most systems, as is fluid-soundfont-gm) without any
room, and beside each recording its MIDI file. Each takes some seconds.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import soundfile

from partranscribe.audio import read_blocks
from partranscribe.training.played import midi_files
from partranscribe.training.recipe import spread

COUNT = 24
SAMPLE_RATE = 16_000
PLAYED_RATE = 48_000
GAIN = 0.5  # a loud chord of most fonts stays below full scale


def play(midi: Path, font: Path, recording: Path) -> None:
    """Write a MIDI file as sound: FLAC, mono."""
    with tempfile.TemporaryDirectory() as folder:
        stereo = Path(folder) / "stereo.wav"
        dry = ("--reverb=0", "--chorus=0", f"--gain={GAIN}", f"--sample-rate={PLAYED_RATE}")
        command = ["fluidsynth", "-ni", "-q", *dry, "-F", str(stereo), str(font), str(midi)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        with soundfile.SoundFile(recording, "w", SAMPLE_RATE, 1, "PCM_16", format="FLAC") as sound:
            for block in read_blocks(stereo, SAMPLE_RATE):
                sound.write(block)


def make(performances: Path, font: Path, folder: Path, count: int = COUNT) -> None:
    """The recordings and their MIDI files, in the tree that they are in."""
    for midi in spread(midi_files(performances), count):
        beside = folder / midi.relative_to(performances)
        beside.parent.mkdir(parents=True, exist_ok=True)
        play(midi, font, beside.with_suffix(".flac"))
        shutil.copyfile(midi, beside)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("performances", type=Path)
    parser.add_argument("font", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=COUNT, help=f"performances at most ({COUNT})")
    arguments = parser.parse_args(argv)
    if not shutil.which("fluidsynth"):
        sys.exit("fluidsynth is not installed")
    make(arguments.performances, arguments.font, arguments.folder, arguments.count)


if __name__ == "__main__":
    main()
