"""Training through the public command: it learns, goes on after a stop, and exports what came of it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file

from partranscribe.checkpoint import checkpoint_info, load_endings, load_ghosts, load_offsets, load_velocities
from partranscribe.cli import main
from partranscribe.config import Config, DecodeConfig, FrontEndConfig
from partranscribe.ghosts import GHOST_FEATURES
from partranscribe.model import Par
from partranscribe.note_io import write_notes
from partranscribe.notes import Note
from partranscribe.offsets import FEATURES
from partranscribe.torch_checkpoint import load_checkpoint, save_checkpoint
from partranscribe.training import recipe as recipe_module
from partranscribe.training.augment import Augmenter
from partranscribe.training.data import Source
from partranscribe.training.hindsight import Hindsight, HindsightConfig
from partranscribe.training.loop import Trainer
from partranscribe.training.played import PlayedConfig
from partranscribe.training.recipe import RecipeError, TrainingData, read_recipe, train
from partranscribe.training.synthesis import Performance
from partranscribe.velocities import VELOCITY_FEATURES
from synth import ending_network, melody, random_units, sampled_piano, write_audio

RATE = 16_000
CONFIGS = Path(__file__).parent.parent / "configs"

SMALL = """
name = "small"

[model]
head = "compact"
n_mels = 64
cnn_units = 16
hidden_per_pitch = 8
lstm_units = 16
time_widths = [3, 1, 1, 1, 1, 1]

[front_end]
n_mels = 64

[augment]
max_cents = 0.0
max_semitones = 0
gain_db = 0.0
equaliser_db = 0.0
noise_share = 0.0

[context_noise]
blank = 0.0
dropped = 0.0
moved = 0.0
shortened = 0.0
lengthened = 0.0
invented = 0.0
cell = 0.0
"""
PHASE = """
[{phase}]
updates = {updates}
batch = 2
crop_frames = 64
learning_rate = 1e-2
warmup = 20
dropout = 0.0
average = 0.95
workers = 0
save_minutes = 0.0
"""


def small_recipe(folder: Path, note: int, velocity: int) -> Path:
    """A recipe for a network that learns within seconds, with so many updates of each phase."""
    phases = [
        PHASE.format(phase=phase, updates=count) for phase, count in (("note", note), ("velocity", velocity))
    ]
    path = folder / "small.toml"
    path.write_text(SMALL + "".join(phases))
    return path


def write_piece(folder: Path, name: str, seed: int = 0) -> list[Note]:
    """Six seconds of notes and chords on ten keys, with labels beside them."""
    rng, notes, time = np.random.default_rng(seed), [], 0.3
    while time < 5.3:
        for pitch in rng.choice((40, 48, 55, 60, 64, 67, 72, 76, 79, 84), rng.integers(1, 3), replace=False):
            loud = int(rng.choice((40, 70, 100)))
            notes.append(Note(time, time + float(rng.choice((0.15, 0.3))), int(pitch), loud))
        time += 0.3 + float(rng.choice((0.05, 0.15)))
    folder.mkdir(exist_ok=True)
    write_audio(folder / f"{name}.wav", melody(notes, RATE), RATE)
    write_notes(folder / f"{name}.tsv", notes)
    return notes


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


def test_a_phase_may_change_audio_in_its_own_way(tmp_path: Path) -> None:
    path = small_recipe(tmp_path, 1, 1)
    path.write_text(path.read_text() + "[velocity.augment]\ngain_db = 3.0\n")
    augmenters = read_recipe(path).augmenters
    assert (augmenters["note"].gain_db, augmenters["velocity"].gain_db) == (0.0, 3.0)
    assert augmenters["velocity"].max_cents == 0.0


def test_note_lists_of_recordings_may_be_played(tmp_path: Path) -> None:
    notes = write_piece(tmp_path / "data", "piece")
    write_audio(tmp_path / "data" / "piece.wav", np.zeros(6 * RATE, np.float32), RATE)
    write_piece(tmp_path / "data", "piece_own")
    (tmp_path / "pianos").mkdir()
    sampled_piano(tmp_path / "pianos", RATE)
    (tmp_path / "performances").mkdir()
    write_notes(tmp_path / "performances" / "high.mid", [Note(0.0, 9.0, 100, 64)])
    data = TrainingData([tmp_path / "data"], "_own", tmp_path / "performances", tmp_path / "pianos")
    loaded = recipe_module._load(data, tmp_path / "run", FrontEndConfig())
    settings = PlayedConfig(share=0.0, note_list_share=1.0, transpose=0, tempo=(1.0, 1.0), touch=(1.0, 1.0))
    audio, found = loaded.source(settings, "note").draw(9 * RATE, 0, np.random.default_rng(0))
    assert np.abs(audio).max() > 0.01
    assert {int(pitch) for pitch in found[:, 2]} <= {note.pitch for note in notes}
    recordings, played = loaded.trained(settings, Augmenter(noise_share=0.0))
    assert [recording.name for recording in recordings] == ["piece"]
    assert all(len(passage.notes) for passage in played)


def test_of_what_is_played_only_note_lists_get_a_pedal_and_keys_that_a_piano_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_piece(tmp_path / "data", "piece")
    notes = [Note(0.0, 1.0, 60, 64), Note(2.0, 3.0, 12, 64), Note(4.0, 5.0, 109, 64)]
    write_notes(tmp_path / "data" / "piece.tsv", notes)
    write_piece(tmp_path / "data", "beyond")
    write_notes(tmp_path / "data" / "beyond.tsv", [Note(0.0, 1.0, 12, 64)])
    for folder in ("pianos", "performances"):
        (tmp_path / folder).mkdir()
    sampled_piano(tmp_path / "pianos", RATE)
    write_notes(tmp_path / "performances" / "song.mid", [Note(0.0, 9.0, 60, 64)])
    data = TrainingData([tmp_path / "data"], "", tmp_path / "performances", tmp_path / "pianos")
    loaded = recipe_module._load(data, tmp_path / "run", FrontEndConfig())
    settings = PlayedConfig(share=0.5, note_list_share=0.5, pedal_share=1.0)
    kinds = [
        (len(played._performances), played._settings.pedal_share) for _, played in loaded._played(settings)
    ]
    assert kinds == [(1, 0.0), (1, 1.0)]
    pedalled: list[Performance] = []

    def watched(performance: Performance, *arguments: Any) -> Performance:
        pedalled.append(performance)
        return performance

    monkeypatch.setattr("partranscribe.training.played.pedalled", watched)
    source = loaded.source(settings, "note")
    for seed in range(20):
        source.draw(RATE, 0, np.random.default_rng(seed))
    assert 0 < len(pedalled) < 20
    assert all(len(performance.keys) == 1 for performance in pedalled)


def test_one_piece_is_learnt_by_heart(tmp_path: Path) -> None:
    write_piece(tmp_path / "data", "piece")
    recipe = small_recipe(tmp_path, 300, 250)
    run, found = tmp_path / "run", tmp_path / "piece.csv"
    result = call("train", recipe, "--data", tmp_path / "data", "--run", run, "--device", "cpu")
    assert result.exit_code == 0, result.output
    song = tmp_path / "data" / "piece.wav"
    assert call(song, "--model", run / "checkpoint.safetensors", "-o", found).exit_code == 0
    result = call("evaluate", found, song.with_suffix(".tsv"), "--json")
    score = json.loads(result.stdout)["mean"]
    assert score["note_f1"] > 0.95
    assert score["note_offset_f1"] > 0.4  # a small network, and few updates
    assert score["note_offset_velocity_f1"] > 0.8 * score["note_offset_f1"]


class Stopped(Exception):  # noqa: N818 - no error
    """The run is cut off here."""


@pytest.mark.parametrize("saves", [2, 6])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saves: int
) -> None:
    write_piece(tmp_path / "data", "piece")
    recipe = read_recipe(small_recipe(tmp_path, 3, 3))
    data = TrainingData(recordings=[tmp_path / "data"])
    train(recipe, data, tmp_path / "straight")
    save, count = Trainer.save, 0

    def save_and_stop(trainer: Trainer) -> None:
        nonlocal count
        save(trainer)
        count += 1
        if count == saves:
            raise Stopped

    monkeypatch.setattr(Trainer, "save", save_and_stop)
    with pytest.raises(Stopped):
        train(recipe, data, tmp_path / "broken")
    assert not (tmp_path / "broken" / "checkpoint.safetensors").exists()
    train(recipe, data, tmp_path / "broken")
    (straight, first), (broken, second) = (
        load_checkpoint(tmp_path / name / "checkpoint.safetensors") for name in ("straight", "broken")
    )
    assert first.training == second.training
    for name, weight in straight.state_dict().items():
        assert torch.equal(weight, broken.state_dict()[name])


def test_what_is_held_out_is_calibrated_on_and_not_trained_on(tmp_path: Path) -> None:
    data = TrainingData(recordings=[tmp_path / "data"], hold_out="_own")
    write_piece(tmp_path / "data", "piece", seed=0)
    write_piece(tmp_path / "data", "piece_own", seed=1)
    recipe, told = read_recipe(small_recipe(tmp_path, 40, 2)), list[Any]()
    train(recipe, data, tmp_path / "run", report=told.append)
    calibration, half = (entry for entry in told if entry["phase"] in ("calibration", "half precision"))
    assert calibration["reference_notes"] > 10
    trials = [entry for entry in told if entry["phase"] == "calibrating"]
    assert [entry["trial"] for entry in trials] == [*range(1, len(trials) + 1)]
    biases = {(entry["onset_bias"], entry["offset_bias"]) for entry in trials}
    assert len(biases) > 10
    assert (calibration["onset_bias"], calibration["offset_bias"]) in biases
    model, info = load_checkpoint(tmp_path / "run" / "checkpoint.safetensors")
    assert info.config.decode.onset_bias == calibration["onset_bias"]
    assert info.training["data"] == ["data"]
    stored = load_file(tmp_path / "run" / "checkpoint.safetensors")["note_sequence.output.weight"]
    assert (stored.dtype == torch.float16) == half["kept"]
    write_piece(tmp_path / "other", "piece", seed=0)
    train(recipe, TrainingData(recordings=[tmp_path / "other"]), tmp_path / "alone")
    alone, plain = load_checkpoint(tmp_path / "alone" / "checkpoint.safetensors")
    assert plain.config.decode == DecodeConfig()
    for name, weight in alone.state_dict().items():
        torch.testing.assert_close(weight, model.state_dict()[name], atol=2e-3, rtol=2e-3)


def test_a_run_is_exported_as_it_stands(tmp_path: Path) -> None:
    write_piece(tmp_path / "data", "piece")
    arguments = ("--data", tmp_path / "data", "--run", tmp_path / "run", "--device", "cpu", "--export")
    result = call("train", small_recipe(tmp_path, 4, 4), *arguments)
    assert result.exit_code == 1
    assert "nothing has been trained" in result.stderr
    train(
        read_recipe(small_recipe(tmp_path, 2, 2)),
        TrainingData(recordings=[tmp_path / "data"]),
        tmp_path / "run",
    )
    heard = checkpoint_info(tmp_path / "run" / "checkpoint.safetensors").training
    (tmp_path / "run" / "checkpoint.safetensors").unlink()
    assert call("train", small_recipe(tmp_path, 400, 400), *arguments).exit_code == 0
    assert checkpoint_info(tmp_path / "run" / "checkpoint.safetensors").training == heard


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not lock so")
def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    write_piece(tmp_path / "data", "piece")
    arguments = ("--data", tmp_path / "data", "--run", tmp_path / "run", "--device", "cpu")
    recipe = small_recipe(tmp_path, 2, 2)
    (tmp_path / "run").mkdir()
    hold = "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.lockf(file, fcntl.LOCK_EX)"
    other = subprocess.Popen(
        [sys.executable, "-c", f"{hold}; print(flush=True); input()", tmp_path / "run" / "in_use.lock"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with other:
        assert other.stdout is not None
        other.stdout.readline()
        result = call("train", recipe, *arguments)
        other.kill()
    assert result.exit_code == 1
    assert f"{tmp_path / 'run'}: another process is training there" in result.stderr
    assert call("train", recipe, *arguments).exit_code == 0


def test_a_run_without_a_place_is_named(tmp_path: Path) -> None:
    write_piece(tmp_path / "data", "piece")
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "run"
    result = call("train", small_recipe(tmp_path, 2, 2), "--data", tmp_path / "data", "--run", place)
    assert result.exit_code == 1
    assert f"{place}: cannot be written to" in result.stderr


def test_a_phase_of_no_updates_keeps_its_network(tmp_path: Path) -> None:
    write_piece(tmp_path / "data", "piece")
    options = ("--data", tmp_path / "data", "--device", "cpu")
    recipe = small_recipe(tmp_path, 0, 2)
    failed = call("train", recipe, *options, "--run", tmp_path / "nothing")
    assert failed.exit_code == 1
    assert "the note network is left out, and there is none to keep; give --init" in failed.stderr
    first, second = (tmp_path / name / "checkpoint.safetensors" for name in ("first", "second"))
    assert call("train", small_recipe(tmp_path, 2, 2), *options, "--run", first.parent).exit_code == 0
    recipe = small_recipe(tmp_path, 0, 2)
    assert call("train", recipe, *options, "--run", second.parent, "--init", first).exit_code == 0
    before, after = (load_checkpoint(path)[0].state_dict() for path in (first, second))
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"velocity_acoustic", "velocity_sequence"}


def test_hindsight_may_be_all_that_is_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_piece(tmp_path / "data", "piece")
    data = TrainingData(recordings=[tmp_path / "data"])
    train(read_recipe(small_recipe(tmp_path, 1, 1)), data, tmp_path / "first")
    first = tmp_path / "first" / "checkpoint.safetensors"
    recipe = small_recipe(tmp_path, 0, 0)
    with pytest.raises(RecipeError, match="nothing has been trained here yet"):
        train(read_recipe(recipe), data, tmp_path / "second", start=first)
    recipe.write_text(recipe.read_text() + "[hindsight]\npassages = 3\nseconds = 4.0\n")
    networks = Hindsight(
        random_units(2, GHOST_FEATURES),
        ending_network(3, read_recipe(recipe).config.model.hidden_per_pitch),
        random_units(2, FEATURES),
        random_units(2, VELOCITY_FEATURES),
    )
    asked: list[tuple[HindsightConfig, float]] = []

    def learnt(
        model: Par, config: Config, *, source: Source, settings: HindsightConfig, **_: Any
    ) -> Hindsight:
        asked.append((settings, len(source.draw(RATE, 0, np.random.default_rng(0)).audio) / RATE))
        return networks

    monkeypatch.setattr(recipe_module, "train_hindsight", learnt)
    train(read_recipe(recipe), data, tmp_path / "second", start=first)
    assert asked == [(HindsightConfig(passages=3, seconds=4.0), 1.0)]
    second = tmp_path / "second" / "checkpoint.safetensors"
    before, after = checkpoint_info(first), checkpoint_info(second)
    asks = {"drop_ghosts": True, "choose_offsets": True, "even_velocities": True}
    wanted = replace(before.config.decode, **asks)
    assert after.config.decode == wanted
    assert after.training == before.training
    ghosts, offsets, velocities = load_ghosts(after), load_offsets(after), load_velocities(after)
    endings = load_endings(after)
    assert ghosts is not None
    assert offsets is not None
    assert velocities is not None
    assert endings is not None
    assert np.array_equal(endings.first, networks.endings.first)
    assert np.array_equal(offsets.weight, networks.offsets.weight)
    assert np.array_equal(ghosts.weight, networks.ghosts.weight)
    assert np.array_equal(velocities.weight, networks.velocities.weight)
    kept, there = (load_checkpoint(path)[0].state_dict() for path in (first, second))
    assert all(torch.equal(weight, there[name]) for name, weight in kept.items())
    train(read_recipe(small_recipe(tmp_path, 0, 1)), data, tmp_path / "third", start=second)
    changed = checkpoint_info(tmp_path / "third" / "checkpoint.safetensors")
    assert not changed.config.decode.choose_offsets
    assert not changed.config.decode.drop_ghosts
    assert load_velocities(changed) is None


@pytest.mark.parametrize(
    ("wrong", "fact"),
    [
        ("passages = -1", "not from 0 on"),
        ("networks = 0", "not above 0"),
        ("hidden = 0", "not above 0"),
        ("velocity_hidden = 0", "not above 0"),
        ("seconds = 0.0", "not above 0"),
        ("notes = 3", "unknown setting"),
    ],
)
def test_settings_of_hindsight_that_cannot_be_are_named(tmp_path: Path, wrong: str, fact: str) -> None:
    recipe = small_recipe(tmp_path, 1, 1)
    recipe.write_text(f"{recipe.read_text()}[hindsight]\n{wrong}\n")
    with pytest.raises(RecipeError, match=rf"small\.toml: .*{fact}"):
        read_recipe(recipe)


def test_a_run_may_begin_with_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_piece(tmp_path / "data", "piece")
    recipe, data = read_recipe(small_recipe(tmp_path, 1, 1)), TrainingData(recordings=[tmp_path / "data"])
    train(recipe, data, tmp_path / "first")
    model, info = load_checkpoint(tmp_path / "first" / "checkpoint.safetensors")
    first, before = model.state_dict(), tmp_path / "before.safetensors"
    save_checkpoint(before, model, info.config, name="before", training={"hours_heard": 5.0})
    begun: list[dict[str, Any]] = []
    run = Trainer.run

    def watched(trainer: Trainer, *arguments: Any) -> None:
        begun.append({name: weight.clone() for name, weight in trainer.model.state_dict().items()})
        run(trainer, *arguments)

    monkeypatch.setattr(Trainer, "run", watched)
    train(recipe, data, tmp_path / "second", start=before)
    assert checkpoint_info(tmp_path / "second" / "checkpoint.safetensors").training["hours_heard"] == 5.0
    assert all(torch.equal(weight, begun[0][name]) for name, weight in first.items())


def test_a_run_of_random_weights_does_not_go_on_as_one_of_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_piece(tmp_path / "data", "piece")
    recipe, data = read_recipe(small_recipe(tmp_path, 1, 1)), TrainingData(recordings=[tmp_path / "data"])
    train(recipe, data, tmp_path / "first")
    real = Trainer.run

    def stopped(trainer: Trainer, *arguments: Any) -> None:
        if trainer.settings.phase == "velocity":
            raise KeyboardInterrupt
        real(trainer, *arguments)

    monkeypatch.setattr(Trainer, "run", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, data, tmp_path / "second")
    monkeypatch.undo()
    with pytest.raises(RecipeError, match=r"second: began with random weights, not with .*; leave"):
        train(recipe, data, tmp_path / "second", start=tmp_path / "first" / "checkpoint.safetensors")
    train(recipe, data, tmp_path / "second")


def test_a_run_knows_what_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_piece(tmp_path / "data", "piece")
    recipe, data = read_recipe(small_recipe(tmp_path, 1, 1)), TrainingData(recordings=[tmp_path / "data"])
    train(recipe, data, tmp_path / "first")
    model, info = load_checkpoint(tmp_path / "first" / "checkpoint.safetensors")
    before, run = tmp_path / "before.safetensors", tmp_path / "second"
    save_checkpoint(before, model, info.config, name="before", training={"hours_heard": 5.0})
    real, interrupted = Trainer.run, ["note"]

    def stopped(trainer: Trainer, *arguments: Any) -> None:
        if trainer.settings.phase in interrupted:
            raise KeyboardInterrupt
        real(trainer, *arguments)

    monkeypatch.setattr(Trainer, "run", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, data, run, start=before)
    with pytest.raises(RecipeError, match="nothing of it was saved yet; give --init again"):
        train(recipe, data, run)
    interrupted[:] = ["velocity"]
    with pytest.raises(KeyboardInterrupt):
        train(recipe, data, run, start=before)
    interrupted.clear()
    with pytest.raises(RecipeError, match=r"second: began with another checkpoint than .*; leave --init out"):
        train(recipe, data, run, start=tmp_path / "first" / "checkpoint.safetensors")
    begun: list[bool] = []
    monkeypatch.setattr(Trainer, "start_from", lambda *_, new_velocity: begun.append(new_velocity))
    train(recipe, data, run)
    assert begun == [False]  # the velocity network is that of the checkpoint, not a copy of the note network
    exported = run / "checkpoint.safetensors"
    exported.unlink()
    train(recipe, data, run, export_only=True)
    assert checkpoint_info(exported).training["hours_heard"] == 5.0


@pytest.mark.parametrize("hold_out", ["", "b"])
def test_where_the_note_network_stays_so_do_the_settings_of_decoding(tmp_path: Path, hold_out: str) -> None:
    for name in ("a", "b"):
        write_piece(tmp_path / "data", name)
    data = TrainingData(recordings=[tmp_path / "data"], hold_out=hold_out)
    train(read_recipe(small_recipe(tmp_path, 1, 1)), TrainingData(data.recordings), tmp_path / "first")
    model, info = load_checkpoint(tmp_path / "first" / "checkpoint.safetensors")
    config = replace(info.config, decode=DecodeConfig(offset_bias=0.375, offset_shift=-0.016))
    before, run = tmp_path / "before.safetensors", tmp_path / "second"
    heard = {"hours_heard": 5.0, "velocity_hours_heard": 2.0}
    save_checkpoint(before, model, config, name="before", training={**heard, "data": ["maestro", "data"]})
    train(read_recipe(small_recipe(tmp_path, 0, 1)), data, run, start=before)
    exported = run / "checkpoint.safetensors"
    for _ in range(2):  # the second time, what the run began with is no longer there
        after = checkpoint_info(exported)
        assert after.config.decode == config.decode
        assert {name: after.training[name] for name in heard} == heard  # an update is a few seconds
        assert after.training["data"] == ["maestro", "data"]
        exported.unlink()
        before.unlink(missing_ok=True)
        train(read_recipe(small_recipe(tmp_path, 0, 1)), data, run, export_only=True)


def test_a_run_without_a_note_network_of_its_own_is_exported_without_the_checkpoint(tmp_path: Path) -> None:
    write_piece(tmp_path / "data", "piece")
    data = TrainingData(recordings=[tmp_path / "data"])
    train(read_recipe(small_recipe(tmp_path, 1, 1)), data, tmp_path / "first")
    recipe, run = read_recipe(small_recipe(tmp_path, 0, 1)), tmp_path / "second"
    train(recipe, data, run, start=tmp_path / "first" / "checkpoint.safetensors")
    exported = run / "checkpoint.safetensors"
    weights = load_file(exported)
    exported.unlink()
    train(recipe, data, run, export_only=True)
    assert all(torch.equal(weight, weights[name]) for name, weight in load_file(exported).items())


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("[model", "is not TOML"),
        ("[mode]\nhead = 'full'", "unknown section mode"),
        ("[model]\nhed = 'full'", "hed"),
        ("[note]\nbatch = 0", "batch"),
        ("[played]\nshare = 2.0", "share"),
        ("[played]\nshare = 0.7\nnote_list_share = 0.4", "more than 1 together"),
        ("[played]\nslowness = ['a', 1]", r"slowness.* something like \[1.0, 6.0\]"),
        ("[played]\nslowness = [1.0]", "something like"),
        ("[played]\nundamped_from = [93, 88]", r"something like \[88, 93\]"),
        ("[played]\nundamped_from = [88.5, 93]", "something like"),
        ("[augment]\nnoise_snr_db = [true, 45.0]", "something like"),
        ("[model]\ntime_widths = [3, 1, 'a', 1, 1, 1]", "something like"),
        ("note = 3", "note is 3, and a table"),
        ("augment = [1]", "augment is .*, and a table"),
        ("[velocity]\naugment = 3", "augment is 3, and a table"),
        ("played = 3", "3 is not a table"),
        ("extends = 3", "extends 3; give the path"),
    ],
)
def test_a_wrong_recipe_is_named(tmp_path: Path, text: str, fact: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=fact) as error:
        read_recipe(path)
    assert "wrong.toml" in str(error.value)


def test_a_missing_recipe_and_missing_data_are_errors(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(tmp_path / "no.toml")
    with pytest.raises(RecipeError, match="nothing to train on"):
        TrainingData()
    with pytest.raises(RecipeError, match="together"):
        TrainingData(pianos=tmp_path)
    (tmp_path / "empty").mkdir()
    recipe = read_recipe(small_recipe(tmp_path, 1, 1))
    with pytest.raises(RecipeError, match="note list"):
        train(recipe, TrainingData(recordings=[tmp_path / "empty"]), tmp_path / "run")
    write_piece(tmp_path / "data", "piece")
    with pytest.raises(RecipeError, match="no recording's name ends with _own, which was to be held out"):
        train(recipe, TrainingData([tmp_path / "data"], "_own"), tmp_path / "run")
    (tmp_path / "pianos").mkdir()
    sampled_piano(tmp_path / "pianos", RATE)
    data = TrainingData([tmp_path / "data"], "", tmp_path / "empty", tmp_path / "pianos")
    with pytest.raises(RecipeError, match="empty: no performance in MIDI there"):
        train(recipe, data, tmp_path / "run")
    with pytest.raises(RecipeError, match="beside sampled ones"):
        train(
            replace(recipe, played=PlayedConfig(modelled=1)),
            TrainingData([tmp_path / "data"]),
            tmp_path / "run",
        )
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_a_recipe_tells_what_differs_from_the_one_that_it_extends(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text("name = 'base'\n[model]\ncnn_units = 8\nlstm_units = 9\n")
    (tmp_path / "deeper").mkdir()
    changed = tmp_path / "deeper" / "changed.toml"
    changed.write_text("extends = '../base.toml'\n[model]\nlstm_units = 7\n[note]\nbatch = 2\n")
    recipe = read_recipe(changed)
    assert (recipe.name, recipe.config.model.cnn_units, recipe.config.model.lstm_units) == ("base", 8, 7)
    assert recipe.phases["note"].batch == 2


def test_tables_within_tables_tell_what_differs_too(tmp_path: Path) -> None:
    base = "[velocity]\nbatch = 5\n[velocity.augment]\ngain_db = 4.0\nequaliser_db = 2.0\n"
    (tmp_path / "base.toml").write_text(base)
    (tmp_path / "changed.toml").write_text("extends = 'base.toml'\n[velocity.augment]\ngain_db = 3.0\n")
    recipe = read_recipe(tmp_path / "changed.toml")
    assert (recipe.augmenters["velocity"].gain_db, recipe.augmenters["velocity"].equaliser_db) == (3.0, 2.0)
    assert recipe.phases["velocity"].batch == 5


def test_a_recipe_that_extends_itself_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("extends = 'b.toml'")
    (tmp_path / "b.toml").write_text("extends = 'a.toml'")
    with pytest.raises(RecipeError, match="extends itself"):
        read_recipe(tmp_path / "a.toml")


PAPER = {
    "par": 19.73e6,
    "par_compact": 2.68e6,
    "table3_middle": 1.54e6,
    "table3_small": 653e3,
    "table3_tiny": 299e3,
    "table3_single_bottleneck": 50e3,
    "table4_par_128ms": 19.59e6,
    "table4_par_compact_128ms": 2.54e6,
}


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.toml")), ids=lambda path: path.stem)
def test_the_recipes_of_the_project_are_what_they_are_called(path: Path) -> None:
    recipe = read_recipe(path)
    # Which goes on with the weights of that name, or learns what weighs their notes at last.
    assert recipe.name == path.stem.removesuffix("_onward").removesuffix("_hindsight")
    if path.parent.name == "paper":
        model = recipe.config.model
        if path.stem in PAPER:
            with torch.device("meta"):
                assert Par(model).parameter_count() == pytest.approx(PAPER[path.stem], rel=0.01)
        if path.stem.startswith("table4"):
            latency = round(1000 * (model.margin_frames * 512 + 2048) / RATE)
            assert path.stem.endswith(f"_{latency}ms")
        assert recipe.phases["note"].updates == 250_000
