"""Log-mel spectrogram: section IV-C of the paper, whole or in a stream."""

from __future__ import annotations

import warnings
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .config import FrontEndConfig
from .tuning import CONCERT_PITCH

LOG_SHIFT, LOG_SCALE = 7.0, 7.0  # of section IV-C


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


def hann(size: int) -> NDArray[np.float32]:
    """The periodic window of Hann."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)


class LogMel:
    """Audio to log-mel frames; frame t stands for the time t * hop_length / sample_rate.

    Args:
        config: sizes; see `FrontEndConfig`.
        filters: those of `mel_filters` where they are at hand, as in a checkpoint: librosa takes a second to
            load and 200 MB.
    """

    def __init__(self, config: FrontEndConfig, filters: NDArray[np.float32] | None = None) -> None:
        self.config = config
        given = mel_filters(config) if filters is None else filters
        mels, self._bins = np.nonzero(given)  # filter after filter, of which nearly all is zero
        self._weights = given[mels, self._bins]
        self._mels, self._firsts = np.unique(mels, return_index=True)
        self._window = hann(config.n_fft)

    def tuned(self, tuning: float) -> LogMel:
        """The front end that hears a piano as if it were at concert pitch.

        Args:
            tuning: frequency of the piano's A4 in Hz.
        """
        if tuning == CONCERT_PITCH:
            return self
        return LogMel(self.config, tuned_filters(self.config, tuning))

    def __call__(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        """Frames of a whole recording, its edges reflected.

        Args:
            audio: (samples,), at least half a window and one sample.

        Returns:
            (frames, mels), with 1 + samples // hop_length frames.
        """
        return self.of_span(np.pad(audio, self.config.n_fft // 2, mode="reflect"))

    def of_span(self, span: NDArray[np.float32]) -> NDArray[np.float32]:
        """Frames of one of the `Spans` of a recording: (frames, mels)."""
        config = self.config
        frames = np.lib.stride_tricks.sliding_window_view(span, config.n_fft)[:: config.hop_length]
        spectrum = np.fft.rfft(frames * self._window).astype(np.complex64, copy=False)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        mel = np.zeros((len(power), config.n_mels), np.float32)
        if len(self._mels):
            parts = power[:, self._bins] * self._weights
            mel[:, self._mels] = np.add.reduceat(parts, self._firsts, axis=1)
        log_mel: NDArray[np.float32] = np.log(np.maximum(mel, np.float32(config.power_floor)))
        return (log_mel + np.float32(LOG_SHIFT)) / np.float32(LOG_SCALE)


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

    def push(self, audio: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Take the next samples, and give the frames that are now complete: (group, mels) each."""
        return [*map(self._log_mel.of_span, self._spans.push(audio))]

    def finish(self) -> list[NDArray[np.float32]]:
        """The frames that remain when no more audio comes: (<= group, mels) each.

        Raises:
            ValueError: there were fewer samples than half a window and one.
        """
        return [*map(self._log_mel.of_span, self._spans.finish())]
