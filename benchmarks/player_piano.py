"""Note lists on pianos that play by themselves: `python benchmarks/player_piano.py LISTS PIANOS FOLDER`.

Makes a test set for accuracy.py of what a real player piano does and a software piano does not: dampers are
late, by up to 0.12 s unless `--damper-delay` says otherwise, and slow, and strings fall faster, each
differently in every piece. Nothing is told of that: notes end where the list says so. The lists are those in
LISTS and below whose names match `--only`, and that stand beside a recording; sampled pianos take turns.
Offsets of such lists last as long as the pedal did already: no pedal is used, or, with `--pause`, one that is
let go where notes end, and pressed so soon again that late dampers hardly obey. There is no room (see
`--rt60` of accuracy.py). With `--modelled`, pianos take turns that were never built, and that no training has
heard, in place of the sampled ones. Takes a minute.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import soundfile

from partranscribe.loudness import gain_to, loudness
from partranscribe.note_array import OFFSET_COLUMN, ONSET_COLUMN, listed, note_array
from partranscribe.note_io import read_notes, write_notes
from partranscribe.notes import PEDAL_THRESHOLD, Note
from partranscribe.sampler import Instrument
from partranscribe.training.data import Passage, labelled
from partranscribe.training.modelled import numbered_piano
from partranscribe.training.played import load_instruments
from partranscribe.training.synthesis import (
    NO_PEDAL,
    Performance,
    half_pedalled,
    pedalled,
    render_excerpt,
    vary_instrument,
)

SAMPLE_RATE = 16_000
BEGIN, END = 20.0, 80.0  # seconds of each list, as far as it goes
SLOWNESS, DAMPER_DELAY, EXTRA_DECAY = (1.0, 4.0), (0.0, 0.12), (0.0, 6.0)
LIFT = (0.2, 1.0)  # see `SamplerSettings`
HALF_DEPTH = (30.0, 60.0)  # of the pedal, from which on it lifts the dampers
UNEVENNESS_DB = 0.3
LEVEL = -30.0  # RMS in dB
UNTRAINED = 1000  # the number of the first modelled piano


def play(
    notes: Sequence[Note],
    instrument: Instrument,
    seed: int,
    slowness: tuple[float, float] = SLOWNESS,
    extra_decay: tuple[float, float] = EXTRA_DECAY,
    pause: tuple[float, float] | None = None,
    damper_delay: tuple[float, float] = DAMPER_DELAY,
    *,
    half_pedal: bool = False,
) -> Passage | None:
    """A part of a list as a piano of that kind sounds it; None where no note begins there.

    Args:
        notes: the whole list.
        instrument: what it is played on.
        seed: of all that differs from piano to piano.
        slowness: range of that of the dampers, see `SamplerSettings`.
        extra_decay: range of the decibels a second by which strings fall faster.
        pause: range of the seconds from the end of notes until the pedal is pressed again; None for no pedal.
        damper_delay: range of the seconds by which dampers are late.
        half_pedal: with a pedal that is too high to count and lifts the dampers.
    """
    keys = note_array(notes)
    keys = keys[(keys[:, ONSET_COLUMN] >= BEGIN) & (keys[:, OFFSET_COLUMN] < END)]
    if not len(keys):
        return None
    settings = vary_instrument(
        instrument,
        np.random.default_rng(seed),
        unevenness_db=UNEVENNESS_DB,
        slowness=slowness,
        damper_delay=damper_delay,
        extra_decay=extra_decay,
        lift=LIFT,
        pedal_depth=HALF_DEPTH if half_pedal else (PEDAL_THRESHOLD, PEDAL_THRESHOLD),
    )
    samples = round((keys[:, OFFSET_COLUMN].max() - BEGIN + 1.0) * SAMPLE_RATE)
    performance = Performance(keys, NO_PEDAL)
    if pause is not None:
        performance = pedalled(performance, np.random.default_rng(seed), pause)
    if half_pedal:
        performance = half_pedalled(performance, np.random.default_rng(seed))
    audio, played = render_excerpt(performance, instrument, BEGIN, samples, settings)
    return Passage(audio * np.float32(gain_to(LEVEL, loudness([audio], SAMPLE_RATE))), played)


def make(
    lists: Path,
    pianos: Path,
    folder: Path,
    only: str = "*",
    slowness: tuple[float, float] = SLOWNESS,
    extra_decay: tuple[float, float] = EXTRA_DECAY,
    pause: tuple[float, float] | None = None,
    modelled: int = 0,
    damper_delay: tuple[float, float] = DAMPER_DELAY,
    *,
    half_pedal: bool = False,
) -> None:
    """The recordings, each with its note list beside it, in the tree that the lists are in."""
    numbers = range(UNTRAINED, UNTRAINED + modelled)
    instruments = [numbered_piano(number, SAMPLE_RATE) for number in numbers]
    instruments = instruments or load_instruments(pianos, SAMPLE_RATE)
    chosen = [(audio, path) for audio, path in labelled(lists) if fnmatchcase(audio.stem, only)]
    for number, (audio, path) in enumerate(chosen):
        instrument = instruments[number % len(instruments)]
        how = slowness, extra_decay, pause, damper_delay
        passage = play(read_notes(path), instrument, number, *how, half_pedal=half_pedal)
        if passage is not None:
            played = folder / audio.relative_to(lists).with_suffix(".flac")
            played.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(played, passage.audio, SAMPLE_RATE)
            write_notes(played.with_suffix(".tsv"), listed(passage.notes))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("lists", type=Path)
    parser.add_argument("pianos", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="*", help="names of the recordings, without their endings")
    parser.add_argument("--slowness", type=float, nargs=2, default=SLOWNESS, metavar=("FROM", "TO"))
    parser.add_argument("--extra-decay", type=float, nargs=2, default=EXTRA_DECAY, metavar=("FROM", "TO"))
    parser.add_argument("--damper-delay", type=float, nargs=2, default=DAMPER_DELAY, metavar=("FROM", "TO"))
    parser.add_argument("--pause", type=float, nargs=2, metavar=("FROM", "TO"), help="of the pedal")
    parser.add_argument(
        "--modelled",
        type=int,
        default=0,
        metavar="COUNT",
        help="of pianos never built; PIANOS is not read then",
    )
    parser.add_argument(
        "--half-pedal", action="store_true", help="that lifts dampers and is not in the lists"
    )
    arguments = parser.parse_args(argv)
    slowness, extra_decay = tuple(arguments.slowness), tuple(arguments.extra_decay)
    pause = tuple(arguments.pause) if arguments.pause else None
    places = arguments.lists, arguments.pianos, arguments.folder
    delay = tuple(arguments.damper_delay)
    make(
        *places,
        arguments.only,
        slowness,
        extra_decay,
        pause,
        arguments.modelled,
        delay,
        half_pedal=arguments.half_pedal,
    )


if __name__ == "__main__":
    main()
