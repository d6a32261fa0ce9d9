"""What is made beside the notes: with them, once, and anew when what it is made of has changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from partranscribe import extras
from partranscribe.batch import Result, run, would_keep
from partranscribe.errors import OutputError
from partranscribe.manifest import Manifest
from partranscribe.note_io import read_notes, write_notes
from partranscribe.notes import Note
from partranscribe.plan import PAGE, POSTERIORS, Job, plan
from partranscribe.work import Settings
from synth import recording

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
    pages = [job.extras[PAGE] for job in jobs]
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
    assert would_keep(jobs, settings) == {}
    assert statuses(run(jobs, settings, processes=0)) == "dd"
    jobs[0].extras[PAGE].unlink()
    assert statuses(run(jobs, settings, processes=0)) == "dk"


def test_a_page_is_made_anew_for_another_reference(songs: Path, settings: Settings) -> None:
    truth = songs.parent / "truth"
    write_notes(truth / "a.csv", TRUTH)
    run(jobs_of(songs), settings, processes=0)
    jobs = jobs_of(songs, truth)
    assert statuses(run(jobs, settings, processes=0)) == "dk"
    assert '"reference_name":"a.csv"' in jobs[0].extras[PAGE].read_text("utf-8")
    assert statuses(run(jobs, settings, processes=0)) == "kk"
    write_notes(truth / "a.csv", TRUTH[:1])
    assert statuses(run(jobs, settings, processes=0)) == "dk"


def test_a_page_that_fails_costs_no_notes_and_is_made_the_next_time(
    songs: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OutputError("no room on the disk")

    jobs = jobs_of(songs)
    with monkeypatch.context() as broken:
        broken.setattr(extras, "write_view", refuse)
        assert statuses(run(jobs, settings, processes=0)) == "ff"
    assert all(path.exists() for job in jobs for path in job.outputs.values())
    assert all(not entry.extras for entry in Manifest(songs.parent / "out").entries().values())
    assert statuses(run(jobs, settings, processes=0)) == "dd"


def test_notes_that_were_edited_stay_and_are_what_the_page_shows(songs: Path, settings: Settings) -> None:
    jobs = jobs_of(songs)
    run(jobs, settings, processes=0)
    (edited,) = jobs[0].outputs.values()
    write_notes(edited, TRUTH)
    before = edited.read_bytes()
    assert statuses(run(jobs, settings, processes=0)) == "kk"
    assert edited.read_bytes() == before
    assert notes_of(jobs[0].extras[PAGE]) == pytest.approx([0.2, 0.4], abs=1e-3)


def test_edited_notes_tell_no_state_probabilities(songs: Path, settings: Settings) -> None:
    (job,) = plan([songs / "a.wav"], songs.parent / "out")
    run([job], settings, processes=0)
    (edited,) = job.outputs.values()
    write_notes(edited, TRUTH)
    jobs = plan([songs / "a.wav"], songs.parent / "out", extras={POSTERIORS: songs.parent / "p.npz"})
    (outcome,) = run(jobs, settings, processes=0).outcomes
    assert "has no state probabilities; --overwrite makes it anew" in str(outcome.error)
