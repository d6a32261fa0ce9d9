"""How fast acoustic modules learn on this machine: `python benchmarks/training.py`.

Seconds of audio a second of PAR_compact's note module, forward and backward, two crops of 10 s an update,
for each number of blocks that stay as they are: with batch norms that are measured at each update, and with
those that keep their statistics, in whole crops and in parts that fit into a cache. LSTMs, the making of
crops and the optimiser come on top.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import torch
from systems import markdown

from partranscribe.config import PAR_COMPACT
from partranscribe.model import ACOUSTIC_BLOCKS, AcousticModule
from partranscribe.training.loop import in_parts

CROPS, FRAMES, SECONDS = 2, 312, 10.0
WIDTHS = (3, 1, 3, 1, 1, 1)
REPEATS = 4


def speed(module: AcousticModule, mel: torch.Tensor, margin: int | None) -> float:
    """Seconds of audio a second, the best of several updates; in parts if a margin is given."""
    best = float("inf")
    for _ in range(REPEATS):
        begun = time.perf_counter()
        features = module(mel) if margin is None else in_parts(module, mel, margin)
        features.square().mean().backward()
        best = min(best, time.perf_counter() - begun)
    return CROPS * SECONDS / best


def main() -> None:
    """Measure and print a table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    config = replace(PAR_COMPACT, time_widths=WIDTHS)
    mel = torch.randn(CROPS, FRAMES, config.n_mels)
    rows: list[tuple[str, ...]] = [("frozen blocks", "measured statistics", "kept, whole", "kept, in parts")]
    for frozen in range(ACOUSTIC_BLOCKS):
        module = AcousticModule(config).train()
        for one in module.modules():
            if isinstance(one, torch.nn.Dropout):
                one.p = 0.0
        module.blocks[:frozen].requires_grad_(False).eval()
        measured = speed(module, mel, None)
        module.eval()
        kept = [speed(module, mel, margin) for margin in (None, config.margin_frames)]
        rows.append((str(frozen), *(f"{value:.1f}" for value in (measured, *kept))))
    print(markdown(rows))


if __name__ == "__main__":
    main()
