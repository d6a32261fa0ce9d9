"""The soundfont benchmark makes a folder of recordings, each with the notes that were played."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from partranscribe.note_io import read_notes, write_notes
from partranscribe.notes import Note
from partranscribe.training.data import labelled
from synth import write_audio

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import soundfont

RATE = 16_000

# A fluidsynth whose sound is a second of stereo silence.
SYNTHESISER = """#!{python}
import sys, wave
target, font, midi = sys.argv[sys.argv.index("-F") + 1 :]
assert font.endswith(".sf2") and open(midi, "rb").read(4) == b"MThd"
with wave.open(target, "wb") as sound:
    sound.setparams((2, 2, 48000, 0, "NONE", ""))
    sound.writeframes(bytes(4 * 48000))
"""


@pytest.fixture
def synthesiser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "fluidsynth"
    program.parent.mkdir()
    program.write_text(SYNTHESISER.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")


@pytest.mark.usefixtures("synthesiser")
def test_some_performances_become_recordings_with_their_notes(tmp_path: Path) -> None:
    for pitch in range(60, 66):
        write_notes(tmp_path / "played" / "below" / f"{pitch}.mid", [Note(0.1, 0.9, pitch, 80)])
    font = str(tmp_path / "piano.sf2")
    soundfont.main([str(tmp_path / "played"), font, str(tmp_path / "set"), "--count", "3"])
    made = list(labelled(tmp_path / "set"))
    assert [audio.relative_to(tmp_path) for audio, _ in made] == [
        Path("set", "below", f"{pitch}.flac") for pitch in (60, 62, 64)
    ]
    for audio, notes in made:
        assert (soundfile.info(audio).samplerate, soundfile.info(audio).channels) == (16_000, 1)
        assert soundfile.info(audio).duration == pytest.approx(1.0)
        assert [note.pitch for note in read_notes(notes)] == [int(audio.stem)]


@pytest.mark.usefixtures("synthesiser")
def test_lists_are_played_with_dampers_as_late_as_they_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = [
        Note(0.5, 1.0, 21, 80),
        Note(0.6, 1.0, 48, 70),
        Note(0.7, 1.0, 108, 60),
        Note(70.0, 71.0, 60, 50),
    ]
    (tmp_path / "there").mkdir()
    for name in ("one_A", "two_B"):
        write_audio(tmp_path / "there" / f"{name}.wav", np.zeros(RATE, np.float32), RATE)
        write_notes(tmp_path / "there" / f"{name}.tsv", notes)
    heard: list[list[Note]] = []
    play = soundfont.play

    def listened(midi: Path, font: Path, recording: Path) -> None:
        heard.append(read_notes(midi))
        play(midi, font, recording)

    monkeypatch.setattr(soundfont, "play", listened)
    places = [str(tmp_path / "there"), str(tmp_path / "piano.sf2"), str(tmp_path / "set")]
    soundfont.main([*places, "--lists", "*_A", "--damper-delay", "0.2", "0.2"])
    ((audio, labels),) = labelled(tmp_path / "set")
    assert audio.name == "one_A.flac"
    assert read_notes(labels) == notes[:3]
    (played,) = heard
    lower, middle, upper = sorted(played, key=lambda note: note.pitch)
    assert [note.offset - 1.0 for note in (lower, middle, upper)] == pytest.approx(
        [0.26, 0.2, 0.06], abs=1e-3
    )


def test_a_missing_synthesiser_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="fluidsynth is not installed"):
        soundfont.main([str(tmp_path), str(tmp_path / "piano.sf2"), str(tmp_path / "set")])
