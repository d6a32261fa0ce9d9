"""The engine for CUDA, and the yardstick for the other: PyTorch, with Triton where it runs."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import AbstractContextManager, closing
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .ahead import Ahead
from .config import Config, DecodeConfig
from .model import par_with
from .timings import Timings
from .torch_decode import DecoderState, Decoding, begin_decoding, initial_state
from .torch_frontend import TorchLogMel
from .tuning import KEPT_TUNINGS
from .weights import Weights
from .windows import WAITING, Features, Window


class TorchEngine:
    """Computes one batch of windows after the other; see `engine.Engine`.

    Args:
        config: of front end and network.
        weights: of the network.
        filters: mel filters, where they are at hand.
        device: "cpu", "cuda" or "cuda:N".
        threads: that PyTorch may use on a CPU at most.
        short: compute acoustic modules in bfloat16.
    """

    name = "torch"
    lacks_memory: tuple[type[Exception], ...] = (torch.cuda.OutOfMemoryError,)

    def __init__(
        self,
        config: Config,
        weights: Weights,
        filters: NDArray[np.float32] | None,
        device: str,
        threads: int | None,
        *,
        short: bool = False,
    ) -> None:
        if threads is not None:
            torch.set_num_threads(min(torch.get_num_threads(), threads))
        self._model, self._short = par_with(config.model, weights).to(device), short
        self._device = next(self._model.parameters()).device  # with its number
        self._log_mel = lru_cache(KEPT_TUNINGS)(TorchLogMel(config.front_end, filters).to(self._device).tuned)

    def mels(self, spans: Sequence[NDArray[np.float32]], tuning: float) -> list[Tensor]:
        """See `engine.Engine.mels`; spans of one length are one batch."""
        return self._log_mel(tuning).of_spans(spans)

    def features(self, windows: Iterable[Window], timings: Timings) -> Generator[Features]:
        """See `engine.Engine.features`."""
        with closing(Ahead(windows, WAITING)) as ready:
            for window in ready:
                with timings.stage("acoustic"):
                    (wanted,) = self.together([window])
                yield wanted

    @torch.inference_mode()
    def together(self, windows: Sequence[Window]) -> list[Features]:
        """See `engine.Engine.together`; windows of one length are one batch."""
        lengths = {len(window.mel) for window in windows}
        found: dict[int, Features] = {}
        for length in lengths:
            rows = [row for row, window in enumerate(windows) if len(window.mel) == length]
            mel = torch.stack([windows[row].mel for row in rows])
            with _full_precision(), torch.autocast(mel.device.type, torch.bfloat16, enabled=self._short):
                whole = self._model.features(mel)
            for index, row in enumerate(rows):
                inside = windows[row].inside
                found[row] = Features(*(part[index : index + 1, inside].float() for part in whole))
        return [found[row] for row in range(len(windows))]

    def initial_state(self, batch: int) -> DecoderState:
        """See `engine.Engine.initial_state`."""
        return initial_state(self._model, batch)

    def begin_decoding(
        self,
        features: Features,
        state: DecoderState,
        settings: DecodeConfig,
        *,
        with_probabilities: bool = False,
    ) -> tuple[Decoding, DecoderState]:
        """See `engine.Engine.begin_decoding`; a GPU goes on by itself."""
        with _full_precision():
            return begin_decoding(
                self._model, features, state, settings, with_probabilities=with_probabilities
            )

    def join(self, arrays: Sequence[Tensor], axis: int = 0) -> Tensor:
        """See `windows.Arrays.join`."""
        return torch.cat(tuple(arrays), dim=axis)

    def zeros(self, *shape: int) -> Tensor:
        """See `windows.Arrays.zeros`."""
        return torch.zeros(shape, device=self._device)

    def array(self, values: NDArray[np.float32]) -> Tensor:
        """See `windows.Arrays.array`."""
        return torch.from_numpy(values).to(self._device)

    def to_numpy(self, array: Tensor) -> NDArray[np.float32]:
        """See `windows.Arrays.to_numpy`."""
        found: NDArray[np.float32] = array.cpu().numpy()
        return found

    def free_memory(self) -> None:
        """See `engine.Engine.free_memory`."""
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def _full_precision() -> AbstractContextManager[None]:
    """On CUDA, full precision and fixed algorithms, so that the notes are those of the CPU."""
    flags: AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, deterministic=True, allow_tf32=False
    )
    return flags
