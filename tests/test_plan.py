"""Which recordings are meant, where their outputs go, and which reference each is given."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from locked import lock
from partranscribe.manifest import NAME, Entry, Manifest
from partranscribe.note_io import write_notes
from partranscribe.notes import Note
from partranscribe.paths import sha256_of
from partranscribe.plan import (
    PAGE,
    POSTERIORS,
    SOUND,
    STEREO,
    Extra,
    Job,
    UsageError,
    check_tables,
    plan,
    with_extras,
)
from synth import recording


def outputs(jobs: Sequence[Job], root: Path) -> list[list[str]]:
    return [[path.relative_to(root).as_posix() for path in job.outputs.values()] for job in jobs]


def empty(*paths: Path) -> None:
    """Files of which only the names count, and their folders."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_output_goes_beside_the_recording_by_default(tmp_path: Path) -> None:
    (job,) = plan([tmp_path / "a" / "song.wav"], None)
    assert outputs([job], tmp_path) == [["a/song.mid"]]
    assert job.folder == tmp_path / "a"


def test_a_recording_that_is_meant_twice_is_done_once(tmp_path: Path) -> None:
    empty(tmp_path / "in" / "x" / "a.wav")
    sources = [tmp_path / "in", tmp_path / "in" / "x" / "a.wav"]
    assert outputs(plan(sources, tmp_path / "out"), tmp_path) == [["out/x/a.mid"]]


def test_ending_of_the_output_is_its_format(tmp_path: Path) -> None:
    (job,) = plan([tmp_path / "song.wav"], tmp_path / "notes.CSV")
    assert job.outputs == {"csv": tmp_path / "notes.CSV"}


def test_more_formats_stand_beside_the_named_output(tmp_path: Path) -> None:
    (job,) = plan([tmp_path / "song.wav"], tmp_path / "out.mid", ["midi", "json"])
    assert job.outputs == {"midi": tmp_path / "out.mid", "json": tmp_path / "out.json"}


def test_an_output_that_was_named_is_entered_in_no_manifest(tmp_path: Path) -> None:
    (named,) = plan([tmp_path / "song.wav"], tmp_path / "out.mid")
    (placed,) = plan([tmp_path / "song.wav"], tmp_path / "out")
    assert (named.folder, placed.folder) == (None, tmp_path / "out")


def test_folder_is_mirrored_with_all_formats(tmp_path: Path) -> None:
    empty(
        *(tmp_path / "in" / name for name in ("b.flac", "x/a.wav", "x/y/c.WAV", "x/notes.txt", "x/._a.wav"))
    )
    jobs = plan([tmp_path / "in"], tmp_path / "out", ["midi", "csv"])
    assert outputs(jobs, tmp_path) == [
        ["out/b.mid", "out/b.csv"],
        ["out/x/a.mid", "out/x/a.csv"],
        ["out/x/y/c.mid", "out/x/y/c.csv"],
    ]
    assert [job.name for job in jobs] == ["b.flac", str(Path("x/a.wav")), str(Path("x/y/c.WAV"))]
    assert {job.folder for job in jobs} == {tmp_path / "out"}


def test_a_source_folder_has_one_manifest_for_all_below(tmp_path: Path) -> None:
    empty(tmp_path / "in" / "a.wav", tmp_path / "in" / "x" / "b.wav")
    jobs = plan([tmp_path / "in"], None)
    assert outputs(jobs, tmp_path / "in") == [["a.mid"], ["x/b.mid"]]
    assert {job.folder for job in jobs} == {tmp_path / "in"}


@pytest.mark.skipif(os.name == "nt", reason="links need a permission there")
def test_linked_folders_are_passed_over_and_linked_recordings_mirrored_where_the_link_is(
    tmp_path: Path,
) -> None:
    empty(tmp_path / "in" / "x" / "a.wav", tmp_path / "elsewhere" / "b.wav")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "x" / "c.wav").symlink_to(tmp_path / "elsewhere" / "b.wav")
    (tmp_path / "in" / "x" / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    jobs = plan([tmp_path / "in"], tmp_path / "out")
    assert outputs(jobs, tmp_path) == [["out/x/a.mid"], ["out/x/c.mid"]]


def test_several_folders_keep_their_names(tmp_path: Path) -> None:
    empty(tmp_path / "one" / "song.wav", tmp_path / "two" / "song.wav")
    jobs = plan([tmp_path / "one", tmp_path / "two"], tmp_path / "out")
    assert outputs(jobs, tmp_path) == [["out/one/song.mid"], ["out/two/song.mid"]]


def test_recordings_that_share_a_name_keep_their_endings(tmp_path: Path) -> None:
    empty(*(tmp_path / name for name in ("song.flac", "song.wav", "other.wav")))
    jobs = plan([tmp_path], tmp_path / "out")
    assert outputs(jobs, tmp_path / "out") == [["other.mid"], ["song.flac.mid"], ["song.wav.mid"]]


@pytest.mark.parametrize("names", [("Song.flac", "song.wav"), ("Pre\u0301lude.flac", "Pr\u00e9lude.wav")])
def test_recordings_that_share_a_name_on_some_disks_do_so_too(names: tuple[str, str], tmp_path: Path) -> None:
    empty(*(tmp_path / name for name in names))
    found = [path.name for job in plan([tmp_path], tmp_path / "out") for path in job.outputs.values()]
    assert found == sorted(f"{name}.mid" for name in names)


@pytest.mark.parametrize("names", [("A.wav", "a.wav"), ("Pre\u0301lude.wav", "Pr\u00e9lude.wav")])
def test_recordings_whose_whole_names_are_one_on_some_disks_get_numbers(
    names: tuple[str, str], tmp_path: Path
) -> None:
    empty(*(tmp_path / "in" / name for name in (*names, "b.wav")))
    if len(list((tmp_path / "in").iterdir())) < 3:
        pytest.skip("this disk takes them for one")
    jobs = plan([tmp_path / "in"], tmp_path / "out")
    first, second = sorted(names)
    assert {job.source.name: job.outputs["midi"].name for job in jobs} == {
        first: f"{first}.mid",
        second: f"{second} (2).mid",
        "b.wav": "b.mid",
    }


def test_two_recordings_for_one_output_are_refused(tmp_path: Path) -> None:
    sources = [tmp_path / "a" / "song.wav", tmp_path / "b" / "song.wav"]
    with pytest.raises(UsageError, match=r"a.song\.wav and .*b.song\.wav would both be written to"):
        plan(sources, tmp_path / "out")


@pytest.mark.parametrize(
    ("sources", "output", "message"),
    [
        (["song.wav"], "song.xyz", "is no format"),
        (["a.wav", "b.wav"], "song.mid", "is one file"),
        (["."], "song.mid", "is one file"),
    ],
)
def test_outputs_that_do_not_fit_the_sources_are_refused(
    sources: list[str], output: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        plan([tmp_path / source for source in sources], tmp_path / output)


def test_a_folder_may_be_named_like_a_file(tmp_path: Path) -> None:
    (job,) = plan([tmp_path / "song.wav"], tmp_path / "out.mid", into_folder=True)
    assert job.outputs == {"midi": tmp_path / "out.mid" / "song.mid"}


def test_what_is_there_already_changes_no_plan(tmp_path: Path) -> None:
    empty(tmp_path / "song.wav")
    before = plan([tmp_path], None, ["midi", "csv"])
    empty(tmp_path / "song.mid")
    assert plan([tmp_path], None, ["midi", "csv"]) == before


def test_a_source_given_twice_is_done_once(tmp_path: Path) -> None:
    source = tmp_path / "song.wav"
    assert len(plan([source, source], tmp_path / "out")) == 1


def test_sources_without_recordings_become_jobs_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "hollow").mkdir()
    empty(tmp_path / "song.mid")
    jobs = plan([tmp_path / "hollow", tmp_path / "song.mid", tmp_path / "no.wav"], tmp_path / "out")
    assert [job.source.name for job in jobs] == ["hollow", "song.mid", "no.wav"]
    assert [bool(job.outputs) for job in jobs] == [False, False, True]


@pytest.mark.parametrize(
    ("include", "exclude", "meant"),
    [
        ([], [], ["a.flac", "live/b.wav", "live/old/c.flac", "studio/d.wav"]),
        (["*.flac"], [], ["a.flac", "live/old/c.flac"]),
        (["a.*", "d.*"], [], ["a.flac", "studio/d.wav"]),
        (["live/*"], [], ["live/b.wav", "live/old/c.flac"]),
        ([], ["*.wav"], ["a.flac", "live/old/c.flac"]),
        ([], ["live/*"], ["a.flac", "studio/d.wav"]),
        (["*.flac"], ["*/old/*"], ["a.flac"]),
        (["[ab].*"], ["a*", "c*"], ["live/b.wav"]),
        (["A.FLAC"], [], ["a.flac"]),  # on every system
    ],
)
def test_patterns_choose_among_what_a_folder_holds(
    include: list[str], exclude: list[str], meant: list[str], tmp_path: Path
) -> None:
    empty(*(tmp_path / name for name in ("a.flac", "live/b.wav", "live/old/c.flac", "studio/d.wav")))
    jobs = plan([tmp_path], None, include=include, exclude=exclude)
    assert [job.source for job in jobs] == ([tmp_path / name for name in meant] or [tmp_path])


def test_patterns_leave_a_recording_that_was_named(tmp_path: Path) -> None:
    empty(tmp_path / "song.wav")
    assert len(plan([tmp_path / "song.wav"], None, include=["*.flac"], exclude=["song*"])) == 1


def test_a_recording_that_is_left_out_takes_no_name(tmp_path: Path) -> None:
    empty(tmp_path / "song.flac", tmp_path / "song.wav")
    assert outputs(plan([tmp_path], None, exclude=["*.wav"]), tmp_path) == [["song.mid"]]


def test_references_are_paired_by_place_and_name(tmp_path: Path) -> None:
    empty(
        *(
            tmp_path / name
            for name in ("in/x/song.wav", "in/y/song.wav", "truth/x/song.tsv", "truth/y/song.mid")
        )
    )
    jobs = plan([tmp_path / "in"], tmp_path / "out", reference=tmp_path / "truth")
    assert [job.reference for job in jobs] == [tmp_path / "truth/x/song.tsv", tmp_path / "truth/y/song.mid"]


def test_the_reference_of_another_recording_is_not_taken_for_its_name(tmp_path: Path) -> None:
    empty(*(tmp_path / name for name in ("in/song.wav", "in/live/song.wav", "in/live/other.wav")))
    empty(*(tmp_path / name for name in ("truth/song.mid", "truth/other.mid")))
    jobs = plan([tmp_path / "in"], tmp_path / "out", reference=tmp_path / "truth")
    assert {job.name: job.reference and job.reference.name for job in jobs} == {
        "song.wav": "song.mid",
        "live/song.wav": None,
        "live/other.wav": "other.mid",  # the only recording of this name
    }


def test_a_recording_without_a_reference_is_planned_all_the_same(tmp_path: Path) -> None:
    empty(tmp_path / "in/a.wav", tmp_path / "in/b.wav", tmp_path / "truth/b.mid")
    jobs = plan([tmp_path / "in"], tmp_path / "out", reference=tmp_path / "truth")
    assert [job.reference for job in jobs] == [None, tmp_path / "truth/b.mid"]


def test_a_reference_may_end_in_capitals(tmp_path: Path) -> None:
    empty(tmp_path / "in/a.wav", tmp_path / "truth/a.MID")
    (job,) = plan([tmp_path / "in"], tmp_path / "out", reference=tmp_path / "truth")
    assert job.reference == tmp_path / "truth/a.MID"


def test_a_folder_without_recordings_has_no_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no note list there has the name of a recording"):
        plan([Path()], None, reference=Path())


def test_a_folder_that_cannot_be_listed_is_no_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty(*(tmp_path / name for name in ("a.wav", "live/b.wav", ".hidden/c.wav", "locked.wav")))
    (tmp_path / "locked").mkdir()
    lock(monkeypatch, "locked", ".hidden")
    jobs = plan([tmp_path], tmp_path / "out")
    assert [job.name for job in jobs] == ["a.wav", str(Path("live/b.wav")), "locked", "locked.wav"]
    assert outputs(jobs, tmp_path / "out") == [["a.mid"], ["live/b.mid"], [], ["locked.mid"]]
    assert len(plan([tmp_path], tmp_path / "out", exclude=["locked"])) == 3


def test_references_of_which_none_fits_are_refused(tmp_path: Path) -> None:
    empty(tmp_path / "in/a.wav", tmp_path / "truth/b.mid")
    with pytest.raises(UsageError, match="no note list there has the name of a recording"):
        plan([tmp_path / "in"], tmp_path / "out", reference=tmp_path / "truth")


def test_recordings_of_several_folders_have_names_of_their_own(tmp_path: Path) -> None:
    empty(tmp_path / "x/song.wav", tmp_path / "y/song.wav")
    jobs = plan([tmp_path / "x", tmp_path / "y"], tmp_path / "out")
    assert [job.name for job in jobs] == [str(tmp_path / "x/song.wav"), str(tmp_path / "y/song.wav")]


def test_a_recording_beside_a_folder_has_a_name_of_its_own(tmp_path: Path) -> None:
    empty(tmp_path / "x/song.wav", tmp_path / "song.wav")
    jobs = plan([tmp_path / "x", tmp_path / "song.wav"], None)
    assert [job.name for job in jobs] == [str(tmp_path / "x/song.wav"), str(tmp_path / "song.wav")]


def test_hidden_folders_are_passed_over(tmp_path: Path) -> None:
    empty(*(tmp_path / "in" / name for name in ("a.wav", ".trash/b.wav", "live/.old/c.wav")))
    assert [job.name for job in plan([tmp_path / "in"], tmp_path / "out")] == ["a.wav"]


def test_one_reference_for_several_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="several recordings"):
        plan([tmp_path / "a.wav", tmp_path / "b.wav"], None, reference=tmp_path / "truth.mid")


def test_a_reference_that_is_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.mid: no such"):
        plan([tmp_path / "song.wav"], None, reference=tmp_path / "nowhere.mid")


def test_an_output_never_replaces_its_source_or_its_reference(tmp_path: Path) -> None:
    source, truth = recording(tmp_path / "song.wav"), tmp_path / "song.mid"
    write_notes(truth, [Note(0.5, 1.0, 60, 64)])
    with pytest.raises(UsageError, match="reference"):
        plan([source], truth, reference=truth)
    with pytest.raises(UsageError, match="own notes"):
        plan([source.rename(tmp_path / "song.txt")], tmp_path / "song.txt")


def test_what_a_call_writes_is_no_reference_to_it(tmp_path: Path) -> None:
    empty(*(tmp_path / f"song{ending}" for ending in (".wav", ".tsv")))
    for corrected_by_hand in (None, False, True):  # None: it is not written yet
        if corrected_by_hand is False:
            write_notes(tmp_path / "song.mid", [Note(0.5, 1.0, 60, 64)])
            made = {"midi": sha256_of(tmp_path / "song.mid")}
            Manifest(tmp_path).add(Entry("song", "song.wav", 0, 0, "", {}, made, 1, 1.0, 1.0))
        elif corrected_by_hand:
            write_notes(tmp_path / "song.mid", [Note(0.5, 1.0, 62, 64)])
        (job,) = plan([tmp_path], None, reference=tmp_path)
        assert job.outputs == {"midi": tmp_path / "song.mid"}
        assert job.reference == tmp_path / "song.tsv"


def test_a_reference_that_stands_where_notes_go_is_not_replaced(tmp_path: Path) -> None:
    empty(*(tmp_path / f"song{ending}" for ending in (".wav", ".mid", ".tsv")))
    with pytest.raises(
        UsageError, match=r"song\.mid may be a reference, and would be replaced; write elsewhere"
    ):
        plan([tmp_path], None, reference=tmp_path)
    (job,) = plan([tmp_path], tmp_path / "out", reference=tmp_path)
    assert job.reference == tmp_path / "song.mid"
    (job,) = plan([tmp_path / "song.wav"], tmp_path / "song.mid", reference=tmp_path)  # it was named
    assert job.reference == tmp_path / "song.tsv"


@pytest.mark.skipif(os.name == "nt", reason="links need a permission there")
def test_no_link_leads_notes_to_the_place_of_another_recording(tmp_path: Path) -> None:
    empty(tmp_path / "in" / "a.wav", tmp_path / "in" / "b.wav")
    (tmp_path / "in" / "a.mid").symlink_to("b.wav")
    with pytest.raises(
        UsageError, match=r"b\.wav would be replaced by the notes of .*a\.wav; write elsewhere"
    ):
        plan([tmp_path / "in"], None)


def test_a_name_that_another_keeps_whole_is_kept_whole_too(tmp_path: Path) -> None:
    empty(*(tmp_path / name for name in ("a.flac", "a.wav", "a.wav.flac", "a.wav.mp3", "b.wav.mp3")))
    written = [path for (path,) in outputs(plan([tmp_path], None), tmp_path)]
    assert written == ["a.flac.mid", "a.wav.mid", "a.wav.flac.mid", "a.wav.mp3.mid", "b.wav.mid"]


@pytest.mark.parametrize("place", ["", "in", "in/live"])
def test_what_was_transcribed_before_is_a_reference_only_where_nothing_else_is(
    place: str, tmp_path: Path
) -> None:
    below = tmp_path / "in" / "live"
    empty(below / "a.wav", below / "b.wav")
    for name in ("a.mid", "a.tsv", "b.mid"):
        write_notes(below / name, [Note(0.5, 1.0, 60, 64)])
    manifest = Manifest(tmp_path / place)
    for name in "ab":
        made = {"midi": sha256_of(below / f"{name}.mid")}
        key = (below / name).relative_to(manifest.folder).as_posix()
        manifest.add(Entry(key, f"{name}.wav", 0, 0, "", {}, made, 1, 1.0, 1.0))
    jobs = plan([tmp_path / "in"], tmp_path / "out", reference=tmp_path / "in")
    assert [job.reference for job in jobs] == [below / "a.tsv", below / "b.mid"]


@pytest.mark.parametrize(
    "name",
    [
        "in/a.wav",
        "truth/a.tsv",
        "out/a.mid",
        "pages/a.html",
        "pages/index.html",
        f"out/{NAME}",
        "model.safetensors",
    ],
)
def test_what_tells_of_all_replaces_nothing(name: str, tmp_path: Path) -> None:
    empty(tmp_path / "in/a.wav", tmp_path / "truth/a.tsv")
    pages = {PAGE: tmp_path / "pages"}
    jobs = plan([tmp_path / "in"], tmp_path / "out", reference=tmp_path / "truth", extras=pages)
    model = tmp_path / "model.safetensors"
    check_tables([tmp_path / "report.json", tmp_path / "scores.csv"], jobs, model)
    with pytest.raises(UsageError, match="would replace a file that this call reads or writes"):
        check_tables([tmp_path / "x" / ".." / name], jobs, model)
    with pytest.raises(UsageError, match="would replace"):
        check_tables([tmp_path / "one.csv", tmp_path / "one.csv"], jobs, model)
    with pytest.raises(UsageError, match=r"b\.FLAC has the name of a recording; name a table"):
        check_tables([tmp_path / "b.FLAC"], jobs, model)


def test_the_reference_of_a_file_is_found_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty(*(tmp_path / name for name in ("records/song.wav", "records/song.tsv", "truth/song.tsv")))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    (job,) = plan([Path("../records/song.wav")], None, reference=Path("../truth"))
    assert job.reference == Path("../truth/song.tsv")


def extras(jobs: Sequence[Job], root: Path) -> list[list[str]]:
    return [[one.path.relative_to(root).as_posix() for one in job.extras.values()] for job in jobs]


def test_extra_of_one_recording_is_a_file(tmp_path: Path) -> None:
    (job,) = plan([tmp_path / "song.wav"], None, extras={PAGE: tmp_path / "x" / "page.HTM"})
    assert job.extras == {PAGE: Extra(tmp_path / "x" / "page.HTM", None)}
    assert job.written == [tmp_path / "song.mid", tmp_path / "x" / "page.HTM"]


def test_extras_of_several_mirror_the_tree_of_their_sources(tmp_path: Path) -> None:
    songs = tmp_path / "in"
    empty(songs / "a.wav", songs / "live" / "a.wav", songs / "live" / "b.wav", songs / "live" / "b.mp3")
    made = {PAGE: tmp_path / "pages", POSTERIORS: tmp_path / "p.d"}
    (tmp_path / "p.d").mkdir()
    expected = [
        ["pages/a.html", "p.d/a.npz"],
        ["pages/live/a.html", "p.d/live/a.npz"],
        ["pages/live/b.mp3.html", "p.d/live/b.mp3.npz"],
        ["pages/live/b.wav.html", "p.d/live/b.wav.npz"],
    ]
    assert extras(plan([songs], tmp_path / "out", extras=made), tmp_path) == expected
    assert extras(plan([songs], None, extras=made), tmp_path) == expected
    (job,) = plan([songs / "a.wav"], None, extras={PAGE: tmp_path / "pages"})
    assert job.extras == {PAGE: Extra(tmp_path / "pages" / "a.html", tmp_path / "pages")}
    jobs = plan([songs / "a.wav"], None, extras={PAGE: tmp_path / "a.html"}, extra_folders=[PAGE])
    assert extras(jobs, tmp_path) == [["a.html/a.html"]]


def test_extras_of_several_folders_lie_under_their_names(tmp_path: Path) -> None:
    empty(tmp_path / "one" / "a.wav", tmp_path / "two" / "a.wav")
    jobs = plan([tmp_path / "one", tmp_path / "two"], None, extras={SOUND: tmp_path / "sound"})
    assert extras(jobs, tmp_path) == [["sound/one/a.wav"], ["sound/two/a.wav"]]


def test_page_of_a_recording_is_not_the_index_of_all(tmp_path: Path) -> None:
    empty(tmp_path / "in" / "Index.wav")
    jobs = plan([tmp_path / "in"], tmp_path / "out", extras={PAGE: tmp_path / "pages"})
    assert extras(jobs, tmp_path) == [["pages/Index.wav.html"]]


def test_note_list_among_recordings_has_no_extras(tmp_path: Path) -> None:
    jobs = plan([tmp_path / "a.wav", tmp_path / "b.mid"], None, extras={PAGE: tmp_path / "pages"})
    assert extras(jobs, tmp_path) == [["pages/a.html"], []]


@pytest.mark.parametrize(
    ("sources", "kind", "path", "fact"),
    [
        (["in"], SOUND, "in", "lies in in, where its sound would be taken for a recording"),
        (["in"], STEREO, "in/sound", "lies in in, where its sound would be taken for a recording"),
        (["in/a.wav"], SOUND, "in/b.wav.mp4", "is no ending of a sound"),
        (["in/a.wav"], SOUND, "in/a.wav", "would replace a recording"),
        (["in/a.wav", "in/b.wav"], PAGE, "x.html", "the page of one recording, and there are 2"),
        (["in/a.wav", "live/a.wav"], PAGE, "pages", "in/a.wav and live/a.wav would both be written to"),
    ],
)
def test_extras_that_cannot_be_meant_are_refused(
    sources: list[str], kind: str, path: str, fact: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    empty(Path("in/a.wav"), Path("in/b.wav"), Path("live/a.wav"))
    with pytest.raises(UsageError, match=fact):
        plan([Path(one) for one in sources], None, extras={kind: Path(path)})


def test_two_extras_of_a_recording_are_two_files(tmp_path: Path) -> None:
    both = {SOUND: tmp_path / "sound", STEREO: tmp_path / "sound"}
    with pytest.raises(UsageError, match="would both be written to"):
        plan([tmp_path / "a.wav"], None, extras=both)


def test_extra_replaces_no_reference(tmp_path: Path) -> None:
    job = Job(tmp_path / "a.wav", "a.wav", reference=tmp_path / "a.html")
    with pytest.raises(UsageError, match="would replace"):
        with_extras([job], {PAGE: tmp_path / "a.html"}, [Path("a.wav")])
