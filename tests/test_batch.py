"""Any number of recordings in one call: what is done stays done, whoever fails, stalls or is killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from fated import Fated
from partranscribe import backlog, crew, machine
from partranscribe.backlog import Backlog
from partranscribe.batch import foresee, run
from partranscribe.crew import default_processes
from partranscribe.errors import AudioError, CheckpointError, OutputError
from partranscribe.manifest import CLAIMS, NAME, Entry, Manifest
from partranscribe.note_io import read_notes, write_notes
from partranscribe.notes import Note
from partranscribe.owner import Owner
from partranscribe.paths import sha256_of
from partranscribe.plan import Job, plan
from partranscribe.report import write_report
from partranscribe.timings import Timings
from partranscribe.work import Outcome, Settings, Watcher
from partranscribe.workers import Message, Ready, Spent, Worker, WorkerError
from synth import recording

needs_signals = pytest.mark.skipif(os.name == "nt", reason="a process cannot be stopped there")


@pytest.fixture
def settings(tiny_checkpoint: Path) -> Settings:
    return Settings(model=str(tiny_checkpoint), device="cpu")


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no model to be had, and no process that could look for one."""

    def refuse(*_: object) -> None:
        raise AssertionError("the model was loaded for nothing")

    monkeypatch.setattr(Settings, "transcriber", refuse)
    monkeypatch.setattr(Worker, "__init__", refuse)


class Diary(Watcher):
    """Notes all that it is told, one event a line."""

    def __init__(self) -> None:
        self.entries: list[str] = []

    def started(self, job: Job, duration: float | None) -> None:
        self.entries.append(f"{job.name} started of {duration}")

    def advanced(self, job: Job, seconds: float) -> None:
        self.entries.append(f"{job.name} advanced")

    def finished(self, outcome: Outcome) -> None:
        self.entries.append(f"{outcome.job.name} finished")

    def of(self, name: str) -> list[str]:
        """What happened to one recording, without repetitions."""
        return list(dict.fromkeys(entry.removeprefix(f"{name} ") for entry in self.entries if name in entry))


def songs(folder: Path, names: str = "abc", seconds: float = 1.5) -> Path:
    """A folder of recordings, each with a letter for a name."""
    for seed, name in enumerate(names):
        recording(folder / f"{name}.wav", seconds, seed)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def entered(folder: Path) -> list[str]:
    """The keys of all lines of a manifest, sorted."""
    return sorted(json.loads(line)["key"] for line in (folder / NAME).read_text("utf-8").splitlines())


def test_one_bad_recording_does_not_stop_the_others(tmp_path: Path, settings: Settings) -> None:
    songs(tmp_path / "in")
    (tmp_path / "in" / "b.wav").write_text("not a recording")
    result = run(plan([tmp_path / "in"], tmp_path / "out", ["midi", "csv"]), settings, processes=0)
    assert [type(outcome.error) for outcome in result.outcomes] == [type(None), AudioError, type(None)]
    assert "b.wav" in str(result.outcomes[1].error)
    assert names(tmp_path / "out") == ["a.csv", "a.mid", "c.csv", "c.mid", NAME]
    assert result.outcomes[0].notes == len(read_notes(tmp_path / "out" / "a.csv")) > 0
    assert not result.interrupted
    assert result.seconds > 0


@pytest.mark.skipif(sys.platform != "linux", reason="names are text there")
def test_a_name_that_is_no_text_costs_its_recording(tmp_path: Path, settings: Settings) -> None:
    songs(tmp_path / "in", "a")
    Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/\xff.wav")).write_bytes(b"no matter what")
    jobs = plan([tmp_path / "in"], tmp_path / "out")
    result = run(jobs, settings, processes=0)
    assert [outcome.error is None for outcome in result.outcomes] == [True, False]
    assert "the name is not valid text" in str(result.outcomes[1].error)
    write_report(tmp_path / "report.json", jobs, result, settings)
    assert json.loads((tmp_path / "report.json").read_text("utf-8"))["counts"] == {"done": 1, "failed": 1}


needs_links = pytest.mark.skipif(os.name == "nt", reason="links need a permission there")


@needs_links
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("out/x", "outside"),
        ("out/x/a.mid", "outside/new.mid"),
        ("out/x/a.mid", "outside/old.txt"),
        ("in/x/a.mid", "outside/new.mid"),
        ("in/x/a.mid", "outside/old.txt"),
    ],
)
def test_no_link_leads_an_output_out_of_its_folder(
    link: str, target: str, overwrite: bool, tmp_path: Path, settings: Settings
) -> None:
    songs(tmp_path / "in" / "x", "a")
    songs(tmp_path / "in", "b")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "old.txt").write_text("not to be replaced")
    place = tmp_path / link
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(tmp_path / target)
    out = tmp_path / Path(link).parts[0]  # beside the recordings, or not
    jobs = plan([tmp_path / "in"], None if out.name == "in" else out)
    errors = {
        outcome.job.name: outcome.error
        for outcome in run(jobs, settings, processes=0, overwrite=overwrite).outcomes
    }
    assert errors.pop("b.wav") is None
    assert re.search(r"a\.mid: a link leads it out of .*; take the link away", str(errors["x/a.wav"]))
    assert names(tmp_path / "outside") == ["old.txt"]
    assert (tmp_path / "outside" / "old.txt").read_text() == "not to be replaced"
    assert (out / "b.mid").is_file()


@needs_links
def test_a_folder_that_is_reached_by_a_link_is_written_to(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    run(plan([songs(tmp_path / "in", "a")], tmp_path / "out"), settings, processes=0)
    assert names(tmp_path / "disk") == ["a.mid", NAME]


@needs_links
def test_no_link_leads_the_manifest_out_of_its_folder(tmp_path: Path, settings: Settings) -> None:
    jobs = plan([songs(tmp_path / "in", "a")], None)
    (tmp_path / "profile").write_text("mine\n")
    (tmp_path / "in" / NAME).symlink_to(tmp_path / "profile")
    with pytest.raises(OutputError, match=rf"{NAME}: is a link or a pipe; take it away"):
        run(jobs, settings, processes=0)
    assert (tmp_path / "profile").read_text() == "mine\n"


@needs_links
def test_no_link_leads_claims_out_of_their_folder(tmp_path: Path, settings: Settings) -> None:
    jobs = plan([songs(tmp_path / "in", "a")], None)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / ".part-here-1-0-a").touch()
    os.utime(tmp_path / "outside" / ".part-here-1-0-a", (0, 0))
    (tmp_path / "in" / CLAIMS).symlink_to(tmp_path / "outside")
    (outcome,) = run(jobs, settings, processes=0).outcomes
    assert f"{CLAIMS}: is a link or a pipe" in str(outcome.error)
    assert names(tmp_path / "outside") == [".part-here-1-0-a"]


@needs_links
def test_a_manifest_that_cannot_be_read_costs_the_recordings_of_its_folder(
    tmp_path: Path, settings: Settings
) -> None:
    sources = [songs(tmp_path / "x", "a") / "a.wav", songs(tmp_path / "y", "b") / "b.wav"]
    (tmp_path / "x" / NAME).symlink_to("/nowhere")
    for overwrite in (False, True):
        bad, good = run(plan(sources, None), settings, processes=0, overwrite=overwrite).outcomes
        assert "is a link or a pipe" in str(bad.error)
        assert good.error is None
    assert names(tmp_path / "x") == ["a.wav", NAME]


@pytest.mark.skipif(os.name == "nt", reason="there are no pipes with names there")
def test_a_pipe_in_place_of_the_manifest_is_not_waited_for(tmp_path: Path, settings: Settings) -> None:
    jobs = plan([songs(tmp_path / "in", "a")], None)
    os.mkfifo(tmp_path / "in" / NAME)
    with pytest.raises(OutputError, match="is a link or a pipe"):
        run(jobs, settings, processes=0)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such names")
def test_names_that_look_like_other_places_stay_in_the_output_folder(
    tmp_path: Path, settings: Settings
) -> None:
    good = songs(tmp_path / "in", "a") / "a.wav"
    strange = ["a\n/etc/b", "c\\..\\..\\d", "C:\\e", "%2e%2e%2ff", "-o g", "~", "$(h)", "i\x1b[2J", "j" * 251]
    for name in strange:
        place = tmp_path / "in" / f"{name}.wav"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(good.read_bytes())
    for name in ("..wav", "...wav"):  # hidden, and meant only where they are named
        (tmp_path / name).write_bytes(good.read_bytes())
    before = set(names(tmp_path))
    sources = [tmp_path / "in", tmp_path / "..wav", tmp_path / "...wav"]
    result = run(plan(sources, tmp_path / "out"), settings, processes=0)
    assert [str(outcome.error) for outcome in result.outcomes if outcome.error is not None] == []
    written = set(names(tmp_path)) - before
    expected = {f"out/{name}.mid" for name in (*strange, "a", ".", "..")}
    folders = {"out", "out/a\n", "out/a\n/etc"}
    assert written == {*expected, *folders, f"out/{NAME}"}


def test_a_source_that_went_away_is_told_as_such(tmp_path: Path, settings: Settings) -> None:
    jobs = plan([songs(tmp_path / "in", "a")], tmp_path / "out")
    run(jobs, settings, processes=0)
    jobs[0].source.unlink()
    (outcome,) = run(jobs, settings, processes=0).outcomes
    assert "a.wav: No such file or directory; check its name" in str(outcome.error)


@pytest.mark.parametrize("what", ["folder", "file"])
def test_an_output_folder_that_is_none_is_told(what: str, tmp_path: Path, settings: Settings) -> None:
    if what == "folder":
        (tmp_path / "out" / NAME).mkdir(parents=True)
    else:
        (tmp_path / "out").touch()
    jobs = plan([songs(tmp_path / "in", "a")], tmp_path / "out", into_folder=True)
    with pytest.raises(OutputError, match="cannot be read"):
        run(jobs, settings, processes=0)


def test_nothing_to_do_is_done_at_once(settings: Settings, no_model: None) -> None:
    assert run([], settings).outcomes == []


def test_recordings_beside_which_outputs_go_have_their_manifest_there(
    tmp_path: Path, settings: Settings
) -> None:
    songs(tmp_path / "in" / "x", "a")
    assert run(plan([tmp_path / "in"], None), settings, processes=0).outcomes[0].error is None
    assert names(tmp_path / "in") == [NAME, "x", "x/a.mid", "x/a.wav"]


@pytest.mark.parametrize("processes", [0, 2, None])
def test_what_is_done_is_kept_and_needs_no_model(
    processes: int | None, tmp_path: Path, settings: Settings, request: pytest.FixtureRequest
) -> None:
    jobs = plan([songs(tmp_path / "in")], tmp_path / "out")
    run(jobs, settings, processes=0)
    before = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in names(tmp_path / "out")}
    request.getfixturevalue("no_model")
    diary = Diary()
    result = run(jobs, settings, diary, processes=processes)
    assert [(outcome.kept, outcome.error) for outcome in result.outcomes] == [("done before", None)] * 3
    assert diary.entries == ["a.wav finished", "b.wav finished", "c.wav finished"]
    assert {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in before} == before
    assert names(tmp_path / "out") == sorted(before)


def test_what_is_kept_tells_its_tuning(tmp_path: Path, settings: Settings) -> None:
    jobs = plan([songs(tmp_path / "in")], tmp_path / "out")
    for _ in range(2):
        result = run(jobs, replace(settings, tuning=415.0), processes=0)
        assert {outcome.tuning for outcome in result.outcomes} == {415.0}
    assert {outcome.kept for outcome in result.outcomes} == {"done before"}


def test_a_changed_recording_is_done_again_alone(tmp_path: Path, settings: Settings) -> None:
    jobs = plan([songs(tmp_path / "in")], tmp_path / "out", ["csv"])
    run(jobs, settings, processes=0)
    before = [path.read_bytes() for path in sorted((tmp_path / "out").glob("*.csv"))]
    recording(tmp_path / "in" / "b.wav", seconds=2, seed=9)
    result = run(jobs, settings, processes=0)
    after = [path.read_bytes() for path in sorted((tmp_path / "out").glob("*.csv"))]
    assert [outcome.kept for outcome in result.outcomes] == ["done before", "", "done before"]
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, True]
    assert entered(tmp_path / "out") == ["a", "b", "b", "c"]


def test_other_settings_do_it_again(tmp_path: Path, settings: Settings) -> None:
    jobs = plan([songs(tmp_path / "in", "a")], tmp_path / "out")
    run(jobs, settings, processes=0)
    (outcome,) = run(jobs, replace(settings, end=1.0), processes=0).outcomes
    assert (outcome.kept, outcome.duration) == ("", 1.0)


def test_all_is_made_anew_where_that_is_asked_for(tmp_path: Path, settings: Settings) -> None:
    jobs = plan([songs(tmp_path / "in", "ab")], tmp_path / "out", ["csv"])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.csv").write_text("another's")
    kept = run(jobs, settings, processes=0)
    assert [outcome.kept for outcome in kept.outcomes] == ["already there", ""]
    assert (tmp_path / "out" / "a.csv").read_text() == "another's"
    anew = run(jobs, settings, processes=0, overwrite=True)
    assert [outcome.kept for outcome in anew.outcomes] == ["", ""]
    assert len(read_notes(tmp_path / "out" / "a.csv")) == anew.outcomes[0].notes
    assert entered(tmp_path / "out") == ["a", "b", "b"]


def test_missing_formats_are_not_made_beside_another_s_work(tmp_path: Path, settings: Settings) -> None:
    jobs = plan([songs(tmp_path / "in", "ab")], tmp_path / "out", ["midi", "csv"])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.csv").write_text("another's")
    first, second = run(jobs, settings, processes=0).outcomes
    assert isinstance(first.error, OutputError)
    assert second.error is None
    assert names(tmp_path / "out") == ["a.csv", "b.csv", "b.mid", NAME]


def test_what_is_kept_is_scored(tmp_path: Path, settings: Settings, request: pytest.FixtureRequest) -> None:
    source = songs(tmp_path / "in", "a")
    run(plan([source], tmp_path / "out"), settings, processes=0)
    write_notes(tmp_path / "truth" / "a.csv", read_notes(tmp_path / "out" / "a.mid"))
    request.getfixturevalue("no_model")
    (outcome,) = run(plan([source], tmp_path / "out", reference=tmp_path / "truth"), settings).outcomes
    assert outcome.kept == "done before"
    assert outcome.score is not None
    assert outcome.score.note.f1 == 1.0


def test_an_output_that_was_named_is_made_anew_without_a_manifest(tmp_path: Path, settings: Settings) -> None:
    jobs = plan([recording(tmp_path / "song.wav")], tmp_path / "out" / "song.mid")
    for _ in range(2):
        (outcome,) = run(jobs, settings).outcomes
        assert outcome.kept == ""
        assert names(tmp_path / "out") == ["song.mid"]


def test_what_stands_beside_a_named_output_is_replaced_only_where_that_is_asked_for(
    tmp_path: Path, settings: Settings
) -> None:
    jobs = plan([recording(tmp_path / "song.wav")], tmp_path / "song.mid", ("midi", "csv"))
    (tmp_path / "song.csv").write_text("the ground truth")
    (outcome,) = run(jobs, settings).outcomes
    assert "song.csv: is already there, and was not named; --overwrite" in str(outcome.error)
    assert (tmp_path / "song.csv").read_text() == "the ground truth"
    assert not (tmp_path / "song.mid").exists()
    (outcome,) = run(jobs, settings, overwrite=True).outcomes
    assert outcome.error is None
    assert len(read_notes(tmp_path / "song.csv")) == len(read_notes(tmp_path / "song.mid"))


class Cramped:
    """A worker on a device that holds two recordings at first, and then one."""

    hired = 0

    def __init__(self, settings: Settings, threads: int) -> None:
        Cramped.hired += 1
        self.together: int | None = None
        self.jobs: list[Job] = []
        self.seconds: dict[str, float] = {}

    @property
    def is_at_work(self) -> bool:
        return bool(self.jobs)

    @property
    def is_free(self) -> bool:
        return self.together is not None and not self.jobs

    def give(self, jobs: list[Job]) -> None:
        self.jobs = jobs

    def messages(self, time_limit: float) -> Iterator[Message]:
        if self.together is None:
            self.together = 2
            yield Ready(2)
            return
        yield from (Outcome(job) for job in self.jobs)
        self.jobs, self.together = [], 1
        yield Spent({}, 1)

    def kill(self) -> None: ...


def test_on_cuda_one_process_does_all_even_with_memory_for_one_recording_only(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "Worker", Cramped)
    monkeypatch.setattr(crew, "wait_for_any", lambda *_: None)
    monkeypatch.setattr(crew, "default_processes", lambda _: 4)
    jobs = plan([songs(tmp_path / "in", "abcdef")], tmp_path / "out")
    hired = {
        ("auto", True): 1,
        ("auto", False): 4,  # known without waiting for the first
        ("cuda", True): 1,
        ("cpu", True): 4,
    }
    for (device, gpu), processes in hired.items():
        monkeypatch.setattr(crew, "may_have_gpu", lambda there=gpu: there)
        monkeypatch.setattr(Cramped, "hired", 0)
        assert len(run(jobs, replace(settings, device=device)).outcomes) == 6
        assert Cramped.hired == processes


def test_more_processes_than_recordings_share_all_cores(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []

    class Counted(Cramped):
        def __init__(self, settings: Settings, own: int) -> None:
            super().__init__(settings, own)
            threads.append(own)

    monkeypatch.setattr(crew, "Worker", Counted)
    monkeypatch.setattr(crew, "wait_for_any", lambda *_: None)
    monkeypatch.setattr(crew, "usable_cores", lambda: 16)
    run(plan([songs(tmp_path / "in", "ab")], tmp_path / "out"), settings, processes=8)
    assert threads == [8, 8]


def test_recordings_of_one_length_are_put_together_and_no_more_claimed_than_are_given(
    tmp_path: Path, settings: Settings
) -> None:
    lengths = (1.5, 1.0, 2.0, 1.5, 1.0, 2.0)
    for name, seconds in zip("abcdef", lengths, strict=True):
        recording(tmp_path / "in" / f"{name}.wav", seconds)
    jobs = plan([tmp_path / "in"], tmp_path / "out")
    first, second = (Backlog(jobs, settings, Watcher(), overwrite=False, fail_fast=False) for _ in range(2))
    with first.claims, second.claims:
        assert [job.name for job in first.group(2)] == ["b.wav", "e.wav"]
        assert [job.name for job in second.group(2)] == ["a.wav", "d.wav"]
        assert [job.name for job in first.group(2)] == ["c.wav", "f.wav"]
        assert first.group(2) == []


def test_the_first_failure_is_the_last_where_that_is_asked_for(tmp_path: Path, settings: Settings) -> None:
    jobs = plan([songs(tmp_path / "in", "abcd")], tmp_path / "out")
    (tmp_path / "in" / "b.wav").write_text("not a recording")
    result = run(jobs, settings, processes=0, fail_fast=True)
    assert [outcome.job.name for outcome in result.outcomes] == ["a.wav", "b.wav"]
    assert not result.interrupted
    assert names(tmp_path / "out") == ["a.mid", NAME]


class Impatient(Watcher):
    """Is interrupted in the middle of a recording."""

    def __init__(self, name: str) -> None:
        self._name = name

    def advanced(self, job: Job, seconds: float) -> None:
        if job.name == self._name:
            raise KeyboardInterrupt


@pytest.mark.parametrize("processes", [0, 1])
def test_an_interrupted_call_keeps_what_is_done_and_the_next_goes_on(
    processes: int, tmp_path: Path, settings: Settings
) -> None:
    jobs = plan([songs(tmp_path / "in")], tmp_path / "out", ["midi", "csv"])
    result = run(jobs, settings, Impatient("b.wav"), processes=processes)
    assert result.interrupted
    assert [(outcome.job.name, outcome.error) for outcome in result.outcomes] == [("a.wav", None)]
    assert names(tmp_path / "out") == ["a.csv", "a.mid", NAME]
    assert multiprocessing.active_children() == []
    result = run(jobs, settings, processes=0)
    assert [outcome.kept for outcome in result.outcomes] == ["done before", "", ""]


def test_what_killed_processes_left_is_taken_away(tmp_path: Path, settings: Settings) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    jobs = plan([songs(tmp_path / "in", "a")], tmp_path / "out")
    left = tmp_path / "out" / f".part-{Owner.myself().host}-{process.pid}-1-0123456789ab.mid"
    left.parent.mkdir(parents=True)
    left.touch()
    run(jobs, settings, processes=0)
    assert names(tmp_path / "out") == ["a.mid", NAME]


@pytest.mark.parametrize("content", [None, b"no weights"])
def test_what_is_wrong_with_the_model_is_raised(content: bytes | None, tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    if content is not None:
        model.write_bytes(content)
    jobs = plan([songs(tmp_path / "in")], tmp_path / "out")
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        run(jobs, Settings(model=str(model), device="cpu"), processes=0)
    assert not list((tmp_path / "out").glob("**/*"))


CLAIM = """
import sys
from pathlib import Path
from partranscribe.manifest import Claims
with Claims() as claims:
    assert claims.take(Path(sys.argv[1]), sys.argv[2]) is None
    print("taken", flush=True)
    input()
"""


class Other(Watcher):
    """Another process, which has one recording in work until this one has done another.

    Args:
        folder: of the outputs.
        key: of what it has.
        entry: what it then enters, if it comes to an end.
    """

    def __init__(self, folder: Path, key: str, entry: Entry | None) -> None:
        self._folder, self._entry = folder, entry
        self._process = subprocess.Popen(
            [sys.executable, "-c", CLAIM, str(folder), key], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == b"taken"

    def finished(self, outcome: Outcome) -> None:
        if self._entry is not None:
            Manifest(self._folder).add(self._entry)
        self._process.kill()
        self._process.communicate()


def entry_of(job: Job, settings: Settings) -> Entry:
    """That its output, which is there, was made as these settings say."""
    state = job.source.stat()
    return Entry(
        key=job.source.stem,
        source=job.name,
        size=state.st_size,
        modified_ns=state.st_mtime_ns,
        source_sha256=sha256_of(job.source),
        work=settings.identity(sha256_of(Path(settings.model))),
        outputs={name: sha256_of(path) for name, path in job.outputs.items()},
        notes=1,
        duration_s=1.5,
        seconds=0.1,
    )


@needs_signals
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_another_process_has_in_work_is_done_when_that_is_killed(
    overwrite: bool, tmp_path: Path, settings: Settings
) -> None:
    jobs = plan([songs(tmp_path / "in", "ab")], tmp_path / "out")
    other = Other(tmp_path / "out", "a", None)
    result = run(jobs, settings, other, processes=0, overwrite=overwrite)
    assert [(outcome.kept, outcome.error) for outcome in result.outcomes] == [("", None), ("", None)]
    assert names(tmp_path / "out") == ["a.mid", "b.mid", NAME]


@needs_signals
def test_what_another_process_makes_meanwhile_is_not_made_anew(tmp_path: Path, settings: Settings) -> None:
    jobs = plan([songs(tmp_path / "in", "ab")], tmp_path / "out")
    write_notes(jobs[0].outputs["midi"], [Note(0.5, 1.0, 60, 64)])
    before = jobs[0].outputs["midi"].read_bytes()
    Manifest(tmp_path / "out").add(replace(entry_of(jobs[0], settings), finished="2000-01-01T00:00:00Z"))
    other = Other(tmp_path / "out", "a", entry_of(jobs[0], settings))
    result = run(jobs, settings, other, processes=0, overwrite=True)
    assert [outcome.kept for outcome in result.outcomes] == ["done before", ""]
    assert jobs[0].outputs["midi"].read_bytes() == before


class Busy(Worker):
    """A worker without a process, which never comes to an end with what it is given."""

    def __init__(self, *_: object) -> None:
        self.jobs, self.is_at_work, self.together, self.seconds = [], False, 1, {}

    def give(self, jobs: Sequence[Job]) -> None:
        self.jobs, self.is_at_work = list(jobs), True

    def messages(self, time_limit: float) -> Iterator[Message]:
        return iter(())

    def kill(self) -> None: ...


def at_work(
    jobs: Sequence[Job], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[list[str]]]:
    """The names of what each of two workers has, step by step; neither comes to an end."""
    steps: list[list[list[str]]] = []

    def waited(workers: Sequence[Worker], seconds: float) -> None:
        steps.append([[job.name for job in worker.jobs] for worker in workers])
        raise TimeoutError

    monkeypatch.setattr(crew, "Worker", Busy)
    monkeypatch.setattr(crew, "wait_for_any", waited)
    monkeypatch.setattr(backlog, "LOOK_SECONDS", -1.0)
    todo = Backlog(jobs, settings, Watcher(), overwrite=False, fail_fast=False)
    both = crew.Crew(todo, 2, 300.0, Timings())
    with todo.claims:
        while True:
            with suppress(TimeoutError):
                both.work()
            yield steps[-1]


def test_no_more_is_claimed_than_is_begun(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that another call on the same folder can have the rest, however long what is begun takes."""
    steps = at_work(plan([songs(tmp_path / "in", "abcd")], tmp_path / "out"), settings, monkeypatch)
    assert next(steps) == [[], []]
    for _ in range(3):
        assert next(steps) == [["a.wav"], ["b.wav"]]
    assert len(list((tmp_path / "out" / CLAIMS).iterdir())) == 2


@needs_signals
def test_what_another_process_leaves_is_taken_up_beside_other_work(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = plan([songs(tmp_path / "in", "ab")], tmp_path / "out")
    other = Other(tmp_path / "out", "a", None)
    steps = at_work(jobs, settings, monkeypatch)
    assert next(steps) == [[], []]
    for _ in range(3):
        assert next(steps) == [["b.wav"], []]
    other.finished(Outcome(jobs[0]))
    assert [["b.wav"], ["a.wav"]] in [next(steps) for _ in range(3)]


RUN = """
import json, sys
from pathlib import Path
from partranscribe import batch, plan, transcribe, work
jobs = plan.plan([Path(sys.argv[1])], Path(sys.argv[2]))
print("ready", flush=True)
input()
result = batch.run(jobs, work.Settings(model=sys.argv[3], device="cpu"), processes=0)
print(json.dumps([[outcome.job.name, outcome.kept, str(outcome.error or "")] for outcome in result.outcomes]))
"""


def test_two_calls_divide_a_folder_between_them(tmp_path: Path, settings: Settings) -> None:
    source, out = songs(tmp_path / "in", "abcdefghijkl", seconds=1), tmp_path / "out"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RUN, str(source), str(out), settings.model],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    told = [json.loads(process.communicate()[0]) for process in processes]
    for rows in told:
        assert [name for name, _, _ in rows] == [f"{letter}.wav" for letter in "abcdefghijkl"]
        assert [error for _, _, error in rows] == [""] * 12
    assert sum(not kept for rows in told for _, kept, _ in rows) == 12
    assert entered(out) == list("abcdefghijkl")
    assert names(out) == [*(f"{letter}.mid" for letter in "abcdefghijkl"), NAME]


@pytest.fixture
def fated(tiny_checkpoint: Path) -> Fated:
    return Fated(model=str(tiny_checkpoint), device="cpu")


def test_workers_tell_all_and_outcomes_are_in_the_order_of_the_jobs(tmp_path: Path, fated: Fated) -> None:
    for name, seconds in (("a", 3.0), ("c", 1.0), ("d", 2.0)):
        recording(tmp_path / "in" / f"{name}.wav", seconds)
    (tmp_path / "in" / "b.wav").write_text("not a recording")
    diary, timings = Diary(), Timings()
    with pytest.warns(UserWarning, match="a worker was warned") as warned:
        result = run(plan([tmp_path / "in"], tmp_path / "out"), fated, diary, processes=2, timings=timings)
    assert len(warned) == 1  # however many of them were
    assert [outcome.job.name for outcome in result.outcomes] == ["a.wav", "b.wav", "c.wav", "d.wav"]
    assert [outcome.duration for outcome in result.outcomes] == [3.0, 0.0, 1.0, 2.0]
    assert isinstance(result.outcomes[1].error, AudioError)
    assert diary.of("a.wav") == ["started of 3.0", "advanced", "finished"]
    assert diary.of("b.wav") == ["finished"]
    assert {"starting", "decoding", "writing"} <= timings.seconds.keys()
    assert names(tmp_path / "out") == ["a.mid", "c.mid", "d.mid", NAME]
    assert entered(tmp_path / "out") == ["a", "c", "d"]
    assert multiprocessing.active_children() == []


@needs_signals
@pytest.mark.filterwarnings("ignore:a worker was warned")
def test_a_worker_that_is_killed_costs_nothing(tmp_path: Path, fated: Fated) -> None:
    jobs = plan([songs(tmp_path / "in", "abcd")], tmp_path / "out")
    result = run(jobs, replace(fated, fates=(("a.wav", "killed once"),)), processes=2)
    assert (tmp_path / "in" / "a.met").exists()
    assert [(outcome.job.name, outcome.error) for outcome in result.outcomes] == [
        (f"{name}.wav", None) for name in "abcd"
    ]
    assert names(tmp_path / "out") == ["a.mid", "b.mid", "c.mid", "d.mid", NAME]
    assert entered(tmp_path / "out") == ["a", "b", "c", "d"]


@needs_signals
@pytest.mark.filterwarnings("ignore:a worker was warned")
def test_a_recording_that_kills_its_worker_again_is_named_and_those_beside_it_are_done(
    tmp_path: Path, fated: Fated
) -> None:
    jobs = plan([songs(tmp_path / "in", "abcd")], tmp_path / "out")
    fated = replace(fated, fates=(("b.wav", "killed"),), together=2)
    result = run(jobs, fated, processes=1)
    assert [outcome.error is None for outcome in result.outcomes] == [True, False, True, True]
    error = result.outcomes[1].error
    assert isinstance(error, WorkerError)
    assert str(jobs[1].source) in str(error)
    assert "SIGKILL" in str(error)
    assert names(tmp_path / "out") == ["a.mid", "c.mid", "d.mid", NAME]


class Leaps(Watcher):
    """A clock on which hours pass while one recording is in work."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._leaps, self._ahead = False, 0.0

    def monotonic(self) -> float:
        self._ahead += 3600 * self._leaps
        return time.monotonic() + self._ahead

    def started(self, job: Job, duration: float | None) -> None:
        self._leaps = job.name == self._name

    def finished(self, outcome: Outcome) -> None:
        self._leaps = False


@needs_signals
@pytest.mark.filterwarnings("ignore:a worker was warned")
def test_a_worker_that_makes_no_progress_is_ended_and_its_recording_named(
    tmp_path: Path, fated: Fated, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = plan([songs(tmp_path / "in", "ab")], tmp_path / "out")
    clock = Leaps("a.wav")
    monkeypatch.setattr("partranscribe.workers.time", SimpleNamespace(monotonic=clock.monotonic))
    result = run(jobs, replace(fated, fates=(("a.wav", "stopped"),)), clock, processes=1, time_limit=900)
    stalled, done = result.outcomes
    assert isinstance(stalled.error, WorkerError)
    assert str(stalled.error) == f"{jobs[0].source}: made no progress for 900 s"
    assert done.error is None
    assert names(tmp_path / "out") == ["b.mid", NAME]


@needs_signals
def test_workers_that_die_before_they_begin_end_the_call(
    tmp_path: Path, fated: Fated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "_FALSE_STARTS", 1)
    jobs = plan([songs(tmp_path / "in")], tmp_path / "out")
    with pytest.raises(WorkerError, match=r"tiny\.safetensors: .* with SIGKILL"):
        run(jobs, replace(fated, fates=(("", "killed"),)), processes=1)
    assert multiprocessing.active_children() == []
    assert not (tmp_path / "out" / CLAIMS).exists()


@needs_signals
@pytest.mark.filterwarnings("ignore:a worker was warned")
def test_what_is_done_is_told_of_though_no_other_worker_can_begin(
    tmp_path: Path, fated: Fated, monkeypatch: pytest.MonkeyPatch
) -> None:
    fates = iter([(("b.wav", "killed"),), (("", "killed"),)])
    monkeypatch.setattr(crew, "_FALSE_STARTS", 1)
    monkeypatch.setattr(crew, "Worker", lambda _, threads: Worker(replace(fated, fates=next(fates)), threads))
    jobs = plan([songs(tmp_path / "in", "abcd")], tmp_path / "out")
    result = run(jobs, fated, processes=1)
    assert [outcome.error is None for outcome in result.outcomes] == [True, False, False, False]
    assert {type(outcome.error) for outcome in result.outcomes[1:]} == {WorkerError}
    assert entered(tmp_path / "out") == ["a"]
    assert not (tmp_path / "out" / CLAIMS).exists()


def test_what_is_wrong_with_the_model_of_a_worker_is_raised(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    jobs = plan([songs(tmp_path / "in")], tmp_path / "out")
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        run(jobs, Settings(model=str(tmp_path / "model.safetensors"), device="cpu"), processes=1)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(
    ("cores", "memory", "jobs", "processes"),
    [
        (8, 64e9, 100, 8),
        (8, 64e9, 3, 3),
        (8, 4e9, 100, 3),
        (8, 1e9, 100, 1),
        (8, None, 100, 8),
        (1, 64e9, 100, 1),
        (8, 64e9, 0, 1),
    ],
)
def test_there_are_no_more_processes_than_cores_memory_and_jobs_bear(
    cores: int,
    memory: float | None,
    jobs: int,
    processes: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "CONTAINER", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)
    monkeypatch.setattr(crew, "available_memory", lambda: memory)
    assert default_processes(jobs) == processes


def test_what_would_be_kept_is_told_without_a_model(
    tmp_path: Path, settings: Settings, request: pytest.FixtureRequest
) -> None:
    source, out = songs(tmp_path / "in", "abcd"), tmp_path / "out"
    jobs = plan([source], out, ["midi", "csv"])
    run([jobs[0], jobs[1]], settings, processes=0)
    request.getfixturevalue("no_model")
    recording(source / "b.wav", seconds=2)  # another than it was
    for path in (*jobs[2].outputs.values(), jobs[3].outputs["csv"]):
        path.write_text("another's")
    found = foresee(jobs, settings)
    assert {path.name: one.kept for path, one in found.items()} == {
        "a.wav": "done before",
        "c.wav": "already there",
        "d.wav": "",
    }
    assert "d.csv: is already there, and would be replaced" in str(found[source / "d.wav"].error)
    assert foresee(jobs, settings, overwrite=True) == {}
    other = foresee(jobs, replace(settings, start=0.5))
    assert {path.name: one.kept for path, one in other.items()} == {"c.wav": "already there", "d.wav": ""}
    named = plan([source / "a.wav"], out / "a.mid")
    assert foresee(named, settings) == {}
    named = plan([source / "c.wav"], out / "other.mid", ["midi", "csv"])
    assert foresee(named, settings) == {}
    (out / "other.csv").write_text("another's")
    assert "was not named" in str(foresee(named, settings)[source / "c.wav"].error)
    assert foresee(named, settings, overwrite=True) == {}


def test_what_would_be_kept_of_an_unknown_model_is_not_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        foresee([], Settings(model=str(tmp_path / "no.safetensors")))
