"""What the file of posteriors holds belongs to the notes beside it, and it is whole or not there."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile

import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import swelling_noise
from partranscribe.checkpoint import CheckpointInfo, checkpoint_info
from partranscribe.config import DecodeConfig
from partranscribe.errors import AudioError, OutputError
from partranscribe.frames import Frames
from partranscribe.note_io import read_notes, write_notes
from partranscribe.notes import OFF, OFFSET, ONSET, PITCHES, REONSET, SUSTAIN, Note
from partranscribe.posteriors import posterior_collector
from partranscribe.transcribe import Transcriber, Transcription
from synth import write_audio

RATE = 16_000
SECONDS = 4.0
FRAMES = 126  # of 4 s: one at 0 s, and one every 512 samples

SETTINGS = DecodeConfig(
    onset_bias=0.7,
    reonset_bias=1.5,
    offset_bias=0.6,
    restrike_frames=3,
    between_frames=True,
    onset_shift=0.004,
    offset_shift=-0.003,
)


class Heard(NamedTuple):
    """One recording, transcribed twice, and what the file of the second time holds."""

    usual: Transcription
    asked: Transcription
    arrays: dict[str, NDArray[Any]]


def arrays_in(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path) as file:  # which refuses pickle
        return dict(file)


@pytest.fixture(scope="module")
def transcriber(tiny_checkpoint: Path) -> Transcriber:
    return Transcriber(tiny_checkpoint, "cpu", SETTINGS, engine="torch")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    audio = swelling_noise(21, round(SECONDS * RATE))
    return write_audio(tmp_path_factory.mktemp("recording") / "noise.wav", audio, RATE)


@pytest.fixture(scope="module")
def heard(transcriber: Transcriber, recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Heard:
    path = tmp_path_factory.mktemp("posteriors") / "noise.npz"
    usual = transcriber.transcribe(recording)
    asked = transcriber.transcribe(recording, posteriors=path)
    return Heard(usual, asked, arrays_in(path))


@pytest.fixture(scope="module")
def info(tiny_checkpoint: Path) -> CheckpointInfo:
    return checkpoint_info(tiny_checkpoint)


def place_of(note: Note, arrays: dict[str, NDArray[Any]]) -> tuple[int, int]:
    """The frame and the key where a note begins, by the arrays alone."""
    key = int(np.flatnonzero(arrays["pitches"] == note.pitch)[0])
    begins = np.isin(arrays["state"][:, key], (ONSET, REONSET))
    here = arrays["probabilities"][:, key, (ONSET, REONSET)].sum(axis=-1)
    before = np.concatenate(([0], np.where(begins, 0, here)[:-1]))
    late = ((1 - before) * (1 - here) - before) / arrays["frames_per_second"]
    onsets = np.maximum(arrays["times"] + late + arrays["onset_shift"], arrays["times"][0])
    distances = np.where(begins, np.abs(onsets - note.onset), np.inf)
    assert distances.min() < 6e-4  # of a list that is rounded
    return int(distances.argmin()), key


def test_notes_are_the_same_to_the_bit_with_and_without(heard: Heard) -> None:
    assert len(heard.usual.notes) > 100
    assert heard.asked == heard.usual


def test_arrays_have_the_shapes_and_types_that_are_documented(heard: Heard, transcriber: Transcriber) -> None:
    found = {name: (array.shape, array.dtype.name) for name, array in heard.arrays.items()}
    assert {name: kind for name, kind in found.items() if kind[0]} == {
        "probabilities": ((FRAMES, 88, 5), "float32"),
        "state": ((FRAMES, 88), "int8"),
        "velocity": ((FRAMES, 88), "float32"),
        "times": ((FRAMES,), "float64"),
        "pitches": ((88,), "int64"),
        "states": ((5,), "str256"),  # of eight characters
    }
    assert {name: array.item() for name, array in heard.arrays.items() if not array.shape} == {
        **asdict(SETTINGS),
        "frames_per_second": 31.25,
        "model": "tiny",
        "checkpoint_sha256": transcriber.info.sha256,
    }


def test_axes_are_named(heard: Heard) -> None:
    names = [heard.arrays["states"][state] for state in (OFF, OFFSET, ONSET, SUSTAIN, REONSET)]
    assert names == ["off", "offset", "onset", "sustain", "re-onset"]
    assert heard.arrays["pitches"].tolist() == list(range(21, 109))
    np.testing.assert_allclose(heard.arrays["times"], [0.032 * frame for frame in range(FRAMES)])


def test_probabilities_of_every_frame_and_pitch_add_up_to_one(heard: Heard) -> None:
    probabilities = heard.arrays["probabilities"]
    assert probabilities.min() >= 0
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, atol=1e-6)


def test_biases_and_rules_make_the_states_of_the_probabilities(heard: Heard) -> None:
    state, logs = heard.arrays["state"], np.log(heard.arrays["probabilities"])
    silent = np.array([0.0, 0.0, 0.7, 0.0, 1.5])
    sounding = np.array([0.6, 0.6, 0.7, 0.0, 1.5])
    age = np.zeros(PITCHES, int)  # frames that a note has sounded, 0 without one
    decided, changed, kept_back = [], 0, 0
    for log in logs:
        best = (log + np.where(age[:, None] > 0, sounding, silent)).argmax(axis=-1)
        changed += int((best != log.argmax(axis=-1)).sum())
        too_soon = np.isin(best, (ONSET, REONSET)) & (age > 0) & (age < 3)
        kept_back += int(too_soon.sum())
        best[too_soon] = SUSTAIN
        decided.append(best)
        continues = (best == SUSTAIN) & (age > 0)
        age = np.where(np.isin(best, (ONSET, REONSET)), 1, np.where(continues, age + 1, 0))
    assert changed > 100
    assert kept_back > 10
    np.testing.assert_array_equal(decided, state)


def test_a_part_has_the_frames_of_the_whole(
    heard: Heard, transcriber: Transcriber, recording: Path, tmp_path: Path
) -> None:
    first, last = 40, 80
    part = tmp_path / "part.npz"
    transcriber.transcribe(recording, start=0.032 * first, end=0.032 * last, posteriors=part)
    found = arrays_in(part)
    for name in ("probabilities", "state", "velocity", "times"):
        wanted = heard.arrays[name][first : last + 1]
        # PyTorch sums windows of other lengths in another order.
        np.testing.assert_allclose(found[name], wanted, rtol=0, atol=1e-4)
        assert np.abs(wanted[1:] - wanted[:-1]).max() > 0.02  # what a frame more or less would be off by


def test_confidence_and_velocity_of_each_note_stand_at_its_frame(heard: Heard, tmp_path: Path) -> None:
    write_notes(tmp_path / "noise.csv", heard.asked.notes)
    probabilities, velocity = heard.arrays["probabilities"], heard.arrays["velocity"]
    notes = read_notes(tmp_path / "noise.csv")
    assert len({note.confidence for note in notes}) > 100
    for note in notes:
        frame, key = place_of(note, heard.arrays)
        both = probabilities[frame, key, ONSET] + probabilities[frame, key, REONSET]
        assert note.confidence == round(min(float(both), 1.0), 4)
        assert note.velocity == max(round(float(velocity[frame, key]) * 127), 1)


def frames_of(count: int, seed: int = 0) -> Frames:
    rng = np.random.default_rng(seed)
    state = rng.integers(0, 5, (count, PITCHES)).astype(np.int8)
    velocity, confidence, ending = rng.random((3, count, PITCHES), np.float32)
    probabilities = rng.random((count, PITCHES, 5), np.float32)
    return Frames(state, velocity, confidence, ending, probabilities)


def write(path: Path, parts: list[Frames], info: CheckpointInfo) -> None:
    with posterior_collector(path.parent) as collector:
        for part in parts:
            collector.push(part)
        collector.write(path, info, 0.0)


def test_what_is_written_is_what_was_decoded(info: CheckpointInfo, tmp_path: Path) -> None:
    parts = [frames_of(count, seed) for seed, count in enumerate((3, 0, 1))]
    write(tmp_path / "a.npz", parts, info)
    found = arrays_in(tmp_path / "a.npz")
    for name in ("probabilities", "state", "velocity"):
        expected = np.concatenate([getattr(part, name) for part in parts])
        assert found[name].dtype == expected.dtype
        np.testing.assert_array_equal(found[name], expected)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.npz"]


def test_a_view_of_a_batch_is_written_in_order(info: CheckpointInfo, tmp_path: Path) -> None:
    frames = frames_of(4)
    assert frames.probabilities is not None
    turned = frames.probabilities.transpose(2, 0, 1).copy().transpose(1, 2, 0)
    write(tmp_path / "a.npz", [frames._replace(probabilities=turned)], info)
    np.testing.assert_array_equal(arrays_in(tmp_path / "a.npz")["probabilities"], frames.probabilities)


def test_bytes_do_not_depend_on_the_clock_or_on_where_frames_are_cut(
    info: CheckpointInfo, tmp_path: Path
) -> None:
    frames = frames_of(9)
    write(tmp_path / "a.npz", [frames], info)
    write(tmp_path / "b.npz", [frames.part(slice(4)), frames.part(slice(4, None))], info)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with ZipFile(tmp_path / "a.npz") as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_memory_does_not_grow_with_the_recording(info: CheckpointInfo, tmp_path: Path) -> None:
    path, part = tmp_path / "a.npz", frames_of(64)
    tracemalloc.start()
    write(path, [part] * 300, info)  # 10 min
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 40e6
    assert peak < 4e6


def test_a_folder_that_is_missing_is_made(
    transcriber: Transcriber, recording: Path, heard: Heard, tmp_path: Path
) -> None:
    path = tmp_path / "new" / "folder" / "noise.npz"
    transcriber.transcribe(recording, start=1.25, end=1.75, posteriors=str(path))
    assert len(arrays_in(path)["times"]) == 16
    assert [entry.name for entry in path.parent.iterdir()] == ["noise.npz"]


def test_a_place_that_cannot_be_written_is_told_before_the_work(
    transcriber: Transcriber, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"noise\.npz: cannot be written"):
        transcriber.transcribe(tmp_path / "no.wav", posteriors=tmp_path / "file" / "noise.npz")
    with pytest.raises(OutputError, match="is there and is not a file"):
        transcriber.transcribe(tmp_path / "no.wav", posteriors=tmp_path)


def test_a_recording_that_cannot_be_read_leaves_nothing(transcriber: Transcriber, tmp_path: Path) -> None:
    path = tmp_path / "noise.npz"
    with pytest.raises(AudioError, match=r"no\.wav"):
        transcriber.transcribe(tmp_path / "no.wav", posteriors=path)
    assert list(tmp_path.iterdir()) == []


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes, as if the disk were full then."""
    resource = pytest.importorskip("resource", reason="no limits on files here")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# 4 s are 222 kB of probabilities and 280 kB in all.
@pytest.mark.parametrize("size", [100_000, 250_000], ids=["while decoding", "while writing"])
def test_a_disk_that_is_full_is_told_and_leaves_the_old_file(
    size: int, transcriber: Transcriber, recording: Path, tmp_path: Path
) -> None:
    path = tmp_path / "noise.npz"
    path.write_text("old")
    with (
        pytest.raises(OutputError, match=r"noise\.npz: cannot be written \(.*room on the disk"),
        largest_file(size),
    ):
        transcriber.transcribe(recording, posteriors=path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["noise.npz"]
    assert path.read_text() == "old"


class Interrupted(BaseException):
    pass


def test_an_interrupted_transcription_leaves_nothing(
    transcriber: Transcriber, recording: Path, tmp_path: Path
) -> None:
    def interrupt(seconds: float) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        transcriber.transcribe(recording, progress=interrupt, posteriors=tmp_path / "noise.npz")
    assert list(tmp_path.iterdir()) == []
