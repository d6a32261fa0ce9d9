"""Acoustic features: without a seam wherever the frames are cut, and the same from every engine."""

from __future__ import annotations

import importlib.util
import itertools
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from conftest import random_context, trained_like
from partranscribe import openvino_graph
from partranscribe.acoustic import (
    Acoustic,
    OpenVinoAcoustic,
    TorchAcoustic,
    Window,
    WindowCutter,
    acoustic,
    windows,
)
from partranscribe.config import PAR, PAR_COMPACT
from partranscribe.errors import DeviceError
from partranscribe.model import Features, Par
from partranscribe.timings import Timings
from test_model import build, random_mel

CPU = torch.device("cpu")


def pieces(mel: Tensor, sizes: Sequence[int]) -> Iterator[Tensor]:
    """Frames (frames, mels) cut to pieces of these sizes over and over."""
    begin = 0
    for size in itertools.cycle(sizes):
        if begin >= len(mel):
            return
        yield mel[begin : begin + size]
        begin += size


def streamed(engine: Acoustic, model: Par, mel: Tensor, sizes: Sequence[int]) -> Features:
    parts = windows(pieces(mel[0], sizes), model.config.margin_frames)
    given = list(engine.features(parts, Timings()))
    return Features(*(torch.cat(one, dim=1) for one in zip(*given, strict=True)))


@pytest.mark.parametrize("widths", [(3,) * 6, (1,) * 6, (3, 1, 3, 1, 1, 1)])
@pytest.mark.parametrize("frames", [1, 2, 6, 7, 13, 40, 64])
@pytest.mark.parametrize("sizes", [[1], [5], [16], [64], [1, 20, 3]])
def test_streamed_features_are_those_of_the_whole(
    widths: tuple[int, ...], frames: int, sizes: list[int]
) -> None:
    model, mel = build(time_widths=widths), random_mel(frames=frames)
    with torch.inference_mode():
        expected = model.features(mel)
    found = streamed(TorchAcoustic(model), model, mel, sizes)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_windows_wait_for_their_margin_alone() -> None:
    mel = random_mel(frames=20)[0]
    given: list[int] = []
    asked = 0

    def frames() -> Iterator[Tensor]:
        nonlocal asked
        for asked in range(1, 21):
            yield mel[asked - 1 : asked]

    for window in windows(frames(), 2):
        given.append(window.inside.stop - window.inside.start)
        assert asked == min(sum(given) + 2, 20)
    assert given == [1] * 18 + [2]


def test_every_frame_is_in_one_window_with_its_margin() -> None:
    mel = torch.arange(50.0).unsqueeze(1)
    parts = list(windows(pieces(mel, [7, 1, 12]), 3))
    assert torch.equal(torch.cat([window.mel[window.inside] for window in parts]), mel)
    for window in parts:
        wanted = window.mel[window.inside]
        before = max(float(wanted[0]) - 3, 0)
        after = min(float(wanted[-1]) + 3, 49)
        assert window.mel[0] <= before
        assert window.mel[-1] == after


def test_what_is_cut_ends_once() -> None:
    cutter = WindowCutter(2)
    assert cutter.push(torch.zeros(2, 1)) is None
    last = cutter.finish()
    assert last is not None
    assert last.inside == slice(0, 2)
    assert cutter.finish() is None


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
    found = streamed(OpenVinoAcoustic(model, threads), model, mel, [16])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("config", [PAR, PAR_COMPACT], ids=["par", "par_compact"])
def test_logits_of_the_full_networks_agree_within_a_ten_thousandth(config: Any) -> None:
    torch.manual_seed(2)
    model = trained_like(Par(config))
    mel = torch.rand(1, 40, config.n_mels) * 2 - 1
    last = random_context(4, 40)
    found = streamed(OpenVinoAcoustic(model, 2), model, mel, [32])
    with torch.inference_mode():
        results = [
            model.step(features, last, model.initial_state())[0] for features in (model.features(mel), found)
        ]
    torch.testing.assert_close(results[1], results[0], atol=1e-4, rtol=0)


def test_windows_of_many_threads_come_in_order() -> None:
    model, mel = build(), random_mel(frames=300)
    alone, many = (streamed(OpenVinoAcoustic(model, threads), model, mel, [3]) for threads in (1, 4))
    assert torch.equal(alone.note, many.note)
    assert torch.equal(alone.velocity, many.velocity)


def test_whoever_has_enough_stops_the_rest() -> None:
    model, taken = build(), 0

    def endless() -> Iterator[Window]:
        nonlocal taken
        while True:
            taken += 1
            yield Window(random_mel(frames=4)[0], slice(0, 4))

    stream = OpenVinoAcoustic(model, 1).features(endless(), Timings())
    next(stream)
    stream.close()
    before = taken
    assert before < 20
    next(OpenVinoAcoustic(model, 1).features(iter([Window(random_mel(frames=4)[0], slice(0, 4))]), Timings()))
    assert taken == before


def test_an_error_of_the_windows_reaches_whoever_takes_the_features() -> None:
    model = build()

    def broken() -> Iterator[Window]:
        yield Window(random_mel(frames=4)[0], slice(0, 4))
        raise OSError("the disk is gone")

    for engine in (TorchAcoustic(model), OpenVinoAcoustic(model, 2)):
        stream = engine.features(broken(), Timings())
        assert next(stream).note.shape[1] == 4
        with pytest.raises(OSError, match="the disk is gone"):
            next(stream)


def test_the_engine_is_the_fastest_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build()
    assert acoustic(model, CPU).name == "openvino"
    assert acoustic(model, CPU, "torch").name == "torch"
    assert acoustic(model, torch.device("cuda")).name == "torch"
    with pytest.raises(DeviceError, match="openvino: is for the CPU, and the device is cuda"):
        acoustic(model, torch.device("cuda"), "openvino")
    with pytest.raises(DeviceError, match="abacus: no such engine; use auto, openvino, torch"):
        acoustic(model, CPU, "abacus")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert acoustic(model, CPU).name == "torch"
    with pytest.raises(DeviceError, match="openvino: is not installed for this Python"):
        acoustic(model, CPU, "openvino")


def test_where_openvino_does_not_run_pytorch_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no such plugin\nand more")

    monkeypatch.setattr(openvino_graph, "compile_graph", broken)
    with pytest.warns(UserWarning, match=r"openvino: does not run here \(no such plugin\); PyTorch"):
        assert acoustic(build(), CPU).name == "torch"
    with pytest.raises(RuntimeError, match="no such plugin"):
        acoustic(build(), CPU, "openvino")


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_windows_together_are_the_same_as_alone(engine: str) -> None:
    model = build()
    computes = acoustic(model, CPU, engine)
    frames = ((12, 3, 9), (9, 0, 6), (12, 0, 9), (1, 0, 1))  # of the window, and wanted of it
    given = [Window(random_mel(frames=count)[0], slice(begin, end)) for count, begin, end in frames]
    together = computes.together(given)
    assert [part.note.shape[:2] for part in together] == [(1, 6), (1, 6), (1, 9), (1, 1)]
    for window, found in zip(given, together, strict=True):
        (alone,) = computes.features([window], Timings())
        torch.testing.assert_close(found, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_half_the_precision_is_nearly_the_same(engine: str) -> None:
    model, mel = build(), random_mel(frames=40)
    exact, short = (
        streamed(acoustic(model, CPU, engine, precision), model, mel, [16])
        for precision in ("float32", "bfloat16")
    )
    for one, other in zip(exact, short, strict=True):
        assert other.dtype == torch.float32
        torch.testing.assert_close(other, one, atol=0.05, rtol=0.05)
    if engine == "torch":
        assert not torch.equal(short.note, exact.note)


def test_an_unknown_precision_is_told() -> None:
    with pytest.raises(DeviceError, match="float8: no such precision; use float32, bfloat16"):
        acoustic(build(), CPU, "torch", "float8")


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

    monkeypatch.setattr(openvino_graph, "compile_graph", lambda *_, **__: Compiled())
    OpenVinoAcoustic(build(), 2)
    assert callers == [threading.get_ident()]


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
