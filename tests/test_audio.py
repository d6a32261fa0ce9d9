"""Every format, rate and channel count; the right time; and an error that helps where a file is not right."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile as sf
import soxr
from numpy.typing import NDArray

from broken import WAYS
from conftest import swelling_noise
from partranscribe.audio import AUDIO_SUFFIXES, AudioInfo, probe, read_blocks
from partranscribe.errors import AudioError
from partranscribe.notes import Note
from synth import add_video, click, encode_video, melody, write_audio, write_with_ffmpeg

RATE = 16_000
TUNE = [Note(0.1, 0.9, 60, 90), Note(0.5, 1.4, 67, 70), Note(1.0, 2.0, 72, 110)]
SEEKABLE = ["wav", "aiff", "w64", "rf64"]
EXACT = [*SEEKABLE, "flac"]
TIMED = [*EXACT, "ogg", "opus", "mp3", "m4a", "mp4", "mov", "mkv", "webm"]


def read(
    path: Path,
    sample_rate: int,
    start: float = 0.0,
    end: float | None = None,
    block: float = 10.0,
    **around: float,
) -> NDArray[np.float32]:
    blocks = read_blocks(path, sample_rate, start=start, end=end, block_seconds=block, **around)
    return np.concatenate(list(blocks))


def cut(path: Path, share: float = 0.6) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def noise(seconds: float, rate: int) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(0).standard_normal(round(seconds * rate))).astype(np.float32)


def suggested_end(error: pytest.ExceptionInfo[AudioError]) -> float:
    found = re.search(r"transcribe what is there with --end (\d+\.\d)$", str(error.value))
    assert found
    return float(found[1])


@pytest.mark.parametrize(
    ("name", "subtype", "tolerance"),
    [
        ("a.wav", "PCM_U8", 1 / 127),
        ("a.wav", "PCM_16", 1 / 32767),
        ("a.wav", "PCM_24", 1e-6),
        ("a.wav", "PCM_32", 1e-7),
        ("a.wav", "FLOAT", 0),
        ("a.wav", "DOUBLE", 0),
        ("a.wav", "ULAW", 0.03),
        ("a.aiff", "PCM_16", 1 / 32767),
        ("a.aiff", "PCM_24", 1e-6),
        ("a.aiff", "FLOAT", 0),
        ("a.flac", "PCM_16", 1 / 32767),
        ("a.flac", "PCM_24", 1e-6),
        ("a.w64", "PCM_16", 1 / 32767),
        ("a.rf64", "PCM_16", 1 / 32767),
    ],
)
def test_every_bit_depth_keeps_its_samples(tmp_path: Path, name: str, subtype: str, tolerance: float) -> None:
    audio = melody(TUNE, RATE)
    path = write_audio(tmp_path / name, audio, RATE, subtype)
    np.testing.assert_allclose(read(path, RATE), audio, rtol=0, atol=tolerance)
    assert probe(path) == AudioInfo(2.5, RATE, 1)


@pytest.mark.parametrize(
    "codec", ["pcm_u8", "pcm_s16le", "pcm_s32le", "pcm_f32le", "pcm_f64le", "alac", "flac"]
)
def test_every_sample_type_of_ffmpeg_keeps_its_samples(tmp_path: Path, codec: str) -> None:
    audio = np.stack([melody(TUNE, RATE), noise(2.5, RATE)], axis=1)
    path = write_with_ffmpeg(tmp_path / "a.mkv", audio, RATE, codec)
    tolerance = 1 / 127 if codec == "pcm_u8" else 1 / 32767
    np.testing.assert_allclose(read(path, RATE), audio.mean(axis=1), rtol=0, atol=tolerance)


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_channels_are_averaged_and_resampled_without_a_seam(tmp_path: Path, rate: int, channels: int) -> None:
    levels = np.linspace(0.1, 1, channels, dtype=np.float32)
    audio = melody(TUNE, rate)[:, None] * levels
    path = write_audio(tmp_path / "a.wav", audio, rate, "FLOAT")
    result = read(path, RATE, block=0.3)
    np.testing.assert_allclose(result, soxr.resample(audio.mean(axis=1), rate, RATE, "HQ"), rtol=0, atol=1e-6)
    assert abs(len(result) - 2.5 * RATE) <= 1
    assert probe(path).channels == channels


@pytest.mark.parametrize("residue", [0.0, 0.1])
def test_channels_that_cancel_each_other_are_told(residue: float, tmp_path: Path) -> None:
    left = swelling_noise(3, RATE)
    path = write_audio(tmp_path / "a.wav", np.stack((left, (residue - 1) * left), axis=1), RATE)
    with pytest.warns(UserWarning, match=r"a\.wav: its channels cancel each other"):
        list(read_blocks(path, RATE))


@pytest.mark.parametrize("right", ["soft", "silent", "another", "too loud"])
def test_channels_that_do_not_cancel_each_other_are_no_reason_for_a_warning(
    right: str, tmp_path: Path
) -> None:
    left = swelling_noise(3, RATE)
    other = {
        "soft": -0.5 * left,
        "silent": np.zeros(RATE, np.float32),
        "another": swelling_noise(4, RATE),
        "too loud": np.full(RATE, 1e38, np.float32),
    }
    path = write_audio(tmp_path / "a.wav", np.stack((left, other[right]), axis=1), RATE, subtype="FLOAT")
    list(read_blocks(path, RATE))  # warnings are errors in tests
    list(read_blocks(write_audio(tmp_path / "quiet.wav", np.zeros((RATE, 2)), RATE), RATE))


@pytest.mark.parametrize(("codec", "channels"), [("aac", 8), ("wavpack", 8), ("wavpack", 16)])
def test_many_channels_of_a_decoder_with_a_plane_for_each_are_averaged(
    tmp_path: Path, codec: str, channels: int
) -> None:
    audio = np.zeros((RATE, channels), np.float32)
    audio[:, -1] = 0.5 * np.sin(2 * np.pi * 100 * np.arange(RATE) / RATE)  # which no encoder leaves out
    path = write_with_ffmpeg(tmp_path / "a.mkv", audio, RATE, codec)
    found = read(path, RATE)[:RATE]
    power = np.sqrt(np.mean(found**2) / np.mean(audio.mean(axis=1) ** 2))
    assert power == pytest.approx(1, abs=0.1)  # AAC is not exact
    assert probe(path).channels == channels


@pytest.mark.parametrize(
    ("ending", "channels"),
    [(ending, channels) for ending in TIMED for channels in (1, 2, 6) if (ending, channels) != ("mp3", 6)],
)
def test_a_click_is_found_where_it_was_put(tmp_path: Path, ending: str, channels: int) -> None:
    rate = 48_000 if ending in ("opus", "webm") else 44_100
    path = write_audio(tmp_path / f"a.{ending}", click(1.0, 3.0, rate, channels), rate)
    audio = read(path, RATE)
    assert abs(onset(audio) - 1.0) < 0.005
    assert probe(path).sample_rate == rate
    assert probe(path).channels == channels
    # An mkv file does not say how much of the last frame of AAC is filling.
    assert abs(len(audio) - 3.0 * RATE) <= (0.025 * RATE if ending == "mkv" else 1)


def onset(audio: NDArray[np.float32]) -> float:
    loud = np.abs(audio)
    return int(np.argmax(loud > 0.3 * loud.max())) / RATE


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("ending", ["ogg", "mp3", "m4a"])
def test_a_click_in_a_lossy_file_of_any_rate_is_found_where_it_was_put(
    tmp_path: Path, ending: str, rate: int
) -> None:
    path = write_audio(tmp_path / f"a.{ending}", click(1.0, 3.0, rate), rate)
    audio = read(path, RATE)
    assert abs(onset(audio) - 1.0) < 0.005
    assert abs(len(audio) - 3.0 * RATE) <= 1
    # FFmpeg before version 8 counts what fills the last frame of an MP3.
    assert probe(path).duration == pytest.approx(3.0, abs=0.2 if ending == "mp3" else 1e-3)


@pytest.mark.parametrize("start", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_audio_that_starts_later_than_its_video_is_found_on_the_clock_of_the_video(
    tmp_path: Path, ending: str, start: float
) -> None:
    audio = click(1.0, 2.0, 44_100)
    path = write_with_ffmpeg(tmp_path / f"a.{ending}", audio, 44_100, "aac", start=start, video=True)
    result = read(path, RATE)
    assert abs(onset(result) - start - 1.0) < 0.005
    assert len(result) / RATE == pytest.approx(start + 2.0, abs=0.025)  # the video goes on for another second


def with_a_gap(tmp_path: Path, seconds: float) -> Path:
    """Two seconds with a click at one, before which the time stamps jump."""
    path = write_with_ffmpeg(tmp_path / "a.mkv", click(1.0, 2.0, RATE), RATE, "flac")
    with av.open(str(path)) as source, av.open(str(tmp_path / "b.mkv"), "w") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.pts is not None:
                packet.stream = stream
                late = round(1000 * seconds) if packet.pts >= 500 else 0
                packet.pts = packet.dts = packet.pts + late
                target.mux(packet)
    return tmp_path / "b.mkv"


def test_a_gap_in_the_time_stamps_is_silence(tmp_path: Path) -> None:
    audio = read(with_a_gap(tmp_path, 3.0), RATE)
    assert abs(onset(audio) - 4.0) < 0.005
    assert len(audio) / RATE == pytest.approx(5.0, abs=1e-3)


def test_time_stamps_that_jump_by_hours_are_wrong(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"b\.mkv: its time stamps jump by 7200 s at 0\.\d s; is it damaged"):
        read(with_a_gap(tmp_path, 7200.0), RATE)


@pytest.mark.parametrize("rate", [1, 999, 1_000_001, 2**31 - 1])
def test_a_rate_that_no_recording_has_is_told(rate: int, tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.wav", click(1.0, 2.0, RATE), rate)
    for reads in (read, probe):
        with pytest.raises(AudioError, match=rf"a\.wav: its header tells {rate} samples a second"):
            reads(path, *([RATE] if reads is read else []))


def test_a_rate_that_changes_on_the_way_is_told(tmp_path: Path) -> None:
    first = write_audio(tmp_path / "a.aac", noise(2.0, 44_100), 44_100)
    second = write_audio(tmp_path / "b.aac", noise(2.0, 22_050), 22_050)
    first.write_bytes(first.read_bytes() + second.read_bytes())
    with pytest.raises(AudioError, match=r"the rate changes from 44100 to 22050 Hz at 2\.0 s; convert"):
        read(first, RATE)


def test_raw_aac_is_read_although_it_does_not_tell_its_length(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.aac", click(1.0, 3.0, 44_100), 44_100)
    assert probe(path).duration is None
    assert abs(onset(read(path, RATE)) - 1.0) < 0.03  # nor does it tell the delay of its encoder


@pytest.mark.parametrize("ending", [*TIMED, "aac"])
def test_blocks_joined_do_not_depend_on_their_size(tmp_path: Path, ending: str) -> None:
    path = write_audio(tmp_path / f"a.{ending}", melody(TUNE, 48_000), 48_000)
    whole = read(path, RATE)
    for seconds in (0.0137, 0.5, 1.0):
        blocks = list(read_blocks(path, RATE, block_seconds=seconds))
        assert {len(block) for block in blocks[:-1]} == {round(seconds * RATE)}
        assert 0 < len(blocks[-1]) <= round(seconds * RATE)
        assert all(block.dtype == np.float32 for block in blocks)
        np.testing.assert_allclose(np.concatenate(blocks), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("ending", "rate"),
    [("mp3", 44_100), ("mp3", 22_050), ("opus", 12_000), ("opus", 48_000), ("ogg", 44_100)],
)
def test_a_lossy_file_read_in_pieces_is_what_libsndfile_decodes_at_once(
    tmp_path: Path, ending: str, rate: int
) -> None:
    # Pieces that leave a short last one, which soundfile garbles in Opus by its seeks.
    brown = np.cumsum(noise((3 * 16_384 + 100) / rate, rate))
    path = write_audio(tmp_path / f"a.{ending}", 0.5 * brown / np.abs(brown).max(), rate)
    np.testing.assert_allclose(read(path, rate), sf.read(path, dtype="float32")[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("ending", [*TIMED, "aac"])
def test_start_and_end_are_exact_to_a_sample(tmp_path: Path, ending: str) -> None:
    path = write_audio(tmp_path / f"a.{ending}", np.stack([noise(4.0, 48_000)] * 2, axis=1), 48_000)
    whole = read(path, 48_000)
    for start, end in ((0.0, 1.23457), (0.71113, 3.3), (2.5, 2.50005)):
        np.testing.assert_array_equal(
            read(path, 48_000, start=start, end=end), whole[round(start * 48_000) : round(end * 48_000)]
        )
    np.testing.assert_array_equal(read(path, 48_000, start=2.0), whole[96_000:])
    np.testing.assert_array_equal(read(path, 48_000, start=2.0, end=99.0), whole[96_000:])


def test_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.wav", np.zeros(600 * RATE, np.int16), RATE)  # 38 MB as float32
    tracemalloc.start()
    total = sum(len(block) for block in read_blocks(path, RATE, block_seconds=1.0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 600 * RATE
    assert peak < 2e6


@pytest.mark.skipif(os.name == "nt", reason="nothing tells the peak of a process there")
def test_what_a_broken_recording_claims_takes_no_memory(tmp_path: Path) -> None:
    for name, way in WAYS.items():
        way.make(tmp_path / name)
    code = """
import resource, sys
import av
from partranscribe.audio import read_blocks
from partranscribe.errors import AudioError

resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        for block in read_blocks(path, 16_000):
            pass
    except AudioError:
        pass
    now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(path, now - before)
    before = now
"""
    paths = [str(tmp_path / name) for name in WAYS]
    told = subprocess.check_output([sys.executable, "-c", code, *paths], text=True).splitlines()
    grown = {line.rpartition(" ")[0]: int(line.rpartition(" ")[2]) for line in told}
    unit = 1 if sys.platform == "darwin" else 1024
    assert set(grown) == set(paths)
    assert [path for path, much in grown.items() if much * unit > 50e6] == []


def test_a_wrong_ending_does_not_matter(tmp_path: Path) -> None:
    for ending in ("m4a", "mp3", "flac"):
        path = write_audio(tmp_path / f"a.{ending}", click(1.0, 2.0, 44_100), 44_100)
        assert abs(onset(read(path.rename(tmp_path / "a.wav"), RATE)) - 1.0) < 0.005


@pytest.mark.parametrize("name", ["-", "file:a.m4a", "a b%20#?.m4a", "http:é|x.mp3", "a.RAW"])
def test_a_strange_name_is_only_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_audio(tmp_path / "a.m4a", click(1.0, 2.0, 44_100), 44_100).rename(name)
    assert abs(onset(read(Path(name), RATE)) - 1.0) < 0.005


def test_a_name_that_is_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"\\udcff.*rename"):
        probe(tmp_path / "a\udcff.wav")


def test_endings_for_folders_are_lower_case_and_start_with_a_dot() -> None:
    assert all(re.fullmatch(r"\.[a-z0-9]+", ending) for ending in AUDIO_SUFFIXES)
    assert {f".{ending}" for ending in TIMED} <= AUDIO_SUFFIXES


def test_a_wav_file_is_read_without_ffmpeg(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.wav", click(0.5, 1.0, RATE), RATE)
    code = (
        "import sys; from partranscribe.audio import read_blocks;"
        "list(read_blocks(sys.argv[1], 16000)); sys.exit(bool({'av', 'torch', 'librosa'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == 0


def test_a_list_of_other_recordings_is_none(tmp_path: Path) -> None:
    write_audio(tmp_path / "private.wav", click(0.5, 1.0, RATE), RATE)
    (tmp_path / "a.wav").write_text("ffconcat version 1.0\nfile private.wav\n")
    with pytest.raises(AudioError, match=r"a\.wav: neither libsndfile nor FFmpeg can read it"):
        read(tmp_path / "a.wav", RATE)


@pytest.mark.parametrize(
    ("length", "note"),
    [
        (0, "unfinished"),
        (0xFFFFFFFF, "FFmpeg"),
        (0x7FFFF000, "SoX"),
        (0x80000000, "arecord"),
        (0x7FFFFFDB, "less"),
    ],
)
def test_a_wav_stream_without_its_length_is_read_to_its_end(tmp_path: Path, length: int, note: str) -> None:
    path = write_audio(tmp_path / "a.wav", melody(TUNE, RATE), RATE)
    expected = read(path, RATE)
    set_wav_length(path, length)
    np.testing.assert_array_equal(read(path, RATE), expected, err_msg=note)


def set_wav_length(path: Path, length: int) -> None:
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = data[4:8] = struct.pack("<I", length)
    path.write_bytes(data)


def test_a_flac_stream_without_its_length_is_read_to_its_end(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.flac", melody(TUNE, RATE), RATE)
    expected = read(path, RATE)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # the length is the low 36 bits here
    data[22:26] = bytes(4)
    path.write_bytes(data)
    assert probe(path).duration is None
    np.testing.assert_array_equal(read(path, RATE), expected)


def test_an_mp3_without_a_header_is_read_to_its_end(tmp_path: Path) -> None:
    audio = (
        noise(20.0, 48_000) * np.linspace(0, 1, 20 * 48_000) ** 3
    )  # soft at first, so that guesses go wrong
    for options in ({"b": "128k"}, {"global_quality": "236", "flags": "+qscale"}):
        path = write_with_ffmpeg(
            tmp_path / "a.mp3",
            audio,
            48_000,
            "libmp3lame",
            options={"write_xing": "0"},
            codec_options=options,
        )
        for name in ("a.mp3", "a.wav"):
            path = path.rename(tmp_path / name)
            assert probe(path).duration is None
            assert len(read(path, RATE)) / RATE == pytest.approx(20.0, abs=0.06)


def test_junk_behind_an_ogg_file_does_not_matter(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.ogg", noise(5.0, 44_100), 44_100)
    for junk in (b"TAG" + bytes(125), bytes(200_000)):
        path.write_bytes(path.read_bytes() + junk)
        assert len(read(path, RATE)) == 5 * RATE


def test_raw_aac_that_breaks_off_within_a_frame_is_read(tmp_path: Path) -> None:
    path = cut(write_audio(tmp_path / "a.aac", noise(5.0, 44_100), 44_100))
    assert 2.5 < len(read(path, RATE)) / RATE < 3.5


def test_tags_that_are_no_utf8_do_not_matter(tmp_path: Path) -> None:
    for ending in ("m4a", "mkv"):
        path = write_audio(tmp_path / f"a.{ending}", click(1.0, 2.0, RATE), RATE)
        path.write_bytes(path.read_bytes().replace(b"Lavf", b"L\xe9vf"))  # the name of the writer
        assert abs(onset(read(path, RATE)) - 1.0) < 0.005


def test_an_m4a_without_one_good_packet_is_told(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.m4a", noise(5.0, 44_100), 44_100)
    data = path.read_bytes()
    first, last = data.index(b"mdat") + 4, data.index(b"moov") - 4
    path.write_bytes(data[:first] + b"\xff" * (last - first) + data[last:])
    with pytest.raises(AudioError, match=r"a\.m4a: not decodable .*; is it complete"):
        read(path, RATE)


def test_junk_or_another_mp3_behind_an_mp3_does_not_matter(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.mp3", noise(5.0, 44_100), 44_100)
    data = path.read_bytes()
    path.write_bytes(data + b"APETAGEX" + bytes(500) + np.random.default_rng(0).bytes(9000))
    assert len(read(path, RATE)) / RATE == pytest.approx(5.0, abs=0.1)
    path.write_bytes(data + data)
    assert len(read(path, RATE)) / RATE == pytest.approx(10.0, abs=0.1)


@pytest.mark.parametrize("ending", [*EXACT, "mp3", "mkv", "m4a", "mp4"])
def test_a_file_that_is_cut_off_tells_how_far_it_can_be_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], ending: str
) -> None:
    path = tmp_path / f"a.{ending}"
    if ending in ("m4a", "mp4"):
        write_with_ffmpeg(path, noise(20.0, 44_100), 44_100, "aac", options={"movflags": "faststart"})
    else:
        write_audio(path, noise(20.0, 44_100), 44_100)
    cut(path)
    with pytest.raises(
        AudioError, match=r"a\.\w+: ends after 1\d\.\d s of 20\.0 s: .*; copy it again, or"
    ) as error:
        read(path, RATE)
    end = suggested_end(error)
    assert abs(len(read(path, RATE, end=end)) - end * RATE) <= 1
    assert len(read(path, RATE, start=5.0, end=end)) > 0
    with pytest.raises(AudioError, match=r"ends after 1\d\.\d s of 20\.0 s.*copy it again$"):
        read(path, RATE, start=15.0)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("ending", ["ogg", "opus"])
def test_an_ogg_file_that_is_cut_off_tells_how_far_it_can_be_read(tmp_path: Path, ending: str) -> None:
    path = cut(write_audio(tmp_path / f"a.{ending}", noise(20.0, 48_000), 48_000))
    with pytest.raises(AudioError, match=r"ends after 1\d\.\d s: .*cut off") as error:
        read(path, RATE)
    end = suggested_end(error)
    assert abs(len(read(path, RATE, end=end)) - end * RATE) <= 1


@pytest.mark.parametrize("ending", SEEKABLE)
def test_a_cut_is_told_before_the_first_block_where_the_header_shows_it(tmp_path: Path, ending: str) -> None:
    path = cut(write_audio(tmp_path / f"a.{ending}", noise(20.0, RATE), RATE))
    with pytest.raises(AudioError, match="cut off"):
        next(read_blocks(path, RATE, block_seconds=0.1))


def test_an_m4a_that_is_cut_before_its_index_asks_whether_it_is_complete(tmp_path: Path) -> None:
    path = cut(write_audio(tmp_path / "a.m4a", noise(5.0, 44_100), 44_100))
    with pytest.raises(
        AudioError, match=r"a\.m4a: neither libsndfile nor FFmpeg can read it .* is it a complete"
    ):
        read(path, RATE)


@pytest.mark.parametrize("ending", ["flac", "mp3"])
def test_damage_within_a_file_tells_how_far_it_can_be_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], ending: str
) -> None:
    path = write_audio(tmp_path / f"a.{ending}", noise(20.0, 44_100), 44_100)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 5000] = np.random.default_rng(0).bytes(5000)
    path.write_bytes(data)
    with pytest.raises(AudioError, match=r"ends after \d+\.\d s of 20\.0 s: .*damaged") as error:
        read(path, RATE)
    end = suggested_end(error)
    assert 9 < end < 11
    assert abs(len(read(path, RATE, end=end)) - end * RATE) <= 1
    assert capfd.readouterr().err == ""


def test_missing_files_folders_and_empty_files_are_told(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    for name, fact in (("none.wav", "No such file"), (".", "a folder"), ("empty.wav", "0 bytes")):
        with pytest.raises(AudioError, match=fact):
            probe(tmp_path / name)
        with pytest.raises(AudioError, match=re.escape(str(tmp_path / name)) + ": .*; "):
            read(tmp_path / name, RATE)


def test_a_file_without_permission_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    path = write_audio(tmp_path / "a.wav", click(0.5, 1.0, RATE), RATE)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(AudioError, match=r"a\.wav: Permission denied; check"):
        read(path, RATE)


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.m4a", "a.txt"])
@pytest.mark.parametrize("data", [b"This is no sound.\n" * 99, bytes(5000)])
def test_a_file_that_is_no_audio_is_told(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(AudioError, match=re.escape(name) + ": .*; "):
        read(tmp_path / name, RATE)


def test_a_video_without_sound_is_told(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        encode_video(container, add_video(container), 1)
    with pytest.raises(AudioError, match=r"a\.mp4: holds no audio"):
        probe(tmp_path / "a.mp4")


@pytest.mark.parametrize("ending", ["wav", "aiff", "flac"])
def test_a_file_without_samples_is_told(tmp_path: Path, ending: str) -> None:
    path = write_audio(tmp_path / f"a.{ending}", np.zeros(0, np.float32), RATE)
    with pytest.raises(AudioError, match=rf"a\.{ending}: .*; "):
        read(path, RATE)


def test_a_wav_file_of_a_header_alone_is_told(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.wav", noise(1.0, RATE), RATE)
    path.write_bytes(path.read_bytes()[:44])
    with pytest.raises(AudioError, match=r"a\.wav: no samples; is the file complete"):
        read(path, RATE)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_samples_that_are_not_finite_are_told_with_their_time(tmp_path: Path, value: float) -> None:
    audio = np.zeros((3 * RATE, 2), np.float32)
    audio[2 * RATE + 160] = value
    path = write_audio(tmp_path / "a.wav", audio, RATE, "FLOAT")
    for start in (0.0, 1.7):
        with pytest.raises(AudioError, match=r"a\.wav: the sample at 2\.010 s is not finite; export"):
            read(path, RATE, start=start)
    assert len(read(path, RATE, end=2.0)) == 2 * RATE
    assert len(read(path, RATE, start=2.02)) > 0


@pytest.mark.parametrize("ending", SEEKABLE)
def test_what_is_around_an_excerpt_is_given_as_far_as_it_is_there(tmp_path: Path, ending: str) -> None:
    audio = noise(3.0, RATE)
    path = write_audio(tmp_path / f"a.{ending}", audio, RATE)
    whole = read(path, RATE)
    for before, beyond in ((0.5, 0.25), (0.0, 5.0), (1.0, 0.0)):
        found = read(path, RATE, start=1.0, end=2.0, before=before, beyond=beyond)
        np.testing.assert_array_equal(found, whole[round((1 - before) * RATE) : round((2 + beyond) * RATE)])


def test_around_an_excerpt_samples_that_are_not_finite_are_silent(tmp_path: Path) -> None:
    audio = np.ones((3 * RATE, 1), np.float32) / 2
    audio[[RATE - 1, 2 * RATE]] = np.nan
    path = write_audio(tmp_path / "a.wav", audio, RATE, "FLOAT")
    found = read(path, RATE, start=1.0, end=2.0, before=1.0, beyond=1.0)
    assert np.flatnonzero(found == 0).tolist() == [RATE - 1, 2 * RATE]
    for start, end in ((0.5, 2.0), (1.0, 2.1)):
        with pytest.raises(AudioError, match="is not finite"):
            read(path, RATE, start=start, end=end, before=0.5, beyond=0.5)


@pytest.mark.parametrize("ending", ["wav", "flac", "mp3", "ogg"])
def test_what_cannot_be_read_beyond_an_excerpt_is_not_needed(tmp_path: Path, ending: str) -> None:
    path = cut(write_audio(tmp_path / f"a.{ending}", noise(20.0, 44_100), 44_100))
    with pytest.raises(AudioError, match="cut off") as error:
        read(path, RATE)
    end = suggested_end(error)
    found = read(path, RATE, end=end, beyond=5.0)
    assert end * RATE - 1 <= len(found) < (end + 1.0) * RATE


@pytest.mark.parametrize("ending", ["wav", "flac", "mp3", "m4a"])
def test_a_start_beyond_the_end_is_told(tmp_path: Path, ending: str) -> None:
    path = write_audio(tmp_path / f"a.{ending}", noise(2.0, 44_100), 44_100)
    for start, end in ((2.5, None), (50.0, 60.0)):
        for before in (0.0, 1.0):
            with pytest.raises(
                AudioError, match=rf"start {start:g} s is beyond the end, 2\.0 s; start earlier"
            ):
                read(path, RATE, start=start, end=end, before=before)


@pytest.mark.parametrize(
    ("start", "end"), [(1.0, 1.0), (1.0, 0.5), (-0.5, None), (np.nan, None), (np.inf, None), (0.0, np.nan)]
)
def test_an_impossible_excerpt_is_told(tmp_path: Path, start: float, end: float | None) -> None:
    path = write_audio(tmp_path / "a.wav", noise(2.0, RATE), RATE)
    with pytest.raises(AudioError, match=r"a\.wav: .*; give a"):
        read(path, RATE, start=start, end=end)


def test_leaving_off_early_closes_the_file(tmp_path: Path) -> None:
    for ending in ("wav", "m4a"):
        path = write_audio(tmp_path / f"a.{ending}", noise(5.0, RATE), RATE)
        blocks = read_blocks(path, RATE, block_seconds=1.0)
        assert len(next(blocks)) == RATE
        blocks.close()  # type: ignore[attr-defined]
        path.unlink()
