"""The mean of two checkpoints is between both, and what weighs their notes says the mean of both."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import TINY, trained_like
from partranscribe.checkpoint import (
    CheckpointInfo,
    checkpoint_info,
    load_endings,
    load_ghosts,
    load_offsets,
    load_velocities,
)
from partranscribe.config import Config, DecodeConfig
from partranscribe.endings import BESIDE, FRAMES, EndingNetwork
from partranscribe.ghosts import GHOST_FEATURES
from partranscribe.model import Par
from partranscribe.offsets import FEATURES
from partranscribe.torch_checkpoint import load_checkpoint, save_checkpoint
from partranscribe.units import Units
from partranscribe.velocities import VELOCITY_FEATURES
from partranscribe.windows import NumpyArrays
from synth import ending_network, random_units

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import mean

WEIGHS = DecodeConfig(drop_ghosts=True, choose_offsets=True, even_velocities=True)
INPUTS = TINY.model.hidden_per_pitch + BESIDE


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two checkpoints, of weights, biases and networks that differ."""
    folder, paths = tmp_path_factory.mktemp("both"), []
    for seed, bias in ((3, -0.5), (4, 0.25)):
        torch.manual_seed(seed)
        config = replace(TINY, decode=replace(WEIGHS, onset_bias=bias, offset_shift=0.01 * seed))
        paths.append(folder / f"{seed}.safetensors")
        save_checkpoint(
            paths[-1],
            trained_like(Par(TINY.model)).eval(),
            config,
            name=f"tiny {seed}",
            training={"hours": seed},
            dtype=torch.float16,
            ghosts=random_units(seed, GHOST_FEATURES),
            endings=ending_network(seed, TINY.model.hidden_per_pitch),
            offsets=random_units(seed, FEATURES),
            velocities=random_units(seed, VELOCITY_FEATURES),
        )
    return paths[0], paths[1]


def joined(both: tuple[Path, Path], tmp_path: Path, *options: str) -> Path:
    path = tmp_path / "mean.safetensors"
    mean.main([*map(str, both), "-o", str(path), *options])
    return path


def test_weights_and_biases_are_a_share_of_the_way(both: tuple[Path, Path], tmp_path: Path) -> None:
    (one, _), (other, _), (between, info) = map(
        load_checkpoint, (*both, joined(both, tmp_path, "--share", "0.25"))
    )
    others = other.state_dict()
    for (key, weight), found in zip(one.state_dict().items(), between.state_dict().values(), strict=True):
        if weight.is_floating_point():
            torch.testing.assert_close(found, (0.75 * weight + 0.25 * others[key]).half().float())
    assert info.config.decode.onset_bias == pytest.approx(0.75 * -0.5 + 0.25 * 0.25)
    assert info.config.decode.offset_shift == pytest.approx(0.0325)
    assert (info.name, info.training) == ("tiny 3", {"hours": 3})


@pytest.mark.parametrize(
    ("load", "features"),
    [(load_ghosts, GHOST_FEATURES), (load_offsets, FEATURES), (load_velocities, VELOCITY_FEATURES)],
    ids=["ghosts", "offsets", "velocities"],
)
def test_units_say_the_mean_of_both(
    both: tuple[Path, Path],
    tmp_path: Path,
    load: Callable[[CheckpointInfo], Units | None],
    features: int,
) -> None:
    told = np.random.default_rng(0).normal(0, 1, (50, features)).astype(np.float32)
    of_one, of_other, of_mean = (
        units.sum(told)
        for path in (*both, joined(both, tmp_path))
        if (units := load(checkpoint_info(path))) is not None
    )
    assert np.std(of_one - of_other) > 0.1
    np.testing.assert_allclose(of_mean, (of_one + of_other) / 2, atol=1e-4)


def logits_of(network: EndingNetwork | None) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    assert network is not None
    windows = np.random.default_rng(0).normal(0, 1, (5, FRAMES, INPUTS)).astype(np.float32)
    return np.asarray(network.logits(windows, NumpyArrays()))


def test_endings_are_as_likely_as_the_mean_of_both_says(both: tuple[Path, Path], tmp_path: Path) -> None:
    of_one, of_other, of_mean = (
        logits_of(load_endings(checkpoint_info(path))) for path in (*both, joined(both, tmp_path))
    )
    assert np.std(of_one - of_other) > 0.1
    np.testing.assert_allclose(of_mean, (of_one + of_other) / 2, atol=1e-3)


@pytest.mark.parametrize("number", [0, 1])
def test_the_networks_of_one_may_be_kept_alone(both: tuple[Path, Path], tmp_path: Path, number: int) -> None:
    path = joined(both, tmp_path, "--networks", ("one", "other")[number])
    found, expected = (load_offsets(checkpoint_info(some)) for some in (path, both[number]))
    assert found is not None
    assert expected is not None
    for part, of_one in zip(found, expected, strict=True):
        np.testing.assert_array_equal(part, of_one)


def test_what_does_not_fit_is_refused(
    both: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    smaller = Config(TINY.front_end, replace(TINY.model, lstm_units=4))
    path = tmp_path / "smaller.safetensors"
    save_checkpoint(path, Par(smaller.model), smaller, name="smaller")
    with pytest.raises(SystemExit):
        joined((both[0], path), tmp_path)
    assert "not of the same network" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        joined(both, tmp_path, "--share", "1.5")
    assert "--share is from 0 to 1" in capsys.readouterr().err
    assert not (tmp_path / "mean.safetensors").exists()
