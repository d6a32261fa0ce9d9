"""Log-mel spectrogram: section IV-C of the paper, whole or in a stream."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from .config import FrontEndConfig
from .tuning import CONCERT_PITCH

_LOG_SHIFT = 7.0
_LOG_SCALE = 7.0
_MELS_OF_A_BAND = 50  # of 20, 35, 50, 70 and 100 the fastest


@lru_cache(maxsize=4)
def mel_filters(config: FrontEndConfig) -> NDArray[np.float32]:
    """Triangular HTK mel filters without area normalisation: (mels, n_fft / 2 + 1)."""
    import librosa

    with warnings.catch_warnings():
        # At the bottom, 700 mel bins are narrower than those of the FFT: a few stay empty, as in the paper.
        warnings.filterwarnings("ignore", message="Empty filters detected")
        filters: NDArray[np.float32] = librosa.filters.mel(
            sr=config.sample_rate,
            n_fft=config.n_fft,
            n_mels=config.n_mels,
            fmin=config.f_min,
            fmax=config.f_max,
            htk=True,
            norm=None,
            dtype=np.float32,
        )
    return filters


def tuned_filters(config: FrontEndConfig, tuning: float) -> NDArray[np.float32]:
    """The same filters at frequencies that have gone up or down with those of a piano.

    As librosa would compute them at another sample rate, which takes a second and 230 MB to load.

    Args:
        config: sizes; see `FrontEndConfig`.
        tuning: frequency of A4 in Hz.
    """
    lowest, highest = 2595 * np.log10(1 + np.array([config.f_min, config.f_max]) / 700)
    mels = np.linspace(lowest, highest, config.n_mels + 2)
    corners = 700 * (10 ** (mels / 2595) - 1) * tuning / CONCERT_PITCH
    hertz = np.linspace(0, config.sample_rate / 2, config.n_fft // 2 + 1)
    rising = (hertz - corners[:-2, None]) / np.diff(corners)[:-1, None]
    falling = (corners[2:, None] - hertz) / np.diff(corners)[1:, None]
    return np.maximum(np.minimum(rising, falling), 0).astype(np.float32)


class LogMel(nn.Module):
    """Audio to log-mel frames; frame t stands for the time t * hop_length / sample_rate.

    Args:
        config: sizes; see `FrontEndConfig`.
        filters: those of `mel_filters` where they are at hand, as in a checkpoint: librosa takes a second to
            load and 200 MB.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, config: FrontEndConfig, filters: Tensor | None = None) -> None:
        super().__init__()
        self.config = config
        if filters is None:
            filters = torch.from_numpy(mel_filters(config))
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        self.register_buffer("filters", filters.t(), persistent=False)
        self._bands = [
            _band(self.filters, slice(first, first + _MELS_OF_A_BAND))
            for first in range(0, config.n_mels, _MELS_OF_A_BAND)
        ]

    @property
    def half_window(self) -> int:
        """Samples that the first and the last frame reach beyond the audio."""
        return self.config.n_fft // 2

    def tuned(self, tuning: float) -> LogMel:
        """The front end that hears a piano as if it were at concert pitch.

        Args:
            tuning: frequency of the piano's A4 in Hz.
        """
        if tuning == CONCERT_PITCH:
            return self
        filters = torch.from_numpy(tuned_filters(self.config, tuning))
        return LogMel(self.config, filters).to(self.window.device)

    def forward(self, audio: Tensor) -> Tensor:
        """Frames of a whole recording, its edges reflected.

        Args:
            audio: (samples,) or (batch, samples); at least half a window and one sample.

        Returns:
            (frames, mels) or (batch, frames, mels), with 1 + samples // hop_length frames.
        """
        batch = audio if audio.dim() == 2 else audio.unsqueeze(0)
        mel = self.padded(F.pad(batch, (self.half_window, self.half_window), mode="reflect"))
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
        return (torch.log(mel) + _LOG_SHIFT) / _LOG_SCALE

    def of_span(self, span: NDArray[np.float32]) -> Tensor:
        """Frames of one of the `Spans` of a recording: (frames, mels)."""
        return self.of_spans([span])[0]

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


class Spans:
    """The spans of a recording that `LogMel` makes frames of, cut while the audio arrives.

    Each is of `group` frames from the first on, wherever the audio is cut, so that the bits of the frames do
    not depend on it.

    Args:
        config: sizes; see `FrontEndConfig`.
        group: frames of a span.
    """

    def __init__(self, config: FrontEndConfig, group: int = 128) -> None:
        self._config, self._group = config, group
        self._waiting: list[NDArray[np.float32]] = []
        self._waiting_samples = 0
        self._buffer: NDArray[np.float32] | None = None
        self.samples = 0

    @property
    def needed(self) -> int:
        """Samples that there must be for one spectrum."""
        return self._config.n_fft // 2 + 1

    def push(self, audio: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Take the next samples, and give the spans of `group` frames that are now complete."""
        self.samples += len(audio)
        self._waiting.append(audio)
        self._waiting_samples += len(audio)
        half, config = self._config.n_fft // 2, self._config
        if self._buffer is None:
            if self._waiting_samples <= half:
                return []
            self._gather()
            assert self._buffer is not None
            self._buffer = np.concatenate((self._buffer[half:0:-1], self._buffer))
        length = config.n_fft + (self._group - 1) * config.hop_length
        # Half a window stays behind: if the recording ends here, its end is reflected from that.
        if len(self._buffer) + self._waiting_samples < length + half:
            return []
        self._gather()
        spans = []
        while len(self._buffer) >= length + half:
            spans.append(self._buffer[:length])
            self._buffer = self._buffer[self._group * config.hop_length :]
        return spans

    def finish(self) -> list[NDArray[np.float32]]:
        """The spans that remain when no more audio comes: of `group` frames or fewer.

        Raises:
            ValueError: there were fewer samples than half a window and one.
        """
        half, config = self._config.n_fft // 2, self._config
        if self._buffer is None:
            raise ValueError(f"{self.samples} samples, and {half + 1} are needed for one spectrum")
        self._gather()
        padded = np.concatenate((self._buffer, self._buffer[-2 : -half - 2 : -1]))
        step = self._group * config.hop_length
        length = step + config.n_fft - config.hop_length
        starts = range(0, len(padded) - config.n_fft + 1, step)
        return [padded[start : start + length] for start in starts]

    def _gather(self) -> None:
        parts = self._waiting if self._buffer is None else [self._buffer, *self._waiting]
        self._buffer = np.concatenate(parts)
        self._waiting, self._waiting_samples = [], 0


class LogMelStream:
    """The frames of `LogMel`, made while the audio arrives; see `Spans`.

    Args:
        log_mel: the front end.
        group: frames computed at a time.
    """

    def __init__(self, log_mel: LogMel, group: int = 128) -> None:
        self._log_mel, self._spans = log_mel, Spans(log_mel.config, group)

    @property
    def samples(self) -> int:
        """That have arrived."""
        return self._spans.samples

    @property
    def needed(self) -> int:
        """Samples that there must be for one spectrum."""
        return self._spans.needed

    def push(self, audio: NDArray[np.float32]) -> list[Tensor]:
        """Take the next samples, and give the frames that are now complete: (group, mels) each."""
        return [*map(self._log_mel.of_span, self._spans.push(audio))]

    def finish(self) -> list[Tensor]:
        """The frames that remain when no more audio comes: (<= group, mels) each.

        Raises:
            ValueError: there were fewer samples than half a window and one.
        """
        return [*map(self._log_mel.of_span, self._spans.finish())]
