"""Files appear whole or not at all, and what a killed process left half written is taken away."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from partranscribe.errors import OutputError
from partranscribe.owner import Owner
from partranscribe.whole_file import check_place, remove_abandoned, remove_own, whole_file

HERE = Owner.myself().host


def test_a_file_is_not_seen_before_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with whole_file(path) as temporary:
        temporary.write_bytes(b"first")
        assert temporary.parent == path.parent
        assert temporary.suffix == path.suffix
        assert not path.exists()
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_folders_are_made(tmp_path: Path) -> None:
    with whole_file(tmp_path / "new" / "folder" / "a.bin") as temporary:
        temporary.write_bytes(b"first")
    assert (tmp_path / "new" / "folder" / "a.bin").read_bytes() == b"first"


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    def interrupt() -> None:
        with whole_file(tmp_path / "a.mid") as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old")

    def fill_the_disk() -> None:
        with whole_file(path) as temporary:
            temporary.write_text("ne")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match=r"a\.csv: cannot be written \(No space left on device\); .*disk"):
        fill_the_disk()
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.csv"]
    assert path.read_text() == "old"


def test_writing_through_a_link_replaces_its_target(tmp_path: Path) -> None:
    target, link = tmp_path / "target.csv", tmp_path / "link.csv"
    target.write_text("old")
    try:
        link.symlink_to(target)
    except OSError:
        pytest.skip("links are not allowed here")
    with whole_file(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_files_of_one_name_can_be_in_the_making_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "a.mid"
    with whole_file(path) as first, whole_file(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # which is ready last
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_is_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.mid").mkdir()
    with pytest.raises(OutputError, match=r"a\.mid: is there and is not a file"):
        check_place(tmp_path / "a.mid")
    with (
        pytest.raises(OutputError, match=r"a\.mid: is there and is not a file"),
        whole_file(tmp_path / "a.mid"),
    ):
        raise AssertionError("nothing can be written")


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"a\.mid: cannot be written"):
        check_place(tmp_path / "file" / "a.mid")
    with (
        pytest.raises(OutputError, match=r"a\.mid: cannot be written"),
        whole_file(tmp_path / "file" / "a.mid"),
    ):
        raise AssertionError("nothing can be written")


def test_a_place_is_checked_without_a_trace(tmp_path: Path) -> None:
    (tmp_path / "a.mid").write_text("old")
    for name in ("a.mid", "b.mid"):
        check_place(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mid"]
    assert (tmp_path / "a.mid").read_text() == "old"


def test_what_a_killed_process_left_is_taken_away_whole_files_are_not(tmp_path: Path) -> None:
    write = (
        "import sys; from pathlib import Path; from partranscribe.whole_file import whole_file\n"
        "with whole_file(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half'); print('written', flush=True); input()"
    )
    path = tmp_path / "x" / "a.mid"
    process = subprocess.Popen(
        [sys.executable, "-c", write, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == b"written"
    with whole_file(tmp_path / "x" / "b.mid") as mine:
        remove_abandoned(tmp_path / "x")
        assert len(list((tmp_path / "x").iterdir())) == 2  # both are at work
        process.kill()
        process.communicate()
        remove_abandoned(tmp_path / "x")
        assert list((tmp_path / "x").iterdir()) == [mine]
    assert [entry.name for entry in (tmp_path / "x").iterdir()] == ["b.mid"]
    remove_abandoned(tmp_path / "x")
    assert [entry.name for entry in (tmp_path / "x").iterdir()] == ["b.mid"]


@pytest.mark.parametrize(("silent", "stays"), [(0, True), (80_000, True), (90_000, False)])
def test_the_file_of_another_machine_stays_while_it_may_be_at_work(
    silent: int, stays: bool, tmp_path: Path
) -> None:
    path = tmp_path / f".part-another-{os.getpid()}-1-0123456789ab.mid"
    path.touch()
    os.utime(path, (time.time() - silent,) * 2)
    remove_abandoned(tmp_path)
    assert path.exists() is stays


@pytest.mark.parametrize(
    "name", [".part-x", ".part-x-y-z.mid", f"part-{HERE}-0-0.mid", f"{HERE}-0-0.mid", ".part-"]
)
def test_a_file_that_only_looks_similar_stays(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    os.utime(tmp_path / name, (0, 0))
    remove_abandoned(tmp_path)
    assert (tmp_path / name).exists()


def test_a_folder_that_is_not_there_holds_nothing_abandoned(tmp_path: Path) -> None:
    remove_abandoned(tmp_path / "no")


def test_a_folder_that_goes_away_meanwhile_holds_nothing_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, scandir = tmp_path / "claims", os.scandir

    def as_another_takes_it_away(path: str | Path) -> object:
        if Path(path) == folder:
            folder.rmdir()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", as_another_takes_it_away)
    for remove in (remove_own, remove_abandoned):
        folder.mkdir(exist_ok=True)
        remove(folder)
