"""One page to see and hear a recording with its notes: self-contained, for any browser, without a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import __version__, opus, spectrogram
from .audio import read_blocks
from .config import FrontEndConfig
from .note_io import COLUMNS, row
from .notes import HIGHEST_PITCH, LOWEST_PITCH, Note
from .paths import is_file
from .score import compare, match, score
from .template import MARK, bytes_element, data_element, template
from .tuning import CONCERT_PITCH
from .whole_file import check_no_link_out, refuse_unmarked, whole_file

if TYPE_CHECKING:
    from .frontend import LogMel


def check_page(path: Path, folder: Path) -> None:
    """Make sure that a page takes the place of no other file in a folder.

    Args:
        path: of the page, which may be there from an earlier time.
        folder: that was given, and not the page.

    Raises:
        OutputError: something else is there, or a link leads the page out of the folder.
    """
    check_no_link_out(path, folder)
    if is_file(path):
        refuse_unmarked(path, MARK, "name the file to write")


@dataclass(frozen=True)
class Contents:
    """What a page shows.

    Args:
        recording: the file.
        notes: in the order in which files hold them.
        notes_from: where they come from: the name of a file or of a model.
        reference: notes to compare with; None to compare with nothing.
        reference_name: of their file.
        start: seconds from the start of the file at which it begins.
        end: seconds at which it ends; None for the end of the recording.
        seconds: from start to end, where that is known.
    """

    recording: Path
    notes: Sequence[Note]
    notes_from: str
    reference: Sequence[Note] | None = None
    reference_name: str = ""
    start: float = 0.0
    end: float | None = None
    seconds: float | None = None
    tuning: float = CONCERT_PITCH


def write_view(
    path: Path, contents: Contents, log_mel: LogMel, alive: Callable[[], None] = lambda: None
) -> None:
    """Write the page of a recording, whole or not at all, in memory that does not grow with its length.

    Args:
        path: of the page; a file that is there is replaced.
        contents: what it shows.
        log_mel: the front end, for the spectrogram.
        alive: is called now and then, for one who waits.

    Raises:
        AudioError: the recording cannot be read.
        NoteFileError: there is a reference, and it has no notes.
        OutputError: the page cannot be written.
    """
    view = template("view")
    comparison = _comparison(contents)
    with ExitStack() as stack:
        temporary = stack.enter_context(whole_file(path))
        page = stack.enter_context(temporary.open("w", encoding="utf-8", newline="\n"))
        pictures = stack.enter_context(TemporaryFile("w+", encoding="utf-8", newline="\n"))
        clock = _Clock(log_mel.config.sample_rate, alive)
        blocks = clock.counting(_blocks(contents, log_mel.config.sample_rate))
        for tile in spectrogram.spectrogram_tiles(blocks, log_mel):
            pictures.write(bytes_element(f"tile-{tile.level}-{tile.index}", tile.webp))
        data = {**page_data(contents, clock.seconds, log_mel.config), "comparison": comparison}
        page.write(view.head)
        page.write(data_element("data", data))
        page.write(view.script)  # first, for it need not wait for what follows
        pictures.seek(0)
        copyfileobj(pictures, page)
        for index, piece in enumerate(opus.opus_pieces(_blocks(contents, opus.SAMPLE_RATE))):
            alive()
            page.write(bytes_element(f"piece-{index}", piece))
        page.write(view.tail)


def page_data(contents: Contents, seconds: float, config: FrontEndConfig) -> dict[str, Any]:
    """What the page is told of the recording and its notes.

    Args:
        contents: what it shows.
        seconds: of audio from the start of the page.
        config: of the spectrogram.
    """
    end = contents.start + seconds
    shown = [note.pitch for note in (*contents.notes, *(contents.reference or ()))]
    return {
        "recording": contents.recording.name,
        "notes_from": contents.notes_from,
        "tuning_hz": contents.tuning,
        "reference_name": contents.reference_name,
        "made_by": f"partranscribe {__version__}",
        "start_s": contents.start,
        "end_s": round(end, 4),
        "lowest": min(LOWEST_PITCH, *shown, HIGHEST_PITCH),
        "highest": max(LOWEST_PITCH, *shown, HIGHEST_PITCH),
        "remarks": list(_remarks(contents, end)),
        "notes": columns(contents.notes),
        "picture": {
            "frames_per_second": config.frames_per_second,
            "tile_columns": spectrogram.TILE_FRAMES,
            "levels": spectrogram.LEVELS,
            "lowest": LOWEST_PITCH,
            "highest": HIGHEST_PITCH,
        },
        "sound": {
            "sample_rate": opus.SAMPLE_RATE,
            "piece_s": opus.PIECE_SECONDS,
            "margin_s": opus.MARGIN_SECONDS,
        },
    }


def columns(notes: Sequence[Note]) -> dict[str, list[Any]]:
    """Notes as note lists hold them, a list for each name in `note_io.COLUMNS`."""
    rows = [row(note) for note in notes]
    return {name: [values[name] for values in rows] for name in COLUMNS}


def _comparison(contents: Contents) -> dict[str, Any] | None:
    """The notes of the reference, what mir_eval pairs with them, and the scores; None without a reference."""
    if contents.reference is None:
        return None
    matches = match(contents.notes, contents.reference)
    measured = score(contents.notes, contents.reference, matches=matches)
    return {
        "notes": columns(contents.reference),
        **asdict(compare(contents.notes, contents.reference, matches)),
        "score": measured.to_dict(),
    }


def _remarks(contents: Contents, end: float) -> Iterator[str]:
    """What a reader should know before looking at the page."""
    if contents.tuning != CONCERT_PITCH:
        yield f"The piano is tuned to A4 = {contents.tuning:g} Hz, and its spectrogram is drawn for that."
    if not contents.notes:
        yield "There are no notes in this transcription."
    lists = (("transcription", contents.notes), ("reference", contents.reference or ()))
    for name, notes in lists:
        late = sum(note.onset >= end for note in notes)
        if late:
            count = "One note" if late == 1 else f"{late} notes"
            begin = "begins" if late == 1 else "begin"
            fact = f"{count} of the {name} {begin} after the recording has ended, at {end:.1f} s"
            yield f"{fact}. Do they belong to this recording?"


def _blocks(contents: Contents, sample_rate: int) -> Iterator[NDArray[np.float32]]:
    return read_blocks(
        contents.recording,
        sample_rate,
        start=contents.start,
        end=contents.end,
        block_seconds=opus.PIECE_SECONDS,
    )


class _Clock:
    """Counts the seconds of audio that pass, and tells that they do."""

    def __init__(self, sample_rate: int, alive: Callable[[], None]) -> None:
        self._sample_rate, self._alive, self._samples = sample_rate, alive, 0

    def counting(self, blocks: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """The same blocks."""
        for block in blocks:
            self._samples += len(block)
            self._alive()
            yield block

    @property
    def seconds(self) -> float:
        """Of all blocks until now."""
        return self._samples / self._sample_rate
