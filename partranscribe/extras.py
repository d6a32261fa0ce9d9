"""What is made of a recording and its notes beside note lists: a page, a picture, a sound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .frontend import LogMel
from .plan import PAGE, PLOT, SOUND, STEREO
from .view import Contents, write_view

FrontEnd = Callable[[], LogMel]
Alive = Callable[[], None]


def write_extra(kind: str, path: Path, contents: Contents, front_end: FrontEnd, alive: Alive) -> None:
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
    _WRITERS[kind](path, contents, front_end, alive)


def _page(path: Path, contents: Contents, front_end: FrontEnd, alive: Alive) -> None:
    write_view(path, contents, front_end(), alive)


def _plot(path: Path, contents: Contents, *_: object) -> None:
    from .plots import write_plot

    write_plot(
        path,
        contents.notes,
        title=contents.recording.name,
        reference=contents.reference,
        start=contents.start,
        end=contents.end,
    )


def _sound(path: Path, contents: Contents, *_: object) -> None:
    from .sonify import write_sound

    write_sound(path, contents.notes, start=contents.start, seconds=contents.seconds)


def _stereo(path: Path, contents: Contents, *_: object) -> None:
    from .sonify import write_stereo

    write_stereo(path, contents.recording, contents.notes, start=contents.start, end=contents.end)


_WRITERS: dict[str, Callable[[Path, Contents, FrontEnd, Alive], None]] = {
    PAGE: _page,
    PLOT: _plot,
    SOUND: _sound,
    STEREO: _stereo,
}
