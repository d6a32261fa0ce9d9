"""What is made of a recording and its notes beside note lists: a page, a picture, a sound."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from .errors import PartranscribeError
from .frontend import LogMel
from .plan import PAGE, PLOT, POSTERIORS, SOUND, STEREO, Extra
from .remote import named
from .view import Contents, write_view
from .whole_file import whole_file

FrontEnd = Callable[[], LogMel]
Alive = Callable[[], None]


Enter = Callable[[str, Path, Path], None]


def write_extras(
    extras: Mapping[str, Extra],
    contents: Contents,
    front_end: FrontEnd,
    posteriors: Path | None = None,
    alive: Alive = lambda: None,
    enter: Enter = lambda *_: None,
) -> None:
    """Write files, each whole or not at all; one that cannot be made does not stop the others.

    Args:
        extras: by their kind.
        contents: the recording and its notes.
        front_end: gives that of a page's spectrogram.
        posteriors: state probabilities that were written while the recording was transcribed, to be moved.
        alive: is called now and then, for one who waits.
        enter: is given the kind of a file, its path, and the file itself before it takes its place there.

    Raises:
        PartranscribeError: the recording cannot be read, or a file not be made; of several, the first.
    """
    problems = []
    for kind, (path, _) in extras.items():
        try:
            with whole_file(path) as temporary:
                with named(path, temporary):
                    if kind == POSTERIORS:
                        assert posteriors is not None
                        posteriors.replace(temporary)
                    else:
                        _WRITERS[kind](temporary, contents, front_end, alive)
                enter(kind, path, temporary)
        except PartranscribeError as error:
            problems.append(error)
        alive()
    if problems:
        raise problems[0]


def _page(path: Path, contents: Contents, front_end: FrontEnd, alive: Alive) -> None:
    write_view(path, contents, front_end(), alive)


def _plot(path: Path, contents: Contents, *_: object) -> None:
    from .plots import write_plot

    end = contents.end if contents.seconds is None else contents.start + contents.seconds
    write_plot(
        path,
        contents.notes,
        title=contents.recording.name,
        reference=contents.reference,
        start=contents.start,
        end=end,
    )


def _sound(path: Path, contents: Contents, _: FrontEnd, alive: Alive) -> None:
    from .sonify import write_sound

    start, seconds = contents.start, contents.seconds
    write_sound(path, contents.notes, start=start, seconds=seconds, tuning=contents.tuning, alive=alive)


def _stereo(path: Path, contents: Contents, _: FrontEnd, alive: Alive) -> None:
    from .sonify import write_stereo

    write_stereo(
        path,
        contents.recording,
        contents.notes,
        start=contents.start,
        end=contents.end,
        tuning=contents.tuning,
        alive=alive,
    )


_WRITERS: dict[str, Callable[[Path, Contents, FrontEnd, Alive], None]] = {
    PAGE: _page,
    PLOT: _plot,
    SOUND: _sound,
    STEREO: _stereo,
}
