"""Scores of a checkpoint on a folder of recordings with their note lists.

`python benchmarks/accuracy.py FOLDER [--model NAME|PATH]` prints a table, raw, and the means with the median
onset error of each piece taken out. `--release TEST_SET` copies the checkpoint to `weights/` with the raw
means inside, under that name, and writes its hash there.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from partranscribe.checkpoint import (
    checkpoint_info,
    checkpoint_path,
    load_checkpoint,
    save_checkpoint,
    weights_folder,
)
from partranscribe.note_io import read_notes, whole_file
from partranscribe.score import Score, aligned, average, score
from partranscribe.show import print_scores
from partranscribe.training.data import labelled
from partranscribe.transcribe import Transcriber


def release(source: Path, test_set: str, mean: Score) -> None:
    """Copy a checkpoint to `weights/` with its measured scores inside, and list the hashes there."""
    model, info = load_checkpoint(source)
    scores = {"test_set": test_set, **mean.to_dict()}
    target = weights_folder() / f"{info.name}.safetensors"
    save_checkpoint(target, model, info.config, name=info.name, scores=scores, training=info.training)
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
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="par_compact")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--release", metavar="TEST_SET")
    arguments = parser.parse_args()
    transcriber = Transcriber(arguments.model, arguments.device)
    raw: dict[str, Score] = {}
    shifted: dict[str, Score] = {}
    began, duration = time.perf_counter(), 0.0
    for source, labels in labelled(arguments.folder):
        result, reference = transcriber.transcribe(source), read_notes(labels)
        duration += result.duration
        raw[source.stem] = score(result.notes, reference)
        shifted[source.stem] = score(aligned(result.notes, reference), reference)
    seconds = time.perf_counter() - began
    print_scores(raw, 64)
    print("\nWith the median onset error of each piece taken out:")
    print_scores({"mean": average(list(shifted.values()))}, 64)
    print(f"{duration:.0f} s of audio in {seconds:.0f} s, scoring included")
    if arguments.release:
        release(checkpoint_path(arguments.model), arguments.release, average(list(raw.values())))


if __name__ == "__main__":
    main()
