"""Which process something belongs to, on which machine, and whether it may still be at work."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

_DEAD_SECONDS = 90.0  # without a sign of life, the process of another machine is taken for dead


@dataclass(frozen=True)
class Owner:
    """A process.

    Args:
        host: stands for a machine, from one start of it to the next.
        process: its number there.
        started: when, by the clock of the machine's kernel; "0" where that cannot be told.
    """

    host: str
    process: int
    started: str

    @staticmethod
    def myself() -> Owner:
        """This process."""
        return Owner.here(os.getpid())

    @staticmethod
    def here(process: int) -> Owner:
        """A process of this machine."""
        return Owner(_host(), process, _started(process))

    @property
    def is_here(self) -> bool:
        """Whether it is, or was, a process of this machine."""
        return self.host == _host()

    def lives(self, seconds_silent: float) -> bool:
        """Whether it may still be at work.

        Args:
            seconds_silent: since its last sign of life, which counts for one of another machine, and where
                another process could have its number by now.
        """
        if not self.is_here:
            return seconds_silent < _DEAD_SECONDS
        if self.started == "0":
            return _runs(self.process) and seconds_silent < _DEAD_SECONDS
        return _runs(self.process) and _started(self.process) == self.started


@cache
def _host() -> str:
    """Of the name of the machine, its last start, and what its processes are numbered in."""
    told = [socket.gethostname()]
    with suppress(OSError):
        told.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        told.append(str(Path("/proc/self/ns/pid").readlink()))
    return sha256("\n".join(told).encode()).hexdigest()[:12]


def _started(process: int) -> str:
    try:
        state, *told = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return "0" if state in "XZ" else told[18]  # it ended, and its parent did not ask for it yet
    except (OSError, IndexError):
        return "0"


def _runs(process: int) -> bool:
    if os.name == "nt":
        return True  # a signal would end it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True
