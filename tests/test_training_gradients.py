"""Gradients of a batch are the same by however many processes, and no process is left behind."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conftest import TINY, trained_like
from partranscribe.config import FrontEndConfig
from partranscribe.notes import PITCHES
from partranscribe.owner import Owner
from partranscribe.training.data import Crop
from partranscribe.training.gradients import Gradients, HelperError, processes_for
from partranscribe.training.objective import Objective
from partranscribe.training.train_config import TrainConfig

FRAMES, BATCH = 12, 3
CPU = torch.device("cpu")
SETTINGS = TrainConfig(batch=BATCH, keep_statistics=True, velocity_linear_from=0.05)


def batch_of(notes: tuple[int, ...]) -> Crop:
    """Crops of noise, with so many velocities to tell in each."""
    random, front = np.random.default_rng(0), FrontEndConfig()
    cells = (len(notes), FRAMES, PITCHES)
    velocity = np.zeros(cells, np.float32)
    for crop, count in enumerate(notes):
        places = random.choice(FRAMES * PITCHES, count, replace=False)
        velocity[crop].flat[places] = random.uniform(0.1, 1, count)
    state = torch.from_numpy(random.integers(0, 5, cells).astype(np.int8))
    audio = random.normal(0, 0.1, (len(notes), front.n_fft + (FRAMES - 1) * front.hop_length))
    silence = torch.zeros(cells)
    return Crop(
        torch.from_numpy(audio.astype(np.float32)),
        state,
        state,
        torch.from_numpy(velocity),
        torch.zeros(cells, dtype=torch.int8),
        silence,
        silence,
    )


def objective_of(dropout: float = 0.0, **settings: Any) -> Objective:
    torch.manual_seed(1)
    objective = trained_like(Objective(TINY, replace(SETTINGS, **settings)))
    for module in objective.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout
            module.train()
    return objective


def gradients_of(objective: Objective) -> dict[str, Tensor]:
    return {name: one.grad.clone() for name, one in objective.named_parameters() if one.grad is not None}


@pytest.mark.parametrize("phase", ["note", "velocity"])
def test_a_batch_teaches_the_same_by_parts(phase: Any) -> None:
    """Of crops with many notes and with few, and of one with none."""
    objective, batch = objective_of(phase=phase), batch_of((40, 0, 5))
    losses, computed = [], []
    for processes in (1, 2):
        with Gradients(objective, processes, seed=0) as gradients:
            losses.append(gradients.compute(0, batch))
            computed.append(gradients_of(objective))
    assert losses[1]["loss"] == pytest.approx(losses[0]["loss"], rel=1e-5)
    assert computed[0].keys() == computed[1].keys()
    assert len(computed[0]) == len(objective.trained_parameters())
    whole, divided = (torch.cat([one.flatten() for one in gradient.values()]) for gradient in computed)
    assert (divided - whole).norm() < 0.02 * whole.norm()  # they are computed in half precision, perhaps


def test_weights_that_moved_are_those_of_all_processes() -> None:
    objective, batch = objective_of(), batch_of((1, 1, 1))
    with Gradients(objective, 2, seed=0) as gradients:
        before = gradients.compute(0, batch)
        with torch.no_grad():
            for one in objective.trained_parameters():
                one.mul_(1.5)
        after = gradients.compute(0, batch)
    with Gradients(objective, 1, seed=0) as alone:
        expected = alone.compute(0, batch)
    assert after["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert abs(after["loss"] - before["loss"]) > 0.01 * before["loss"]


def test_what_is_drawn_depends_on_seed_update_and_part() -> None:
    objective, batch = objective_of(dropout=0.5), batch_of((1,))
    twins = Crop(*(torch.cat([part, part]) for part in batch))

    def losses(processes: int, seed: int, update: int, crop: Crop) -> float:
        torch.rand(7)  # what was drawn before does not matter
        with Gradients(objective, processes, seed) as gradients:
            return gradients.compute(update, crop)["loss"]

    first = losses(1, 0, 0, batch)
    assert losses(1, 0, 0, batch) == first
    assert len({first, losses(1, 1, 0, batch), losses(1, 0, 1, batch)}) == 3
    assert losses(2, 0, 0, twins) != pytest.approx(first, rel=1e-6)  # the other half drew something else


@pytest.mark.parametrize(
    ("settings", "threads", "expected"),
    [
        ({}, 1, 1),
        ({}, 2, 2),
        ({}, 8, BATCH),
        ({"processes": 2}, 8, 2),
        ({"processes": 1}, 8, 1),
        ({"batch": 1}, 8, 1),
    ],
)
def test_a_batch_is_divided_among_the_cores(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], threads: int, expected: int
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    objective = objective_of(**settings)
    assert processes_for(objective, CPU) == expected
    assert processes_for(objective, torch.device("cuda")) == 1


def test_batch_norms_that_measure_see_the_whole_batch() -> None:
    objective = objective_of(processes=3)
    objective.model.note_acoustic.train()
    assert processes_for(objective, CPU) == 1


def test_each_process_has_one_thread_and_then_all_are_as_before() -> None:
    torch.set_num_threads(2)
    try:
        with Gradients(objective_of(), 2, seed=0):
            assert torch.get_num_threads() == 1
            assert len(multiprocessing.active_children()) == 1
        assert torch.get_num_threads() == 2
        assert multiprocessing.active_children() == []
    finally:
        torch.set_num_threads(1)


def test_a_process_that_dies_is_told_of() -> None:
    with Gradients(objective_of(), 2, seed=0) as gradients:
        (process,) = multiprocessing.active_children()
        process.kill()
        process.join()
        with pytest.raises(HelperError, match=r"status -9, .*processes = 1"):
            gradients.compute(0, batch_of((1, 1, 1)))
    assert multiprocessing.active_children() == []


PARENT = """
import multiprocessing, time
from test_training_gradients import *
if __name__ == "__main__":
    with Gradients(objective_of(), 2, seed=0) as gradients:
        gradients.compute(0, batch_of((1, 1, 1)))
        print(multiprocessing.active_children()[0].pid, flush=True)
        time.sleep(600)
"""


def test_a_process_ends_with_one_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        helper = Owner.here(int(parent.stdout.readline()))
        parent.kill()
    latest = time.monotonic() + 60
    while helper.lives(0):
        assert time.monotonic() < latest
        time.sleep(0.05)
