"""What is done is entered once and for all, and what is in work belongs to one process."""

from __future__ import annotations

import errno
import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from partranscribe import manifest as module
from partranscribe import whole_file
from partranscribe.manifest import CLAIMS, NAME, Claims, Entry, Manifest, key_of
from partranscribe.owner import Owner

DONE = Entry(
    key="x/song",
    source="x/song.wav",
    size=1234,
    modified_ns=1_700_000_000_123_456_789,
    source_sha256="ab" * 32,
    work={"checkpoint_sha256": "cd" * 32, "precision": "float32", "start_s": 0.0, "end_s": None},
    outputs={"midi": "ef" * 32},
    notes=12,
    duration_s=1.5,
    seconds=0.25,
)


def wait_until(is_so: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("output", "key"),
    [("song.mid", "song"), ("x/y/song.csv", "x/y/song"), ("x/song.flac.mid", "x/song.flac")],
)
def test_the_key_is_the_output_without_its_ending(output: str, key: str, tmp_path: Path) -> None:
    assert key_of(tmp_path, {"any": tmp_path / output}) == key


def test_what_is_entered_is_found(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path / "new")
    assert manifest.get(DONE.key) is None
    assert manifest.entries() == {}
    manifest.add(DONE)
    assert manifest.get(DONE.key) == Manifest(tmp_path / "new").get(DONE.key) == DONE
    assert manifest.get("song") is None


def test_an_entry_is_a_line_of_json(tmp_path: Path) -> None:
    Manifest(tmp_path).add(DONE)
    Manifest(tmp_path).add(replace(DONE, key="y"))
    first, second = (tmp_path / NAME).read_text("utf-8").splitlines()
    assert json.loads(first) == asdict(DONE)
    assert json.loads(second)["key"] == "y"


def test_the_last_entry_of_a_recording_counts(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    manifest.add(DONE)
    manifest.add(replace(DONE, notes=13))
    manifest.add(replace(DONE, key="y"))
    assert manifest.get(DONE.key) == replace(DONE, notes=13)
    assert list(manifest.entries()) == [DONE.key, "y"]


def test_what_another_adds_is_seen(tmp_path: Path) -> None:
    mine, other = Manifest(tmp_path), Manifest(tmp_path)
    for number in range(3):
        other.add(replace(DONE, key=str(number)))
        found = mine.get(str(number))
        assert found is not None
        assert found.key == str(number)


def test_a_manifest_that_was_taken_away_begins_anew(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    manifest.add(DONE)
    assert manifest.get(DONE.key)
    manifest.path.unlink()
    assert manifest.get(DONE.key) is None
    manifest.add(replace(DONE, notes=1))
    assert manifest.get(DONE.key) == replace(DONE, notes=1)


def test_names_of_every_script_are_kept(tmp_path: Path) -> None:
    entry = replace(DONE, key='Dvořák/"夜"\u2028\u0085 🎹', source='Dvořák/"夜"\u2028\u0085 🎹.wav')
    Manifest(tmp_path).add(entry)
    assert Manifest(tmp_path).get(entry.key) == entry
    assert "Dvořák".encode() in (tmp_path / NAME).read_bytes()


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\xff\xfe",
        b"no JSON",
        b"[1, 2]",
        b"3",
        b'"key"',
        b'{"key": "x/song"}',
        json.dumps({**asdict(DONE), "key": ["x/song"]}).encode(),
        json.dumps({**asdict(DONE), "origin": None}).encode(),
        json.dumps({**asdict(DONE), "duration_s": None}).encode(),
        json.dumps({**asdict(DONE), "seconds": math.nan}).encode(),
        json.dumps({**asdict(DONE), "notes": "many"}).encode(),
        json.dumps({**asdict(DONE), "work": "hard"}).encode(),
        json.dumps({**asdict(DONE), "outputs": {"midi": 3}}).encode(),
        json.dumps({**asdict(DONE), "extras": {"a.html": {"sha256": "", "size": "1"}}}).encode(),
        json.dumps(asdict(DONE)).encode()[:-20],
    ],
)
def test_a_line_that_is_no_entry_is_passed_over(line: bytes, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(line + b"\n")
    manifest = Manifest(tmp_path)
    assert manifest.entries() == {}
    manifest.add(DONE)
    assert manifest.entries() == {DONE.key: DONE}


def test_an_entry_of_a_later_version_is_read(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(json.dumps({**asdict(DONE), "mood": "sad"}) + "\n", "utf-8")
    assert Manifest(tmp_path).get(DONE.key) == DONE


def test_after_half_a_line_the_next_entry_has_a_line_of_its_own(tmp_path: Path) -> None:
    half = json.dumps(asdict(replace(DONE, key="half"))).encode()[:-20]
    manifest = Manifest(tmp_path)
    manifest.add(DONE)
    with manifest.path.open("ab") as file:
        file.write(half)
    assert list(manifest.entries()) == [DONE.key]  # seen before the next writer ends it
    manifest.add(replace(DONE, key="next"))
    assert list(manifest.entries()) == list(Manifest(tmp_path).entries()) == [DONE.key, "next"]
    assert manifest.path.read_bytes().count(b"\n") == 3


def test_a_line_in_the_making_is_read_when_it_is_whole(tmp_path: Path) -> None:
    line = json.dumps(asdict(DONE)).encode() + b"\n"
    manifest = Manifest(tmp_path)
    with manifest.path.open("ab", buffering=0) as file:
        for begin in range(0, len(line), 50):
            assert manifest.entries() == {}
            file.write(line[begin : begin + 50])
        assert manifest.entries() == {DONE.key: DONE}


ADD = """
import sys
from dataclasses import replace
from pathlib import Path
from partranscribe.manifest import Manifest
sys.path.insert(0, sys.argv[3])
from test_manifest import DONE
manifest = Manifest(Path(sys.argv[1]))
print("ready", flush=True)
input()
for number in range(200):
    manifest.add(replace(DONE, key=f"{sys.argv[2]}-{number}", source="long" * number))
"""


def test_many_processes_and_threads_add_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    processes = [started(ADD, tmp_path, one, Path(__file__).parent) for one in range(3)]

    def add(name: str) -> None:
        for number in range(200):
            manifest.add(replace(DONE, key=f"{name}-{number}"))

    threads = [threading.Thread(target=add, args=(name,)) for name in "ab"]
    for process in processes:
        tell(process)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    expected = {f"{name}-{number}" for name in "012ab" for number in range(200)}
    assert set(manifest.entries()) == set(Manifest(tmp_path).entries()) == expected
    assert len((tmp_path / NAME).read_bytes().splitlines()) == 1000


CLAIM = """
import sys
from pathlib import Path
from partranscribe.manifest import Claims
with Claims() as claims:
    print("ready", flush=True)
    input()
    print("his" if claims.take(Path(sys.argv[1]), sys.argv[2]) else "mine", flush=True)
    input()
"""


def started(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A process that has said `ready`."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert heard(process) == "ready"
    return process


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str]) -> None:
    """Let it go on."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.fixture
def claimers(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that are about to claim one recording."""
    processes = [started(CLAIM, tmp_path, "x/song") for _ in range(5)]
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def test_of_many_that_claim_at_once_one_succeeds(
    tmp_path: Path, claimers: list[subprocess.Popen[str]]
) -> None:
    for process in claimers:
        tell(process)
    assert sorted(heard(process) for process in claimers) == ["his"] * 4 + ["mine"]
    for process in claimers:
        tell(process)
    assert [process.wait(60) for process in claimers] == [0] * 5
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="a process cannot be asked for there")
def test_the_claim_of_a_killed_process_is_taken_over_by_one(
    tmp_path: Path, claimers: list[subprocess.Popen[str]]
) -> None:
    first, *others = claimers
    for _ in range(2):  # whoever took it over may be killed, too
        tell(first)
        assert heard(first) == "mine"
        first.kill()
        first.communicate()
        first, *others = others
    for process in (first, *others):
        tell(process)
    assert sorted(heard(process) for process in (first, *others)) == ["his", "his", "mine"]
    for process in (first, *others):
        tell(process)
        assert process.wait(60) == 0
    assert list(tmp_path.iterdir()) == []


def claim_of(owner: Owner, folder: Path, key: str) -> Path:
    """Leave a claim as another process would."""
    with Claims() as claims:
        assert claims.take(folder, key) is None
        (path,) = (folder / CLAIMS).iterdir()
        content = json.loads(path.read_text("utf-8"))
    (folder / CLAIMS).mkdir()
    path.write_text(json.dumps({**content, **asdict(owner)}), "utf-8")
    return path


def test_a_claim_says_whose_it_is_and_of_what(tmp_path: Path) -> None:
    with Claims() as claims:
        claims.take(tmp_path / "new", "Dvořák/song")
        (path,) = (tmp_path / "new" / CLAIMS).iterdir()
        about = json.loads(path.read_text("utf-8"))
        assert about == {**asdict(Owner.myself()), "key": "Dvořák/song"}
    assert list((tmp_path / "new").iterdir()) == []


def test_the_owner_of_a_claim_is_told(tmp_path: Path) -> None:
    owner = Owner("another machine", 1, "1")
    claim_of(owner, tmp_path, "song")
    with Claims() as claims:
        assert claims.take(tmp_path, "song") == owner
        assert claims.take(tmp_path, "other") is None
        assert claims.take(tmp_path / "elsewhere", "song") is None


def test_another_machine_has_its_claim_until_it_is_silent_too_long(tmp_path: Path) -> None:
    owner = Owner("another machine", os.getpid(), "1")
    path = claim_of(owner, tmp_path, "song")
    with Claims() as claims:
        for silent in (0, 60):
            os.utime(path, (time.time() - silent,) * 2)
            assert claims.take(tmp_path, "song") == owner
        os.utime(path, (time.time() - 100,) * 2)
        assert claims.take(tmp_path, "song") is None
    assert list(tmp_path.iterdir()) == []


def test_claims_are_whole_or_not_there_and_need_no_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written() -> list[str]:
        return [json.loads(path.read_text("utf-8"))["key"] for path in (tmp_path / CLAIMS).iterdir()]

    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no links here")

    with Claims() as claims, Claims() as others:
        assert claims.take(tmp_path, "song") is None
        assert written() == ["song"]
        claims.release(tmp_path, "song")
        monkeypatch.setattr(os, "link", refuse)
        assert claims.take(tmp_path, "song") is None
        assert written() == ["song"]
        assert others.take(tmp_path, "song") == Owner.myself()


@pytest.mark.parametrize("content", ["", '{"host": "an', "{}"])
def test_a_claim_that_is_not_written_yet_is_one_until_it_stays_so_too_long(
    content: str, tmp_path: Path
) -> None:
    path = claim_of(Owner("another machine", 1, "1"), tmp_path, "song")
    path.write_text(content)
    with Claims() as claims:
        assert claims.take(tmp_path, "song") is not None
        os.utime(path, (time.time() - 100,) * 2)
        assert claims.take(tmp_path, "song") is None


def test_a_claim_can_be_released_and_taken_again(tmp_path: Path) -> None:
    with Claims() as claims, Claims() as others:
        assert claims.take(tmp_path, "song") is None
        assert others.take(tmp_path, "song") == Owner.myself()
        claims.release(tmp_path, "song")
        claims.release(tmp_path, "song")  # nothing is left to release
        assert others.take(tmp_path, "song") is None


def test_all_claims_end_with_their_owner_and_the_folder_with_the_last(tmp_path: Path) -> None:
    with Claims() as others:
        others.take(tmp_path, "other")
        with Claims() as claims:
            for key in ("a", "b", "x/c"):
                claims.take(tmp_path, key)
            assert len(list((tmp_path / CLAIMS).iterdir())) == 4
        assert len(list((tmp_path / CLAIMS).iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


def interrupted_at_line(number: int, work: Callable[[], object]) -> bool:
    """Press Ctrl-C at one of the lines that a call runs in the modules of claims; whether it has so many."""
    left = number

    def trace(frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
        nonlocal left
        if frame.f_globals["__name__"] not in (module.__name__, whole_file.__name__):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.parametrize("is_taken", [False, True], ids=["take", "release"])
def test_ctrl_c_leaves_nothing_behind_whenever_it_comes(is_taken: bool, tmp_path: Path) -> None:
    number, goes_on = 0, True
    while goes_on:
        number += 1
        with Claims() as claims:
            if is_taken:
                claims.take(tmp_path, "song")
            work = claims.release if is_taken else claims.take
            goes_on = interrupted_at_line(number, partial(work, tmp_path, "song"))
        assert list(tmp_path.iterdir()) == [], number
    assert number > 10


def test_a_claim_shows_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BEAT_SECONDS", 0.01)
    with Claims() as claims:
        claims.take(tmp_path, "song")
        (path,) = (tmp_path / CLAIMS).iterdir()
        os.utime(path, (0, 0))
        wait_until(lambda: path.stat().st_mtime > time.time() - 3600)


def test_where_nothing_can_be_written_nothing_can_be_claimed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with Claims() as claims, pytest.raises(OSError, match="file"):
        claims.take(tmp_path / "file", "song")


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on files, nor pipes with names")
def test_an_entry_for_which_there_is_no_room_is_told_and_leaves_no_half(tmp_path: Path) -> None:
    code = """
import resource, signal, sys
from pathlib import Path
from partranscribe.errors import OutputError
from partranscribe.manifest import Entry, Manifest
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
manifest = Manifest(Path(sys.argv[1]))
manifest.add(Entry("a", "a.wav", 0, 0, "", {}, {}, 1, 1.0, 1.0))
before = manifest.path.read_bytes()
resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, resource.RLIM_INFINITY))
try:
    manifest.add(Entry("b", "b.wav", 0, 0, "", {}, {}, 1, 1.0, 1.0))
except OutputError as error:
    print("room on the disk" in str(error), manifest.path.read_bytes() == before)
"""
    run = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert run.stdout == "True True\n"


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes with names")
def test_what_is_no_claim_is_neither_waited_for_nor_read(tmp_path: Path) -> None:
    claim = claim_of(Owner.myself(), tmp_path, "song")
    name = claim.name.partition(".")[0]
    claim.unlink()
    os.mkfifo(claim.with_name(f"{name}.1"))
    claim.with_name(f"{name}.2").symlink_to("nowhere")
    claim.with_name(f"{name}.3~").write_text("{}")
    claim.with_name(f"{name}.4").mkdir()
    claim.with_name(f"{name}.99999999999999999999").symlink_to("nowhere")
    with Claims() as claims:
        assert claims.take(tmp_path, "song") is None
        assert claims.take(tmp_path, "song") is not None
        claims.sweep(Manifest(tmp_path))
    assert [path.name for path in (tmp_path / CLAIMS).iterdir() if path.is_file()] == [f"{name}.3~"]
