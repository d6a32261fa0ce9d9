"""Questions about paths whose answer is no where the system cannot tell, as for a name that is too long."""

from __future__ import annotations

import os
from pathlib import Path


def is_folder(path: Path) -> bool:
    """Whether there is a folder that can be seen."""
    try:
        return path.is_dir()
    except OSError:
        return False


def is_file(path: Path) -> bool:
    """Whether there is a file that can be seen."""
    try:
        return path.is_file()
    except OSError:
        return False


def place(path: Path) -> str:
    """Where a path leads, by whatever links and whether or not something is there."""
    return os.path.realpath(path)
