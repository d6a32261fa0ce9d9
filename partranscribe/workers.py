"""Processes that transcribe: one model each, and one that dies takes nothing with it."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING

from . import child_process
from .errors import PartranscribeError
from .manifest import Manifest
from .plan import Job
from .timings import Timings
from .work import Outcome, Settings, Watcher, work

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess


BYTES_OF_A_PROCESS = 1.2e9  # that one with a model takes at most

_LOADING_SECONDS = 300.0  # that a model takes at most


class WorkerError(PartranscribeError):
    """The process that transcribed a recording died of it."""


@dataclass(frozen=True)
class Ready:
    """A worker has loaded its model, and takes so many jobs at once."""

    together: int


@dataclass(frozen=True)
class Started:
    """A worker began a job; see `Watcher.started`."""

    job: Job
    duration: float | None


@dataclass(frozen=True)
class Advanced:
    """A worker went on with a job; see `Watcher.advanced`."""

    job: Job
    seconds: float


@dataclass(frozen=True)
class Warned:
    """A worker was warned of something."""

    message: str


@dataclass(frozen=True)
class Spent:
    """A worker has done what it was given.

    Args:
        seconds: of each stage so far.
        together: how many jobs it takes at once from now on.
    """

    seconds: dict[str, float]
    together: int


@dataclass(frozen=True)
class Broken:
    """A worker cannot work: what is wrong is wrong for every recording."""

    error: PartranscribeError


@dataclass(frozen=True)
class Died:
    """A worker's process ended, with these jobs unfinished.

    Args:
        jobs: that it had.
        reason: what is known of its end.
        is_stall: it was killed for making no progress.
    """

    jobs: tuple[Job, ...]
    reason: str
    is_stall: bool = False


Message = Ready | Started | Advanced | Warned | Spent | Broken | Died | Outcome


class Worker:
    """A process with a model of its own.

    Args:
        settings: of the call.
        threads: that it may keep busy.
    """

    def __init__(self, settings: Settings, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(
            target=_run, args=(theirs, settings, threads), name="partranscribe worker", daemon=True
        )
        child_process.start(self.process)
        theirs.close()
        self.jobs: list[Job] = []  # not yet finished
        self.is_at_work = False
        self.together: int | None = None  # not known before the model is loaded
        self.seconds: dict[str, float] = {}
        self._heard = time.monotonic()

    @property
    def is_free(self) -> bool:
        """Whether it waits for something to do."""
        return self.together is not None and not self.is_at_work

    def give(self, jobs: Sequence[Job]) -> None:
        """Have it do some jobs."""
        self.jobs, self.is_at_work = list(jobs), True
        self._heard = time.monotonic()
        with suppress(OSError):  # it died: `messages` tells
            self.connection.send(jobs)

    def messages(self, time_limit: float) -> Iterator[Message]:
        """What it has told since the last call; after `Died` and `Broken` there is no more.

        Args:
            time_limit: seconds without a word after which it is killed.
        """
        while True:
            try:
                if not self.connection.poll():
                    break
                message: Message = self.connection.recv()
            except (EOFError, OSError):
                yield Died(tuple(self.jobs), self._end())
                return
            self._heard = time.monotonic()
            if isinstance(message, Ready):
                self.together = message.together
            elif isinstance(message, Spent):
                self.is_at_work, self.seconds, self.together = False, message.seconds, message.together
            elif isinstance(message, Outcome):
                self.jobs.remove(message.job)
            yield message
        if self.together is None:
            time_limit = max(time_limit, _LOADING_SECONDS)
        if not self.is_free and time.monotonic() - self._heard > time_limit:
            self.kill()
            yield Died(tuple(self.jobs), f"made no progress for {time_limit:g} s", is_stall=True)

    def _end(self) -> str:
        self.process.join(5)
        code = self.process.exitcode
        if code is not None and code < 0:
            with suppress(ValueError):
                name = signal.Signals(-code).name
                more = ", as when memory runs out" if name == "SIGKILL" else ""
                return f"ended the process at work on it with {name}{more}"
        return f"ended the process at work on it with status {code}"

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.join()
        self.connection.close()


def wait_for_any(workers: Sequence[Worker], seconds: float) -> None:
    """Return when any of them has told something, or after some time."""
    wait([worker.connection for worker in workers], seconds)


class _Telling(Watcher):
    """Tells the parent how it goes, in whichever thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, threading.Lock()

    def tell(self, message: Message) -> None:
        with self._lock:
            self._connection.send(message)

    def started(self, job: Job, duration: float | None) -> None:
        self.tell(Started(job, duration))

    def advanced(self, job: Job, seconds: float) -> None:
        self.tell(Advanced(job, seconds))


def _run(connection: Connection, settings: Settings, threads: int) -> None:
    """What a worker's process does."""
    child_process.end_with_parent()
    watcher, timings = _Telling(connection), Timings()
    warnings.showwarning = lambda message, *_args, **_kwargs: watcher.tell(Warned(str(message)))
    try:
        with timings.stage("starting"):
            transcriber = settings.transcriber(timings, threads)
    except PartranscribeError as error:
        watcher.tell(Broken(error))
        return
    watcher.tell(Ready(transcriber.together))
    manifests = dict[Path, Manifest]()
    while True:
        try:
            jobs = connection.recv()
        except EOFError:
            return
        for outcome in work(jobs, transcriber, settings, watcher, manifests):
            watcher.tell(outcome)
        watcher.tell(Spent(dict(timings.seconds), transcriber.together))
