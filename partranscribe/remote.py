"""Recordings and outputs behind URLs such as `s3://bucket/recordings`, by way of fsspec.

What a URL names is a `UPath` of universal-pathlib, which does all that is asked of a `Path` elsewhere, but
is none. It is loaded when there is a URL, and not before.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from tempfile import gettempdir
from typing import Any, cast

from .errors import PartranscribeError, StoreError
from .paths import may_be_file
from .whole_file import partial_name, whole_file

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)  # one letter would be a drive

# Objects appear whole, and have no folders that could be made; made would be a bucket.
_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "memory"}

_BLOCK = 1 << 24


def is_url(text: str) -> bool:
    """Whether a text is a URL; nothing is asked there."""
    return _URL.match(text) is not None


def location(text: str) -> Path:
    """The file or folder that a path or a URL names.

    Raises:
        StoreError: what the URL needs is not installed, or nothing answers there.
    """
    if not is_url(text):
        return Path(text)
    try:
        from upath import UPath

        path = UPath(text, use_listings_cache=False)  # others may write there
        path.exists()
    except ImportError as error:
        fact = f"{text}: URLs need more than is installed ({error})"
        raise StoreError(f"{fact}; pip install 'partranscribe[remote]'") from error
    except Exception as error:
        raise StoreError(f"{text}: {_reason(error)}; check the address and the credentials") from error
    return cast("Path", path)


def is_remote(path: Path) -> bool:
    """Whether a path came of a URL."""
    return not isinstance(path, Path)


def is_object_store(path: Path) -> bool:
    """Whether a path is that of an object, which appears whole by itself."""
    return is_remote(path) and cast("Any", path).protocol in _OBJECT_STORES


@contextmanager
def told(*paths: Path | None) -> Iterator[None]:
    """Tell whatever goes wrong with a store as one error, as its libraries have many.

    Args:
        paths: what it may be about; the first that came of a URL is named. If none did, nothing is changed.

    Raises:
        StoreError: anything in the block went wrong.
    """
    try:
        yield
    except PartranscribeError:
        raise
    except Exception as error:
        path = next((one for one in paths if one is not None and is_remote(one)), None)
        if path is None:
            raise
        raise StoreError(f"{path}: {_reason(error)}; check the address and the permissions") from error


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file, folder or bucket"
    lines = str(getattr(error, "strerror", None) or error).splitlines()
    return lines[0] if lines else type(error).__name__


def files_below(
    folder: Path, suffixes: Collection[str], unlisted: Callable[[OSError], object] | None = None
) -> list[Path]:
    """Files in a folder and below, their paths from there, sorted.

    Args:
        folder: of which links to other folders are not followed.
        suffixes: lower-case endings that are meant, with the dot.
        unlisted: is told of each folder that cannot be listed, which by default is a warning.

    Raises:
        StoreError: the folder is behind a URL and cannot be listed.
    """
    if is_remote(folder):
        with told(folder):
            store, top = _store(folder)
            found = [Path(name[len(top.rstrip("/")) + 1 :]) for name in store.find(top)]
        return sorted(path for path in found if path.suffix.lower() in suffixes)
    paths = [
        Path(place, name)
        for place, _, names in os.walk(folder, onerror=unlisted or _warn_of)
        for name in names
        if Path(name).suffix.lower() in suffixes
    ]
    return sorted(path.relative_to(folder) for path in paths if may_be_file(path))


def _warn_of(error: OSError) -> None:
    warnings.warn(f"{error.filename}: cannot be listed ({error.strerror}), and is left out", stacklevel=2)


def copies_folder() -> Path:
    """Where the copies of recordings are while they are needed."""
    return Path(gettempdir())


@contextmanager
def fetched(source: Path, alive: Callable[[], object]) -> Iterator[Path]:
    """Give a local file with the bytes of a recording: itself, or a copy that is taken away at the end.

    Args:
        source: the recording.
        alive: called now and then while it is copied.

    Yields:
        The file. A copy has the ending and the time of its source, the one that was before the copying.

    Raises:
        StoreError: it cannot be copied.
    """
    if not is_remote(source):
        yield source
        return
    copy = copies_folder() / partial_name(source.suffix)
    try:
        with told(source):
            modified = source.stat().st_mtime_ns
            copy.touch(0o600, exist_ok=False)
            with source.open("rb") as theirs, copy.open("wb") as ours:
                while block := theirs.read(_BLOCK):
                    ours.write(block)
                    alive()
            os.utime(copy, ns=(modified, modified))
        yield copy
    finally:
        copy.unlink(missing_ok=True)


@contextmanager
def named(source: Path, copy: Path) -> Iterator[None]:
    """Tell an error of a copy as one of its source."""
    try:
        yield
    except PartranscribeError as error:
        if copy is source:
            raise
        raise type(error)(str(error).replace(str(copy), str(source))) from error


@contextmanager
def appearing(path: Path, content: bytes) -> Iterator[None]:
    """Let a file appear, whole or not at all, when the block ends well.

    Raises:
        OutputError: see `whole_file`.
        StoreError: see `put`.
    """
    if is_remote(path):
        yield
        put(path, content)
    else:
        with whole_file(path) as temporary:
            temporary.write_bytes(content)
            yield


def put(path: Path, content: bytes) -> None:
    """Write a file behind a URL, which appears whole or not at all.

    Raises:
        StoreError: it cannot be written.
    """
    with told(path):
        _write(path, content)


def _write(path: Path, content: bytes) -> None:
    store, name = _store(path)
    if is_object_store(path):
        store.pipe_file(name, content)
        return
    if path.is_dir():
        raise IsADirectoryError("is there and is not a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    _, part = _store(path.with_name(partial_name(path.suffix)))
    try:
        store.pipe_file(part, content)
        store.mv(part, name)
    finally:
        with suppress(OSError):  # it has its name
            store.rm_file(part)


def check_folder(folder: Path) -> None:
    """Make sure that a folder behind a URL can be written to; nothing is asked of a local one.

    Raises:
        StoreError: it cannot.
    """
    if is_remote(folder):
        path = folder / partial_name("")
        with told(folder):
            _write(path, b"")
        with suppress(Exception):  # who may write may not be allowed to remove
            store, name = _store(path)
            store.rm_file(name)


def content(path: Path) -> bytes:
    """The bytes of a file behind a URL, none if there is no such file.

    Raises:
        StoreError: it cannot be read.
    """
    store, name = _store(path)
    with told(path):
        try:
            return bytes(store.cat_file(name))
        except FileNotFoundError:
            return b""


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of all files in a folder behind a URL, by their names in the store.

    Raises:
        StoreError: some cannot be read.
    """
    store, top = _store(folder)
    with told(folder):
        try:
            names = sorted(store.find(top))
        except FileNotFoundError:  # not even a bucket
            return {}
        return dict(store.cat([escape(name) for name in names])) if names else {}


def remove(folder: Path, names: Collection[str]) -> None:
    """Remove files of `contents`, and the folder if it is empty then.

    Raises:
        StoreError: some cannot be removed.
    """
    store, top = _store(folder)
    with told(folder):
        store.rm([escape(name) for name in names])
        if not is_object_store(folder):
            with suppress(OSError):  # others have added to it
                store.rmdir(top)


def _store(path: Path) -> tuple[Any, str]:
    """The file system of fsspec, and what it calls the path."""
    remote = cast("Any", path)
    return remote.fs, remote.path
