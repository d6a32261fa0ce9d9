"""Whatever the bytes of a file, what reads it gives what it promises, or one of its own errors."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from partranscribe.note_io import SUFFIXES, write_notes
from partranscribe.notes import Note
from readers import READERS, check_audio, check_checkpoint, check_notes
from synth import click, write_audio

AUDIO = (".wav", ".w64", ".aiff", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac", ".mkv", ".webm")
FUZZ = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,  # the same inputs each time: a test that fails now and then tells little
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

Change = tuple[str, float, bytes]

_EXTREMES = [
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
    b"\1\0\0\0",
]
_CHANGES = st.lists(
    st.tuples(
        st.sampled_from(("replace", "insert", "delete", "cut")),
        st.one_of(st.floats(0, 0.05), st.floats(0, 1)),  # headers are where it matters most
        st.one_of(st.sampled_from(_EXTREMES), st.binary(min_size=1, max_size=8)),
    ),
    min_size=1,
    max_size=6,
)


def changed(content: bytes, changes: list[Change]) -> bytes:
    """A file's bytes with some of them replaced, put in or taken away."""
    for kind, place, what in changes:
        at = int(place * len(content))
        after = {"replace": at + len(what), "insert": at, "delete": at + 4 * len(what), "cut": len(content)}[
            kind
        ]
        content = content[:at] + (what if kind in ("replace", "insert") else b"") + content[after:]
    return content


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], bytes]:
    """The bytes of a short recording or note list of each format."""
    folder = tmp_path_factory.mktemp("whole")

    @cache
    def content(suffix: str) -> bytes:
        path = folder / f"a{suffix}"
        if suffix in SUFFIXES:
            write_notes(path, [Note(0.1 * k, 0.1 * k + 0.3, 60 + k, 20 + k, 0.5) for k in range(20)])
        else:
            write_audio(path, click(0.1, 0.4, 48_000), 48_000)
        return path.read_bytes()

    return content


@pytest.mark.parametrize("suffix", AUDIO)
def test_any_bytes_are_audio_or_an_audio_error(
    suffix: str, whole: Callable[[str], bytes], tmp_path: Path
) -> None:
    path = tmp_path / f"a{suffix}"

    @FUZZ
    @given(_CHANGES)
    @example([("cut", 0.5, b"-")])
    @example([("replace", 0.0, b"")])
    def read(changes: list[Change]) -> None:
        path.write_bytes(changed(whole(suffix), changes))
        check_audio(path)

    read()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_any_bytes_are_notes_or_a_note_file_error(
    suffix: str, whole: Callable[[str], bytes], tmp_path: Path
) -> None:
    path = tmp_path / f"a{suffix}"

    @FUZZ
    @given(_CHANGES)
    @example([("replace", 0.0, b"")])
    def read(changes: list[Change]) -> None:
        path.write_bytes(changed(whole(suffix), changes))
        check_notes(path)

    read()


def test_any_bytes_are_a_checkpoint_or_a_checkpoint_error(tiny_checkpoint: Path, tmp_path: Path) -> None:
    content, path = tiny_checkpoint.read_bytes(), tmp_path / "a.safetensors"

    @FUZZ
    @given(_CHANGES)
    @example([("replace", 0.0, b"")])
    def read(changes: list[Change]) -> None:
        path.write_bytes(changed(content, changes))
        check_checkpoint(path)

    read()


def kept(folder: str) -> list[Any]:
    """Inputs of `fuzz/fuzz.py`, each with its reader."""
    paths = sorted((Path(__file__).parent / "fuzz" / folder).glob("*/*"))
    return [pytest.param(path, id=f"{path.parent.name}/{path.name}") for path in paths]


@pytest.mark.parametrize("kept", [*kept("seeds"), *kept("found")])
def test_what_the_fuzzer_began_with_and_what_it_found_are_read_or_refused(kept: Path, tmp_path: Path) -> None:
    reader = READERS[kept.parent.name]
    path = tmp_path / f"a{reader.suffix}"
    path.write_bytes(kept.read_bytes())
    reader.check(path)
