"""Scores equal those of mir_eval, and follow the paper where mir_eval says nothing."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import mir_eval
import numpy as np
import pytest

from locked import lock
from partranscribe.errors import NoteFileError
from partranscribe.manifest import Entry, Manifest
from partranscribe.note_io import write_notes
from partranscribe.notes import Note
from partranscribe.paths import sha256_of
from partranscribe.score import (
    Bin,
    Measure,
    Score,
    Tolerances,
    aligned,
    average,
    pair_files,
    recall_by_length,
    recall_by_pitch,
    score,
)

PERFECT, NOTHING = Measure(1.0, 1.0, 1.0), Measure(0.0, 0.0, 0.0)
C4 = Note(1.0, 2.0, 60, 64)


def random_pair(seed: int, count: int = 300, spread: float = 0.06) -> tuple[list[Note], list[Note]]:
    """A crowded reference, and an estimate with shifted, missing, added and doubled notes."""
    chance = random.Random(seed)
    reference = []
    for _ in range(count):
        onset = chance.uniform(0, 12)
        length = chance.choice([0.03, 0.3, 3.0]) * chance.uniform(0.5, 2)
        reference.append(Note(onset, onset + length, chance.randint(58, 70), chance.randint(20, 110)))
    estimate = []
    for note in reference:
        for _ in range(chance.choice([0, 1, 1, 1, 2])):
            onset = max(0.0, note.onset + chance.gauss(0, spread))
            offset = max(onset + 0.01, note.offset + chance.gauss(0, spread))
            velocity = min(127, max(1, round(0.7 * note.velocity + 10 + chance.gauss(0, 8))))
            pitch = note.pitch + chance.choice([0] * 19 + [1])
            estimate.append(Note(onset, offset, pitch, velocity))
    chance.shuffle(estimate)
    return estimate, reference


def by_mir_eval(
    estimate: Sequence[Note], reference: Sequence[Note], tolerances: Tolerances
) -> tuple[Measure, Measure, Measure]:
    """The three measures, by the public functions of mir_eval on whole lists."""
    times = [np.array([(note.onset, note.offset) for note in notes]) for notes in (reference, estimate)]
    pitches = [
        mir_eval.util.midi_to_hz(np.array([note.pitch for note in notes], dtype=float))
        for notes in (reference, estimate)
    ]
    velocities = [np.array([note.velocity for note in notes]) for notes in (reference, estimate)]
    plain = (times[0], pitches[0], times[1], pitches[1])
    loud = (times[0], pitches[0], velocities[0], times[1], pitches[1], velocities[1])
    limits = {
        "onset_tolerance": tolerances.onset,
        "offset_ratio": tolerances.offset_ratio,
        "offset_min_tolerance": tolerances.offset_min,
    }
    overlap = mir_eval.transcription.precision_recall_f1_overlap
    loud_overlap = mir_eval.transcription_velocity.precision_recall_f1_overlap
    return (
        Measure(*overlap(*plain, **(limits | {"offset_ratio": None}))[:3]),
        Measure(*overlap(*plain, **limits)[:3]),
        Measure(*loud_overlap(*loud, **limits, velocity_tolerance=tolerances.velocity)[:3]),
    )


@pytest.mark.parametrize("tolerances", [Tolerances(), Tolerances(0.1, 0.5, 0.02, 0.05)])
@pytest.mark.parametrize("seed", range(8))
def test_scores_equal_those_of_mir_eval(seed: int, tolerances: Tolerances) -> None:
    estimate, reference = random_pair(seed, spread=(0.01, 0.06)[seed % 2])
    result = score(estimate, reference, tolerances)
    assert (result.note, result.note_offset, result.note_offset_velocity) == by_mir_eval(
        estimate, reference, tolerances
    )
    assert result.note_offset_velocity is not None
    assert 0.1 < result.note_offset_velocity.f1 < result.note_offset.f1 < result.note.f1 < 1


def test_a_list_against_itself_is_perfect() -> None:
    reference = [Note(0.2 * i, 0.2 * i + 0.3, 21 + i % 88, 1 + i % 127) for i in range(300)]
    result = score(reference, reference)
    assert (result.note, result.note_offset, result.note_offset_velocity) == (PERFECT, PERFECT, PERFECT)
    assert (result.duration_accuracy, result.median_onset_error, result.held_too_long) == (1.0, 0.0, 0.0)
    assert (result.reference_notes, result.estimated_notes, result.matched) == (300, 300, 300)


@pytest.mark.parametrize(("late", "right"), [(0.049, 1), (-0.049, 1), (0.05, 1), (0.051, 0), (-0.051, 0)])
def test_an_onset_may_be_50_ms_off(late: float, right: int) -> None:
    assert score([replace(C4, onset=1.0 + late)], [C4]).matched == right


@pytest.mark.parametrize(
    ("duration", "late", "right"),
    [(1.0, 0.199, 1), (1.0, 0.201, 0), (1.0, -0.201, 0), (0.1, 0.049, 1), (0.1, 0.051, 0), (0.0, 0.049, 1)],
)
def test_an_offset_may_be_off_by_a_fifth_of_the_duration_or_50_ms(
    duration: float, late: float, right: int
) -> None:
    reference = Note(1.0, 1.0 + duration, 60, 64)
    estimate = replace(reference, offset=reference.offset + late)
    result = score([estimate], [reference])
    assert result.note == PERFECT
    assert result.note_offset == (PERFECT if right else NOTHING)
    assert result.duration_accuracy == right


def test_the_next_key_is_another_note() -> None:
    assert score([replace(C4, pitch=61)], [C4]).note == NOTHING


def test_a_note_counts_once() -> None:
    result = score([C4, replace(C4, onset=1.01)], [C4])
    assert result.note == Measure(precision=0.5, recall=1.0, f1=2 / 3)


def test_velocities_on_a_straight_line_are_right() -> None:
    reference = [Note(i, i + 0.5, 60, 20 + 10 * i) for i in range(6)]
    estimate = [replace(note, velocity=40 + note.velocity // 2) for note in reference]
    assert score(estimate, reference).note_offset_velocity == PERFECT


@pytest.mark.parametrize(
    ("wanted", "given", "right"),
    [
        # 0, 0.15, 1, 0.85 of the range; the line gives 0.075 and 0.925, so each is 0.075 off.
        ((20, 35, 120, 105), (40, 40, 80, 80), 4),
        # 0, 0.25, 1, 0.75; the line gives 0.125 and 0.875, so each is 0.125 off.
        ((20, 45, 120, 95), (40, 40, 80, 80), 0),
        # 0, 0.4, 0.5, 1; the line gives their mean of 0.475 throughout.
        ((20, 60, 70, 120), (64, 64, 64, 64), 2),
    ],
)
def test_a_velocity_may_be_a_tenth_of_the_range_off_the_best_line(
    wanted: tuple[int, ...], given: tuple[int, ...], right: int
) -> None:
    reference = [Note(i, i + 0.5, 60, velocity) for i, velocity in enumerate(wanted)]
    estimate = [Note(i, i + 0.5, 60, velocity) for i, velocity in enumerate(given)]
    measured = score(estimate, reference).note_offset_velocity
    assert measured is not None
    assert measured.recall == right / 4


def test_only_notes_with_the_right_offset_decide_the_velocity_line() -> None:
    reference = [Note(i, i + 0.5, 60, 20 + 20 * i) for i in range(5)]
    loud_and_long = [replace(note, offset=note.offset + 0.4, velocity=127) for note in reference[:2]]
    result = score([*loud_and_long, *reference[2:]], reference)
    assert result.note == PERFECT
    assert result.note_offset.recall == 0.6
    assert result.note_offset_velocity == result.note_offset
    assert result.duration_accuracy == 0.6


def test_median_onset_error_is_estimate_minus_reference_over_matched_notes() -> None:
    reference = [Note(i, i + 0.5, 60, 64) for i in range(5)]
    errors = (0.01, 0.02, 0.03, -0.04, 0.4)  # the last is no match
    estimate = [
        replace(note, onset=max(0, note.onset + e)) for note, e in zip(reference, errors, strict=True)
    ]
    assert score(estimate, reference).median_onset_error == pytest.approx(0.015)


def test_notes_held_more_than_3_s_too_long_are_a_share_of_the_matched() -> None:
    reference = [Note(i, i + 0.5, 60 + i, 64) for i in range(5)]
    longer = (0.0, 2.9, 3.1, 5.0, 3.1)
    estimate = [
        replace(note, offset=note.offset + more) for note, more in zip(reference, longer, strict=True)
    ]
    estimate[4] = replace(estimate[4], onset=estimate[4].onset + 0.2)  # no match
    assert score(estimate, reference).held_too_long == pytest.approx(2 / 4)


def test_notes_without_length_are_scored() -> None:
    reference = [Note(1.0, 1.0, 60, 64), Note(2.0, 3.0, 62, 70)]
    assert score([Note(1.0, 1.0, 60, 64), Note(2.0, 2.0, 62, 64)], reference) == Score(
        note=PERFECT,
        note_offset=Measure(0.5, 0.5, 0.5),
        note_offset_velocity=Measure(0.5, 0.5, 0.5),
        duration_accuracy=0.5,
        median_onset_error=0.0,
        held_too_long=0.0,
        reference_notes=2,
        estimated_notes=2,
        matched=2,
    )


@pytest.mark.parametrize("estimate", [[], [Note(9.0, 9.5, 60, 64)]])
def test_an_estimate_without_a_match_scores_zero(estimate: list[Note]) -> None:
    result = score(estimate, [C4, replace(C4, onset=3.0, offset=3.5, velocity=C4.velocity + 1)])
    assert (result.note, result.note_offset, result.note_offset_velocity) == (NOTHING, NOTHING, NOTHING)
    assert (result.duration_accuracy, result.median_onset_error, result.held_too_long) == (None, None, None)
    assert (result.reference_notes, result.estimated_notes, result.matched) == (2, len(estimate), 0)


def test_a_reference_without_notes_cannot_be_scored() -> None:
    with pytest.raises(NoteFileError, match=r"reference has no notes.*right file"):
        score([C4], [])


def test_score_becomes_flat_values() -> None:
    values = score([C4], [C4]).to_dict()
    assert list(values) == [
        "note_precision",
        "note_recall",
        "note_f1",
        "note_offset_precision",
        "note_offset_recall",
        "note_offset_f1",
        "note_offset_velocity_precision",
        "note_offset_velocity_recall",
        "note_offset_velocity_f1",
        "duration_accuracy",
        "median_onset_error",
        "held_too_long",
        "reference_notes",
        "estimated_notes",
        "matched",
    ]
    assert (values["note_f1"], values["median_onset_error"], values["matched"]) == (1.0, 0.0, 1)


def test_each_piece_counts_the_same_and_unknown_values_do_not_count() -> None:
    many = [Note(i, i + 0.5, 60, 64) for i in range(10)]
    late = [replace(note, onset=note.onset + 0.02) for note in many[:5]]
    mean = average([score(late, many), score([], [C4])])
    assert (mean.note.precision, mean.note.recall, mean.note.f1) == pytest.approx((0.5, 0.25, 1 / 3))
    assert mean.median_onset_error == pytest.approx(0.02)
    assert (mean.duration_accuracy, mean.held_too_long) == (1.0, 0.0)
    assert (mean.reference_notes, mean.estimated_notes, mean.matched) == (11, 5, 5)


def test_a_reference_with_one_velocity_tells_nothing_of_velocities() -> None:
    """Any velocities would fit; in a mean such a piece does not count."""
    alike = [Note(i, i + 0.5, 60, 64) for i in range(4)]
    louder = [replace(note, velocity=64 + 10 * i) for i, note in enumerate(alike)]
    known, unknown = score(louder[:2], louder), score(louder, alike)
    assert known.note_offset_velocity == known.note_offset
    assert unknown.note_offset == PERFECT
    assert unknown.note_offset_velocity is None
    flat = unknown.to_dict()
    assert {flat[f"note_offset_velocity_{share}"] for share in ("precision", "recall", "f1")} == {None}
    assert average([known, unknown]).note_offset_velocity == known.note_offset_velocity
    assert average([unknown, unknown]).note_offset_velocity is None


def test_average_of_pieces_without_matches_stays_unknown() -> None:
    assert average([score([], [C4])] * 2) == replace(score([], [C4]), reference_notes=2)


def test_no_pieces_have_no_average() -> None:
    with pytest.raises(ValueError, match="no scores"):
        average([])


def test_alignment_takes_out_a_constant_bias() -> None:
    reference = [Note(i, i + 0.5, 60, 64) for i in range(5)]
    estimate = [replace(note, onset=note.onset + 0.03, offset=note.offset + 0.03) for note in reference]
    moved = aligned(estimate, reference)
    assert [(note.onset, note.offset) for note in moved] == [
        pytest.approx((note.onset, note.offset)) for note in reference
    ]


def test_alignment_keeps_times_within_the_file() -> None:
    reference = [Note(1.0, 1.5, 60, 64)]
    moved = aligned([Note(0.01, 0.02, 61, 64), Note(1.03, 1.5, 60, 64)], reference)
    assert (moved[0].onset, moved[0].offset) == (0.0, 0.0)


def test_alignment_without_a_match_moves_nothing() -> None:
    assert aligned([replace(C4, pitch=70)], [C4]) == [replace(C4, pitch=70)]


def test_recall_by_length_counts_reference_notes() -> None:
    lengths = (0.05, 0.5, 0.7, 20.0)
    reference = [Note(i, i + length, 60 + i, 64) for i, length in enumerate(lengths)]
    cut = [
        replace(reference[1], offset=reference[1].onset + 0.1),
        reference[2],
        replace(reference[3], offset=4.0),
    ]
    bins = recall_by_length(cut, reference, edges=(0.0, 0.5, 1.0, 5.0, math.inf))
    assert bins == [
        Bin(0.0, 0.5, notes=1, onset_hits=0, offset_hits=0),
        Bin(0.5, 1.0, notes=2, onset_hits=2, offset_hits=1),
        Bin(1.0, 5.0, notes=0, onset_hits=0, offset_hits=0),
        Bin(5.0, math.inf, notes=1, onset_hits=1, offset_hits=0),
    ]
    assert [each.onset_recall for each in bins] == [0.0, 1.0, None, 1.0]
    assert [each.offset_recall for each in bins] == [0.0, 0.5, None, 0.0]


def test_recall_by_pitch_has_a_bin_for_each_key() -> None:
    reference = [Note(0.0, 1.0, pitch, 64) for pitch in (21, 60, 108)]
    bins = recall_by_pitch([reference[0], replace(reference[2], offset=9.0)], reference)
    assert len(bins) == 88
    assert (bins[0], bins[39], bins[87]) == (
        Bin(21, 22, 1, 1, 1),
        Bin(60, 61, 1, 0, 0),
        Bin(108, 109, 1, 1, 0),
    )
    assert sum(each.notes for each in bins) == 3


@pytest.mark.parametrize("seed", range(3))
def test_bins_add_up_to_the_score(seed: int) -> None:
    estimate, reference = random_pair(seed)
    result = score(estimate, reference)
    for bins in (recall_by_length(estimate, reference), recall_by_pitch(estimate, reference)):
        assert sum(each.notes for each in bins) == len(reference)
        assert sum(each.onset_hits for each in bins) / len(reference) == result.note.recall
        assert sum(each.offset_hits for each in bins) / len(reference) == result.note_offset.recall


def test_files_are_paired_by_name_below_their_folders(tmp_path: Path) -> None:
    estimates, references = tmp_path / "estimates", tmp_path / "references"
    names = (
        "a.mid",
        "b.CSV",
        "b.mid",
        "b.json",
        "deep/c.v2.csv",
        "only.mid",
        "deep/d.mid",
        ".e.mid",
        "e.png",
    )
    for name in names:
        (estimates / name).parent.mkdir(parents=True, exist_ok=True)
        (estimates / name).touch()
    for name in ("a.txt", "a.tsv", "b.midi", "deep/c.v2.tsv", "d.mid", "e.tsv"):
        (references / name).parent.mkdir(parents=True, exist_ok=True)
        (references / name).touch()
    pairing = pair_files(estimates, references)
    assert [(pair.name, pair.estimate, pair.reference) for pair in pairing.pairs] == [
        ("a", estimates / "a.mid", references / "a.tsv"),
        ("b", estimates / "b.json", references / "b.midi"),
        ("deep/c.v2", estimates / "deep/c.v2.csv", references / "deep/c.v2.tsv"),
    ]
    assert pairing.only_estimate == [estimates / "deep/d.mid", estimates / "only.mid"]
    assert pairing.only_reference == [references / "d.mid", references / "e.tsv"]


def test_what_was_transcribed_is_no_reference_where_there_is_another(tmp_path: Path) -> None:
    for name in ("found/a.mid", "truth/a.mid", "truth/a.tsv"):
        write_notes(tmp_path / name, [C4])
    made = {"midi": sha256_of(tmp_path / "truth" / "a.mid")}
    Manifest(tmp_path / "truth").add(Entry("a", "a.wav", 0, 0, "", {}, made, 1, 1.0, 1.0))
    (pair,) = pair_files(tmp_path / "found", tmp_path / "truth").pairs
    assert pair.reference == tmp_path / "truth" / "a.tsv"


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoteFileError, match="gone: is not a folder"):
        pair_files(tmp_path, tmp_path / "gone")


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locked").mkdir()
    lock(monkeypatch, "locked")
    with pytest.raises(NoteFileError, match=r"locked: cannot be listed \(Permission denied\)"):
        pair_files(tmp_path, tmp_path)


@pytest.mark.parametrize("seed", range(3))
def test_long_lists_of_one_pitch_are_matched_as_a_whole(seed: int) -> None:
    """They are matched in stretches, between pauses that no match can cross."""
    estimate, reference = (
        [
            replace(note, onset=6 * note.onset, offset=6 * note.onset + note.duration, pitch=60)
            for note in notes
        ]
        for notes in random_pair(seed, count=1200, spread=0.01)
    )
    result = score(estimate, reference)
    assert (result.note, result.note_offset) == by_mir_eval(estimate, reference, Tolerances())[:2]


def test_import_does_not_load_mir_eval() -> None:
    check = "import sys, partranscribe.score; sys.exit('mir_eval' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
