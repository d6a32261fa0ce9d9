"""Performances on the piano of a soundfont: `python benchmarks/soundfont.py PERFORMANCES FONT.sf2 FOLDER`.

Makes a test set for accuracy.py of a piano that the weights have not heard: some of the MIDI files in
PERFORMANCES and below, played by fluidsynth (a package of most systems, as is fluid-soundfont-gm) without any
room, and beside each recording its MIDI file. Each takes some seconds.

With `--lists NAMES` it plays, in place of performances, the first minute of the note lists that stand beside
recordings of such names there, and writes lists beside what it plays. `--damper-delay FROM TO` lets dampers
fall later than these say, by so many seconds, drawn once for each list, more in the bass than in the treble.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import soundfile

from partranscribe.audio import read_blocks
from partranscribe.note_io import read_notes, write_notes
from partranscribe.notes import HIGHEST_PITCH, Note
from partranscribe.training.data import labelled
from partranscribe.training.played import midi_files
from partranscribe.training.recipe import spread

COUNT = 24
SAMPLE_RATE = 16_000
PLAYED_RATE = 48_000
GAIN = 0.5  # a loud chord of most fonts stays below full scale
END = 60.0  # seconds of a list
EVENLY_LATE = 60  # semitones below the highest key, where dampers are as late as is said
LEAST, MOST = 0.3, 1.3  # of that, at the top and at the bottom


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


def make_lists(lists: Path, font: Path, folder: Path, names: str, damper_delay: tuple[float, float]) -> None:
    """The recordings of note lists, and what the lists say, in the tree that they are in.

    Args:
        lists: recordings with lists beside them.
        font: of the piano.
        folder: where recordings and lists go.
        names: of the recordings, without their endings.
        damper_delay: range of the seconds by which dampers are late.
    """
    for audio, path in labelled(lists):
        if not fnmatchcase(audio.stem, names):
            continue
        notes = [note for note in read_notes(path) if note.onset < END]
        recording = folder / audio.relative_to(lists).with_suffix(".flac")
        recording.parent.mkdir(parents=True, exist_ok=True)
        late = random.Random(audio.stem).uniform(*damper_delay)
        with tempfile.TemporaryDirectory() as temporary:
            played = Path(temporary) / "played.mid"
            write_notes(played, [_damped_later(note, late) for note in notes])
            play(played, font, recording)
        write_notes(recording.with_suffix(".tsv"), notes)


def _damped_later(note: Note, seconds: float) -> Note:
    share = min(max((HIGHEST_PITCH - note.pitch) / EVENLY_LATE, LEAST), MOST)
    return replace(note, offset=note.offset + seconds * share)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("performances", type=Path)
    parser.add_argument("font", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=COUNT, help=f"performances at most ({COUNT})")
    parser.add_argument("--lists", metavar="NAMES", help="of recordings whose note lists are played")
    parser.add_argument("--damper-delay", type=float, nargs=2, default=(0.0, 0.0), metavar=("FROM", "TO"))
    arguments = parser.parse_args(argv)
    if not shutil.which("fluidsynth"):
        sys.exit("fluidsynth is not installed")
    places = arguments.performances, arguments.font, arguments.folder
    if arguments.lists is None:
        make(*places, arguments.count)
    else:
        make_lists(*places, arguments.lists, tuple(arguments.damper_delay))


if __name__ == "__main__":
    main()
