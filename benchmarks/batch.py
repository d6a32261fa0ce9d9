"""Thousands of short recordings in one call, broken ones among them: what it costs, and what kills do to it.

`python benchmarks/batch.py [--files 2000 --broken 0.05 --kills 10]` transcribes cuts of the example in one
run that is left alone, in one whose parent is killed -9 again and again and started anew each time, and in
one whose workers are killed; a recording during which that happens twice is given up until the next run. The
first table tells how far the outputs of each are those of the first, byte for byte. The second compares
batches of several sizes: the time that is not transcription, and the memory of all processes, of which pages
that they share count for each. Each process has one core.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import soundfile
from speed import EXAMPLE
from systems import markdown, own_system

from partranscribe.manifest import CLAIMS, NAME
from partranscribe.released import DEFAULT_NAME

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from broken import WAYS

RUNS = (
    "run",
    "kills",
    "starts",
    "seconds",
    "done",
    "failed",
    "kept",
    "missing",
    "other bytes",
    "left behind",
)
COSTS = ("recordings", "jobs", "seconds", "transcription", "the rest", "the rest a recording", "peak MB")
LOOK_SECONDS = 0.1  # between two looks at what is done
WEIGH_SECONDS = 1.0  # between two looks at the memory, which cost more
MOST_DELAY = 0.5  # seconds between the recording after which a process is killed and its end
SPARE_STARTS = 5  # beyond one for each kill


class Process(NamedTuple):
    """A process of a run.

    Args:
        number: of the process.
        megabytes: resident, with those that it shares.
        is_worker: whether it transcribes.
    """

    number: int
    megabytes: float
    is_worker: bool


Victim = Callable[[int], int | None]


@dataclass(frozen=True)
class Course:
    """How a run went.

    Args:
        kills: how many there were.
        starts: how often the program was started.
        seconds: from the first start to the end.
        megabytes: most that all its processes together had at a time.
        report: of the last start.
    """

    kills: int
    starts: int
    seconds: float
    megabytes: float
    report: Mapping[str, Any]


def write_recordings(folder: Path, count: int, broken: float, seconds: float) -> None:
    """Cuts of the example at different places, and a share of broken recordings spread evenly among them."""
    folder.mkdir()
    audio, rate = soundfile.read(EXAMPLE, dtype="int16")
    length = round(seconds * rate)
    bad = round(count * broken)
    ways = list(WAYS.items())
    for number in range(count):
        before, after = number * bad // count, (number + 1) * bad // count
        if after > before:
            name, way = ways[before % len(ways)]
            way.make(folder / f"{number:06}_{name}")
            continue
        start = number * round(0.37 * rate) % (len(audio) - length)
        soundfile.write(folder / f"{number:06}.wav", audio[start : start + length], rate)


def link_good(sources: Path, folder: Path, count: int) -> None:
    """A folder of the first good recordings of another."""
    folder.mkdir()
    good = [path for path in sorted(sources.iterdir()) if path.stem.isdecimal()]
    for path in good[:count]:
        (folder / path.name).symlink_to(path)


def processes(group: int) -> list[Process]:
    """Those of a process group."""
    command = ["ps", "-A", "-o", "pid=,pgid=,rss=,args="]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = []
    for line in listed.splitlines():
        number, its_group, kilobytes, arguments = line.split(None, 3)
        if int(its_group) == group:
            found.append(Process(int(number), int(kilobytes) / 1024, "spawn_main" in arguments))
    return found


def parent(group: int) -> int:
    """The process that started the others."""
    return group


def any_worker(generator: random.Random) -> Victim:
    """Chooses one of the workers, if there are some."""

    def choose(group: int) -> int | None:
        workers = [process.number for process in processes(group) if process.is_worker]
        return generator.choice(workers) if workers else None

    return choose


def lines(out: Path) -> int:
    """Recordings that are entered as done."""
    try:
        return (out / NAME).read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def run(
    command: Sequence[str], out: Path, moments: Sequence[tuple[int, float]] = (), victim: Victim = parent
) -> Course:
    """Run a command until it ends by itself, and start it again whenever it was killed.

    Args:
        command: without the places of the report and the outputs.
        out: folder of the outputs.
        moments: after how many recordings that are done, and so many seconds more, a process is killed.
        victim: which one.

    Raises:
        SystemExit: it does not come to an end.
    """
    report, log = out.with_suffix(".json"), out.with_suffix(".log")
    report.unlink(missing_ok=True)
    waiting, starts, peak = deque(moments), 0, 0.0
    began = weighed = time.perf_counter()
    while not report.is_file():
        if starts > len(moments) + SPARE_STARTS:
            raise SystemExit(f"started {starts} times, and still no report:\n{log.read_text()[-2000:]}")
        starts += 1
        with log.open("a") as said:
            for group in _started([*command, "-o", f"{out}/", "--report", str(report)], said):
                if time.perf_counter() - weighed > WEIGH_SECONDS:
                    peak = max(peak, sum(process.megabytes for process in processes(group)))
                    weighed = time.perf_counter()
                if waiting and lines(out) >= waiting[0][0]:
                    time.sleep(waiting[0][1])
                    if _kill(victim(group)):
                        waiting.popleft()
    seconds = time.perf_counter() - began
    return Course(len(moments) - len(waiting), starts, seconds, peak, json.loads(report.read_text("utf-8")))


def _started(command: Sequence[str], log: Any) -> Iterator[int]:
    """The process group of a command, again and again while it runs."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdout=log, stderr=log, start_new_session=True, env=environment
    ) as process:
        while process.poll() is None:
            yield process.pid
            time.sleep(LOOK_SECONDS)


def _kill(number: int | None) -> bool:
    if number is None:
        return False
    try:
        os.kill(number, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def random_moments(generator: random.Random, kills: int, recordings: int) -> list[tuple[int, float]]:
    """When to kill: spread over the whole work, the first before anything is done."""
    counts = [0, *sorted(generator.randrange(recordings) for _ in range(kills - 1))][:kills]
    return [(count, generator.uniform(0, MOST_DELAY)) for count in counts]


def notes(out: Path) -> dict[str, bytes]:
    """What stands under final names."""
    return {path.name: path.read_bytes() for path in out.glob("*.mid") if not path.name.startswith(".")}


def row_of_run(name: str, course: Course, out: Path, wanted: Mapping[str, bytes]) -> tuple[str, ...]:
    """A row of the first table."""
    found, counts = notes(out), Counter(course.report["counts"])
    other = sum(content != wanted.get(each) for each, content in found.items())
    left = sum(path.name.startswith(".part-") or path.name == CLAIMS for path in out.rglob("*"))
    numbers = (
        counts["done"],
        counts["failed"],
        counts["kept"],
        len(wanted.keys() - found.keys()),
        other,
        left,
    )
    return (name, str(course.kills), str(course.starts), f"{course.seconds:.1f}", *map(str, numbers))


def transcription_seconds(course: Course, jobs: int) -> float:
    """Seconds that each process spent with recordings, by the report."""
    return float(sum(row.get("seconds", 0.0) for row in course.report["files"])) / jobs


def row_of_cost(course: Course, jobs: int) -> tuple[str, ...]:
    """A row of the second table."""
    count, transcription = len(course.report["files"]), transcription_seconds(course, jobs)
    rest = course.seconds - transcription
    each = f"{1000 * rest / count:.1f} ms"
    times = (f"{course.seconds:.1f}", f"{transcription:.1f}", f"{rest:.1f}", each)
    return (str(count), str(jobs), *times, f"{course.megabytes:.0f}")


def further(few: Course, many: Course, jobs: int) -> float:
    """Seconds beside its transcription by which one more recording makes a run longer."""
    rests = [course.seconds - transcription_seconds(course, jobs) for course in (few, many)]
    counts = [len(course.report["files"]) for course in (few, many)]
    return (rests[1] - rests[0]) / (counts[1] - counts[0])


def kill_and_compare(
    command: Sequence[str], folder: Path, kills: int, recordings: int, seed: int
) -> tuple[Course, list[tuple[str, ...]]]:
    """The run that is left alone, and the rows of the first table."""
    generator = random.Random(seed)
    out = folder / "undisturbed"
    alone = run(command, out)
    wanted = notes(out)
    rows = [row_of_run("undisturbed", alone, out, wanted)]
    victims: dict[str, Victim] = {"parent killed": parent, "workers killed": any_worker(generator)}
    for name, victim in victims.items() if kills else ():
        out = folder / name.replace(" ", "-")
        for moments, title in ((random_moments(generator, kills, recordings), name), ((), "  and once more")):
            course = run(command, out, moments, victim)
            rows.append(row_of_run(title, course, out, wanted))
    return alone, rows


def compare_sizes(
    command: Sequence[str], folder: Path, sizes: Sequence[int], jobs: int, alone: Course
) -> None:
    """Run smaller batches, the largest of them with one job on one core too, and print what they cost."""

    def of_size(size: int, jobs: int) -> Course:
        name = f"{size}-{jobs}"
        link_good(folder / "in", folder / f"in-{name}", size)
        return run([*command, "--jobs", str(jobs), str(folder / f"in-{name}")], folder / f"out-{name}")

    sizes = sorted(sizes)
    courses = [of_size(size, jobs) for size in sizes]
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # one job takes all cores that it may have
    one = of_size(sizes[-1], 1)
    os.sched_setaffinity(0, cores)
    costs = [row_of_cost(course, jobs) for course in (*courses, alone)]
    print(markdown([COSTS, *costs, row_of_cost(one, 1)]))
    more, gain = further(courses[0], alone, jobs), one.seconds / courses[-1].seconds
    print(
        f"one more recording costs {1000 * more:.1f} ms beside its transcription, by the first and last size"
    )
    print(f"{sizes[-1]} recordings: {jobs} jobs are {gain:.2f} times as fast as one job on one core")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--broken", type=float, default=0.05, metavar="SHARE", help="of the files")
    parser.add_argument("--kills", type=int, default=10, help="of the parent, and of workers")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 200], help="of further batches")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a recording")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="of the moments at which something is killed")
    parser.add_argument("--model", default=DEFAULT_NAME, metavar="NAME|PATH")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    name, command = own_system(arguments.model, arguments.device)
    several = [*command, "--jobs", str(arguments.jobs)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sources = folder / "in"
        write_recordings(sources, arguments.files, arguments.broken, arguments.seconds)
        good = sum(path.stem.isdecimal() for path in sources.iterdir())
        alone, rows = kill_and_compare(
            [*several, str(sources)], folder, arguments.kills, good, arguments.seed
        )
        print(f"{name}, {arguments.files} recordings of {arguments.seconds:g} s\n")
        print(markdown([RUNS, *rows]), flush=True)
        compare_sizes(command, folder, arguments.sizes, arguments.jobs, alone)


if __name__ == "__main__":
    main()
