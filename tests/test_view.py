"""The page of a recording: what it holds, what it refuses, and that nothing in it can do harm."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
from click.testing import CliRunner, Result

from conftest import TINY, swelling_noise
from partranscribe.cli import main
from partranscribe.errors import AudioError, NoteFileError, OutputError
from partranscribe.frontend import LogMel
from partranscribe.note_io import csv_bytes, read_notes, write_notes
from partranscribe.notes import Note
from partranscribe.score import HIT, INVENTED, NO_PARTNER, WRONG_OFFSET, score
from partranscribe.template import json_for_html
from partranscribe.view import Contents, write_view
from synth import melody, write_audio

RATE = 16_000
NOTES = [
    Note(0.51234567, 1.0, 60, 80, 0.98765),
    Note(0.5124, 1.4, 64, 70, 0.5),
    Note(1.0, 1.7, 67, 33, 0.25),
    Note(1.5, 1.9, 72, 127, 1.0),
]
REFERENCE = [
    Note(0.5, 1.0, 60, 80),  # hit
    Note(0.52, 0.7, 64, 70),  # its offset is elsewhere
    Note(1.5, 1.9, 72, 100),  # hit
    Note(1.6, 1.9, 48, 90),  # missed
]
HOSTILE = "</script><script>alert(1)</script>\"'&<!--\u2028\u2029🎹 שלום"


@pytest.fixture
def song(tmp_path: Path) -> Path:
    return write_audio(tmp_path / "song.wav", melody(NOTES, RATE), RATE)


@pytest.fixture(scope="module")
def log_mel() -> LogMel:
    return LogMel(TINY.front_end)


@pytest.fixture
def model(tiny_checkpoint: Path) -> list[str]:
    return ["--model", str(tiny_checkpoint), "--device", "cpu"]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


class Elements(HTMLParser):
    """The scripts of a page with attributes and texts, and every attribute that could load something."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.loading: list[tuple[str, str, str | None]] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag == "script":
            self.scripts.append((dict(attributes), ""))
        self.loading += [
            (tag, name, value)
            for name, value in attributes
            if name in ("src", "href", "srcset", "style") or name.startswith("on")
        ]

    def handle_data(self, text: str) -> None:
        if self.lasttag == "script" and self.scripts:
            attributes, before = self.scripts[-1]
            self.scripts[-1] = (attributes, before + text)


def data_of(page: Path) -> dict[str, Any]:
    (text,) = [text for attributes, text in Elements(page).scripts if attributes.get("id") == "data"]
    data: dict[str, Any] = json.loads(text)
    return data


def test_page_holds_what_the_csv_holds(song: Path, log_mel: LogMel, tmp_path: Path) -> None:
    write_view(tmp_path / "song.html", Contents(song, NOTES, "par"), log_mel)
    notes = data_of(tmp_path / "song.html")["notes"]
    header, *rows = csv_bytes(NOTES, {}).decode().splitlines()
    assert header.split(",") == list(notes)
    assert [
        f"{onset:.4f},{offset:.4f},{pitch},{name},{velocity},{confidence:.4f}"
        for onset, offset, pitch, name, velocity, confidence in zip(*notes.values(), strict=True)
    ] == rows


def test_page_holds_the_whole_recording_in_pieces(log_mel: LogMel, tmp_path: Path) -> None:
    song = write_audio(tmp_path / "song.flac", swelling_noise(0, 25 * RATE), RATE)
    write_view(tmp_path / "song.html", Contents(song, NOTES, "par"), log_mel)
    data, scripts = data_of(tmp_path / "song.html"), Elements(tmp_path / "song.html").scripts
    held = {attributes["id"]: text for attributes, text in scripts if attributes.get("type") == "text/plain"}
    assert data["end_s"] == 25.0
    assert [name for name in held if name and name.startswith("piece")] == ["piece-0", "piece-1", "piece-2"]
    assert base64.b64decode(held["piece-2"]).startswith(b"\x1aE\xdf\xa3")  # EBML, as WebM begins
    assert base64.b64decode(held["tile-0-0"])[8:12] == b"WEBP"


def test_a_part_keeps_the_times_of_the_file(log_mel: LogMel, tmp_path: Path) -> None:
    song = write_audio(tmp_path / "song.flac", swelling_noise(0, 8 * RATE), RATE)
    write_view(tmp_path / "song.html", Contents(song, NOTES, "par", start=0.5, end=6.0), log_mel)
    data = data_of(tmp_path / "song.html")
    assert (data["start_s"], data["end_s"]) == (0.5, 6.0)
    assert data["notes"]["onset_s"][0] == 0.5123


def test_kinds_are_those_of_mir_eval(song: Path, log_mel: LogMel, tmp_path: Path) -> None:
    contents = Contents(song, NOTES, "par", REFERENCE, "truth.mid")
    write_view(tmp_path / "song.html", contents, log_mel)
    comparison = data_of(tmp_path / "song.html")["comparison"]
    assert comparison["kinds"] == [HIT, WRONG_OFFSET, INVENTED, HIT]
    assert comparison["partners"] == [0, 1, NO_PARTNER, 2]
    assert comparison["missed"] == [3]
    assert comparison["score"] == score(NOTES, REFERENCE).to_dict()
    assert comparison["score"]["note_f1"] == 0.75
    assert comparison["score"]["note_offset_f1"] == 0.5


def test_numbers_of_kinds_agree_with_the_scores(song: Path, log_mel: LogMel, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    onsets = rng.uniform(0, 2, (2, 400))
    found, wanted = (
        sorted(
            (Note(at, at + rng.uniform(0.01, 0.3), int(rng.integers(60, 64)), 64) for at in column.tolist()),
            key=lambda note: note.onset,
        )
        for column in onsets
    )
    write_view(tmp_path / "song.html", Contents(song, found, "par", wanted, "truth.mid"), log_mel)
    comparison = data_of(tmp_path / "song.html")["comparison"]
    measured = score(found, wanted)
    hits = comparison["kinds"].count(HIT)
    assert hits == round(measured.note_offset.precision * len(found))
    assert comparison["kinds"].count(INVENTED) <= len(found) - measured.matched
    assert len(comparison["missed"]) <= len(wanted) - measured.matched


def test_json_cannot_leave_its_element() -> None:
    text = json_for_html({"name": HOSTILE})
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == {"name": HOSTILE}


def test_hostile_names_stay_text(song: Path, log_mel: LogMel, tmp_path: Path) -> None:
    name = HOSTILE.replace("/", "⁄")
    recording = song.rename(tmp_path / f"{name}.wav")
    page = tmp_path / "page.html"
    write_view(page, Contents(recording, NOTES, HOSTILE, REFERENCE, HOSTILE), log_mel)
    data, elements = data_of(page), Elements(page)
    assert data["recording"] == f"{name}.wav"
    assert data["notes_from"] == data["reference_name"] == HOSTILE
    assert "alert(1)" not in "".join(
        text for attributes, text in elements.scripts if "type" not in attributes
    )


def test_the_policy_lets_nothing_run_or_load_but_the_page_itself(
    song: Path, log_mel: LogMel, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    write_view(page, Contents(song, NOTES, "par"), log_mel)
    elements, text = Elements(page), page.read_text(encoding="utf-8")
    assert elements.loading == []
    assert "://" not in re.sub(r"<script type=.*?</script>", "", text)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    (script,) = [text for attributes, text in elements.scripts if "type" not in attributes]
    assert "innerHTML" not in script


@pytest.mark.parametrize(
    ("notes", "remark"),
    [
        ([], "There are no notes"),
        (
            [*NOTES, Note(9.0, 9.5, 60, 64)],
            "One note of the transcription begins after the recording has ended",
        ),
    ],
)
def test_page_says_what_is_odd(
    notes: list[Note], remark: str, song: Path, log_mel: LogMel, tmp_path: Path
) -> None:
    write_view(tmp_path / "page.html", Contents(song, notes, "par", REFERENCE, "truth.mid"), log_mel)
    (line,) = data_of(tmp_path / "page.html")["remarks"]
    assert remark in line


def test_a_reference_that_is_longer_than_the_recording_is_remarked(
    song: Path, log_mel: LogMel, tmp_path: Path
) -> None:
    late = [replace(note, onset=note.onset + 5, offset=note.offset + 5) for note in REFERENCE]
    write_view(tmp_path / "page.html", Contents(song, NOTES, "par", late, "truth.mid"), log_mel)
    (line,) = data_of(tmp_path / "page.html")["remarks"]
    assert line.startswith("4 notes of the reference begin after the recording has ended, at 2.4 s")


def test_pitches_beyond_the_piano_are_on_the_page(song: Path, log_mel: LogMel, tmp_path: Path) -> None:
    write_view(tmp_path / "page.html", Contents(song, [Note(0, 1, 12, 1), Note(0, 1, 120, 1)], "x"), log_mel)
    data = data_of(tmp_path / "page.html")
    assert (data["lowest"], data["highest"]) == (12, 120)


def test_nothing_is_left_of_a_page_that_fails(log_mel: LogMel, tmp_path: Path) -> None:
    (tmp_path / "song.wav").write_bytes(b"no audio" * 100)
    with pytest.raises(AudioError, match=r"song\.wav"):
        write_view(tmp_path / "page.html", Contents(tmp_path / "song.wav", NOTES, "par"), log_mel)
    assert [path.name for path in tmp_path.iterdir()] == ["song.wav"]


def test_an_empty_reference_and_a_bad_place_are_errors(song: Path, log_mel: LogMel, tmp_path: Path) -> None:
    with pytest.raises(NoteFileError, match="no notes"):
        write_view(tmp_path / "page.html", Contents(song, NOTES, "par", [], "truth.mid"), log_mel)
    with pytest.raises(OutputError, match=r"song\.wav"):
        write_view(song / "page.html", Contents(song, NOTES, "par"), log_mel)


def test_view_shows_notes_that_are_there(song: Path, model: list[str], tmp_path: Path) -> None:
    write_notes(tmp_path / "notes.csv", NOTES)
    write_notes(tmp_path / "truth.tsv", REFERENCE)
    page = tmp_path / "out" / "page.html"
    result = call(
        "view", song, tmp_path / "notes.csv", "--reference", tmp_path / "truth.tsv", "-o", page, *model
    )
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{song}, {tmp_path / 'notes.csv'} → {page}\n"
    data = data_of(page)
    assert data["notes_from"] == "notes.csv"
    assert data["reference_name"] == "truth.tsv"
    assert data["comparison"]["kinds"] == [HIT, WRONG_OFFSET, INVENTED, HIT]


@pytest.mark.parametrize("notes_are_there", [False, True])
def test_a_page_is_in_the_tuning_of_its_recording(
    notes_are_there: bool, model: list[str], tmp_path: Path
) -> None:
    notes = [Note(0.4 * place, 0.4 * place + 0.5, 48 + (7 * place) % 30, 80) for place in range(8)]
    faster = soxr.resample(melody(notes, RATE), RATE * 2 ** (40 / 1200), RATE)
    song = write_audio(tmp_path / "song.wav", faster, RATE)
    write_notes(tmp_path / "notes.csv", notes)
    given = [tmp_path / "notes.csv"] if notes_are_there else []
    result = call("view", song, *given, "-o", tmp_path / "page.html", *model)
    assert result.exit_code == 0, result.output
    data = data_of(tmp_path / "page.html")
    assert data["tuning_hz"] == pytest.approx(450.3, abs=0.5)
    assert f"A4 = {data['tuning_hz']:g} Hz" in data["remarks"][0]


def test_a_page_that_cannot_be_written_is_told_before_the_recording_is_read(
    model: list[str], tmp_path: Path
) -> None:
    song = tmp_path / "song.wav"
    song.write_text("no audio")
    write_notes(tmp_path / "notes.csv", NOTES)
    page = song / "page.html"
    result = call("view", song, tmp_path / "notes.csv", "-o", page, *model)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {page}: cannot be written")


def test_view_alone_transcribes(model: list[str], tmp_path: Path) -> None:
    song = write_audio(tmp_path / "song.wav", swelling_noise(0, 2 * RATE), RATE)
    assert call(song, "-o", tmp_path / "song.csv", *model).exit_code == 0
    result = call("view", song, "-o", tmp_path / "page.html", *model)
    assert result.exit_code == 0, result.output
    assert f"→ {tmp_path / 'page.html'}" in result.stdout
    notes, data = read_notes(tmp_path / "song.csv"), data_of(tmp_path / "page.html")
    assert len(notes) > 3
    assert data["notes_from"] == "tiny"
    assert data["notes"]["onset_s"] == [note.onset for note in notes]
    assert data["notes"]["confidence"] == [note.confidence for note in notes]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "song.csv", "song.wav"]


def test_view_replaces_its_page_in_a_folder_too(model: list[str], tmp_path: Path) -> None:
    song = write_audio(tmp_path / "song.wav", swelling_noise(0, 2 * RATE), RATE)
    for _ in range(2):
        result = call("view", song, "-o", tmp_path / "pages", *model)
        assert result.exit_code == 0, result.output
    assert data_of(tmp_path / "pages" / "song.html")["notes_from"] == "tiny"


@pytest.mark.parametrize("with_notes", [False, True])
def test_view_replaces_nothing_else_in_a_folder(
    with_notes: bool, song: Path, model: list[str], tmp_path: Path
) -> None:
    write_notes(tmp_path / "notes.csv", [Note(0.5, 1.0, 60, 64)])
    notes = [tmp_path / "notes.csv"] if with_notes else []
    pages = tmp_path / "pages.d"
    pages.mkdir()
    page = pages / f"{song.stem}.html"
    page.write_text("my own page")
    result = call("view", song, *notes, "-o", f"{pages}/", *model)
    assert result.exit_code == 1
    assert "was not made by partranscribe, and would be replaced; name the file to write" in result.stderr
    assert page.read_text() == "my own page"
    page.unlink()
    page.symlink_to(tmp_path / "outside.html")
    result = call("view", song, *notes, "-o", f"{pages}/", *model)
    assert result.exit_code == 1
    assert "a link leads it out of" in result.stderr
    assert not (tmp_path / "outside.html").exists()
    page.unlink()
    result = call("view", song, *notes, "-o", f"{pages}/", *model)
    assert result.exit_code == 0
    assert f"→ {page}" in result.stdout


def test_transcribing_writes_a_page_beside_the_notes(model: list[str], tmp_path: Path) -> None:
    song = write_audio(tmp_path / "song.wav", swelling_noise(0, 2 * RATE), RATE)
    page = tmp_path / "page.html"
    command = (song, "-o", tmp_path / "out", "--format", "midi,csv", "--view", page, *model)
    result = call(*command)
    assert result.exit_code == 0, result.output
    assert str(page) in result.stdout
    made = data_of(page)
    notes = read_notes(tmp_path / "out" / "song.csv")
    assert made["notes"]["offset_s"] == [note.offset for note in notes]
    page.unlink()
    again = call(*command)
    assert again.exit_code == 0, again.output
    assert data_of(page)["notes"] == made["notes"]


def test_a_part_of_a_recording_is_compared_with_that_part(model: list[str], tmp_path: Path) -> None:
    song = write_audio(tmp_path / "song.wav", swelling_noise(0, 3 * RATE), RATE)
    write_notes(
        tmp_path / "truth.csv", [Note(0.2, 0.5, 60, 64), Note(1.5, 1.8, 60, 64), Note(2.9, 3.0, 60, 64)]
    )
    page = tmp_path / "page.html"
    result = call(
        song, "-o", tmp_path / "song.csv", "--start", 1, "--end", 2.5, "--view", page,
        "--reference", tmp_path / "truth.csv", *model,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    data = data_of(page)
    assert (data["start_s"], data["end_s"]) == (1.0, 2.5)
    assert data["comparison"]["notes"]["onset_s"] == [1.5]


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        (["notes.csv", "-o", "page.html"], "notes.csv: is a note list; give the recording"),
        (["notes.csv", "notes.csv", "-o", "page.html"], "notes.csv: is a note list; give the recording"),
        (["song.wav", "missing.csv", "-o", "page.html"], "missing.csv: cannot be read"),
        (["missing.wav", "notes.csv", "-o", "page.html"], "missing.wav: No such file"),
        (["song.wav", "song.wav", "-o", "page.html"], "song.wav: '.wav' is no ending of a note list"),
        (["song.wav", "notes.csv", "--reference", "broken.mid", "-o", "page.html"], "broken.mid: is not a"),
        (["song.wav", "notes.csv", "--reference", "none.csv", "-o", "page.html"], "none.csv: no notes to"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_status_1(
    arguments: list[str],
    fact: str,
    song: Path,
    model: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_notes("notes.csv", NOTES)
    write_notes("none.csv", [])
    Path("broken.mid").write_bytes(b"MThd")
    result = call("view", *arguments, *model)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert fact in line
    assert not Path("page.html").exists()


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        (["song.wav", "other.wav", "--view", "page.html"], "the page of one recording, and there are 2"),
        (["song.wav", "--view", "page.mid"], "'.mid' is no ending of a page"),
        (["view", "song.wav", "notes.csv", "-o", "song.wav"], "'.wav' is no ending of a page"),
        (["song.wav", "--view", "link.html"], "would replace a recording"),
        (["view", "song.wav"], "Missing option '-o'"),
    ],
)
def test_wrong_usage_is_status_2(
    arguments: list[str], fact: str, song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("link.html").symlink_to("song.wav")
    before = song.read_bytes()
    result = call(*arguments)
    assert result.exit_code == 2
    assert fact in result.stderr.replace("\n", " ")
    assert song.read_bytes() == before
