"""How fast acoustic modules learn on this machine: `python benchmarks/training.py`.

Seconds of audio a second of PAR_compact's note module, forward and backward, two crops of 10 s an update,
for each number of blocks that stay as they are: with batch norms that are measured at each update, and with
those that keep their statistics, in whole crops and in parts that fit into a cache. LSTMs, the making of
crops and the optimiser come on top.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from systems import markdown

from partranscribe.model import ACOUSTIC_BLOCKS, AcousticModule
from partranscribe.training.objective import in_parts
from partranscribe.training.recipe import read_recipe

RECIPE = Path(__file__).parent.parent / "configs" / "par_compact_onward.toml"
REPEATS = 4


def speed(module: AcousticModule, mel: torch.Tensor, margin: int | None) -> float:
    """Frames a second, the best of several updates; in parts if a margin is given."""
    best = float("inf")
    for _ in range(REPEATS):
        begun = time.perf_counter()
        features = module(mel) if margin is None else in_parts(module, mel, margin)
        features.square().mean().backward()
        best = min(best, time.perf_counter() - begun)
    return mel.shape[0] * mel.shape[1] / best


def main() -> None:
    """Measure and print a table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    recipe = read_recipe(RECIPE)
    config, settings, frame = (
        recipe.config.model,
        recipe.phases["note"],
        recipe.config.front_end.seconds_per_frame,
    )
    mel = torch.randn(settings.batch, settings.crop_frames, config.n_mels)
    rows: list[tuple[str, ...]] = [("frozen blocks", "measured statistics", "kept, whole", "kept, in parts")]
    for frozen in range(ACOUSTIC_BLOCKS):
        module = AcousticModule(config).train()
        for one in module.modules():
            if isinstance(one, torch.nn.Dropout):
                one.p = settings.dropout
        module.blocks[:frozen].requires_grad_(False).eval()
        measured = speed(module, mel, None)
        module.eval()
        kept = [speed(module, mel, margin) for margin in (None, config.margin_frames)]
        rows.append((str(frozen), *(f"{frame * value:.1f}" for value in (measured, *kept))))
    print(markdown(rows))


if __name__ == "__main__":
    main()
