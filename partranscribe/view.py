"""One page to see and hear a recording with its notes: self-contained, for any browser, without a network."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import __version__, opus, spectrogram
from .audio import read_blocks
from .config import FrontEndConfig
from .note_io import COLUMNS, row
from .notes import HIGHEST_PITCH, LOWEST_PITCH, Note
from .score import compare, match, score
from .whole_file import whole_file

if TYPE_CHECKING:
    from .frontend import LogMel

_PAGE_FOLDER = Path(__file__).parent / "page"
_POLICY = (
    "default-src 'none'; script-src '{script}'; style-src '{style}'; base-uri 'none'; form-action 'none'"
)
_FOR_HTML = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


@dataclass(frozen=True)
class Contents:
    """What a page shows.

    Args:
        recording: the file.
        notes: in the order in which files hold them.
        notes_from: where they come from: the name of a file or of a model.
        reference: notes to compare with; None to compare with nothing.
        reference_name: of their file.
        start: seconds from the start of the file at which the page begins.
        end: seconds at which it ends; None for the end of the recording.
    """

    recording: Path
    notes: Sequence[Note]
    notes_from: str
    reference: Sequence[Note] | None = None
    reference_name: str = ""
    start: float = 0.0
    end: float | None = None


def write_view(path: Path, contents: Contents, log_mel: LogMel) -> None:
    """Write the page of a recording, whole or not at all, in memory that does not grow with its length.

    Args:
        path: of the page; a file that is there is replaced.
        contents: what it shows.
        log_mel: the front end, for the spectrogram.

    Raises:
        AudioError: the recording cannot be read.
        NoteFileError: there is a reference, and it has no notes.
        OutputError: the page cannot be written.
    """
    script, style = _part("view.js"), _part("view.css")
    policy = _POLICY.format(script=_hash(script), style=_hash(style))
    head, tail = _part("view.html").replace("{policy}", policy).replace("{style}", style).split("{data}")
    comparison = _comparison(contents)
    with ExitStack() as stack:
        temporary = stack.enter_context(whole_file(path))
        page = stack.enter_context(temporary.open("w", encoding="utf-8", newline="\n"))
        pictures = stack.enter_context(TemporaryFile("w+", encoding="utf-8", newline="\n"))
        clock = _Clock(log_mel.config.sample_rate)
        blocks = clock.counting(_blocks(contents, log_mel.config.sample_rate))
        for tile in spectrogram.spectrogram_tiles(blocks, log_mel):
            _write_bytes(pictures, f"tile-{tile.level}-{tile.index}", tile.webp)
        data = {**page_data(contents, clock.seconds, log_mel.config), "comparison": comparison}
        page.write(head)
        page.write(f'<script type="application/json" id="data">{json_for_html(data)}</script>\n')
        page.write(f"<script>{script}</script>\n")  # first, for it need not wait for what follows
        pictures.seek(0)
        copyfileobj(pictures, page)
        for index, piece in enumerate(opus.opus_pieces(_blocks(contents, opus.SAMPLE_RATE))):
            _write_bytes(page, f"piece-{index}", piece)
        page.write(tail)


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


def json_for_html(value: object) -> str:
    """JSON that may stand in a script element, whatever its strings hold."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).translate(_FOR_HTML)


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
    """Counts the seconds of audio that pass."""

    def __init__(self, sample_rate: int) -> None:
        self._sample_rate, self._samples = sample_rate, 0

    def counting(self, blocks: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """The same blocks."""
        for block in blocks:
            self._samples += len(block)
            yield block

    @property
    def seconds(self) -> float:
        """Of all blocks until now."""
        return self._samples / self._sample_rate


def _part(name: str) -> str:
    return (_PAGE_FOLDER / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """The SHA-256 by which a content security policy knows an inline script or style."""
    return f"sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}"


def _write_bytes(page: IO[str], name: str, content: bytes) -> None:
    page.write(f'<script type="text/plain" id="{name}">{base64.b64encode(content).decode()}</script>\n')
