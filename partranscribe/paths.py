"""Questions about paths; the answer is no where the system cannot tell, as for a name that is too long."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

_BLOCK = 1 << 20


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


def is_taken(path: Path) -> bool:
    """Whether there is a file, or a link, be it to nothing."""
    return is_file(path) or (isinstance(path, Path) and path.is_symlink())


def may_be_file(path: Path) -> bool:
    """Whether there is a file, or something that cannot be looked at; a link to nothing is neither."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        return error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def place(path: Path) -> str:
    """Where a path leads, by whatever links and whether or not something is there."""
    return os.path.realpath(path) if isinstance(path, os.PathLike) else str(path)  # the latter of a URL


def leads_out(path: Path, folder: Path) -> bool:
    """Whether a link takes a path below a folder out of it."""
    if not isinstance(folder, os.PathLike):  # behind a URL, where there are no links
        return False
    return not Path(place(path)).is_relative_to(place(folder))


def is_hidden(path: Path) -> bool:
    """Whether a path below some folder is hidden, or lies in a folder that is."""
    return any(part.startswith(".") for part in path.parts)


def matching(folder: Path, pattern: str) -> list[Path]:
    """What in a folder has such a name; nothing where the folder is not there, or cannot be listed."""
    try:
        return list(folder.glob(pattern))
    except OSError:  # which glob tells of some folders, and of one that goes away while it looks
        return []


def sha256_of(path: Path, alive: Callable[[], object] = lambda: None) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal.

    Args:
        path: of the file.
        alive: called now and then, for one who waits.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            alive()
    return digest.hexdigest()
