"""Which recordings are meant, where their outputs go, and what one failure does to the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import swelling_noise
from partranscribe.batch import Job, Outcome, UsageError, Watcher, plan, run
from partranscribe.note_io import read_notes, write_notes
from partranscribe.notes import Note
from partranscribe.transcribe import Transcriber
from synth import write_audio

RATE = 16_000


@pytest.fixture
def transcriber(tiny_checkpoint: Path) -> Callable[[], Transcriber]:
    """Makes a transcriber with the tiny network."""
    return lambda: Transcriber(tiny_checkpoint, device="cpu")


def recording(path: Path, seconds: float = 1.5, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_audio(path, swelling_noise(seed, int(seconds * RATE)), RATE)


def outputs(jobs: list[Job], root: Path) -> list[list[str]]:
    return [[path.relative_to(root).as_posix() for path in job.outputs.values()] for job in jobs]


def test_output_goes_beside_the_recording_by_default(tmp_path: Path) -> None:
    assert outputs(plan([tmp_path / "a" / "song.wav"], None), tmp_path) == [["a/song.mid"]]


def test_ending_of_the_output_is_its_format(tmp_path: Path) -> None:
    (job,) = plan([tmp_path / "song.wav"], tmp_path / "notes.CSV")
    assert job.outputs == {"csv": tmp_path / "notes.CSV"}


def test_more_formats_stand_beside_the_named_output(tmp_path: Path) -> None:
    (job,) = plan([tmp_path / "song.wav"], tmp_path / "out.mid", ["midi", "json"])
    assert job.outputs == {"midi": tmp_path / "out.mid", "json": tmp_path / "out.json"}


def test_folder_is_mirrored_with_all_formats(tmp_path: Path) -> None:
    for name in ("b.flac", "x/a.wav", "x/y/c.wav", "x/notes.txt", "x/._a.wav"):
        recording(tmp_path / "in" / name) if not name.endswith("txt") else (tmp_path / "in" / name).touch()
    jobs = plan([tmp_path / "in"], tmp_path / "out", ["midi", "csv"])
    assert outputs(jobs, tmp_path) == [
        ["out/b.mid", "out/b.csv"],
        ["out/x/a.mid", "out/x/a.csv"],
        ["out/x/y/c.mid", "out/x/y/c.csv"],
    ]


def test_several_folders_keep_their_names(tmp_path: Path) -> None:
    sources = [recording(tmp_path / name / "song.wav").parent for name in ("one", "two")]
    assert outputs(plan(sources, tmp_path / "out"), tmp_path) == [["out/one/song.mid"], ["out/two/song.mid"]]


def test_recordings_that_share_a_name_keep_their_endings(tmp_path: Path) -> None:
    for name in ("song.flac", "song.wav", "other.wav"):
        recording(tmp_path / name)
    jobs = plan([tmp_path], tmp_path / "out")
    assert outputs(jobs, tmp_path / "out") == [["other.mid"], ["song.flac.mid"], ["song.wav.mid"]]


def test_two_recordings_for_one_output_are_refused(tmp_path: Path) -> None:
    sources = [tmp_path / "a" / "song.wav", tmp_path / "b" / "song.wav"]
    with pytest.raises(UsageError, match=r"a/song\.wav and .*b/song\.wav would both be written to"):
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


def test_finished_recordings_are_kept_unless_asked(tmp_path: Path) -> None:
    recording(tmp_path / "song.wav")
    (tmp_path / "song.mid").touch()
    assert [job.kept for job in plan([tmp_path], None)] == [True]
    assert [job.kept for job in plan([tmp_path], None, ["midi", "csv"])] == [False]
    assert [job.kept for job in plan([tmp_path], None, overwrite=True)] == [False]
    assert [job.kept for job in plan([tmp_path / "song.wav"], tmp_path / "song.mid")] == [False]


def test_references_are_paired_by_place_and_name(tmp_path: Path) -> None:
    recording(tmp_path / "in" / "x" / "song.wav")
    recording(tmp_path / "in" / "y" / "song.wav")
    for name in ("x/song.tsv", "y/song.mid"):
        (tmp_path / "truth" / name).parent.mkdir(parents=True)
        (tmp_path / "truth" / name).touch()
    jobs = plan([tmp_path / "in"], tmp_path / "out", reference=tmp_path / "truth")
    assert [job.reference for job in jobs] == [tmp_path / "truth/x/song.tsv", tmp_path / "truth/y/song.mid"]


def test_one_reference_for_several_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="several recordings"):
        plan([tmp_path / "a.wav", tmp_path / "b.wav"], None, reference=tmp_path / "truth.mid")


def test_one_bad_recording_does_not_stop_the_others(
    tmp_path: Path, transcriber: Callable[[], Transcriber]
) -> None:
    recording(tmp_path / "in" / "a.wav")
    (tmp_path / "in" / "b.wav").write_text("not a recording")
    recording(tmp_path / "in" / "c.wav")
    outcomes = run(plan([tmp_path / "in"], tmp_path / "out", ["midi", "csv"]), transcriber)
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    assert "b.wav" in str(outcomes[1].error)
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["a.csv", "a.mid", "c.csv", "c.mid"]
    assert outcomes[0].notes == len(read_notes(tmp_path / "out" / "a.csv")) > 0
    assert outcomes[0].duration == pytest.approx(1.5)


def test_nothing_is_written_where_one_output_cannot_be(
    tmp_path: Path, transcriber: Callable[[], Transcriber]
) -> None:
    source = recording(tmp_path / "song.wav")
    (tmp_path / "out" / "song.csv").mkdir(parents=True)
    (outcome,) = run(plan([source], tmp_path / "out", ["midi", "csv"]), transcriber)
    assert "song.csv" in str(outcome.error)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["song.csv"]


def test_score_counts_only_the_part_that_was_transcribed(
    tmp_path: Path, transcriber: Callable[[], Transcriber]
) -> None:
    source = recording(tmp_path / "song.wav", seconds=4)
    (whole,) = run(plan([source], tmp_path / "song.csv"), transcriber)
    jobs = plan([source], tmp_path / "part.csv", reference=tmp_path / "song.csv")
    (part,) = run(jobs, transcriber, start=1.0, end=2.0)
    inside = [note for note in read_notes(tmp_path / "song.csv") if 1.0 <= note.onset < 2.0]
    assert part.score is not None
    assert part.score.reference_notes == len(inside) < whole.notes


def test_missing_reference_fails_but_the_output_stays(
    tmp_path: Path, transcriber: Callable[[], Transcriber]
) -> None:
    source = recording(tmp_path / "song.wav")
    (tmp_path / "truth").mkdir()
    jobs = plan([source], tmp_path / "song.mid", reference=tmp_path / "truth")
    (outcome,) = run(jobs, transcriber)
    assert str(Path("truth") / "song.mid") in str(outcome.error)
    assert (tmp_path / "song.mid").is_file()
    with pytest.raises(UsageError, match=r"nowhere\.mid: no such"):
        plan([source], tmp_path / "song.mid", reference=tmp_path / "nowhere.mid")


def test_an_output_never_replaces_its_source_or_its_reference(tmp_path: Path) -> None:
    source, truth = recording(tmp_path / "song.wav"), tmp_path / "song.mid"
    write_notes(truth, [Note(0.5, 1.0, 60, 64)])
    with pytest.raises(UsageError, match="reference"):
        plan([source], truth, reference=truth)
    with pytest.raises(UsageError, match="own notes"):
        plan([source.rename(tmp_path / "song.txt")], tmp_path / "song.txt")


def test_what_a_call_writes_is_no_reference_to_it(tmp_path: Path) -> None:
    source = recording(tmp_path / "data" / "song.wav")
    for ending in (".mid", ".tsv"):
        write_notes(source.with_suffix(ending), [Note(0.5, 1.0, 60, 64)])
    (job,) = plan([tmp_path / "data"], None, reference=tmp_path / "data", overwrite=True)
    assert job.outputs == {"midi": source.with_suffix(".mid")}
    assert job.reference == source.with_suffix(".tsv")


def test_the_reference_of_a_file_is_found_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording(tmp_path / "records" / "song.wav")
    for place in ("truth", "records"):
        (tmp_path / place).mkdir(exist_ok=True)
        write_notes(tmp_path / place / "song.tsv", [Note(0.5, 1.0, 60, 64)])
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    (job,) = plan([Path("../records/song.wav")], None, reference=Path("../truth"))
    assert job.reference == Path("../truth/song.tsv")


def test_kept_outputs_are_scored(tmp_path: Path, transcriber: Callable[[], Transcriber]) -> None:
    source, out = recording(tmp_path / "song.wav"), tmp_path / "out"
    run(plan([source], out), transcriber)
    write_notes(tmp_path / "truth.csv", read_notes(out / "song.mid"))
    (outcome,) = run(plan([source], out, reference=tmp_path / "truth.csv"), transcriber)
    assert outcome.job.kept
    assert outcome.score is not None
    assert outcome.score.note.f1 == 1.0


def test_a_note_list_given_as_a_recording_fails_alone(
    tmp_path: Path, transcriber: Callable[[], Transcriber]
) -> None:
    source = recording(tmp_path / "song.wav")
    write_notes(tmp_path / "song.mid", [Note(0.5, 1.0, 60, 64)])
    before = (tmp_path / "song.mid").read_bytes()
    listed, heard = run(plan([tmp_path / "song.mid", source], tmp_path / "out"), transcriber)
    assert "is a note list" in str(listed.error)
    assert heard.error is None
    assert (tmp_path / "song.mid").read_bytes() == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["song.mid"]


def test_a_source_given_twice_is_done_once(tmp_path: Path) -> None:
    source = recording(tmp_path / "song.wav")
    assert len(plan([source, source], tmp_path / "out")) == 1


def test_json_tells_the_length_of_the_source_and_the_part(
    tmp_path: Path, transcriber: Callable[[], Transcriber]
) -> None:
    source = recording(tmp_path / "song.wav", seconds=4)
    for start, end, part in ((0.0, None, (0.0, 4.0)), (1.0, 2.5, (1.0, 2.5))):
        run(plan([source], tmp_path / "song.json"), transcriber, start=start, end=end)
        document = json.loads((tmp_path / "song.json").read_text())
        assert document["duration_s"] == 4.0
        assert (document["start_s"], document["end_s"]) == part


def test_watcher_sees_each_recording_begin_advance_and_end(
    tmp_path: Path, transcriber: Callable[[], Transcriber]
) -> None:
    class Diary(Watcher):
        def __init__(self) -> None:
            self.entries: list[str] = []

        def started(self, job: Job, duration: float | None) -> None:
            self.entries.append(f"started {job.name} of {duration}")

        def advanced(self, seconds: float) -> None:
            self.entries.append("advanced")

        def finished(self, outcome: Outcome) -> None:
            self.entries.append(f"finished {outcome.job.name}")

    recording(tmp_path / "a.wav")
    diary = Diary()
    run(plan([tmp_path], None), transcriber, diary)
    assert diary.entries[0] == "started a.wav of 1.5"
    assert diary.entries[-1] == "finished a.wav"
    assert set(diary.entries[1:-1]) == {"advanced"}


def test_kept_recordings_need_no_model(tmp_path: Path) -> None:
    def no_model() -> Transcriber:
        raise AssertionError("the model was loaded for nothing")

    recording(tmp_path / "song.wav")
    (tmp_path / "song.mid").touch()
    (outcome,) = run(plan([tmp_path], None), no_model)
    assert outcome.job.kept
    assert outcome.error is None
