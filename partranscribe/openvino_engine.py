"""The fastest engine on a CPU: both acoustic modules and the loop over frames compiled by OpenVINO."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .ahead import Ahead
from .config import Config, DecodeConfig
from .frames import Frames
from .frontend import LogMel
from .openvino_decode import Left, OpenVinoLoop
from .openvino_graph import acoustic_graph, compile_graph
from .timings import Timings
from .tuning import KEPT_TUNINGS
from .weights import Part, Weights
from .windows import WAITING, Features, NumpyArrays, Window


class Decoded:
    """Frames that are there.

    Args:
        frames: of each piece.
    """

    def __init__(self, frames: list[Frames]) -> None:
        self._frames = frames

    def wait(self) -> list[Frames]:
        """See `engine.Decoding.wait`."""
        return self._frames


class OpenVinoEngine(NumpyArrays):
    """Computes a window on each thread, ahead of who takes the features; see `engine.Engine`.

    Args:
        config: of front end and network, which has pitch-wise LSTMs and the enhanced context.
        weights: of the network.
        filters: mel filters, where they are at hand.
        threads: how many windows are computed at once.
        short: compute acoustic modules in bfloat16, where the processor knows it.
    """

    name = "openvino"
    lacks_memory: tuple[type[Exception], ...] = ()

    def __init__(
        self,
        config: Config,
        weights: Weights,
        filters: NDArray[np.float32] | None,
        threads: int,
        *,
        short: bool = False,
    ) -> None:
        self._log_mel = lru_cache(KEPT_TUNINGS)(LogMel(config.front_end, filters).tuned)
        self._compiled = [
            compile_graph(
                acoustic_graph(config.model, Part(weights, f"{network}_acoustic")), threads, short=short
            )
            for network in ("note", "velocity")
        ]
        # Two threads whose calls are the first ones can wait for each other for ever.
        self._compiled[0](np.zeros((1, 1, config.model.n_mels), np.float32))
        self._loop = OpenVinoLoop(config.model, weights)
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads)
        self._own = threading.local()

    def mels(self, spans: Sequence[NDArray[np.float32]], tuning: float) -> list[NDArray[np.float32]]:
        """See `engine.Engine.mels`."""
        return [self._log_mel(tuning).of_span(span) for span in spans]

    def features(self, windows: Iterable[Window], timings: Timings) -> Generator[Features]:
        """See `engine.Engine.features`."""

        def compute(window: Window) -> Features:
            with timings.stage("acoustic"):
                return self._compute(window)

        begun = (self._pool.submit(compute, window) for window in windows)
        with closing(Ahead(begun, self._threads + WAITING)) as futures:
            for future in futures:
                yield future.result()

    def together(self, windows: Sequence[Window]) -> list[Features]:
        """See `engine.Engine.together`."""
        return list(self._pool.map(self._compute, windows))

    def _compute(self, window: Window) -> Features:
        if not hasattr(self._own, "requests"):  # a thread's own, as one request serves one thread at a time
            self._own.requests = [compiled.create_infer_request() for compiled in self._compiled]
        mel = np.ascontiguousarray(window.mel)[None]
        outputs = (request.infer([mel], share_inputs=True)[0] for request in self._own.requests)
        return Features(*(output[window.inside][None] for output in outputs))

    def initial_state(self, batch: int) -> list[Left]:
        """See `engine.Engine.initial_state`."""
        return [self._loop.initial_state() for _ in range(batch)]

    def begin_decoding(
        self,
        features: Features,
        state: list[Left],
        settings: DecodeConfig,
        *,
        with_probabilities: bool = False,
    ) -> tuple[Decoded, list[Left]]:
        """See `engine.Engine.begin_decoding`."""
        pieces = zip(features.note, features.velocity, state, strict=True)
        done = [self._loop.run(note, velocity, left, settings) for note, velocity, left in pieces]
        frames = [found if with_probabilities else found._replace(probabilities=None) for found, _ in done]
        return Decoded(frames), [left for _, left in done]

    def free_memory(self) -> None:
        """Nothing is kept."""
