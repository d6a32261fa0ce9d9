"""Any number of recordings in one call: what is done stays done, and each is done by one process alone."""

from __future__ import annotations

import os
import time
import warnings
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .audio import probe
from .errors import OutputError, PartranscribeError
from .manifest import CLAIMS, Claims, Manifest, key_of
from .paths import is_folder, leads_out, sha256_of
from .plan import Job
from .released import checkpoint_path
from .timings import Timings
from .whole_file import remove_abandoned
from .work import DONE, Outcome, Settings, Watcher, keep, reason_to_keep, work
from .workers import Advanced, Broken, Died, Message, Ready, Started, Warned, Worker, wait_for_any

if TYPE_CHECKING:
    from .transcribe import Transcriber

TIME_LIMIT = 300.0

_BYTES_OF_A_PROCESS = 1.2e9
_LOOK_SECONDS = 0.5  # between two looks at the time limit and at what others have done
_FALSE_STARTS = 3  # of processes one after the other, after which there is no hope
_SORTED_TOGETHER = 8  # groups of recordings among which those of one length are put together


class WorkerError(PartranscribeError):
    """The process that transcribed a recording died of it."""


@dataclass(frozen=True)
class Result:
    """What became of all jobs.

    Args:
        outcomes: in the order of the jobs; without those that were not begun.
        interrupted: it was stopped by the user before the end.
        seconds: time that it took.
    """

    outcomes: Sequence[Outcome]
    interrupted: bool
    seconds: float


def run(
    jobs: Sequence[Job],
    settings: Settings,
    watcher: Watcher | None = None,
    *,
    processes: int | None = None,
    overwrite: bool = False,
    fail_fast: bool = False,
    time_limit: float = TIME_LIMIT,
    timings: Timings | None = None,
) -> Result:
    """Do all jobs; one that fails does not stop the others.

    Others may run on the same folders at the same time, on this machine or on one that shares the file
    system: they divide the work between them, and each returns when all of it is done.

    Args:
        jobs: from `plan`.
        settings: what is the same for all.
        watcher: is told how it goes.
        processes: that transcribe, each with a model of its own; 0 does all in this one. By default one for
            each core that the memory bears on a CPU, one on CUDA, and for a single job none.
        overwrite: outputs that are there are made anew; by default they are kept if they were made of the
            same bytes by the same model and settings, and whenever something else wrote them.
        fail_fast: stop at the first failure.
        time_limit: seconds without progress after which a recording is given up.
        timings: where the time of each stage is counted.

    Raises:
        PartranscribeError: the model cannot be loaded: that is wrong for every recording.
    """
    began = time.perf_counter()
    batch = _Batch(jobs, settings, watcher or Watcher(), overwrite, fail_fast)
    timings = timings or Timings()
    batch.tidy()
    with batch.claims:
        try:
            if processes == 0 or (processes is None and len(jobs) == 1):
                _here(batch, timings)
            else:
                _Crew(batch, processes, time_limit, timings).work()
            interrupted = False
        except KeyboardInterrupt:
            interrupted = True
        batch.sweep()
    outcomes = [batch.outcomes[job.source] for job in jobs if job.source in batch.outcomes]
    return Result(outcomes, interrupted, time.perf_counter() - began)


def would_keep(jobs: Sequence[Job], settings: Settings, *, overwrite: bool = False) -> dict[Path, str]:
    """Why `run` would leave outputs as they are, by the source of each job for which it would.

    Raises:
        CheckpointError: there is no such model.
    """
    identity = settings.identity(sha256_of(checkpoint_path(settings.model)))
    manifests: dict[Path, Manifest] = {}
    found = {}
    for job in () if overwrite else jobs:
        if job.folder is not None and job.outputs:
            manifest = manifests.setdefault(job.folder, Manifest(job.folder))
            with suppress(PartranscribeError, OSError):
                found[job.source] = reason_to_keep(job, manifest, identity)
    return {source: reason for source, reason in found.items() if reason}


def default_processes(jobs: int) -> int:
    """How many processes the cores and the memory of this machine bear, no more than there are jobs."""
    memory = available_memory()
    bears = jobs if memory is None else int(memory / _BYTES_OF_A_PROCESS)
    return max(1, min(usable_cores(), bears, jobs))


def usable_cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1


def available_memory() -> float | None:
    """Bytes that are free or can be freed, within the limit of a container; None where nothing tells."""
    found = []
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(1024.0 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    with suppress(OSError, ValueError):  # ValueError: "max", without a limit
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        found.append(float(limit - used))
    return min(found, default=None)


class _Batch:
    """What is still to do, and what became of the rest.

    Args:
        jobs, settings, watcher, overwrite, fail_fast: as for `run`.
    """

    def __init__(
        self, jobs: Sequence[Job], settings: Settings, watcher: Watcher, overwrite: bool, fail_fast: bool
    ) -> None:
        self.settings, self.watcher, self.claims = settings, watcher, Claims()
        self.outcomes: dict[Path, Outcome] = {}
        self._overwrite, self._fail_fast, self._has_failed = overwrite, fail_fast, False
        self._identity = settings.identity(sha256_of(checkpoint_path(settings.model)))
        self._waiting = deque(jobs)
        self._folders = {
            path.parent
            for job in jobs
            for path in job.outputs.values()
            if job.folder is None or not leads_out(path.parent, job.folder)
        }
        self._elsewhere: list[Job] = []
        self.manifests = {job.folder: Manifest(job.folder) for job in jobs if job.folder is not None}
        self._before = {folder: manifest.entries() for folder, manifest in self.manifests.items()}

    def tidy(self) -> None:
        """Take away what processes that were killed have left where outputs go."""
        for folder in self._folders:
            remove_abandoned(folder)

    def sweep(self) -> None:
        """Take away what processes that were killed have claimed, if it is done."""
        for folder, manifest in self.manifests.items():
            if is_folder(folder / CLAIMS):
                self.claims.sweep(manifest)

    @property
    def stops(self) -> bool:
        """Whether nothing more is to be begun."""
        return self._fail_fast and self._has_failed

    def take(self, count: int) -> list[Job]:
        """The next jobs, so many at most, which nobody else does now and which are not done already."""
        taken: list[Job] = []
        while self._waiting and len(taken) < count and not self.stops:
            job = self._waiting.popleft()
            try:
                if self._is_mine(job):
                    taken.append(job)
            except PartranscribeError as error:
                self.finish(Outcome(job, error=error))
            except OSError as error:
                fact = f"{job.source}: {error.strerror or error} ({error.filename or job.folder})"
                self.finish(Outcome(job, error=OutputError(f"{fact}; can the output folder be written to?")))
        return taken

    def _is_mine(self, job: Job) -> bool:
        """Claim a job, unless it is done or someone else has it."""
        if job.folder is None or not job.outputs:
            return True
        for path in job.outputs.values():
            if leads_out(path, job.folder):
                fact = f"{path}: a link leads it out of {job.folder}"
                raise OutputError(f"{fact}; take the link away, or write elsewhere with -o")
        manifest = self.manifests[job.folder]
        with suppress(OutputError):  # another may be about to write the rest
            if self._is_kept(job, manifest, (DONE,)):
                return False
        key = key_of(job.folder, job.outputs)
        if self.claims.take(job.folder, key) is not None:
            self._elsewhere.append(job)
            return False
        return not self._is_kept(job, manifest)

    def _is_kept(self, job: Job, manifest: Manifest, reasons: Sequence[str] = ()) -> bool:
        """Whether the outputs of a job shall stay, for one of these reasons or any; then it is finished."""
        if self._overwrite:  # what was there before is made anew, what another process makes meanwhile is not
            entry = manifest.get(key_of(manifest.folder, job.outputs))
            if entry is None or entry == self._before[manifest.folder].get(entry.key):
                return False
        reason = reason_to_keep(job, manifest, self._identity)
        if not reason or (reasons and reason not in reasons):
            return False
        self.finish(keep(job, reason, self.settings))
        return True

    def finish(self, outcome: Outcome) -> None:
        """Note what became of a job, and let others know that it is not in work any more."""
        job = outcome.job
        if job.folder is not None and job.outputs:
            self.claims.release(job.folder, key_of(job.folder, job.outputs))
        self.outcomes[job.source] = outcome
        self._has_failed |= outcome.error is not None
        self.watcher.finished(outcome)

    def __len__(self) -> int:
        return len(self._waiting) + len(self._elsewhere)

    def look_elsewhere(self) -> bool:
        """Take up again what others were doing, if there is any; whether that is so."""
        self._waiting.extend(self._elsewhere)
        self._elsewhere.clear()
        return bool(self._waiting) and not self.stops


def _here(batch: _Batch, timings: Timings) -> None:
    """Do all in this process."""
    transcriber: Transcriber | None = None
    while True:
        jobs = batch.take(1 if transcriber is None else transcriber.together)
        if not jobs:
            if not batch.look_elsewhere():
                return
            time.sleep(_LOOK_SECONDS)
            continue
        if transcriber is None:
            with timings.stage("starting"):
                transcriber = batch.settings.transcriber(timings)
        for outcome in work(jobs, transcriber, batch.settings, batch.watcher, batch.manifests):
            batch.finish(outcome)


class _Crew:
    """Workers that do all, and are replaced where they die.

    Args:
        batch: what there is to do.
        processes: how many; None for as many as the machine bears.
        time_limit: see `run`.
        timings: where the time of each stage is counted.
    """

    def __init__(self, batch: _Batch, processes: int | None, time_limit: float, timings: Timings) -> None:
        self._batch, self._time_limit, self._timings = batch, time_limit, timings
        self._asked_for = processes
        self._size = processes or default_processes(len(batch))
        self._workers: list[Worker] = []
        self._ready: list[Job] = []  # claimed, and not yet given to a worker
        self._alone: deque[Job] = deque()  # whose worker died: each is tried once more, with no other in work
        self._tried: set[Path] = set()
        self._warnings: set[str] = set()
        self._false_starts = 0

    def work(self) -> None:
        """Until nothing is left to do."""
        try:
            while self._give() or self._batch.look_elsewhere():
                if self._workers:
                    wait_for_any(self._workers, _LOOK_SECONDS)
                else:
                    time.sleep(_LOOK_SECONDS)
                for worker in list(self._workers):
                    for message in worker.messages(self._time_limit):
                        self._hear(worker, message)
        finally:
            for worker in self._workers:
                self._timings.add(worker.seconds)
                worker.kill()
            if self._tried or self._is_busy:
                self._batch.tidy()

    @property
    def _is_busy(self) -> bool:
        return any(worker.is_at_work for worker in self._workers)

    def _give(self) -> bool:
        """Give every free worker something to do, and get more workers where it pays; false at the end."""
        if self._batch.stops:
            return False
        for worker in self._workers:
            if worker.is_free:
                jobs = self._next(worker.together or 1)
                if not jobs:
                    break
                worker.give(jobs)
        self._ready += self._batch.take(1 - len(self._ready))
        if self._ready or (self._alone and not self._workers):
            self._hire()
        return bool(self._ready or self._alone or self._is_busy)

    def _next(self, count: int) -> list[Job]:
        if count > 1:  # side by side, recordings wait for the longest of them
            self._ready += self._batch.take(count * _SORTED_TOGETHER - len(self._ready))
            self._ready.sort(key=_length)
        else:
            self._ready += self._batch.take(count - len(self._ready))
        jobs, self._ready = self._ready[:count], self._ready[count:]
        if not jobs and self._alone and not self._is_busy:
            jobs = [self._alone.popleft()]
        return jobs

    def _hire(self) -> None:
        """As many workers as are wanted. On what may be CUDA, the first one tells whether one is enough."""
        known = [worker.together for worker in self._workers if worker.together is not None]
        wanted = min(self._size, len(self._ready) + len(self._batch) + len(self._workers) or 1)
        if self._asked_for is None and self._batch.settings.device != "cpu" and (not known or known[0] > 1):
            wanted = 1
        while len(self._workers) < wanted:
            self._workers.append(Worker(self._batch.settings, max(1, usable_cores() // self._size)))

    def _hear(self, worker: Worker, message: Message) -> None:
        if isinstance(message, Started):
            self._batch.watcher.started(message.job, message.duration)
        elif isinstance(message, Advanced):
            self._batch.watcher.advanced(message.job, message.seconds)
        elif isinstance(message, Warned):
            if message.message not in self._warnings:
                self._warnings.add(message.message)
                warnings.warn(message.message, stacklevel=2)
        elif isinstance(message, Ready):
            self._false_starts = 0
        elif isinstance(message, Outcome):
            self._batch.finish(message)
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
                raise WorkerError(f"{self._batch.settings.model}: loading it {died.reason}")
        for job in died.jobs:
            if job.source in self._tried or (died.is_stall and len(died.jobs) == 1):
                again = " again" if job.source in self._tried else ""
                self._batch.finish(Outcome(job, error=WorkerError(f"{job.source}: {died.reason}{again}")))
            else:
                self._alone.append(job)
            self._tried.add(job.source)


def _length(job: Job) -> float:
    """Seconds of a recording as its header tells, to sort by."""
    with suppress(PartranscribeError):
        return probe(job.source).duration or 0.0
    return 0.0
