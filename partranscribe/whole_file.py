"""Files that appear whole or not at all, whatever happens to the process that writes them."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import OutputError
from .owner import Owner
from .paths import leads_out, matching

_PARTIAL = ".part-"  # how names of files begin that are not written whole yet
_DAY = 86_400.0
_MARK_WITHIN = 2_000  # characters from the beginning


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Let a file appear whole or not at all: it is written beside its place, then renamed.

    The folder is made where there is none. A link is followed, so that its target is replaced.

    Args:
        path: where the file shall be.

    Yields:
        A path in the same folder, with the same ending, to write to.

    Raises:
        OutputError: anything in the block raised an OSError, or the place is not that of a file.
    """
    with _blamed(path):
        target, temporary = _place_of(path)
        try:
            yield temporary
            temporary.replace(target)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def check_place(path: Path) -> None:
    """Make sure that a file can be written, before the work of which it will tell.

    Raises:
        OutputError: as of `whole_file`.
    """
    with _blamed(path):
        _, temporary = _place_of(path)
        temporary.unlink()


def check_no_link_out(path: Path, folder: Path) -> None:
    """Make sure that what is written below a folder stays in it.

    Raises:
        OutputError: a link leads it out.
    """
    if leads_out(path, folder):
        raise OutputError(f"{path}: a link leads it out of {folder}; take the link away, or write elsewhere")


def refuse_unmarked(path: Path, mark: str, remedy: str = "--overwrite allows it") -> None:
    """Make sure that a text that is there was written by this program, or is empty.

    Args:
        path: of the text.
        mark: what such a text holds near its beginning.
        remedy: what to do about it.

    Raises:
        OutputError: it was not, or cannot be read.
    """
    try:
        beginning = beginning_of(path)
    except OSError as error:
        fact = f"{path}: is there and cannot be read ({error.strerror or error})"
        raise OutputError(f"{fact}; check its permissions, or name another") from error
    if beginning and mark not in beginning:
        raise foreign(path, remedy)


def beginning_of(text: Path) -> str:
    """As much of a text as may hold a mark of this program; OSError where it cannot be read."""
    with text.open(encoding="utf-8", errors="replace") as file:
        return file.read(_MARK_WITHIN)


def foreign(path: Path, remedy: str = "--overwrite allows it") -> OutputError:
    """What is told of a file that this program did not write, and does not replace."""
    fact = f"{path}: is there, was not made by partranscribe, and would be replaced"
    return OutputError(f"{fact}; {remedy}")


def _place_of(path: Path) -> tuple[Path, Path]:
    """Where a file will be, and an empty one beside it to write to."""
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise OutputError(f"{path}: is there and is not a file; name a file to write to")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / partial_name(target.suffix)
    temporary.touch()
    return target, temporary


def partial_name(suffix: str) -> str:
    """A name for a file that is not whole yet, which nobody has used, and which tells whose it is."""
    return f"{_own()}{secrets.token_hex(6)}{suffix}"


def _own() -> str:
    """How such names of this process begin."""
    owner = Owner.myself()
    return f"{_PARTIAL}{owner.host}-{owner.process}-{owner.started}-"


def remove_own(folder: Path) -> None:
    """Take away what this process was about to write in a folder when it was interrupted."""
    for path in matching(folder, f"{_own()}*"):
        with suppress(OSError):
            path.unlink()


def remove_abandoned(folder: Path, *, age: float = _DAY, now: float | None = None) -> None:
    """Take away what processes that were killed have left in a folder, half written.

    Args:
        folder: where.
        age: seconds after which whatever is left has been left, whoever began it.
        now: the time by the clock of the folder's file system; None for that of this machine.
    """
    for path in matching(folder, f"{_PARTIAL}*"):
        host, process, started, *token = path.name.removeprefix(_PARTIAL).split("-", 3) + [""] * 3
        if not process.isdecimal() or not token[0]:
            continue
        owner = Owner(host, int(process), started)
        with suppress(OSError):
            # Another machine's clock may differ from this one's, but not by a day.
            old = (time.time() if now is None else now) - path.stat().st_mtime > age
            if old or (owner.is_here and not owner.lives(0.0)):
                path.unlink()


@contextmanager
def _blamed(path: Path) -> Iterator[None]:
    """An OSError is told as one of this output."""
    try:
        yield
    except OSError as error:
        fact = f"cannot be written ({error.strerror or error})"
        raise OutputError(
            f"{path}: {fact}; is the folder writable, and is there room on the disk?"
        ) from error
