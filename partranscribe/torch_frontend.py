"""The log-mel spectrogram in PyTorch: for training and for CUDA."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from .config import FrontEndConfig
from .frontend import LOG_SCALE, LOG_SHIFT, hann, mel_filters, tuned_filters
from .tuning import CONCERT_PITCH

_MELS_OF_A_BAND = 50  # of 20, 35, 50, 70 and 100 the fastest


class TorchLogMel(nn.Module):
    """Audio to log-mel frames, as `frontend.LogMel` makes them, of many recordings at once.

    Args:
        config: sizes; see `FrontEndConfig`.
        filters: those of `mel_filters` where they are at hand.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, config: FrontEndConfig, filters: NDArray[np.float32] | None = None) -> None:
        super().__init__()
        self.config = config
        given = torch.from_numpy(mel_filters(config) if filters is None else filters)
        self.register_buffer("window", torch.from_numpy(hann(config.n_fft)), persistent=False)
        self.register_buffer("filters", given.t(), persistent=False)
        self._bands = [
            _band(self.filters, slice(first, first + _MELS_OF_A_BAND))
            for first in range(0, config.n_mels, _MELS_OF_A_BAND)
        ]

    def tuned(self, tuning: float) -> TorchLogMel:
        """See `frontend.LogMel.tuned`."""
        if tuning == CONCERT_PITCH:
            return self
        return TorchLogMel(self.config, tuned_filters(self.config, tuning)).to(self.window.device)

    def forward(self, audio: Tensor) -> Tensor:
        """Frames of a whole recording, its edges reflected.

        Args:
            audio: (samples,) or (batch, samples); at least half a window and one sample.

        Returns:
            (frames, mels) or (batch, frames, mels), with 1 + samples // hop_length frames.
        """
        batch = audio if audio.dim() == 2 else audio.unsqueeze(0)
        mel = self.padded(F.pad(batch, (self.config.n_fft // 2,) * 2, mode="reflect"))
        return mel if audio.dim() == 2 else mel.squeeze(0)

    def padded(self, audio: Tensor) -> Tensor:
        """Frames of audio that already has its half window on both sides.

        Args:
            audio: (…, samples), samples = n_fft + hop_length * (frames - 1) or a little more.

        Returns:
            (…, frames, mels).
        """
        frames = audio.unfold(-1, self.config.n_fft, self.config.hop_length)
        spectrum = torch.fft.rfft(frames * self.window)
        power = spectrum.real.square() + spectrum.imag.square()
        mel = torch.clamp(self._filtered(power), min=self.config.power_floor)
        return (torch.log(mel) + LOG_SHIFT) / LOG_SCALE

    @torch.inference_mode()
    def of_spans(self, spans: Sequence[NDArray[np.float32]]) -> list[Tensor]:
        """Frames of spans of any recordings, those of one length computed side by side."""
        found: dict[int, Tensor] = {}
        for length in {len(span) for span in spans}:
            rows = [row for row, span in enumerate(spans) if len(span) == length]
            audio = torch.from_numpy(np.stack([spans[row] for row in rows]))
            if self.window.is_cuda:  # and does not wait for what is being computed there
                audio = audio.pin_memory()
            mels = self.padded(audio.to(self.window.device, non_blocking=True))
            found |= zip(rows, mels.unbind(), strict=True)
        return [found[row] for row in range(len(spans))]

    def _filtered(self, power: Tensor) -> Tensor:
        """Through the mel filters; on a CPU without most of the zeros of which they consist."""
        if power.is_cuda:  # where one large product takes less than many small ones
            return power @ self.filters
        parts = [power[..., bins] @ self.filters[bins, mels] for bins, mels in self._bands]
        return torch.cat(parts, dim=-1)


def _band(filters: Tensor, mels: slice) -> tuple[slice, slice]:
    """The bins beyond which some neighbouring columns of (bins, mels) are zero, and these columns."""
    bins = filters[:, mels].ne(0).any(dim=1).nonzero()
    return (slice(int(bins[0]), int(bins[-1]) + 1) if len(bins) else slice(0), mels)
