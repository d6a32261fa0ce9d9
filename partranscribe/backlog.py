"""What of a batch is still to do, and what became of the rest: shared with others on the same folders."""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from .audio import probe
from .errors import OutputError, PartranscribeError, StoreError
from .manifest import CLAIMS, Claims, Entry, Manifest, key_of, manifest_of
from .paths import is_folder, is_taken, leads_out
from .plan import PLOT, Job
from .released import checkpoint_sha256
from .remote import check_folder, copies_folder, is_object_store, is_remote, told
from .whole_file import check_no_link_out, remove_abandoned
from .work import (
    DONE,
    Outcome,
    Settings,
    Watcher,
    keep,
    reason_to_keep,
    refuse_foreign_extras,
    unexpected,
)

LOOK_SECONDS = 0.5  # between two looks at what others have done

_SORTED_TOGETHER = 8  # groups of recordings among which those of one length are put together


class Backlog:
    """What is still to do, and what became of the rest.

    Args:
        jobs, settings, watcher, overwrite, fail_fast: as for `batch.run`.
    """

    def __init__(
        self, jobs: Sequence[Job], settings: Settings, watcher: Watcher, overwrite: bool, fail_fast: bool
    ) -> None:
        self.settings, self.watcher, self.claims = settings, watcher, Claims()
        self.outcomes: dict[Path, Outcome] = {}
        self._overwrite, self._fail_fast, self._has_failed = overwrite, fail_fast, False
        self._identity = settings.identity(checkpoint_sha256(settings.model))
        self._waiting = deque(jobs)
        self._ready: list[Job] = []  # claimed, and not yet given to anyone
        self._folders = {extra.path.parent for job in jobs for extra in job.extras.values()}
        self._folders |= {
            path.parent
            for job in jobs
            for path in job.outputs.values()
            if not is_object_store(path) and (job.folder is None or not leads_out(path.parent, job.folder))
        }
        if any(is_remote(job.source) for job in jobs):
            self._folders.add(copies_folder())
        self._elsewhere: list[Job] = []
        self._looked = time.monotonic()  # at what others have done
        self._lengths: dict[Path, float] = {}
        self._warnings: set[str] = set()
        self.manifests = {job.folder: manifest_of(job.folder) for job in jobs if job.folder is not None}
        self._before: dict[Path, dict[str, Entry]] = {}
        unread = []
        for folder, manifest in self.manifests.items():
            try:
                self._before[folder] = manifest.entries()
            except OutputError as error:  # costs the recordings of this folder
                unread.append(error)
        if unread and not self._before:
            raise unread[0]

    def check(self) -> None:
        """Make sure of what would be wrong for every recording.

        Raises:
            StoreError: a folder behind a URL cannot be written to.
            OutputError: pictures cannot be drawn.
        """
        picture = next((job.extras[PLOT].path for job in self._waiting if PLOT in job.extras), None)
        if picture is not None:
            from .plots import check_picture

            check_picture(picture)
        for folder in self.manifests:
            check_folder(folder)

    def tidy(self) -> None:
        """Take away what processes that were killed have left where outputs and copies go."""
        for folder in self._folders:
            remove_abandoned(folder)

    def sweep(self) -> None:
        """Bring the manifests up to date, and take away what killed processes have claimed, if it is done."""
        for folder, manifest in self.manifests.items():
            with suppress(StoreError):  # nothing is lost: the next call does it
                manifest.settle()
            if not is_remote(folder) and is_folder(folder / CLAIMS):
                self.claims.sweep(manifest)

    @property
    def stops(self) -> bool:
        """Whether nothing more is to be begun."""
        return self._fail_fast and self._has_failed

    @property
    def is_ready(self) -> bool:
        """Whether there is a job that can be given now, which is claimed to know."""
        self._ready += self.take(1 - len(self._ready))
        return bool(self._ready)

    def group(self, count: int) -> list[Job]:
        """As `take`, but of several those of one length are put together."""
        if count > 1:  # side by side, recordings wait for the longest of them
            near = [self._waiting.popleft() for _ in range(min(count * _SORTED_TOGETHER, len(self._waiting)))]
            near.sort(key=self._length)
            self._waiting.extendleft(reversed(near))
        self._ready += self.take(count - len(self._ready))
        jobs, self._ready = self._ready[:count], self._ready[count:]
        return jobs

    def _length(self, job: Job) -> float:
        """Seconds of a recording as its header tells, to sort by."""
        if job.source not in self._lengths:
            self._lengths[job.source] = 0.0
            with suppress(Exception):  # is told when it is read
                if not is_remote(job.source):
                    self._lengths[job.source] = probe(job.source).duration or 0.0
        return self._lengths[job.source]

    def take(self, count: int) -> list[Job]:
        """The next jobs, so many at most, which nobody else does now and which are not done already."""
        taken: list[Job] = []
        while self._waiting and len(taken) < count and not self.stops:
            job = self._waiting.popleft()
            try:
                with told(job.source, job.folder):
                    if self._is_mine(job):
                        taken.append(job)
            except PartranscribeError as error:
                self.finish(Outcome(job, error=error))
            except OSError as error:
                fact = f"{job.source}: {error.strerror or error} ({error.filename or job.folder})"
                self.finish(Outcome(job, error=OutputError(f"{fact}; can the output folder be written to?")))
            except Exception as error:
                self.finish(Outcome(job, error=unexpected(job, error)))
        return taken

    def _is_mine(self, job: Job) -> bool:
        """Claim a job, unless it is done or someone else has it."""
        refuse_links(job)
        if job.folder is None or not job.outputs:
            if not self._overwrite:
                refuse_to_replace(job, None)
            return True
        manifest = self.manifests[job.folder]
        with suppress(OutputError):  # another may be about to write the rest
            if self._is_kept(job, manifest, (DONE,)):
                return False
        key = key_of(job.folder, job.outputs)
        if self.claims.take(job.folder, key) is not None:
            self._elsewhere.append(job)
            return False
        if self._is_kept(job, manifest):
            return False
        if not self._overwrite:
            refuse_to_replace(job, manifest)
        return True

    def _is_kept(self, job: Job, manifest: Manifest, reasons: Sequence[str] = ()) -> bool:
        """Whether the outputs of a job shall stay, for one of these reasons or any; then it is finished."""
        if self._overwrite:  # what was there before is made anew, what another process makes meanwhile is not
            entry = manifest.get(key_of(manifest.folder, job.outputs))
            if entry is None or entry == self._before.get(manifest.folder, {}).get(entry.key):
                return False
        reason = reason_to_keep(job, manifest, self._identity, self.settings)
        if not reason or (reasons and reason not in reasons):
            return False
        entry = manifest.get(key_of(manifest.folder, job.outputs)) if reason == DONE else None
        self.finish(keep(job, reason, self.settings, entry))
        return True

    def finish(self, outcome: Outcome) -> None:
        """Note what became of a job, and let others know that it is not in work any more."""
        job = outcome.job
        if job.folder is not None and job.outputs:
            self.claims.release(job.folder, key_of(job.folder, job.outputs))
        self.outcomes[job.source] = outcome
        self._has_failed |= outcome.error is not None
        self.watcher.finished(outcome)

    def warn(self, message: str) -> None:
        """Tell what one or more of the processes at work were warned of, once."""
        if message not in self._warnings:
            self._warnings.add(message)
            warnings.warn(message, stacklevel=2)

    def __len__(self) -> int:
        return len(self._ready) + len(self._waiting) + len(self._elsewhere)

    def glance_elsewhere(self) -> None:
        """Do as `look_elsewhere` now and then, beside other work."""
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self.look_elsewhere()

    def look_elsewhere(self) -> bool:
        """Take up again what others were doing, if there is any; whether that is so."""
        self._looked = time.monotonic()
        self._waiting.extend(self._elsewhere)
        self._elsewhere.clear()
        return bool(self._waiting) and not self.stops


def refuse_links(job: Job) -> None:
    """Make sure that what is written to a folder stays in it.

    Raises:
        OutputError: a link leads out of it.
    """
    within = [(path, job.folder) for path in job.outputs.values()]
    for path, folder in (*within, *job.extras.values()):
        if folder is not None:
            check_no_link_out(path, folder)


def refuse_to_replace(job: Job, manifest: Manifest | None) -> None:
    """Make sure that nothing is replaced that was neither named nor made by this program.

    Args:
        job: that is to be done.
        manifest: of its outputs; None if they have no folder, so that only the first of them was named.

    Raises:
        OutputError: something is there.
    """
    for path in list(job.outputs.values())[1:] if manifest is None else ():
        if is_taken(path):
            raise OutputError(f"{path}: is already there, and was not named; --overwrite replaces it")
    refuse_foreign_extras(job, manifest)
