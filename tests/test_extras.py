"""What is made beside the notes: with them, once, and anew when what it is made of has changed."""

from __future__ import annotations

import errno
import json
import sys
from dataclasses import replace
from pathlib import Path

import click.testing
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from partranscribe import extras
from partranscribe.batch import Result, foresee, run
from partranscribe.cli import main
from partranscribe.errors import OutputError
from partranscribe.note_io import read_notes, write_notes
from partranscribe.notes import Note
from partranscribe.plan import EXTRA_ENDINGS, PAGE, PLOT, POSTERIORS, SOUND, STEREO, Job, plan
from partranscribe.plots import check_picture
from partranscribe.sonify import FORMATS
from partranscribe.work import Settings
from synth import recording, write_audio

TRUTH = [Note(0.2, 0.5, 60, 64), Note(0.4, 0.8, 64, 80)]


@pytest.fixture
def settings(tiny_checkpoint: Path) -> Settings:
    return Settings(model=str(tiny_checkpoint), device="cpu")


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    for seed, name in enumerate("ab"):
        recording(tmp_path / "in" / f"{name}.wav", 1.0, seed)
    return tmp_path / "in"


def jobs_of(songs: Path, reference: Path | None = None) -> list[Job]:
    return plan([songs], songs.parent / "out", reference=reference, extras={PAGE: songs.parent / "pages"})


def statuses(result: Result) -> str:
    """A letter for each recording: done, kept or failed."""
    return "".join("f" if one.error else "k" if one.kept else "d" for one in result.outcomes)


def notes_of(page: Path) -> list[float]:
    """The onsets that a page shows."""
    text = page.read_text("utf-8").partition('<script type="application/json" id="data">')[2]
    return list(json.loads(text.partition("</script>")[0])["notes"]["onset_s"])


def test_pages_are_made_once(songs: Path, settings: Settings) -> None:
    jobs = jobs_of(songs)
    assert statuses(run(jobs, settings, processes=0)) == "dd"
    pages = [job.extras[PAGE].path for job in jobs]
    made = [page.stat().st_mtime_ns for page in pages]
    for job, page in zip(jobs, pages, strict=True):
        (notes,) = job.outputs.values()
        assert notes_of(page) == pytest.approx([note.onset for note in read_notes(notes)], abs=1e-3)
    again = run(jobs, settings, processes=0)
    assert statuses(again) == "kk"
    assert [page.stat().st_mtime_ns for page in pages] == made
    assert [outcome.duration for outcome in again.outcomes] == [1.0, 1.0]
    assert statuses(run(plan([songs], songs.parent / "out"), settings, processes=0)) == "kk"


def test_a_page_that_is_missing_is_made(songs: Path, settings: Settings) -> None:
    assert statuses(run(plan([songs], songs.parent / "out"), settings, processes=0)) == "dd"
    jobs = jobs_of(songs)
    assert foresee(jobs, settings) == {}
    assert statuses(run(jobs, settings, processes=0)) == "dd"
    jobs[0].extras[PAGE].path.unlink()
    assert statuses(run(jobs, settings, processes=0)) == "dk"


def test_a_page_is_made_anew_for_another_reference(songs: Path, settings: Settings) -> None:
    truth = songs.parent / "truth"
    write_notes(truth / "a.csv", TRUTH)
    run(jobs_of(songs), settings, processes=0)
    jobs = jobs_of(songs, truth)
    assert statuses(run(jobs, settings, processes=0)) == "dk"
    assert '"reference_name":"a.csv"' in jobs[0].extras[PAGE].path.read_text("utf-8")
    assert statuses(run(jobs, settings, processes=0)) == "kk"
    write_notes(truth / "a.csv", TRUTH[:1])
    assert statuses(run(jobs, settings, processes=0)) == "dk"


def test_a_sound_does_not_depend_on_the_reference(songs: Path, settings: Settings) -> None:
    write_notes(songs.parent / "truth" / "a.csv", TRUTH)
    for reference, expected in ((None, "dd"), (songs.parent / "truth", "kk")):
        jobs = plan([songs], songs.parent / "out", reference=reference, extras={SOUND: songs.parent / "s"})
        assert statuses(run(jobs, settings, processes=0)) == expected


def test_an_extra_that_fails_costs_nothing_else_and_is_made_the_next_time(
    songs: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OutputError("no room on the disk")

    both = {PAGE: songs.parent / "pages", SOUND: songs.parent / "sound"}
    jobs = plan([songs], songs.parent / "out", extras=both)
    with monkeypatch.context() as broken:
        broken.setattr(extras, "write_view", refuse)
        assert statuses(run(jobs, settings, processes=0)) == "ff"
    for job in jobs:
        assert all(path.exists() for path in (*job.outputs.values(), job.extras[SOUND].path))
        assert [*job.extras[PAGE].path.parent.iterdir()] == []
    assert statuses(run(jobs, settings, processes=0)) == "dd"
    assert statuses(run(jobs, settings, processes=0)) == "kk"


def test_notes_that_were_edited_stay_and_nothing_is_made_of_them(songs: Path, settings: Settings) -> None:
    jobs = jobs_of(songs)
    run(jobs, settings, processes=0)
    (edited,) = jobs[0].outputs.values()
    write_notes(edited, TRUTH)
    before = edited.read_bytes()
    assert statuses(run(jobs, settings, processes=0)) == "kk"
    jobs[0].extras[PAGE].path.unlink()
    (outcome, _) = run(jobs, settings, processes=0).outcomes
    assert "is not made, as" in str(outcome.error)
    assert "is changed since it was made; --overwrite makes all anew" in str(outcome.error)
    assert edited.read_bytes() == before


@pytest.mark.parametrize("output", ["out", "a.mid"])
def test_what_something_else_made_is_replaced_by_no_extra(
    output: str, songs: Path, settings: Settings
) -> None:
    mine = songs.parent / "sound" / "a.wav"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    jobs = plan([songs / "a.wav"], songs.parent / output, extras={SOUND: mine.parent})
    (outcome,) = run(jobs, settings, processes=0).outcomes
    assert "is already there, and would be replaced; --overwrite allows it" in str(outcome.error)
    assert mine.read_bytes() == b"mine"
    assert not any(path.exists() for path in jobs[0].outputs.values())
    assert statuses(run(jobs, settings, processes=0, overwrite=True)) == "d"
    assert mine.read_bytes()[:4] == b"RIFF"


def test_an_extra_that_was_named_is_made_anew(songs: Path, settings: Settings) -> None:
    named = songs.parent / "a.html"
    named.write_bytes(b"mine")
    jobs = plan([songs / "a.wav"], songs.parent / "out", extras={PAGE: named})
    assert statuses(run(jobs, settings, processes=0)) == "d"
    assert notes_of(named)
    assert statuses(run(jobs, settings, processes=0)) == "k"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_link_leads_no_extra_out_of_its_folder(songs: Path, settings: Settings, overwrite: bool) -> None:
    (songs.parent / "pages").mkdir()
    (songs.parent / "pages" / "a.html").symlink_to(songs.parent / "elsewhere.html")
    (outcome, other) = run(jobs_of(songs), settings, processes=0, overwrite=overwrite).outcomes
    assert "a link leads it out of" in str(outcome.error)
    assert other.error is None
    assert not (songs.parent / "elsewhere.html").exists()


def test_a_page_of_other_settings_is_not_taken_for_done(songs: Path, settings: Settings) -> None:
    """Pages in two folders, of which the first was made of a part."""
    first, second = ({PAGE: songs.parent / name} for name in ("first", "second"))
    part = replace(settings, end=0.5)
    for settings_now, made in ((part, first), (settings, second), (settings, first)):
        jobs = plan([songs / "a.wav"], songs.parent / "out", extras=made)
        assert statuses(run(jobs, settings_now, processes=0)) == "d"
    assert '"end_s":1.0' in jobs[0].extras[PAGE].path.read_text("utf-8")
    assert statuses(run(jobs, settings, processes=0)) == "k"


def test_posteriors_of_a_run_that_failed_leave_nothing(
    songs: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = plan([songs / "a.wav"], songs.parent / "out", extras={POSTERIORS: songs.parent / "p"})
    with monkeypatch.context() as broken:
        broken.setattr("partranscribe.work._source_sha256", lambda *_: 1 / 0)
        assert statuses(run(jobs, settings, processes=0)) == "f"
    assert [*(songs.parent / "p").iterdir()] == []
    assert statuses(run(jobs, settings, processes=0)) == "d"
    assert [path.name for path in (songs.parent / "p").iterdir()] == ["a.npz"]


def test_posteriors_that_cannot_be_written_are_called_by_their_name(
    songs: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    jobs = plan([songs / "a.wav"], songs.parent / "out", extras={POSTERIORS: songs.parent / "p.npz"})
    monkeypatch.setattr("partranscribe.posteriors.PosteriorCollector.write", refuse)
    (outcome,) = run(jobs, settings, processes=0).outcomes
    assert str(outcome.error).startswith(f"{songs.parent / 'p.npz'}: cannot be written (No space left")
    assert not [path for path in songs.parent.rglob("*") if path.suffix == ".npz"]


def test_posteriors_may_be_linked_to_another_disk(
    songs: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (songs.parent / "disk").mkdir()
    link = songs.parent / "p.npz"
    link.symlink_to(songs.parent / "disk" / "there.npz")
    replaced = Path.replace

    def within_a_disk(path: Path, target: Path) -> Path:
        if path.parent != target.parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return replaced(path, target)

    monkeypatch.setattr(Path, "replace", within_a_disk)
    jobs = plan([songs / "a.wav"], songs.parent / "out", extras={POSTERIORS: link})
    assert statuses(run(jobs, settings, processes=0)) == "d"
    assert [path.name for path in (songs.parent / "disk").iterdir()] == ["there.npz"]


def call(*arguments: object) -> click.testing.Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_every_extra_is_written_for_one_recording_and_for_several(
    songs: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(songs.parent)
    model = ("--model", settings.model, "--device", "cpu", "-j", 1, "--quiet")
    one = ("--view", "a.html", "--plot", "a.svg", "--sonify", "a.wav", "--sonify-stereo", "b.flac")
    result = call("in/a.wav", "-o", "a.mid", *one, "--posteriors", "a.npz", *model)
    assert result.exit_code == 0, result.output
    assert all(Path(name).stat().st_size > 100 for name in ("a.mid", *one[1::2], "a.npz"))
    several = ("--view", "v", "--plot", "p", "--sonify", "s", "--sonify-stereo", "t", "--posteriors", "n")
    result = call("in", "-o", "out", *several, *model)
    assert result.exit_code == 0, result.output
    made = [path for folder in several[1::2] for path in sorted(Path(folder).iterdir())]
    expected = ["v/a.html", "v/b.html", "v/index.html", "p/a.png", "p/b.png"]
    expected += ["s/a.wav", "s/b.wav", "t/a.wav", "t/b.wav", "n/a.npz", "n/b.npz"]
    assert [path.as_posix() for path in made] == expected


def test_sound_lasts_as_long_as_the_recording_though_it_is_silent(tmp_path: Path, settings: Settings) -> None:
    write_audio(tmp_path / "silence.wav", np.zeros(8000, np.float32), 16_000)
    result = call(
        tmp_path / "silence.wav", "-o", tmp_path / "a.mid", "--sonify", tmp_path / "a.wav",
        "--sonify-stereo", tmp_path / "b.wav", "--plot", tmp_path / "a.pdf", "--model", settings.model,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert soundfile.info(tmp_path / "a.wav").frames == 8000
    assert soundfile.info(tmp_path / "b.wav").frames == 8000


def test_endings_are_those_that_can_be_written() -> None:
    assert EXTRA_ENDINGS[SOUND] == EXTRA_ENDINGS[STEREO] == tuple(FORMATS)
    for ending in EXTRA_ENDINGS[PLOT]:
        check_picture(Path(f"x{ending}"))


def test_without_matplotlib_nothing_is_begun(
    songs: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    out = songs.parent / "out"
    result = call(songs, "-o", out, "--plot", songs.parent / "plots", "--model", settings.model)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.endswith("pip install 'partranscribe[plots]'")
    assert not out.exists()


def test_evaluate_draws_what_scores_are_made_of(tmp_path: Path) -> None:
    write_notes(tmp_path / "a.csv", TRUTH)
    write_notes(tmp_path / "b.csv", TRUTH[:1])
    drawn = ["onset-errors.png", "recall-by-length.png", "recall-by-pitch.png", "reliability.png"]
    for form in ("", "--json"):
        folder = tmp_path / f"figures{form}"
        result = call("evaluate", tmp_path / "a.csv", tmp_path / "b.csv", "--plots", folder, *form.split())
        assert result.exit_code == 0, result.output
        assert sorted(path.name for path in folder.iterdir()) == drawn
    assert json.loads(result.stdout)["pieces"]
