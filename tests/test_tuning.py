"""How a piano is tuned is heard, and one that is off is transcribed as if it were not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from partranscribe.note_io import read_notes
from partranscribe.notes import Note
from partranscribe.released import released
from partranscribe.score import begun_between, score
from partranscribe.transcribe import Transcriber
from partranscribe.tuning import CONCERT_PITCH, TuningMeter, measured
from synth import melody, write_audio

EXAMPLES = Path(__file__).parent.parent / "examples"
RATE = 16_000
CHORDS = [Note(0.4 * place, 0.4 * place + 0.5, 48 + (7 * place) % 30, 80) for place in range(12)]


def off_by(cents: float, audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """Played faster, so that all of it is higher."""
    return np.asarray(soxr.resample(audio, RATE * 2 ** (cents / 1200), RATE, quality="HQ"))


@pytest.fixture(scope="module")
def music() -> NDArray[np.float32]:
    return melody(CHORDS, RATE)


@pytest.mark.parametrize("cents", [-45, -30, -15, 0, 15, 30, 45])
def test_a_tuning_is_heard_within_two_cents(music: NDArray[np.float32], cents: int) -> None:
    meter = TuningMeter(RATE)
    meter.push(off_by(cents, music))
    assert meter.cents == pytest.approx(cents, abs=2)
    expected = CONCERT_PITCH if abs(cents) < 20 else CONCERT_PITCH * 2 ** (cents / 1200)
    assert meter.hertz == pytest.approx(expected, abs=0.5)


def test_a_real_piano_has_the_tuning_that_librosa_finds() -> None:
    audio, rate = soundfile.read(EXAMPLES / "prelude.flac", dtype="float32")
    assert rate == RATE
    for cents in (-35, 0, 35):
        meter, moved = TuningMeter(RATE), off_by(cents, audio)
        meter.push(moved)
        assert meter.cents == pytest.approx(100 * librosa.estimate_tuning(y=moved, sr=RATE), abs=4)


@pytest.mark.parametrize("size", [77, 4096, 50_000])
def test_a_tuning_does_not_depend_on_where_the_audio_is_cut(music: NDArray[np.float32], size: int) -> None:
    whole, cut = TuningMeter(RATE), TuningMeter(RATE)
    moved = off_by(33, music)
    whole.push(moved)
    for start in range(0, len(moved), size):
        cut.push(moved[start : start + size])
    assert cut.cents == whole.cents


def test_a_tuning_does_not_depend_on_the_level(music: NDArray[np.float32]) -> None:
    tunings = {measured([gain * off_by(33, music)], RATE) for gain in (1e-3, 1.0, 30.0)}
    assert len(tunings) == 1


def noise(samples: int) -> NDArray[np.float32]:
    return np.random.default_rng(5).normal(0, 0.1, samples).astype(np.float32)


@pytest.mark.parametrize("sound", [noise, lambda samples: np.zeros(samples, np.float32)])
def test_what_has_no_tuning_is_taken_as_it_is(sound: Callable[[int], NDArray[np.float32]]) -> None:
    meter = TuningMeter(RATE)
    assert meter.cents is None
    meter.push(sound(20 * RATE))
    assert meter.cents is None
    assert meter.hertz == CONCERT_PITCH


def test_too_little_audio_tells_no_tuning(music: NDArray[np.float32]) -> None:
    assert measured([off_by(40, music)[: RATE * 2]], RATE) == CONCERT_PITCH
    assert measured([off_by(40, music)[: RATE * 3]], RATE) == pytest.approx(450.3, abs=0.5)


@pytest.fixture(scope="module")
def transcriber(tiny_checkpoint: Path) -> Transcriber:
    return Transcriber(tiny_checkpoint, "cpu", together=3)


def test_the_tuning_is_measured_or_told(
    transcriber: Transcriber, music: NDArray[np.float32], tmp_path: Path
) -> None:
    high = write_audio(tmp_path / "high.wav", off_by(40, music), RATE)
    found = transcriber.transcribe(high)
    assert found.tuning == pytest.approx(450.3, abs=0.5)
    assert found == transcriber.transcribe(high, tuning=found.tuning)
    assert found.notes == transcriber.transcribe_audio(soundfile.read(high, dtype="float32")[0]).notes
    as_it_is = transcriber.transcribe(high, tuning=CONCERT_PITCH)
    assert as_it_is.tuning == CONCERT_PITCH
    assert as_it_is.notes != found.notes


def test_recordings_side_by_side_have_tunings_of_their_own(
    transcriber: Transcriber, music: NDArray[np.float32], tmp_path: Path
) -> None:
    paths = [write_audio(tmp_path / f"{cents}.wav", off_by(cents, music), RATE) for cents in (-40, 0, 40)]
    alone = [transcriber.transcribe(path) for path in paths]
    assert len({one.tuning for one in alone}) == 3
    assert list(transcriber.transcribe_several(paths)) == alone


def test_a_piano_that_is_off_is_transcribed_as_one_that_is_not() -> None:
    if not released():
        pytest.skip("no trained weights are released")
    audio, _ = soundfile.read(EXAMPLES / "prelude.flac", dtype="float32", frames=12 * RATE)
    cents, seconds = 45, 11.0
    speed = 2 ** (cents / 1200)
    truth = begun_between(read_notes(EXAMPLES / "prelude.mid"), 0.0, seconds)
    wanted = [Note(note.onset / speed, note.offset / speed, note.pitch, note.velocity) for note in truth]
    transcriber, high = Transcriber(device="cpu"), off_by(cents, audio)

    def note_f1(tuning: float | None) -> float:
        found = transcriber.transcribe_audio(high, tuning=tuning).notes
        return score(begun_between(found, 0.0, seconds / speed), wanted).note.f1

    assert note_f1(None) > 0.97
    assert note_f1(CONCERT_PITCH) < 0.9
