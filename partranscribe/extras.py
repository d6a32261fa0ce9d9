"""What is made of a recording and its notes beside note lists: a page, a picture, a sound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .frontend import LogMel
from .plan import PAGE
from .view import Contents, write_view


def write_extra(
    kind: str,
    path: Path,
    contents: Contents,
    front_end: Callable[[], LogMel],
    alive: Callable[[], None],
) -> None:
    """Write a file, whole or not at all.

    Args:
        kind: one of `plan.EXTRA_ENDINGS` for which the notes are enough.
        path: of the file; one that is there is replaced.
        contents: the recording and its notes.
        front_end: gives that of a page's spectrogram.
        alive: is called now and then, for one who waits.

    Raises:
        PartranscribeError: the recording cannot be read, or the file not be made.
    """
    if kind == PAGE:
        write_view(path, contents, front_end(), alive)
