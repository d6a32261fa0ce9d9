"""Recordings and outputs behind URLs: as on a disk, though nothing there can be appended to or renamed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from partranscribe import remote
from partranscribe.backlog import Backlog
from partranscribe.batch import foresee, run
from partranscribe.cli import main
from partranscribe.errors import AudioError, StoreError
from partranscribe.manifest import NAME, manifest_of
from partranscribe.plan import plan
from partranscribe.remote import appearing, fetched, is_remote, location
from partranscribe.work import Outcome, Settings
from synth import recording

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
pytest.importorskip("upath", reason="universal-pathlib is not installed")


@pytest.fixture
def settings(tiny_checkpoint: Path) -> Settings:
    return Settings(model=str(tiny_checkpoint), device="cpu")


@pytest.fixture(autouse=True)
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where copies of recordings are; none may be left."""
    folder = tmp_path / "copies"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.glob(".part-*")) == []


@pytest.fixture
def memory() -> Iterator[Path]:
    """An empty store in memory."""
    store = fsspec.filesystem("memory")
    yield location("memory://archive")
    store.store.clear()
    store.pseudo_dirs[:] = [""]


def songs(folder: Path, names: str, seconds: float = 1.5) -> Path:
    """A local folder of recordings, each with a letter for a name."""
    for seed, name in enumerate(names):
        recording(folder / f"{name}.wav", seconds, seed)
    return folder


def upload(folder: Path, place: Path) -> Path:
    """Put the files of a local folder behind a URL."""
    for path in folder.rglob("*"):
        if path.is_file():
            remote.put(place.joinpath(*path.relative_to(folder).parts), path.read_bytes())
    return place


def below(folder: Path) -> list[str]:
    """All files, hidden ones too."""
    if is_remote(folder):
        top = str(folder).removeprefix("memory:/") + "/"
        return sorted(name.removeprefix(top) for name in remote.contents(folder))
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def entered(folder: Path) -> list[str]:
    """The keys of all lines of a manifest."""
    return [json.loads(line)["key"] for line in (folder / NAME).read_text("utf-8").splitlines()]


def command(*arguments: str, model: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--model", model, "--device", "cpu"])


def test_what_looks_like_a_url_is_one() -> None:
    assert is_remote(location("memory://a/b.wav"))
    for text in ("a.wav", "/a/b.wav", "C:\\a.wav", "c://a.wav", "odd:name.wav", "://a"):
        assert location(text) == Path(text)


def test_a_store_does_what_a_folder_does(tmp_path: Path, settings: Settings, memory: Path) -> None:
    songs(tmp_path / "in", "ab")
    songs(tmp_path / "in/live", "a")
    (tmp_path / "in/.hidden.wav").write_text("of some other program")
    sources = upload(tmp_path / "in", memory / "in [1]")
    here = run(plan([tmp_path / "in"], tmp_path / "out", ["midi", "csv"]), settings, processes=0)
    there = run(plan([sources], memory / "out [1]", ["midi", "csv"]), settings, processes=0)
    assert [outcome.job.name for outcome in there.outcomes] == ["a.wav", "b.wav", "live/a.wav"]
    assert [one.source_sha256 for one in there.outcomes] == [one.source_sha256 for one in here.outcomes]
    assert below(memory / "out [1]") == below(tmp_path / "out")
    for name in ("a.mid", "b.csv", "live/a.mid"):
        assert (memory / "out [1]" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    assert sorted(entered(memory / "out [1]")) == ["a", "b", "live/a"]


def test_several_processes_share_a_store(tmp_path: Path, settings: Settings) -> None:
    songs(tmp_path / "in", "abc")
    top = tmp_path.as_uri()
    jobs = plan([location(f"{top}/in")], location(f"{top}/out"))
    result = run(jobs, settings, processes=2)
    assert [outcome.error for outcome in result.outcomes] == [None] * 3
    assert below(tmp_path / "out") == ["a.mid", "b.mid", "c.mid", NAME]
    assert sorted(entered(tmp_path / "out")) == ["a", "b", "c"]
    again = run(plan([location(f"{top}/in")], location(f"{top}/out")), settings, processes=2)
    assert [outcome.kept for outcome in again.outcomes] == ["done before"] * 3
    local = run(plan([tmp_path / "in"], tmp_path / "out"), settings, processes=0)
    assert [outcome.kept for outcome in local.outcomes] == ["done before"] * 3  # whose manifest is the same


def test_outputs_go_beside_their_recordings(tmp_path: Path, settings: Settings, memory: Path) -> None:
    upload(songs(tmp_path / "in", "a"), memory / "in")
    run(plan([memory / "in"], None), settings, processes=0)
    assert below(memory / "in") == ["a.mid", "a.wav", NAME]


def test_stores_and_folders_mix(tmp_path: Path, settings: Settings, memory: Path) -> None:
    sources = upload(songs(tmp_path / "in", "a"), memory / "in")
    run(plan([sources], tmp_path / "out"), settings, processes=0)
    run(plan([tmp_path / "in"], memory / "out"), settings, processes=0)
    run(plan([tmp_path / "in/a.wav"], memory / "one.mid"), settings, processes=0)
    found = {(memory / "out/a.mid").read_bytes(), (memory / "one.mid").read_bytes()}
    assert found == {(tmp_path / "out/a.mid").read_bytes()}
    assert below(tmp_path / "out") == ["a.mid", NAME]


def test_only_what_changed_is_done_again(tmp_path: Path, settings: Settings, memory: Path) -> None:
    sources = upload(songs(tmp_path / "in", "ab"), memory / "in")
    run(plan([sources], memory / "out"), settings, processes=0)
    recording(tmp_path / "in/b.wav", 1.5, 7)  # of the same size
    remote.put(sources / "b.wav", (tmp_path / "in/b.wav").read_bytes())
    jobs = plan([sources], memory / "out")
    assert foresee(jobs, settings) == {jobs[0].source: Outcome(jobs[0], kept="done before")}
    again = run(jobs, settings, processes=0)
    assert [outcome.kept for outcome in again.outcomes] == ["done before", ""]
    (memory / "out/a.mid").write_bytes(b"edited")
    edited = run(jobs, settings, processes=0)
    assert [outcome.kept for outcome in edited.outcomes] == ["changed since it was made", "done before"]
    assert sorted(entered(memory / "out")) == ["a", "b", "b"]


def test_killed_between_the_entry_and_the_output(
    tmp_path: Path, settings: Settings, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = upload(songs(tmp_path / "in", "ab"), memory / "in")
    jobs = plan([sources], memory / "out")
    put = remote.put

    def die_before_output(path: Path, content: bytes) -> None:
        if path.name == "b.mid":
            raise KeyboardInterrupt
        put(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(remote, "put", die_before_output)
        patch.setattr(Backlog, "sweep", lambda _: None)
        assert run(jobs, settings, processes=0).interrupted
    assert not (memory / "out" / NAME).exists()
    assert set(manifest_of(memory / "out").entries()) == {"a", "b"}  # from what each was entered in
    again = run(jobs, settings, processes=0)
    assert [outcome.kept for outcome in again.outcomes] == ["done before", ""]
    assert entered(memory / "out").count("a") == 1
    assert below(memory / "out") == ["a.mid", "b.mid", NAME]


def test_a_manifest_that_was_half_settled_is_settled_once(
    tmp_path: Path, settings: Settings, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = plan([upload(songs(tmp_path / "in", "ab"), memory / "in")], memory / "out")
    with monkeypatch.context() as patch:
        patch.setattr(remote, "remove", lambda *_: None)
        run(jobs, settings, processes=0)
    assert len(below(memory / "out")) == 5  # two entries, too
    run(jobs, settings, processes=0)
    assert sorted(entered(memory / "out")) == ["a", "b"]
    assert below(memory / "out") == ["a.mid", "b.mid", NAME]


def test_a_broken_recording_is_named_by_its_url(tmp_path: Path, settings: Settings, memory: Path) -> None:
    songs(tmp_path / "in", "a")
    (tmp_path / "in/b.wav").write_text("not a recording")
    recording(tmp_path / "in/c.wav", 0.01, 0)
    sources = upload(tmp_path / "in", memory / "in")
    first, second, third = run(plan([sources], memory / "out"), settings, processes=0).outcomes
    assert first.error is None
    for outcome in (second, third):
        assert isinstance(outcome.error, AudioError)
        assert str(outcome.error).startswith(f"memory://archive/in/{outcome.job.name}: ")
        assert ".part-" not in str(outcome.error)


def test_what_is_not_there_is_told(settings: Settings, memory: Path) -> None:
    result = command("memory://nowhere/in", "-o", str(memory / "out"), model=settings.model)
    assert result.exit_code == 1
    assert "error: memory://nowhere/in: no such file, folder or bucket" in result.stderr


def test_an_output_folder_that_cannot_be_written_to_ends_the_batch(
    tmp_path: Path, settings: Settings
) -> None:
    songs(tmp_path / "in", "a")
    (tmp_path / "out").write_text("no folder")
    result = command(str(tmp_path / "in"), "-o", f"{tmp_path.as_uri()}/out/", model=settings.model)
    assert result.exit_code == 1
    assert f"error: {tmp_path.as_uri()}/out/" in result.stderr


def test_the_command_line_takes_urls(tmp_path: Path, settings: Settings, memory: Path) -> None:
    sources = upload(songs(tmp_path / "in", "ab"), memory / "in")
    options = ["--report", str(tmp_path / "report.json"), "--jobs", "1", "--include", "a.*"]
    url = tmp_path.as_uri()
    plain = command(str(sources), "-o", f"{url}/out", "--dry-run", model=settings.model)
    assert f"b.wav → {url}/out/b.mid" in plain.stdout
    shutil.copytree(tmp_path / "in", tmp_path / "there")
    result = command(f"{url}/there", "-o", f"{url}/out", *options, model=settings.model)
    assert result.exit_code == 0, result.output
    (row,) = json.loads((tmp_path / "report.json").read_text("utf-8"))["files"]
    assert (row["source"], row["status"]) == (f"{url}/there/a.wav", "done")
    assert row["outputs"] == {"midi": f"{url}/out/a.mid"}


def test_references_may_be_behind_a_url(tmp_path: Path, settings: Settings, memory: Path) -> None:
    songs(tmp_path / "in", "ab", 4.0)
    run(plan([tmp_path / "in"], tmp_path / "truth"), settings, processes=0)
    (tmp_path / "truth/b.mid").unlink()
    references = upload(tmp_path / "truth", memory / "truth")
    jobs = plan([tmp_path / "in"], memory / "out", reference=references)
    assert [job.reference for job in jobs] == [references / "a.mid", None]
    for _ in range(2):  # done, and kept
        first, second = run(jobs, settings, processes=0).outcomes
        assert first.score is not None
        assert first.score.note.f1 == 1.0
        assert second.score is None


def test_an_output_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = location(f"{tmp_path.as_uri()}/out/a.mid")
    with pytest.raises(ZeroDivisionError), appearing(path, b"never"):
        raise ZeroDivisionError
    assert not (tmp_path / "out").exists()
    with appearing(path, b"first"):
        assert not (tmp_path / "out").exists()
    with appearing(path, b"second"):
        assert path.read_bytes() == b"first"
    assert (tmp_path / "out/a.mid").read_bytes() == b"second"
    assert below(tmp_path / "out") == ["a.mid"]


def test_a_copy_is_there_while_it_is_needed(tmp_path: Path, memory: Path) -> None:
    remote.put(memory / "a.WAV", b"bytes")
    told: list[None] = []
    with fetched(memory / "a.WAV", lambda: told.append(None)) as copy:
        assert (copy.read_bytes(), copy.suffix, len(told)) == (b"bytes", ".WAV", 1)
    assert not copy.exists()
    local = tmp_path / "a.wav"
    with fetched(local, lambda: None) as same:
        assert same is local


def test_copies_of_a_killed_process_are_taken_away(tmp_path: Path, settings: Settings, copies: Path) -> None:
    code = f"""
import os
from partranscribe.remote import fetched, location
with fetched(location("{(tmp_path / "in/a.wav").as_uri()}"), lambda: None):
    os._exit(9)
"""
    songs(tmp_path / "in", "a")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert len(list(copies.glob(".part-*"))) == 1
    run(plan([location(f"{tmp_path.as_uri()}/in")], tmp_path / "out"), settings, processes=0)


def test_a_url_of_an_unknown_kind_is_told() -> None:
    with pytest.raises(StoreError, match=r"nosuch://a/b: .*; check the address"):
        location("nosuch://a/b")


def test_a_url_without_the_extra_tells_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "upath", None)
    with pytest.raises(StoreError, match=r"pip install 'partranscribe\[remote\]'"):
        location("s3://bucket/in")
    assert command("s3://bucket/in", model="par_compact").exit_code == 1


def test_local_paths_load_nothing_of_it(tmp_path: Path) -> None:
    code = f"""
import sys
from partranscribe import batch, cli
from partranscribe.plan import plan
from partranscribe.remote import location
plan([location({str(tmp_path)!r})], location({str(tmp_path / "out")!r}))
sys.exit(len({{"upath", "fsspec"}} & set(sys.modules)))
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_two_recordings_that_write_one_output_are_refused(
    tmp_path: Path, settings: Settings, memory: Path
) -> None:
    upload(songs(tmp_path / "in", "a"), memory / "x")
    upload(songs(tmp_path / "in", "a"), memory / "y")
    sources = [str(memory / "x/a.wav"), str(memory / "y/a.wav")]
    result = command(*sources, "-o", str(memory / "out"), model=settings.model)
    assert result.exit_code == 2
    assert "would both be written to memory://archive/out/a.wav.mid" in result.stderr


def test_a_store_that_breaks_down_costs_what_it_breaks(
    tmp_path: Path, settings: Settings, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = upload(songs(tmp_path / "in", "ab"), memory / "in")
    store, jobs = type(fsspec.filesystem("memory")), plan([sources], memory / "out")
    info = store.info

    class BotoCoreError(Exception):
        """No OSError, as those of the library behind s3fs."""

    def broken(self: object, path: str, **options: object) -> object:
        if path.endswith("a.wav"):
            raise BotoCoreError("the line is dead\nand more")
        return info(self, path, **options)

    monkeypatch.setattr(store, "info", broken)
    first, second = run(jobs, settings, processes=0).outcomes
    assert str(first.error) == (
        f"{sources / 'a.wav'}: the line is dead; check the address and the permissions"
    )
    assert second.error is None
