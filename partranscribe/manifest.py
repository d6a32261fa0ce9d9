"""What was made of which recording, in one file beside the outputs, and who is at work on the rest.

`partranscribe.jsonl` gets a line for every recording that is done. A recording in work has a claim: a small
file in the folder `.partranscribe`, which processes on one machine or on a shared file system see alike.
Behind a URL there are no claims, and entries are put in that folder first: see `StoredManifest`.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from . import remote
from .errors import OutputError
from .file_lock import lock
from .owner import Owner
from .paths import matching, sha256_of
from .tuning import CONCERT_PITCH
from .whole_file import partial_name, remove_abandoned, remove_own

NAME = "partranscribe.jsonl"
CLAIMS = ".partranscribe"

_ONE_AT_A_TIME = (
    threading.Lock()
)  # a file's lock is the process's, and ends when any of its threads closes it

_BEAT_SECONDS = 10.0  # between two signs of life of a claim


@dataclass(frozen=True)
class Made:
    """A file that was made of a recording and its notes.

    Args:
        sha256, size, modified_ns: of the file.
        compared_with: what it compares the notes with; see `work.Settings.compared_with`.
    """

    sha256: str
    size: int
    modified_ns: int
    compared_with: str

    @classmethod
    def of(cls, path: Path, compared_with: str) -> Made:
        """A file as it is."""
        state = path.stat()
        return cls(sha256_of(path), state.st_size, state.st_mtime_ns, compared_with)

    def is_that(self, path: Path) -> bool:
        """Whether a file has these bytes; one of this size and date is taken for it."""
        state = path.stat()
        if (state.st_size, state.st_mtime_ns) == (self.size, self.modified_ns):
            return True
        return state.st_size == self.size and sha256_of(path) == self.sha256


@dataclass(frozen=True)
class Entry:
    """A recording that is done.

    Args:
        key: its outputs without their ending, below the manifest's folder.
        source: of the recording, as it was called.
        size, modified_ns, source_sha256: of its file.
        work: what the notes depend on beside it; see `work.Settings.identity`.
        outputs: SHA-256 of each format.
        extras: what else was made of it, by its place seen from the manifest's folder.
        notes, duration_s, seconds: how many were found, of how much audio, in what time.
        tuning_hz: frequency of A4 that it was transcribed with.
        origin: where the recording is, seen from the manifest's folder; empty where it was not told.
        finished: when, in UTC.
    """

    key: str
    source: str
    size: int
    modified_ns: int
    source_sha256: str
    work: Mapping[str, Any]
    outputs: Mapping[str, str]
    notes: int
    duration_s: float
    seconds: float
    tuning_hz: float = CONCERT_PITCH
    extras: Mapping[str, Made] = field(default_factory=dict)
    origin: str = ""
    finished: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))

    @property
    def is_sound(self) -> bool:
        """Whether it holds what it should, as it may be anyone who wrote it."""
        made = self.extras.values()
        texts = [self.key, self.source, self.source_sha256, self.origin, self.finished]
        texts += [*self.outputs.values(), *(text for one in made for text in (one.sha256, one.compared_with))]
        counts = [self.size, self.modified_ns, self.notes]
        counts += [count for one in made for count in (one.size, one.modified_ns)]
        return (
            all(isinstance(text, str) for text in texts)
            and all(isinstance(count, int) for count in counts)
            and all(math.isfinite(number) for number in (self.duration_s, self.seconds, self.tuning_hz))
            and isinstance(self.work, dict)
        )


def key_of(folder: Path, outputs: Mapping[str, Path]) -> str:
    """What the outputs of a recording have in common, below a folder."""
    some = next(iter(outputs.values()))
    return some.relative_to(folder).as_posix().removesuffix(some.suffix)


class Manifest:
    """The entries of one folder; others may add to it at any time.

    Args:
        folder: where `partranscribe.jsonl` is, or will be.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / NAME
        self._entries: dict[str, Entry] = {}
        self._hashes: dict[str, set[str]] = {}
        self._read = 0

    def get(self, key: str) -> Entry | None:
        """The last entry of a recording, whoever made it.

        Raises:
            OutputError: the manifest is there and cannot be read.
        """
        self._catch_up()
        return self._entries.get(key)

    def entries(self) -> dict[str, Entry]:
        """The last entry of every recording, by its key; see `get`."""
        self._catch_up()
        return dict(self._entries)

    def has_written(self, key: str, sha256: str) -> bool:
        """Whether a file with these bytes was made of a recording here, now or at any time before."""
        self._catch_up()
        return sha256 in self._hashes.get(key, ())

    def _catch_up(self) -> None:
        try:
            _refuse_link(self.path)
            with _ONE_AT_A_TIME, self.path.open("rb") as file:
                file.seek(self._read)
                new = file.read()
        except FileNotFoundError:
            self._entries, self._hashes, self._read = {}, {}, 0
            return
        except OSError as error:
            raise self._told(error, "read") from error
        whole = new.rfind(b"\n") + 1  # the last line may still be in the making
        self._read += whole
        self._take(new[:whole])

    def _take(self, lines: bytes) -> None:
        for line in lines.splitlines():
            # Half of a line, whose writer was killed, or something else
            with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
                values = json.loads(line)
                values["extras"] = {place: Made(**made) for place, made in values.get("extras", {}).items()}
                entry = Entry(**{one.name: values[one.name] for one in fields(Entry) if one.name in values})
                if not entry.is_sound:
                    continue
                hashes = self._hashes.setdefault(entry.key, set())
                hashes.update(entry.outputs.values(), (made.sha256 for made in entry.extras.values()))
                self._entries[entry.key] = entry

    def add(self, entry: Entry) -> None:
        """Append an entry, whole, whoever else does the same.

        Raises:
            OutputError: it cannot be written.
        """
        line = _line(entry)
        try:
            _refuse_link(self.path)
            self.folder.mkdir(parents=True, exist_ok=True)
            with _ONE_AT_A_TIME, self.path.open("ab+", buffering=0) as file:
                lock(file)  # nothing on Windows, where an entry can be lost, and its recording is done again
                end = file.seek(0, os.SEEK_END)
                if end:
                    file.seek(end - 1)
                    if file.read(1) != b"\n":
                        line = b"\n" + line
                if file.write(line) < len(line):  # as on a disk that is full
                    file.truncate(end)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise self._told(error, "written") from error

    def settle(self) -> None:
        """Bring the file up to date at the end of a call, if that was not done with each entry."""

    def _told(self, error: OSError, done: str) -> OutputError:
        fact = f"{self.path}: cannot be {done} ({error.strerror or error})"
        return OutputError(f"{fact}; is the output folder one, and is there room on the disk?")


def _refuse_link(path: Path) -> None:
    """A folder may come from anywhere: a link in it must not lead what is written there to other places.

    Raises:
        OutputError: there is a link, or a pipe that would be waited for.
    """
    if path.is_symlink() or path.is_fifo():
        raise OutputError(f"{path}: is a link or a pipe; take it away, or write elsewhere with -o")


class StoredManifest(Manifest):
    """The entries of a folder behind a URL, where a file cannot be appended to.

    What is entered is a file of its own, one for each recording, until the end of a call. One call at a time
    can work there: another would not see what this one does, and may write over what it has entered.

    Args:
        folder: see `Manifest`; what goes wrong there is a `StoreError`.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._parts = folder / CLAIMS / "done"
        self._is_read = False

    def get(self, key: str) -> Entry | None:
        """The last entry of a recording, whichever process of this call made it."""
        self._catch_up()
        self._take(remote.content(self._part(key)))
        return self._entries.get(key)

    def entries(self) -> dict[str, Entry]:
        """The last entry of every recording, by its key."""
        self._catch_up()
        for lines in remote.contents(self._parts).values():
            self._take(lines)
        return dict(self._entries)

    def _catch_up(self) -> None:
        if not self._is_read:
            self._take(remote.content(self.path))
            self._is_read = True

    def add(self, entry: Entry) -> None:
        """Enter a recording, beside what was entered of it since the last call that came to its end."""
        part = self._part(entry.key)
        remote.put(part, remote.content(part) + _line(entry))

    def settle(self) -> None:
        """Take what was entered into `partranscribe.jsonl`; if that is cut short, it is done again."""
        parts = remote.contents(self._parts)
        if parts:
            lines = remote.content(self.path).splitlines()
            known = set(lines)
            lines += [line for part in parts.values() for line in part.splitlines() if line not in known]
            remote.put(self.path, b"".join(line + b"\n" for line in lines))
            remote.remove(self._parts, parts)

    def _part(self, key: str) -> Path:
        return self._parts / f"{_short(key)}.jsonl"


def manifest_of(folder: Path) -> Manifest:
    """The manifest of a folder, wherever that is."""
    return StoredManifest(folder) if remote.is_remote(folder) else Manifest(folder)


def has_made(notes: Path, top: Path, known: dict[Path, Manifest]) -> bool:
    """Whether a note list was made by this program, as the manifest of its folder or one above it tells.

    Args:
        notes: the file.
        top: behind a URL, the last folder above it that is asked.
        known: manifests by their folders, kept from one question to the next.
    """
    try:
        digest = sha256_of(notes)
    except OSError:  # told when it is read
        return False
    return any(manifest.has_written(key, digest) for manifest, key in _entering(notes, top, known))


def has_entered(notes: Path, top: Path, known: dict[Path, Manifest]) -> bool:
    """Whether this program has ever written a file of this name, whatever has become of it; as `has_made`."""
    return any(True for _ in _entering(notes, top, known))


def _entering(notes: Path, top: Path, known: dict[Path, Manifest]) -> Iterator[tuple[Manifest, str]]:
    """The manifests of a note list's folder and those above it that know it, and its key there."""
    if not remote.is_remote(notes):
        notes = notes.absolute()
        top = Path(notes.anchor)
    folders = [notes.parent]
    while folders[-1] != top and top in folders[-1].parents:
        folders.append(folders[-1].parent)
    for folder in folders:
        manifest, key = known.setdefault(folder, manifest_of(folder)), key_of(folder, {"": notes})
        with suppress(OutputError):  # what cannot be read tells nothing
            if manifest.get(key) is not None:
                yield manifest, key


def _line(entry: Entry) -> bytes:
    text = json.dumps(asdict(entry), ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace") + b"\n"  # some names are no valid text


def _short(key: str) -> str:
    """A name for what belongs to a recording, in place of its key."""
    return sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:20]


class _Claim(NamedTuple):
    """A claim in its file.

    Args:
        path: of the file.
        owner: who made it.
        key: of the recording; empty where it is not written yet.
    """

    path: Path
    owner: Owner
    key: str


class Claims:
    """Who does which recording, among all that work on the same folders. Use as a context.

    Each claim is a file that only one process can create. One whose owner died is void: the next number
    after it can be claimed, again by one process only.
    """

    def __init__(self) -> None:
        self._mine: dict[tuple[Path, str], Path] = {}  # without a lock, which Ctrl-C might leave taken
        self._places: set[Path] = set()
        self._ended = threading.Event()
        self._beat = threading.Thread(target=self._show_life, daemon=True)

    def __enter__(self) -> Claims:
        self._beat.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._beat.join()
        for folder, key in list(self._mine):
            self.release(folder, key)
        for place in self._places:
            remove_own(place)
            with suppress(OSError):  # others are still at work
                place.rmdir()

    def take(self, folder: Path, key: str) -> Owner | None:
        """Claim a recording; None if that succeeded, or who has it. Behind a URL it always does.

        Raises:
            OSError: nothing can be written there.
            OutputError: the folder of the claims is a link.
        """
        if remote.is_remote(folder):
            return None
        place = folder / CLAIMS
        _refuse_link(place)
        self._places.add(place)
        name = _short(key)
        while True:
            place.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError, FileNotFoundError):  # others claim, or take the empty folder away
                now = _now(place)
                files = _numbered(place, name)
                claims = _claims(files)
                other = next((claim.owner for claim in claims if claim.owner.lives(now - _beat(claim))), None)
                if other is not None:
                    return other
                number = 1 + max(map(_number, files), default=0)
                self._claim(place / f"{name}.{number}", folder, key)
                return None

    def _claim(self, path: Path, folder: Path, key: str) -> None:
        """Create the file of a claim, and leave none that nobody gives up, whenever Ctrl-C comes."""
        text = json.dumps({**asdict(Owner.myself()), "key": key})
        try:
            _create(path, text)
            self._mine[folder, key] = path
        except KeyboardInterrupt:
            with suppress(OSError):
                if path.read_text("utf-8") == text:
                    path.unlink()
            raise

    def release(self, folder: Path, key: str) -> None:
        """Give a claim up, after its recording was entered in the manifest or failed."""
        path = self._mine.get((folder, key))
        if path is not None:
            for file in _numbered(folder / CLAIMS, _short(key)):
                with suppress(OSError):
                    if _number(file) <= _number(path):  # of the dead, too
                        file.unlink()
            self._mine.pop((folder, key), None)

    def sweep(self, manifest: Manifest) -> None:
        """Take away the claims of processes that died just after a recording was done."""
        place = manifest.folder / CLAIMS
        with suppress(OSError, OutputError):
            _refuse_link(place)
            self._places.add(place)
            now = _now(place)
            for claim in _claims(_numbered(place, "*")):
                dead = not claim.owner.lives(now - _beat(claim))
                if dead and claim.key and manifest.get(claim.key) is not None:
                    claim.path.unlink()
            remove_abandoned(place, age=_BEAT_SECONDS, now=now)

    def _show_life(self) -> None:
        while not self._ended.wait(_BEAT_SECONDS):
            for path in list(self._mine.values()):
                with suppress(OSError):
                    os.utime(path)


def _create(path: Path, text: str) -> None:
    """Create a file that is whole from its beginning, which only one can.

    Raises:
        FileExistsError: another did.
        FileNotFoundError: another took the folder away, or what was to become the file.
        OSError: it cannot be written.
    """
    new = path.with_name(partial_name(""))
    try:
        new.write_text(text, "utf-8")
        try:
            os.link(new, path)
        except (FileExistsError, FileNotFoundError):
            raise
        except OSError:  # no links on this file system: one that is killed now leaves an empty claim
            path.touch(exist_ok=False)
            new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _numbered(place: Path, name: str) -> list[Path]:
    """What has the name of a claim of one recording, or of any for the name `*`."""
    paths = matching(place, f"{name}.[0-9]*")
    return [path for path in paths if path.suffix[1:].isdecimal() and not path.name.startswith(".")]


def _number(path: Path) -> int:
    return int(path.suffix[1:])


def _claims(paths: Sequence[Path]) -> list[_Claim]:
    """The claims among files; a folder may come from anywhere, with links and pipes in it.

    Raises:
        FileNotFoundError: one of them was released meanwhile.
    """
    found = []
    for path in paths:
        if not stat.S_ISREG(path.lstat().st_mode):
            continue
        try:
            about = json.loads(path.read_text("utf-8"))
            owner = Owner(about["host"], about["process"], about["started"])
            found.append(_Claim(path, owner, str(about["key"])))
        except (ValueError, KeyError, TypeError):  # just created, where there are no links
            found.append(_Claim(path, Owner("a machine that does not tell its name", 0, "0"), ""))
    return found


def _beat(claim: _Claim) -> float:
    """The time of its last sign of life."""
    return claim.path.stat().st_mtime


def _now(place: Path) -> float:
    """The time by the clock of a folder's file system, which may be another machine's."""
    probe = place / partial_name("")
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)
