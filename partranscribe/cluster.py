"""A batch done by a Ray cluster: an actor with a model of its own for each GPU, or for some cores of a CPU.

Where an actor's process or its whole machine is lost, Ray starts it again and gives it its recordings again.
Every machine needs this package, and the recordings and outputs under the same paths.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import socket
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .backlog import LOOK_SECONDS, Backlog
from .errors import ClusterError, PartranscribeError, first_line
from .manifest import Entry, Manifest, key_of, manifest_of
from .plan import Job
from .timings import Timings
from .work import DONE, Outcome, Settings, Watcher, keep, reason_to_keep, work
from .workers import BYTES_OF_A_PROCESS, WorkerError

try:
    import ray
    from ray.exceptions import RayError
except ImportError as error:
    raise ClusterError("Ray is not installed; pip install 'partranscribe[ray]'") from error

if TYPE_CHECKING:
    from typing_extensions import Self

    from .transcribe import Transcriber

_RETRIES = 1  # by Ray, of recordings whose actor was lost
_FALSE_STARTS = 3  # of actors one after the other, after which there is no hope
_ANSWER_SECONDS = 10.0  # in which a cluster should answer
_PATIENCE_SECONDS = 60.0  # in which some actor should have begun


@dataclass(frozen=True)
class Cluster:
    """What of a cluster is used.

    Args:
        address: as Ray takes it, or "auto" for the cluster that this machine is part of.
        actors: how many; None for as many as find a place now.
        cores: that one without a GPU keeps busy.
    """

    address: str = "auto"
    actors: int | None = None
    cores: int = 1


class Task(NamedTuple):
    """A job, and its entry in the manifest when it was given: what was entered since is the job's own."""

    job: Job
    entry: Entry | None


class _Done(NamedTuple):
    """What an actor did in a call.

    Args:
        outcomes: of its jobs.
        seconds: of each stage.
        warnings: what it was warned of.
        together: how many jobs it takes at once from now on.
    """

    outcomes: list[Outcome]
    seconds: dict[str, float]
    warnings: list[str]
    together: int


class Actor:
    """What runs on the cluster. Ray may start it again at any time, so it loads its model on demand.

    Args:
        settings: of the call.
        threads: that it may keep busy.
        time_limit: see `batch.run`.
        folder: that relative paths are meant from.
    """

    def __init__(self, settings: Settings, threads: int, time_limit: float, folder: Path) -> None:
        with suppress(OSError):  # whoever gave absolute paths does not need it
            os.chdir(folder)
        self._settings, self._threads, self._time_limit = settings, threads, time_limit
        self._timings, self._manifests = Timings(), dict[Path, Manifest]()
        self._transcriber: Transcriber | None = None

    def do(self, tasks: Sequence[Task]) -> _Done:
        """Do some jobs; of none, load the model and tell how many can be done at once.

        Raises:
            PartranscribeError: the model cannot be loaded.
        """
        told: list[str] = []
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_args, **_kwargs: told.append(str(message))
            if self._transcriber is None:
                self._transcriber = self._load()
            with _Patience(self._time_limit) as patience:
                identity = self._settings.identity(self._transcriber.info.sha256)
                before = [self._done_before(task, identity) for task in tasks]
                new = [task.job for task, outcome in zip(tasks, before, strict=True) if outcome is None]
                outcomes = [outcome for outcome in before if outcome is not None]
                outcomes += work(new, self._transcriber, self._settings, patience, self._manifests)
        seconds = dict(self._timings.seconds)
        self._timings.seconds.clear()
        return _Done(outcomes, seconds, told, self._transcriber.together)

    def _load(self) -> Transcriber:
        with self._timings.stage("starting"):
            return self._settings.transcriber(self._timings, self._threads)

    def _done_before(self, task: Task, identity: Mapping[str, Any]) -> Outcome | None:
        """The outcome of a job that was done, and whose actor was lost before it could tell."""
        job = task.job
        if job.folder is None:
            return None
        manifest = self._manifests.setdefault(job.folder, manifest_of(job.folder))
        with suppress(PartranscribeError, OSError):
            entry = manifest.get(key_of(job.folder, job.outputs))
            if entry is None or entry == task.entry:
                return None
            if reason_to_keep(job, manifest, identity, self._settings) == DONE:
                return keep(job, "", self._settings, entry)
        return None


class _Patience(Watcher):
    """Ends the process, even a stuck one, when no recording goes on for too long; Ray starts it again."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> Self:
        self._wait()
        return self

    def __exit__(self, *_: object) -> None:
        faulthandler.cancel_dump_traceback_later()

    def started(self, job: Job, duration: float | None) -> None:
        self._wait()

    def advanced(self, job: Job, seconds: float) -> None:
        self._wait()

    def _wait(self) -> None:
        faulthandler.dump_traceback_later(self._seconds, exit=True, file=sys.stderr)


@dataclass(eq=False)
class _Hired:
    """An actor as the driver sees it.

    Args:
        handle: Ray's.
        together: how many jobs it takes at once; None before its model is loaded.
        jobs: that it was given.
    """

    handle: Any
    together: int | None = None
    jobs: list[Job] = field(default_factory=list)


class Fleet:
    """Actors that do all of a batch. Each has one group of recordings at a time; the rest waits here.

    Args:
        backlog: what there is to do.
        cluster: where.
        time_limit: see `batch.run`.
        timings: where the time of each stage is counted.
    """

    def __init__(self, backlog: Backlog, cluster: Cluster, time_limit: float, timings: Timings) -> None:
        self._backlog, self._cluster = backlog, cluster
        self._time_limit, self._timings = time_limit, timings
        self._calls: dict[Any, _Hired] = {}  # by the reference to what it will return
        self._free: list[_Hired] = []
        self._alone: deque[Job] = deque()  # that were lost: each is tried once more, by a new actor
        self._tried: set[Path] = set()
        self._false_starts, self._has_begun, self._has_lost = 0, False, False
        self._began = time.monotonic()
        self._new: Callable[[], _Hired] | None = None  # starts an actor; known when there is one to start

    def work(self) -> None:
        """Until nothing is left to do.

        Raises:
            ClusterError: there is no such cluster, or no place on it.
            PartranscribeError: the model cannot be loaded.
        """
        connected = False
        try:
            while self._give() or self._backlog.look_elsewhere():
                if self._new is None and self._backlog.is_ready:
                    connected = _connect(self._cluster.address)
                    self._hire()
                if self._calls:
                    for call in ray.wait(list(self._calls), timeout=LOOK_SECONDS)[0]:
                        self._hear(call)
                else:
                    time.sleep(LOOK_SECONDS)
                self._tell_of_waiting()
        finally:
            for actor in [*self._free, *self._calls.values()]:
                ray.kill(actor.handle)
            if self._has_lost or any(actor.jobs for actor in self._calls.values()):
                self._backlog.tidy()
            if connected:
                ray.shutdown()

    def _hire(self) -> None:
        """As many actors as find a place, or as were asked for."""
        settings = self._backlog.settings
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        gpus = int(resources.get("GPU", 0)) if settings.device != "cpu" else 0
        if settings.device.startswith("cuda") and not gpus:
            raise ClusterError(f"{self._cluster.address}: no GPU on this cluster; use --device cpu")
        cores = 1 if gpus else self._cluster.cores
        fit = gpus or max(1, int(resources.get("CPU", 1)) // cores)
        options: dict[str, Any] = {
            "num_cpus": cores,
            "num_gpus": 1 if gpus else 0,
            "memory": BYTES_OF_A_PROCESS,
            "max_restarts": -1,
            "max_task_retries": _RETRIES,
        }
        remote: Any = ray.remote(**options)(Actor)
        settings = replace(settings, device="cuda" if gpus else "cpu")
        self._new = lambda: _Hired(remote.remote(settings, cores, self._time_limit, Path.cwd()))
        for _ in range(min(self._cluster.actors or fit, len(self._backlog))):
            self._start()

    def _start(self) -> None:
        """One actor, which loads its model."""
        assert self._new is not None
        actor = self._new()
        self._calls[actor.handle.do.remote([])] = actor

    def _give(self) -> bool:
        """Give every free actor something to do, or let it go where nothing is left; false at the end."""
        if self._backlog.stops:
            return False
        for actor in list(self._free):
            assert actor.together is not None
            actor.jobs = [self._alone.popleft()] if self._alone else self._backlog.group(actor.together)
            if actor.jobs:
                self._free.remove(actor)
                self._calls[actor.handle.do.remote([self._task(job) for job in actor.jobs])] = actor
            elif not len(self._backlog):  # so that one that lost its place finds another
                self._free.remove(actor)
                ray.kill(actor.handle)
            else:
                self._backlog.glance_elsewhere()
        at_work = [bool(actor.jobs) for actor in self._calls.values()]
        # What nobody here could begin now is not claimed: others may.
        has_place = self._new is None or bool(self._free) or not all(at_work)
        return bool((has_place and self._backlog.is_ready) or self._alone or any(at_work))

    def _task(self, job: Job) -> Task:
        self._backlog.watcher.started(job, None)
        if job.folder is None:
            return Task(job, None)
        return Task(job, self._backlog.manifests[job.folder].get(key_of(job.folder, job.outputs)))

    def _hear(self, call: Any) -> None:
        actor = self._calls.pop(call)
        try:
            done: _Done = ray.get(call)
        except PartranscribeError as error:  # which Ray hands on as one of its own, too
            raise getattr(error, "cause", error) from None
        except RayError as error:
            self._lose(actor, error)
            return
        self._timings.add(done.seconds)
        for message in done.warnings:
            self._backlog.warn(message)
        for outcome in done.outcomes:
            self._backlog.finish(outcome)
        actor.jobs, actor.together, self._false_starts, self._has_begun = [], done.together, 0, True
        self._free.append(actor)

    def _lose(self, actor: _Hired, error: RayError) -> None:
        """Go on with another actor, after a call that Ray gave up."""
        self._has_lost = True
        ray.kill(actor.handle)
        reason = _reason(error)
        if actor.together is None:
            self._false_starts += 1
            if self._false_starts >= _FALSE_STARTS:
                raise ClusterError(f"{self._cluster.address}: no process can be started there ({reason})")
        for job in actor.jobs:
            if job.source in self._tried:
                fact = f"the processes at work on it were lost, again and again ({reason})"
                self._backlog.finish(Outcome(job, error=WorkerError(f"{job.source}: {fact}")))
            else:
                self._tried.add(job.source)
                self._alone.append(job)
        self._start()

    def _tell_of_waiting(self) -> None:
        if not self._has_begun and time.monotonic() - self._began > _PATIENCE_SECONDS:
            self._backlog.warn(
                "no process on the cluster has begun yet; `ray status` tells if there is place"
            )


def _connect(address: str) -> bool:
    """Connect to a cluster, unless whoever called has done so; whether that was done here.

    Raises:
        ClusterError: none answers.
    """
    if ray.is_initialized():
        return False
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if host and port.isdecimal():  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), _ANSWER_SECONDS).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (RayError, OSError, RuntimeError, ValueError) as error:
        fact = f"{address}: no Ray cluster answers there ({_reason(error)})"
        raise ClusterError(f"{fact}; `ray start --head` starts one") from error
    return True


def _reason(error: Exception) -> str:
    """The first line of what an error tells, or of what caused it on the cluster."""
    return first_line(getattr(error, "cause", None) or error)
