"""The network: its sizes, its switches, and what each output may depend on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from conftest import random_context, trained_like
from partranscribe.config import PAR, PAR_COMPACT, Head, ModelConfig
from partranscribe.model import (
    CompactHead,
    ConvFilmBlock,
    Film,
    FullHead,
    LastFrame,
    Par,
    PitchLinear,
    Prediction,
)
from partranscribe.notes import NOTE_STATES, PITCHES
from partranscribe.windows import Features

MELS, FRAMES = 32, 12
SMALL = ModelConfig(head="compact", cnn_units=4, lstm_units=4, hidden_per_pitch=4, n_mels=MELS)
HEADS: tuple[Head, ...] = ("full", "compact")
SWITCHES: list[dict[str, Any]] = [
    {},
    {"pitchwise": False},
    {"context": "state"},
    {"film": False},
    {"pitchwise": False, "context": "state", "film": False},
    {"context": "none"},
]


def build(seed: int = 0, **settings: Any) -> Par:
    """A small network in evaluation mode whose weights follow from the seed."""
    torch.manual_seed(seed)
    model = Par(replace(SMALL, **settings))
    for head in (model.note_acoustic.head, model.velocity_acoustic.head):
        if isinstance(head, CompactHead):  # its only channel must not happen to be below zero everywhere
            bias = head.get_parameter("squeeze.3.bias")
            nn.init.constant_(bias, 1.0)
    return model.eval()


def random_mel(seed: int = 1, frames: int = FRAMES, batch: int = 1) -> Tensor:
    return torch.randn(batch, frames, MELS, generator=torch.Generator().manual_seed(seed))


def random_features(seed: int = 2, frames: int = FRAMES) -> Features:
    generator = torch.Generator().manual_seed(seed)
    note, velocity = torch.randn(2, 1, frames, PITCHES, SMALL.hidden_per_pitch, generator=generator)
    return Features(note, velocity)


def blocks_of(model: Par) -> list[ConvFilmBlock]:
    """The three blocks of the note network."""
    return [block for block in model.note_acoustic.blocks if isinstance(block, ConvFilmBlock)]


def parameter_names(model: Par) -> set[str]:
    return {name for name, _ in model.named_parameters()}


def differing_pitches(one: Tensor, other: Tensor) -> set[int]:
    """Pitches at which two outputs (batch, frames, pitches, …) are not the same to the bit."""
    return set(torch.nonzero(one != other)[:, 2].tolist())


@pytest.mark.parametrize(
    ("config", "parameters", "in_the_paper"),
    [
        (PAR, 19_731_868, "19.73 M"),
        (replace(PAR, time_widths=(1,) * 6), 19_593_052, "19.59 M"),
        (PAR_COMPACT, 2_680_382, "2.68 M"),
        (replace(PAR_COMPACT, time_widths=(1,) * 6), 2_541_566, "2.54 M"),
        (replace(PAR_COMPACT, cnn_units=32, lstm_units=32, hidden_per_pitch=32), 1_543_998, "1.54 M"),
        (replace(PAR_COMPACT, cnn_units=16, lstm_units=16, hidden_per_pitch=16), 652_862, "653 k"),
        (replace(PAR_COMPACT, cnn_units=8, lstm_units=8, hidden_per_pitch=8), 299_262, "299 k"),
        (replace(PAR_COMPACT, cnn_units=8, lstm_units=8, hidden_per_pitch=1), 49_607, "50 k"),
    ],
)
def test_there_are_as_many_parameters_as_in_the_paper(
    config: ModelConfig, parameters: int, in_the_paper: str
) -> None:
    with torch.device("meta"):
        count = Par(config).parameter_count()
    assert count == parameters
    assert in_the_paper == (f"{count / 1e6:.2f} M" if count > 1e6 else f"{count / 1e3:.0f} k")


def test_the_pools_leave_175_of_700_bins() -> None:
    seen: list[tuple[int, ...]] = []
    model = build(n_mels=700)
    for block in blocks_of(model):
        block.register_forward_hook(lambda _, __, output: seen.append(tuple(output.shape)))
    model.note_acoustic(torch.zeros(2, 3, 700))
    assert seen == [(2, SMALL.cnn_units, 3, bins) for bins in (700, 350, 175)]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("switches", SWITCHES)
def test_every_switch_builds_a_network_that_runs(head: Head, switches: dict[str, Any]) -> None:
    model = build(head=head, **switches)
    prediction = model(random_mel(batch=2), random_context(3, FRAMES, batch=2))
    assert prediction.states.shape == (2, FRAMES, PITCHES, NOTE_STATES)
    assert prediction.velocity.shape == (2, FRAMES, PITCHES)
    assert prediction.states.isfinite().all()
    assert prediction.velocity.isfinite().all()


def test_without_film_its_networks_alone_are_gone() -> None:
    with_film, without = build(), build(film=False)
    gone = parameter_names(with_film) - parameter_names(without)
    assert gone == {name for name in parameter_names(with_film) if ".film." in name}
    assert len(gone) == 2 * 3 * 2 * 7  # modules, blocks, γ and β, and 4 weights with 3 biases
    assert parameter_names(without) < parameter_names(with_film)


def test_with_the_state_alone_the_context_is_its_embedding() -> None:
    full, state_alone = build(), build(context="state")
    gone = parameter_names(full) - parameter_names(state_alone)
    assert {name.split(".")[1] for name in gone} == {"layers", "join"}
    assert all(name.startswith("context.") for name in gone)
    assert state_alone.context is not None
    assert state_alone.context(random_context(1, FRAMES)).shape[-1] == 2
    assert full.context is not None
    assert full.context(random_context(1, FRAMES)).shape[-1] == 4


def test_without_recursion_there_is_no_context() -> None:
    full, without = build(), build(context="none")
    gone = parameter_names(full) - parameter_names(without)
    assert gone == {name for name in parameter_names(full) if name.startswith("context.")}
    assert without.note_sequence.lstm.input_size == SMALL.hidden_per_pitch
    assert without.velocity_sequence.lstm.input_size == 2 * SMALL.hidden_per_pitch


def test_the_global_lstm_has_256_units_for_all_pitches() -> None:
    pitchwise, everything = build(), build(pitchwise=False)
    assert parameter_names(pitchwise) == parameter_names(everything)
    assert everything.note_sequence.lstm.hidden_size == 256
    assert everything.note_sequence.lstm.input_size == PITCHES * pitchwise.note_sequence.lstm.input_size
    assert everything.note_sequence.output.out_features == PITCHES * NOTE_STATES
    acoustic = [name for name in parameter_names(pitchwise) if "acoustic" in name]
    for name in acoustic:
        assert pitchwise.get_parameter(name).shape == everything.get_parameter(name).shape


@pytest.mark.parametrize(
    ("context", "state", "duration", "velocity"),
    [("enhanced", True, True, True), ("state", True, False, False), ("none", False, False, False)],
)
def test_the_context_counts_as_far_as_the_switch_says(
    context: str, state: bool, duration: bool, velocity: bool
) -> None:
    model, features, last = build(context=context), random_features(), random_context(4, FRAMES)

    def answers_to(changed: LastFrame) -> bool:
        before, _ = model.step(features, last, model.initial_state())
        after, _ = model.step(features, changed, model.initial_state())
        note = not torch.equal(before.states, after.states)
        assert note is not torch.equal(before.velocity, after.velocity)
        return note

    assert answers_to(last._replace(state=(last.state + 1) % NOTE_STATES)) is state
    assert answers_to(last._replace(duration=1 - last.duration)) is duration
    assert answers_to(last._replace(velocity=1 - last.velocity)) is velocity


@pytest.mark.parametrize("pitchwise", [True, False])
def test_a_pitch_hears_itself_alone_unless_the_lstm_is_global(pitchwise: bool) -> None:
    model, last, pitch = build(pitchwise=pitchwise), random_context(5, FRAMES), 40
    features = random_features()
    changed = Features(features.note.clone(), features.velocity.clone())
    for part in changed:
        part[:, :, pitch] += 1.0
    before, _ = model.step(features, last, model.initial_state())
    after, _ = model.step(changed, last, model.initial_state())
    expected = {pitch} if pitchwise else set(range(PITCHES))
    assert differing_pitches(before.states, after.states) == expected
    assert differing_pitches(before.velocity, after.velocity) == expected


def test_all_pitches_share_the_weights_of_the_pitchwise_lstm() -> None:
    model, features, last = build(), random_features(), random_context(6, FRAMES)
    order = torch.randperm(PITCHES, generator=torch.Generator().manual_seed(0))
    plain, _ = model.step(features, last, model.initial_state())
    shuffled, _ = model.step(
        Features(features.note[:, :, order], features.velocity[:, :, order]),
        LastFrame(*(part[:, :, order] for part in last)),
        model.initial_state(),
    )
    torch.testing.assert_close(shuffled.states, plain.states[:, :, order], atol=1e-6, rtol=0)
    torch.testing.assert_close(shuffled.velocity, plain.velocity[:, :, order], atol=1e-6, rtol=0)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("switches", SWITCHES)
def test_frame_by_frame_is_the_whole_at_once(head: Head, switches: dict[str, Any]) -> None:
    model, mel, last = build(head=head, **switches), random_mel(batch=2), random_context(7, FRAMES, batch=2)
    whole: Prediction = model(mel, last)
    features, state = model.features(mel), model.initial_state(2)
    for frame in range(FRAMES):
        here = slice(frame, frame + 1)
        features_here = Features(*(part[:, here] for part in features))
        step, state = model.step(features_here, LastFrame(*(part[:, here] for part in last)), state)
        torch.testing.assert_close(step.states, whole.states[:, here], atol=1e-5, rtol=0)
        torch.testing.assert_close(step.velocity, whole.velocity[:, here], atol=1e-5, rtol=0)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("widths", [(3,) * 6, (1,) * 6, (3, 1, 3, 1, 1, 1), (1, 1, 1, 1, 1, 5)])
def test_a_frame_looks_ahead_as_far_as_the_widths_say(head: Head, widths: tuple[int, ...]) -> None:
    model = build(head=head, time_widths=widths, cnn_units=8)
    margin, frames, at = model.config.margin_frames, 24, 10
    mel, last = random_mel(frames=frames), random_context(8, frames)
    before = model(mel, last)

    def changed_frames(frame: int) -> tuple[set[int], set[int]]:
        changed = mel.clone()
        changed[:, frame] += 3.0
        after = model(changed, last)
        return (
            set(torch.nonzero(before.states != after.states)[:, 1].tolist()),
            set(torch.nonzero(before.velocity != after.velocity)[:, 1].tolist()),
        )

    for frames_of_output in changed_frames(at + margin):
        assert min(frames_of_output) == at
    for frames_of_output in changed_frames(at + margin + 1):
        assert min(frames_of_output) == at + 1


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_features_reach_back_as_far_as_they_look_ahead(frames: int) -> None:
    model, mel = build(time_widths=(3, 1, 3, 1, 1, 1), cnn_units=8), random_mel()
    before = model.features(mel)
    mel[:, :frames] -= 3.0
    for one, other in zip(before, model.features(mel), strict=True):
        assert set(torch.nonzero(one != other)[:, 1].tolist()) == set(range(frames + 2))


@pytest.mark.parametrize(("channels", "bins"), [(48, 700), (48, 175), (4, 32), (1, 8)])
@pytest.mark.parametrize("seed", range(5))
def test_film_starts_with_a_scale_near_one(channels: int, bins: int, seed: int) -> None:
    torch.manual_seed(seed)
    gamma, beta = Film(channels, bins).factors()
    assert gamma.shape == beta.shape == (channels, 1, bins)
    assert 0.8 < float(gamma.detach().mean()) < 1.2
    assert float(gamma.detach().min()) > 0.4
    assert float(gamma.detach().max()) < 1.8


@pytest.mark.parametrize("training", [False, True])
def test_film_depends_on_the_height_and_is_used_twice(training: bool) -> None:
    block = trained_like(blocks_of(build())[0]).train(training)
    assert block.film is not None
    gamma, beta = block.film.factors()
    assert not torch.allclose(gamma[..., 0], gamma[..., -1])
    x = random_mel().unsqueeze(1)
    a = gamma * torch.relu(block.conv1(x)) + beta
    expected = torch.relu(a + gamma * block.norm(block.conv2(a)) + beta)
    torch.testing.assert_close(block(x), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("training", [False, True])
def test_without_film_a_block_is_its_convolutions(training: bool) -> None:
    block, x = trained_like(blocks_of(build(film=False))[0]).train(training), random_mel().unsqueeze(1)
    a = torch.relu(block.conv1(x))
    torch.testing.assert_close(block(x), torch.relu(a + block.norm(block.conv2(a))))


@pytest.mark.parametrize(("inputs", "outputs"), [(3, 5), (1, 1), (4, 4)])
def test_pitch_linear_is_a_convolution_of_88_groups(inputs: int, outputs: int) -> None:
    torch.manual_seed(0)
    linear = PitchLinear(inputs, outputs)
    grouped = nn.Conv1d(PITCHES * inputs, PITCHES * outputs, 1, groups=PITCHES)
    with torch.no_grad():
        grouped.weight.copy_(linear.weight.transpose(1, 2).flatten(0, 1).unsqueeze(-1))
        grouped.bias.copy_(linear.bias.flatten())  # type: ignore[union-attr]
    x = torch.randn(7, PITCHES, inputs)  # pitch outer: the inputs of one pitch lie side by side
    expected = grouped(x.flatten(1).unsqueeze(-1)).squeeze(-1).unflatten(1, (PITCHES, outputs))
    torch.testing.assert_close(linear(x.transpose(0, 1)).transpose(0, 1), expected, atol=1e-6, rtol=0)


def test_the_layers_of_the_compact_head_keep_pitches_apart() -> None:
    torch.manual_seed(0)
    head = CompactHead(channels=3, bins=8, hidden=4).eval()
    x = torch.randn(1, 3, 5, 8)
    before = head(x)
    rows = slice(40 * head.hidden, 41 * head.hidden)
    with torch.no_grad():
        head.split.bias[rows] += 1.0
    assert differing_pitches(before, head(x)) == {40}


def test_the_full_head_is_normalised_over_pitches_and_features() -> None:
    torch.manual_seed(0)
    head = FullHead(channels=3, bins=8, hidden=4).eval()
    assert head.norm.normalized_shape == (PITCHES, 4)
    features = head(torch.randn(2, 3, 5, 8))
    assert features.shape == (2, 5, PITCHES, 4)
    assert features.min() == 0
    # Half of a normal distribution: the mean of what is above zero, and zeros, is 0.4.
    torch.testing.assert_close(features.mean(dim=(2, 3)), torch.full((2, 5), 0.4), atol=0.05, rtol=0)


@pytest.mark.parametrize("head", HEADS)
def test_velocities_teach_the_velocity_network_alone(head: Head) -> None:
    model = build(head=head).train()
    prediction = model(random_mel(), random_context(9, FRAMES))
    prediction.velocity.sum().backward()
    taught = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert taught == {name for name in parameter_names(model) if name.startswith("velocity_")}


def test_states_teach_the_note_network_and_the_context() -> None:
    model = build().train()
    prediction = model(random_mel(), random_context(9, FRAMES))
    prediction.states.sum().backward()
    taught = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert taught == {name for name in parameter_names(model) if not name.startswith("velocity_")}


def test_dropout_is_a_quarter_where_the_paper_has_it() -> None:
    for head in HEADS:
        dropouts = [module.p for module in build(head=head).modules() if isinstance(module, nn.Dropout)]
        assert dropouts == [0.25] * 4  # shared by the two places of an acoustic module, and its head; twice
