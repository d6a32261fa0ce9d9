"""A batch done by processes of this machine, which are replaced where they die."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path

from .backlog import LOOK_SECONDS, Backlog
from .device import may_have_gpu
from .machine import available_memory, usable_cores
from .plan import Job
from .timings import Timings
from .work import Outcome
from .workers import (
    BYTES_OF_A_PROCESS,
    Advanced,
    Broken,
    Died,
    Message,
    Ready,
    Started,
    Warned,
    Worker,
    WorkerError,
    wait_for_any,
)

_FALSE_STARTS = 3  # of processes one after the other, after which there is no hope


def default_processes(jobs: int) -> int:
    """How many processes the cores and the memory of this machine bear, no more than there are jobs."""
    memory = available_memory()
    bears = jobs if memory is None else int(memory / BYTES_OF_A_PROCESS)
    return max(1, min(usable_cores(), bears, jobs))


class Crew:
    """Workers that do all, and are replaced where they die.

    Args:
        backlog: what there is to do.
        processes: how many; None for as many as the machine bears.
        time_limit: see `batch.run`.
        timings: where the time of each stage is counted.
    """

    def __init__(self, backlog: Backlog, processes: int | None, time_limit: float, timings: Timings) -> None:
        self._backlog, self._time_limit, self._timings = backlog, time_limit, timings
        self._size = min(processes, max(len(backlog), 1)) if processes else default_processes(len(backlog))
        # On CUDA one process takes several recordings at once; what may be CUDA is known from the first.
        device = backlog.settings.device
        may_be_cuda = processes is None and device != "cpu" and (device != "auto" or may_have_gpu())
        self._one_is_enough: bool | None = None if may_be_cuda else False
        self._workers: list[Worker] = []
        self._alone: deque[Job] = deque()  # whose worker died: each is tried once more, with no other in work
        self._tried: set[Path] = set()
        self._false_starts = 0

    def work(self) -> None:
        """Until nothing is left to do."""
        try:
            while self._give() or self._backlog.look_elsewhere():
                if self._workers:
                    wait_for_any(self._workers, LOOK_SECONDS)
                else:
                    time.sleep(LOOK_SECONDS)
                for worker in list(self._workers):
                    for message in worker.messages(self._time_limit):
                        self._hear(worker, message)
        finally:
            for worker in self._workers:
                self._timings.add(worker.seconds)
                worker.kill()
            if self._tried or self._is_busy:
                self._backlog.tidy()

    @property
    def _is_busy(self) -> bool:
        return any(worker.is_at_work for worker in self._workers)

    def _give(self) -> bool:
        """Give every free worker something to do, and get more workers where it pays; false at the end."""
        if self._backlog.stops:
            return False
        for worker in self._workers:
            if worker.is_free:
                jobs = self._next(worker.together or 1)
                if not jobs:
                    self._backlog.glance_elsewhere()
                    break
                worker.give(jobs)
        # What nobody here could begin now is not claimed: others may.
        has_place = len(self._workers) < self._most or not all(one.is_at_work for one in self._workers)
        is_ready = has_place and self._backlog.is_ready
        if is_ready or (self._alone and not self._workers):
            self._hire()
        return bool(is_ready or self._alone or self._is_busy)

    @property
    def _most(self) -> int:
        """How many workers there may be, as far as is known."""
        return self._size if self._one_is_enough is False else 1

    def _next(self, count: int) -> list[Job]:
        jobs = self._backlog.group(count)
        if not jobs and self._alone and not self._is_busy:
            jobs = [self._alone.popleft()]
        return jobs

    def _hire(self) -> None:
        """As many workers as are wanted."""
        wanted = min(self._most, len(self._backlog) + len(self._workers) or 1)
        while len(self._workers) < wanted:
            self._workers.append(Worker(self._backlog.settings, max(1, usable_cores() // self._size)))

    def _hear(self, worker: Worker, message: Message) -> None:
        if isinstance(message, Started):
            self._backlog.watcher.started(message.job, message.duration)
        elif isinstance(message, Advanced):
            self._backlog.watcher.advanced(message.job, message.seconds)
        elif isinstance(message, Warned):
            self._backlog.warn(message.message)
        elif isinstance(message, Ready):
            self._false_starts = 0
            if self._one_is_enough is None:
                self._one_is_enough = message.together > 1
        elif isinstance(message, Outcome):
            self._backlog.finish(message)
        elif isinstance(message, Broken):
            raise message.error
        elif isinstance(message, Died):
            self._bury(worker, message)

    def _bury(self, worker: Worker, died: Died) -> None:
        """Do without a worker; what it had in work is tried again, unless that was the second time."""
        self._workers.remove(worker)
        self._timings.add(worker.seconds)
        worker.kill()
        if worker.together is None:  # it never began: perhaps there is memory for fewer
            self._false_starts += 1
            self._size = max(1, self._size - (self._false_starts > 1))
            if self._false_starts >= _FALSE_STARTS and not self._workers:
                raise WorkerError(f"{self._backlog.settings.model}: loading it {died.reason}")
        for job in died.jobs:
            if job.source in self._tried or (died.is_stall and len(died.jobs) == 1):
                again = " again" if job.source in self._tried else ""
                self._backlog.finish(Outcome(job, error=WorkerError(f"{job.source}: {died.reason}{again}")))
            else:
                self._alone.append(job)
            self._tried.add(job.source)
