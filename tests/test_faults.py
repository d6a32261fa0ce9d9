"""The worst that can happen to a batch, to real processes: broken recordings, kills, Ctrl-C, a full disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import partranscribe
from broken import WAYS
from conftest import swelling_noise
from partranscribe.manifest import CLAIMS, NAME
from synth import write_audio

if os.name == "nt":
    pytest.skip("nobody can be killed -9 there", allow_module_level=True)

RATE = 16_000
GOOD = tuple(f"good_{number:02}" for number in range(12))
PATIENCE = 120.0  # seconds, for a machine that has other things to do

# The program, one process of which waits at one moment of one recording until the test lets it go on.
_HELD = """
import os, time
from pathlib import Path

from partranscribe.cli import main
from partranscribe.manifest import Manifest

MOMENT, KEY, MARKER = os.environ["HELD_AT"].split("|")
replace, add = Path.replace, Manifest.add


def hold(moment, key):
    marker = Path(MARKER)
    if (moment, key) == (MOMENT, KEY) and not marker.exists():  # a second time it goes through
        marker.write_text(f"{os.getpid()}\\n")
        while not marker.with_suffix(".go").exists():
            time.sleep(0.02)


def held_replace(path, target):
    hold("before its place", Path(target).name)
    replace(path, target)
    hold("in its place", Path(target).name)


def held_add(manifest, entry):
    if (MOMENT, KEY) == ("half a line", entry.key):
        with manifest.path.open("a") as file:
            file.write('{"key":"')
    hold("half a line", entry.key)
    add(manifest, entry)


Path.replace, Manifest.add = held_replace, held_add
hold("starting", {"__main__": "program", "__mp_main__": "worker"}[__name__])
if __name__ == "__main__":
    main()
"""


@dataclass
class Held:
    """A moment at which a process of the program waits.

    Args:
        moment: "starting", "before its place", "in its place" or "half a line".
        key: "worker", the name of the output, or the key of the entry.
        folder: of the two files by which test and process tell each other.
    """

    moment: str
    key: str
    folder: Path
    process: int = field(init=False, default=0)

    @property
    def marker(self) -> Path:
        return self.folder / f"{self.moment} {self.key}.held"

    def reach(self) -> None:
        """Return when it is so far."""
        wait_until(lambda: self.marker.is_file() and self.marker.read_text().endswith("\n"))
        self.process = int(self.marker.read_text())

    def go_on(self) -> None:
        self.marker.with_suffix(".go").touch()


@dataclass(frozen=True)
class Program:
    """The program with the tiny network on one folder."""

    folder: Path
    checkpoint: Path

    @contextmanager
    def started(
        self, out: Path, *options: str, jobs: int = 1, held: Held | None = None
    ) -> Iterator[subprocess.Popen[str]]:
        """The program in a process group of its own, of which nobody is left at the end."""
        program = ["-m", "partranscribe"]
        above = os.pathsep.join([str(Path(partranscribe.__file__).parents[1]), *sys.path])
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": above}
        if held is not None:
            script = held.folder / "held.py"
            script.write_text(_HELD)
            program = [str(script)]
            environment["HELD_AT"] = f"{held.moment}|{held.key}|{held.marker}"
        places = [str(self.folder), "-o", f"{out}/", "--report", str(report_of(out))]
        model = ["--model", str(self.checkpoint), "--device", "cpu", "--engine", "torch"]
        process = subprocess.Popen(
            [sys.executable, *program, *places, *model, "--jobs", str(jobs), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=environment,
        )
        with process:
            try:
                yield process
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def run(self, out: Path, *options: str, jobs: int = 1, held: Held | None = None) -> tuple[int, str]:
        """Its status, and what it said on standard error."""
        with self.started(out, *options, jobs=jobs, held=held) as process:
            _, said = process.communicate(timeout=PATIENCE)
            return process.returncode, said


def report_of(out: Path) -> Path:
    return out.with_name(f"{out.name}.json")


def rows(out: Path) -> dict[str, Any]:
    """Of the report, by the names of the recordings."""
    files = json.loads(report_of(out).read_text("utf-8"))["files"]
    return {Path(row["source"]).name: row for row in files}


def with_status(out: Path, status: str) -> set[str]:
    return {name for name, row in rows(out).items() if row["status"] == status}


def notes(out: Path) -> dict[str, bytes]:
    """What stands under final names."""
    return {path.name: path.read_bytes() for path in out.glob("*.mid") if not path.name.startswith(".part-")}


def entered(out: Path) -> Counter[str]:
    """Whole lines of the manifest, by their keys."""
    with suppress(FileNotFoundError):
        lines = (out / NAME).read_bytes().splitlines(keepends=True)
        return Counter(json.loads(line)["key"] for line in lines if line.endswith(b'"}\n'))
    return Counter()


def done(out: Path) -> dict[str, int]:
    """How many lines there are of each key that is entered and in its place."""
    return {key: count for key, count in entered(out).items() if (out / f"{key}.mid").is_file()}


def left_behind(out: Path) -> list[Path]:
    """Half-written files, and claims."""
    return [path for path in out.rglob("*") if path.name.startswith(".part-") or path.name == CLAIMS]


def wait_until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit, "it never came to that"
        time.sleep(0.01)


def wait_until_all_are_gone(group: int) -> None:
    """Until no process of a group is left but those that nobody has buried."""

    def gone() -> bool:
        listed = subprocess.run(["ps", "-A", "-o", "pgid=,stat="], capture_output=True, text=True, check=True)
        states = [line.split() for line in listed.stdout.splitlines()]
        return not any(int(number) == group and not state.startswith("Z") for number, state in states)

    wait_until(gone)


def kill(process: subprocess.Popen[str]) -> None:
    """The parent alone; its workers end by themselves."""
    process.kill()
    process.wait()
    wait_until_all_are_gone(process.pid)


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of good and broken recordings. Nobody may change it."""
    folder = tmp_path_factory.mktemp("songs")
    for seed, name in enumerate(GOOD):
        write_audio(folder / f"{name}.wav", swelling_noise(seed, RATE // 2 + 1000 * seed), RATE)
    for name, way in WAYS.items():
        way.make(folder / name)
    return folder


@pytest.fixture(scope="module")
def program(songs: Path, tiny_checkpoint: Path) -> Program:
    return Program(songs, tiny_checkpoint)


@pytest.fixture(scope="module")
def undisturbed(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of a run that nothing happened to."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    status, said = program.run(out, jobs=2)
    assert status == 1, said
    return out


def check_all_is_there(out: Path, undisturbed: Path) -> None:
    """As if nothing had happened."""
    assert notes(out) == notes(undisturbed)
    assert left_behind(out) == []
    assert with_status(out, "failed") == set(WAYS)


def check_was_not_done_again(out: Path, before: Mapping[str, int]) -> None:
    """Neither in the last run nor in one before it."""
    lines = entered(out)
    assert {key: lines[key] for key in before} == before
    assert {f"{key}.wav" for key in before} <= with_status(out, "kept")


def check_nothing_is_half_there(out: Path, undisturbed: Path) -> None:
    """What stands under a final name is as it should be."""
    whole = notes(undisturbed)
    assert [name for name, content in notes(out).items() if content != whole[name]] == []


def test_every_good_recording_of_a_folder_is_done(undisturbed: Path) -> None:
    assert set(notes(undisturbed)) == {f"{name}.mid" for name in GOOD}
    assert with_status(undisturbed, "done") == {f"{name}.wav" for name in GOOD}
    assert entered(undisturbed) == Counter(GOOD)
    assert left_behind(undisturbed) == []


@pytest.mark.parametrize("name", WAYS)
def test_every_broken_recording_is_named_with_its_reason(undisturbed: Path, name: str) -> None:
    row = rows(undisturbed)[name]
    assert row["status"] == "failed"
    assert name in row["reason"]
    assert WAYS[name].reason in row["reason"]


def test_a_run_killed_again_and_again_goes_on_where_it_was(
    program: Program, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    before: dict[str, int] = {}
    for count in (1, 6):
        with program.started(out, jobs=2) as process:
            wait_until(lambda count=count: len(notes(out)) >= count)  # type: ignore[misc]
            kill(process)
        check_nothing_is_half_there(out, undisturbed)
        before = done(out) | before
    assert program.run(out)[0] == 1
    check_all_is_there(out, undisturbed)
    check_was_not_done_again(out, before)


def test_a_run_killed_at_the_worst_moments_goes_on_where_it_was(
    program: Program, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    moments = [
        Held("before its place", "good_02.mid", tmp_path),
        Held("in its place", "good_05.mid", tmp_path),
        Held("half a line", "good_08", tmp_path),
    ]
    before: dict[str, int] = {}
    for moment in moments:
        with program.started(out, held=moment) as process:
            moment.reach()
            kill(process)
        check_nothing_is_half_there(out, undisturbed)
        assert left_behind(out) != []
        before = done(out) | before
    assert (out / NAME).read_bytes().endswith(b'{"key":"')
    assert program.run(out)[0] == 1
    check_all_is_there(out, undisturbed)
    check_was_not_done_again(out, before)


def test_a_run_killed_between_two_outputs_of_a_recording_goes_on_where_it_was(
    program: Program, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ("--format", "midi,csv", "--include", "good_00.wav")
    moment = Held("in its place", "good_00.csv", tmp_path)  # the last format comes first
    with program.started(out, *options, held=moment) as process:
        moment.reach()
        kill(process)
    assert not (out / "good_00.mid").exists()
    status, said = program.run(out, *options)
    assert status == 0, said
    assert (out / "good_00.mid").read_bytes() == notes(undisturbed)["good_00.mid"]
    assert (out / "good_00.csv").is_file()


def test_what_a_killed_worker_had_in_work_is_done_by_another(
    program: Program, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    moment = Held("before its place", "good_04.mid", tmp_path)
    with program.started(out, held=moment) as process:
        moment.reach()
        assert moment.process != process.pid
        os.kill(moment.process, signal.SIGKILL)
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    check_all_is_there(out, undisturbed)
    assert set(entered(out)) == set(GOOD)


def test_an_interrupted_run_ends_and_goes_on_later(
    program: Program, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    moment = Held("before its place", "good_04.mid", tmp_path)
    with program.started(out, jobs=2, held=moment) as process:
        moment.reach()
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)  # nothing else ends it: the held worker never goes on
        wait_until_all_are_gone(process.pid)
    assert process.returncode == 130
    assert said.splitlines()[-1] == (
        "interrupted; what is done is kept, and the same command goes on from here"
    )
    assert json.loads(report_of(out).read_text("utf-8"))["interrupted"]
    assert rows(out)["good_04.wav"]["status"] == "not begun"
    assert left_behind(out) == []
    check_nothing_is_half_there(out, undisturbed)
    assert program.run(out)[0] == 1
    check_all_is_there(out, undisturbed)


def test_a_worker_that_is_still_starting_leaves_ctrl_c_to_its_parent(
    program: Program, tmp_path: Path
) -> None:
    moment = Held("starting", "worker", tmp_path)
    with program.started(tmp_path / "out", "--include", "good_00.wav", held=moment) as process:
        moment.reach()
        os.kill(moment.process, signal.SIGINT)
        moment.go_on()
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert said == ""


def test_a_source_that_goes_away_fails_alone(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for seed in range(4):
        write_audio(folder / f"{seed}.wav", swelling_noise(seed, RATE // 2), RATE)
    moment = Held("before its place", "1.mid", tmp_path)
    with Program(folder, tiny_checkpoint).started(out, held=moment) as process:
        moment.reach()
        (folder / "2.wav").unlink()
        moment.go_on()
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert with_status(out, "done") == {"0.wav", "1.wav", "3.wav"}
    assert "2.wav: No such file" in rows(out)["2.wav"]["reason"]
    assert left_behind(out) == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such name")
def test_a_name_that_is_no_text_fails_alone(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    song = write_audio(folder / "song.wav", swelling_noise(0, RATE // 2), RATE)
    name = os.fsdecode(b"caf\xe9.wav")
    (folder / name).write_bytes(song.read_bytes())
    status, said = Program(folder, tiny_checkpoint).run(out)
    assert status == 1, said
    assert set(notes(out)) == {"song.mid"}
    failed = [row for row in rows(out).values() if row["status"] == "failed"]
    assert [row["reason"].count("the name is not valid text") for row in failed] == [1]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root of Linux can make a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(["mount", *options], capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(path: Path) -> None:
    """Let a file take all the room that its disk has."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def test_what_a_full_disk_stopped_is_named_and_done_when_there_is_room(
    program: Program, undisturbed: Path, small_disk: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.symlink_to(small_disk)
    moment = Held("before its place", "good_04.mid", tmp_path)
    with program.started(out, held=moment) as process:
        moment.reach()
        fill(small_disk / "ballast")
        moment.go_on()
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    check_nothing_is_half_there(out, undisturbed)
    reasons = {name: row["reason"] for name, row in rows(out).items() if row["status"] == "failed"}
    assert {f"{name}.wav" for name in GOOD[5:]} <= set(reasons)
    assert all("No space left" in reasons[f"{name}.wav"] for name in GOOD[5:])
    assert left_behind(out) == []
    (small_disk / "ballast").unlink()
    assert program.run(out)[0] == 1
    check_all_is_there(out, undisturbed)


def test_a_disk_that_is_full_from_the_start_is_named(
    program: Program, small_disk: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.symlink_to(small_disk)
    fill(small_disk / "ballast")
    status, said = program.run(out, "--include", "good_*")
    assert status == 1, said
    assert with_status(out, "failed") == {f"{name}.wav" for name in GOOD}
    assert all("No space left" in row["reason"] for row in rows(out).values())
    assert left_behind(out) == []
