"""Note lists in files: MIDI, CSV, JSON and TSV, written and read."""

from __future__ import annotations

import csv
import io
import json
import math
import warnings
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .errors import NoteFileError, OutputError
from .notes import PEDAL_THRESHOLD, Note, in_order
from .whole_file import whole_file

# The format that an ending stands for; where several files share a stem, the first listed counts.
SUFFIXES = {".mid": "midi", ".midi": "midi", ".csv": "csv", ".json": "json", ".tsv": "tsv", ".txt": "tsv"}

TELLING = ("json", "csv", "tsv", "midi")  # formats, from the one that holds the most of a note
COLUMNS = ("onset_s", "offset_s", "pitch", "name", "velocity", "confidence")
UNKNOWN_VELOCITY = 64  # given to the notes of a file that has no velocities


_REQUIRED = {"onset_s", "offset_s", "pitch", "velocity"}
_JSON_FORMAT = "partranscribe-notes"
_JSON_VERSION = 1
_TSV_HEADER = "# onset,offset,note,velocity"
_SUSTAIN = 64  # the MIDI controller of the sustain pedal
_DRUMS = 9  # the MIDI channel, counted from 0
_MIN_GAP = 0.005  # seconds; no key can be struck twice within it, and no MIDI tick up to 11 hours is longer
_MAX_TICK = 10_000_000  # the last tick that pretty_midi agrees to read
# Bytes of 128 and more in a row, which are none but those of a number without end: reading it takes days.
_HIGH = bytes(byte >> 7 for byte in range(256))
_ENDLESS = b"\1" * 4096


def format_of(path: Path) -> str | None:
    """The format that a file's ending stands for, or None."""
    return SUFFIXES.get(path.suffix.lower())


def write_notes(
    path: str | Path,
    notes: Iterable[Note],
    *,
    file_format: str | None = None,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write notes to a file, whole or not at all, and make its folder where there is none.

    Whatever the format, the notes first go through `without_overlaps`.

    Args:
        path: the file; one that is there is replaced.
        notes: in any order.
        file_format: one of `WRITERS`; taken from the ending by default.
        about: what JSON says beside the notes, such as the model and the source; others leave it out.

    Raises:
        OutputError: the format is unknown or the file cannot be written.
        ValueError: `about` uses a key that the JSON format needs for itself.
    """
    path = Path(path)
    name = file_format or format_of(path)
    if name not in WRITERS:
        raise OutputError(f"{path}: {name or path.suffix!r} is no format of notes; use {', '.join(SUFFIXES)}")
    content = WRITERS[name](without_overlaps(notes), about or {})
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


def without_overlaps(notes: Iterable[Note]) -> list[Note]:
    """Notes of which no two sound at one pitch: the earlier ends where the later starts.

    Notes of one pitch that start within 5 ms are one strike: it keeps the first onset, the last offset,
    and the highest velocity and confidence.
    """
    last: dict[int, Note] = {}
    kept = []
    for note in in_order(notes):
        before = last.get(note.pitch)
        if before is not None and note.onset - before.onset < _MIN_GAP:
            note = replace(
                before,
                offset=max(before.offset, note.offset),
                velocity=max(before.velocity, note.velocity),
                confidence=max(before.confidence, note.confidence),
            )
        elif before is not None:
            kept.append(before if before.offset <= note.onset else replace(before, offset=note.onset))
        last[note.pitch] = note
    return in_order([*kept, *last.values()])


def midi_bytes(notes: Sequence[Note], about: Mapping[str, Any]) -> bytes:
    """A MIDI file at 120 beats per minute whose ticks fit into what pretty_midi reads.

    A tick is 0.5 ms up to 82 minutes, 1 ms up to 2.7 hours, 2 ms up to 5.5 hours and 4 ms beyond; past 11
    hours pretty_midi needs its MAX_TICK raised. A time is at most half a tick off, and a note lasts at
    least one tick.
    """
    import pretty_midi

    end = max((note.offset for note in notes), default=0.0)
    resolution = next((ticks for ticks in (1000, 500, 250) if (end + 1) * 2 * ticks < _MAX_TICK), 125)
    tick = 0.5 / resolution  # seconds; a beat lasts half a second
    piano = pretty_midi.Instrument(program=0, name="Piano")
    for note in notes:
        first = math.floor(note.onset / tick + 0.5)
        last = max(first + 1, math.floor(note.offset / tick + 0.5))
        piano.notes.append(pretty_midi.Note(note.velocity, note.pitch, first * tick, last * tick))
    midi = pretty_midi.PrettyMIDI(resolution=resolution, initial_tempo=120.0)
    midi.instruments.append(piano)
    content = io.BytesIO()
    midi.write(content)
    return content.getvalue()


def csv_bytes(notes: Sequence[Note], about: Mapping[str, Any]) -> bytes:
    """Comma-separated values under a line with the names in `COLUMNS`; times in seconds."""
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for note in notes:
        rows.writerow(f"{value:.4f}" if isinstance(value, float) else value for value in row(note).values())
    return text.getvalue().encode()


def json_bytes(notes: Sequence[Note], about: Mapping[str, Any]) -> bytes:
    """One object: format, version, what `about` holds, and the notes under the names in `COLUMNS`."""
    if about.keys() & {"format", "version", "notes"}:
        raise ValueError("about may not hold format, version or notes: the file has its own")
    document = {"format": _JSON_FORMAT, "version": _JSON_VERSION, **about}
    document["notes"] = [row(note) for note in notes]
    return (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def tsv_bytes(notes: Sequence[Note], about: Mapping[str, Any]) -> bytes:
    """Onset, offset, pitch and velocity with tabs between, as lists made from MAPS come."""
    lines = [f"{note.onset:.6f}\t{note.offset:.6f}\t{note.pitch}\t{note.velocity}" for note in notes]
    return "".join(f"{line}\n" for line in (_TSV_HEADER, *lines)).encode()


WRITERS = {"midi": midi_bytes, "csv": csv_bytes, "json": json_bytes, "tsv": tsv_bytes}


def row(note: Note) -> dict[str, Any]:
    """What a file says of a note, under the names in `COLUMNS`: times and confidence have four decimals."""
    onset, offset = round(float(note.onset), 4), round(float(note.offset), 4)
    values = (onset, offset, int(note.pitch), note.name, int(note.velocity), round(float(note.confidence), 4))
    return dict(zip(COLUMNS, values, strict=True))


def read_notes(path: str | Path, *, pedal_threshold: int | None = PEDAL_THRESHOLD) -> list[Note]:
    """Read the notes of a MIDI, CSV, JSON or TSV file, told apart by its ending.

    Args:
        path: the file. CSV needs the columns onset_s, offset_s, pitch and velocity, in any order; TSV is
            onset, offset, pitch and velocity, or the first three as in MAPS, with velocity 64 then.
        pedal_threshold: of a MIDI file, offsets are extended while CC64 is at least this; None leaves
            them where the keys are released. Other formats hold no pedal.

    Returns:
        The notes in order, as the file has them: overlaps stay.

    Raises:
        NoteFileError: the file cannot be read, is of another format, or holds an impossible note.
    """
    path = Path(path) if isinstance(path, str) else path
    name = format_of(path)
    if name is None:
        raise NoteFileError(f"{path}: {path.suffix!r} is no ending of a note list; use {', '.join(SUFFIXES)}")
    if name == "midi":
        keys, pedal = read_midi(path)
        return in_order(keys) if pedal_threshold is None else extend_by_pedal(keys, pedal, pedal_threshold)
    content = _content(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NoteFileError(f"{path}: is not UTF-8 text; is its ending right?") from error
    return in_order(_TEXT_READERS[name](path, text))


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise NoteFileError(f"{path}: cannot be read ({error.strerror}); is the path right?") from error
    if not content:
        raise NoteFileError(f"{path}: is empty; was it written completely?")
    return content


def extend_by_pedal(
    notes: Iterable[Note], pedal: Iterable[tuple[float, int]], threshold: int = PEDAL_THRESHOLD
) -> list[Note]:
    """Hold each note on while the sustain pedal is down, until its pitch is struck again.

    A pedal that is never released stays down to the last note or pedal event.

    Args:
        notes: with the offsets at which the keys are released.
        pedal: time in seconds and value 0..127 of each CC64 event.
        threshold: the lowest value that means down.
    """
    notes = in_order(notes)
    pedal = sorted(pedal, key=lambda event: event[0])
    end = max([note.offset for note in notes] + [time for time, _ in pedal[-1:]], default=0.0)
    presses: list[float] = []
    releases: list[float] = []
    for time, value in (*pedal, (end, threshold - 1)):
        is_down = len(presses) > len(releases)
        if (value >= threshold) != is_down:
            (releases if is_down else presses).append(time)
    strikes: dict[int, tuple[float, float]] = {}  # of each pitch: the next one, and that after it
    extended = []
    for note in reversed(notes):
        press = bisect_right(presses, note.offset) - 1
        release = releases[press] if press >= 0 else 0.0
        next_strike, after_it = strikes.get(note.pitch, (math.inf, math.inf))
        if next_strike == note.onset:  # of two voices in unison: one strike
            next_strike = after_it
        extended.append(replace(note, offset=max(note.offset, min(release, next_strike))))
        strikes[note.pitch] = note.onset, next_strike
    return in_order(reversed(extended))


def read_midi(path: Path) -> tuple[list[Note], list[tuple[float, int]]]:
    """What is played in a MIDI file, but for drums, in no order.

    Returns:
        The notes, with the offsets at which the keys are released; and time in seconds and value 0..127 of
        each event of the sustain pedal (CC64).

    Raises:
        NoteFileError: as of `read_notes`.
    """
    import mido
    import pretty_midi

    content = _content(path)
    if _ENDLESS in content.translate(_HIGH):
        raise NoteFileError(f"{path}: is not a readable MIDI file (a number without end); export it anew")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            tracks = mido.MidiFile(file=io.BytesIO(content), charset="latin1")
            pedal_ticks = list(_sustain_events(tracks.tracks))  # before their times are changed
            midi = pretty_midi.PrettyMIDI(mido_object=tracks)
        except Exception as error:  # what damaged bytes raise in there has no common class
            fact = f"{type(error).__name__}: {error}".rstrip(": ")
            raise NoteFileError(f"{path}: is not a readable MIDI file ({fact}); export it anew") from error
    if midi.resolution <= 0:
        raise NoteFileError(f"{path}: counts film frames, not beats; export it with ticks per beat")
    if caught:
        warnings.warn(f"{path}: {caught[0].message}", RuntimeWarning, stacklevel=3)
    keys = [key for instrument in midi.instruments if not instrument.is_drum for key in instrument.notes]
    notes = [Note(float(key.start), float(key.end), key.pitch, key.velocity) for key in keys]
    return notes, [(float(midi.tick_to_time(tick)), value) for tick, value in pedal_ticks]


def _sustain_events(tracks: Iterable[Any]) -> Iterator[tuple[int, int]]:
    """Tick and value of each CC64 event, those of drums left out; the pedal may have a track of its own."""
    for track in tracks:
        tick = 0
        for message in track:
            tick += message.time
            if message.type == "control_change" and message.channel != _DRUMS and message.control == _SUSTAIN:
                yield tick, message.value


def _read_csv(path: Path, text: str) -> list[Note]:
    rows = csv.DictReader(io.StringIO(text, newline=""))
    try:
        missing = _REQUIRED - set(rows.fieldnames or ())
        if missing:
            raise NoteFileError(
                f"{path}, line 1: no column {', '.join(sorted(missing))}; the columns are {','.join(COLUMNS)}"
            )
        return [_note(f"{path}, line {rows.line_num}", row) for row in rows]
    except csv.Error as error:
        raise NoteFileError(f"{path}, line {rows.reader.line_num}: {error}; is it a CSV file?") from error


def _read_json(path: Path, text: str) -> list[Note]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NoteFileError(f"{path}: is not JSON ({error}); was it written completely?") from error
    if not isinstance(document, dict) or document.get("format") != _JSON_FORMAT:
        raise NoteFileError(f"{path}: holds no {_JSON_FORMAT}; is it a note list of partranscribe?")
    version = document.get("version")
    if version != _JSON_VERSION:
        raise NoteFileError(f"{path}: is of version {version!r}, not {_JSON_VERSION}; update partranscribe")
    notes = document.get("notes")
    if not (isinstance(notes, list) and all(isinstance(note, dict) for note in notes)):
        raise NoteFileError(f"{path}: 'notes' is not a list of objects; write the file anew")
    return [_note(f"{path}, note {number}", note) for number, note in enumerate(notes, start=1)]


def _read_tsv(path: Path, text: str) -> list[Note]:
    notes = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith(("#", "OnsetTime")):
            continue
        cells = line.split()
        if len(cells) not in (3, 4):
            raise NoteFileError(
                f"{path}, line {number}: {len(cells)} columns; onset, offset, pitch and velocity are needed"
            )
        values = dict(zip(("onset_s", "offset_s", "pitch", "velocity"), cells, strict=False))
        notes.append(_note(f"{path}, line {number}", {"velocity": UNKNOWN_VELOCITY, **values}))
    return notes


_TEXT_READERS = {"csv": _read_csv, "json": _read_json, "tsv": _read_tsv}


def _note(place: str, values: Mapping[str, Any]) -> Note:
    """One note from its values, as text or numbers; confidence may be missing."""
    try:
        return Note(
            onset=_number(values, "onset_s"),
            offset=_number(values, "offset_s"),
            pitch=_whole_number(values, "pitch"),
            velocity=_whole_number(values, "velocity"),
            confidence=1.0 if values.get("confidence") in (None, "") else _number(values, "confidence"),
        )
    except ValueError as error:
        raise NoteFileError(f"{place}: {error}; correct the note or take it out") from error


def _number(values: Mapping[str, Any], name: str) -> float:
    try:
        return float(values[name])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} {values.get(name)!r} is not a number") from error


def _whole_number(values: Mapping[str, Any], name: str) -> int:
    number = _number(values, name)
    if not number.is_integer():
        raise ValueError(f"{name} {values[name]!r} is not a whole number")
    return int(number)
