"""Settings whose processes die, stop or hang at chosen recordings."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from partranscribe.errors import AudioError
from partranscribe.timings import Timings
from partranscribe.transcribe import Transcriber, Transcription
from partranscribe.work import Settings


@dataclass(frozen=True)
class Fated(Settings):
    """Settings with which a worker meets its fate at some recordings.

    Args:
        fates: `killed`, `killed once`, `stopped` or `hung`, by the name of the recording; of no name, at the
            start.
        together: how many recordings it takes at once.
    """

    fates: tuple[tuple[str, str], ...] = ()
    together: int = 1

    def transcriber(self, timings: Timings | None = None, threads: int | None = None) -> Transcriber:
        meet(Path(), self.fates)
        warnings.warn("a worker was warned", stacklevel=1)
        return FatedTranscriber(self, timings)


class FatedTranscriber(Transcriber):
    """Meets the fate of its settings."""

    def __init__(self, settings: Fated, timings: Timings | None) -> None:
        super().__init__(settings.model, settings.device, timings=timings, together=settings.together)
        self._fates = settings.fates

    def transcribe(self, path: str | Path, **options: Any) -> Transcription:
        meet(Path(path), self._fates)
        return super().transcribe(path, **options)

    def transcribe_several(
        self, paths: Sequence[str | Path], **options: Any
    ) -> Iterator[Transcription | AudioError]:
        for path in paths:
            meet(Path(path), self._fates)
        return super().transcribe_several(paths, **options)


def meet(path: Path, fates: Sequence[tuple[str, str]]) -> None:
    """End or stop this process if that is the fate of a recording."""
    fate = dict(fates).get(path.name)
    if fate == "killed once":
        met = path.with_suffix(".met")
        fate = None if met.exists() else "killed"
        met.touch()
    if fate == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fate == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif fate == "hung":
        time.sleep(1000)
