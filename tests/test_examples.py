"""The scripts in `examples` run, and the recording there is what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from partranscribe.config import DecodeConfig
from partranscribe.note_io import read_notes
from partranscribe.released import released
from partranscribe.transcribe import Transcriber
from shown import CHROMIUM
from synth import recording, tone, write_audio

EXAMPLES = Path(__file__).parent.parent / "examples"
RATE = 16_000


def run(script: str, *arguments: object) -> str:
    command = [sys.executable, str(EXAMPLES / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_recording_is_made_with_its_notes(tmp_path: Path) -> None:
    sound = tone(60, 2.0, RATE)
    write_audio(tmp_path / "grand-steinway.opus", sound, RATE)
    table = f"start,length,pitch,velocity_low,velocity_high,microphone\n0,{len(sound)},60,1,127,near\n"
    (tmp_path / "grand-steinway.csv").write_text(table)
    printed = run("make_recording.py", tmp_path, "--output", tmp_path)
    audio, rate = soundfile.read(tmp_path / "prelude.flac")
    notes = read_notes(tmp_path / "prelude.mid")
    assert printed.startswith(f"{len(notes)} notes in ")
    assert rate == RATE
    assert max(note.offset for note in notes) < len(audio) / rate
    assert notes == read_notes(EXAMPLES / "prelude.mid")


def test_attacks_of_the_recording_are_at_its_notes() -> None:
    audio, rate = soundfile.read(EXAMPLES / "prelude.flac")
    first = read_notes(EXAMPLES / "prelude.mid")[0]
    heard = np.flatnonzero(np.abs(audio) > 0.1 * np.abs(audio[: 2 * rate]).max())[0] / rate
    assert heard == pytest.approx(first.onset, abs=0.01)


def test_python_example_finds_the_prelude() -> None:
    if not released():
        pytest.skip("no trained weights are released")
    printed = run("transcribe_and_score.py")
    assert len(printed.splitlines()) == 6
    assert float(printed.split("note F1 ")[1].split(",")[0]) > 0.9


@pytest.mark.parametrize("between", [False, True])
def test_posteriors_example_prints_the_least_sure_notes(
    between: bool, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    path, settings = tmp_path / "noise.npz", DecodeConfig(between_frames=between)
    transcriber = Transcriber(tiny_checkpoint, "cpu", settings, engine="torch")
    notes = transcriber.transcribe(recording(tmp_path / "noise.wav"), posteriors=path).notes
    least = sorted(notes, key=lambda note: note.confidence)[:5]
    assert len(notes) > 10
    expected = [f"{note.onset:.3f} s key {note.pitch} {note.confidence:.4f}" for note in least]
    printed = [line.split("(")[0].split() for line in run("posteriors.py", path).splitlines()]
    assert [" ".join(words) for words in printed] == expected


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: install it, or name it in CHROMIUM")
def test_pictures_of_the_example_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("playwright", reason="Playwright is not installed: pip install .[dev]")
    if not released():
        pytest.skip("no trained weights are released")
    run("make_pictures.py", "--output", tmp_path, "--chromium", CHROMIUM)
    names = ["roll.png", "view-dark.png", "view-light.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in names)
