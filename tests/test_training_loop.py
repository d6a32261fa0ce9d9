"""The loss by hand, and the loop: it learns, goes on after a stop to the bit, and leaves what is done."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conftest import TINY
from partranscribe.config import Config, FrontEndConfig, ModelConfig
from partranscribe.model import LastFrame, Par
from partranscribe.note_array import NoteArray, note_array
from partranscribe.notes import LOWEST_PITCH, NOTE_STATES, OFF, OFFSET, ONSET, PITCHES, REONSET, SUSTAIN, Note
from partranscribe.training import objective
from partranscribe.training.augment import Augmenter, ContextNoise
from partranscribe.training.data import Crop, Recording, Recordings
from partranscribe.training.gradients import Gradients
from partranscribe.training.labels import context_labels, forgiving_labels, frame_labels
from partranscribe.training.loop import Trainer
from partranscribe.training.loss import focal_loss, state_weights, unanswered, velocity_loss
from partranscribe.training.rollout import own_context
from partranscribe.training.train_config import TrainConfig
from synth import melody

QUICK = TrainConfig(updates=8, batch=2, crop_frames=24, learning_rate=5e-3, warmup=4, workers=0)


class Stopped(Exception):  # noqa: N818 - no error
    """The run is cut off here."""


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    """Two melodies of 8 s on a few keys, far apart."""
    rng, found = np.random.default_rng(0), []
    for name in ("first", "second"):
        onsets = np.arange(0.2, 7.5, 0.25)
        pitches, velocities = rng.choice((45, 57, 69, 81), len(onsets)), rng.choice((30, 110), len(onsets))
        notes = [
            Note(float(onset), float(onset) + 0.24, int(pitch), int(velocity))
            for onset, pitch, velocity in zip(onsets, pitches, velocities, strict=True)
        ]
        audio = np.round(melody(notes, 16_000) * 32767).astype(np.int16)
        found.append(Recording(name, audio, note_array(notes)))
    return found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every update takes 31 s, so that each is logged."""
    ticks = SimpleNamespace(monotonic=itertools.count(0, 31).__next__)
    monkeypatch.setattr("partranscribe.training.loop.time", ticks)


def trainer_in(folder: Path, recordings: list[Recording], config: Config = TINY, **settings: Any) -> Trainer:
    return Trainer(
        config,
        replace(QUICK, **settings),
        Recordings(recordings, FrontEndConfig()),
        Augmenter(),
        ContextNoise(),
        folder,
        torch.device("cpu"),
    )


def weights_of(trainer: Trainer) -> dict[str, Tensor]:
    """All that training changes: weights, batch statistics, and what the optimizer remembers."""
    kept = {f"model.{name}": tensor for name, tensor in trainer.model.state_dict().items()}
    kept |= {f"average.{name}": tensor for name, tensor in trainer._average.state_dict().items()}
    head = trainer.objective.acoustic_head.state_dict()
    kept |= {f"head.{name}": tensor for name, tensor in head.items()}
    for index, moments in trainer.optimizer.state_dict()["state"].items():
        kept |= {f"optimizer.{index}.{name}": tensor for name, tensor in moments.items()}
    return {name: tensor.clone() for name, tensor in kept.items()}


def differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    """Names of the tensors that are not the same to the bit."""
    assert one.keys() == other.keys()
    return [name for name, tensor in one.items() if not torch.equal(tensor, other[name])]


def stop_at(update: int) -> Any:
    def report(entry: dict[str, Any]) -> None:
        if entry["update"] == update:
            raise Stopped

    return report


def test_focal_loss_is_what_a_hand_computes() -> None:
    logits = torch.zeros(1, 2, 3, NOTE_STATES)
    target = torch.zeros(1, 2, 3, dtype=torch.long)
    logits[0, 0, 0] = torch.tensor([0.0, 0.0, math.log(6.0), 0.0, 0.0])  # 0.6 for the onset
    target[0, 0, 0] = ONSET
    loss = focal_loss(logits, target, torch.ones(NOTE_STATES))
    even = 0.8**2 * math.log(5)  # a fifth for each state
    onset = 0.4**2 * -math.log(0.6)
    assert float(loss) == pytest.approx((onset + 5 * even) / 2)  # summed over pitches, mean over frames


def test_an_easy_cell_counts_less_the_higher_gamma() -> None:
    logits, target = torch.tensor([[[[4.0, 0.0, 0.0, 0.0, 0.0]]]]), torch.zeros(1, 1, 1, dtype=torch.long)
    odds = math.exp(4) / (math.exp(4) + 4)
    for gamma in (0.0, 1.0, 2.0, 3.0):
        loss = focal_loss(logits, target, torch.ones(NOTE_STATES), gamma)
        assert float(loss) == pytest.approx(-((1 - odds) ** gamma) * math.log(odds), rel=1e-4)


def test_focal_loss_weighs_each_cell_by_its_true_state() -> None:
    logits = torch.randn(2, 3, 4, NOTE_STATES, generator=torch.Generator().manual_seed(0))
    for state in range(NOTE_STATES):
        target = torch.full((2, 3, 4), state)
        weights = torch.ones(NOTE_STATES)
        plain = focal_loss(logits, target, weights)
        weights[state] = 4.0
        assert float(focal_loss(logits, target, weights)) == pytest.approx(4 * float(plain))


def test_weights_are_for_beginnings_and_for_notes() -> None:
    weights = state_weights(onset=4.0, note=1.5)
    assert weights[[OFF, OFFSET, ONSET, SUSTAIN, REONSET]].tolist() == [1.0, 1.5, 4.0, 1.5, 4.0]


def test_velocities_count_where_they_are_told() -> None:
    target = torch.tensor([[[0.0, 0.5, 0.0], [0.0, 1.0, 0.0]]])
    velocity = torch.tensor([[[9.0, 0.7, 9.0], [9.0, 0.4, 9.0]]], requires_grad=True)
    loss = velocity_loss(velocity, target, level=1.0)
    assert float(loss.detach()) == pytest.approx((0.2**2 + 0.6**2) / 2)
    loss.backward()  # type: ignore[no-untyped-call]
    assert velocity.grad is not None
    assert (velocity.grad != 0).tolist() == [[[False, True, False], [False, True, False]]]


def test_an_error_that_a_crop_shares_counts_less() -> None:
    target = torch.tensor([[[0.5, 0.7]], [[0.3, 0.0]], [[0.0, 0.0]]])
    velocity = target + torch.tensor([[[0.3, 0.1]], [[0.4, 9.0]], [[9.0, 9.0]]])
    # In the first crop 0.2 is shared and 0.1 up and down is left; in the second, of one note, all is shared.
    expected = (2 * 0.1**2 + 0.1 * (2 * 0.2**2 + 0.4**2)) / 3
    assert float(velocity_loss(velocity, target, level=0.1)) == pytest.approx(expected)


def test_a_large_error_of_a_velocity_counts_linearly() -> None:
    target = torch.tensor([[[0.5, 0.5]], [[0.4, 0.0]]])
    velocity = target + torch.tensor([[[0.3, -0.3]], [[0.02, 9.0]]])
    # Squared up to 0.1 and going on with that slope, 0.2: the 0.3 of the first crop, which shares none.
    expected = (2 * (0.1**2 + 0.2 * 0.2) + 0.02**2) / 3
    assert float(velocity_loss(velocity, target, level=1.0, linear_from=0.1)) == pytest.approx(expected)
    with pytest.raises(ValueError, match="velocity_linear_from"):
        TrainConfig(velocity_linear_from=0.0)


@pytest.mark.parametrize(
    ("heard", "asked"),
    [(None, [2, 3, 4]), (3, [2, 3]), (2, [2]), (1, []), (4, [2, 3, 4])],
    ids=["not at all", "in time", "early", "two frames early", "late"],
)
def test_no_velocity_is_asked_for_that_the_context_tells(heard: int | None, asked: list[int]) -> None:
    """Of a note that begins on frame 3, its velocity is told on the frames about it as well."""
    frames = 8
    labels = [frame_labels(notes_of(begin), 0, frames, 1.0) for begin in (3, heard)]
    context = context_labels(labels[1], 157)
    velocity = forgiving_labels(labels[0], context, 157).velocity
    assert np.flatnonzero(velocity[:, 0]).tolist() == [2, 3, 4]
    told = torch.from_numpy(velocity).unsqueeze(0)
    left = unanswered(told, torch.from_numpy(context.duration).unsqueeze(0), 157)
    assert left[0, :, 0].nonzero().flatten().tolist() == asked
    assert torch.equal(left[left > 0], told[left > 0])


def notes_of(begin: int | None) -> NoteArray:
    """One note of the lowest key that begins on a frame, or none; a frame is a second."""
    return np.array([] if begin is None else [(begin, begin + 4, LOWEST_PITCH, 64)], float).reshape(-1, 4)


def test_without_a_beginning_there_is_no_velocity_to_learn() -> None:
    assert float(velocity_loss(torch.ones(1, 4, 3), torch.zeros(1, 4, 3))) == 0


@pytest.mark.usefixtures("clock")
def test_the_note_network_learns(tmp_path: Path, recordings: list[Recording]) -> None:
    trainer = trainer_in(tmp_path, recordings, updates=40, learning_rate=2e-2, dropout=0.0)
    entries: list[dict[str, Any]] = []
    trainer.run(entries.append)
    for name in ("loss", "state", "acoustic"):
        losses = [entry[name] for entry in entries]
        assert len(losses) == 40
        assert np.mean(losses[-8:]) < 0.75 * np.mean(losses[:4])


@pytest.mark.parametrize("known", [True, False])
def test_bfloat16_is_for_processors_that_know_it(
    tmp_path: Path, recordings: list[Recording], monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    monkeypatch.setattr(objective, "has_bfloat16", lambda device: known)
    trainer = trainer_in(tmp_path, recordings)
    computed: list[torch.dtype] = []
    trainer.model.note_acoustic.blocks[0].register_forward_hook(lambda *call: computed.append(call[-1].dtype))
    assert trainer.objective(next(trainer._crops(0)))["loss"].dtype == torch.float32
    assert computed == [torch.bfloat16 if known else torch.float32]


def test_the_velocity_network_learns_a_crop_by_heart(tmp_path: Path, recordings: list[Recording]) -> None:
    trainer = trainer_in(tmp_path, recordings, phase="velocity", learning_rate=2e-2, dropout=0.0)
    crop = next(trainer._crops(0))
    with Gradients(trainer.objective, processes=1, seed=0) as gradients:
        losses = [trainer._update(gradients, crop)["loss"] for _ in range(60)]
    assert losses[-1] < 0.2 * losses[0]


def test_beside_the_velocity_network_the_note_network_stays(
    tmp_path: Path, recordings: list[Recording]
) -> None:
    notes = trainer_in(tmp_path / "note", recordings, updates=3)
    notes.run()
    trainer = trainer_in(tmp_path / "velocity", recordings, phase="velocity", updates=3)
    trainer.start_from(notes.model, new_velocity=True)
    begun = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    for name, tensor in trainer.model.velocity_acoustic.state_dict().items():
        assert torch.equal(tensor, notes.model.note_acoustic.state_dict()[name])
    trainer.run()
    changed = differing(trainer.model.state_dict(), begun)
    assert {name.split(".")[0] for name in changed} == {"velocity_acoustic", "velocity_sequence"}
    for name, _ in trainer.model.velocity_acoustic.named_parameters():
        assert f"velocity_acoustic.{name}" in changed


def test_the_note_phase_leaves_the_velocity_network(tmp_path: Path, recordings: list[Recording]) -> None:
    trainer = trainer_in(tmp_path, recordings, updates=2)
    begun = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    trainer.run()
    changed = differing(trainer.model.state_dict(), begun)
    assert {name.split(".")[0] for name in changed} == {"note_acoustic", "note_sequence", "context"}


def test_a_trained_velocity_network_is_kept(tmp_path: Path, recordings: list[Recording]) -> None:
    torch.manual_seed(5)
    trained = Par(TINY.model)
    trainer = trainer_in(tmp_path, recordings, phase="velocity")
    trainer.start_from(trained)
    assert differing(trainer.model.state_dict(), trained.state_dict()) == []


@pytest.mark.parametrize("phase", ["note", "velocity"])
def test_frozen_blocks_stay_as_they_are(tmp_path: Path, recordings: list[Recording], phase: str) -> None:
    torch.manual_seed(5)
    begun = Par(TINY.model)
    trainer = trainer_in(tmp_path, recordings, phase=phase, updates=2, frozen_blocks=2)
    trainer.start_from(begun)
    trainer.run()
    for model in (trainer.model, trainer.averaged()):
        changed = differing(model.state_dict(), begun.state_dict())
        blocks = {name.split(".")[2] for name in changed if name.startswith(f"{phase}_acoustic.blocks.")}
        assert blocks == {"2"}
        assert f"{phase}_acoustic.head.split.weight" in changed
        assert f"{phase}_acoustic.blocks.2.norm.running_mean" in changed


@pytest.mark.parametrize("phase", ["note", "velocity"])
def test_batch_norms_can_keep_their_statistics(
    tmp_path: Path, recordings: list[Recording], phase: str
) -> None:
    torch.manual_seed(5)
    begun = Par(TINY.model)
    trainer = trainer_in(tmp_path, recordings, phase=phase, updates=2, keep_statistics=True)
    trainer.start_from(begun)
    trainer.run()
    for model in (trainer.model, trainer.averaged()):
        changed = differing(model.state_dict(), begun.state_dict())
        assert f"{phase}_acoustic.blocks.0.norm.weight" in changed
        assert f"{phase}_acoustic.head.norms.1.bias" in changed
        assert not [name for name in changed if "running" in name or "tracked" in name]


@pytest.mark.parametrize("count", [-1, 4])
def test_no_more_blocks_are_frozen_than_there_are(count: int) -> None:
    with pytest.raises(ValueError, match=rf"frozen_blocks {count} is not within 0\.\.3"):
        TrainConfig(frozen_blocks=count)


@pytest.mark.parametrize(("share", "times"), [(0.0, 0), (1.0, 3)])
def test_it_learns_from_what_it_decodes_itself(
    tmp_path: Path, recordings: list[Recording], monkeypatch: pytest.MonkeyPatch, share: float, times: int
) -> None:
    given: list[LastFrame] = []

    def watched(*arguments: Any) -> LastFrame:
        given.append(own_context(*arguments))
        return given[-1]

    monkeypatch.setattr(objective, "own_context", watched)
    trainer = trainer_in(tmp_path, recordings, own_context=share, updates=3)
    seen: list[LastFrame] = []
    assert trainer.model.context is not None
    trainer.model.context.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    trainer.run()
    assert len(given) == times
    full = [last for last in seen if last.state.shape[1] == QUICK.crop_frames]
    assert len(full) == 3
    for own, last in zip(given, full, strict=False):
        assert own is last


def test_labels_do_not_answer_to_a_context_that_is_not_heard(
    tmp_path: Path, recordings: list[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(TINY, model=replace(TINY.model, context="none"))
    trainer = trainer_in(tmp_path, recordings, config, own_context=1.0)
    monkeypatch.setattr(objective, "own_context", None)
    seen: list[Crop] = []
    losses = objective.Objective._note_losses

    def watched(self: objective.Objective, crop: Crop, *arguments: Any) -> dict[str, Tensor]:
        seen.append(crop)
        return losses(self, crop, *arguments)

    monkeypatch.setattr(objective.Objective, "_note_losses", watched)
    trainer.run()
    assert len(seen) == QUICK.updates
    assert all(torch.equal(crop.state, crop.truth) for crop in seen)


def test_a_share_of_the_updates_is_within_0_and_1() -> None:
    with pytest.raises(ValueError, match="own_context"):
        TrainConfig(own_context=1.5)


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    ("stops", "settings"),
    [
        ((1, 2, 7), {"phase": "note"}),
        ((3,), {"phase": "note", "own_context": 0.5}),
        ((4,), {"phase": "velocity"}),
        ((3,), {"phase": "note", "own_context": 0.5, "keep_statistics": True, "processes": 2}),
    ],
    ids=["note", "own context", "velocity", "two processes"],
)
def test_stopped_and_resumed_is_never_stopped(
    tmp_path: Path, recordings: list[Recording], stops: tuple[int, ...], settings: dict[str, Any]
) -> None:
    straight = trainer_in(tmp_path / "straight", recordings, **settings)
    expected: list[dict[str, Any]] = []
    straight.run(expected.append)
    for update in stops:
        broken = trainer_in(tmp_path / "broken", recordings, **settings, save_minutes=0)
        assert broken.resume() is (update != stops[0])
        with pytest.raises(Stopped):
            broken.run(stop_at(update + 1))
    last = trainer_in(tmp_path / "broken", recordings, **settings, save_minutes=0)
    assert last.resume()
    assert last.progress.update == stops[-1]
    found: list[dict[str, Any]] = []
    last.run(found.append)
    assert last.progress.update == straight.progress.update == QUICK.updates
    assert differing(weights_of(last), weights_of(straight)) == []
    assert [entry["loss"] for entry in found] == [entry["loss"] for entry in expected[stops[-1] :]]


def test_a_run_hears_other_crops_than_the_one_that_it_begins_with_and_goes_on_with_them(
    tmp_path: Path, recordings: list[Recording]
) -> None:
    first = trainer_in(tmp_path / "first", recordings, updates=1)
    crops = [next(first._crops(0)).audio]
    first.run()
    for folder in ("second", "again"):
        trainer = trainer_in(tmp_path / folder, recordings)
        trainer.start_from(first.averaged())
        crops.append(next(trainer._crops(0)).audio)
    trainer.save()
    resumed = trainer_in(tmp_path / "again", recordings)
    assert resumed.resume()
    crops.append(next(resumed._crops(0)).audio)
    assert not torch.equal(crops[0], crops[1])
    assert torch.equal(crops[1], crops[2])
    assert torch.equal(crops[1], crops[3])


def test_a_run_that_was_saved_by_an_older_version_goes_on(
    tmp_path: Path, recordings: list[Recording]
) -> None:
    trainer = trainer_in(tmp_path, recordings, updates=2, seed=3)
    trainer.run()
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    del state["crop_seed"]
    torch.save({**state, "progress": {**state["progress"], "history": []}}, tmp_path / "state.pt")
    resumed = trainer_in(tmp_path, recordings, updates=4, seed=3)
    assert resumed.resume()
    assert resumed.progress.update == 2
    assert torch.equal(next(resumed._crops(2)).audio, next(trainer._crops(2)).audio)


@pytest.mark.parametrize(
    "settings",
    [
        {"updates": -1},
        {"minutes": -1.0},
        {"workers": -1},
        {"processes": -1},
        {"average": 1.5},
        {"dropout": -0.1},
    ],
)
def test_settings_of_which_a_run_would_not_end_or_fail_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        TrainConfig(**settings)


def test_the_same_seed_trains_the_same_network(tmp_path: Path, recordings: list[Recording]) -> None:
    runs = []
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        trainer = trainer_in(tmp_path / name, recordings, seed=seed, updates=2)
        trainer.run()
        runs.append(weights_of(trainer))
    assert differing(runs[0], runs[1]) == []
    assert differing(runs[0], runs[2])


def test_the_average_follows_the_weights_and_moves_less(tmp_path: Path, recordings: list[Recording]) -> None:
    trainer = trainer_in(tmp_path, recordings, updates=6, average=0.9, dropout=0.0)
    name = "note_sequence.lstm.weight_hh_l0"
    path, averages = [], []
    update = trainer._update

    def watched(gradients: Gradients, crop: Crop) -> dict[str, float]:
        losses = update(gradients, crop)
        path.append(trainer.model.state_dict()[name].clone())
        averages.append(trainer.averaged().state_dict()[name].clone())
        return losses

    trainer._update = watched  # type: ignore[method-assign]
    trainer.run()
    expected = path[0]
    for count, weight in enumerate(path[1:], start=1):
        expected = expected.lerp(weight, 1 - min(0.9, (1 + count) / (10 + count)))
        torch.testing.assert_close(averages[count], expected)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_batch_norms_of_the_averaged_model_are_measured_on_it(
    tmp_path: Path, recordings: list[Recording], dropout: float
) -> None:
    trainer = trainer_in(tmp_path, recordings, updates=6, dropout=dropout)
    trainer.run()
    begun = weights_of(trainer)
    averaged = trainer.averaged()
    assert not averaged.training
    assert differing(averaged.state_dict(), trainer.averaged().state_dict()) == []
    norm = averaged.note_acoustic.blocks[0].norm
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    measured = norm.running_mean.clone()
    norm.train()  # outside training it is part of the convolution before it
    means: list[Tensor] = []
    norm.register_forward_hook(lambda _, inputs, __: means.append(inputs[0].mean(dim=(0, 2, 3))))
    with torch.no_grad():
        for crop in itertools.islice(trainer._crops(first=0), 60):
            averaged.note_acoustic(trainer.objective.mel(crop))
    torch.testing.assert_close(measured, torch.stack(means).mean(dim=0), atol=5e-3, rtol=0.02)
    assert differing(weights_of(trainer), begun) == []


def test_a_finished_run_is_left_alone(tmp_path: Path, recordings: list[Recording]) -> None:
    trainer = trainer_in(tmp_path, recordings, updates=2)
    trainer.run()
    finished = weights_of(trainer)
    again = trainer_in(tmp_path, recordings, updates=2)
    assert again.resume()
    again.run()
    assert again.progress.update == 2
    assert differing(weights_of(again), finished) == []


def test_without_a_save_there_is_nothing_to_resume(tmp_path: Path, recordings: list[Recording]) -> None:
    trainer = trainer_in(tmp_path / "new", recordings)
    assert trainer.resume() is False
    assert not (tmp_path / "new").exists()


def test_a_save_that_breaks_leaves_the_one_before(
    tmp_path: Path, recordings: list[Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_in(tmp_path, recordings, updates=1)
    trainer.run()

    def broken(_: object, path: Path) -> None:
        path.write_bytes(b"half of it")
        raise Stopped

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(Stopped):
        trainer.save()
    again = trainer_in(tmp_path, recordings, updates=1)
    assert again.resume()
    assert differing(weights_of(again), weights_of(trainer)) == []


@pytest.mark.usefixtures("clock")
def test_a_run_in_minutes_ends_by_the_clock(tmp_path: Path, recordings: list[Recording]) -> None:
    trainer = trainer_in(tmp_path, recordings, minutes=3.0, updates=1)
    trainer.run()
    assert trainer.progress.update == 6  # of 31 s each
    assert trainer.share_done() == 1.0


def test_the_learning_rate_warms_up_holds_and_falls_to_zero(
    tmp_path: Path, recordings: list[Recording]
) -> None:
    trainer = trainer_in(tmp_path, recordings, updates=100, warmup=10, hold=0.4, learning_rate=1.0)
    rates = {}
    for update in (0, 4, 9, 10, 40, 70, 99):
        trainer.progress.update = update
        rates[update] = trainer._learning_rate()
    expected = {0: 0.1, 4: 0.5, 9: 1.0, 10: 1.0, 40: 1.0, 70: 0.5, 99: 1 / 60}
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize("pitchwise", [True, False])
def test_outputs_begin_at_how_often_a_state_occurs(
    tmp_path: Path, recordings: list[Recording], pitchwise: bool
) -> None:
    config = replace(TINY, model=replace(TINY.model, pitchwise=pitchwise))
    trainer = trainer_in(tmp_path, recordings, config)
    bias = trainer.model.note_sequence.output.bias
    odds = bias.detach().view(-1, NOTE_STATES).softmax(dim=-1)
    assert len(odds) == (1 if pitchwise else PITCHES)
    for row in odds:
        assert row.argsort(descending=True).tolist() == [OFF, SUSTAIN, OFFSET, ONSET, REONSET]
        assert row[OFF] > 0.9


@pytest.mark.parametrize("phase", ["note", "velocity"])
@pytest.mark.parametrize(
    "switches",
    [{"head": "full"}, {"context": "state"}, {"context": "none"}, {"pitchwise": False}, {"film": False}],
)
def test_every_switch_can_be_trained(
    tmp_path: Path, recordings: list[Recording], phase: str, switches: dict[str, Any]
) -> None:
    model: ModelConfig = replace(TINY.model, global_lstm_units=8, **switches)
    trainer = trainer_in(tmp_path, recordings, replace(TINY, model=model), phase=phase, updates=1)
    begun = weights_of(trainer)
    trainer.run()
    after = weights_of(trainer)
    trained = {f"model.{name}" for name, value in trainer.model.named_parameters() if value.requires_grad}
    assert trained
    changed = {name for name in begun if not torch.equal(begun[name], after[name])}
    assert len(trained & changed) > 0.8 * len(trained)
    assert all(after[name].isfinite().all() for name in after)


def test_dropout_is_that_of_the_run(tmp_path: Path, recordings: list[Recording]) -> None:
    trainer = trainer_in(tmp_path, recordings, dropout=0.1)
    assert {module.p for module in trainer.model.modules() if isinstance(module, nn.Dropout)} == {0.1}


def test_hours_count_the_audio_of_all_updates(tmp_path: Path, recordings: list[Recording]) -> None:
    trainer = trainer_in(tmp_path, recordings, batch=3, crop_frames=160)
    trainer.progress.update = 1000
    assert trainer.hours_heard == pytest.approx(1000 * 3 * 5.12 / 3600)
