"""The log-mel front end, held against librosa, and its stream against the whole."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import replace

import librosa
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from conftest import swelling_noise
from partranscribe.config import FrontEndConfig
from partranscribe.frontend import LogMel, LogMelStream, mel_filters, tuned_filters
from partranscribe.torch_frontend import TorchLogMel

HALF_WINDOW, HOP, GROUP = 2048, 512, 8
SMALL = FrontEndConfig(n_mels=32)


@pytest.fixture(scope="module")
def log_mel() -> LogMel:
    return LogMel(FrontEndConfig())


@pytest.fixture(scope="module")
def small() -> LogMel:
    return LogMel(SMALL)


def blocks_of(audio: NDArray[np.float32], size: int) -> Iterable[NDArray[np.float32]]:
    return (audio[start : start + size] for start in range(0, len(audio), size))


def streamed(front_end: LogMel, blocks: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
    stream = LogMelStream(front_end, GROUP)
    groups = [mel for block in blocks for mel in stream.push(block)]
    return np.concatenate([*groups, *stream.finish()])


def by_librosa(audio: NDArray[np.float32]) -> NDArray[np.float64]:
    """Section IV-C in the words of another library: (frames, 700)."""
    stft = librosa.stft(
        audio.astype(np.float64), n_fft=4096, hop_length=512, window="hann", center=True, pad_mode="reflect"
    )
    hertz = np.linspace(0, 8000, 2049)
    lowest, highest = 2595 * np.log10(1 + np.array([27.5, 8000]) / 700)
    corners = 700 * (10 ** (np.linspace(lowest, highest, 702) / 2595) - 1)
    rising = (hertz - corners[:-2, None]) / np.diff(corners)[:-1, None]
    falling = (corners[2:, None] - hertz) / np.diff(corners)[1:, None]
    filters = np.maximum(0, np.minimum(rising, falling))  # (700, 2049)
    power: NDArray[np.float64] = filters @ np.abs(stft) ** 2
    return (np.log(np.maximum(power, 1e-9)) + 7).T / 7


@pytest.mark.parametrize("samples", [4096, 16_000, 16_384])
def test_log_mel_is_what_librosa_computes(log_mel: LogMel, samples: int) -> None:
    audio = swelling_noise(1, samples)
    mel = log_mel(audio)
    assert mel.dtype == np.float32
    assert mel.shape == (1 + samples // HOP, 700)
    assert np.abs(mel - by_librosa(audio)).max() < 1e-4


def test_silence_is_the_floor(log_mel: LogMel) -> None:
    np.testing.assert_allclose(log_mel(np.zeros(5000, np.float32)), (np.log(1e-9) + 7) / 7, rtol=1e-6)


def test_filters_are_triangles_of_height_one() -> None:
    filters = mel_filters(FrontEndConfig())
    assert filters.shape == (700, 2049)
    assert filters.min() == 0
    assert 0.95 < filters[-100:].max() <= 1


@pytest.mark.parametrize("tuning", [415.0, 440.0, 452.5])
def test_tuned_filters_are_those_of_librosa_at_another_rate(tuning: float) -> None:
    rate = 16_000 * 440 / tuning
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Empty filters detected")
        expected = librosa.filters.mel(
            sr=rate, n_fft=4096, n_mels=700, fmin=27.5, fmax=8000, htk=True, norm=None
        )
    np.testing.assert_allclose(tuned_filters(FrontEndConfig(), tuning), expected, atol=1e-4)


@pytest.mark.parametrize("tuning", [415.0, 452.5])
def test_a_tuned_front_end_hears_another_tuning_as_concert_pitch(log_mel: LogMel, tuning: float) -> None:
    def heard(front_end: LogMel, hertz: float) -> NDArray[np.float32]:
        tone = np.sin(2 * np.pi * hertz * np.arange(8192) / 16_000).astype(np.float32)
        return np.asarray(front_end(tone)[8])

    tuned = log_mel.tuned(tuning)
    assert log_mel.tuned(440.0) is log_mel
    for hertz in (440.0, 1000.0, 3000.0):
        expected = heard(log_mel, hertz)
        moved = heard(tuned, hertz * tuning / 440)
        assert moved.argmax() == expected.argmax()
        assert moved.max() == pytest.approx(expected.max(), abs=0.05)


@pytest.mark.parametrize("samples", [2049, 2559, 2560, 2561, 5120, 5121, 16_000])
def test_there_is_a_frame_for_every_hop_and_one_more(small: LogMel, samples: int) -> None:
    assert small(np.zeros(samples, np.float32)).shape == (1 + samples // HOP, 32)


@pytest.mark.parametrize("tuning", [440.0, 452.5])
def test_pytorch_computes_the_same(log_mel: LogMel, tuning: float) -> None:
    audio = np.stack([swelling_noise(seed, 6000) for seed in range(3)])
    ours = log_mel.tuned(tuning)
    theirs = TorchLogMel(log_mel.config).tuned(tuning)
    together = theirs(torch.from_numpy(audio))
    assert together.shape == (3, 12, 700)
    for alone, mel in zip(audio, together, strict=True):
        torch.testing.assert_close(theirs(torch.from_numpy(alone)), mel, atol=1e-5, rtol=0)
        np.testing.assert_allclose(ours(alone), mel.numpy(), atol=1e-5)


@pytest.mark.parametrize("frame", [0, 1, 7, 20])
def test_a_click_peaks_in_the_frame_of_its_time(log_mel: LogMel, frame: int) -> None:
    audio = np.zeros(12_000, np.float32)
    audio[frame * HOP] = 1.0
    assert log_mel(audio).sum(axis=1).argmax() == frame


@pytest.mark.parametrize("hertz", [110.0, 440.0, 2500.0])
def test_a_sine_peaks_in_the_mel_bin_of_its_frequency(log_mel: LogMel, hertz: float) -> None:
    audio = np.sin(2 * np.pi * hertz * np.arange(16_000) / 16_000).astype(np.float32)
    centres = librosa.mel_frequencies(702, fmin=27.5, fmax=8000, htk=True)[1:-1]
    expected = np.interp(hertz, centres, np.arange(700))
    peak = int(log_mel(audio)[15].argmax())
    # A bin of the Fourier transform is 3.9 Hz wide, which is more than a mel bin at the bottom.
    assert abs(peak - expected) <= 1


@pytest.mark.parametrize("samples", [2049, 2560, 3000, GROUP * HOP, 10 * GROUP * HOP, 20_001, 40_000])
@pytest.mark.parametrize("size", [7, 511, 512, 513, 4096, 100_000])
def test_a_stream_is_the_whole_to_rounding(small: LogMel, samples: int, size: int) -> None:
    audio = swelling_noise(3, samples)
    mel = streamed(small, blocks_of(audio, size))
    np.testing.assert_allclose(mel, small(audio), atol=1e-5)


@pytest.mark.parametrize("samples", [2049, 2050, 4096, 9000])
@pytest.mark.parametrize("size", [1, 7, 511, 512, 513, 4096])
def test_a_stream_does_not_depend_on_where_it_is_cut(small: LogMel, samples: int, size: int) -> None:
    audio = swelling_noise(4, samples)
    np.testing.assert_array_equal(streamed(small, blocks_of(audio, size)), streamed(small, [audio]))


def test_a_stream_may_be_cut_unevenly_and_into_nothing(small: LogMel) -> None:
    audio = swelling_noise(5, 30_000)
    cuts = np.sort(np.random.default_rng(6).integers(0, len(audio), 40)).repeat(2)
    np.testing.assert_array_equal(streamed(small, np.split(audio, cuts)), streamed(small, [audio]))


def test_a_stream_holds_no_more_than_it_needs(small: LogMel) -> None:
    stream, given = LogMelStream(small, GROUP), 0
    for count in range(1, 101):
        given += sum(map(len, stream.push(swelling_noise(7, 1000))))
        complete = 1 + max(0, 1000 * count - HALF_WINDOW) // HOP
        assert given >= complete - GROUP - HALF_WINDOW // HOP
    assert stream.samples == 100_000


@pytest.mark.parametrize("samples", [0, 1, HALF_WINDOW])
def test_too_few_samples_for_one_spectrum_are_told(small: LogMel, samples: int) -> None:
    stream = LogMelStream(small)
    assert stream.push(np.zeros(samples, np.float32)) == []
    with pytest.raises(ValueError, match=f"{samples} samples, and 2049 are needed"):
        stream.finish()


@pytest.mark.parametrize("hop", [160, 512, 1000])
def test_other_sizes_of_window_and_hop_stream_as_well(hop: int) -> None:
    front_end = LogMel(replace(SMALL, n_fft=1024, hop_length=hop, sample_rate=8000, f_max=4000.0))
    audio = swelling_noise(8, 16_000)
    for size in (333, len(audio)):
        mel = streamed(front_end, blocks_of(audio, size))
        np.testing.assert_allclose(mel, front_end(audio), atol=1e-5)


def test_spans_of_several_recordings_have_the_frames_that_each_has_alone(small: LogMel) -> None:
    config = small.config
    lengths = [config.n_fft + config.hop_length * frames for frames in (3, 7, 3, 0)]
    spans = [swelling_noise(seed, length) for seed, length in enumerate(lengths)]
    front_end = TorchLogMel(config)
    together = front_end.of_spans(spans)
    assert [len(mel) for mel in together] == [4, 8, 4, 1]
    for span, mel in zip(spans, together, strict=True):
        np.testing.assert_allclose(small.of_span(span), mel.numpy(), atol=1e-5)
    assert front_end.of_spans([]) == []


def test_the_frames_of_a_span_are_those_of_any_part_of_it(small: LogMel) -> None:
    span = swelling_noise(9, 4096 + 39 * HOP)
    whole = small.of_span(span)
    for first, last in ((0, 1), (3, 20), (39, 40)):
        part = small.of_span(span[first * HOP : 4096 + (last - 1) * HOP])
        np.testing.assert_array_equal(part, whole[first:last])
