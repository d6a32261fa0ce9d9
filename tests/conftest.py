"""A tiny network that hears something, as a model and as a checkpoint, for the tests that need one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from partranscribe.config import Config, DecodeConfig, FrontEndConfig, ModelConfig
from partranscribe.frames import Frames
from partranscribe.model import LastFrame, Par
from partranscribe.notes import NOTE_STATES, PITCHES
from partranscribe.torch_checkpoint import save_checkpoint
from partranscribe.torch_decode import DecoderState, begin_decoding
from partranscribe.torch_frontend import TorchLogMel
from partranscribe.windows import Features
from shown import CHROMIUM

os.environ["OMP_NUM_THREADS"] = "1"  # networks this small are slower on several threads than on one

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # must be there before anything imports Triton

# What a shell runs in the background ignores Ctrl-C, and so would every process that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

TINY = Config(
    FrontEndConfig(n_mels=64),
    ModelConfig(
        head="compact",
        cnn_units=6,
        lstm_units=6,
        hidden_per_pitch=6,
        n_mels=64,
        time_widths=(3, 1, 3, 1, 1, 1),
    ),
)

_Module = TypeVar("_Module", bound=nn.Module)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors this small are slower on several threads than on one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny() -> Config:
    """Settings of the tiny network; its convolutions look 2 frames ahead."""
    return TINY


@pytest.fixture(scope="session")
def lively(one_thread: None) -> Par:
    """The tiny network with weights that decode `swelling_noise` to notes of many lengths and pitches.

    Fresh weights answer to hardly any input. Here the batch statistics are those of some audio, and the
    outputs are scaled to their spread over random contexts. Nobody may change it.
    """
    torch.manual_seed(2)
    model = Par(TINY.model)
    mel = TorchLogMel(TINY.front_end)(torch.from_numpy(swelling_noise(0, 100_000))).unsqueeze(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 1.0
        elif isinstance(module, nn.Dropout):
            module.p = 0.0
    with torch.no_grad():
        for _ in range(8):
            model.features(mel)
        model.eval()
        for sequence in (model.note_sequence, model.velocity_sequence):
            for parameter in sequence.lstm.parameters():
                parameter.mul_(2)
        prediction = model(mel, random_context(1, mel.shape[1]))
        states, velocity = prediction.states.flatten(0, 2), prediction.velocity
        spread(model.note_sequence.output, states, torch.tensor([2.0, 0.0, 0.5, 2.0, 0.0]), scale=2.0)
        spread(
            model.velocity_sequence.output, velocity.flatten().unsqueeze(1), torch.tensor([0.5]), scale=0.2
        )
    return model.requires_grad_(False)


def spread(output: nn.Linear, values: torch.Tensor, mean: torch.Tensor, scale: float) -> None:
    """Change an output layer so that `values`, which it gave, would have this mean and deviation."""
    factor = scale / values.std(dim=0)
    output.weight.mul_(factor.unsqueeze(1))
    output.bias.sub_(values.mean(dim=0)).mul_(factor).add_(mean)


def trained_like(module: _Module) -> _Module:
    """In evaluation mode, with batch norms that do something, as those of a trained network do."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for norm in module.modules():
            if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
                for tensor in (norm.running_mean, norm.running_var, norm.weight, norm.bias):
                    assert tensor is not None
                    tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.5 + 0.1)
    return module.eval()


def random_context(seed: int, frames: int, batch: int = 1) -> LastFrame:
    """Any state, duration and velocity for each frame and pitch."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, frames, PITCHES)
    return LastFrame(
        torch.randint(0, NOTE_STATES, shape, generator=generator),
        torch.rand(shape, generator=generator),
        torch.rand(shape, generator=generator),
    )


def decode_batch(
    model: Par,
    features: Features,
    state: DecoderState,
    settings: DecodeConfig | None = None,
    *,
    with_probabilities: bool = False,
) -> tuple[list[Frames], DecoderState]:
    """Decode several pieces side by side, and wait for them; see `torch_decode.begin_decoding`."""
    rules = settings or DecodeConfig()
    decoding, state = begin_decoding(model, features, state, rules, with_probabilities=with_probabilities)
    return decoding.wait(), state


def decode(
    model: Par,
    features: Features,
    state: DecoderState,
    settings: DecodeConfig | None = None,
    *,
    with_probabilities: bool = False,
) -> tuple[Frames, DecoderState]:
    """Decode one piece."""
    (frames,), state = decode_batch(model, features, state, settings, with_probabilities=with_probabilities)
    return frames, state


def swelling_noise(seed: int, samples: int) -> NDArray[np.float32]:
    """Noise that is louder and softer every quarter of a second: (samples,)."""
    rng = np.random.default_rng(seed)
    knots = np.arange(0, samples + 4000, 4000)
    loudness = np.interp(np.arange(samples), knots, rng.uniform(0, 0.3, len(knots)))
    return np.asarray(rng.standard_normal(samples) * loudness, np.float32)


@pytest.fixture(scope="session")
def tiny_checkpoint(lively: Par, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of `lively`. Nobody may change the file."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    scores = {"invented": {"note_f1": 12.3}}
    save_checkpoint(path, lively, TINY, name="tiny", scores=scores, training={"updates": 7})
    return path


def states(spelled: str) -> NDArray[np.int8]:
    """States of one pitch, a letter a frame: `.` off, `x` offset, `O` onset, `=` sustain, `R` re-onset."""
    return np.array([".xO=R".index(letter) for letter in spelled], np.int8)


def spelled(states: NDArray[np.int8]) -> str:
    """The inverse of `states`."""
    return "".join(".xO=R"[state] for state in states)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium without a window."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed: pip install .[dev]"
    )
    with playwright.sync_playwright() as started:
        options = ["--no-sandbox", "--autoplay-policy=user-gesture-required"]
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=options)
        yield chromium
        chromium.close()
