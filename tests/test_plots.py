"""Pictures: the numbers in them are right, and no notes, titles or machines keep them from being drawn."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from partranscribe import plots
from partranscribe.errors import NoteFileError, OutputError
from partranscribe.notes import Note
from partranscribe.plots import (
    ConfidenceBin,
    Pair,
    calibration_error,
    check_picture,
    onset_errors,
    reliability,
    roll,
    rows,
    sounding,
    summarise,
    tick_for,
    write_plot,
    write_score_plots,
)
from partranscribe.score import HIT, INVENTED, MISSED, WRONG_OFFSET

REFERENCE = [
    Note(0.5, 1.0, 60, 80),
    Note(0.5, 0.7, 64, 70),
    Note(1.5, 1.9, 72, 100),
    Note(1.6, 1.9, 48, 90),
]
NOTES = [
    Note(0.51, 1.0, 60, 80, 0.98),  # a hit, 10 ms late
    Note(0.504, 1.4, 64, 70, 0.52),  # 4 ms late, ends elsewhere
    Note(1.0, 1.7, 67, 33, 0.53),  # invented
    Note(1.48, 1.9, 72, 127, 0.97),  # a hit, 20 ms early
]  # and the last of the reference is missed
PIECE = Pair(NOTES, REFERENCE)
PICTURES = ["recall-by-length.png", "recall-by-pitch.png", "onset-errors.png", "reliability.png"]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are drawn from here on, none of which is written."""
    figures: list[Figure] = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: figures.append(figure))
    return figures


def texts(figure: Figure) -> list[str]:
    return [found.get_text() for found in figure.findobj(matplotlib.text.Text)]


def test_onset_errors_are_counted_in_bins_of_2_ms() -> None:
    errors = onset_errors([-0.0501, -0.0499, 0.001, 0.0015, 0.05005])
    assert len(errors.counts) == 50
    assert {low: n for low, n in zip(errors.edges, errors.counts, strict=False) if n} == {
        -0.05: 2,  # mir_eval lets pass what rounds to 50 ms
        0.0: 2,
        0.048: 1,
    }
    assert errors.median == 0.001


def test_without_matches_there_is_no_median() -> None:
    errors = onset_errors([])
    assert (sum(errors.counts), errors.median) == (0, None)


def test_reliability_is_the_share_of_hits_among_notes_of_one_confidence() -> None:
    bins = reliability([0.0, 0.5, 0.51, 0.53, 0.54, 0.95, 1.0], [False, True, False, True, True, True, False])
    assert len(bins) == 20
    assert {each.low: (each.notes, each.hits) for each in bins if each.notes} == {
        0.0: (1, 0),
        0.5: (4, 3),
        0.95: (2, 1),
    }
    assert [each.precision for each in bins if each.notes] == [0.0, 0.75, 0.5]
    assert [each.confidence for each in bins if each.notes] == pytest.approx([0.0, 0.52, 0.975])
    assert (bins[1].precision, bins[1].confidence) == (None, None)


def test_calibration_error_weighs_bins_by_their_notes() -> None:
    bins = [
        ConfidenceBin(0.5, 0.6, notes=3, hits=3, confidence=0.5),  # off by 0.5
        ConfidenceBin(0.6, 0.7, notes=0, hits=0, confidence=None),
        ConfidenceBin(0.9, 1.0, notes=1, hits=0, confidence=0.9),  # off by 0.9
    ]
    assert calibration_error(bins) == pytest.approx((3 * 0.5 + 0.9) / 4)
    assert calibration_error(bins[1:2]) is None


def test_a_summary_adds_up_the_notes_of_all_pieces() -> None:
    plain = [replace(note, confidence=1.0) for note in NOTES]
    summary = summarise(
        {"a": PIECE, "b": PIECE, "from MIDI": Pair(plain, REFERENCE), "silent": Pair([], REFERENCE)}
    )
    assert (summary.pieces, summary.without_confidence) == (4, 1)
    short, middle = summary.by_length[2], summary.by_length[3]  # from 0.25 s and from 0.5 s
    assert (short.low, short.notes, short.onset_hits, short.offset_hits) == (0.25, 8, 3, 3)
    assert (middle.low, middle.notes, middle.onset_hits, middle.offset_hits) == (0.5, 4, 3, 3)
    counts = {
        each.low: (each.notes, each.onset_hits, each.offset_hits) for each in summary.by_pitch if each.notes
    }
    assert counts == {48: (4, 0, 0), 60: (4, 3, 3), 64: (4, 3, 0), 72: (4, 3, 3)}
    assert sum(summary.onset_errors.counts) == 9
    assert summary.onset_errors.median == pytest.approx(0.004)
    found = {each.low: (each.notes, each.hits) for each in summary.reliability if each.notes}
    assert found == {0.5: (4, 2), 0.95: (4, 4)}


def test_a_roll_holds_what_was_found_and_what_was_missed() -> None:
    table = roll(NOTES, REFERENCE)
    assert table["kind"].tolist() == [HIT, WRONG_OFFSET, INVENTED, HIT, MISSED]
    assert table["pitch"].tolist() == [60, 64, 67, 72, 48]
    assert table["wanted_offset"].tolist() == [1.0, 0.7, 1.7, 1.9, 1.9]
    assert table["confidence"].tolist() == [0.98, 0.52, 0.53, 0.97, 1.0]


def test_a_roll_without_reference_knows_no_errors() -> None:
    table = roll(NOTES)
    assert table["kind"].tolist() == [HIT] * 4
    assert table["offset"].tolist() == table["wanted_offset"].tolist()


def test_notes_that_should_sound_count_as_sounding() -> None:
    table = roll([replace(NOTES[0], offset=0.6)], REFERENCE[:1])  # should go on until 1.0
    assert [len(sounding(table, *stretch)) for stretch in ((0.0, 0.51), (0.7, 0.9), (1.0, 2.0))] == [0, 1, 0]
    assert len(sounding(roll([Note(2.0, 2.0, 60, 64)]), 2.0, 3.0)) == 1


@pytest.mark.parametrize(
    ("seconds", "count", "length"),
    [(0.2, 1, 0.2), (30.0, 1, 30.0), (45.0, 2, 22.5), (480.0, 16, 30.0), (10_800.0, 16, 675.0)],
)
def test_rows_are_as_long_as_each_other_and_not_too_many(seconds: float, count: int, length: float) -> None:
    stretches = rows(5.0, 5.0 + seconds)
    assert len(stretches) == count
    assert (stretches[0][0], stretches[-1][1]) == (5.0, 5.0 + seconds)
    assert np.ptp(stretches, axis=1) == pytest.approx(length)


def test_an_axis_has_at_most_twelve_ticks() -> None:
    assert [tick_for(seconds) for seconds in (0.2, 12.0, 30.0, 675.0, 1e9)] == [0.1, 1, 5, 60, 1e9 / 12]


@pytest.mark.parametrize(("ending", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("PDF", b"%PDF")])
def test_a_picture_is_of_the_format_of_its_ending_and_the_same_each_time(
    ending: str, magic: bytes, tmp_path: Path
) -> None:
    for name in ("first", "second"):
        write_plot(tmp_path / f"{name}.{ending}", NOTES, title="song", reference=REFERENCE)
    first, second = (tmp_path / f"{name}.{ending}" for name in ("first", "second"))
    assert first.read_bytes().startswith(magic)
    assert first.read_bytes() == second.read_bytes()


def test_kinds_are_counted_where_colours_are_explained(drawn: list[Figure]) -> None:
    write_plot(Path("x.png"), NOTES, title="song.flac", reference=REFERENCE)
    write_plot(Path("x.png"), NOTES, title="song.flac", reference=REFERENCE, start=1.2, end=1.5)
    whole, part = (texts(figure) for figure in drawn)
    assert {"song.flac", "Hit 2", "Wrong offset 1", "Invented 1", "Missed 1", "C4", "Time (min:s)"} <= set(
        whole
    )
    assert {"Hit 1", "Wrong offset 1", "Invented 1", "Missed 0"} <= set(part)


def test_confidence_is_explained_where_there_is_some(drawn: list[Figure]) -> None:
    for notes in (NOTES, REFERENCE):
        write_plot(Path("x.png"), notes, title="song.flac")
    assert ["unsure " in texts(figure) for figure in drawn] == [True, False]
    assert all("4 notes" in texts(figure) for figure in drawn)


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("$\\frac$ costs 5$.flac", "$\\frac$ costs 5$.flac"),
        ("🎹🎹 月の光.flac", "� �.flac"),
        ("שלום\u202e\n\udcff.flac", "שלום�.flac"),
        ("é" * 300, "é" * 79 + "…"),
        ("", ""),
    ],
)
def test_any_name_can_be_a_title(title: str, shown: str, drawn: list[Figure]) -> None:
    write_plot(Path("x.png"), NOTES, title=title)
    drawn[0].draw_without_rendering()
    assert shown in texts(drawn[0])


def test_a_long_piece_is_drawn_with_few_artists(drawn: list[Figure]) -> None:
    rng = np.random.default_rng(0)
    onsets = np.sort(rng.uniform(0, 10_800, 20_000)).tolist()
    notes = [Note(onset, onset + 0.3, int(rng.integers(21, 109)), 64) for onset in onsets]
    write_plot(Path("x.png"), notes, title="long", reference=notes[::2])
    assert len(drawn[0].axes) <= 20
    assert all(len(axes.get_children()) < 40 for axes in drawn[0].axes)
    assert drawn[0].get_figheight() < 60


@pytest.mark.parametrize("notes", [[], [Note(1e9, 1e9, 0, 1), Note(1e9, 1e9 + 1, 127, 127)]])
def test_odd_lists_can_be_drawn(notes: Sequence[Note], drawn: list[Figure]) -> None:
    write_plot(Path("x.png"), notes, title="odd")
    write_plot(Path("x.png"), notes, title="odd", reference=REFERENCE)
    for figure in drawn:
        figure.draw_without_rendering()
    assert "Missed 4" in texts(drawn[1])


def test_a_picture_without_notes_says_so(drawn: list[Figure]) -> None:
    write_plot(Path("x.png"), [], title="silence")
    assert "No notes" in texts(drawn[0])


def test_an_empty_reference_is_refused() -> None:
    with pytest.raises(NoteFileError, match="the reference has no notes"):
        write_plot(Path("x.png"), NOTES, title="song", reference=[])


def test_scores_are_drawn_as_four_pictures(tmp_path: Path) -> None:
    assert write_score_plots(tmp_path / "plots", {"song": PIECE}) == [
        tmp_path / "plots" / name for name in PICTURES
    ]
    assert {path.name for path in (tmp_path / "plots").iterdir()} == set(PICTURES)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (tmp_path / "plots").iterdir())


@pytest.mark.parametrize("is_link", [False, True])
def test_pictures_of_scores_replace_only_their_like(is_link: bool, tmp_path: Path) -> None:
    folder = tmp_path / "plots"
    write_score_plots(folder, {"song": PIECE})
    write_score_plots(folder, {"song": PIECE})
    place, other = folder / PICTURES[-1], tmp_path / "other.png"
    place.unlink()
    other.write_bytes(b"\x89PNG of something else")
    if is_link:
        place.symlink_to(other)
    else:
        place.write_bytes(other.read_bytes())
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    with pytest.raises(OutputError, match="a link leads it out of" if is_link else "was not made by part"):
        write_score_plots(folder, {"song": PIECE})
    assert place.read_bytes() == other.read_bytes() == b"\x89PNG of something else"
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_score_pictures_say_what_they_are_drawn_of(drawn: list[Figure]) -> None:
    pieces = {"song": PIECE, "from MIDI": Pair(REFERENCE, REFERENCE)}
    write_score_plots(Path("plots"), pieces)
    _, by_pitch, errors, confidence = (" ".join(texts(figure)) for figure in drawn)
    assert "8 notes of 2 pieces" in by_pitch
    assert "Median +0.0 ms" in errors
    assert "7 matched notes" in errors
    assert "no confidences in 1 of 2 pieces" in confidence


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ({}, ["No reference notes", "No reference notes", "No note has the right", "No confidences"]),
        ({"a": Pair([], REFERENCE)}, ["Recall", "Recall", "No note has the right", "No confidences"]),
        ({"a": Pair(REFERENCE, REFERENCE)}, ["Recall", "Recall", "Median", "No confidences"]),
    ],
)
def test_too_little_to_draw_is_said_in_the_picture(
    pieces: dict[str, Pair], said: list[str], drawn: list[Figure]
) -> None:
    write_score_plots(Path("plots"), pieces)
    for figure, words in zip(drawn, said, strict=True):
        figure.draw_without_rendering()
        assert words in " ".join(texts(figure))


def test_an_unknown_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"'\.gif' is no ending of a picture; use \.png, \.svg, \.pdf"):
        write_plot(tmp_path / "x.gif", NOTES, title="song")


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(OutputError, match=r"pip install 'partranscribe\[plots\]'"):
        check_picture(tmp_path / "x.png")


def test_a_picture_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_the_disk(figure: Figure, path: Path, **_: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    (tmp_path / "x.png").write_bytes(b"old")
    monkeypatch.setattr(Figure, "savefig", fill_the_disk)
    with pytest.raises(OutputError, match="No space left on device"):
        write_plot(tmp_path / "x.png", NOTES, title="song")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_settings_of_matplotlib_neither_matter_nor_change(tmp_path: Path) -> None:
    write_plot(tmp_path / "plain.png", NOTES, title="song")
    with matplotlib.rc_context({"font.size": 30.0, "axes.facecolor": "black"}):
        before = dict(matplotlib.rcParams)
        write_plot(tmp_path / "set.png", NOTES, title="song")
        assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "set.png").read_bytes()
