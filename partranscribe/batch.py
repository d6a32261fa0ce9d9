"""Any number of recordings in one call: what is done stays done, and each is done by one process alone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .audio import check_there
from .backlog import LOOK_SECONDS, Backlog, refuse_links, refuse_to_replace
from .crew import Crew
from .errors import AudioError, PartranscribeError
from .machine import default_threads
from .manifest import Manifest, manifest_of
from .plan import Job
from .released import checkpoint_sha256
from .remote import told
from .timings import Timings
from .work import Outcome, Settings, Watcher, reason_to_keep, work

if TYPE_CHECKING:
    from .cluster import Cluster
    from .transcribe import Transcriber

TIME_LIMIT = 300.0


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
    cluster: Cluster | None = None,
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
        cluster: does all in place of this machine.
        overwrite: outputs that are there are made anew; by default they are kept if they were made of the
            same bytes by the same model and settings, and whenever something else wrote them.
        fail_fast: stop at the first failure.
        time_limit: seconds without progress after which a recording is given up.
        timings: where the time of each stage is counted.

    Raises:
        PartranscribeError: the model cannot be loaded, or the cluster or the store not be used: that is
            wrong for every recording. Once something was done, it is the error of all that was not.
    """
    began = time.perf_counter()
    backlog = Backlog(jobs, settings, watcher or Watcher(), overwrite, fail_fast)
    timings = timings or Timings()
    backlog.check()
    backlog.tidy()
    with backlog.claims:
        try:
            if cluster is not None:
                from .cluster import Fleet

                Fleet(backlog, cluster, time_limit, timings).work()
            elif processes == 0 or (processes is None and len(jobs) == 1):
                _here(backlog, timings)
            else:
                Crew(backlog, processes, time_limit, timings).work()
            interrupted = False
        except KeyboardInterrupt:
            interrupted = True
        except PartranscribeError as error:
            if not any(one.error is None and not one.kept for one in backlog.outcomes.values()):
                raise
            interrupted = False  # what is done is told of, and what is not
            for job in jobs:
                if job.source not in backlog.outcomes:
                    backlog.finish(Outcome(job, error=error))
        backlog.sweep()
    outcomes = [backlog.outcomes[job.source] for job in jobs if job.source in backlog.outcomes]
    return Result(outcomes, interrupted, time.perf_counter() - began)


def foresee(jobs: Sequence[Job], settings: Settings, *, overwrite: bool = False) -> dict[Path, Outcome]:
    """What `run` would keep or refuse to replace, by the source of each job for which it would.

    Raises:
        CheckpointError: there is no such model.
    """
    identity = settings.identity(checkpoint_sha256(settings.model))
    manifests: dict[Path, Manifest] = {}
    found = {}
    for job in jobs:
        manifest = None
        if job.folder is not None and job.outputs:
            manifest = manifests.setdefault(job.folder, manifest_of(job.folder))
        try:
            with told(job.source, job.folder):
                check_there(job.source)
                refuse_links(job)
                kept = ""
                if manifest is not None and not overwrite:
                    kept = reason_to_keep(job, manifest, identity, settings)
                if not kept and not overwrite:
                    refuse_to_replace(job, manifest)
        except PartranscribeError as error:
            found[job.source] = Outcome(job, error=error)
        except OSError as error:
            found[job.source] = Outcome(job, error=AudioError(f"{job.source}: {error.strerror or error}"))
        else:
            if kept:
                found[job.source] = Outcome(job, kept=kept)
    return found


def _here(backlog: Backlog, timings: Timings) -> None:
    """Do all in this process."""
    transcriber: Transcriber | None = None
    while True:
        jobs = backlog.take(1 if transcriber is None else transcriber.together)
        if not jobs:
            if not backlog.look_elsewhere():
                return
            time.sleep(LOOK_SECONDS)
            continue
        if transcriber is None:
            with timings.stage("starting"):
                transcriber = backlog.settings.transcriber(timings, default_threads())
        for outcome in work(jobs, transcriber, backlog.settings, backlog.watcher, backlog.manifests):
            backlog.finish(outcome)
