"""The accuracy benchmark hears what it says, measures whole processes, and shows all it measured."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from partranscribe.checkpoint import checkpoint_info
from partranscribe.note_io import write_notes
from partranscribe.notes import Note
from synth import melody, write_audio

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import accuracy
import systems

RATE = 16_000
NOTES = [Note(0.5, 1.0, 60, 80), Note(0.8, 1.6, 64, 50), Note(1.4, 1.9, 67, 110)]

# A transcriber that has found the notes in the MIDI files of a folder.
PEER = """
import shutil, sys
from pathlib import Path
*sources, _, output = sys.argv[2:]
for source in sources:
    shutil.copy(Path(sys.argv[1], Path(source).stem + ".mid"), output)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two recordings, one of them in a folder below, with their notes."""
    for piece in ("one", "below/two"):
        write_notes(tmp_path / "set" / f"{piece}.tsv", NOTES)
        write_audio(tmp_path / "set" / f"{piece}.flac", melody(NOTES, RATE), RATE)
    return tmp_path / "set"


def loudness(audio: accuracy.Audio) -> float:
    return float(np.sqrt(np.mean(audio**2)))


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_room_keeps_loudness_and_attacks_and_decays_in_its_time(rate: int) -> None:
    click = np.zeros(2 * rate, np.float32)
    click[rate // 2] = 0.5
    wet = accuracy.in_a_room(click, rate, rt60=0.6)
    assert loudness(wet) == pytest.approx(loudness(click), rel=1e-4)
    assert np.abs(wet).argmax() == rate // 2
    assert not np.abs(wet[: rate // 2]).max() > 1e-6
    early, late = (loudness(wet[round((0.5 + t) * rate) :][: rate // 20]) for t in (0.02, 0.32))
    assert 20 * np.log10(early / late) == pytest.approx(30, abs=2)
    np.testing.assert_array_equal(wet, accuracy.in_a_room(click, rate, rt60=0.6))


def test_systems_get_the_samples_of_the_recordings(folder: Path, tmp_path: Path) -> None:
    test_set = accuracy.prepare(folder, tmp_path)
    assert test_set.name == "set (2 pieces, 0.1 min)"
    assert list(test_set.audio) == list(test_set.references) == ["below_two", "one"]
    assert test_set.references["one"] == NOTES
    for piece in ("one", "below/two"):
        given, rate = soundfile.read(test_set.audio[piece.replace("/", "_")], dtype="int16")
        assert rate == RATE
        np.testing.assert_array_equal(given, soundfile.read(folder / f"{piece}.flac", dtype="int16")[0])


def test_notes_end_with_the_part_that_is_measured(folder: Path, tmp_path: Path) -> None:
    test_set = accuracy.prepare(folder, tmp_path, end=1.2, rt60=0.3)
    assert test_set.name.startswith("set, in a room of 0.3 s (2 pieces")
    assert test_set.duration == pytest.approx(2.4)
    assert soundfile.info(test_set.audio["one"]).duration == pytest.approx(1.2)
    assert test_set.references["one"] == [NOTES[0], Note(0.8, 1.2, 64, 50)]


def test_recordings_may_be_kept_as_opus(folder: Path, tmp_path: Path) -> None:
    test_set = accuracy.prepare(folder, tmp_path, opus=True)
    assert test_set.name.startswith("set, kept as Opus (2 pieces")
    plain, coded = (soundfile.read(path)[0] for path in (folder / "one.flac", test_set.audio["one"]))
    assert soundfile.info(test_set.audio["one"]).samplerate == RATE
    assert coded.shape == plain.shape
    assert 0 < np.std(coded - plain) < 0.5 * np.std(plain)


def test_recordings_may_be_played_faster(folder: Path, tmp_path: Path) -> None:
    speed = 2 ** (40 / 1200)
    test_set = accuracy.prepare(folder, tmp_path, cents=40)
    assert test_set.name.startswith("set, +40 cents (2 pieces")
    lengths = [soundfile.info(path).duration for path in (folder / "one.flac", test_set.audio["one"])]
    assert lengths[0] / lengths[1] == pytest.approx(speed, rel=1e-3)
    for note, before in zip(test_set.references["one"], NOTES, strict=True):
        assert (note.onset * speed, note.offset * speed) == pytest.approx((before.onset, before.offset))


def test_part_of_some_pieces_is_measured(folder: Path, tmp_path: Path) -> None:
    test_set = accuracy.prepare(folder, tmp_path, only="t*", start=0.7, end=1.2)
    assert list(test_set.audio) == ["below_two"]
    assert soundfile.info(test_set.audio["below_two"]).duration == pytest.approx(0.5)
    (note,) = test_set.references["below_two"]
    assert (note.onset, note.offset) == pytest.approx((0.1, 0.5))
    assert note.pitch == 64


def test_pieces_that_end_before_the_part_are_left_out(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no recording with a note list beside it that counts"):
        accuracy.prepare(folder, tmp_path, start=60.0)


def test_a_piece_without_a_note_in_the_part_is_left_out(folder: Path, tmp_path: Path) -> None:
    first = folder / "a_late.wav"
    write_audio(first, np.zeros(2 * RATE, np.float32), RATE)
    write_notes(first.with_suffix(".tsv"), [Note(1.5, 1.8, 60, 64)])
    assert "a_late" not in accuracy.prepare(folder, tmp_path, end=1.2).audio


def test_two_pieces_of_one_name_are_refused(folder: Path, tmp_path: Path) -> None:
    for place in ("x/y.wav", "x_y.wav"):
        (folder / place).parent.mkdir(exist_ok=True)
        write_audio(folder / place, np.zeros(2 * RATE, np.float32), RATE)
        write_notes((folder / place).with_suffix(".tsv"), [Note(0.5, 1.0, 60, 64)])
    with pytest.raises(SystemExit, match="another recording is called x_y, too"):
        accuracy.prepare(folder, tmp_path)


def test_folder_without_notes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no recording with a note list"):
        accuracy.prepare(tmp_path, tmp_path)


@pytest.fixture
def late(folder: Path, tmp_path: Path) -> accuracy.Result:
    """What a transcriber reaches that is right but for 30 ms, and for the offset of the first note."""
    test_set = accuracy.prepare(folder, tmp_path)
    found = [Note(note.onset + 0.03, note.offset + 0.03, note.pitch, note.velocity) for note in NOTES]
    found[0] = Note(0.53, 0.7, 60, 80)
    for piece in test_set.audio:
        write_notes(tmp_path / "found" / f"{piece}.mid", found)
    command = [sys.executable, "-S", "-c", PEER, str(tmp_path / "found")]
    return accuracy.run("late", command, test_set)


def test_process_is_measured_and_scored(late: accuracy.Result) -> None:
    raw, shifted = late.raw["below_two"], late.shifted["one"]
    assert raw.note.f1 == shifted.note.f1 == 1.0
    assert raw.note_offset.f1 == shifted.note_offset.f1 == pytest.approx(2 / 3)
    assert raw.median_onset_error == pytest.approx(0.03, abs=1e-3)
    assert shifted.median_onset_error == pytest.approx(0.0, abs=1e-3)
    assert late.speed * late.seconds == pytest.approx(4.8, rel=0.01)
    assert 5 < late.megabytes < 150  # far below that of the process that measures


def test_process_that_fails_is_reported(folder: Path, tmp_path: Path) -> None:
    test_set = accuracy.prepare(folder, tmp_path)
    with pytest.raises(SystemExit, match=r"status 3 of .* -c .*one\.wav"):
        accuracy.run("broken", [sys.executable, "-c", "raise SystemExit(3)"], test_set)


def test_table_has_a_row_for_each_result(late: accuracy.Result) -> None:
    lines = accuracy.table([late, late]).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:4]]
    assert rows[0] == list(accuracy.COLUMNS)
    assert rows[2] == rows[3]
    assert rows[2][:4] == ["late", "set (2 pieces, 0.1 min)", "100.0 / 100.0 / 100.0", "66.7 / 66.7 / 66.7"]
    assert len({len(line) for line in lines[:4]}) == 1


def test_peer_must_be_known_and_installed() -> None:
    for peer in ("unknown=python", "transkun"):
        with pytest.raises(SystemExit, match="known names are transkun, basic-pitch"):
            systems.peer_system(peer)
    for python in (sys.executable, "no-such-python"):
        with pytest.raises(SystemExit, match="no Python that has transkun"):
            systems.peer_system(f"transkun={python}")


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run the benchmark with these arguments."""

    def call(*arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["accuracy.py", *map(str, arguments)])
        accuracy.main()

    return call


def test_checkpoint_is_measured_piece_by_piece(
    folder: Path, tiny_checkpoint: Path, measure: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    markdown = folder.parent / "table.md"
    measure(folder, "--model", tiny_checkpoint, "--device", "cpu", "--markdown", markdown)
    printed = capsys.readouterr().out
    assert "below_two" in printed
    assert "**mean**" in printed
    assert markdown.read_text() in printed
    assert f"| tiny {checkpoint_info(tiny_checkpoint).sha256[:8]} | set (2 pieces" in printed


@pytest.mark.parametrize(
    "more",
    [
        ["--end", 1],
        ["--only", "*1"],
        ["--rt60", 0.5],
        ["--opus"],
        ["--cents", 20],
        ["--tuning", 440],
        ["--model", "b"],
        ["folder"],
    ],
)
def test_release_needs_the_plain_measurement(
    more: list[object], measure: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        measure("folder", *more, "--model", "a", "--release", "SET")
    assert "--release goes with one model" in capsys.readouterr().err
