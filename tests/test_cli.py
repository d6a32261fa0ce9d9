"""The command line as a user meets it: what is written, what is said, and the exit status."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from conftest import swelling_noise
from locked import lock
from partranscribe import __version__, cli
from partranscribe.batch import TIME_LIMIT
from partranscribe.checkpoint import checkpoint_info
from partranscribe.cli import main
from partranscribe.engine import ENGINES, PRECISIONS
from partranscribe.errors import OutputError
from partranscribe.note_io import WRITERS, read_notes, write_notes
from partranscribe.notes import PEDAL_THRESHOLD, Note
from partranscribe.released import released
from partranscribe.show import print_models
from partranscribe.tuning import HIGHEST, LOWEST
from synth import write_audio

RATE = 16_000


@pytest.fixture
def song(tmp_path: Path) -> Path:
    """Two seconds in which the tiny network hears notes."""
    return write_audio(tmp_path / "song.wav", swelling_noise(0, 2 * RATE), RATE)


@pytest.fixture
def model(tiny_checkpoint: Path) -> list[str]:
    """Options for the tiny network."""
    return ["--model", str(tiny_checkpoint), "--device", "cpu"]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_song_becomes_midi(song: Path, model: list[str], tmp_path: Path) -> None:
    result = call(song, "-o", tmp_path / "song.mid", *model)
    assert result.exit_code == 0, result.output
    notes = read_notes(tmp_path / "song.mid")
    assert f"{len(notes)} notes in 0:02" in result.stdout
    assert mido.MidiFile(tmp_path / "song.mid").length > 0


def test_options_may_come_first(song: Path, model: list[str], tmp_path: Path) -> None:
    assert call("-o", tmp_path / "song.csv", *model, song).exit_code == 0
    assert (tmp_path / "song.csv").read_text().startswith("onset_s,offset_s,pitch,name,velocity,confidence\n")


def test_json_says_where_it_comes_from(song: Path, model: list[str], tmp_path: Path) -> None:
    assert call(song, "-o", tmp_path / "song.json", *model).exit_code == 0
    document = json.loads((tmp_path / "song.json").read_text())
    assert document["source"] == "song.wav"
    assert document["duration_s"] == 2.0
    assert document["model"] == "tiny"
    assert len(document["checkpoint_sha256"]) == 64
    assert document["settings"]["model"]["head"] == "compact"


def test_all_formats_hold_the_same_notes(song: Path, model: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert call(song, "-o", out, "--format", "midi,csv,json,tsv", *model).exit_code == 0
    lists = [read_notes(out / f"song{ending}") for ending in (".mid", ".csv", ".json", ".tsv")]
    assert len(lists[0]) > 3
    for notes in lists[1:]:
        assert [(note.pitch, note.velocity) for note in notes] == [(n.pitch, n.velocity) for n in lists[0]]
        assert [note.onset for note in notes] == pytest.approx([n.onset for n in lists[0]], abs=5e-4)


def test_silence_is_a_valid_file_without_notes(model: list[str], tmp_path: Path) -> None:
    if not released():
        pytest.skip("no trained weights are released")
    song = write_audio(tmp_path / "silence.wav", np.zeros(5 * RATE, np.float32), RATE)
    result = call(song, "-o", tmp_path / "silence.mid")
    assert result.exit_code == 0, result.output
    assert read_notes(tmp_path / "silence.mid") == []


@pytest.mark.parametrize(
    ("name", "content", "fact"),
    [
        ("missing.wav", None, "No such file"),
        ("empty.wav", b"", "empty"),
        ("text.wav", b"this is text\n" * 50, "neither libsndfile nor FFmpeg"),
    ],
)
def test_unreadable_recording_is_one_line_and_status_1(
    name: str, content: bytes | None, fact: str, model: list[str], song: Path, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    result = call(tmp_path / name, song, "-o", tmp_path / "out", *model)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert name in line
    assert fact in line
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["partranscribe.jsonl", "song.mid"]


def test_a_folder_that_cannot_be_listed_fails_by_itself(
    song: Path, model: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "locked").mkdir()
    lock(monkeypatch, "locked")
    dry = call(tmp_path, "-o", tmp_path / "out", "--dry-run", *model)
    assert dry.stdout.splitlines() == [
        "locked: would fail: is no recording",
        f"song.wav → {tmp_path / 'out' / 'song.mid'}",
        "1 to do, 0 to keep, 1 to fail; nothing was written",
    ]
    result = call(tmp_path, "-o", tmp_path / "out", *model)
    assert result.exit_code == 1
    assert f"error: {tmp_path / 'locked'}: " in result.stderr
    assert result.stdout.splitlines()[-1] == "1 done, 1 failed"


def test_the_same_name_from_another_folder_replaces_nothing(model: list[str], tmp_path: Path) -> None:
    for seed, disc in enumerate(("one", "two")):
        (tmp_path / disc).mkdir()
        write_audio(tmp_path / disc / "track.wav", swelling_noise(seed, RATE), RATE)
    out = tmp_path / "out"
    assert call(tmp_path / "one", "-o", out, *model).exit_code == 0
    first = (out / "track.mid").read_bytes()
    dry = call(tmp_path / "two", "-o", out, "--dry-run", *model)
    assert "track.wav: would fail: " in dry.stdout
    result = call(tmp_path / "two", "-o", out, *model)
    assert result.exit_code == 1
    assert f"{out / 'track.mid'}: is what {tmp_path / 'one' / 'track.wav'} gave" in result.stderr
    assert (out / "track.mid").read_bytes() == first
    assert call(tmp_path / "two", "-o", out, "--overwrite", *model).exit_code == 0
    assert (out / "track.mid").read_bytes() != first


@pytest.mark.parametrize("option", ["--start", "--end"])
@pytest.mark.parametrize("value", ["inf", "nan", "-1", "1e308"])
def test_seconds_are_numbers(option: str, value: str, song: Path, model: list[str], tmp_path: Path) -> None:
    assert call(song, "-o", tmp_path / "a.mid", option, value, *model).exit_code == 2


def test_several_recordings_are_counted(song: Path, model: list[str], tmp_path: Path) -> None:
    write_audio(tmp_path / "other.wav", swelling_noise(1, RATE), RATE)
    call(song, "-o", tmp_path / "out", *model)
    result = call(song, tmp_path / "other.wav", tmp_path / "no.wav", "-o", tmp_path / "out", *model)
    assert result.stdout.splitlines()[-1] == "1 done, 1 kept, 1 failed"


def test_too_short_and_not_finite_audio_are_errors(model: list[str], tmp_path: Path) -> None:
    broken = swelling_noise(0, RATE)
    broken[RATE // 2] = np.nan
    write_audio(tmp_path / "nan.wav", broken, RATE, "FLOAT")
    write_audio(tmp_path / "sample.wav", broken[:1], RATE)
    result = call(tmp_path / "nan.wav", tmp_path / "sample.wav", "-o", tmp_path / "out", *model)
    assert result.exit_code == 1
    first, second = sorted(result.stderr.splitlines())
    assert "nan.wav: the sample at 0.500 s is not finite" in first
    assert "sample.wav" in second
    assert "0.128 s" in second
    assert not list((tmp_path / "out").iterdir())


def test_folder_without_recordings_is_an_error(model: list[str], tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    result = call(tmp_path / "nothing", "-o", tmp_path / "out", *model)
    assert result.exit_code == 1
    assert "nothing" in result.stderr
    assert "no recording" in result.stderr


@pytest.mark.parametrize("device", ["cuda:99", "tpu"])
def test_device_that_is_not_there_is_one_line(
    device: str, song: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    result = call(song, "-o", tmp_path / "song.mid", "--model", tiny_checkpoint, "--device", device)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert device in line
    assert not (tmp_path / "song.mid").exists()


def test_model_that_is_not_there_is_one_line(song: Path, tmp_path: Path) -> None:
    result = call(song, song, "-o", tmp_path / "song.mid", "--model", tmp_path / "no.safetensors")
    assert result.exit_code == 1
    write_audio(tmp_path / "other.wav", swelling_noise(1, RATE), RATE)
    result = call(
        song, tmp_path / "other.wav", "-o", tmp_path / "out", "--model", tmp_path / "no.safetensors"
    )
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "no.safetensors: no such checkpoint" in line


@pytest.mark.parametrize(
    "arguments",
    [
        ["song.wav", "--format", "mp3"],
        ["song.wav", "-o", "song.xyz"],
        ["song.wav", "--start", "5", "--end", "2"],
        ["song.wav", "--no-such-option"],
        ["evaluate", "one.mid"],
        ["evaluate", "one.mid", "two.mid", "--csv", "--json"],
        ["song.wav", "--scores", "scores.csv"],
    ],
)
def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr


def test_quiet_says_nothing(song: Path, model: list[str], tmp_path: Path) -> None:
    result = call(song, "-o", tmp_path / "song.mid", "--quiet", *model)
    assert (result.exit_code, result.output) == (0, "")


def test_the_precision_is_told_in_json(song: Path, model: list[str], tmp_path: Path) -> None:
    for precision in ("float32", "bfloat16"):
        result = call(song, "-o", tmp_path / "notes.json", "--precision", precision, *model)
        assert result.exit_code == 0
        assert json.loads((tmp_path / "notes.json").read_text())["precision"] == precision


def test_the_tuning_is_told_wherever_it_is_not_concert_pitch(
    song: Path, model: list[str], tmp_path: Path
) -> None:
    for tuning in ("auto", "452.5"):
        notes, report = tmp_path / "notes.json", tmp_path / "report.json"
        result = call(song, "-o", notes, "--tuning", tuning, "--report", report, *model)
        assert result.exit_code == 0
        hertz = 440.0 if tuning == "auto" else float(tuning)
        assert json.loads(notes.read_text())["tuning_hz"] == hertz
        assert json.loads(report.read_text())["files"][0]["tuning_hz"] == hertz
        assert ("A4 = 452.5 Hz" in result.stdout) == (tuning != "auto")


@pytest.mark.parametrize("tuning", ["", "A", "nan", "0", "220", "880", "-440"])
def test_a_tuning_that_is_none_is_wrong_usage(tuning: str, song: Path, model: list[str]) -> None:
    result = call(song, f"--tuning={tuning}", *model)
    assert result.exit_code == 2
    assert "--tuning" in result.stderr


def test_an_unknown_engine_is_wrong_usage(song: Path, model: list[str]) -> None:
    result = call(song, "--engine", "abacus", *model)
    assert result.exit_code == 2
    assert "'auto', 'openvino', 'torch'" in result.stderr


def test_every_engine_hears_the_same_notes(song: Path, model: list[str], tmp_path: Path) -> None:
    for engine in ("openvino", "torch"):
        call(song, "-o", tmp_path / f"{engine}.csv", "--engine", engine, *model)
    one, other = ((tmp_path / f"{engine}.csv").read_text().splitlines() for engine in ("openvino", "torch"))
    assert len(one) > 10
    without_confidence = [[line.rpartition(",")[0] for line in lines] for lines in (one, other)]
    assert without_confidence[0] == without_confidence[1]


def test_timings_are_told_for_each_stage(song: Path, model: list[str], tmp_path: Path) -> None:
    result = call(song, "-o", tmp_path / "song.mid", "--timings", "--quiet", *model)
    rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines()[1:-1]}
    assert list(rows) == ["starting", "reading", "log-mel", "acoustic", "decoding", "writing"]
    assert all(float(seconds) >= 0 for seconds, _ in rows.values())
    assert rows["starting"][1] == "–"
    assert float(rows["decoding"][1]) > 0


def test_kept_outputs_are_said_and_are_no_failure(song: Path, model: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert call(song, "-o", out, *model).exit_code == 0
    before = (out / "song.mid").stat().st_mtime_ns
    result = call(song, "-o", out, *model)
    assert result.exit_code == 0
    assert "done before, kept" in result.stdout
    assert (out / "song.mid").stat().st_mtime_ns == before
    assert call(song, "-o", out, "--overwrite", *model).exit_code == 0
    assert (out / "song.mid").stat().st_mtime_ns > before


def test_a_dry_run_tells_what_would_be_done(song: Path, model: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    call(song, "-o", out, *model)
    write_audio(tmp_path / "other.wav", swelling_noise(1, RATE), RATE)
    before = sorted(out.iterdir())
    result = call(tmp_path, "-o", out, "--dry-run", *model)
    assert result.stdout.splitlines() == [
        f"other.wav → {out / 'other.mid'}",
        f"song.wav: done before, would keep {out / 'song.mid'}",
        "1 to do, 1 to keep; nothing was written",
    ]
    assert sorted(out.iterdir()) == before


def test_a_dry_run_tells_of_a_recording_that_is_not_there(model: list[str], tmp_path: Path) -> None:
    result = call(tmp_path / "no.wav", "--dry-run", *model)
    assert "no.wav: would fail: No such file or directory" in result.stdout
    assert "0 to do, 0 to keep, 1 to fail" in result.stdout


def test_a_recording_that_is_not_there_fails_whatever_is_beside_it(model: list[str], tmp_path: Path) -> None:
    write_notes(tmp_path / "no.mid", [A])
    result = call(tmp_path / "no.wav", *model)
    assert result.exit_code == 1
    assert "no.wav: No such file or directory; check its name" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [("", "-o", "out"), ("song.wav", "-o", ""), ("song.wav", "--report", ""), ("x", "--view", "")],
)
def test_an_empty_name_is_no_folder(
    arguments: tuple[str, ...], model: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call(*arguments, *model)
    assert result.exit_code == 2
    assert "a name is empty; is a variable not set?" in result.stderr


@pytest.mark.parametrize("option", ["--report", "--sonify", "--sonify-stereo"])
def test_a_recording_that_an_option_took_for_its_own_is_kept(
    option: str, song: Path, model: list[str], tmp_path: Path
) -> None:
    other = write_audio(tmp_path / "other.wav", swelling_noise(1, RATE), RATE)
    before = other.read_bytes()
    for more in ((), ("--overwrite",)) if option == "--report" else ((),):
        result = call(song, "-o", tmp_path / "song.mid", option, other, *more, *model)
        assert result.exit_code != 0
        assert str(other) in result.stderr
        assert other.read_bytes() == before


def test_a_named_sound_is_made_anew(song: Path, model: list[str], tmp_path: Path) -> None:
    for _ in range(2):
        result = call(song, "-o", tmp_path / "song.mid", "--sonify", tmp_path / "notes.wav", *model)
        assert result.exit_code == 0, result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no such device there")
def test_the_work_is_done_where_nobody_can_be_told(song: Path, model: list[str], tmp_path: Path) -> None:
    write_audio(tmp_path / "other.wav", swelling_noise(1, RATE), RATE)
    report = tmp_path / "report.json"
    with Path("/dev/full").open("w") as full:
        places = [tmp_path, "-o", tmp_path / "out", "--report", report]
        command = [sys.executable, "-m", "partranscribe", *map(str, places), "-j1", *model]
        run = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert json.loads(report.read_text())["counts"] == {"done": 2}
    assert run.returncode == 1
    assert run.stderr == "error: standard output cannot be written (No space left on device)\n"


def test_a_report_names_what_became_of_each(song: Path, model: list[str], tmp_path: Path) -> None:
    result = call(tmp_path / "no.wav", song, "-o", tmp_path, "--report", tmp_path / "r.json", *model)
    assert result.exit_code == 1
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["counts"] == {"done": 1, "failed": 1}
    assert [Path(file["source"]).name for file in report["files"]] == ["no.wav", "song.wav"]
    assert "No such file" in report["files"][0]["reason"]


@pytest.mark.parametrize("option", ["--report", "--scores"])
def test_tables_never_take_the_place_of_what_is_read(
    option: str, song: Path, model: list[str], tmp_path: Path
) -> None:
    truth = tmp_path / "truth.csv"
    write_notes(truth, [A])
    before = song.read_bytes(), truth.read_bytes()
    for table in (song, truth):
        result = call(song, "-o", tmp_path / "x.mid", "--reference", truth, option, table, *model)
        assert result.exit_code == 2
        assert f"{table} would replace a file" in result.stderr
    assert (song.read_bytes(), truth.read_bytes()) == before


def test_a_table_that_cannot_be_written_is_told_before_the_work(
    song: Path, model: list[str], tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    result = call(song, "-o", tmp_path / "x.mid", "--report", tmp_path / "folder", *model)
    assert result.exit_code == 1
    assert "is there and is not a file" in result.stderr
    assert not (tmp_path / "x.mid").exists()


def test_a_table_that_fails_after_the_work_does_not_stop_the_others(
    song: Path, model: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OutputError("r.json: the disk is full")

    monkeypatch.setattr("partranscribe.report.write_report", refuse)
    write_notes(tmp_path / "truth.csv", [A])
    tables = ("--report", tmp_path / "r.json", "--scores", tmp_path / "s.csv", "--view", tmp_path / "pages")
    result = call(song, "-o", tmp_path / "x.mid", "--reference", tmp_path / "truth.csv", *tables, *model)
    assert result.exit_code == 1
    assert "error: r.json: the disk is full" in result.stderr
    assert (tmp_path / "s.csv").is_file()
    assert (tmp_path / "pages" / "index.html").is_file()
    assert "note + offset" in result.stdout


@pytest.mark.parametrize(
    "options",
    [
        ("--report", "s3://b/r.json"),
        ("--reference", "t.csv", "--scores", "s3://b/s.csv"),
        ("--view", "s3://b/v"),
    ],
)
def test_tables_and_extras_are_files_on_this_machine(options: tuple[str, ...], song: Path) -> None:
    result = call(song, "-o", song.with_suffix(".mid"), *options)
    assert result.exit_code == 2
    assert "is a URL; name a file or a folder on this machine" in result.stderr


def test_ctrl_c_while_it_is_looked_what_there_is_to_do_ends_with_130(
    song: Path, model: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("partranscribe.batch.foresee", interrupted)
    assert call(song, "-o", tmp_path / "out", "--dry-run", *model).exit_code == 130


def test_an_interrupted_call_tells_what_it_could_not_write(
    song: Path, model: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def refuse(*_: object) -> None:
        raise OutputError("r.json: the disk is full")

    monkeypatch.setattr("partranscribe.transcribe.Transcriber.transcribe", interrupted)
    monkeypatch.setattr("partranscribe.report.write_report", refuse)
    result = call(song, "-o", tmp_path / "x.mid", "--report", tmp_path / "r.json", *model)
    assert result.exit_code == 130
    assert result.stderr.splitlines()[0] == "error: r.json: the disk is full"
    monkeypatch.setattr("partranscribe.report.write_report", interrupted)
    result = call(song, "-o", tmp_path / "x.mid", "--report", tmp_path / "r.json", *model)
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")


def test_folders_are_filtered_by_patterns(model: list[str], tmp_path: Path) -> None:
    for name in ("a.wav", "a.flac", "live/a.flac"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    filters = ("--include", "*.flac", "--exclude", "live/*")
    result = call(tmp_path / "in", "-o", tmp_path / "out", "--dry-run", *filters, *model)
    assert result.stdout.splitlines()[:-1] == [f"a.flac → {tmp_path / 'out' / 'a.mid'}"]


def test_what_was_interrupted_says_how_to_go_on(
    song: Path, model: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("partranscribe.transcribe.Transcriber.transcribe", interrupted)
        result = call(song, "-o", tmp_path / "out", *model)
    assert result.exit_code == 130
    assert "the same command goes on from here" in result.stderr
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".mid", ".part")]
    assert call(song, "-o", tmp_path / "out", *model).exit_code == 0


def test_part_of_a_recording_keeps_the_times_of_the_file(
    song: Path, model: list[str], tmp_path: Path
) -> None:
    assert call(song, "-o", tmp_path / "part.csv", "--start", 0.5, "--end", 1.5, *model).exit_code == 0
    notes = read_notes(tmp_path / "part.csv")
    assert notes
    assert all(note.onset >= 0.5 and note.offset <= 1.5 for note in notes)


def test_reference_gives_scores(song: Path, model: list[str], tmp_path: Path) -> None:
    call(song, "-o", tmp_path / "truth.csv", *model)
    result = call(song, "-o", tmp_path / "song.mid", "--reference", tmp_path / "truth.csv", *model)
    assert result.exit_code == 0
    (row,) = [line for line in result.stdout.splitlines() if line.startswith("note + offset + velocity")]
    assert row.split()[-3:] == ["100.00"] * 3


def test_a_folder_is_scored_and_what_has_no_reference_is_named(
    song: Path, model: list[str], tmp_path: Path
) -> None:
    for name in ("one", "two", "three"):
        (tmp_path / "in").mkdir(exist_ok=True)
        write_audio(tmp_path / f"in/{name}.wav", swelling_noise(0, RATE), RATE)
    assert call(tmp_path / "in", "-o", tmp_path / "truth", *model).exit_code == 0
    (tmp_path / "truth/three.mid").unlink()
    scores = tmp_path / "scores.csv"
    options = ("--reference", tmp_path / "truth", "--scores", scores)
    result = call(tmp_path / "in", "-o", tmp_path / "out", *options, *model)
    assert result.exit_code == 0, result.output
    assert "mean of 2" in result.stdout
    assert result.stdout.count("note F1 100.0 %") == 2
    assert "no reference for 1 of 3: three.wav" in result.stdout
    rows = list(csv.DictReader(io.StringIO(scores.read_text("utf-8"))))
    assert [(row["piece"], row["note_f1"], row["pedal_threshold"]) for row in rows] == [
        ("one.wav", "1.0", "64"),
        ("two.wav", "1.0", "64"),
    ]


def test_reference_without_notes_is_an_error(song: Path, model: list[str], tmp_path: Path) -> None:
    write_notes(tmp_path / "truth.mid", [])
    result = call(song, "-o", tmp_path / "song.mid", "--reference", tmp_path / "truth.mid", *model)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "truth.mid" in line
    assert "no notes" in line


A, B, C = (Note(float(second), second + 0.5, 60 + second, 64) for second in range(3))


def test_evaluate_gives_hand_worked_scores(tmp_path: Path) -> None:
    write_notes(tmp_path / "truth.csv", [A, B, C])
    late = Note(B.onset, B.offset + 0.2, B.pitch, B.velocity)  # 0.1 s is the most for a note of 0.5 s
    write_notes(tmp_path / "guess.csv", [A, late, Note(9, 10, 60, 64), Note(11, 12, 60, 64)])
    result = call("evaluate", tmp_path / "guess.csv", tmp_path / "truth.csv", "--json")
    assert result.exit_code == 0
    mean = json.loads(result.stdout)["mean"]
    assert mean["note_precision"] == pytest.approx(2 / 4)
    assert mean["note_recall"] == pytest.approx(2 / 3)
    assert mean["note_f1"] == pytest.approx(4 / 7)
    assert mean["note_offset_f1"] == pytest.approx(2 / 7)
    assert mean["duration_accuracy"] == pytest.approx(1 / 2)


def test_evaluate_pairs_folders_and_averages_over_pieces(tmp_path: Path) -> None:
    for name, guess in (("one", [A, B]), ("x/two", [A])):
        write_notes(tmp_path / "truth" / f"{name}.mid", [A, B])
        write_notes(tmp_path / "guess" / f"{name}.csv", guess)
    result = call("evaluate", tmp_path / "guess", tmp_path / "truth", "--csv")
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [(row["piece"], float(row["note_recall"])) for row in rows] == [("one", 1.0), ("x/two", 0.5)]
    table = call("evaluate", tmp_path / "guess", tmp_path / "truth").stdout
    assert "100.0 75.0 83.3" in next(line for line in table.splitlines() if line.startswith("mean of 2"))


@pytest.mark.parametrize("velocities", [(64, 64), (64, 80)])
def test_evaluate_shows_no_velocities_where_the_reference_has_none(
    tmp_path: Path, velocities: tuple[int, int]
) -> None:
    """As lists of MAPS have none; any velocities of the estimate would fit."""
    guess = [replace(A, velocity=20), replace(B, velocity=90)]
    truth = [replace(note, velocity=velocity) for note, velocity in zip((A, B), velocities, strict=True)]
    for name in ("one", "two"):
        write_notes(tmp_path / "guess" / f"{name}.mid", guess)
        write_notes(tmp_path / "truth" / f"{name}.tsv", truth)
        if velocities == (64, 64):  # without their column
            lines = (tmp_path / "truth" / f"{name}.tsv").read_text().splitlines()
            (tmp_path / "truth" / f"{name}.tsv").write_text(
                "\n".join(line.rpartition("\t")[0] for line in lines if not line.startswith("#"))
            )
    told = velocities != (64, 64)
    printed = call("evaluate", tmp_path / "guess" / "one.mid", tmp_path / "truth" / "one.tsv").stdout
    (of_velocity,) = (line for line in printed.splitlines() if line.startswith("note + offset + velocity"))
    assert of_velocity.split()[-3:] == ["100.00" if told else "–"] * 3
    assert ("tells nothing of velocities" in printed) != told
    printed = call("evaluate", tmp_path / "guess", tmp_path / "truth").stdout
    assert printed.count("100.0 100.0 100.0") == 3 * (3 if told else 2)
    assert ("tells nothing of velocities" in printed) != told


def test_evaluate_names_what_has_no_partner(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_notes(tmp_path / "truth" / f"{name}.mid", [A])
    write_notes(tmp_path / "guess" / "one.mid", [A])
    result = call("evaluate", tmp_path / "guess", tmp_path / "truth")
    assert result.exit_code == 1
    assert "two.mid" in result.stderr
    assert "100.00" in result.stdout


def test_evaluate_passes_over_its_own_tables(song: Path, model: list[str], tmp_path: Path) -> None:
    write_notes(tmp_path / "truth" / "song.mid", [A])
    tables = ("--report", tmp_path / "guess" / "report.json", "--scores", tmp_path / "guess" / "scores.csv")
    reference = ("--reference", tmp_path / "truth" / "song.mid")
    made = call(song, "-o", tmp_path / "guess" / "song.csv", *reference, *tables, *model)
    assert made.exit_code == 0, made.output
    assert {path.name for path in (tmp_path / "guess").iterdir()} > {"report.json", "scores.csv"}
    result = call("evaluate", tmp_path / "guess", tmp_path / "truth")
    assert (result.exit_code, result.stderr) == (0, "")
    (tmp_path / "guess" / "other.json").write_text("{}")
    result = call("evaluate", tmp_path / "guess", tmp_path / "truth")
    assert result.exit_code == 1
    assert "other.json: has no partner" in result.stderr


def test_pedal_threshold_changes_the_reference(tmp_path: Path) -> None:
    track = mido.MidiTrack(
        [
            mido.Message("control_change", control=64, value=40),
            mido.Message("note_on", note=60, velocity=64),
            mido.Message("note_off", note=60, time=480),  # 0.5 s
            mido.Message("control_change", control=64, value=0, time=960),  # 1.5 s
        ]
    )
    mido.MidiFile(tracks=[track]).save(tmp_path / "truth.mid")
    write_notes(tmp_path / "guess.csv", [Note(0, 1.5, 60, 64)])

    def offset_f1(threshold: int) -> float:
        arguments = (tmp_path / "guess.csv", tmp_path / "truth.mid", "--pedal-threshold", threshold)
        mean = json.loads(call("evaluate", *arguments, "--json").stdout)["mean"]
        return float(mean["note_offset_f1"])

    assert [offset_f1(threshold) for threshold in (21, 64, 128)] == [1.0, 0.0, 0.0]


def test_models_are_listed() -> None:
    result = call("models")
    assert result.exit_code == 0
    for name in ("par_compact", "par"):
        assert any(line.split()[:1] == [name] for line in result.stdout.splitlines())


def test_what_models_were_measured_on_is_told_once(
    tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    maps, smd = (
        replace(checkpoint_info(tiny_checkpoint), scores={"test_set": name}) for name in ("MAPS", "SMD")
    )
    print_models({"one": maps, "two": maps, "none": None}, "one")
    assert capsys.readouterr().out.endswith("Scores in %, measured on MAPS.\n")
    print_models({"one": maps, "other": smd, "two": maps}, "one")
    assert capsys.readouterr().out.endswith("Scores in %, measured one, two on MAPS; other on SMD.\n")


def test_version_and_help() -> None:
    assert __version__ in call("--version").output
    for arguments in ([], ["--help"], ["-h"]):
        text = call(*arguments).output
        assert "SOURCE..." in text
        assert "evaluate" in text


def test_module_runs_as_the_program(tmp_path: Path) -> None:
    arguments = [str(tmp_path / "no.wav"), "-o", str(tmp_path / "no.mid")]
    command = [sys.executable, "-m", "partranscribe", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "no.wav" in done.stderr


def test_a_recording_that_breaks_off_is_one_line_of_the_process(model: list[str], tmp_path: Path) -> None:
    """Of which nothing is left in the decoder that libraries would complain of at the end."""
    audio = swelling_noise(1, 44_100)
    audio[20_000] = np.nan
    soundfile.write(tmp_path / "song.wav", audio, 44_100, subtype="FLOAT")
    places = [str(tmp_path / "song.wav"), "-o", str(tmp_path / "song.mid")]
    command = [sys.executable, "-m", "partranscribe", *places, *model]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    (line,) = done.stderr.splitlines()
    assert "the sample at 0.454 s is not finite" in line
    assert done.returncode == 1


@pytest.mark.skipif(os.name == "nt", reason="there is no such shell there")
@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "1>&- 2>&-"])
def test_the_work_is_done_where_a_stream_is_closed(
    closed: str, song: Path, model: list[str], tmp_path: Path
) -> None:
    command = shlex.join([sys.executable, "-m", "partranscribe", str(song), "-o", "song.mid", *model])
    done = subprocess.run(
        ["sh", "-c", f"exec {command} {closed}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert (tmp_path / "song.mid").read_bytes().startswith(b"MThd")
    assert "Traceback" not in done.stdout + done.stderr


def test_a_folder_that_cannot_be_made_is_one_line(song: Path, model: list[str], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = call(song, "-o", tmp_path / "o.mid", "--plot", str(tmp_path / ("n" * 300)) + "/", *model)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "cannot be written" in line


def test_a_path_that_cannot_be_a_path_is_one_line(song: Path, model: list[str], tmp_path: Path) -> None:
    long = "x" * 300 + ".wav"
    result = call(long, song, "-o", tmp_path / "out", *model)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert long in line
    assert (tmp_path / "out" / "song.mid").exists()
    for arguments in (("evaluate", long, song), (song, "--model", long, "-o", tmp_path / "o")):
        result = call(*arguments)
        assert result.exit_code == 1
        assert "Traceback" not in result.output


def test_a_folder_with_a_dot_is_a_folder_if_it_ends_with_a_slash(
    song: Path, model: list[str], tmp_path: Path
) -> None:
    assert call(song, "-o", f"{tmp_path}/out.v3/", *model).exit_code == 0
    assert (tmp_path / "out.v3" / "song.mid").exists()
    assert call(song, "-o", f"{tmp_path}/out.v4", *model).exit_code == 2


def test_standard_output_is_no_output(song: Path, model: list[str]) -> None:
    result = call(song, "-o", "-", *model)
    assert result.exit_code == 2
    assert "standard output" in result.stderr


def test_a_pipe_that_does_not_know_every_sign_is_written_to(
    song: Path, model: list[str], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "partranscribe", str(song), "-o", str(tmp_path / "out"), *model]
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    result = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    assert b"song.wav" in result.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM on Windows")
def test_a_terminated_call_leaves_nothing_half_written(model: list[str], tmp_path: Path) -> None:
    song = write_audio(tmp_path / "long.wav", swelling_noise(0, 600 * RATE), RATE)
    command = [sys.executable, "-m", "partranscribe", str(song), "-o", str(tmp_path / "out"), *model]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("out/.*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert list(tmp_path.glob("out/.*"))
    process.terminate()
    assert process.wait(timeout=60) == 143
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGINT for one process there")
def test_ctrl_c_before_the_work_ends_at_once_with_130(song: Path, tmp_path: Path) -> None:
    code = f"""
import os, signal, sys
from partranscribe import plan
plan.plan = lambda *_, **__: (os.kill(os.getpid(), signal.SIGINT), print("went on"))
from partranscribe.cli import main
main([{str(song)!r}, "-o", {str(tmp_path / "song.mid")!r}])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_the_table_of_a_narrow_terminal_keeps_names_and_f1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("estimates", "references"):
        (tmp_path / place).mkdir()
        for name in ("a_piece_of_some_length", "another_piece"):
            write_notes(tmp_path / place / f"{name}.csv", [Note(0.5, 1.0, 60, 64), Note(1.0, 1.5, 62, 70)])
    monkeypatch.setattr("rich.console.Console.is_terminal", property(lambda _: True))
    monkeypatch.setenv("COLUMNS", "80")
    printed = call("evaluate", tmp_path / "estimates", tmp_path / "references").stdout
    assert "a_piece_of_some_length" in printed
    assert printed.count("100.0") == 3 * 4
    assert "…" not in printed


def test_the_table_shows_names_as_they_are(tmp_path: Path) -> None:
    names = ("Sonata [live]", "Sonata [take2]", "[bold]")
    for place in ("estimates", "references"):
        for name in names:
            write_notes(tmp_path / place / f"{name}.csv", [A])
    printed = call("evaluate", tmp_path / "estimates", tmp_path / "references").stdout
    assert [name for name in names if name not in printed] == []


def test_evaluate_tells_of_a_folder_that_cannot_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("estimates", "references"):
        write_notes(tmp_path / place / "a.csv", [A])
    (tmp_path / "estimates" / "locked").mkdir()
    lock(monkeypatch, "locked")
    result = call("evaluate", tmp_path / "estimates", tmp_path / "references")
    assert result.exit_code == 1
    assert "locked: cannot be listed" in result.stderr


def test_choices_and_defaults_are_those_of_what_does_the_work() -> None:
    there = (tuple(WRITERS), ENGINES, PRECISIONS, (LOWEST, HIGHEST))
    tunings = (cli.LOWEST_TUNING, cli.HIGHEST_TUNING)
    assert there == (cli.FORMATS, cli.ENGINES, cli.PRECISIONS, tunings)
    defaults = {option.name: option.default for option in main.commands["transcribe"].params}
    assert defaults["time_limit"] == TIME_LIMIT
    assert defaults["pedal_threshold"] == PEDAL_THRESHOLD
