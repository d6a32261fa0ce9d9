"""The kernel that decodes all frames at once gives what the loop does: on CUDA, or in Triton's interpreter.

And it is compiled for GPUs, without one, to see that it fits them.
"""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("triton", minversion="3.4", reason="no Triton of 3.4 or later here")

from conftest import TINY, decode_batch, swelling_noise
from partranscribe import torch_decode as decoding
from partranscribe.config import DecodeConfig, ModelConfig
from partranscribe.frames import Frames
from partranscribe.model import Par
from partranscribe.notes import NOTE_STATES
from partranscribe.torch_decode import DecoderState, initial_state
from partranscribe.torch_frontend import TorchLogMel
from partranscribe.windows import Features

FRAMES = 8
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in exp:RuntimeWarning")


@pytest.fixture(scope="module")
def model(lively: Par) -> Par:
    return copy.deepcopy(lively).to(DEVICE)


@pytest.fixture(scope="module")
def features(lively: Par) -> Features:
    """Of two pieces."""
    mels = [
        TorchLogMel(TINY.front_end)(torch.from_numpy(swelling_noise(s, 512 * FRAMES - 1))) for s in (1, 2)
    ]
    with torch.inference_mode():
        return Features(*(part.to(DEVICE) for part in lively.features(torch.stack(mels))))


def decode_both(
    model: Par,
    features: Features,
    settings: DecodeConfig,
    monkeypatch: pytest.MonkeyPatch,
    *,
    with_probabilities: bool = False,
) -> list[tuple[list[Frames], DecoderState]]:
    """By the loop, and by the kernel."""
    state = initial_state(model, len(features.note))
    results = []
    for has_kernel in (False, True):
        monkeypatch.setattr(decoding, "_has_kernel", lambda device, sizes, answer=has_kernel: answer)
        results.append(decode_batch(model, features, state, settings, with_probabilities=with_probabilities))
    return results


def assert_same(plain: tuple[list[Frames], DecoderState], kernel: tuple[list[Frames], DecoderState]) -> None:
    for expected, found in zip(plain[0], kernel[0], strict=True):
        pairs = [
            [torch.from_numpy(part) for part in frames if part is not None] for frames in (found, expected)
        ]
        torch.testing.assert_close(*pairs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(kernel[1].last, plain[1].last, atol=1e-6, rtol=0)
    torch.testing.assert_close(kernel[1].lstm, plain[1].lstm, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        DecodeConfig(),
        DecodeConfig(onset_bias=0.7, reonset_bias=1.5, offset_bias=0.6, restrike_frames=4, drop_ghosts=True),
        DecodeConfig(onset_bias=-1.0, offset_bias=-2.0, restrike_frames=1),
    ],
    ids=["plain", "eager", "reluctant"],
)
def test_kernel_and_loop_agree(
    model: Par, features: Features, settings: DecodeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, kernel = decode_both(model, features, settings, monkeypatch)
    assert len({int(state) for frames in plain[0] for state in frames.state.flat}) == NOTE_STATES
    assert_same(plain, kernel)


def test_kernel_and_loop_agree_on_sizes_that_fill_no_block(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(5)
    model = Par(replace(TINY.model, lstm_units=19, hidden_per_pitch=17)).to(DEVICE).eval()
    features = Features(*(torch.randn(1, 3, 88, 17, device=DEVICE) * 3 for _ in range(2)))
    assert_same(*decode_both(model, features, DecodeConfig(onset_bias=1.0), monkeypatch))


def test_kernel_and_loop_agree_on_the_probabilities(
    model: Par, features: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = DecodeConfig(onset_bias=0.7, reonset_bias=1.5, offset_bias=0.6)
    first = Features(*(part[:, :3] for part in features))
    plain, kernel = decode_both(model, first, settings, monkeypatch, with_probabilities=True)
    assert_same(plain, kernel)
    _, usual = decode_both(model, first, settings, monkeypatch)
    for frames, without in zip(kernel[0], usual[0], strict=True):
        assert frames.probabilities is not None
        assert frames.probabilities.shape == (3, 88, NOTE_STATES)
        assert without.probabilities is None
        for part, expected in zip(frames[:4], without[:4], strict=True):
            np.testing.assert_array_equal(part, expected)


def test_kernel_goes_on_from_the_frames_before(
    model: Par, features: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_has_kernel", lambda device, sizes: True)
    whole, end = decode_batch(model, features, initial_state(model, 2))
    state, parts = initial_state(model, 2), []
    for part in (slice(0, 3), slice(3, FRAMES)):
        frames, state = decode_batch(model, Features(*(each[:, part] for each in features)), state)
        parts.append(frames)
    for piece, expected in enumerate(whole):
        both = torch.cat([torch.from_numpy(frames[piece].state) for frames in parts])
        assert torch.equal(both, torch.from_numpy(expected.state))
    torch.testing.assert_close(state.lstm, end.lstm, atol=0, rtol=0)


def test_a_device_without_the_kernel_decodes_frame_by_frame_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(device: torch.device, sizes: ModelConfig) -> None:
        raise RuntimeError("the driver is too old\nfor ever")

    monkeypatch.setattr(decoding, "_compare_kernel", fails)
    decoding._has_kernel.cache_clear()
    with pytest.warns(UserWarning, match=r"cuda:3: decodes frame by frame; .* \(the driver is too old\)"):
        assert not decoding._has_kernel(torch.device("cuda:3"), ModelConfig())
    assert not decoding._has_kernel(torch.device("cuda:3"), ModelConfig())  # and says it once
    assert not decoding._has_kernel(torch.device("cpu"), ModelConfig())
    decoding._has_kernel.cache_clear()


def test_the_trial_runs_the_kernel() -> None:
    decoding._compare_kernel(DEVICE, ModelConfig(lstm_units=24))


@pytest.mark.parametrize("part", ["first", "second", "embedding", "output"])
def test_a_kernel_that_gives_something_else_fails_the_trial(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from partranscribe import triton_decode

    decode_rows = triton_decode.decode_rows

    def wrong(weights: Any, *arguments: Any, **named: Any) -> Any:
        right = getattr(weights, part)
        other = right.flip(0) if isinstance(right, torch.Tensor) else tuple(each.flip(0) for each in right)
        return decode_rows(weights._replace(**{part: other}), *arguments, **named)

    monkeypatch.setattr(triton_decode, "decode_rows", wrong)
    with pytest.raises(RuntimeError, match="are not those of PyTorch"):
        decoding._compare_kernel(DEVICE, ModelConfig(lstm_units=24))


COMPILE = """
import inspect, json, sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from partranscribe import triton_decode
names = list(inspect.signature(triton_decode._decode.fn).parameters)
numbers = names.index("frames")
constants = {"ROWS": 16, "UNITS": 64, "HIDDEN": 64}
if sys.argv[2] == "without":
    constants["probabilities"] = None
kinds = {"last_state": "*i32", "states": "*i8"}
kinds |= {name: "constexpr" for name in constants}
kinds |= {name: "i32" for name in ("frames", "rows", "units", "hidden_units")}
signature = {name: kinds.get(name, "*fp32" if i < numbers else "fp32") for i, name in enumerate(names)}
places = {(names.index(name),): value for name, value in constants.items()}
source = ASTSource(fn=triton_decode._decode, signature=signature, constexprs=places)
options = {"num_warps": triton_decode._WARPS, "num_stages": 1}
compiled = triton.compile(source, target=GPUTarget("cuda", int(sys.argv[1]), 32), options=options)
print(compiled.metadata.shared, len(compiled.asm["cubin"]))
"""


@pytest.mark.parametrize("probabilities", ["with", "without"])
@pytest.mark.parametrize("capability", [80, 90])
def test_kernel_is_compiled_and_fits_the_shared_memory_of_every_gpu(
    capability: int, probabilities: str, tmp_path: Any
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    command = [sys.executable, "-c", COMPILE, str(capability), probabilities]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    shared, size = map(int, done.stdout.split())
    assert 0 < shared <= 48 * 1024
    assert size > 0
