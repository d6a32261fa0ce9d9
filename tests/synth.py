"""What the tests listen to: piano-like notes, clicks, and files in every format that is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile as sf
from av.container import OutputContainer
from numpy.typing import NDArray

from conftest import swelling_noise
from partranscribe.attacks import ATTACKS, Attack
from partranscribe.endings import BEFORE, BESIDE, FRAMES, TAPS, Ending, EndingNetwork
from partranscribe.ghosts import GHOST_FEATURES
from partranscribe.notes import Note, Place
from partranscribe.offsets import FEATURES, WHICH
from partranscribe.sampler import Instrument, load_instrument
from partranscribe.units import Units
from partranscribe.velocities import SURROUNDINGS

Samples = NDArray[np.float32]

SECONDS_PER_FRAME = 0.032

_LIBSNDFILE = {
    ".wav": ("WAV", "PCM_16"),
    ".w64": ("W64", "PCM_16"),
    ".rf64": ("RF64", "PCM_16"),
    ".aiff": ("AIFF", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}
_FFMPEG = {".m4a": "aac", ".aac": "aac", ".mp4": "aac", ".mov": "aac", ".mkv": "aac", ".webm": "libopus"}
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1", 16: "16 channels"}


def tone(pitch: int, seconds: float, sample_rate: int, velocity: int = 80) -> Samples:
    """A decaying note with harmonics, a 2 ms attack and a 20 ms release: (samples,), at most 0.5 loud."""
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    frequency = 440.0 * 2 ** ((pitch - 69) / 12)
    harmonics = [n for n in range(1, 9) if n * frequency < 0.45 * sample_rate]
    waves = [
        np.sin(2 * np.pi * n * frequency * time) * np.exp(-(1 + 0.5 * n) * time) / n**2 for n in harmonics
    ]
    envelope = np.minimum(1, np.minimum(time / 0.002, (seconds - time) / 0.02))
    return np.asarray(velocity / 127 / 3.2 * envelope * np.sum(waves, axis=0), np.float32)


def melody(notes: Iterable[Note], sample_rate: int, tail: float = 0.5) -> Samples:
    """The notes played together, with `tail` seconds of silence after the last: (samples,)."""
    notes = list(notes)
    audio = np.zeros(round((max(note.offset for note in notes) + tail) * sample_rate), np.float32)
    for note in notes:
        first = round(note.onset * sample_rate)
        sound = tone(note.pitch, note.duration, sample_rate, note.velocity)
        audio[first : first + len(sound)] += sound
    return audio


def click(at: float, seconds: float, sample_rate: int, channels: int = 1) -> Samples:
    """Silence with a short burst at `at` seconds: (samples, channels)."""
    audio = np.zeros((round(seconds * sample_rate), channels), np.float32)
    first, length = round(at * sample_rate), sample_rate // 100
    time = np.arange(length) / sample_rate
    audio[first : first + length] = (0.8 * np.exp(-500 * time) * np.cos(2 * np.pi * 1500 * time))[:, None]
    return audio


def write_audio(path: Path, audio: NDArray[np.floating], rate: int, subtype: str | None = None) -> Path:
    """Write (samples,) or (samples, channels) in the format that the ending of `path` names."""
    if path.suffix in _LIBSNDFILE:
        kind, usual = _LIBSNDFILE[path.suffix]
        channels = audio.shape[1] if audio.ndim > 1 else 1
        with sf.SoundFile(path, "w", rate, channels, subtype or usual, format=kind) as file:
            for first in range(0, len(audio), rate):  # libsndfile crashes on a long Vorbis block
                file.write(audio[first : first + rate])
        return path
    return write_with_ffmpeg(path, audio, rate, _FFMPEG[path.suffix])


def recording(path: Path, seconds: float = 1.5, seed: int = 0) -> Path:
    """Write noise in which the tiny network hears notes, and make the folder where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_audio(path, swelling_noise(seed, round(seconds * 16_000)), 16_000)


def write_with_ffmpeg(
    path: Path,
    audio: NDArray[np.floating],
    rate: int,
    codec: str,
    *,
    start: float = 0.0,
    video: bool = False,
    options: Mapping[str, str] | None = None,
    codec_options: Mapping[str, str] | None = None,
) -> Path:
    """Write (samples,) or (samples, channels), `start` seconds into the file, alone or with a video."""
    channels = np.ascontiguousarray(audio[:, None] if audio.ndim == 1 else audio, np.float32)
    layout = _LAYOUTS[channels.shape[1]]
    with av.open(str(path), "w", options=dict(options or {})) as container:
        pictures = add_video(container) if video else None
        stream = container.add_stream(codec, rate=rate, options=dict(codec_options or {}))
        assert isinstance(stream, av.AudioStream)
        context = stream.codec_context
        context.layout = layout
        context.open()
        container.start_encoding()
        if pictures:  # longer than the audio
            encode_video(container, pictures, round(start + len(audio) / rate) + 1)
        frame = av.AudioFrame.from_ndarray(channels.reshape(1, -1), format="flt", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, round(start * rate), Fraction(1, rate)
        resampler = av.AudioResampler(context.format, context.layout, rate, context.frame_size or None)
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


def add_video(container: OutputContainer) -> av.VideoStream:
    """Prepare an open file for black pictures, 25 in a second."""
    stream = container.add_stream("mpeg4", rate=25)
    assert isinstance(stream, av.VideoStream)
    stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
    return stream


def encode_video(container: OutputContainer, stream: av.VideoStream, seconds: int) -> None:
    """Write the black pictures."""
    for index in range(25 * seconds):
        picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))
        picture.pts, picture.time_base = index, Fraction(1, 25)
        container.mux(stream.encode(picture))
    container.mux(stream.encode(None))


def sampled_piano(folder: Path, sample_rate: int) -> Instrument:
    """Five sampled keys, three layers at levels without order, one hole, and a second microphone.

    Each sample is a decaying sine of three seconds with a sharp attack after some samples of silence.
    """
    rows, parts, start = ["start,length,pitch,velocity_low,velocity_high,microphone"], [], 0
    rng = np.random.default_rng(0)
    time = np.arange(3 * sample_rate) / sample_rate
    for microphone, pitches in (("near", (36, 48, 60, 72, 96)), ("far", (60,))):
        for pitch in pitches:
            hertz = 440 * 2 ** ((pitch - 69) / 12)
            for low, high in [(1, 63), (64, 100), (101, 127)]:
                if (pitch, low) == (96, 101):
                    continue
                wave = rng.uniform(0.2, 0.9) * np.sin(2 * np.pi * hertz * time) * np.exp(-2 * time)
                sound = np.concatenate((np.zeros(int(rng.integers(0, 60))), wave)).astype(np.float32)
                rows.append(f"{start},{len(sound)},{pitch},{low},{high},{microphone}")
                parts.append(np.concatenate((sound, np.zeros(1600, np.float32))))
                start += len(parts[-1])
    sf.write(folder / "tiny.wav", np.concatenate(parts), sample_rate, subtype="FLOAT")
    (folder / "tiny.csv").write_text("\n".join(rows))
    return load_instrument(folder / "tiny.wav", folder / "tiny.csv", sample_rate)


def offset_network() -> Units:
    """What ends notes as late as they may."""
    weight = np.zeros((1, FEATURES), np.float32)
    weight[0, len(WHICH)] = 1.0  # by how much an end is moved
    return Units(weight, np.zeros(1, np.float32), np.full(1, 999.0, np.float32))


def ghost_network(confidence: float) -> Units:
    """What takes notes of more than this confidence for true, whatever else."""
    weight = np.zeros((1, GHOST_FEATURES), np.float32)
    weight[0, SURROUNDINGS] = 100.0
    bias = np.array([-100 * np.log(confidence / (1 - confidence))], np.float32)
    return Units(weight, bias, np.full(1, 9.0, np.float32))


def assert_seed_decides(first: Units, again: Units, other: Units) -> None:
    """Every part is that of the same seed, and of no other."""
    for one, same, different in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(one, same)
        assert not np.array_equal(one, different)


def random_attacks(notes: Sequence[Note]) -> dict[Place, Attack]:
    """Any attack for each of some notes."""
    rng = np.random.default_rng(0)
    return {(note.onset, note.pitch): rng.normal(-50, 10, ATTACKS).astype(np.float32) for note in notes}


def random_endings(notes: Sequence[Note]) -> dict[Place, Ending]:
    """Any ending for each of some notes."""
    logits = np.random.default_rng(0).normal(0, 2, (len(notes), FRAMES)).astype(np.float16)
    return {
        note.place: Ending(note.offset - BEFORE * SECONDS_PER_FRAME, SECONDS_PER_FRAME, one)
        for note, one in zip(notes, logits, strict=True)
    }


def ending_network(hidden: int, features: int) -> EndingNetwork:
    """A network of random weights that tells endings, of so many features of the acoustic module."""
    rng, inputs = np.random.default_rng(0), features + BESIDE
    sizes = ((TAPS, inputs, hidden), hidden, *(2 * ((TAPS, hidden, hidden), hidden)), hidden)
    return EndingNetwork(*(rng.normal(0, 0.3, size).astype(np.float32) for size in sizes))


def random_units(hidden: int, features: int) -> Units:
    """A network of random weights."""
    rng = np.random.default_rng(0)
    sizes = ((hidden, features), hidden, hidden)
    return Units(*(rng.normal(0, 0.3, size).astype(np.float32) for size in sizes))
