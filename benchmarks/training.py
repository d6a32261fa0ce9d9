"""How fast the note network of PAR_compact learns on this machine: `python benchmarks/training.py`.

Seconds of audio a second, forward and backward, two crops of 10 s an update, for each number of blocks
that stay as they are: with batch norms that are measured at each update, and with those that keep their
statistics, in one process and in one for each core. The making of crops and the optimiser come on top.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch
from systems import markdown

from partranscribe.config import Config
from partranscribe.notes import OFF, PITCHES
from partranscribe.training.data import Crop
from partranscribe.training.gradients import Gradients, processes_for
from partranscribe.training.memory import keep_freed_memory
from partranscribe.training.objective import Objective, batch_norms
from partranscribe.training.recipe import read_recipe
from partranscribe.training.train_config import TrainConfig
from partranscribe.weights import ACOUSTIC_BLOCKS

RECIPE = Path(__file__).parent.parent / "configs" / "par_compact_onward.toml"
UPDATES = 20


def noise(config: Config, settings: TrainConfig) -> Crop:
    """A batch of crops in which nothing is played."""
    front = config.front_end
    samples = front.n_fft + (settings.crop_frames - 1) * front.hop_length
    cells = (settings.batch, settings.crop_frames, PITCHES)
    off, zero = torch.full(cells, OFF, dtype=torch.int8), torch.zeros(cells)
    return Crop(0.1 * torch.randn(settings.batch, samples), off, off, zero, off, zero, zero)


def speed(config: Config, settings: TrainConfig, processes: int | None) -> float:
    """Seconds of audio a second; by one process for each core if not told."""
    objective = Objective(config, settings).train()
    for norm in batch_norms(objective):
        norm.train(not settings.keep_statistics)
    crop = noise(config, settings)
    with Gradients(
        objective, processes or processes_for(objective, torch.device("cpu")), seed=0
    ) as gradients:
        gradients.compute(0, crop)
        begun = time.perf_counter()
        for update in range(UPDATES):
            gradients.compute(update, crop)
        seconds = time.perf_counter() - begun
    return UPDATES * settings.batch * settings.crop_frames * config.front_end.seconds_per_frame / seconds


def main() -> None:
    """Measure and print a table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    keep_freed_memory()
    recipe = read_recipe(RECIPE)
    rows: list[tuple[str, ...]] = [
        ("frozen blocks", "measured statistics", "kept", "kept, one process a core")
    ]
    for frozen in range(ACOUSTIC_BLOCKS):
        settings = replace(recipe.phases["note"], frozen_blocks=frozen)
        measured = speed(recipe.config, replace(settings, keep_statistics=False), 1)
        kept = [speed(recipe.config, settings, processes) for processes in (1, None)]
        rows.append((str(frozen), *(f"{value:.1f}" for value in (measured, *kept))))
    print(markdown(rows))


if __name__ == "__main__":
    main()
