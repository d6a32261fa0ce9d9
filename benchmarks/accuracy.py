"""Scores, time and memory of checkpoints and of other transcribers, on recordings with their note lists.

`python benchmarks/accuracy.py FOLDER...` prints a row for each system and folder, raw and with the median
onset error of each piece taken out; if that is a single row, the table of its pieces too. All systems get the
same 16-bit mono WAV files and leave MIDI files, which are scored. Time is that of one call that transcribes
the whole folder, from its start to its end, and memory that of the largest of its processes: partranscribe
has one for each core.

`--model` and `--peer` may be repeated; peers.py tells how to install the peers. With `--rt60` each folder is
measured once more, played in a simulated room, which no system knows from its training, and with `--opus`
once more, kept as Opus at 16 kHz and 31 kbit/s, which should change little. `--cents` plays it once more a
little faster, on pianos that are so much sharper, and `--tuning 440` takes them as they are. `--only`,
`--start` and `--end` choose a part of it: of two checkpoints, the better is known by what is held out and
calibrates nothing. `--release TEST_SET` copies the checkpoint to `weights/` with the raw means inside, under
that name, and writes its hash there.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from process import measure
from scipy.signal import oaconvolve
from systems import markdown, own_system, peer_system

from partranscribe.audio import probe, read_blocks
from partranscribe.checkpoint import checkpoint_info
from partranscribe.note_io import read_notes
from partranscribe.notes import Note
from partranscribe.released import DEFAULT_NAME, checkpoint_path, weights_folder
from partranscribe.score import Measure, Score, aligned, average, score
from partranscribe.torch_checkpoint import copy_checkpoint
from partranscribe.training.coding import through_opus
from partranscribe.training.data import labelled
from partranscribe.whole_file import whole_file

Audio = NDArray[np.float32]

CODED_RATE = 16_000  # at which the recordings of MAPS were coded that training knows
MEASURES = ("note", "+ offset", "+ velocity", "note, aligned", "+ offset, aligned", "+ velocity, aligned")
COLUMNS = ("system", "test set", *MEASURES, "seconds", "× real time", "peak MB")
PIECE_COLUMNS = ("piece", *MEASURES[:3], "duration accuracy", "median onset error", "notes")
CAPTION = """
Precision / recall / F1 in %, mean over pieces; + velocity includes the offset. Aligned: with the median onset
error of each piece taken out. Notes of MIDI files last while the sustain pedal (CC64) is at 64 or more.
"""


@dataclass(frozen=True)
class TestSet:
    """Recordings as all systems get them, and what is to be heard in them.

    Args:
        name: for the table.
        audio: WAV file of each piece.
        references: its notes.
        duration: seconds of all.
    """

    __test__ = False  # for pytest

    name: str
    audio: Mapping[str, Path]
    references: Mapping[str, list[Note]]
    duration: float


@dataclass(frozen=True)
class Result:
    """What one system did on one test set.

    Args:
        system: name of the system.
        test_set: name of the test set.
        raw: score of each piece.
        shifted: the same with the median onset error taken out.
        seconds: wall time of the process.
        speed: seconds of audio in one second.
        megabytes: peak resident memory.
    """

    system: str
    test_set: str
    raw: Mapping[str, Score]
    shifted: Mapping[str, Score]
    seconds: float
    speed: float
    megabytes: float


def in_a_room(audio: Audio, sample_rate: int, rt60: float) -> Audio:
    """A recording as it sounds in a simulated room: of the same length and loudness (RMS).

    The response is the direct sound, and noise of the same energy that decays behind it.

    Args:
        audio: (samples,).
        sample_rate: of the audio.
        rt60: seconds in which the room decays by 60 dB.
    """
    time = np.arange(1, round(1.5 * rt60 * sample_rate)) / sample_rate
    tail = np.random.default_rng(0).standard_normal(len(time)) * np.exp(-np.log(1000) * time / rt60)
    response = np.concatenate(([1.0], tail / np.sqrt(np.sum(tail**2))))
    wet: Audio = oaconvolve(audio, response)[: len(audio)].astype(np.float32)
    loudness = np.sqrt(np.mean(wet**2))
    return wet * (np.sqrt(np.mean(audio**2)) / loudness) if loudness else wet


def prepare(
    folder: Path,
    target: Path,
    *,
    only: str = "*",
    start: float = 0.0,
    end: float | None = None,
    rt60: float | None = None,
    opus: bool = False,
    cents: float = 0.0,
) -> TestSet:
    """Write the recordings of a folder as WAV files to another.

    Args:
        folder: recordings with a note list beside each.
        target: an empty folder.
        only: pattern of the names that count, without ending.
        start, end: seconds of each recording between which it counts; None for its end. Shorter ones are left
            out, as are those without a note there. The notes that begin there count, until `end`.
        rt60: of the room that they are played in, in seconds; None for none.
        opus: whether they are coded by `through_opus`, at `CODED_RATE`.
        cents: by how much they sound sharper, as they are played faster.
    """
    audio, references, duration = {}, {}, 0.0
    last = math.inf if end is None else end
    speed = 2 ** (cents / 1200)
    for source, labels in labelled(folder):
        if not fnmatchcase(source.stem, only):
            continue
        heard = [note for note in read_notes(labels) if start <= note.onset < last]
        if not heard:
            continue
        piece = "_".join(source.relative_to(folder).with_suffix("").parts)
        if piece in audio:
            raise SystemExit(f"{source}: another recording is called {piece}, too; rename one")
        rate = CODED_RATE if opus else probe(source).sample_rate
        samples = np.concatenate(list(read_blocks(source, rate, start=start, end=end)))
        if rt60 is not None:
            samples = in_a_room(samples, rate, rt60)
        if cents:
            samples = soxr.resample(samples, rate * speed, rate, quality="HQ")
        if opus:
            samples = through_opus(samples, rate)
        audio[piece] = target / f"{piece}.wav"
        soundfile.write(audio[piece], samples, rate, "PCM_16")
        length = len(samples) / rate
        duration += length
        references[piece] = [
            replace(
                note,
                onset=(note.onset - start) / speed,
                offset=(min(note.offset, last) - start) / speed,
            )
            for note in heard
        ]
    if not audio:
        fact = f"no recording with a note list beside it that counts (--only {only}, --start {start:g})"
        raise SystemExit(f"{folder}: {fact}; is it the right folder?")
    change = f", in a room of {rt60:g} s" if rt60 is not None else ""
    change += ", kept as Opus" if opus else ""
    change += f", {cents:+g} cents" if cents else ""
    name = f"{folder.resolve().name}{change} ({len(audio)} pieces, {duration / 60:.1f} min)"
    return TestSet(name, audio, references, duration)


def run(system: str, command: Sequence[str], test_set: TestSet) -> Result:
    """Transcribe a test set in a process of its own, and score what it leaves.

    Args:
        system: for the table.
        command: takes audio files, and -o with a folder.
        test_set: what to transcribe.
    """
    with tempfile.TemporaryDirectory() as output:
        usage = measure([*command, *(str(path) for path in test_set.audio.values()), "-o", output])
        raw, shifted = {}, {}
        for piece, reference in test_set.references.items():
            notes = read_notes(Path(output) / f"{piece}.mid")
            raw[piece] = score(notes, reference)
            shifted[piece] = score(aligned(notes, reference), reference)
    speed = test_set.duration / usage.seconds
    return Result(system, test_set.name, raw, shifted, usage.seconds, speed, usage.megabytes)


def table(results: Sequence[Result]) -> str:
    """All results in Markdown that reads well as plain text too; of a single one, its pieces below."""
    whole = markdown([COLUMNS, *(_row(result) for result in results)]) + CAPTION
    if len(results) > 1:
        return whole
    (result,) = results
    scores = [*result.raw.items(), ("**mean**", average(list(result.raw.values())))]
    return f"{whole}\n{markdown([PIECE_COLUMNS, *(_piece_row(*each) for each in scores)])}"


def _piece_row(piece: str, measured: Score) -> tuple[str, ...]:
    error = measured.median_onset_error
    accuracy = measured.duration_accuracy
    return (
        piece,
        *map(_shares, (measured.note, measured.note_offset, measured.note_offset_velocity)),
        "–" if accuracy is None else f"{100 * accuracy:.1f}",
        "–" if error is None else f"{1000 * error:+.1f} ms",
        str(measured.reference_notes),
    )


def _shares(measure: Measure | None) -> str:
    return "–" if measure is None else " / ".join(f"{100 * value:.1f}" for value in astuple(measure))


def _row(result: Result) -> tuple[str, ...]:
    means = [average(list(scores.values())) for scores in (result.raw, result.shifted)]
    measures = [
        measure for mean in means for measure in (mean.note, mean.note_offset, mean.note_offset_velocity)
    ]
    return (
        result.system,
        result.test_set,
        *map(_shares, measures),
        f"{result.seconds:.0f}",
        f"{result.speed:.2f}",
        f"{result.megabytes:.0f}",
    )


def release(source: Path, test_set: str, mean: Score) -> None:
    """Copy a checkpoint to `weights/` with its measured scores inside, and list the hashes there."""
    target = weights_folder() / f"{checkpoint_info(source).name}.safetensors"
    copy_checkpoint(source, target, {"test_set": test_set, **mean.to_dict()})
    lines = [
        f"{checkpoint_info(path).sha256}  {path.name}\n"
        for path in sorted(weights_folder().glob("*.safetensors"))
    ]
    with whole_file(weights_folder() / "SHA256SUMS") as sums:
        sums.write_text("".join(lines))


def main() -> None:
    """Measure, print, and release if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--model", action="append", default=[], metavar="NAME|PATH", dest="models")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON", dest="peers")
    parser.add_argument("--device", default="auto", help="of the models; peers use the CPU")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="of names, such as '*_SptkBGAm'")
    parser.add_argument("--start", type=float, default=0.0, metavar="SECONDS", help="of each piece")
    parser.add_argument("--end", type=float, metavar="SECONDS", help="of each piece")
    parser.add_argument("--rt60", type=float, metavar="SECONDS", help="and once more, in such a room")
    parser.add_argument("--opus", action="store_true", help="and once more, kept as Opus")
    parser.add_argument(
        "--cents", type=float, action="append", default=[], help="and once more, so much sharper"
    )
    parser.add_argument("--tuning", default="auto", metavar="HZ|auto", help="of the models")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there as well")
    parser.add_argument("--release", metavar="TEST_SET")
    arguments = parser.parse_args()
    models = arguments.models or ([] if arguments.peers else [DEFAULT_NAME])
    part = {name: getattr(arguments, name) for name in ("only", "start", "end")}
    plain = list(part.values()) == ["*", 0.0, None] and not (
        arguments.peers or arguments.rt60 or arguments.opus or arguments.cents or arguments.tuning != "auto"
    )
    if arguments.release and not (plain and len(models) == len(arguments.folders) == 1):
        parser.error("--release goes with one model and one folder, whole pieces as they are and no peer")
    systems = dict([own_system(model, arguments.device, arguments.tuning) for model in models])
    systems |= dict([peer_system(peer) for peer in arguments.peers])
    changes: list[dict[str, Any]] = [{}]
    changes += [] if arguments.rt60 is None else [{"rt60": arguments.rt60}]
    changes += [{"opus": True}] if arguments.opus else []
    changes += [{"cents": cents} for cents in arguments.cents]
    results = []
    for folder, change in product(arguments.folders, changes):
        with tempfile.TemporaryDirectory() as audio:
            test_set = prepare(folder, Path(audio), **part, **change)
            for system, command in systems.items():
                print(f"{system} on {test_set.name}", file=sys.stderr)
                results.append(run(system, command, test_set))
                if arguments.markdown:
                    with whole_file(arguments.markdown) as file:
                        file.write_text(table(results))
    print(table(results))
    if arguments.release:
        release(checkpoint_path(models[0]), arguments.release, average(list(results[0].raw.values())))


if __name__ == "__main__":
    main()
