"""Crops: sound and labels stay together, chance is a function of seed and index, folders are read once."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from conftest import swelling_noise
from partranscribe.config import FrontEndConfig
from partranscribe.errors import DataError
from partranscribe.manifest import Entry, Manifest
from partranscribe.note_array import note_array
from partranscribe.note_io import write_notes
from partranscribe.notes import HIGHEST_PITCH, LOWEST_PITCH, OFF, OFFSET, ONSET, PITCHES, SUSTAIN, Note
from partranscribe.paths import sha256_of
from partranscribe.torch_frontend import TorchLogMel
from partranscribe.training import data
from partranscribe.training.augment import Augmenter, ContextNoise
from partranscribe.training.data import (
    Crop,
    Crops,
    Mixture,
    Recording,
    Recordings,
    labelled,
    load_folder,
    notes_near,
)
from partranscribe.training.labels import context_labels, frame_labels
from synth import melody, write_audio
from test_training_augment import augmenter, context_noise, room

RATE, FRAMES, MAX_DURATION = 16_000, 60, 157
FRONT_END = FrontEndConfig(n_mels=32)
FINE = FrontEndConfig(n_fft=512, hop_length=16, n_mels=32)  # a frame a millisecond
SILENT_NOTES = np.zeros((0, 4))


def crops_of(*recordings: Recording, frames: int = FRAMES, **settings: Any) -> Crops:
    """Crops without any augmentation but what is asked for."""
    usual: dict[str, Any] = {
        "front_end": FRONT_END,
        "max_duration": MAX_DURATION,
        "augmenter": augmenter(),
        "noise": context_noise(),
        "seed": 0,
        "first": 0,
        "count": 1000,
    }
    return Crops(Recordings(recordings, usual["front_end"]), frames=frames, **(usual | settings))


def as_integers(audio: NDArray[np.floating]) -> NDArray[np.int16]:
    integers: NDArray[np.int16] = np.round(np.clip(audio, -1, 1) * 32767).astype(np.int16)
    return integers


@pytest.fixture(scope="module")
def noise_recording() -> Recording:
    """12 s in which every place is found again, with notes of which some last longer than 5 s."""
    rng = np.random.default_rng(1)
    rows = []
    for pitch in range(30, 100, 3):
        time = rng.uniform(0, 2)
        while time < 12:
            end = time + rng.choice((0.05, 0.3, 1.0, 6.0, 9.0))
            rows.append((time, end, pitch, rng.integers(1, 128)))
            time = end + rng.choice((0.0, 0.5))
    audio = as_integers(0.5 * swelling_noise(1, 12 * RATE) + 0.02)
    return Recording("noise", audio, np.array(sorted(rows), np.float64))


@pytest.fixture(scope="module")
def click_recording() -> Recording:
    """20 s of notes of 0.1 s: a click upwards where each begins, and one downwards where it ends."""
    rng = np.random.default_rng(2)
    onsets = np.cumsum(rng.uniform(0.25, 0.4, 80))
    onsets = np.round(onsets[onsets < 19.8] * RATE) / RATE
    audio = np.zeros(20 * RATE)
    for onset in onsets:
        audio[round(onset * RATE)] = 0.9
        audio[round((onset + 0.1) * RATE)] = -0.9
    pitches = 21 + np.arange(len(onsets)) % 88
    notes = np.stack((onsets, onsets + 0.1, pitches, np.full(len(onsets), 64.0)), axis=1)
    return Recording("clicks", as_integers(audio), notes)


def place_of(crop: Crop, recording: Recording) -> int:
    """The sample of the recording at which an unchanged crop begins."""
    audio = recording.audio[:].astype(np.float64)
    heard = crop.audio.numpy().astype(np.float64)[:4096]
    size = len(audio) + len(heard)
    product = np.fft.rfft(audio, size) * np.conj(np.fft.rfft(heard, size))
    return int(np.fft.irfft(product, size)[: len(audio)].argmax())


def peak_frames(audio: NDArray[np.float32]) -> list[int]:
    """Frames of the fine front end at which the sound jumps upwards most, down to half of the most."""
    louder = np.flatnonzero(audio > 0.5 * audio.max())
    begins = louder[np.flatnonzero(np.diff(louder, prepend=-RATE) > RATE // 20)]
    strongest = [begin + int(audio[begin : begin + 160].argmax()) for begin in begins]
    return [round((place - FINE.n_fft // 2) / FINE.hop_length) for place in strongest]


def onset_frames(crop: Crop) -> list[int]:
    return torch.nonzero(crop.state == ONSET)[:, 0].tolist()


def within(frames: Sequence[int], count: int, margin: int = 30) -> list[int]:
    """Those that are not at the edge of the crop."""
    return [frame for frame in frames if margin <= frame < count - margin]


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"max_cents": 100.0},
        {"rooms": [room(1)]},
        {"max_cents": 100.0, "rooms": [room(2)], "equaliser_db": 3.0, "gain_db": 12.0},
        {"max_semitones": 3, "shifted_share": 1.0},
    ],
)
def test_labels_move_with_the_sound(click_recording: Recording, settings: dict[str, Any], index: int) -> None:
    frames = 4000
    crop = crops_of(click_recording, frames=frames, front_end=FINE, augmenter=augmenter(**settings))[index]
    audio = crop.audio.numpy()
    begins = within(peak_frames(audio), frames)
    labels = within(onset_frames(crop), frames)
    assert len(begins) == len(labels) > 3
    assert np.abs(np.subtract(begins, labels)).max() <= 2  # milliseconds
    ends = within(peak_frames(-audio), frames)
    offsets = within(torch.nonzero(crop.state == OFFSET)[:, 0].tolist(), frames)
    assert len(ends) == len(offsets) > 3
    assert np.abs(np.subtract(ends, offsets)).max() <= 2


def test_detuning_moves_labels_by_more_than_is_tolerated(click_recording: Recording) -> None:
    """So that the test above would see labels that stay where they were."""
    crops = crops_of(click_recording, frames=4000, front_end=FINE, augmenter=augmenter(max_cents=100.0))
    spreads = set()
    for index in range(6):
        first, *_, last = torch.nonzero(crops[index].state == ONSET).tolist()
        onsets = click_recording.notes[:, 0]
        passed = onsets[last[1]] - onsets[first[1]]
        spreads.add(round((last[0] - first[0]) - 1000 * passed))
    assert max(spreads) - min(spreads) > 100


def test_recordings_are_brought_to_the_level_as_a_whole(noise_recording: Recording) -> None:
    softer = Recording("softer", (noise_recording.audio[:] // 4).astype(np.int16), noise_recording.notes)
    front_end = FrontEndConfig(level=-35.0)
    for recording in (noise_recording, softer):
        source, plain = Recordings([recording], front_end), Recordings([recording], FRONT_END)
        drawn, as_it_is = (one.draw(RATE, 0, np.random.default_rng(3)).audio for one in (source, plain))
        gain = 10 ** (-35 / 20) / np.sqrt(np.mean((recording.audio[:] / 32768) ** 2))
        np.testing.assert_allclose(drawn, as_it_is * gain, rtol=0.05, atol=1e-4)


@pytest.mark.parametrize("index", range(6))
def test_labels_are_transposed_with_the_sound(index: int) -> None:
    """Of three keys, the outer ones are beyond the keyboard when they are shifted outwards."""
    audio = as_integers(0.3 * np.sin(2 * np.pi * 440 * np.arange(8 * RATE) / RATE))
    notes = np.array([(0.0, 8.0, pitch, 64) for pitch in (LOWEST_PITCH, 69, HIGHEST_PITCH)])
    settings = augmenter(max_semitones=3, shifted_share=1.0)
    crop = crops_of(Recording("tone", audio, notes), augmenter=settings)[index]
    heard = np.abs(np.fft.rfft(crop.audio.numpy()[:RATE])).argmax()
    semitones = round(12 * np.log2(heard / 440))
    assert semitones != 0
    sounding = (crop.state != OFF).any(dim=0).nonzero()[:, 0] + LOWEST_PITCH
    inner = HIGHEST_PITCH + semitones if semitones < 0 else LOWEST_PITCH + semitones
    assert sounding.tolist() == sorted((69 + semitones, inner))


@pytest.mark.parametrize("index", range(6))
def test_the_crop_is_labelled_as_the_place_it_is_from(noise_recording: Recording, index: int) -> None:
    crop = crops_of(noise_recording)[index]
    begin = place_of(crop, noise_recording)
    shifted = noise_recording.notes.copy()
    shifted[:, :2] -= (begin + FRONT_END.n_fft // 2) / RATE
    expected = frame_labels(shifted, 0, FRAMES, FRONT_END.frames_per_second)
    np.testing.assert_array_equal(crop.state.numpy(), expected.state)
    begins = expected.velocity > 0
    np.testing.assert_array_equal(crop.velocity.numpy()[begins], expected.velocity[begins])
    source = noise_recording.audio[begin : begin + len(crop.audio)] / 32768
    np.testing.assert_allclose(crop.audio.numpy()[: len(source)], source, atol=1e-6)


@pytest.mark.parametrize("index", range(6))
def test_the_context_is_that_of_the_whole_recording(noise_recording: Recording, index: int) -> None:
    crop = crops_of(noise_recording)[index]
    shifted = noise_recording.notes.copy()
    shifted[:, :2] -= (place_of(crop, noise_recording) + FRONT_END.n_fft // 2) / RATE
    long_before = 1000
    labels = frame_labels(shifted, -long_before, long_before + FRAMES, FRONT_END.frames_per_second)
    expected = context_labels(labels, MAX_DURATION)
    np.testing.assert_array_equal(crop.context_state.numpy(), expected.state[long_before:])
    np.testing.assert_allclose(crop.context_duration.numpy(), expected.duration[long_before:], atol=1e-6)
    np.testing.assert_array_equal(crop.context_velocity.numpy(), expected.velocity[long_before:])
    assert (crop.context_duration == 1).any()  # a note of more than 5 s is among them


def test_the_context_is_one_frame_late(noise_recording: Recording) -> None:
    crop = crops_of(noise_recording)[0]
    assert torch.equal(crop.context_state[1:], crop.state[:-1])


def test_crops_have_the_shapes_that_the_network_takes(noise_recording: Recording) -> None:
    crop = crops_of(noise_recording, augmenter=Augmenter(rooms=[room(3)]), noise=ContextNoise())[0]
    assert crop.audio.shape == (4096 + (FRAMES - 1) * 512,)
    assert crop.audio.dtype == torch.float32
    for name in ("state", "velocity", "context_state", "context_duration", "context_velocity"):
        assert getattr(crop, name).shape == (FRAMES, PITCHES)
    assert {crop.state.dtype, crop.context_state.dtype} == {torch.int8}
    assert {crop.velocity.dtype, crop.context_duration.dtype, crop.context_velocity.dtype} == {torch.float32}
    assert TorchLogMel(FRONT_END).padded(crop.audio).shape == (FRAMES, 32)


def test_crops_are_stacked_to_batches(noise_recording: Recording) -> None:
    loader: DataLoader[Crop] = DataLoader(crops_of(noise_recording, count=5), batch_size=3)
    batches = list(loader)
    assert [batch.state.shape for batch in batches] == [(3, FRAMES, PITCHES), (2, FRAMES, PITCHES)]


def test_the_same_seed_and_index_give_the_same_crop(
    noise_recording: Recording, click_recording: Recording
) -> None:
    settings: dict[str, Any] = {"augmenter": Augmenter(rooms=[room(4), room(5)]), "noise": ContextNoise()}
    recordings = (noise_recording, click_recording)
    crops = crops_of(*recordings, **settings)
    fifth = crops[5]
    others = {
        "another index": crops[6],
        "another seed": crops_of(*recordings, seed=1, **settings)[5],
    }
    crops[3]  # what was read before does not matter
    again = {
        "the same": crops[5],
        "a later beginning": crops_of(*recordings, first=4, **settings)[1],
    }
    for crop in again.values():
        assert all(torch.equal(one, other) for one, other in zip(fifth, crop, strict=True))
    for crop in others.values():
        assert not torch.equal(fifth.audio, crop.audio)


def test_the_recordings_are_left_as_they_are(noise_recording: Recording) -> None:
    audio, notes = noise_recording.audio[:].copy(), noise_recording.notes.copy()
    crops = crops_of(noise_recording, augmenter=Augmenter(rooms=[room(6)]), noise=ContextNoise())
    for index in range(4):
        crops[index]
    np.testing.assert_array_equal(noise_recording.audio[:], audio)
    np.testing.assert_array_equal(noise_recording.notes, notes)


def test_there_are_as_many_crops_as_were_asked_for(noise_recording: Recording) -> None:
    crops = crops_of(noise_recording, count=3)
    assert len(crops) == 3
    with pytest.raises(IndexError):
        crops[3]
    assert len(list(crops)) == 3  # type: ignore[call-overload]


def test_longer_recordings_are_drawn_more_often() -> None:
    quiet = Recording("quiet", np.full(2 * RATE, 100, np.int16), SILENT_NOTES)
    loud = Recording("loud", np.full(18 * RATE, 10_000, np.int16), SILENT_NOTES)
    crops = crops_of(quiet, loud, frames=4)
    drawn = [float(crops[index].audio.max()) > 0.1 for index in range(200)]
    assert 160 <= sum(drawn) <= 196


def test_a_mixture_draws_each_source_by_its_share(noise_recording: Recording) -> None:
    silence = Recording("silence", np.zeros(30 * RATE, np.int16), SILENT_NOTES)
    sources = (Recordings([noise_recording], FRONT_END), Recordings([silence], FRONT_END))
    mixture, rng = Mixture([(3.0, sources[0]), (1.0, sources[1])]), np.random.default_rng(0)
    heard = [bool(mixture.draw(RATE, 0, rng).audio.any()) for _ in range(200)]
    assert 130 <= sum(heard) <= 170


@pytest.mark.parametrize("lead", [0, RATE])
def test_a_passage_may_begin_so_much_before_the_piece_but_not_more(lead: int) -> None:
    piece = Recording("piece", np.full(4 * RATE, 1000, np.int16), SILENT_NOTES)
    source, rng = Recordings([piece], FRONT_END), np.random.default_rng(0)
    silent = [int(np.argmax(source.draw(2 * RATE, lead, rng).audio != 0)) for _ in range(200)]
    assert max(silent) <= lead
    assert max(silent) >= 0.9 * lead
    assert min(silent) == 0


def test_notes_near_a_passage_sound_within_a_second_of_it() -> None:
    ends = [(-3.0, -1.1), (-3.0, -0.9), (-3.0, 9.0), (2.9, 3.5), (3.1, 3.5)]
    notes = np.array([(onset, offset, 60, 64) for onset, offset in ends])
    np.testing.assert_array_equal(notes_near(notes, 2.0), notes[1:4])


def test_a_recording_shorter_than_a_crop_is_followed_by_silence() -> None:
    short = Recording("short", np.full(RATE, 1000, np.int16), note_array([Note(0.2, 0.5, 60, 64)]))
    crop = crops_of(short, frames=FRAMES)[0]
    assert crop.audio.shape == (4096 + (FRAMES - 1) * 512,)
    assert crop.audio[:1000].abs().max() > 0.01
    assert crop.audio[RATE + 100 :].abs().max() < 1e-6


def test_a_blank_context_leaves_sound_and_labels(noise_recording: Recording) -> None:
    plain = crops_of(noise_recording)[0]
    blank = crops_of(noise_recording, noise=context_noise(blank=1.0))[0]
    assert torch.equal(plain.audio, blank.audio)
    assert torch.equal(plain.state, blank.state)
    assert plain.context_state.any()
    for part in (blank.context_state, blank.context_duration, blank.context_velocity):
        assert not part.any()


def test_a_wrong_context_leaves_sound_and_labels(noise_recording: Recording) -> None:
    plain = crops_of(noise_recording)[0]
    wrong = crops_of(noise_recording, noise=context_noise(dropped=1.0, invented=5.0))[0]
    assert torch.equal(plain.audio, wrong.audio)
    begins = plain.state == ONSET
    assert torch.equal(plain.state[begins], wrong.state[begins])
    assert torch.equal(plain.velocity[begins], wrong.velocity[begins])
    assert not torch.equal(plain.context_state, wrong.context_state)
    assert wrong.context_state.any()


def test_notes_that_last_too_long_in_the_context_are_labelled_as_ended(
    noise_recording: Recording,
) -> None:
    plain = crops_of(noise_recording)[0]
    late = crops_of(noise_recording, noise=context_noise(lengthened=1.0, extra_seconds=0.5))[0]
    held = (late.context_state == SUSTAIN) & (plain.context_state == OFF)
    assert held.any()
    assert (late.state[held & (plain.state == OFF)] == OFF).all()
    assert torch.equal(late.state == OFFSET, plain.state == OFFSET)


def write_pair(folder: Path, name: str, ending: str, notes: Sequence[Note], rate: int = RATE) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_audio(folder / f"{name}.wav", melody(notes, rate), rate)
    write_notes(folder / f"{name}{ending}", notes)


def test_a_folder_is_its_recordings_that_have_notes(tmp_path: Path) -> None:
    notes = [Note(0.5, 1.0, 60, 64), Note(0.75, 1.25, 64, 100)]
    folder = tmp_path / "pieces"
    write_pair(folder, "b", ".mid", notes)
    write_pair(folder / "deeper", "a", ".tsv", notes[:1], rate=44_100)
    write_audio(folder / "c.wav", melody(notes, RATE), RATE)
    found = load_folder(folder, tmp_path / "cache", RATE)
    assert [recording.name for recording in found] == ["b", "a"]
    np.testing.assert_allclose(found[0].notes, note_array(notes), atol=1e-3)
    np.testing.assert_allclose(found[1].notes, note_array(notes[:1]), atol=1e-3)
    for recording in found:
        seconds = recording.notes[:, 1].max() + 0.5
        assert recording.audio[:].dtype == np.int16
        assert len(recording.audio) == pytest.approx(seconds * RATE, abs=2)
    np.testing.assert_allclose(found[0].audio[:] / 32767, melody(notes, RATE), atol=1e-4)
    onset = int(np.flatnonzero(np.abs(found[1].audio[:]) > 300)[0])
    assert onset / RATE == pytest.approx(0.5, abs=0.005)


def test_audio_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, cache = tmp_path / "pieces", tmp_path / "cache"
    write_pair(folder, "a", ".csv", [Note(0.5, 1.0, 60, 64)])
    (first,) = load_folder(folder, cache, RATE)
    monkeypatch.setattr(data, "read_blocks", None)
    (again,) = load_folder(folder, cache, RATE)
    np.testing.assert_array_equal(first.audio[:], again.audio[:])
    assert len(list(cache.rglob("*.npy"))) == 1


def test_the_splits_of_maestro_are_kept(tmp_path: Path) -> None:
    folder, rows = tmp_path / "maestro-v3.0.0", ["canonical_title,split,midi_filename,audio_filename"]
    for name, split in (("a", "train"), ("b", "validation"), ("c", "test"), ("d", "train")):
        write_pair(folder / "2004", name, ".midi" if name == "a" else ".mid", [Note(0.5, 1.0, 60, 64)])
        rows.append(f"Étude {name},{split},2004/{name}.midi,2004/{name}.wav")
    (folder / "maestro-v3.0.0.csv").write_text("\n".join(rows), encoding="utf-8")
    found = load_folder(folder, tmp_path / "cache", RATE)
    assert [(one.name, one.held_out) for one in found] == [("a", False), ("b", True), ("d", False)]
    assert len(list((tmp_path / "cache").iterdir())) == 3
    (folder / "maestro-v3.0.0.csv").write_text("title,split\nÉtude,train\n", encoding="utf-8")
    with pytest.raises(DataError, match="audio_filename"):
        load_folder(folder, tmp_path / "cache", RATE)


def test_the_splits_of_maestro_are_kept_of_converted_audio_and_of_one_year(tmp_path: Path) -> None:
    folder, rows = tmp_path / "maestro-v3.0.0", ["split,audio_filename"]
    for name, split in (("a", "train"), ("b", "validation"), ("c", "test")):
        write_pair(folder / "2004", name, ".mid", [Note(0.5, 1.0, 60, 64)])
        rows.append(f"{split},2004/{name}.mp3")
    (folder / "maestro-v3.0.0.csv").write_text("\n".join(rows), encoding="utf-8")
    found = load_folder(folder / "2004", tmp_path / "cache", RATE)
    assert [(one.name, one.held_out) for one in found] == [("a", False), ("b", True)]
    write_pair(folder / "2004", "d", ".mid", [Note(0.5, 1.0, 60, 64)])
    with pytest.raises(DataError, match=r"d\.wav: the table of MAESTRO does not name it"):
        load_folder(folder, tmp_path / "cache", RATE)


def test_recordings_that_are_linked_to_are_those_of_the_table(tmp_path: Path) -> None:
    folder = tmp_path / "maestro-v3.0.0"
    write_pair(tmp_path / "store", "0a1b", ".mid", [Note(0.5, 1.0, 60, 64)])
    folder.mkdir()
    for ending in (".wav", ".mid"):
        (folder / f"a{ending}").symlink_to(tmp_path / "store" / f"0a1b{ending}")
    (folder / "maestro-v3.0.0.csv").write_text("split,audio_filename\nvalidation,a.wav\n", encoding="utf-8")
    (found,) = load_folder(folder, tmp_path / "cache", RATE)
    assert found.held_out


@pytest.mark.parametrize("table", ["split,audio_filename\ntest,2004/a.wav\n", "title\nmine\n"])
def test_a_table_that_names_nothing_of_a_folder_says_nothing_of_it(table: str, tmp_path: Path) -> None:
    (tmp_path / "maestro-v3.0.0.csv").write_text(table, encoding="utf-8")
    write_pair(tmp_path / "mine", "a", ".mid", [Note(0.5, 1.0, 60, 64)])
    (found,) = load_folder(tmp_path / "mine", tmp_path / "cache", RATE)
    assert not found.held_out


def test_what_was_transcribed_is_no_ground_truth(tmp_path: Path) -> None:
    write_pair(tmp_path, "a", ".tsv", [Note(0.5, 1.0, 60, 64)])
    write_notes(tmp_path / "a.mid", [Note(0.5, 1.0, 61, 64)])
    assert [labels.name for _, labels in labelled(tmp_path)] == ["a.mid"]
    made = {"midi": sha256_of(tmp_path / "a.mid")}
    Manifest(tmp_path).add(Entry("a", "a.wav", 0, 0, "", {}, made, 1, 1.0, 1.0))
    assert [labels.name for _, labels in labelled(tmp_path)] == ["a.tsv"]


def test_no_file_of_decoded_audio_stays_open(tmp_path: Path) -> None:
    write_pair(tmp_path / "pieces", "a", ".csv", [Note(0.5, 1.0, 60, 64)])
    (found,) = load_folder(tmp_path / "pieces", tmp_path / "cache", RATE)
    (stored,) = (tmp_path / "cache").iterdir()
    whole = np.load(stored)
    assert len(found.audio) == len(whole)
    np.testing.assert_array_equal(found.audio[100:300], whole[100:300])
    assert len(pickle.dumps(found.audio)) < 1000
    stored.unlink()
    with pytest.raises(FileNotFoundError):
        found.audio[100:300]


def test_changed_audio_is_decoded_again(tmp_path: Path) -> None:
    folder, cache = tmp_path / "pieces", tmp_path / "cache"
    write_pair(folder, "a", ".csv", [Note(0.5, 1.0, 60, 64)])
    (first,) = load_folder(folder, cache, RATE)
    write_pair(folder, "a", ".csv", [Note(0.5, 2.0, 60, 64)])
    (again,) = load_folder(folder, cache, RATE)
    assert len(again.audio) == len(first.audio) + RATE


def test_recordings_of_one_name_in_two_folders_stay_apart(tmp_path: Path) -> None:
    for place, seconds in (("x", 1.0), ("y", 2.0)):
        write_pair(tmp_path / place / "pieces", "a", ".csv", [Note(0.5, 0.5 + seconds, 60, 64)])
    lengths = [len(load_folder(tmp_path / p / "pieces", tmp_path / "cache", RATE)[0].audio) for p in "xy"]
    assert lengths == [2 * RATE, 3 * RATE]


def test_audio_without_notes_is_no_recording_and_is_not_decoded(tmp_path: Path) -> None:
    folder, cache = tmp_path / "pieces", tmp_path / "cache"
    folder.mkdir()
    write_audio(folder / "a.wav", melody([Note(0.0, 0.2, 60, 64)], RATE), RATE)
    assert load_folder(folder, cache, RATE) == []
    assert not cache.exists()
