"""partranscribe: piano recordings to MIDI and note lists.

The names below are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import PartranscribeError
    from .note_io import read_notes, write_notes
    from .notes import Note
    from .score import Score
    from .transcribe import Transcriber, Transcription

__version__ = "0.1.0"

_HOME = {
    "Note": "notes",
    "PartranscribeError": "errors",
    "Score": "score",
    "Transcriber": "transcribe",
    "Transcription": "transcribe",
    "read_notes": "note_io",
    "write_notes": "note_io",
}

__all__ = [
    "Note",
    "PartranscribeError",
    "Score",
    "Transcriber",
    "Transcription",
    "__version__",
    "read_notes",
    "write_notes",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
