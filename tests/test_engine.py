"""Both engines compute what the network does, and the fastest one for a device is taken."""

from __future__ import annotations

import gc
import importlib.util
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from conftest import random_context, trained_like
from partranscribe import openvino_decode, openvino_engine
from partranscribe.config import PAR, PAR_COMPACT, Config, DecodeConfig, FrontEndConfig
from partranscribe.engine import Engine, engine_for
from partranscribe.errors import DeviceError
from partranscribe.model import Par, weights_of
from partranscribe.notes import PITCHES
from partranscribe.openvino_engine import OpenVinoEngine
from partranscribe.timings import Timings
from partranscribe.torch_engine import TorchEngine
from partranscribe.windows import Features, Window, WindowCutter, windows
from test_model import build, random_mel
from test_windows import pieces


def settings(model: Par) -> Config:
    return Config(FrontEndConfig(n_mels=model.config.n_mels), model.config)


def chosen(
    model: Par, engine: str = "auto", device: str = "cpu", precision: str = "float32", threads: int = 1
) -> Engine:
    config, weights = settings(model), weights_of(model)
    filters = np.zeros((model.config.n_mels, 2049), np.float32)
    return engine_for(config, weights, filters, device, engine, precision, threads)


def array(engine: Engine, mel: Tensor) -> Any:
    """As the engine has arrays."""
    return mel if engine.name == "torch" else mel.numpy()


def streamed(engine: Engine, model: Par, mel: Tensor, sizes: Sequence[int]) -> Features:
    cutter = WindowCutter(model.config.margin_frames, engine.join)
    given = list(engine.features(windows(pieces(array(engine, mel[0]), sizes), cutter), Timings()))
    return Features(*(torch.as_tensor(engine.join(one, 1)) for one in zip(*given, strict=True)))


ENGINE_CASES: dict[str, dict[str, Any]] = {
    "compact": {"head": "compact"},
    "full": {"head": "full"},
    "wide in time": {"time_widths": (3,) * 6},
    "narrow in time": {"time_widths": (1,) * 6},
    "without FiLM": {"film": False},
}


@pytest.mark.parametrize("changes", ENGINE_CASES.values(), ids=ENGINE_CASES)
@pytest.mark.parametrize("threads", [1, 2])
def test_openvino_computes_what_the_modules_do(changes: dict[str, Any], threads: int) -> None:
    model = trained_like(build(**changes))
    mel = random_mel(frames=45)
    with torch.inference_mode():
        expected = model.features(mel)
    assert all(bool(part.std() > 0.01) for part in expected)
    found = streamed(chosen(model, "openvino", threads=threads), model, mel, [16])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("config", [PAR, PAR_COMPACT], ids=["par", "par_compact"])
def test_logits_of_the_full_networks_agree_within_a_ten_thousandth(config: Any) -> None:
    torch.manual_seed(2)
    model = trained_like(Par(config))
    mel = torch.rand(1, 40, config.n_mels) * 2 - 1
    last = random_context(4, 40)
    found = streamed(chosen(model, "openvino", threads=2), model, mel, [32])
    with torch.inference_mode():
        results = [
            model.step(features, last, model.initial_state())[0] for features in (model.features(mel), found)
        ]
    torch.testing.assert_close(results[1], results[0], atol=1e-4, rtol=0)


def test_windows_of_many_threads_come_in_order() -> None:
    model, mel = build(), random_mel(frames=300)
    alone, many = (
        streamed(chosen(model, "openvino", threads=threads), model, mel, [3]) for threads in (1, 4)
    )
    assert torch.equal(alone.note, many.note)
    assert torch.equal(alone.velocity, many.velocity)


def test_whoever_has_enough_stops_the_rest() -> None:
    model, taken = build(), 0

    def endless() -> Iterator[Window]:
        nonlocal taken
        while True:
            taken += 1
            yield Window(random_mel(frames=4)[0].numpy(), slice(0, 4))

    stream = chosen(model, "openvino").features(endless(), Timings())
    next(stream)
    stream.close()
    before = taken
    assert before < 20
    another = [Window(random_mel(frames=4)[0].numpy(), slice(0, 4))]
    next(chosen(model, "openvino").features(another, Timings()))
    assert taken == before


def test_an_error_of_the_windows_reaches_whoever_takes_the_features() -> None:
    model = build()

    def broken(engine: Engine) -> Iterator[Window]:
        yield Window(array(engine, random_mel(frames=4)[0]), slice(0, 4))
        raise OSError("the disk is gone")

    for engine in (chosen(model, "torch"), chosen(model, "openvino", threads=2)):
        stream = engine.features(broken(engine), Timings())
        assert next(stream).note.shape[1] == 4
        with pytest.raises(OSError, match="the disk is gone"):
            next(stream)


def test_the_engine_is_the_fastest_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build()
    assert isinstance(chosen(model), OpenVinoEngine)
    assert isinstance(chosen(model, "torch"), TorchEngine)
    with pytest.raises(DeviceError, match="openvino: is for the CPU, and the device is cuda; use"):
        chosen(model, "openvino", "cuda")
    with pytest.raises(DeviceError, match="abacus: no such engine; use auto, openvino, torch"):
        chosen(model, "abacus")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert isinstance(chosen(model), TorchEngine)
    with pytest.raises(DeviceError, match="openvino: is not installed for this Python"):
        chosen(model, "openvino")


@pytest.mark.parametrize("changes", [{"pitchwise": False}, {"context": "state"}, {"context": "none"}])
def test_an_ablation_whose_loop_is_another_is_computed_by_pytorch(changes: dict[str, Any]) -> None:
    model = build(**changes)
    assert isinstance(chosen(model), TorchEngine)
    with pytest.raises(DeviceError, match="openvino: does not know the recursion of this network"):
        chosen(model, "openvino")


@pytest.mark.parametrize("module", [openvino_engine, openvino_decode])
def test_where_openvino_does_not_run_pytorch_takes_its_place(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no such plugin\nand more")

    monkeypatch.setattr(module, "compile_graph", broken)
    with pytest.warns(UserWarning, match=r"openvino: does not run here \(no such plugin\); PyTorch"):
        assert isinstance(chosen(build()), TorchEngine)
    with pytest.raises(DeviceError, match=r"does not run here \(no such plugin\); use --engine torch"):
        chosen(build(), "openvino")


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_windows_together_are_the_same_as_alone(engine: str) -> None:
    model = build()
    computes = chosen(model, engine)
    frames = ((12, 3, 9), (9, 0, 6), (12, 0, 9), (1, 0, 1))  # of the window, and wanted of it
    given = [
        Window(array(computes, random_mel(frames=count)[0]), slice(begin, end))
        for count, begin, end in frames
    ]
    together = computes.together(given)
    assert [part.note.shape[:2] for part in together] == [(1, 6), (1, 6), (1, 9), (1, 1)]
    for window, found in zip(given, together, strict=True):
        (alone,) = computes.features([window], Timings())
        for one, other in zip(found, alone, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("name", ["torch", "openvino"])
def test_a_piece_does_not_depend_on_those_beside_it(name: str, lively: Par) -> None:
    engine, rules = chosen(lively, name), DecodeConfig(onset_bias=0.7, offset_bias=0.6, restrike_frames=4)
    rng = np.random.default_rng(4)
    shape = (1, 70, PITCHES, lively.config.hidden_per_pitch)
    pieces = [
        Features(*(torch.from_numpy(rng.standard_normal(shape, np.float32) * 2) for _ in range(2)))
        for _ in range(3)
    ]
    given = [Features(*(array(engine, part) for part in piece)) for piece in pieces]
    together = Features(*(engine.join(parts) for parts in zip(*given, strict=True)))
    state, found = engine.initial_state(3), []
    for begin in range(0, 70, 30):
        some = Features(*(part[:, begin : begin + 30] for part in together))
        decoding, state = engine.begin_decoding(some, state, rules)
        found.append(decoding.wait())
    for row, piece in enumerate(given):
        alone, _ = engine.begin_decoding(piece, engine.initial_state(1), rules)
        (expected,) = alone.wait()
        assert expected.probabilities is None
        for part in ("state", "velocity", "confidence", "ending"):
            joined = np.concatenate([getattr(frames[row], part) for frames in found])
            np.testing.assert_allclose(joined, getattr(expected, part), atol=1e-5)


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_half_the_precision_is_nearly_the_same(engine: str) -> None:
    model, mel = build(), random_mel(frames=40)
    exact, short = (
        streamed(chosen(model, engine, precision=precision), model, mel, [16])
        for precision in ("float32", "bfloat16")
    )
    for one, other in zip(exact, short, strict=True):
        assert other.dtype == torch.float32
        torch.testing.assert_close(other, one, atol=0.05, rtol=0.05)
    if engine == "torch":
        assert not torch.equal(short.note, exact.note)


def test_an_unknown_precision_is_told() -> None:
    with pytest.raises(DeviceError, match="float8: no such precision; use float32, bfloat16"):
        chosen(build(), "torch", precision="float8")


@pytest.mark.parametrize(
    ("code", "loaded"),
    [
        ("import partranscribe.transcribe", set[str]()),
        ("import partranscribe.openvino_graph", {"openvino"}),
    ],
)
def test_openvino_is_loaded_when_it_is_needed_and_tells_nobody(code: str, loaded: set[str]) -> None:
    code += "; import sys; print(*(name for name, module in sys.modules.items() if module))"
    modules = set(subprocess.check_output([sys.executable, "-c", code], text=True).split())
    assert modules & {"openvino", "openvino_telemetry"} == loaded


def test_openvino_is_first_called_by_one_thread_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two first calls at once can wait for each other for ever, in the initialization of its bindings."""
    callers: list[int] = []

    class Compiled:
        def __call__(self, mel: NDArray[np.float32]) -> None:
            callers.append(threading.get_ident())

    monkeypatch.setattr(openvino_engine, "compile_graph", lambda *_, **__: Compiled())
    chosen(build(), "openvino", threads=2)
    assert callers == [threading.get_ident()]


@pytest.mark.parametrize("head", ["compact", "full"])
def test_openvino_keeps_no_memory_of_python(head: str) -> None:
    """Else one of its threads may let go of it while Python ends, which aborts the process."""
    model = build(head=head)
    weights = {name: weight.copy() for name, weight in weights_of(model).items()}
    kept = [weakref.ref(weight) for weight in weights.values()]
    engine = engine_for(settings(model), weights, engine="openvino", threads=1)
    del weights
    gc.collect()
    assert [one() for one in kept] == [None] * len(kept)
    assert streamed(engine, model, random_mel(frames=9), [4]).note.shape[1] == 9


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
@pytest.mark.parametrize("free", ["box.clear()", "run(box.clear)"], ids=["here", "by another thread"])
def test_a_signal_is_heard_after_a_network_was_freed(free: str, tiny_checkpoint: Path) -> None:
    program = f"""
import gc, os, signal, sys, threading
from partranscribe.transcribe import Transcriber

def run(target):
    thread = threading.Thread(target=target)
    thread.start()
    thread.join()

signal.signal(signal.SIGTERM, lambda *_: print("heard"))
box = [Transcriber(sys.argv[1], "cpu", engine="openvino")]
{free}
gc.collect()
os.kill(os.getpid(), signal.SIGTERM)
"""
    done = subprocess.run([sys.executable, "-c", program, tiny_checkpoint], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr
