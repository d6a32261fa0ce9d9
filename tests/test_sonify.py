"""Notes as sound: where and as loud as they should be, in sync with the recording, in any format."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from partranscribe import sonify
from partranscribe.errors import AudioError, OutputError
from partranscribe.notes import HIGHEST_PITCH, LOWEST_PITCH, Note
from partranscribe.sonify import FORMATS, piano, refuse_other, write_sound, write_stereo
from partranscribe.tuning import TuningMeter
from synth import tone, write_audio

RATE = sonify.SAMPLE_RATE


def random_notes(seed: int, count: int, seconds: float, held: float = 0.4) -> list[Note]:
    rng = np.random.default_rng(seed)
    return [
        Note(
            onset=float(onset),
            offset=float(onset + rng.exponential(held)),
            pitch=int(rng.integers(LOWEST_PITCH, HIGHEST_PITCH + 1)),
            velocity=int(rng.integers(1, 128)),
        )
        for onset in np.sort(rng.uniform(0, seconds, count))
    ]


def heard(path: Path) -> NDArray[np.float32]:
    audio, rate = soundfile.read(path, dtype="float32")
    assert rate == RATE
    return np.asarray(audio)


def played(folder: Path, notes: list[Note], seconds: float | None = None) -> NDArray[np.float32]:
    write_sound(folder / "notes.wav", notes, seconds=seconds)
    return heard(folder / "notes.wav")


def decibels(audio: NDArray[np.float32], begin: float, end: float) -> float:
    return float(10 * np.log10(np.mean(audio[round(begin * RATE) : round(end * RATE)] ** 2) + 1e-20))


def best_lag(one: NDArray[np.float32], other: NDArray[np.float32], most: int = 400) -> int:
    """By how many samples `other` is later."""
    middle = slice(most, len(one) - most)
    return max(
        range(-most, most + 1), key=lambda lag: float(one[middle] @ other[most + lag : len(one) - most + lag])
    )


def test_notes_are_played_in_the_tuning_that_is_asked_for(tmp_path: Path) -> None:
    notes = [Note(0.3 * place, 0.3 * place + 0.4, 50 + (7 * place) % 24, 80) for place in range(12)]
    cents = []
    for tuning in (440.0, 450.3):
        write_sound(tmp_path / "notes.wav", notes, tuning=tuning)
        meter = TuningMeter(RATE)
        meter.push(heard(tmp_path / "notes.wav"))
        assert meter.cents is not None
        cents.append(meter.cents)
    assert cents[1] - cents[0] == pytest.approx(40, abs=1)


def test_the_piano_is_small_and_has_every_key_in_two_layers() -> None:
    folder = Path(sonify.__file__).parent / "piano"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1_000_000
    instrument = piano()
    assert list(instrument.layers) == [1, 81]
    (layers,) = instrument.sounds.values()
    assert [len(layer) for layer in layers] == [88, 88]
    assert all(sound.samples.any() for layer in layers for sound in layer)


@pytest.mark.parametrize("pitch", [40, 60, 79, 98])
def test_every_key_of_the_piano_sounds_at_its_pitch(tmp_path: Path, pitch: int) -> None:
    audio = played(tmp_path, [Note(0.0, 1.0, pitch, 70)], 1.0)
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio)), 1 << 17))
    strongest = np.argmax(spectrum) * RATE / (1 << 17)
    partial = strongest / (440 * 2 ** ((pitch - 69) / 12))
    assert round(partial) in (1, 2, 3)
    assert partial == pytest.approx(round(partial), rel=0.02)


def test_attacks_are_heard_at_the_onsets(tmp_path: Path) -> None:
    onsets = np.cumsum(np.random.default_rng(1).uniform(0.9, 1.1, 30))
    pitches = np.linspace(30, 89, 30).astype(int)
    velocities = np.linspace(40, 120, 30).astype(int)
    notes = [
        Note(float(onset), float(onset) + 0.1, int(pitch), int(velocity))
        for onset, pitch, velocity in zip(onsets, pitches, velocities, strict=True)
    ]
    audio = played(tmp_path, notes)
    strings = np.abs(sosfilt(butter(2, 300, "highpass", fs=RATE, output="sos"), audio))  # without the thump
    for onset in onsets:
        around = strings[round((onset - 0.05) * RATE) : round((onset + 0.045) * RATE)]
        found = onset - 0.05 + np.argmax(around > 0.1 * around.max()) / RATE
        assert found == pytest.approx(onset, abs=0.002)


def test_a_damped_note_is_gone_after_its_offset(tmp_path: Path) -> None:
    held = played(tmp_path, [Note(0.5, 3.0, 60, 90)], 2.0)
    short = played(tmp_path, [Note(0.5, 1.0, 60, 90)], 2.0)
    np.testing.assert_array_equal(short[:RATE], held[:RATE])
    assert decibels(short, 1.2, 1.3) < decibels(held, 1.2, 1.3) - 20
    assert not short[round(1.6 * RATE) :].any()


def test_a_louder_velocity_is_louder(tmp_path: Path) -> None:
    levels = [
        decibels(played(tmp_path, [Note(0.0, 1.0, 60, velocity)], 1.0), 0.0, 0.5)
        for velocity in (20, 50, 80, 81, 110, 127)
    ]
    assert np.diff(levels) == pytest.approx(0.2 * np.array([30, 30, 1, 29, 17]), abs=1.0)
    assert levels == sorted(levels)


def test_it_ends_when_the_last_note_has_died_away(tmp_path: Path) -> None:
    audio = played(tmp_path, [Note(0.5, 1.0, 48, 127), Note(0.2, 0.3, 50, 90)])
    assert 1.2 < len(audio) / RATE < 1.6
    assert audio[-40:].any()


def test_an_excerpt_is_a_part_of_the_whole(tmp_path: Path) -> None:
    notes = random_notes(2, 60, 6.0)
    whole = played(tmp_path, notes)
    write_sound(tmp_path / "part.wav", notes, start=2.5, seconds=1.5)
    np.testing.assert_array_equal(heard(tmp_path / "part.wav"), whole[round(2.5 * RATE) : 4 * RATE])
    write_sound(tmp_path / "rest.wav", notes, start=2.5)
    np.testing.assert_array_equal(heard(tmp_path / "rest.wav"), whole[round(2.5 * RATE) :])


def test_the_length_of_blocks_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = random_notes(3, 100, 8.0)
    recording = write_audio(tmp_path / "song.wav", np.full(8 * 44_100, 0.1), 44_100)
    contents = set()
    for seconds in (30.0, 2.0, 0.731):
        monkeypatch.setattr(sonify, "_BLOCK_SECONDS", seconds)
        write_sound(tmp_path / "a.wav", notes)
        write_stereo(tmp_path / "b.wav", recording, notes)
        contents.add(((tmp_path / "a.wav").read_bytes(), (tmp_path / "b.wav").read_bytes()))
    assert len(contents) == 1


def test_the_order_of_notes_changes_nothing(tmp_path: Path) -> None:
    notes = random_notes(4, 50, 4.0)
    np.testing.assert_array_equal(played(tmp_path, notes), played(tmp_path, notes[::-1]))


def test_all_keys_at_once_are_not_clipped(tmp_path: Path) -> None:
    notes = [Note(0.1, 1.0, pitch, 127) for pitch in range(LOWEST_PITCH, HIGHEST_PITCH + 1)]
    audio = played(tmp_path, notes)
    assert np.abs(audio).max() == pytest.approx(0.95, abs=0.001)
    loud = write_audio(tmp_path / "loud.wav", np.full(2 * RATE, 3.0), RATE, "FLOAT")
    write_stereo(tmp_path / "both.wav", loud, notes)
    both = heard(tmp_path / "both.wav")
    assert np.abs(both[:, 0]).max() == pytest.approx(0.95, abs=0.001)
    assert 0.5 < np.abs(both[:, 1]).max() <= 0.951


def test_a_lively_piece_is_neither_soft_nor_made_softer(tmp_path: Path) -> None:
    notes = [Note(0.2 * k, 0.2 * k + 0.5, 45 + 7 * k % 36, 60 + k % 40) for k in range(50)]
    whole = played(tmp_path, notes)
    assert 0.15 < np.abs(whole).max() < 0.9
    np.testing.assert_array_equal(played(tmp_path, notes[:1])[:1000], whole[:1000])


@pytest.mark.parametrize("ending", [*FORMATS, ".FLAC"])
def test_every_format_holds_the_same_sound(tmp_path: Path, ending: str) -> None:
    notes = random_notes(5, 40, 40.0)  # more than one block
    plain = played(tmp_path, notes)
    write_sound(tmp_path / f"a{ending}", notes)
    audio, rate = soundfile.read(tmp_path / f"a{ending}", dtype="float32")
    assert rate == RATE
    assert len(audio) / RATE == pytest.approx(len(plain) / RATE, abs=0.2)
    length = min(len(audio), len(plain))
    assert np.corrcoef(audio[:length], plain[:length])[0, 1] > 0.9


@pytest.mark.parametrize("ending", [".wav", ".flac", ".mp3"])
def test_the_same_notes_make_the_same_bytes(tmp_path: Path, ending: str) -> None:
    notes = random_notes(6, 20, 2.0)
    write_sound(tmp_path / f"a{ending}", notes)
    write_sound(tmp_path / f"b{ending}", notes)
    assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2), (48_000, 6)])
def test_notes_are_in_sync_with_the_recording(tmp_path: Path, rate: int, channels: int) -> None:
    notes = random_notes(7, 80, 9.0)
    played(tmp_path, notes, 10.0)
    slow = heard(tmp_path / "notes.wav")
    audio = resampled(slow, rate)
    recording = write_audio(tmp_path / "song.flac", np.stack([audio] * channels, axis=1), rate)
    for start, end in ((0.0, None), (2.3456, 8.0)):
        write_stereo(tmp_path / "both.wav", recording, notes, start=start, end=end)
        left, right = heard(tmp_path / "both.wav").T
        assert len(left) == pytest.approx(((end or 10.0) - start) * RATE, abs=1)
        assert best_lag(left, right) == 0
        assert np.corrcoef(left, right)[0, 1] > 0.98


def resampled(audio: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """To another rate, by way of the spectrum, which moves nothing in time."""
    spectrum = np.fft.rfft(audio)
    length = len(audio) * rate // RATE
    return np.asarray(np.fft.irfft(spectrum, length) * (length / len(audio)), np.float32)


def test_notes_are_as_loud_as_the_recording(tmp_path: Path) -> None:
    notes = random_notes(8, 80, 9.0)
    audio = played(tmp_path, notes, 10.0)
    for gain in (1.0, 0.05):
        recording = write_audio(tmp_path / "song.wav", gain * audio, RATE, "FLOAT")
        write_stereo(tmp_path / "both.flac", recording, notes)
        left, right = heard(tmp_path / "both.flac").T
        np.testing.assert_allclose(left, gain * audio, atol=1e-4)
        assert decibels(right, 0, 10) == pytest.approx(decibels(left, 0, 10), abs=0.1)


def test_the_recording_decides_how_long_both_are(tmp_path: Path) -> None:
    recording = write_audio(tmp_path / "song.wav", np.full(RATE, 0.1), RATE)
    write_stereo(tmp_path / "both.wav", recording, [Note(0.5, 7.0, 60, 90), Note(20.0, 21.0, 60, 90)])
    both = heard(tmp_path / "both.wav")
    assert both.shape == (RATE, 2)
    assert not both[: RATE // 4, 1].any()
    assert both[-100:, 1].any()


def test_without_notes_there_is_silence_of_the_length_that_is_told(tmp_path: Path) -> None:
    assert played(tmp_path, [], 1.25).tolist() == [0.0] * 20_000
    recording = write_audio(tmp_path / "song.wav", np.full(RATE, 0.1), RATE)
    write_stereo(tmp_path / "both.wav", recording, [])
    assert not heard(tmp_path / "both.wav")[:, 1].any()


@pytest.mark.parametrize("notes", [[], [Note(0.0, 1.0, 60, 90)], [Note(9.0, 9.5, 110, 90)]])
def test_silence_of_unknown_length_is_refused(tmp_path: Path, notes: list[Note]) -> None:
    with pytest.raises(OutputError, match=r"a\.wav: no note sounds after 5 s; tell how long"):
        write_sound(tmp_path / "a.wav", notes, start=5.0)
    assert list(tmp_path.iterdir()) == []


def test_keys_that_a_piano_does_not_have_are_left_out(tmp_path: Path) -> None:
    note = Note(0.1, 0.5, 60, 90)
    strange = [Note(0.1, 9.0, 20, 90), Note(0.1, 9.0, 109, 90)]
    np.testing.assert_array_equal(played(tmp_path, [note, *strange]), played(tmp_path, [note]))


def test_an_unknown_ending_is_refused_before_any_work(tmp_path: Path) -> None:
    for name in ("a.m4a", "a"):
        with pytest.raises(OutputError, match=r"is no format of sound; use \.wav, \.flac, \.ogg"):
            write_sound(tmp_path / name, [Note(0.1, 0.5, 60, 90)])
        with pytest.raises(OutputError, match="is no format of sound"):
            write_stereo(tmp_path / name, tmp_path / "missing.wav", [])
    assert list(tmp_path.iterdir()) == []


def test_a_recording_that_cannot_be_read_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"missing\.wav"):
        write_stereo(tmp_path / "both.wav", tmp_path / "missing.wav", [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["🎹 שלום.wav", "a b'c\".opus", "-x.mp3", "new/folder/ü.ogg"])
def test_any_name_will_do(tmp_path: Path, name: str) -> None:
    write_sound(tmp_path / name, [Note(0.1, 0.5, 60, 90)])
    assert len(soundfile.read(tmp_path / name)[0]) > RATE // 2


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on files")
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from partranscribe.errors import OutputError\n"
        "from partranscribe.notes import Note\n"
        "from partranscribe.sonify import FORMATS, write_sound\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "notes = [Note(k / 4, k / 4 + 1, 40 + k % 40, 90) for k in range(20)]\n"
        "for ending in FORMATS:\n"
        "    path = Path(sys.argv[1], f'a{ending}')\n"
        "    write_sound(path, notes)\n"
        "    size = path.stat().st_size\n"
        "    path.unlink()\n"
        "    for limit in (size // 3, size * 9 // 10, size - 300, size - 1):\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))\n"
        "        try:\n"
        "            write_sound(path, notes)\n"
        "            print(ending, limit, size)\n"
        "        except OutputError as error:\n"
        "            print('cannot be written' in str(error) and 'room on the disk' in str(error))\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
    )
    run = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["True"] * 4 * len(FORMATS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", FORMATS)
def test_a_sound_is_told_from_a_recording(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"
    write_audio(path, tone(60, 1.0, 16_000), 16_000)
    with pytest.raises(OutputError, match=r"was not made by partranscribe.* --overwrite allows it"):
        refuse_other(path)
    path.write_bytes(b"no sound at all")
    with pytest.raises(OutputError, match="was not made by partranscribe"):
        refuse_other(path)
    write_sound(path, [Note(0.0, 0.5, 60, 64)])
    refuse_other(path)


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    peaks = []
    piano()
    for seconds in (60.0, 300.0):
        notes = random_notes(9, round(seconds), seconds)
        tracemalloc.start()
        write_sound(tmp_path / "a.flac", notes)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 1_000_000
    assert peaks[1] < 20_000_000
