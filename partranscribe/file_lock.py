"""One process at a time with an open file, where the system and the file system can lock."""

from __future__ import annotations

from typing import IO, Any

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]


def lock(file: IO[Any], *, wait: bool = True) -> bool:
    """Have a file that is open for writing to this process alone, until it is closed or the process ends.

    Args:
        file: of which the process has no other copy open: closing any of them would end it.
        wait: for another process that has it.

    Returns:
        False if another process has it and was not waited for; where nothing can be locked, True.
    """
    if fcntl is not None:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        except OSError:  # a file system without locks
            pass
    return True
