"""How notes fall about their ends, in sines that are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from partranscribe import releases
from partranscribe.notes import Note, Place
from partranscribe.releases import FRAMES, HOP, LEVELS, Release, ReleaseMeter, levels_at, releases_of

RATE = 16_000
A4 = 440.0
TOGETHER, LOWEST, MEDIAN = range(LEVELS)


def sine(
    hertz: float, start: float, end: float, fall: float = 0.0, seconds: float = 6.0
) -> NDArray[np.float32]:
    """At -20 dB from its start on, falling by so many decibels a second, and silent from its end on."""
    time = np.arange(round(seconds * RATE)) / RATE
    level = -20 - fall * (time - start)
    wave = 10 ** (level / 20) * np.sin(2 * np.pi * hertz * time) * (time >= start) * (time < end)
    return wave.astype(np.float32)


def levels(
    audio: NDArray[np.float32], note: Note, *seconds: float, tuning: float = A4
) -> NDArray[np.float32]:
    found = releases_of(audio, [note], RATE, tuning)
    assert found.keys() == {(note.onset, note.pitch)}
    (only,) = levels_at([*found.values()], np.array([seconds]))
    return np.asarray(only)


def noise(seconds: float = 8.0) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


def some_notes(count: int = 40, seconds: float = 8.0) -> list[Note]:
    """Of many keys, from the first sample to the last, no two of one key overlapping."""
    rng = np.random.default_rng(1)
    onsets = [0.0, *np.sort(rng.uniform(0, seconds - 0.1, count - 2)).tolist(), seconds - 0.05]
    ends = [min(onset + float(rng.uniform(0, 3)), seconds) for onset in onsets]
    keys = 21 + rng.permutation(88)[:count]
    return [Note(onset, end, int(key), 64) for onset, end, key in zip(onsets, ends, keys, strict=True)]


def test_a_note_falls_as_its_partials_do() -> None:
    audio, note = sine(440, 1.0, 6.0, fall=10.0), Note(1.0, 2.5, 69, 64)
    found = levels(audio, note, 1.7, 2.5, 3.5, 4.4)
    # It is loudest where its first whole spectrum is, some 80 ms after it has begun.
    np.testing.assert_allclose(found, np.array([[-6.2], [-14.2], [-24.2], [-33.2]]).repeat(3, 1), atol=1.0)


def test_a_damper_is_heard() -> None:
    found = levels(sine(440, 1.0, 2.5), Note(1.0, 2.5, 69, 64), 2.4, 2.6)
    np.testing.assert_allclose(found[0], 0, atol=0.5)
    np.testing.assert_allclose(found[1], -50, atol=0.5)


def test_other_notes_hide_some_partials_and_not_all() -> None:
    """The octave goes on in the second partial of a note whose first has fallen."""
    audio = sine(440, 1.0, 2.5) + sine(880, 1.0, 2.5) + sine(1320, 1.0, 2.5) + sine(880, 2.5, 6.0)
    (found,) = levels(audio, Note(1.0, 2.5, 69, 64), 2.8)
    assert found[TOGETHER] == pytest.approx(-4.8, abs=0.6)
    assert found[LOWEST] == found[MEDIAN] == -50


def test_what_sounded_before_is_not_of_the_note() -> None:
    """Of a partial that was there already nothing is told, unless there is no other."""
    audio = sine(880, 0.0, 6.0) + sine(440, 1.0, 2.5)
    (found,) = levels(audio, Note(1.0, 2.5, 69, 64), 2.8)
    assert found[LOWEST] == found[MEDIAN] == -50
    (only,) = levels(sine(440, 0.0, 6.0), Note(1.0, 2.5, 69, 64), 2.8)
    np.testing.assert_allclose(only, 0, atol=0.5)


def test_a_piano_that_is_off_pitch_is_measured_where_it_is() -> None:
    audio, note = sine(466.2, 0.0, 2.5), Note(1.0, 2.5, 69, 64)
    assert levels(audio + 0.01 * sine(440, 0.0, 6.0), note, 2.8, tuning=466.2)[0, TOGETHER] < -35
    assert levels(audio + 0.01 * sine(440, 0.0, 6.0), note, 2.8)[0, TOGETHER] > -30


def test_silence_and_no_audio_have_no_levels() -> None:
    for audio in (np.zeros(RATE, np.float32), np.zeros(0, np.float32)):
        np.testing.assert_array_equal(levels(audio, Note(0.5, 0.9, 60, 64), 0.9), np.zeros((1, LEVELS)))
    assert releases_of(noise(), [], RATE, A4) == {}


def test_between_levels_lies_what_is_between_them() -> None:
    """Beyond the first and the last it is as they are."""
    kept = np.arange(FRAMES)[:, None].repeat(LEVELS, 1).astype(np.int8)
    release = Release(2.0, kept)
    times = np.array([[0.0, 2.0, 2.0 + 0.25 * HOP, 2.0 + 9.5 * HOP, 99.0]])
    (found,) = levels_at([release], times)
    np.testing.assert_allclose(found[:, 0], np.array([0, 0, 0.25, 9.5, FRAMES - 1]) / 2, atol=1e-5)


@pytest.mark.parametrize("block", [37, 4096, 10 * RATE])
def test_what_is_measured_does_not_depend_on_where_audio_is_cut(block: int) -> None:
    audio, notes, meter = noise(), some_notes(), ReleaseMeter(RATE)
    begins: list[Place] = [(note.onset, note.pitch) for note in notes]
    ends, begun, ended, most = sorted(notes, key=lambda note: note.offset), 0, 0, 0
    for first in range(0, len(audio), block):
        meter.push(audio[first : first + block], A4)
        decided = min(first + block, len(audio)) / RATE
        new = [place for place in begins[begun:] if place[0] < decided]
        over = [note for note in ends[ended:] if note.offset < decided]
        meter.take(new, over, decided)
        begun, ended = begun + len(new), ended + len(over)
        most = max(most, len(meter._levels))
    meter.take(begins[begun:], [], 8.0)
    found, whole = meter.finish(ends[ended:], A4), releases_of(audio, notes, RATE, A4)
    assert found.keys() == whole.keys() == set(begins)
    for place, release in whole.items():
        assert found[place].first == release.first
        np.testing.assert_array_equal(found[place].levels, release.levels)
    assert most <= (2.0 + 0.9 + block / RATE) / HOP + 4


def test_audio_may_come_long_before_notes_are_decoded() -> None:
    meter, notes, sounding = ReleaseMeter(RATE), some_notes(), list[Note]()
    meter.push(noise(), A4)
    for note in notes:
        over = [one for one in sounding if one.offset < note.onset]
        meter.take([(note.onset, note.pitch)], over, note.onset)
        sounding = [one for one in (*sounding, note) if one not in over]
    whole = releases_of(noise(), notes, RATE, A4)
    found = meter.finish(sounding, A4)
    assert found.keys() == whole.keys()
    for place, release in found.items():
        np.testing.assert_array_equal(release.levels, whole[place].levels)


def test_notes_may_be_decoded_before_their_audio_has_come() -> None:
    meter, notes = ReleaseMeter(RATE), some_notes()
    meter.take([(note.onset, note.pitch) for note in notes], notes, 8.0)
    meter.push(noise(), A4)
    whole = releases_of(noise(), notes, RATE, A4)
    for place, release in meter.finish([], A4).items():
        np.testing.assert_array_equal(release.levels, whole[place].levels)


def test_spectra_are_made_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = releases_of(noise(), some_notes(), RATE, A4)
    monkeypatch.setattr(releases, "_TOGETHER", 7)
    for place, release in releases_of(noise(), some_notes(), RATE, A4).items():
        np.testing.assert_array_equal(release.levels, whole[place].levels)


def test_what_it_gives_is_at_the_times_of_the_recording() -> None:
    meter, notes = ReleaseMeter(RATE, start=2.5), some_notes()
    meter.push(noise(), A4)
    meter.take([(note.onset, note.pitch) for note in notes], [], 8.0)
    found, whole = meter.finish(notes, A4), releases_of(noise(), notes, RATE, A4)
    for note in notes:
        release = found[2.5 + note.onset, note.pitch]
        assert release.first == pytest.approx(2.5 + whole[note.onset, note.pitch].first)
