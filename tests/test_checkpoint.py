"""Checkpoints: what goes in comes out, and what is no checkpoint is told by name and never run."""

from __future__ import annotations

import hashlib
import json
import math
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from conftest import TINY, random_context, swelling_noise
from partranscribe.checkpoint import (
    CheckpointInfo,
    checkpoint_info,
    load_endings,
    load_filters,
    load_front_end,
    load_ghosts,
    load_offsets,
    load_velocities,
    load_weights,
)
from partranscribe.config import Config, DecodeConfig, ModelConfig, settings_from_dict
from partranscribe.endings import EndingNetwork
from partranscribe.errors import CheckpointError
from partranscribe.frontend import LogMel, mel_filters
from partranscribe.ghosts import GHOST_FEATURES
from partranscribe.model import Par, par_with, weights_of
from partranscribe.offsets import FEATURES
from partranscribe.released import checkpoint_path
from partranscribe.torch_checkpoint import copy_checkpoint, load_checkpoint, save_checkpoint
from partranscribe.units import Units
from partranscribe.velocities import VELOCITY_FEATURES
from partranscribe.weights import weight_shapes
from synth import ending_network, random_units

Tensors = dict[str, Tensor]
About = dict[str, str]


def changed(source: Path, target: Path, change: Callable[[Tensors, About], None]) -> Path:
    """A copy of a checkpoint whose weights and metadata were changed."""
    with safe_open(source, framework="pt") as file:
        about = dict(file.metadata())
    tensors = load_file(source)
    change(tensors, about)
    save_file(tensors, target, metadata=about)
    return target


def set_about(**values: str) -> Callable[[Tensors, About], None]:
    return lambda _, about: about.update(values)


def set_config(section: str, **values: Any) -> Callable[[Tensors, About], None]:
    def change(_: Tensors, about: About) -> None:
        config = json.loads(about["config"])
        config.setdefault(section, {}).update(values)
        about["config"] = json.dumps(config)

    return change


def test_what_is_saved_is_loaded(tmp_path: Path, lively: Par) -> None:
    config = replace(TINY, decode=DecodeConfig(onset_bias=-0.5, onset_shift=-0.012))
    scores = {"maps": {"note_f1": 81.2, "pieces": 60}}
    training = {"data": ["maps-synth"], "hours": 8.7, "updates": 3100}
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, lively, config, name="par_compact", scores=scores, training=training)
    model, info = load_checkpoint(path)
    found, expected = weights_of(model), weights_of(lively)
    assert found.keys() == expected.keys()
    for name, weight in found.items():
        np.testing.assert_array_equal(weight, expected[name])
    assert info == CheckpointInfo(
        name="par_compact",
        path=path,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        config=config,
        parameters=lively.parameter_count(),
        scores=scores,
        training=training,
    )
    assert info == checkpoint_info(path)
    assert list(tmp_path.iterdir()) == [path]


def test_the_loaded_network_is_ready_to_transcribe(tiny_checkpoint: Path, lively: Par) -> None:
    model, info = load_checkpoint(tiny_checkpoint)
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}
    mel, last = torch.randn(1, 9, info.config.model.n_mels), random_context(0, 9)
    assert torch.equal(model(mel, last).states, lively(mel, last).states)


def test_scores_and_training_may_be_left_out(tmp_path: Path, lively: Par) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, lively, TINY, name="tiny")
    info = checkpoint_info(path)
    assert (info.scores, info.training) == ({}, {})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_loaded_as_single(
    tmp_path: Path, tiny_checkpoint: Path, dtype: torch.dtype
) -> None:
    def convert(tensors: Tensors, _: About) -> None:
        for name, tensor in tensors.items():
            tensors[name] = tensor.to(dtype) if tensor.is_floating_point() else tensor

    path = changed(tiny_checkpoint, tmp_path / "half.safetensors", convert)
    found, whole = (load_weights(checkpoint_info(one)) for one in (path, tiny_checkpoint))
    assert found.keys() == whole.keys()
    for name, weight in found.items():
        assert weight.dtype == np.float32, name
        expected = torch.from_numpy(whole[name]).to(dtype).float().numpy()
        np.testing.assert_array_equal(weight, expected)


@pytest.mark.parametrize(
    ("widths", "seconds"), [((3,) * 6, 0.320), ((1,) * 6, 0.128), ((3, 1, 3, 1, 1, 1), 0.192)]
)
def test_look_ahead_is_the_margin_and_half_a_window(widths: tuple[int, ...], seconds: float) -> None:
    config = Config(model=ModelConfig(time_widths=widths))
    info = CheckpointInfo("par", Path("par.safetensors"), "", config, 0)
    assert info.look_ahead == pytest.approx(seconds)


def garbage(content: bytes) -> Callable[[Path, Path], None]:
    def write(target: Path, _: Path) -> None:
        target.write_bytes(content)

    return write


def first_part(share: float) -> Callable[[Path, Path], None]:
    def write(target: Path, source: Path) -> None:
        content = source.read_bytes()
        target.write_bytes(content[: int(len(content) * share)])

    return write


@pytest.mark.parametrize(
    "write",
    [
        garbage(b""),
        garbage(b"12345"),
        garbage(b"pitch\tonset\toffset\n60\t0.1\t0.2\n"),
        garbage(bytes(range(256)) * 40),
        garbage(b"\xff" * 5000),
        garbage((10**6).to_bytes(8, "little") + b"{}"),
        first_part(0.9),
        first_part(0.999),
        first_part(0.001),
    ],
    ids=["empty", "5 bytes", "text", "bytes", "ones", "long header", "cut 0.9", "cut 0.999", "cut 0.001"],
)
def test_a_damaged_file_is_named(
    tmp_path: Path, tiny_checkpoint: Path, write: Callable[[Path, Path], None]
) -> None:
    path = tmp_path / "damaged.safetensors"
    write(path, tiny_checkpoint)
    for read in (checkpoint_info, load_checkpoint):
        with pytest.raises(
            CheckpointError, match=r"damaged\.safetensors: not a whole safetensors file"
        ) as error:
            read(path)
        assert str(path) in str(error.value)


@pytest.mark.parametrize("read", [checkpoint_info, load_checkpoint])
def test_what_cannot_be_opened_is_named(tmp_path: Path, read: Callable[[Path], object]) -> None:
    for path in (tmp_path / "missing.safetensors", tmp_path):
        with pytest.raises(CheckpointError, match=path.name):
            read(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda tensors, _: tensors.pop("note_sequence.output.bias"),
            r"lacks weights \(note_sequence.output.bias",
        ),
        (lambda tensors, _: tensors.clear(), "lacks weights"),
        (lambda tensors, _: tensors.update(more=torch.zeros(1)), r"has unknown weights \(more, 1 in all\)"),
        (
            lambda tensors, _: tensors.update({"note_sequence.output.bias": torch.zeros(6)}),
            r"note_sequence.output.bias is \(6,\), and its settings say \(5,\)",
        ),
        (
            lambda tensors, _: tensors.update(
                {"note_sequence.output.bias": torch.zeros(5, dtype=torch.complex64)}
            ),
            r"note_sequence.output.bias is of C64",
        ),
        (set_config("model", lstm_units=7), "and its settings say"),
        (set_config("model", head="full"), "weights"),
        (set_config("model", film=False), "has unknown weights"),
    ],
)
def test_weights_that_do_not_fit_the_settings_are_named(
    tmp_path: Path, tiny_checkpoint: Path, change: Callable[[Tensors, About], None], message: str
) -> None:
    path = changed(tiny_checkpoint, tmp_path / "odd.safetensors", change)
    with pytest.raises(CheckpointError, match=message) as error:
        load_checkpoint(path)
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _, about: about.clear(), "but not a checkpoint of partranscribe"),
        (set_about(format="another-program"), "but not a checkpoint of partranscribe"),
        (set_about(version="2"), "checkpoint version 2, and this program reads 1; update partranscribe"),
        (lambda _, about: about.pop("version"), "checkpoint version None"),
        (lambda _, about: about.pop("config"), "its settings cannot be read"),
        (lambda _, about: about.pop("scores"), "its settings cannot be read"),
        (set_about(config="{'head': 1}"), "its settings cannot be read"),
        (set_about(config=""), "its settings cannot be read"),
        (set_about(config="null"), "its settings cannot be read"),
        (set_about(config="[]"), "its settings cannot be read"),
        (set_about(config='{"model": 3}'), "its settings cannot be read"),
        (set_about(scores="{"), "its settings cannot be read"),
        (set_about(scores="[1]"), r"its settings cannot be read \('\[1\]' is not a table\)"),
        (set_about(training="null"), "its settings cannot be read"),
        (set_about(config="[" * 100_000), "its settings cannot be read"),
        (set_config("decode", onset_bias=10**400), "its settings cannot be read.*'onset_bias' is no number"),
        (set_config("decode", onset_bias=math.nan), "its settings cannot be read.*'onset_bias' is no number"),
        (set_config("front_end", n_fft=10**9), "its settings cannot be read.*windows of 32768"),
        (set_config("model", flux=3), "its settings cannot be read.*'flux'"),
        (set_config("model", cnn_units="many"), "its settings cannot be read.*'many'"),
        (set_config("model", cnn_units=10**6), "its settings cannot be read.*256 at most"),
        (set_config("model", global_lstm_units=10**6), "its settings cannot be read.*not 1 to 1024"),
        (set_config("model", time_widths=[10**9 + 1] * 6), "its settings cannot be read.*below 100"),
        (set_config("model", time_widths=[1, 2]), "its settings cannot be read"),
        (set_config("model", n_mels=700), "its settings cannot be read"),
        (set_config("front_end", hop_length=0), "its settings cannot be read"),
        (set_config("training"), "its settings cannot be read.*unknown section training"),
    ],
)
@pytest.mark.parametrize("read", [checkpoint_info, load_checkpoint])
def test_settings_that_cannot_be_used_are_named(
    tmp_path: Path,
    tiny_checkpoint: Path,
    change: Callable[[Tensors, About], None],
    message: str,
    read: Callable[[Path], object],
) -> None:
    path = changed(tiny_checkpoint, tmp_path / "odd.safetensors", change)
    with pytest.raises(CheckpointError, match=message) as error:
        read(path)
    assert str(error.value).startswith(f"{path}: ")


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.ckpt", "model.safetensors"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_refused_and_never_unpickled(tmp_path: Path, name: str, zipped: bool) -> None:
    marker, path = tmp_path / "sprung", tmp_path / name
    content = pickle.dumps(Trap(marker))
    if zipped:  # as torch.save writes it
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
    else:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        load_checkpoint(checkpoint_path(str(path)))
    assert not marker.exists()
    pickle.loads(content)
    assert marker.exists()  # the trap works


def test_a_failed_save_leaves_the_old_file(
    tmp_path: Path, lively: Par, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, lively, TINY, name="old")
    before = path.read_bytes()

    def interrupted(target: Path, _: bytes) -> None:
        with target.open("wb") as file:
            file.write(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, lively, TINY, name="new")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_half_precision_takes_half_the_place_and_becomes_single_again(lively: Par, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("single.safetensors", "half.safetensors")]
    for path, dtype in zip(paths, (torch.float32, torch.float16), strict=True):
        save_checkpoint(path, lively, TINY, name="tiny", dtype=dtype)
    single, half = (path.stat().st_size for path in paths)
    weights = weights_of(lively)
    assert single - half == pytest.approx(2 * sum(value.size for value in weights.values()), rel=0.02)
    for name, value in load_weights(checkpoint_info(paths[1])).items():
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, weights[name], atol=1e-3, rtol=1e-3)


def test_a_copy_with_other_scores_has_the_same_weights_as_they_are_stored(
    lively: Par, tmp_path: Path
) -> None:
    source, target = tmp_path / "source.safetensors", tmp_path / "target.safetensors"
    about = {"name": "tiny", "training": {"hours_heard": 1.5}, "scores": {"note_f1": 0.1}}
    save_checkpoint(source, lively, TINY, dtype=torch.float16, **about)  # type: ignore[arg-type]
    copy_checkpoint(source, target, {"note_f1": 0.9})
    info = checkpoint_info(target)
    assert (info.name, info.training, info.scores) == ("tiny", {"hours_heard": 1.5}, {"note_f1": 0.9})
    assert info.config == TINY
    with safe_open(source, "pt") as one, safe_open(target, "pt") as other:
        assert one.keys() == other.keys()
        for key in one.keys():  # noqa: SIM118 - not a dict
            assert one.get_tensor(key).dtype == other.get_tensor(key).dtype
            assert torch.equal(one.get_tensor(key), other.get_tensor(key))


def test_the_front_end_takes_its_filters_from_the_checkpoint(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, noise = LogMel(TINY.front_end), swelling_noise(3, 9000)
    monkeypatch.setattr("partranscribe.frontend.mel_filters", None)
    monkeypatch.setattr("partranscribe.checkpoint.mel_filters", None)
    found = load_front_end(checkpoint_info(tiny_checkpoint))
    assert found.config == TINY.front_end
    np.testing.assert_array_equal(found(noise), expected(noise))


def test_a_checkpoint_without_filters_has_those_of_its_settings(
    tmp_path: Path, tiny_checkpoint: Path
) -> None:
    def drop(tensors: Tensors, _: About) -> None:
        for key in [key for key in tensors if key.startswith("front_end.")]:
            del tensors[key]

    path = changed(tiny_checkpoint, tmp_path / "without.safetensors", drop)
    np.testing.assert_array_equal(load_filters(checkpoint_info(path)), mel_filters(TINY.front_end))


@pytest.mark.parametrize(
    "place", [(64, 0), (0, 2049), (-1, 0)], ids=["too many mels", "too many bins", "negative"]
)
def test_filters_that_do_not_fit_are_named(
    tmp_path: Path, tiny_checkpoint: Path, place: tuple[int, int]
) -> None:
    def misplace(tensors: Tensors, _: About) -> None:
        tensors["front_end.filters.index"][0] = torch.tensor(place)

    path = changed(tiny_checkpoint, tmp_path / "odd.safetensors", misplace)
    with pytest.raises(CheckpointError, match=r"odd\.safetensors: mel filters that are none \(places beyond"):
        load_front_end(checkpoint_info(path))


@pytest.mark.parametrize("wrong", ["none", "shape", "hidden", "axes", "infinite", "kind"])
def test_a_network_that_chooses_no_offsets_is_named(tmp_path: Path, lively: Par, wrong: str) -> None:
    path, asks = tmp_path / "odd.safetensors", replace(TINY, decode=DecodeConfig(choose_offsets=True))
    weight, bias, output = random_units(3, FEATURES)
    units = {
        "none": None,
        "shape": Units(weight[:, 1:], bias, output),
        "hidden": Units(weight, bias, output[1:]),
        "axes": Units(weight[None], bias[None], output[None]),
        "infinite": Units(weight, bias * np.float32(np.inf), output),
        "kind": Units(weight, bias, output.astype(np.int32)),
    }[wrong]
    save_checkpoint(path, lively, asks, name="odd", offsets=units)
    with pytest.raises(CheckpointError, match=r"odd\.safetensors: .* network that chooses offsets"):
        load_offsets(checkpoint_info(path))


@pytest.mark.parametrize(
    ("name", "setting", "network", "load"),
    [
        ("ghosts", "drop_ghosts", random_units(3, GHOST_FEATURES), load_ghosts),
        ("endings", "choose_offsets", ending_network(3, TINY.model.hidden_per_pitch), load_endings),
        ("offsets", "choose_offsets", random_units(3, FEATURES), load_offsets),
        ("velocities", "even_velocities", random_units(3, VELOCITY_FEATURES), load_velocities),
    ],
    ids=["ghosts", "endings", "offsets", "velocities"],
)
def test_a_network_that_weighs_notes_is_kept_as_it_is(
    tmp_path: Path,
    lively: Par,
    name: str,
    setting: str,
    network: Units | EndingNetwork,
    load: Callable[[CheckpointInfo], Units | EndingNetwork | None],
) -> None:
    asks = replace(TINY, decode=settings_from_dict(DecodeConfig, {setting: True}))
    path, networks = tmp_path / "model.safetensors", dict[str, Any]({name: network})
    save_checkpoint(path, lively, asks, name="tiny", dtype=torch.float16, **networks)
    info = checkpoint_info(path)
    found = load(info)
    assert found is not None
    for one, other in zip(found, network, strict=True):
        np.testing.assert_array_equal(one, other)
    assert info.parameters == lively.parameter_count()
    assert load(replace(info, config=TINY)) is None
    load_checkpoint(path)


@pytest.mark.parametrize("wrong", ["none", "features", "hidden", "output", "infinite", "missing"])
def test_a_network_that_tells_no_endings_is_named(tmp_path: Path, lively: Par, wrong: str) -> None:
    path, asks = tmp_path / "whole.safetensors", replace(TINY, decode=DecodeConfig(choose_offsets=True))
    right = ending_network(3, TINY.model.hidden_per_pitch)
    network = {
        "none": None,
        "features": ending_network(3, TINY.model.hidden_per_pitch - 1),
        "hidden": right._replace(third=right.third[..., 1:]),
        "output": right._replace(output=right.output[None]),
        "infinite": right._replace(second_bias=right.second_bias * np.float32(np.inf)),
    }.get(wrong, right)
    save_checkpoint(path, lively, asks, name="odd", endings=network)

    def cut(tensors: Tensors, _: About) -> None:
        if wrong == "missing":
            del tensors["endings.output"]

    odd = changed(path, tmp_path / "odd.safetensors", cut)
    with pytest.raises(CheckpointError, match=r"odd\.safetensors: .* network that tells endings"):
        load_endings(checkpoint_info(odd))


@pytest.mark.parametrize("features", [None, GHOST_FEATURES - 1])
def test_a_network_that_tells_no_ghosts_is_named(tmp_path: Path, lively: Par, features: int | None) -> None:
    path, asks = tmp_path / "odd.safetensors", replace(TINY, decode=DecodeConfig(drop_ghosts=True))
    save_checkpoint(path, lively, asks, name="odd", ghosts=random_units(3, features) if features else None)
    with pytest.raises(
        CheckpointError, match=r"odd\.safetensors: .* network that tells which notes are there"
    ):
        load_ghosts(checkpoint_info(path))


def test_a_checkpoint_may_have_no_network_that_corrects_velocities(tmp_path: Path, lively: Par) -> None:
    path, asks = tmp_path / "model.safetensors", replace(TINY, decode=DecodeConfig(even_velocities=True))
    save_checkpoint(path, lively, asks, name="tiny")
    assert load_velocities(checkpoint_info(path)) is None


@pytest.mark.parametrize("wrong", ["features", "infinite", "missing"])
def test_a_network_that_corrects_no_velocities_is_named(tmp_path: Path, lively: Par, wrong: str) -> None:
    path, asks = tmp_path / "whole.safetensors", replace(TINY, decode=DecodeConfig(even_velocities=True))
    units = random_units(3, VELOCITY_FEATURES - (wrong == "features"))
    if wrong == "infinite":
        units = units._replace(bias=units.bias * np.float32(np.inf))
    save_checkpoint(path, lively, asks, name="odd", velocities=units)

    def cut(tensors: Tensors, _: About) -> None:
        if wrong == "missing":
            del tensors["velocities.output"]

    odd = changed(path, tmp_path / "odd.safetensors", cut)
    with pytest.raises(
        CheckpointError, match=r"odd\.safetensors: a network that corrects velocities that is"
    ):
        load_velocities(checkpoint_info(odd))


@pytest.mark.parametrize("weight", [torch.zeros(1) / 0, torch.zeros(1, dtype=torch.complex64)])
def test_filters_that_are_no_numbers_are_named(
    weight: torch.Tensor, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    path = changed(
        tiny_checkpoint,
        tmp_path / "odd.safetensors",
        lambda tensors, _: tensors.update({"front_end.filters.weight": weight}),
    )
    with pytest.raises(CheckpointError, match=r"odd\.safetensors: mel filters that are no numbers"):
        load_front_end(checkpoint_info(path))


def test_a_released_network_is_loaded_without_what_takes_long_to_load() -> None:
    code = "import sys; from partranscribe import Transcriber; Transcriber(device='cpu'); print(*sys.modules)"
    modules = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not {"torch", "librosa", "numba", "scipy", "sympy"} & set(modules)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"head": "full"},
        {"film": False},
        {"pitchwise": False},
        {"context": "state"},
        {"context": "none"},
        {"time_widths": (1,) * 6, "n_mels": 70, "lstm_units": 7, "hidden_per_pitch": 5},
    ],
)
def test_the_shapes_that_settings_tell_are_those_of_the_network(changes: dict[str, Any]) -> None:
    config = replace(TINY.model, **changes)
    assert {name: value.shape for name, value in weights_of(Par(config)).items()} == weight_shapes(config)


def test_weights_of_a_network_make_it_anew(lively: Par) -> None:
    weights = weights_of(lively)
    again = par_with(lively.config, weights)
    assert not any(module.training for module in again.modules())
    for name, value in weights_of(again).items():
        np.testing.assert_array_equal(value, weights[name])
        assert not np.shares_memory(value, weights[name])
