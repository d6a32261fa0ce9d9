"""Note files keep what they are given, are valid for any reader, and appear whole or not at all."""

from __future__ import annotations

import csv
import errno
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import mido
import pretty_midi
import pytest

from partranscribe.errors import NoteFileError, OutputError
from partranscribe.note_io import (
    COLUMNS,
    SUFFIXES,
    WRITERS,
    extend_by_pedal,
    format_of,
    midi_bytes,
    read_notes,
    without_overlaps,
    write_notes,
)
from partranscribe.notes import Note, in_order

NOTES = [
    Note(0.0, 1.25, 21, 1, 0.25),
    Note(0.5004, 0.75, 60, 64, 0.5),
    Note(0.5004, 2.0, 64, 127, 1.0),
    Note(3.1416, 4.0, 108, 90, 0.9999),
]


def random_notes(seed: int, count: int = 400, seconds: float = 40.0) -> list[Note]:
    """Few pitches and short gaps, so that notes overlap, coincide, and have no length."""
    chance = random.Random(seed)
    notes = []
    for _ in range(count):
        onset = chance.choice([chance.uniform(0, seconds), round(chance.uniform(0, seconds), 2)])
        length = chance.choice([0.0, 1e-5, chance.uniform(0, 0.05), chance.uniform(0, 5)])
        notes.append(Note(onset, onset + length, chance.randint(60, 66), chance.randint(1, 127)))
    return notes


def midi_events(content: bytes) -> list[tuple[int, bool, int, int]]:
    """Tick, on or off, pitch and velocity of each note event of the raw file, in its order."""
    events = []
    for track in mido.MidiFile(file=BytesIO(content)).tracks:
        tick = 0
        for message in track:
            tick += message.time
            if message.type in ("note_on", "note_off"):
                is_on = message.type == "note_on" and message.velocity > 0
                events.append((tick, is_on, message.note, message.velocity))
    return events


def shape(notes: Sequence[Note]) -> list[tuple[int, int]]:
    return [(note.pitch, note.velocity) for note in notes]


@pytest.mark.parametrize("name", ["a.mid", "a.MIDI", "a.csv", "a.json", "a.tsv", "a.txt"])
def test_what_is_written_is_read_back(tmp_path: Path, name: str) -> None:
    write_notes(tmp_path / name, reversed(NOTES))
    read = read_notes(tmp_path / name)
    assert shape(read) == shape(NOTES)
    assert [note.onset for note in read] == pytest.approx([note.onset for note in NOTES], abs=0.25e-3 + 1e-9)
    assert [note.offset for note in read] == pytest.approx(
        [note.offset for note in NOTES], abs=0.25e-3 + 1e-9
    )


@pytest.mark.parametrize("name", ["a.csv", "a.json"])
def test_confidence_is_kept_by_the_formats_that_hold_it(tmp_path: Path, name: str) -> None:
    write_notes(tmp_path / name, [*NOTES, Note(5.0, 6.0, 60, 1, 0.0)])
    assert [note.confidence for note in read_notes(tmp_path / name)] == [0.25, 0.5, 1.0, 0.9999, 0.0]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_notes_make_a_valid_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"silence{suffix}"
    write_notes(path, [])
    assert read_notes(path) == []


@pytest.mark.parametrize("seed", range(5))
def test_every_format_says_the_same(tmp_path: Path, seed: int) -> None:
    notes = random_notes(seed)
    for suffix in (".mid", ".csv", ".json", ".tsv"):
        write_notes(tmp_path / f"a{suffix}", notes)
    lists = [
        sorted(read_notes(path), key=lambda note: (note.pitch, note.onset))
        for path in sorted(tmp_path.iterdir())
    ]
    assert len(lists) == len(WRITERS)
    for other in lists[1:]:
        assert shape(other) == shape(lists[0])
        assert [note.onset for note in other] == pytest.approx([note.onset for note in lists[0]], abs=0.5e-3)
        # MIDI lengthens a note without length to a tick
        assert [note.offset for note in other] == pytest.approx([note.offset for note in lists[0]], abs=1e-3)


def test_repeated_key_ends_before_it_restarts() -> None:
    held = Note(0.0, 5.0, 60, 80)
    again = Note(1.0, 2.0, 60, 70)
    other = Note(0.5, 3.0, 61, 60)
    assert without_overlaps([again, other, held]) == [Note(0.0, 1.0, 60, 80), other, again]


def test_strikes_of_one_key_within_5_ms_are_one_note() -> None:
    notes = [Note(1.0, 2.0, 60, 80, 0.3), Note(1.0, 4.0, 60, 70, 0.9), Note(1.004, 3.0, 60, 90, 0.1)]
    assert without_overlaps(notes) == [Note(1.0, 4.0, 60, 90, 0.9)]


def test_notes_that_do_not_overlap_are_left_as_they_are() -> None:
    assert without_overlaps(NOTES) == NOTES


@pytest.mark.parametrize("seed", range(5))
def test_nothing_overlaps_after_without_overlaps(seed: int) -> None:
    notes = without_overlaps(random_notes(seed))
    assert notes == in_order(notes)
    assert without_overlaps(notes) == notes
    for pitch in range(128):
        chosen = [note for note in notes if note.pitch == pitch]
        assert all(a.offset <= b.onset for a, b in pairwise(chosen))


@pytest.mark.parametrize("seconds", [40.0, 6_000.0, 12_000.0, 39_000.0])
@pytest.mark.parametrize("seed", range(3))
def test_raw_midi_never_opens_a_key_twice_and_closes_every_key(seed: int, seconds: float) -> None:
    notes = without_overlaps(random_notes(seed, seconds=seconds))
    sounding: dict[int, int] = {}
    strikes = 0
    for tick, is_on, pitch, _ in midi_events(midi_bytes(notes, {})):
        if is_on:
            assert pitch not in sounding
            sounding[pitch] = tick
            strikes += 1
        else:
            assert tick > sounding.pop(pitch)
    assert not sounding
    assert strikes == len(notes)


def test_note_off_comes_before_note_on_at_the_same_tick() -> None:
    content = midi_bytes([Note(0.0, 1.0, 60, 80), Note(1.0, 2.0, 60, 70)], {})
    assert [(tick, is_on) for tick, is_on, _, _ in midi_events(content)] == [
        (0, True),
        (2000, False),
        (2000, True),
        (4000, False),
    ]


def test_midi_is_a_piano_at_120_beats_per_minute(tmp_path: Path) -> None:
    write_notes(tmp_path / "a.mid", NOTES)
    midi = pretty_midi.PrettyMIDI(str(tmp_path / "a.mid"))
    assert [instrument.program for instrument in midi.instruments] == [0]
    assert midi.get_tempo_changes()[1].tolist() == [120.0]


def test_note_without_length_lasts_one_tick(tmp_path: Path) -> None:
    write_notes(tmp_path / "a.mid", [Note(1.0, 1.0, 60, 80)])
    (note,) = read_notes(tmp_path / "a.mid")
    assert (note.onset, note.offset) == pytest.approx((1.0, 1.0005))


@pytest.mark.parametrize(
    ("hours", "tick"), [(1.3, 0.0005), (2.7, 0.001), (3.0, 0.002), (5.5, 0.002), (11.0, 0.004)]
)
def test_long_midi_is_read_by_plain_pretty_midi(hours: float, tick: float) -> None:
    end = hours * 3600
    content = midi_bytes([Note(0.0, 1.0, 60, 80), Note(end - 1.2347, end, 61, 80)], {})
    last = pretty_midi.PrettyMIDI(BytesIO(content)).instruments[0].notes[-1]
    assert (last.start, last.end) == pytest.approx((end - 1.2347, end), abs=tick / 2 + 1e-9)


def test_dense_midi_times_are_within_half_a_millisecond(tmp_path: Path) -> None:
    notes = [Note(0.0317 * i, 0.0317 * i + 0.02, 21 + i % 88, 1 + i % 127) for i in range(5000)]
    write_notes(tmp_path / "a.mid", notes)
    read = read_notes(tmp_path / "a.mid")
    assert shape(read) == shape(notes)
    assert [note.onset for note in read] == pytest.approx([note.onset for note in notes], abs=0.5e-3)
    assert [note.offset for note in read] == pytest.approx([note.offset for note in notes], abs=0.5e-3)


def test_csv_has_the_promised_columns_and_line_ends(tmp_path: Path) -> None:
    write_notes(tmp_path / "a.csv", [Note(0.5, 1.25, 61, 80, 0.875)])
    assert (tmp_path / "a.csv").read_bytes() == (
        b"onset_s,offset_s,pitch,name,velocity,confidence\n0.5000,1.2500,61,C#4,80,0.8750\n"
    )


def test_json_says_what_it_is_and_what_it_is_about(tmp_path: Path) -> None:
    about = {"model": "par", "source": {"path": "Prélude.wav", "duration_s": 2.5}}
    write_notes(tmp_path / "a.json", [Note(0.5, 1.25, 61, 80, 0.875)], about=about)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {
        "format": "partranscribe-notes",
        "version": 1,
        "model": "par",
        "source": {"path": "Prélude.wav", "duration_s": 2.5},
        "notes": [dict(zip(COLUMNS, (0.5, 1.25, 61, "C#4", 80, 0.875), strict=True))],
    }


def test_json_keeps_its_own_keys(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="version"):
        write_notes(tmp_path / "a.json", [], about={"version": "2.0"})
    assert not (tmp_path / "a.json").exists()


def test_tsv_is_laid_out_as_lists_made_from_maps(tmp_path: Path) -> None:
    write_notes(tmp_path / "a.tsv", [Note(0.5, 1.918478, 38, 53)])
    assert (tmp_path / "a.tsv").read_text() == "# onset,offset,note,velocity\n0.500000\t1.918478\t38\t53\n"


def test_csv_columns_go_by_name_and_only_four_are_needed(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfvelocity,hand,pitch,offset_s,onset_s\r\n80,left,61,2,1.5\r\n")
    assert read_notes(path) == [Note(1.5, 2.0, 61, 80)]


def test_tsv_with_whole_numbers_as_decimals_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("# onset,offset,note,velocity\n0.500004\t1.918478\t38.000000\t53.000000\n")
    assert read_notes(path) == [Note(0.500004, 1.918478, 38, 53)]


def test_maps_list_without_velocities_is_read_with_velocity_64(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"OnsetTime\tOffsetTime\tMidiPitch\r\n0.5\t1.0\t60\r\n0.25\t2.0\t40\r\n\r\n")
    assert read_notes(path) == [Note(0.25, 2.0, 40, 64), Note(0.5, 1.0, 60, 64)]


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old")

    def fill_the_disk(self: Path, content: bytes) -> int:
        with self.open("wb") as stream:
            stream.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_the_disk)
    with pytest.raises(OutputError, match=r"a\.csv: cannot be written \(No space left on device\); .*disk"):
        write_notes(path, NOTES)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.csv"]
    assert path.read_text() == "old"


def test_an_unknown_ending_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"'\.xml' is no format of notes; use \.mid"):
        write_notes(tmp_path / "a.xml", NOTES)
    assert list(tmp_path.iterdir()) == []


def test_a_note_sounds_until_the_pedal_is_released() -> None:
    assert extend_by_pedal([Note(0.0, 1.0, 60, 80)], [(0.5, 127), (3.0, 0)]) == [Note(0.0, 3.0, 60, 80)]


@pytest.mark.parametrize(
    ("pedal", "offset"),
    [
        ([], 1.0),
        ([(1.5, 127), (3.0, 0)], 1.0),  # pressed after the key was released
        ([(0.2, 127), (0.8, 0)], 1.0),  # released before the key
        ([(1.0, 127), (3.0, 0)], 3.0),  # pressed as the key is released
        ([(0.2, 127), (1.0, 0)], 1.0),  # released with the key
        ([(0.2, 64), (3.0, 63)], 3.0),  # 64 is down, 63 is up
        ([(0.2, 63), (3.0, 0)], 1.0),
        ([(0.2, 127), (2.0, 90), (3.0, 20)], 3.0),  # still down in between
        ([(3.0, 0), (0.2, 127)], 3.0),  # in any order
        ([(0.2, 127), (4.0, 127)], 4.0),  # never released
    ],
)
def test_pedal_decides_the_offset(pedal: list[tuple[float, int]], offset: float) -> None:
    assert extend_by_pedal([Note(0.0, 1.0, 60, 80)], pedal) == [Note(0.0, offset, 60, 80)]


def test_a_new_strike_ends_what_the_pedal_holds() -> None:
    notes = [Note(0.0, 1.0, 60, 80), Note(2.0, 2.5, 60, 70), Note(0.0, 1.0, 61, 60)]
    assert extend_by_pedal(notes, [(0.5, 127), (4.0, 0)]) == in_order(
        [Note(0.0, 2.0, 60, 80), Note(2.0, 4.0, 60, 70), Note(0.0, 4.0, 61, 60)]
    )


def test_voices_in_unison_are_one_strike() -> None:
    """Of two hands on one key the pedal holds both, until the key is struck again."""
    notes = [Note(0.0, 0.25, 60, 80), Note(0.0, 0.5, 60, 70), Note(2.0, 2.5, 60, 70)]
    assert extend_by_pedal(notes, [(0.1, 127), (4.0, 0)]) == in_order(
        [Note(0.0, 2.0, 60, 80), Note(0.0, 2.0, 60, 70), Note(2.0, 4.0, 60, 70)]
    )


def test_pedal_threshold_is_a_setting() -> None:
    pedal = [(0.5, 40), (3.0, 0)]
    assert extend_by_pedal([Note(0.0, 1.0, 60, 80)], pedal, threshold=40)[0].offset == 3.0


def midi_with_pedal(path: Path) -> None:
    """Two hands, the pedal in one of them, and a drum."""
    midi = pretty_midi.PrettyMIDI(resolution=1000)
    for pitch, is_drum in ((60, False), (72, False), (38, True)):
        instrument = pretty_midi.Instrument(program=0, is_drum=is_drum)
        instrument.notes.append(pretty_midi.Note(80, pitch, 0.0, 1.0))
        midi.instruments.append(instrument)
    midi.instruments[0].control_changes = [
        pretty_midi.ControlChange(64, 100, 0.5),
        pretty_midi.ControlChange(67, 0, 1.5),
        pretty_midi.ControlChange(64, 0, 2.0),
    ]
    midi.write(str(path))


@pytest.mark.parametrize(("threshold", "offset"), [(64, 2.0), (101, 1.0), (None, 1.0)])
def test_midi_hands_are_merged_share_the_pedal_and_leave_drums_out(
    tmp_path: Path, threshold: int | None, offset: float
) -> None:
    midi_with_pedal(tmp_path / "a.mid")
    notes = read_notes(tmp_path / "a.mid", pedal_threshold=threshold)
    assert shape(notes) == [(60, 80), (72, 80)]
    assert [note.offset for note in notes] == pytest.approx([offset, offset])


@pytest.mark.parametrize(("channel", "offset"), [(0, 2.0), (1, 2.0), (9, 1.0)])
def test_the_pedal_may_have_a_track_of_its_own(tmp_path: Path, channel: int, offset: float) -> None:
    midi = mido.MidiFile(ticks_per_beat=500)  # 1000 ticks a second
    midi.tracks.append(
        mido.MidiTrack(
            [
                mido.Message("note_on", note=60, velocity=80),
                mido.Message("note_off", note=60, time=1000),
            ]
        )
    )
    changes = [(500, 100), (1500, 0)]  # ticks from the one before, and values
    midi.tracks.append(
        mido.MidiTrack(
            [
                mido.Message("control_change", channel=channel, control=64, value=value, time=ticks)
                for ticks, value in changes
            ]
        )
    )
    midi.save(str(tmp_path / "a.mid"))
    assert read_notes(tmp_path / "a.mid") == [Note(0.0, offset, 60, 80)]


def raw_midi(path: Path, *events: mido.Message | mido.MetaMessage) -> None:
    midi = mido.MidiFile(ticks_per_beat=500)
    midi.tracks.append(mido.MidiTrack(events))
    midi.save(str(path))


def test_midi_note_without_length_is_dropped_and_velocity_zero_is_an_end(tmp_path: Path) -> None:
    raw_midi(
        tmp_path / "a.mid",
        mido.Message("note_on", note=60, velocity=80),
        mido.Message("note_off", note=60),
        mido.Message("note_on", note=61, velocity=80),
        mido.Message("note_on", note=61, velocity=0, time=1000),
        mido.Message("note_on", note=62, velocity=80),
    )
    assert read_notes(tmp_path / "a.mid") == [Note(0.0, 1.0, 61, 80)]


def test_midi_that_counts_film_frames_is_refused(tmp_path: Path) -> None:
    raw_midi(tmp_path / "a.mid", mido.Message("note_on", note=60, velocity=80))
    content = bytearray((tmp_path / "a.mid").read_bytes())
    content[12:14] = b"\xe7\x28"  # 25 frames of 40 ticks in a second
    (tmp_path / "a.mid").write_bytes(content)
    with pytest.raises(NoteFileError, match="film frames"):
        read_notes(tmp_path / "a.mid")


def test_a_doubtful_tempo_is_told_with_the_name_of_the_file(tmp_path: Path) -> None:
    midi = mido.MidiFile()
    midi.tracks.append(mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=500_000)]))
    midi.tracks.append(mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=250_000)]))
    midi.save(str(tmp_path / "a.mid"))
    with pytest.warns(RuntimeWarning, match=r"a\.mid: Tempo"):
        assert read_notes(tmp_path / "a.mid") == []


HEADER = "onset_s,offset_s,pitch,velocity,confidence\n"
JSON = '{"format": "partranscribe-notes", "version": 1, "notes": [%s]}'


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.mid", "", r"a\.mid: is empty"),
        ("a.csv", "", r"a\.csv: is empty"),
        ("a.mid", "this is text", r"a\.mid: is not a readable MIDI file .*MThd.*export it anew"),
        ("a.csv", "onset,offset,pitch\n1,2,60\n", r"a\.csv, line 1: no column offset_s, onset_s, velocity; "),
        ("a.csv", HEADER + "1,2,60,80,1\nx,2,60,80,1\n", r"a\.csv, line 3: onset_s 'x' is not a number"),
        ("a.csv", HEADER + "1,2,60.5,80,1\n", r"line 2: pitch '60\.5' is not a whole number"),
        ("a.csv", HEADER + "1,2,inf,80,1\n", r"line 2: pitch 'inf' is not a whole number"),
        ("a.csv", HEADER + "nan,2,60,80,1\n", r"line 2: onset nan is not a time"),
        ("a.csv", HEADER + "2,1,60,80,1\n", r"line 2: offset 1\.0 is before onset 2\.0; correct the note"),
        ("a.csv", HEADER + "1,2,128,80,1\n", r"line 2: pitch 128 is not a MIDI key number"),
        ("a.csv", HEADER + "1,2,60,0,1\n", r"line 2: velocity 0 is not a MIDI velocity"),
        ("a.csv", HEADER + "1,2,60,80,1.5\n", r"line 2: confidence 1\.5 is not within"),
        ("a.csv", HEADER + "1,2\n", r"line 2: pitch None is not a number"),
        ("a.csv", HEADER + f"{'1' * 200_000},2,60,80,1\n", r"line 2: field larger than .*is it a CSV file"),
        ("a.tsv", "1\t2\n", r"a\.tsv, line 1: 2 columns; onset, offset, pitch and velocity are needed"),
        (
            "a.txt",
            "OnsetTime\tOffsetTime\tMidiPitch\n1\t2\tC4\n",
            r"a\.txt, line 2: pitch 'C4' is not a number",
        ),
        ("a.json", '{"format": "partranscr', r"a\.json: is not JSON .*line 1 column 12.*written completely"),
        ("a.json", "[" * 100_000, r"a\.json: is not JSON"),
        ("a.json", "[]", r"a\.json: holds no partranscribe-notes"),
        ("a.json", '{"format": "partranscribe-notes", "version": 2}', r"of version 2, not 1; update"),
        ("a.json", '{"format": "partranscribe-notes", "version": 1}', r"'notes' is not a list"),
        ("a.json", JSON % "1", r"'notes' is not a list of objects"),
        ("a.json", JSON % '{"onset_s": 1}', r"a\.json, note 1: offset_s None is not a number"),
        ("a.json", JSON % '{"onset_s": [], "offset_s": 1}', r"note 1: onset_s \[\] is not a number"),
        ("a.json", JSON % f'{{"onset_s": 1{"0" * 400}}}', r"note 1: onset_s 10+ is not a number"),
        ("a.xml", "<a/>", r"a\.xml: '\.xml' is no ending of a note list; use \.mid"),
    ],
)
def test_unreadable_file_is_named_with_the_fact(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(NoteFileError, match=message):
        read_notes(tmp_path / name)


def test_a_number_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "a.mid").write_bytes(b"MThd\0\0\0\6\0\0\0\1\0\x60MTrk\0\x20\0\0" + b"\xff" * (1 << 21))
    with pytest.raises(NoteFileError, match=r"a\.mid: is not a readable MIDI file \(a number without end\)"):
        read_notes(tmp_path / "a.mid")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoteFileError, match=r"a\.mid: cannot be read .*; is the path right"):
        read_notes(tmp_path / "a.mid")


def test_text_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(NoteFileError, match="is not UTF-8 text"):
        read_notes(tmp_path / "a.csv")


def test_damaged_files_raise_nothing_but_note_file_errors(tmp_path: Path) -> None:
    midi_with_pedal(tmp_path / "good.mid")
    for suffix in (".csv", ".json", ".tsv"):
        write_notes(tmp_path / f"good{suffix}", NOTES)
    chance = random.Random(0)
    refusals = []
    for suffix in (".mid", ".csv", ".json", ".tsv"):
        good = (tmp_path / f"good{suffix}").read_bytes()
        path = tmp_path / f"bad{suffix}"
        for round_number in range(200):
            content = bytearray(good)
            if round_number % 3 == 0:
                del content[chance.randrange(len(good)) :]
            elif round_number % 3 == 1:
                content = bytearray(chance.randbytes(chance.randrange(1, 200)))
            else:
                for _ in range(chance.choice([1, 2, 8])):
                    content[chance.randrange(len(good))] = chance.randrange(256)
            path.write_bytes(content)
            try:
                read_notes(path)
            except NoteFileError as error:
                refusals.append(str(error))
    assert len(refusals) > 200
    assert all(refusal.startswith(str(tmp_path / "bad.")) for refusal in refusals)


def test_formats_go_by_ending_in_any_case() -> None:
    assert format_of(Path("a.MID")) == "midi"
    assert format_of(Path("a.b.txt")) == "tsv"
    assert format_of(Path("midi")) is None


def test_import_does_not_load_pretty_midi() -> None:
    check = (
        "import sys, partranscribe.note_io; sys.exit('pretty_midi' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_csv_is_read_by_the_csv_module(tmp_path: Path) -> None:
    write_notes(tmp_path / "a.csv", NOTES)
    with (tmp_path / "a.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["name"] for row in rows] == ["A0", "C4", "E4", "C8"]
