"""Acoustic features of a recording, computed while its log-mel frames arrive, by the fastest engine."""

from __future__ import annotations

import importlib.util
import threading
import warnings
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from .ahead import Ahead
from .errors import DeviceError, first_line
from .model import Features, Par
from .timings import Timings

ENGINES = ("auto", "openvino", "torch")
PRECISIONS = ("float32", "bfloat16")

_WAITING = 4  # windows that are ready before they are asked for
_MOST_THREADS = 4  # more would wait for the decoding, which is one thread's work


class Window(NamedTuple):
    """Frames to compute together: log-mel (frames, mels) with a margin, and which of them are wanted."""

    mel: Tensor
    inside: slice


class WindowCutter:
    """Cuts a recording's log-mel frames to windows with the margin of the convolutions on either side.

    What is wanted of each window lies without gap or overlap, so that features have no seam. Where they
    are cut depends on the groups alone in which the frames come.

    Args:
        margin: frames on either side, less at the recording's edges; `ModelConfig.margin_frames`.
    """

    def __init__(self, margin: int) -> None:
        self._margin = margin
        self._held: Tensor | None = None
        self._before = 0  # frames of margin at the beginning of what is held

    def push(self, mel: Tensor) -> Window | None:
        """Take the next frames, (frames, mels), and give the window that is now complete, if one is."""
        held = mel if self._held is None else torch.cat((self._held, mel))
        before, ready = self._before, len(held) - self._before - self._margin
        self._held = held
        if ready <= 0:
            return None
        self._before = min(self._margin, before + ready)
        self._held = held[before + ready - self._before :]
        return Window(held, slice(before, before + ready))

    def finish(self) -> Window | None:
        """The window that remains when no more frames come, if one does; None from then on."""
        held, self._held = self._held, None
        if held is None or len(held) <= self._before:
            return None
        return Window(held, slice(self._before, len(held)))


def windows(mels: Iterable[Tensor], margin: int) -> Generator[Window]:
    """The windows of a recording, see `WindowCutter`, of log-mel frames in order."""
    cutter = WindowCutter(margin)
    for mel in mels:
        window = cutter.push(mel)
        if window is not None:
            yield window
    window = cutter.finish()
    if window is not None:
        yield window


class Acoustic(Protocol):
    """Computes acoustic features; `name` is the engine's."""

    name: str

    def features(self, windows: Iterable[Window], timings: Timings) -> Generator[Features]:
        """The features of what is wanted of each window, in order: (1, frames, pitches, hidden) each."""

    def together(self, windows: Sequence[Window]) -> list[Features]:
        """The same of windows that are there already, computed side by side."""


def acoustic(model: Par, device: torch.device, engine: str = "auto", precision: str = "float32") -> Acoustic:
    """The engine for a model on a device.

    Args:
        model: in evaluation mode, on the device.
        device: where features are wanted.
        engine: one of `ENGINES`; "auto" takes OpenVINO on a CPU on which it runs.
        precision: one of `PRECISIONS`. The shorter one is faster where the processor knows it, and moves
            a note here and there.

    Raises:
        DeviceError: engine or precision is unknown, or the engine is not there or not for this device.
    """
    if engine not in ENGINES:
        raise DeviceError(f"{engine}: no such engine; use {', '.join(ENGINES)}")
    if precision not in PRECISIONS:
        raise DeviceError(f"{precision}: no such precision; use {', '.join(PRECISIONS)}")
    short, there = precision == "bfloat16", importlib.util.find_spec("openvino") is not None
    threads = min(torch.get_num_threads(), _MOST_THREADS)
    if engine == "openvino":
        if device.type != "cpu":
            raise DeviceError(f"{engine}: is for the CPU, and the device is {device}; use --engine torch")
        if not there:
            raise DeviceError("openvino: is not installed for this Python; use --engine torch")
        return OpenVinoAcoustic(model, threads, short=short)
    if engine == "auto" and device.type == "cpu" and there:
        try:
            return OpenVinoAcoustic(model, threads, short=short)
        except (ImportError, OSError, RuntimeError) as error:
            fact = f"openvino: does not run here ({first_line(error)})"
            warnings.warn(f"{fact}; PyTorch takes its place, at half the speed", stacklevel=2)
    return TorchAcoustic(model, short=short)


class TorchAcoustic:
    """The modules as they are, one window after the other: for CUDA, and the yardstick for the others.

    Args:
        model: in evaluation mode.
        short: compute in bfloat16.
    """

    name = "torch"

    def __init__(self, model: Par, *, short: bool = False) -> None:
        self._model, self._short = model, short

    def features(self, windows: Iterable[Window], timings: Timings) -> Generator[Features]:
        """See `Acoustic.features`."""
        with closing(Ahead(windows, _WAITING)) as ready:
            for window in ready:
                with timings.stage("acoustic"):
                    (wanted,) = self.together([window])
                yield wanted

    @torch.inference_mode()
    def together(self, windows: Sequence[Window]) -> list[Features]:
        """See `Acoustic.together`; windows of one length are one batch."""
        lengths = {len(window.mel) for window in windows}
        found: dict[int, Features] = {}
        for length in lengths:
            rows = [row for row, window in enumerate(windows) if len(window.mel) == length]
            mel = torch.stack([windows[row].mel for row in rows])
            with torch.autocast(mel.device.type, torch.bfloat16, enabled=self._short):
                whole = self._model.features(mel)
            for index, row in enumerate(rows):
                inside = windows[row].inside
                found[row] = Features(*(part[index : index + 1, inside].float() for part in whole))
        return [found[row] for row in range(len(windows))]


class OpenVinoAcoustic:
    """The modules compiled by OpenVINO, with a window on each thread, ahead of who takes the features.

    Args:
        model: in evaluation mode, on the CPU; not to be changed afterwards, as its weights are shared.
        threads: how many windows are computed at once.
        short: compute in bfloat16, where the processor knows it.
    """

    name = "openvino"

    def __init__(self, model: Par, threads: int, *, short: bool = False) -> None:
        from .openvino_graph import acoustic_graph, compile_graph

        self._compiled = [
            compile_graph(acoustic_graph(module, model.config.n_mels), threads, short=short)
            for module in (model.note_acoustic, model.velocity_acoustic)
        ]
        # Two threads whose calls are the first ones can wait for each other for ever.
        self._compiled[0](np.zeros((1, 1, model.config.n_mels), np.float32))
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads)
        self._own = threading.local()

    def features(self, windows: Iterable[Window], timings: Timings) -> Generator[Features]:
        """See `Acoustic.features`."""

        def compute(window: Window) -> Features:
            with timings.stage("acoustic"):
                return self._compute(window)

        begun = (self._pool.submit(compute, window) for window in windows)
        with closing(Ahead(begun, self._threads + _WAITING)) as futures:
            for future in futures:
                yield future.result()

    def together(self, windows: Sequence[Window]) -> list[Features]:
        """See `Acoustic.together`."""
        return list(self._pool.map(self._compute, windows))

    def _compute(self, window: Window) -> Features:
        if not hasattr(self._own, "requests"):  # a thread's own, as one request serves one thread at a time
            self._own.requests = [compiled.create_infer_request() for compiled in self._compiled]
        mel = window.mel.unsqueeze(0).numpy()
        outputs = (request.infer([mel], share_inputs=True)[0] for request in self._own.requests)
        return Features(*(torch.from_numpy(output[window.inside]).unsqueeze(0) for output in outputs))
