"""A recording in any common format → blocks of mono float32 at the rate that is asked for."""

from __future__ import annotations

import math
import re
import stat
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray

from .errors import AudioError

if TYPE_CHECKING:
    from av import AudioFrame, AudioStream
    from av.container import InputContainer

_PLAIN = {".wav", ".wave", ".rf64", ".w64", ".aiff", ".aif", ".aifc", ".au", ".caf", ".flac", ".wv", ".ape"}
_LOSSY = {".mp3", ".mp2", ".ogg", ".oga", ".opus", ".m4a", ".m4b", ".aac", ".ac3", ".wma", ".mka"}
_VIDEO = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".3gp", ".mpg", ".mpeg", ".mts", ".m2ts", ".flv"}
_RARE = {".tta", ".dsf", ".mpc", ".amr", ".wmv", ".ogv", ".3g2"}
AUDIO_SUFFIXES = frozenset(_PLAIN | _LOSSY | _VIDEO | _RARE)  # .ts is TypeScript more often than a video

# All that FFmpeg may take a file for, whatever its ending: among its other formats are lists of files, which
# it would open in turn, and scripts of a few bytes that sound for days.
_CONTAINERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,eac3,flac,flv,matroska,mov,mp3,mpc,mpc8,mpeg,mpegts,ogg,rm,"
    "tak,tta,voc,w64,wav,wv"
)
# libsndfile guesses the length of an MP3 without a Xing header, and stops there; raw samples have no header.
_NOT_FOR_LIBSNDFILE = {".mp3", ".mp2", ".raw"}
_CHUNK = 16_384  # samples that libsndfile decodes at once
_CANCELLED = 0.03  # of the power of its channels, which one that sounds has more of in its mix
_CUT_TOLERANCE = 0.25  # seconds: codecs pad and containers round by less
# Hz; beyond them a header is wrong, and a small file would become days of audio, or a gap in it take days.
_RATES = range(1000, 1_000_001)
_LONGEST_SILENCE = 3600.0  # seconds that time stamps may leave out in all; beyond it they are wrong
_MOST_PLANES = 7  # FFmpeg's frames have a list of eight, and PyAV reads it up to an empty place
_GAP_TOLERANCE = 0.1  # seconds: a longer jump of the time stamps is silence, as in FFmpeg's own resampler
# What a writer to a pipe puts where the length belongs (less the header, or a part of a sample).
_OPEN_ENDED = (0x7FFF_F000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)
_CLAMPED = re.compile(r"^ *(?:data|SSND|Data Size|Riff size|riff) *: (\d+) \(should be (\d+)\)", re.MULTILINE)

Samples: TypeAlias = NDArray[np.float32]
Placed: TypeAlias = tuple[int, Samples]  # position of the first sample, and (samples, channels)


@dataclass(frozen=True)
class AudioInfo:
    """What a file says about its audio.

    Args:
        duration: seconds; None where the container does not say, or only lets one guess.
        sample_rate: samples in a second.
        channels: 1 for mono, 2 for stereo.
    """

    duration: float | None
    sample_rate: int
    channels: int


def probe(path: str | PathLike[str]) -> AudioInfo:
    """Read the header of a recording.

    Args:
        path: any audio file, or a video, of which the first audio stream counts.

    Returns:
        What the header declares, even where the file is cut off.

    Raises:
        AudioError: the file cannot be opened, or holds no audio.
    """
    with closing(_open(Path(path))) as source:
        return source.info


def read_blocks(
    path: str | PathLike[str],
    sample_rate: int,
    *,
    start: float = 0.0,
    end: float | None = None,
    before: float = 0.0,
    beyond: float = 0.0,
    block_seconds: float = 10.0,
) -> Iterator[Samples]:
    """Decode a recording, mix its channels to their mean and resample it, in memory that does not grow.

    Args:
        path: any audio file, or a video, of which the first audio stream counts.
        sample_rate: samples in a second of the result.
        start: seconds from the start of the file, >= 0.
        end: seconds from the start of the file, > start; None or a time beyond the end for all the rest.
        before: seconds that are given from before `start`, too; no more than there are.
        beyond: seconds that are given from after `end`, too, as far as they can be read.
        block_seconds: length of every block but the last; the blocks joined do not depend on it.

    Yields:
        (samples,); the first sample of the first block is the one at `start - before`.

    Raises:
        AudioError: the file cannot be read, holds no samples or some that are not finite, ends before
            `start`, or is damaged or cut off before `end`.
    """
    path = Path(path)
    if not 0 <= start < math.inf:
        raise AudioError(f"{path}: cannot start at {start} s; give a time >= 0")
    if end is not None and not end > start:
        raise AudioError(f"{path}: end {end:g} s is not after start {start:g} s; give a later end")
    with closing(_open(path)) as source:
        excerpt = _excerpt(path, source, start, math.inf if end is None else end, before, beyond)
        resampled = _resampled(excerpt, source.info.sample_rate, sample_rate)
        yield from _regrouped(resampled, max(1, round(block_seconds * sample_rate)))


def _excerpt(
    path: Path, source: _Source, start: float, end: float, before: float, beyond: float
) -> Iterator[Samples]:
    """Mono samples at the rate of the source, checked from `start` to `end`.

    Where channels cancel each other, as when one of two has the wrong polarity, a warning says so.
    """
    rate, duration = source.info.sample_rate, source.info.duration
    meant = range(round(start * rate), sys.maxsize if math.isinf(end) else round(end * rate))
    first = round((start - before) * rate)
    last = sys.maxsize if math.isinf(end) else round((end + beyond) * rate)
    if source.readable is not None and end > source.readable:
        raise _cut_off(path, source.readable, duration, start)
    ended = 0
    power = np.zeros(2)  # of the mix, and of the channels
    for position, chunk in source.chunks(first, last):
        ended = position + len(chunk)
        part = chunk[max(0, first - position) : max(0, last - position)]
        if len(part):
            with np.errstate(over="ignore", invalid="ignore"):
                mono: Samples = part.mean(axis=1)  # (samples, channels) -> (samples,)
            broken = np.flatnonzero(~np.isfinite(mono))
            for at in (max(first, position) + broken).tolist():
                if at in meant:
                    fact = f"the sample at {at / rate:.3f} s is not finite"
                    raise AudioError(f"{path}: {fact}; export it again, with 16 or 24 bits")
            mono[broken] = 0.0
            if part.shape[1] > 1 and not len(broken):
                with np.errstate(over="ignore"):
                    power += np.square(mono).sum(), np.square(part).sum() / part.shape[1]
            yield mono
        if ended >= last:
            break
    if power[0] < _CANCELLED * power[1]:
        fact = "its channels cancel each other, and hardly anything of it is heard"
        warnings.warn(f"{path}: {fact}; turn the polarity of one, or keep only one", stacklevel=2)
    if ended >= meant.stop:
        return
    if source.fault and not ended:
        raise AudioError(f"{path}: not decodable ({source.fault}); is it complete?") from source.fault
    if source.fault or (duration is not None and ended / rate < min(duration, end) - _CUT_TOLERANCE):
        raise _cut_off(path, ended / rate, duration, start) from source.fault
    if not ended:
        raise AudioError(f"{path}: no samples; is the file complete?")
    if ended <= meant.start:
        raise AudioError(f"{path}: start {start:g} s is beyond the end, {ended / rate:.1f} s; start earlier")


def _cut_off(path: Path, readable: float, duration: float | None, start: float) -> AudioError:
    seconds = math.floor(readable * 10) / 10  # rounded down: --end must stay within what can be read
    whole = f" of {duration:.1f} s" if duration is not None else ""
    rest = f", or transcribe what is there with --end {seconds}" if seconds > start else ""
    fact = f"ends after {seconds} s{whole}: the file is cut off or damaged"
    return AudioError(f"{path}: {fact}; copy it again{rest}")


def _resampled(chunks: Iterable[Samples], rate: int, sample_rate: int) -> Iterator[Samples]:
    resampler = soxr.ResampleStream(rate, sample_rate, 1, dtype="float32", quality="HQ")
    for chunk in chunks:
        yield resampler.resample_chunk(chunk)
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _regrouped(chunks: Iterable[Samples], size: int) -> Iterator[Samples]:
    """The same samples in blocks of `size`, the last one shorter."""
    held: list[Samples] = []
    count = 0
    for chunk in chunks:
        held.append(chunk)
        count += len(chunk)
        if count >= size:
            joined = np.concatenate(held)
            rest = count % size
            yield from joined[: count - rest].reshape(-1, size)
            held, count = [joined[count - rest :]], rest
    if count:
        yield np.concatenate(held)


def _open(path: Path) -> _Source:
    source = _opened(path)
    rate = source.info.sample_rate
    if rate not in _RATES:
        source.close()
        raise AudioError(f"{path}: its header tells {rate} samples a second; is it damaged? Export it again")
    return source


def check_there(path: Path) -> None:
    """Make sure that there is something to be read, without reading it; behind a URL nothing is asked.

    Raises:
        AudioError: there is not.
    """
    try:
        if isinstance(path, PathLike):
            path.stat()
    except OSError as error:
        raise unreachable(path, error) from error


def unreachable(path: Path, error: OSError) -> AudioError:
    """What is told of a recording that the system does not let be read."""
    return AudioError(f"{path}: {error.strerror or error}; check its name and its permissions")


def _opened(path: Path) -> _Source:
    try:
        str(path).encode()
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise AudioError(f"{path}: a folder or a device, not a file; name a recording")
        if status.st_size == 0:
            raise AudioError(f"{path}: the file is empty (0 bytes); copy or record it again")
        path.open("rb").close()
    except OSError as error:
        raise unreachable(path, error) from error
    except UnicodeEncodeError as error:
        raise AudioError(f"{str(path)!a}: the name is not valid text; rename the file") from error
    if path.suffix.lower() not in _NOT_FOR_LIBSNDFILE:
        try:
            file = _SequentialFile(path)
        except sf.LibsndfileError:
            return _FFmpegSource(path)
        # With 0 frames or 2**63 - 1 the length was unknown to the writer, and libsndfile needs it.
        if 0 < file.frames < 2**62 and file.format != "MP3":
            return _LibsndfileSource(path, file)
        file.close()
    return _FFmpegSource(path)


class _Source(ABC):
    """An open file.

    `readable` is how many seconds are there, where it is known beforehand that they are too few; `fault` is
    what ended the chunks too early.
    """

    info: AudioInfo
    readable: float | None = None
    fault: Exception | None = None

    @abstractmethod
    def chunks(self, first: int, last: int) -> Iterator[Placed]:
        """Samples without a hole, from `first` or before it (even < 0), to `last`, the end or a fault."""

    @abstractmethod
    def close(self) -> None: ...


class _SequentialFile(sf.SoundFile):  # type: ignore[misc]
    """Without the seek that soundfile adds after each read, which spoils what Opus decodes next."""

    def seekable(self) -> bool:
        return False


class _LibsndfileSource(_Source):
    def __init__(self, path: Path, file: _SequentialFile) -> None:
        self._file = file
        present = file.frames / file.samplerate
        duration: float | None = present
        if clamped := _CLAMPED.search(file.extra_info):
            declared, held = int(clamped[1]), int(clamped[2])
            open_ended = any(0 <= length - declared < 4096 for length in _OPEN_ENDED)
            if not open_ended and present * (declared / held - 1) > _CUT_TOLERANCE:
                self.readable, duration = present, present * declared / held
        elif file.format == "OGG" and _last_ogg_page_is_cut(path):
            self.readable, duration = present, None
        self.info = AudioInfo(duration, file.samplerate, file.channels)

    def chunks(self, first: int, last: int) -> Iterator[Placed]:
        position = 0
        try:
            # Seeking in a lossy file is inexact, and in a damaged FLAC it hides how far that can be read.
            if self._file.format != "FLAC" and self._file.subtype.startswith(("PCM", "FLOAT", "DOUBLE")):
                position = self._file.seek(min(first, self._file.frames))
            while position < last:
                chunk = self._file.read(_CHUNK, dtype="float32", always_2d=True)
                yield position, chunk  # an empty one tells where the end is
                position += len(chunk)
                if not len(chunk):
                    return
        except sf.LibsndfileError as error:
            self.fault = error

    def close(self) -> None:
        self._file.close()


def _last_ogg_page_is_cut(path: Path) -> bool:
    """Whether an Ogg file stops within a page; libsndfile drops that page without a word."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2 * 65_307))  # the largest page is half of this
        tail = file.read()
    page = tail.rfind(b"OggS")
    if page < 0:
        return False  # something else follows the last page
    if len(tail) < page + 27:
        return True
    body = page + 27 + tail[page + 26]
    return len(tail) < body + sum(tail[page + 27 : body])


class _FFmpegSource(_Source):
    """Decodes from the beginning, whatever `first` is: FFmpeg's seeks are not exact."""

    def __init__(self, path: Path) -> None:
        import av  # not at the top: most files do not need it

        self._path = path
        try:
            self._container: InputContainer = av.open(
                f"file:{path}", options={"format_whitelist": _CONTAINERS}, metadata_errors="ignore"
            )
        except av.FFmpegError as error:
            fact = f"neither libsndfile nor FFmpeg can read it ({error.strerror})"
            raise AudioError(f"{path}: {fact}; is it a complete recording? Convert it to WAV") from error
        streams = self._container.streams.audio
        codec = streams[0].codec_context if streams else None
        if codec is None or not codec.sample_rate or not codec.layout.nb_channels:
            self._container.close()
            raise AudioError(f"{path}: holds no audio that can be decoded; name a recording")
        self._stream: AudioStream = streams[0]
        # Some formats begin late on a clock of their own; what lies before zero is the delay of the encoder.
        zero = self._container.start_time
        self._zero = None if zero is None else max(0, zero) / av.time_base
        self.info = AudioInfo(self._duration(codec.sample_rate), codec.sample_rate, codec.layout.nb_channels)

    def _duration(self, rate: int) -> float | None:
        """Seconds from time zero to the end of the audio, where the container knows them."""
        import av

        kind, stream, total = self._container.format.name, self._stream, self._container.duration
        if not stream.duration or stream.time_base is None:
            alone = len(self._container.streams) == 1
            return total / av.time_base if kind.startswith("matroska") and alone and total else None
        seconds = stream.duration * stream.time_base
        lead = (stream.start_time or 0) * stream.time_base
        # A LAME header gives a lead and whole samples; FFmpeg's guess by the bit rate hardly ever does.
        if kind.startswith("mov") or (kind == "mp3" and lead and (seconds * rate).denominator == 1):
            return float(lead + seconds) - (self._zero or 0.0)
        return None

    def chunks(self, first: int, last: int) -> Iterator[Placed]:
        held: Placed | None = None
        for placed in self._placed():
            if held:
                yield held
            held = placed
        if held:
            position, samples = held
            if self.info.duration is not None:  # the encoder filled up its last frame
                surplus = position + len(samples) - round(self.info.duration * self.info.sample_rate)
                samples = samples[:-surplus] if 0 < surplus < len(samples) else samples
            yield position, samples

    def _placed(self) -> Iterator[Placed]:
        """Frames, with silence where their time stamps leave a gap."""
        rate, position, silent = self.info.sample_rate, 0, 0
        for index, frame in enumerate(self._frames()):
            if frame.sample_rate != rate:
                fact = f"the rate changes from {rate} to {frame.sample_rate} Hz at {position / rate:.1f} s"
                raise AudioError(f"{self._path}: {fact}; convert it to WAV")
            late = 0.0
            if frame.time is not None and self._zero is not None:
                late = frame.time - self._zero - position / rate
            if index == 0:
                position = min(0, round(late * rate))
            gap = round(late * rate) if index == 0 or late > _GAP_TOLERANCE else 0
            silent += max(gap, 0)
            if silent > _LONGEST_SILENCE * rate:
                fact = f"its time stamps jump by {gap / rate:.0f} s at {position / rate:.1f} s"
                raise AudioError(f"{self._path}: {fact}; is it damaged? Convert it to WAV")
            while gap > 0:
                silence = np.zeros((min(gap, _CHUNK), 1), np.float32)
                yield position, silence
                position, gap = position + len(silence), gap - len(silence)
            samples = _to_float(frame)
            yield position, samples
            position += len(samples)

    def _frames(self) -> Iterator[AudioFrame]:
        """Decoded frames up to a fault; junk before the first or after the last is none."""
        import av

        decoded, fault = False, None
        try:
            for packet in self._container.demux(self._stream):
                try:
                    frames = packet.decode()
                except av.FFmpegError as error:
                    fault = error
                    continue
                for frame in frames:
                    if fault and decoded:
                        self.fault = fault
                        return
                    decoded, fault = True, None
                    yield _safe(frame)
            if not decoded:
                self.fault = fault
        except av.FFmpegError as error:
            self.fault = error

    def close(self) -> None:
        self._container.close()


def _safe(frame: AudioFrame) -> AudioFrame:
    """The same samples in one plane where there are so many that PyAV would read beyond the last of them."""
    import av

    if not frame.format.is_planar or frame.layout.nb_channels <= _MOST_PLANES:
        return frame
    (packed,) = av.AudioResampler(frame.format.packed, frame.layout, frame.sample_rate).resample(frame)
    return packed


def _to_float(frame: AudioFrame) -> Samples:
    """Samples of a frame, -1 to 1: (samples, channels)."""
    array = frame.to_ndarray()  # planar: (channels, samples); packed: (1, samples * channels)
    array = array.T if frame.format.is_planar else array.reshape(-1, frame.layout.nb_channels)
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    full = np.float32(2.0 ** (8 * array.dtype.itemsize - 1))
    return array.astype(np.float32) / full - np.float32(array.dtype.kind == "u")
