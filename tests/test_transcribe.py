"""Audio to notes: no seam where the audio is cut, times from the start of the file, and what is told."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from conftest import TINY, swelling_noise
from partranscribe.attacks import Attack, attacks_of
from partranscribe.audio import read_blocks
from partranscribe.config import DOUBTFUL, DecodeConfig
from partranscribe.dynamics import evened
from partranscribe.endings import Ending, endings_of
from partranscribe.errors import AudioError, CheckpointError, DeviceError
from partranscribe.frontend import Spans
from partranscribe.ghosts import without_ghosts
from partranscribe.model import Par
from partranscribe.notes import LOWEST_PITCH, Note, Place, in_order
from partranscribe.offsets import FEATURES, chosen
from partranscribe.released import released
from partranscribe.score import begun_between
from partranscribe.timings import Timings
from partranscribe.torch_checkpoint import load_checkpoint, save_checkpoint
from partranscribe.torch_decode import begin_decoding
from partranscribe.transcribe import Transcriber, Transcription
from partranscribe.units import Units
from partranscribe.velocities import VELOCITY_FEATURES, corrected
from partranscribe.windows import Features, WindowCutter, windows
from synth import ending_network, ghost_network, offset_network, random_units, write_audio

RATE = 16_000
ENDINGS = ending_network(4, TINY.model.hidden_per_pitch)


@pytest.fixture(scope="module")
def transcriber(tiny_checkpoint: Path) -> Transcriber:
    return Transcriber(tiny_checkpoint, "cpu")


@pytest.fixture(scope="module")
def audio() -> NDArray[np.float32]:
    """10 s, which the front end computes in three groups."""
    return swelling_noise(21, 10 * RATE + 77)


@pytest.fixture(scope="module")
def whole(transcriber: Transcriber, audio: NDArray[np.float32]) -> Transcription:
    return transcriber.transcribe_audio(audio)


def blocks_of(audio: NDArray[np.float32], size: int) -> Iterator[NDArray[np.float32]]:
    return (audio[start : start + size] for start in range(0, len(audio), size))


def at_level(transcriber: Transcriber, folder: Path) -> Path:
    """A checkpoint of the same network whose front end brings recordings to a level."""
    front_end = replace(transcriber.info.config.front_end, level=-20.0)
    path = folder / "level.safetensors"
    config = replace(transcriber.info.config, front_end=front_end)
    model, _ = load_checkpoint(transcriber.info.path)
    save_checkpoint(path, model, config, name="level", training={})
    return path


@pytest.mark.parametrize("size", [100, 5000, 65_536])
def test_notes_do_not_depend_on_where_the_audio_is_cut(
    transcriber: Transcriber, audio: NDArray[np.float32], whole: Transcription, size: int
) -> None:
    assert len(whole.notes) > 200
    assert transcriber.transcribe_blocks(blocks_of(audio, size)) == whole


def test_a_copy_of_another_loudness_gives_the_same_notes(
    transcriber: Transcriber, audio: NDArray[np.float32], tmp_path: Path
) -> None:
    levelled = Transcriber(at_level(transcriber, tmp_path), "cpu")
    write_audio(tmp_path / "soft.wav", audio / 4, RATE, subtype="FLOAT")
    found = [levelled.transcribe_audio(audio / divisor).notes for divisor in (1, 4)]
    found += [levelled.transcribe(tmp_path / "soft.wav").notes]
    keys = [[(note.onset, note.offset, note.pitch) for note in notes] for notes in found]
    assert keys[0] == keys[1] == keys[2]
    assert len(keys[0]) > 100
    as_they_are = [transcriber.transcribe_audio(audio / divisor).notes for divisor in (1, 4)]
    assert as_they_are[0] != as_they_are[1]


@pytest.mark.parametrize("together", [1, 2])
def test_progress_is_told_while_the_loudness_is_measured(
    transcriber: Transcriber, audio: NDArray[np.float32], tmp_path: Path, together: int
) -> None:
    levelled = Transcriber(at_level(transcriber, tmp_path), "cpu", together=together)
    paths = [tmp_path / f"{index}.wav" for index in range(2)]
    for path in paths:
        write_audio(path, audio, RATE)  # more than one block of 10 s
    told: list[tuple[int, float]] = []
    list(levelled.transcribe_several(paths, progress=lambda index, seconds: told.append((index, seconds))))
    for index in range(2):
        seconds = [seconds for one, seconds in told if one == index]
        assert seconds[:2] == [0, 0]
        assert 0 < seconds[2] <= seconds[-1] == pytest.approx(len(audio) / RATE)


def test_velocities_are_evened_where_the_settings_say_so(
    tiny_checkpoint: Path, audio: NDArray[np.float32], whole: Transcription, tmp_path: Path
) -> None:
    even = Transcriber(tiny_checkpoint, "cpu", decode=DecodeConfig(even_velocities=True), together=2)
    found = even.transcribe_audio(audio)
    assert found.notes == evened(whole.notes)
    assert found.notes != whole.notes
    write_audio(tmp_path / "a.wav", audio, RATE, subtype="FLOAT")
    assert [*even.transcribe_several([tmp_path / "a.wav"] * 2)] == [found] * 2


@pytest.mark.parametrize("network", [offset_network(), random_units(3, FEATURES)], ids=["latest", "any"])
def test_offsets_are_chosen_where_the_settings_say_so(
    lively: Par, audio: NDArray[np.float32], whole: Transcription, tmp_path: Path, network: Units
) -> None:
    config = replace(TINY, decode=DecodeConfig(choose_offsets=True, even_velocities=True))
    path = tmp_path / "chooses.safetensors"
    save_checkpoint(path, lively, config, name="chooses", offsets=network, endings=ENDINGS)
    choosing = Transcriber(path, "cpu", together=2)
    found = choosing.transcribe_audio(audio)
    assert found.notes == evened(chosen(whole.notes, endings_in_all(choosing, audio, whole), network))
    assert found.notes != evened(whole.notes)
    assert Transcriber(path, "cpu", decode=DecodeConfig()).transcribe_audio(audio) == whole
    assert choosing.transcribe_blocks(blocks_of(audio, 5000), tuning=found.tuning) == found
    write_audio(tmp_path / "a.wav", audio, RATE, subtype="FLOAT")
    assert [*choosing.transcribe_several([tmp_path / "a.wav"] * 2)] == [found] * 2


def endings_in_all(
    transcriber: Transcriber, audio: NDArray[np.float32], heard: Transcription
) -> dict[Place, Ending]:
    """Of what was heard in audio that was taken as it is, all at once."""
    engine, front_end = transcriber.engine, transcriber.info.config.front_end
    spans = Spans(front_end, transcriber.group_frames)
    mels = (engine.mels([span], heard.tuning)[0] for span in (*spans.push(audio), *spans.finish()))
    cut = windows(mels, WindowCutter(transcriber.info.config.model.margin_frames, engine.join))
    parts = [engine.to_numpy(part.note)[0] for part in engine.features(cut, Timings())]
    assert transcriber.endings is not None
    return endings_of(transcriber.endings, np.concatenate(parts), heard.notes, front_end.seconds_per_frame)


def attacks_in_all(audio: NDArray[np.float32], heard: Transcription) -> dict[Place, Attack]:
    """Of what was heard in audio that was taken as it is."""
    places = [(note.onset, note.pitch) for note in heard.notes]
    return dict(zip(places, attacks_of(audio, places, RATE, heard.tuning), strict=True))


def test_velocities_are_corrected_where_the_checkpoint_has_a_network_for_it(
    lively: Par, audio: NDArray[np.float32], whole: Transcription, tmp_path: Path
) -> None:
    units, offsets = random_units(4, VELOCITY_FEATURES), offset_network()
    config = replace(TINY, decode=DecodeConfig(choose_offsets=True, even_velocities=True))
    path = tmp_path / "corrects.safetensors"
    save_checkpoint(path, lively, config, name="corrects", offsets=offsets, endings=ENDINGS, velocities=units)
    found = Transcriber(path, "cpu").transcribe_audio(audio)
    ended = chosen(whole.notes, endings_in_all(Transcriber(path, "cpu"), audio, whole), offsets)
    assert found.notes == corrected(ended, attacks_in_all(audio, whole), units)
    assert found.notes != evened(ended)
    cut = Transcriber(path, "cpu", together=2)
    assert cut.transcribe_blocks(blocks_of(audio, 5000), tuning=found.tuning) == found
    write_audio(tmp_path / "a.wav", audio, RATE, subtype="FLOAT")
    assert [*cut.transcribe_several([tmp_path / "a.wav"] * 2)] == [found] * 2
    part = cut.transcribe(tmp_path / "a.wav", start=4.0, end=9.0)
    assert len(part.notes) > 20
    assert [*cut.transcribe_several([tmp_path / "a.wav"], start=4.0, end=9.0)] == [part]
    assert Transcriber(path, "cpu", decode=DecodeConfig()).transcribe_audio(audio) == whole


def test_ghosts_are_left_out_before_all_else(
    lively: Par, audio: NDArray[np.float32], whole: Transcription, tmp_path: Path
) -> None:
    ghosts, velocities = ghost_network(0.5), random_units(4, VELOCITY_FEATURES)
    config = replace(TINY, decode=DecodeConfig(drop_ghosts=True, even_velocities=True))
    path = tmp_path / "drops.safetensors"
    save_checkpoint(path, lively, config, name="drops", ghosts=ghosts, velocities=velocities)
    found = Transcriber(path, "cpu").transcribe_audio(audio).notes
    lower = DecodeConfig(onset_bias=DOUBTFUL, reonset_bias=DOUBTFUL)
    heard = Transcriber(path, "cpu", decode=lower).transcribe_audio(audio)
    left = without_ghosts(heard.notes, ghosts)
    assert found == corrected(left, attacks_in_all(audio, heard), velocities)
    assert 0 < len(found) < len(heard.notes)
    assert Transcriber(path, "cpu", decode=DecodeConfig()).transcribe_audio(audio) == whole


def test_the_same_audio_gives_the_same_notes(
    transcriber: Transcriber, audio: NDArray[np.float32], whole: Transcription
) -> None:
    transcriber.transcribe_audio(swelling_noise(22, 3 * RATE))  # what was heard before is forgotten
    assert transcriber.transcribe_audio(audio) == whole


def test_the_beginning_of_a_recording_does_not_hear_its_end(
    transcriber: Transcriber, audio: NDArray[np.float32], whole: Transcription
) -> None:
    seconds = 6.0
    part = transcriber.transcribe_audio(audio[: round(seconds * RATE)])
    settled = seconds - 0.5  # the window, the margin and the reflected end reach less far
    begun = [[note.onset for note in one.notes if note.offset < settled] for one in (part, whole)]
    assert begun[0] == begun[1]
    assert len(begun[0]) > 100


def test_notes_are_in_order_within_the_recording_and_do_not_overlap(
    audio: NDArray[np.float32], whole: Transcription
) -> None:
    assert whole.duration == len(audio) / RATE
    assert whole.notes == in_order(whole.notes)
    assert max(note.offset for note in whole.notes) <= whole.duration
    for pitch in {note.pitch for note in whole.notes}:
        of_pitch = [note for note in whole.notes if note.pitch == pitch]
        assert all(one.offset <= other.onset for one, other in pairwise(of_pitch))


def test_no_note_begins_in_the_last_frame(tiny_checkpoint: Path, audio: NDArray[np.float32]) -> None:
    restless = Transcriber(tiny_checkpoint, "cpu", DecodeConfig(onset_bias=1e4))
    transcription = restless.transcribe_audio(audio[: 8 * 512])  # frames 0 to 8, the last of them at the end
    onsets = sorted({note.onset for note in transcription.notes})
    np.testing.assert_allclose(onsets, np.arange(7) * 0.032)


def test_progress_rises_to_the_duration(transcriber: Transcriber, audio: NDArray[np.float32]) -> None:
    for samples in (len(audio), 20 * 512, 2049):
        done: list[float] = []
        transcriber.transcribe_blocks(blocks_of(audio[:samples], 5000), progress=done.append)
        assert done == sorted(done)
        assert done[0] > 0
        assert done[-1] == samples / RATE


@pytest.mark.parametrize(
    ("start", "end"),
    [(0.0, 7.0), (1.92, 7.0), (1.92, None), (1.92, 1.93), (1.92, 9.99), (1.92, 50.0)],  # whole frames before
)
def test_an_excerpt_has_the_notes_of_the_file(
    start: float, end: float | None, transcriber: Transcriber, audio: NDArray[np.float32], tmp_path: Path
) -> None:
    path = write_audio(tmp_path / "noise.wav", audio, RATE)
    whole = transcriber.transcribe(path)
    last = min(whole.duration, 50.0 if end is None else end)
    part = transcriber.transcribe(path, start=start, end=end)
    assert part.duration == pytest.approx(last - start)
    expected = begun_between(whole.notes, start, last)
    assert len(expected) > (50 if last - start > 1 else 0)
    assert len(part.notes) == len(expected)
    for note, one in zip(part.notes, expected, strict=True):
        assert (note.onset, note.offset) == pytest.approx((one.onset, one.offset))
        assert replace(note, onset=0, offset=1) == replace(one, onset=0, offset=1)
    (together,) = transcriber.transcribe_several([path], start=start, end=end)
    assert together == part


def test_no_note_is_struck_at_the_edges_of_an_excerpt() -> None:
    if not released():
        pytest.skip("no trained weights are released")
    transcriber, path = Transcriber(device="cpu"), Path(__file__).parent.parent / "examples" / "prelude.flac"
    whole = [(note.pitch, note.onset) for note in transcriber.transcribe(path).notes]
    for start, end in ((3.1, 6.07), (11.4, 14.33), (20.2, 23.1)):
        found = [
            (note.pitch, note.onset) for note in transcriber.transcribe(path, start=start, end=end).notes
        ]
        there = [(pitch, onset) for pitch, onset in whole if start <= onset < end]
        assert [pitch for pitch, _ in found] == [pitch for pitch, _ in there]
        np.testing.assert_allclose([onset for _, onset in found], [onset for _, onset in there], atol=0.03)


def test_no_note_is_struck_where_a_recording_breaks_off() -> None:
    if not released():
        pytest.skip("no trained weights are released")
    transcriber, path = Transcriber(device="cpu"), Path(__file__).parent.parent / "examples" / "prelude.flac"
    audio = np.concatenate(list(read_blocks(path, RATE, end=30.0)))
    whole = [(note.pitch, note.onset) for note in transcriber.transcribe_audio(audio).notes]
    for end in (2.0, 5.37, 8.4, 12.0, 15.6, 19.9, 23.1, 26.6):
        found = transcriber.transcribe_audio(audio[: round(end * RATE)]).notes
        there = [pitch for pitch, onset in whole if onset < end - 0.2]
        assert [note.pitch for note in found][: len(there)] == there
        late = {pitch for pitch, onset in whole if end - 0.25 < onset < end}
        assert {note.pitch for note in found[len(there) :]} <= late


def test_a_file_of_another_rate_has_the_same_length(transcriber: Transcriber, tmp_path: Path) -> None:
    path = write_audio(tmp_path / "noise.flac", swelling_noise(23, 3 * 44_100), 44_100)
    assert transcriber.transcribe(path).duration == pytest.approx(3.0, abs=1e-3)


def test_silence_can_be_transcribed(transcriber: Transcriber) -> None:
    transcription = transcriber.transcribe_audio(np.zeros(3 * RATE, np.float32))
    assert transcription.duration == 3.0


@pytest.mark.parametrize("samples", [1, 1000, 2048])
def test_a_recording_too_short_for_a_spectrum_is_named(
    transcriber: Transcriber, tmp_path: Path, samples: int
) -> None:
    path = write_audio(tmp_path / "blip.wav", np.zeros(samples), RATE)
    with pytest.raises(
        AudioError, match=r"blip\.wav: .* s of audio, and one spectrum needs 0\.128 s"
    ) as error:
        transcriber.transcribe(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("samples", [0, 1, 2048])
def test_too_little_audio_in_memory_is_told(transcriber: Transcriber, samples: int) -> None:
    with pytest.raises(AudioError, match="one spectrum needs"):
        transcriber.transcribe_audio(np.zeros(samples, np.float32))


def test_half_a_window_and_a_sample_are_enough(transcriber: Transcriber, tmp_path: Path) -> None:
    path = write_audio(tmp_path / "blip.wav", np.zeros(2049), RATE)
    assert transcriber.transcribe(path).duration == 2049 / RATE


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Recordings of many lengths: of several windows, of one, of one frame; too short; and not audio."""
    folder = tmp_path_factory.mktemp("several")
    samples = (5 * RATE, 4 * RATE + 5, 5 * RATE, 1000, 2049, 9 * RATE)
    paths = [
        write_audio(folder / f"{number}.wav", swelling_noise(30 + number, length), RATE)
        for number, length in enumerate(samples)
    ]
    paths.insert(2, folder / "no.wav")
    paths[2].write_bytes(b"no audio")
    return paths


def same(found: Transcription | AudioError, expected: Transcription | AudioError) -> bool:
    """Whether they are the same, but for the last bits: of the confidence, and a velocity that they round."""
    if isinstance(found, AudioError) or isinstance(expected, AudioError):
        return str(found) == str(expected)
    bare = [[replace(note, confidence=0.0, velocity=1) for note in one.notes] for one in (found, expected)]
    louder = [one.velocity - other.velocity for one, other in zip(found.notes, expected.notes, strict=False)]
    return bare[0] == bare[1] and found.duration == expected.duration and set(louder) <= {-1, 0, 1}


@pytest.mark.parametrize("together", [1, 2, 3, 16])
def test_several_recordings_are_transcribed_like_each_alone(
    tiny_checkpoint: Path, several: list[Path], together: int
) -> None:
    transcriber = Transcriber(tiny_checkpoint, "cpu", engine="torch", together=together)
    expected: list[Transcription | AudioError] = []
    for path in several:
        try:
            expected.append(transcriber.transcribe(path))
        except AudioError as error:
            expected.append(error)
    assert [isinstance(one, AudioError) for one in expected] == [
        False,
        False,
        True,
        False,
        True,
        False,
        False,
    ]
    found = list(transcriber.transcribe_several(several))
    assert [same(one, other) for one, other in zip(found, expected, strict=True)] == [True] * len(several)


def test_progress_of_several_recordings_is_that_of_each(tiny_checkpoint: Path, several: list[Path]) -> None:
    transcriber = Transcriber(tiny_checkpoint, "cpu", together=2)
    told: dict[int, list[float]] = {}
    paths = [several[0], several[1], several[6]]
    for _ in transcriber.transcribe_several(
        paths, progress=lambda i, done: told.setdefault(i, []).append(done)
    ):
        pass
    assert {index: seconds[-1] for index, seconds in told.items()} == {0: 5.0, 1: 4 + 5 / RATE, 2: 9.0}
    assert all(seconds == sorted(seconds) for seconds in told.values())


def test_the_next_recordings_are_read_while_some_are_transcribed(
    transcriber: Transcriber, audio: NDArray[np.float32], tmp_path: Path
) -> None:
    levelled = Transcriber(at_level(transcriber, tmp_path), "cpu", together=1)
    paths = [tmp_path / f"{index}.wav" for index in range(2)]
    for path in paths:
        write_audio(path, audio, RATE)
    read, waited = threading.Event(), []

    def progress(index: int, seconds: float) -> None:
        if index == 1:
            read.set()
        elif seconds:
            waited.append(read.wait(10))

    expected = levelled.transcribe(paths[0])
    before = threading.active_count()
    found = levelled.transcribe_several(paths, progress=progress)
    assert isinstance(found, Generator)
    assert next(found) == expected
    assert waited
    assert all(waited)
    found.close()  # while the second one is being read
    assert threading.active_count() == before


def test_with_too_little_memory_fewer_are_taken_together(
    tiny_checkpoint: Path, several: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    transcriber = Transcriber(tiny_checkpoint, "cpu", engine="torch", together=4)
    expected = list(transcriber.transcribe_several(several))
    sizes: list[int] = []

    def scarce(model: Par, features: Features, *arguments: Any, **named: Any) -> Any:
        sizes.append(len(features.note))
        if len(features.note) > 2:
            raise torch.cuda.OutOfMemoryError
        return begin_decoding(model, features, *arguments, **named)

    monkeypatch.setattr("partranscribe.torch_engine.begin_decoding", scarce)
    with pytest.warns(
        UserWarning, match="cpu: not enough memory for 4 recordings at once; goes on with 2"
    ) as told:
        found = list(transcriber.transcribe_several(several))
    assert len(told) == 1
    assert [same(one, other) for one, other in zip(found, expected, strict=True)] == [True] * len(several)
    assert sizes.count(4) == 1
    assert transcriber.together == 2


def test_without_memory_for_one_recording_the_remedy_is_told(
    tiny_checkpoint: Path, several: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object, **__: object) -> None:
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr("partranscribe.torch_engine.begin_decoding", exhausted)
    transcriber = Transcriber(tiny_checkpoint, "cpu", engine="torch", together=1)
    with pytest.raises(DeviceError, match="not enough memory for one recording; use --device cpu"):
        transcriber.transcribe(several[0])
    with pytest.raises(DeviceError, match="not enough memory for one recording; use --device cpu"):
        list(transcriber.transcribe_several(several[:1]))


def test_a_file_that_is_not_there_is_named(transcriber: Transcriber, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"nothing\.wav"):
        transcriber.transcribe(tmp_path / "nothing.wav")


def test_audio_in_double_precision_will_do(transcriber: Transcriber, audio: NDArray[np.float32]) -> None:
    short = audio[: 2 * RATE]
    assert transcriber.transcribe_audio(short.astype(np.float64)) == transcriber.transcribe_audio(short)


@pytest.mark.parametrize(
    ("wrong", "fact"),
    [
        (np.zeros((RATE, 2), np.float32), r"shape \(16000, 2\) and type float32"),
        (np.zeros(RATE, np.int16), r"shape \(16000,\) and type int16"),
        (np.full(RATE, np.nan, np.float32), "not finite"),
    ],
)
def test_audio_that_is_no_mono_sound_is_refused(
    transcriber: Transcriber, wrong: NDArray[np.float32], fact: str
) -> None:
    with pytest.raises(AudioError, match=fact):
        transcriber.transcribe_audio(wrong)


def test_settings_of_decoding_replace_those_of_the_checkpoint(
    tiny_checkpoint: Path, audio: NDArray[np.float32], whole: Transcription
) -> None:
    never = DecodeConfig(onset_bias=-1e4, reonset_bias=-1e4)
    silent = Transcriber(tiny_checkpoint, "cpu", never)
    assert silent.transcribe_audio(audio[: 3 * RATE]).notes == []
    assert silent.about()["settings"]["decode"]["onset_bias"] == -1e4
    late = Transcriber(tiny_checkpoint, "cpu", DecodeConfig(onset_shift=0.001))
    onsets = [note.onset for note in late.transcribe_audio(audio).notes]
    np.testing.assert_allclose(onsets, [note.onset + 0.001 for note in whole.notes])


def test_about_names_the_model_its_file_and_its_settings(
    transcriber: Transcriber, tiny_checkpoint: Path
) -> None:
    about = transcriber.about()
    assert about["model"] == "tiny"
    assert about["checkpoint_sha256"] == transcriber.info.sha256
    assert len(about["checkpoint_sha256"]) == 64
    assert about["settings"] == TINY.to_dict()


def test_an_unknown_model_is_told() -> None:
    with pytest.raises(CheckpointError, match="par_huge: no such checkpoint"):
        Transcriber("par_huge", "cpu")


on_cuda_only = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@on_cuda_only
def test_on_cuda_notes_do_not_depend_on_where_the_audio_is_cut(
    tiny_checkpoint: Path, audio: NDArray[np.float32]
) -> None:
    on_cuda = Transcriber(tiny_checkpoint, "cuda")
    expected = on_cuda.transcribe_audio(audio)
    for size in (1000, 16_000, len(audio)):
        assert on_cuda.transcribe_blocks(blocks_of(audio, size)) == expected


@on_cuda_only
def test_cuda_hears_the_notes_of_the_cpu(
    tiny_checkpoint: Path, audio: NDArray[np.float32], whole: Transcription
) -> None:
    on_cuda = Transcriber(tiny_checkpoint, "cuda").transcribe_audio(audio)

    def rounded(note: Note) -> tuple[int, int, int]:
        return round(note.onset * 1000), round(note.offset * 1000), note.pitch - LOWEST_PITCH

    one, other = ({rounded(note) for note in each.notes} for each in (on_cuda, whole))
    assert len(one & other) >= 0.99 * len(one | other)
