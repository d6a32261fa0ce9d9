"""How fast a loaded model goes through a folder: `python benchmarks/throughput.py FOLDER --device cuda`.

Start-up is not counted, and nothing is written. Before the clock starts, the first recordings are
transcribed once, so that kernels are compiled and algorithms are chosen. Stages that run side by side, or in
several threads, add up to more than the clock's time.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from partranscribe import Transcriber
from partranscribe.audio import AUDIO_SUFFIXES
from partranscribe.engine import PRECISIONS
from partranscribe.remote import files_below
from partranscribe.transcribe import Transcription

WARM_UP_SECONDS = 60.0  # of the first recordings


def measure(model: str, device: str, precision: str, paths: list[Path], together: int | None) -> str:
    """A line of what it took.

    Args:
        model, device, precision: as for `Transcriber`.
        paths: of recordings; those that cannot be read are left out.
        together: how many are transcribed at once; None for as many as usual.
    """
    transcriber = Transcriber(model, device, precision=precision, together=together)
    on_cuda = transcriber.device.startswith("cuda")
    list(transcriber.transcribe_several(paths[: transcriber.together], end=WARM_UP_SECONDS))
    transcriber.timings.seconds.clear()
    if on_cuda:
        torch.cuda.reset_peak_memory_stats(transcriber.device)
    began = time.perf_counter()
    found = [one for one in transcriber.transcribe_several(paths) if isinstance(one, Transcription)]
    seconds = time.perf_counter() - began
    audio, notes = sum(one.duration for one in found), sum(len(one.notes) for one in found)
    stages = ", ".join(f"{name} {spent:.1f} s" for name, spent in transcriber.timings.seconds.items())
    peak = f"{torch.cuda.max_memory_allocated(transcriber.device) / 1e9:.1f} GB, " if on_cuda else ""
    where = torch.cuda.get_device_name(transcriber.device) if on_cuda else "CPU"
    return (
        f"{transcriber.info.name}, {precision}, {where}, {transcriber.together} at once: "
        f"{len(found)} recordings, {audio / 60:.1f} min, {notes} notes, "
        f"{seconds:.2f} s, {audio / seconds:.0f} x real time, {peak}{stages}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", action="append", help="par_compact unless given; may be repeated")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", action="append", choices=PRECISIONS, help="likewise, float32")
    parser.add_argument("--together", action="append", type=int, help="likewise, as many as usual")
    arguments = parser.parse_args()
    paths = [arguments.folder / path for path in files_below(arguments.folder, AUDIO_SUFFIXES)]
    for model in arguments.model or ["par_compact"]:
        for precision in arguments.precision or ["float32"]:
            for together in arguments.together or [None]:
                print(measure(model, arguments.device, precision, paths, together), flush=True)


if __name__ == "__main__":
    main()
