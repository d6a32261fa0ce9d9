"""The player piano benchmark sounds note lists on sampled pianos, and keeps their offsets."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from partranscribe.note_io import read_notes, write_notes
from partranscribe.notes import Note
from partranscribe.training.data import labelled
from synth import sampled_piano, write_audio

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import player_piano


def test_lists_become_recordings_that_end_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(player_piano, "DAMPER_DELAY", (0.1, 0.1))
    notes = [Note(1.0, 1.5, 60, 90), Note(21.0, 21.5, 60, 90), Note(22.0, 22.3, 64, 70)]
    for name in ("a/one_held", "a/one_other", "b/one_held"):
        write_notes(tmp_path / "lists" / f"{name}.tsv", notes)
        write_audio(tmp_path / "lists" / f"{name}.wav", np.zeros(1600, np.float32), 16_000)
    (tmp_path / "pianos").mkdir()
    sampled_piano(tmp_path / "pianos", 16_000)
    player_piano.main([*(str(tmp_path / name) for name in ("lists", "pianos", "set")), "--only", "*_held"])
    (recording, labels), (of_same_name, _) = labelled(tmp_path / "set")
    assert of_same_name == tmp_path / "set" / "b" / "one_held.flac"
    found = [value for note in read_notes(labels) for value in (note.onset, note.offset, note.pitch)]
    assert found == pytest.approx([1.0, 1.5, 60, 2.0, 2.3, 64])
    audio, rate = soundfile.read(recording)
    early, late, silent = (
        np.abs(audio[round(a * rate) : round(b * rate)]).max()
        for a, b in ((1.3, 1.4), (1.5, 1.6), (0.5, 0.9))
    )
    assert late > 0.5 * early
    assert silent < 0.01 * early


def test_lists_may_be_played_on_pianos_that_were_never_built(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    write_audio(tmp_path / "lists" / "one.wav", np.zeros(1600, np.float32), 16_000)
    write_notes(tmp_path / "lists" / "one.tsv", [Note(21.0, 21.5, 69, 90)])
    player_piano.main([*(str(tmp_path / name) for name in ("lists", "none", "set")), "--modelled", "1"])
    audio, rate = soundfile.read(tmp_path / "set" / "one.flac")
    part = audio[rate : round(1.5 * rate)]
    spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part))))
    lowest = 150  # of bins of 2 Hz: below the second partial, whichever is louder
    assert 2 * (lowest + spectrum[lowest:300].argmax()) in range(430, 452)


def test_dampers_may_all_be_slow(tmp_path: Path) -> None:
    piano, notes = sampled_piano(tmp_path, 16_000), [Note(21.0, 21.5, 60, 90)]
    sounds = [player_piano.play(notes, piano, 1, (slowness, slowness)) for slowness in (1.0, 8.0)]
    after = slice(round(1.7 * 16_000), round(1.8 * 16_000))
    prompt, slow = (np.abs(sound.audio[after]).max() for sound in sounds if sound is not None)
    assert slow > 2 * prompt


def test_strings_may_fall_faster(tmp_path: Path) -> None:
    piano, notes = sampled_piano(tmp_path, 16_000), [Note(21.0, 22.5, 60, 90)]
    sounds = [player_piano.play(notes, piano, 1, extra_decay=(decay, decay)) for decay in (0.0, 20.0)]
    falls = [
        np.abs(sound.audio[round(2.2 * 16_000) : round(2.3 * 16_000)]).max()
        / np.abs(sound.audio[round(1.2 * 16_000) : round(1.3 * 16_000)]).max()
        for sound in sounds
        if sound is not None
    ]
    assert falls[1] / falls[0] == pytest.approx(0.1, rel=0.05)  # 20 dB more in a second


def test_a_pedal_may_catch_the_strings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(player_piano, "DAMPER_DELAY", (0.1, 0.1))
    monkeypatch.setattr(player_piano, "LIFT", (0.2, 0.2))
    piano = sampled_piano(tmp_path, 16_000)
    notes = [Note(21.0, 21.5, 60, 90), Note(22.9, 23.0, 90, 1)]
    without, caught = (player_piano.play(notes, piano, 1, pause=pause) for pause in (None, (0.01, 0.02)))
    assert without is not None
    assert caught is not None
    np.testing.assert_array_equal(without.notes, caught.notes)
    silent, rings = (
        np.abs(one.audio[round(2.5 * 16_000) : round(2.6 * 16_000)]).max() for one in (without, caught)
    )
    assert silent < 0.01 * rings


def test_a_list_without_notes_there_is_left_out(tmp_path: Path) -> None:
    piano = sampled_piano(tmp_path, 16_000)
    assert player_piano.play([Note(1.0, 1.5, 60, 90)], piano, 0) is None
