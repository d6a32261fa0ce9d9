"""One recording is transcribed, written, entered and scored, and what goes wrong with it costs it alone."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch

from locked import lock
from partranscribe.errors import AudioError, NoteFileError, OutputError
from partranscribe.manifest import NAME, Entry, Made, Manifest
from partranscribe.model import Par
from partranscribe.note_io import WRITERS, read_notes, write_notes
from partranscribe.notes import Note
from partranscribe.paths import sha256_of
from partranscribe.plan import SOUND, Extra, Job, plan
from partranscribe.torch_decode import begin_decoding
from partranscribe.transcribe import Transcriber, Transcription
from partranscribe.windows import Features
from partranscribe.work import Outcome, Settings, UnexpectedError, Watcher, keep, reason_to_keep, work
from synth import recording


@pytest.fixture
def settings(tiny_checkpoint: Path) -> Settings:
    return Settings(model=str(tiny_checkpoint), device="cpu")


@pytest.fixture(scope="module")
def alone(tiny_checkpoint: Path) -> Transcriber:
    """Takes one recording at a time."""
    return Transcriber(tiny_checkpoint, "cpu")


@pytest.fixture(scope="module")
def in_pairs(tiny_checkpoint: Path) -> Transcriber:
    """Takes two recordings at a time."""
    return Transcriber(tiny_checkpoint, "cpu", together=2)


@pytest.fixture(params=["alone", "in_pairs"])
def either(request: pytest.FixtureRequest) -> Transcriber:
    """One transcriber after the other."""
    transcriber: Transcriber = request.getfixturevalue(request.param)
    return transcriber


class Diary(Watcher):
    """Notes all that it is told."""

    def __init__(self) -> None:
        self.started_with: list[tuple[str, float | None]] = []
        self.seconds: dict[str, list[float]] = {}

    def started(self, job: Job, duration: float | None) -> None:
        self.started_with.append((job.name, duration))

    def advanced(self, job: Job, seconds: float) -> None:
        self.seconds.setdefault(job.name, []).append(seconds)

    def finished(self, outcome: Outcome) -> None:
        raise AssertionError("who asked for the work tells the outcomes")


def outcomes_of(
    jobs: Sequence[Job], transcriber: Transcriber, settings: Settings, watcher: Watcher | None = None
) -> list[Outcome]:
    """Exactly one for each job, in their order."""
    outcomes = {
        outcome.job.source: outcome for outcome in work(jobs, transcriber, settings, watcher or Watcher())
    }
    return [outcomes.pop(job.source) for job in jobs] + list(outcomes.values())


def made(path: Path, transcriber: Transcriber, settings: Settings, output: Path, *formats: str) -> Outcome:
    """What becomes of one recording."""
    (outcome,) = outcomes_of(plan([path], output, formats), transcriber, settings)
    return outcome


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_bad_recording_costs_itself_alone(tmp_path: Path, either: Transcriber, settings: Settings) -> None:
    for name in "acde":
        recording(tmp_path / "in" / f"{name}.wav")
    (tmp_path / "in" / "b.wav").write_text("not a recording")
    whole = (tmp_path / "in" / "d.wav").read_bytes()
    (tmp_path / "in" / "d.wav").write_bytes(whole[: len(whole) // 2])  # which its header does not tell
    outcomes = outcomes_of(plan([tmp_path / "in"], tmp_path / "out", ["midi", "csv"]), either, settings)
    for outcome, name in zip(outcomes, "abcde", strict=True):
        assert isinstance(outcome.error, AudioError) == (name in "bd")
        assert outcome.error is None or str(tmp_path / "in" / f"{name}.wav") in str(outcome.error)
    assert names(tmp_path / "out") == ["a.csv", "a.mid", "c.csv", "c.mid", "e.csv", "e.mid", NAME]
    assert list(Manifest(tmp_path / "out").entries()) == ["a", "c", "e"]
    assert outcomes[0].notes == len(read_notes(tmp_path / "out" / "a.csv")) > 0
    assert outcomes[0].duration == pytest.approx(1.5)


def test_notes_do_not_depend_on_what_is_transcribed_beside(
    tmp_path: Path, alone: Transcriber, in_pairs: Transcriber, settings: Settings
) -> None:
    for seed, name in enumerate("abc"):
        recording(tmp_path / "in" / f"{name}.wav", seconds=1 + seed, seed=seed)
    for place, transcriber in (("alone", alone), ("in_pairs", in_pairs)):
        outcomes_of(plan([tmp_path / "in"], tmp_path / place, ["csv"]), transcriber, settings)
    for name in "abc":
        notes = [(tmp_path / place / f"{name}.csv").read_bytes() for place in ("alone", "in_pairs")]
        assert notes[0] == notes[1]


def test_what_was_made_is_entered(tmp_path: Path, alone: Transcriber, settings: Settings) -> None:
    source = recording(tmp_path / "in" / "x" / "Prélude.wav")
    settings = replace(settings, start=0.25, end=1.25, tuning=450.0)
    (job,) = plan([tmp_path / "in"], tmp_path / "out", ["midi", "json"])
    (outcome,) = outcomes_of([job], alone, settings)
    (entry,) = Manifest(tmp_path / "out").entries().values()
    assert entry == Entry(
        key="x/Prélude",
        source=str(Path("x/Prélude.wav")),
        size=source.stat().st_size,
        modified_ns=source.stat().st_mtime_ns,
        source_sha256=sha256(source.read_bytes()).hexdigest(),
        work={
            "checkpoint_sha256": sha256(Path(settings.model).read_bytes()).hexdigest(),
            "precision": "float32",
            "start_s": 0.25,
            "end_s": 1.25,
            "tuning_hz": 450.0,
        },
        outputs={name: sha256(path.read_bytes()).hexdigest() for name, path in job.outputs.items()},
        notes=outcome.notes,
        duration_s=1.0,
        tuning_hz=450.0,
        seconds=round(outcome.seconds, 3),
        origin="../in/x/Prélude.wav",
        finished=entry.finished,
    )
    assert outcome.source_sha256 == entry.source_sha256
    assert outcome.seconds > 0
    assert reason_to_keep(job, Manifest(tmp_path / "out"), entry.work, settings) == "done before"


def test_an_output_that_was_named_is_not_entered(
    tmp_path: Path, alone: Transcriber, settings: Settings
) -> None:
    source = recording(tmp_path / "song.wav")
    outcome = made(source, alone, settings, tmp_path / "out" / "song.mid")
    assert outcome.error is None
    assert names(tmp_path / "out") == ["song.mid"]


def test_formats_made_of_the_same_stay_entered(
    tmp_path: Path, alone: Transcriber, settings: Settings
) -> None:
    source, out = recording(tmp_path / "song.wav"), tmp_path / "out"

    def entered() -> dict[str, str]:
        return dict(Manifest(out).entries()["song"].outputs)

    made(source, alone, settings, out, "midi")
    made(source, alone, settings, out, "csv", "tsv")
    endings = {"midi": "song.mid", "csv": "song.csv", "tsv": "song.tsv"}
    assert entered() == {name: sha256_of(out / path) for name, path in endings.items()}
    made(source, alone, replace(settings, start=0.5), out, "csv")  # other work
    assert entered() == {"csv": sha256_of(out / "song.csv")}
    recording(source, seed=1)  # another recording
    made(source, alone, replace(settings, start=0.5), out, "tsv")
    assert entered() == {"tsv": sha256_of(out / "song.tsv")}


def test_a_manifest_that_cannot_be_written_is_named(
    tmp_path: Path, alone: Transcriber, settings: Settings
) -> None:
    (tmp_path / "out" / NAME).mkdir(parents=True)
    outcome = made(recording(tmp_path / "song.wav"), alone, settings, tmp_path / "out")
    assert isinstance(outcome.error, OutputError)
    assert str(tmp_path / "out" / NAME) in str(outcome.error)
    assert "Is a directory" in str(outcome.error)


def test_with_too_little_memory_for_several_none_is_lost(
    tmp_path: Path, tiny_checkpoint: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scarce(model: Par, features: Features, *arguments: Any, **named: Any) -> Any:
        if len(features.note) > 1:
            raise torch.cuda.OutOfMemoryError
        return begin_decoding(model, features, *arguments, **named)

    for seed, name in enumerate("abcdefgh"):
        recording(tmp_path / "in" / f"{name}.wav", 0.5, seed)
    monkeypatch.setattr("partranscribe.torch_engine.begin_decoding", scarce)
    transcriber = Transcriber(tiny_checkpoint, "cpu", engine="torch", together=4)
    with pytest.warns(UserWarning, match="not enough memory"):
        outcomes = outcomes_of(plan([tmp_path / "in"], tmp_path / "out"), transcriber, settings)
    assert [outcome.error for outcome in outcomes] == [None] * 8


def test_without_memory_for_one_the_recording_is_named(
    tmp_path: Path, either: Transcriber, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object, **__: object) -> None:
        raise torch.cuda.OutOfMemoryError

    for seed, name in enumerate("ab"):
        recording(tmp_path / "in" / f"{name}.wav", 0.5, seed)
    monkeypatch.setattr("partranscribe.torch_engine.begin_decoding", exhausted)
    either = Transcriber(settings.model, "cpu", engine="torch", together=either.together)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it tries with fewer
        outcomes = outcomes_of(plan([tmp_path / "in"], tmp_path / "out"), either, settings)
    assert [str(outcome.error) for outcome in outcomes] == [
        f"{tmp_path / 'in' / name}.wav: cpu: not enough memory for one recording; use --device cpu"
        for name in "ab"
    ]


def test_a_mistake_in_what_is_written_costs_one_recording(
    tmp_path: Path, alone: Transcriber, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(*_: object) -> bytes:
        raise ValueError("seven is no note")

    with monkeypatch.context() as patch:
        patch.setitem(WRITERS, "midi", mistaken)
        outcome = made(recording(tmp_path / "song.wav"), alone, settings, tmp_path / "out")
    assert isinstance(outcome.error, UnexpectedError)
    assert "song.wav: ValueError: seven is no note" in str(outcome.error)


def test_a_recording_that_is_written_to_meanwhile_is_not_done(
    tmp_path: Path, alone: Transcriber, settings: Settings
) -> None:
    source = recording(tmp_path / "song.wav")

    class Writer(Watcher):
        def advanced(self, job: Job, seconds: float) -> None:
            os.utime(job.source, (0, 0))

    jobs = plan([source], tmp_path / "out")
    (outcome,) = outcomes_of(jobs, alone, settings, Writer())
    assert "song.wav: was written to while it was read" in str(outcome.error)
    assert names(tmp_path / "out") == []


def test_nothing_is_written_where_one_output_cannot_be(
    tmp_path: Path, either: Transcriber, settings: Settings
) -> None:
    for name in "ab":
        recording(tmp_path / "in" / f"{name}.wav")
    (tmp_path / "out" / "a.csv").mkdir(parents=True)
    first, second = outcomes_of(plan([tmp_path / "in"], tmp_path / "out", ["midi", "csv"]), either, settings)
    assert isinstance(first.error, OutputError)
    assert str(tmp_path / "out" / "a.csv") in str(first.error)
    assert second.error is None
    assert names(tmp_path / "out") == ["a.csv", "b.csv", "b.mid", NAME]


def test_what_is_no_recording_fails_by_its_name(
    tmp_path: Path, either: Transcriber, settings: Settings
) -> None:
    (tmp_path / "hollow").mkdir()
    write_notes(tmp_path / "list.mid", [Note(0.5, 1.0, 60, 64)])
    before = (tmp_path / "list.mid").read_bytes()
    sources = [tmp_path / name for name in ("hollow", "list.mid", "no.wav")]
    outcomes = outcomes_of(plan(sources, tmp_path / "out"), either, settings)
    for outcome, fact in zip(
        outcomes, ("no recording in this folder", "is a note list", "check its name"), strict=True
    ):
        assert isinstance(outcome.error, AudioError)
        assert str(outcome.job.source) in str(outcome.error)
        assert fact in str(outcome.error)
    assert (tmp_path / "list.mid").read_bytes() == before
    assert not (tmp_path / "out").exists()


def fail_at(transcriber: Transcriber, name: str, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the transcriber raise an error whenever a recording of this name is among those it is given."""
    one, several = transcriber.transcribe, transcriber.transcribe_several

    def transcribe(path: Path, **options: Any) -> Transcription:
        if path.name == name:
            raise error
        return one(path, **options)

    def transcribe_several(paths: Sequence[Path], **options: Any) -> Iterator[Transcription | AudioError]:
        if any(path.name == name for path in paths):
            raise error
        yield from several(paths, **options)

    monkeypatch.setattr(transcriber, "transcribe", transcribe)
    monkeypatch.setattr(transcriber, "transcribe_several", transcribe_several)


@pytest.mark.parametrize(
    ("error", "kind", "fact"),
    [
        (
            RuntimeError("bad luck"),
            UnexpectedError,
            "RuntimeError: bad luck; that is a mistake of partranscribe",
        ),
        (ZeroDivisionError(), UnexpectedError, "ZeroDivisionError; that is a mistake of partranscribe"),
        (MemoryError(), AudioError, "not enough memory for it"),
        (AudioError("b.wav: is damaged"), AudioError, "is damaged"),
    ],
)
def test_any_error_costs_the_recording_where_it_happens(
    error: Exception,
    kind: type[Exception],
    fact: str,
    tmp_path: Path,
    either: Transcriber,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fail_at(either, "b.wav", error, monkeypatch)
    for name in "abcd":
        recording(tmp_path / "in" / f"{name}.wav")
    outcomes = outcomes_of(plan([tmp_path / "in"], tmp_path / "out"), either, settings)
    assert [type(outcome.error) for outcome in outcomes] == [type(None), kind, type(None), type(None)]
    assert "b.wav" in str(outcomes[1].error)
    assert fact in str(outcomes[1].error)
    assert names(tmp_path / "out") == ["a.mid", "c.mid", "d.mid", NAME]


def test_a_mistake_of_the_program_is_traced(
    tmp_path: Path,
    alone: Transcriber,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fail_at(alone, "b.wav", RuntimeError("bad luck"), monkeypatch)
    made(recording(tmp_path / "b.wav"), alone, settings, tmp_path / "out")
    assert "RuntimeError: bad luck" in capsys.readouterr().err


def test_an_interrupt_is_no_error_of_a_recording(
    tmp_path: Path, either: Transcriber, settings: Settings
) -> None:
    class Impatient(Watcher):
        def advanced(self, job: Job, seconds: float) -> None:
            raise KeyboardInterrupt

    for name in "ab":
        recording(tmp_path / "in" / f"{name}.wav")
    with pytest.raises(KeyboardInterrupt):
        outcomes_of(plan([tmp_path / "in"], tmp_path / "out"), either, settings, Impatient())
    assert names(tmp_path / "out") == []


def test_the_watcher_sees_each_recording_begin_and_advance_to_its_end(
    tmp_path: Path, either: Transcriber, settings: Settings
) -> None:
    for name, seconds in (("a", 1.5), ("b", 2.0), ("c", 1.0)):
        recording(tmp_path / "in" / f"{name}.wav", seconds)
    diary = Diary()
    outcomes_of(plan([tmp_path / "in"], tmp_path / "out"), either, settings, diary)
    assert diary.started_with == [("a.wav", 1.5), ("b.wav", 2.0), ("c.wav", 1.0)]
    assert {name: seconds[-1] for name, seconds in diary.seconds.items()} == dict(diary.started_with)
    assert all(seconds == sorted(seconds) for seconds in diary.seconds.values())


@pytest.mark.parametrize(
    ("start", "end", "seconds"), [(0.5, 1.25, 0.75), (1.5, None, 0.5), (0.5, 60.0, 1.5), (0.0, 1.0, 1.0)]
)
def test_the_watcher_is_told_how_long_the_part_is(
    start: float, end: float | None, seconds: float, tmp_path: Path, alone: Transcriber, settings: Settings
) -> None:
    settings, diary = replace(settings, start=start, end=end), Diary()
    outcomes_of(plan([recording(tmp_path / "a.wav", 2.0)], tmp_path / "out"), alone, settings, diary)
    assert [told for _, told in diary.started_with] == [pytest.approx(seconds)]
    ((*_, last),) = diary.seconds.values()
    assert last == pytest.approx(seconds)


def test_json_tells_the_source_the_part_and_the_model(
    tmp_path: Path, alone: Transcriber, settings: Settings
) -> None:
    source = recording(tmp_path / "song.wav", seconds=4)
    for start, end, part in ((0.0, None, (0.0, 4.0)), (1.0, 2.5, (1.0, 2.5)), (3.0, 9.0, (3.0, 4.0))):
        made(source, alone, replace(settings, start=start, end=end), tmp_path / "song.json")
        document = json.loads((tmp_path / "song.json").read_text("utf-8"))
        assert (document["source"], document["duration_s"]) == ("song.wav", 4.0)
        assert (document["start_s"], document["end_s"]) == part
        assert document["model"] == "tiny"
        assert document["checkpoint_sha256"] == sha256_of(Path(settings.model))
        assert document["precision"] == "float32"


def test_notes_are_scored_against_the_reference(
    tmp_path: Path, alone: Transcriber, settings: Settings
) -> None:
    source = recording(tmp_path / "song.wav")
    assert made(source, alone, settings, tmp_path / "truth.csv").score is None
    write_notes(
        tmp_path / "half.csv", [note for note in read_notes(tmp_path / "truth.csv") if note.onset < 0.75]
    )
    for truth, precision in (("truth.csv", 1.0), ("half.csv", None)):
        jobs = plan([source], tmp_path / "out", reference=tmp_path / truth)
        (outcome,) = outcomes_of(jobs, alone, settings)
        assert outcome.score is not None
        assert outcome.score.note.recall == 1.0
        wanted = precision or len(read_notes(tmp_path / truth)) / outcome.notes
        assert outcome.score.note.precision == wanted


def test_score_counts_only_the_part_that_was_transcribed(
    tmp_path: Path, alone: Transcriber, settings: Settings
) -> None:
    source = recording(tmp_path / "song.wav", seconds=4)
    whole = made(source, alone, settings, tmp_path / "song.csv")
    jobs = plan([source], tmp_path / "part.csv", reference=tmp_path / "song.csv")
    start, end = 0.96, 2.0  # whole frames, of which none are left out before
    (part,) = outcomes_of(jobs, alone, replace(settings, start=start, end=end))
    inside = [note for note in read_notes(tmp_path / "song.csv") if start <= note.onset < end]
    assert any(note.offset > end for note in inside)
    assert part.score is not None
    assert part.score.reference_notes == len(inside) < whole.notes
    assert part.score.note_offset.f1 == 1


def test_an_unreadable_reference_fails_but_the_output_stays_and_is_entered(
    tmp_path: Path, either: Transcriber, settings: Settings
) -> None:
    source = recording(tmp_path / "song.wav")
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth/song.mid").write_bytes(b"no MIDI")
    (outcome,) = outcomes_of(plan([source], tmp_path / "out", reference=tmp_path / "truth"), either, settings)
    assert isinstance(outcome.error, NoteFileError)
    assert str(Path("truth") / "song.mid") in str(outcome.error)
    assert outcome.notes > 0
    assert names(tmp_path / "out") == [NAME, "song.mid"]


def test_a_reference_without_notes_in_the_part_is_named(
    tmp_path: Path, alone: Transcriber, settings: Settings
) -> None:
    source = recording(tmp_path / "song.wav")
    write_notes(tmp_path / "truth.csv", [Note(1.25, 1.4, 60, 64)])
    jobs = plan([source], tmp_path / "out", reference=tmp_path / "truth.csv")
    (outcome,) = outcomes_of(jobs, alone, replace(settings, end=1.0))
    assert "truth.csv: no notes to score with" in str(outcome.error)


IDENTITY = {
    "checkpoint_sha256": "cd" * 32,
    "precision": "float32",
    "start_s": 0.0,
    "end_s": None,
    "tuning_hz": None,
}


@pytest.fixture
def made_before(tmp_path: Path) -> Job:
    """A recording and its MIDI and CSV, as an earlier call left them; only the bytes count."""
    (tmp_path / "song.wav").write_bytes(b"sound")
    (job,) = plan([tmp_path / "song.wav"], tmp_path / "out", ["midi", "csv"])
    (tmp_path / "out").mkdir()
    for name, path in job.outputs.items():
        path.write_text(f"notes as {name}")
    enter(job)
    return job


def enter(job: Job) -> None:
    """Tell the manifest that the outputs that are there were made of the recording as it is."""
    assert job.folder is not None
    state = job.source.stat()
    entry = Entry(
        key="song",
        source="song.wav",
        size=state.st_size,
        modified_ns=state.st_mtime_ns,
        source_sha256=sha256_of(job.source),
        work=IDENTITY,
        outputs={name: sha256_of(path) for name, path in job.outputs.items()},
        notes=1,
        duration_s=1.0,
        seconds=0.1,
        origin="../song.wav",
    )
    Manifest(job.folder).add(entry)


def reason(job: Job, **other_work: object) -> str:
    assert job.folder is not None
    return reason_to_keep(job, Manifest(job.folder), {**IDENTITY, **other_work}, Settings())


def touch(path: Path) -> None:
    """Give it another date."""
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))


def test_an_address_that_only_a_manifest_tells_is_not_asked(
    made_before: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert made_before.folder is not None
    manifest = Manifest(made_before.folder)
    entry = manifest.get("song")
    assert entry is not None
    manifest.add(replace(entry, origin="http://nowhere.invalid/song.wav", source_sha256="", modified_ns=0))

    def ask(_: str) -> Path:
        raise AssertionError("the address was asked")

    monkeypatch.setattr("partranscribe.work.location", ask)
    with pytest.raises(
        OutputError, match=r"is what http://nowhere\.invalid/song\.wav gave, and would be repl"
    ):
        reason(made_before)


@pytest.mark.parametrize("entered", ["seen from the folder", "by its whole path"])
def test_extras_may_move_with_their_notes_and_recordings(
    entered: str, made_before: Job, tmp_path: Path
) -> None:
    manifest = Manifest(tmp_path / "out")
    entry = manifest.get("song")
    assert entry is not None
    (tmp_path / "sound").mkdir()
    wav = tmp_path / "sound" / "song.wav"
    wav.write_bytes(b"notes as sound")
    key = "../sound/song.wav" if entered == "seen from the folder" else str(wav.resolve())
    manifest.add(replace(entry, extras={key: Made.of(wav, "")}))
    job = replace(made_before, extras={SOUND: Extra(wav, tmp_path / "sound")})
    assert reason(job) == "done before"
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("song.wav", "out", "sound"):
        (tmp_path / name).rename(moved / name)
    outputs = {name: moved / path.relative_to(tmp_path) for name, path in job.outputs.items()}
    extras = {SOUND: Extra(moved / "sound" / "song.wav", moved / "sound")}
    job = replace(job, source=moved / "song.wav", outputs=outputs, folder=moved / "out", extras=extras)
    assert reason(job) == ("done before" if entered == "seen from the folder" else "")


def test_what_is_not_there_is_done(made_before: Job) -> None:
    for path in made_before.outputs.values():
        path.unlink()
    assert reason(made_before) == ""


def test_what_was_done_before_is_kept(made_before: Job) -> None:
    assert reason(made_before) == "done before"


def test_part_of_what_was_done_before_is_kept(made_before: Job) -> None:
    assert reason(replace(made_before, outputs={"csv": made_before.outputs["csv"]})) == "done before"


def test_a_recording_with_another_date_and_the_same_bytes_is_the_same(made_before: Job) -> None:
    touch(made_before.source)
    assert reason(made_before) == "done before"


@pytest.mark.parametrize("content", [b"noise", b"sound and more", b""])
def test_a_recording_that_changed_is_done_again(content: bytes, made_before: Job) -> None:
    made_before.source.write_bytes(content)
    touch(made_before.source)
    assert reason(made_before) == ""


def of_another_folder(job: Job, content: bytes) -> Job:
    """The job of a recording of the same name, length and date elsewhere, into the same outputs."""
    source = job.source.parent / "other" / job.source.name
    source.parent.mkdir()
    source.write_bytes(content)
    os.utime(source, ns=(0, job.source.stat().st_mtime_ns))
    return replace(job, source=source)


def test_notes_of_a_recording_that_is_still_there_are_not_replaced_by_those_of_another(
    made_before: Job,
) -> None:
    another = of_another_folder(made_before, b"noise")
    for other_work in ({}, {"start_s": 1.0}):
        with pytest.raises(OutputError, match=r"song\.mid: is what .*song\.wav gave, and would be"):
            reason(another, **other_work)
    made_before.source.unlink()
    assert reason(another) == ""


def test_a_copy_of_a_recording_is_the_same(made_before: Job) -> None:
    another = of_another_folder(made_before, b"sound")
    assert reason(another) == "done before"
    assert reason(another, start_s=1.0) == ""


@pytest.mark.parametrize(
    "other",
    [
        {"checkpoint_sha256": "ab" * 32},
        {"precision": "bfloat16"},
        {"start_s": 1.0},
        {"end_s": 2.0},
        {"tuning_hz": 452.0},
    ],
)
def test_what_was_made_by_other_work_is_done_again(other: dict[str, object], made_before: Job) -> None:
    assert reason(made_before, **other) == ""


def test_what_was_edited_is_kept(made_before: Job) -> None:
    made_before.outputs["csv"].write_text("notes, corrected by hand")
    assert reason(made_before) == "changed since it was made"
    assert reason(made_before, start_s=1.0) == "changed since it was made"
    made_before.source.write_bytes(b"other sound")
    assert reason(made_before) == "changed since it was made"


def test_what_something_else_made_is_kept(made_before: Job) -> None:
    assert made_before.folder is not None
    (made_before.folder / NAME).unlink()
    assert reason(made_before) == "already there"
    assert reason(made_before, start_s=1.0) == "already there"


def test_a_format_that_something_else_made_is_kept(made_before: Job) -> None:
    tsv = made_before.outputs["csv"].with_suffix(".tsv")
    tsv.write_text("notes of someone else")
    both = replace(made_before, outputs={**made_before.outputs, "tsv": tsv})
    assert reason(both, start_s=1.0) == "changed since it was made"


def test_missing_outputs_are_made_with_those_that_were_made_before(made_before: Job) -> None:
    made_before.outputs["midi"].unlink()
    assert reason(made_before) == ""
    assert reason(made_before, start_s=1.0) == ""


def remove_manifest(job: Job) -> None:
    assert job.folder is not None
    (job.folder / NAME).unlink()


def edit(job: Job) -> None:
    job.outputs["csv"].write_text("notes, corrected by hand")


@pytest.mark.parametrize(
    ("happened", "fact"), [(remove_manifest, "already there"), (edit, "changed since it was made")]
)
def test_missing_outputs_are_refused_beside_another_s_work(
    happened: Callable[[Job], None], fact: str, made_before: Job
) -> None:
    made_before.outputs["midi"].unlink()
    happened(made_before)
    with pytest.raises(OutputError, match=rf"song\.csv: is {fact}, and would be replaced; --overwrite"):
        reason(made_before)


def test_a_folder_that_cannot_be_listed_is_told(
    tmp_path: Path, alone: Transcriber, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in" / "locked").mkdir(parents=True)
    lock(monkeypatch, "locked")
    (outcome,) = outcomes_of(plan([tmp_path / "in"], tmp_path / "out"), alone, settings)
    assert str(outcome.error).startswith(
        f"{tmp_path / 'in' / 'locked'}: cannot be listed (Permission denied)"
    )


def test_what_is_kept_is_scored(tmp_path: Path, settings: Settings) -> None:
    notes = [Note(0.5, 1.0, 60, 64), Note(1.5, 2.0, 62, 64), Note(2.5, 3.0, 64, 64)]
    (tmp_path / "out").mkdir()
    write_notes(tmp_path / "out" / "song.csv", notes[:2])
    write_notes(tmp_path / "truth.csv", notes)
    (job,) = plan([tmp_path / "song.wav"], tmp_path / "out", ["csv"], reference=tmp_path / "truth.csv")
    outcome = keep(job, "done before", settings)
    assert (outcome.kept, outcome.notes, outcome.error) == ("done before", 2, None)
    assert outcome.score is not None
    assert (outcome.score.note.precision, outcome.score.note.recall) == (1.0, 2 / 3)
    part = keep(job, "done before", replace(settings, end=2.0)).score
    assert part is not None
    assert (part.note.precision, part.note.recall) == (1.0, 1.0)
    part = keep(job, "already there", replace(settings, start=1.0)).score
    assert part is not None
    assert (part.note.precision, part.note.recall) == (1.0, 0.5)


def test_what_is_kept_is_scored_as_far_as_its_recording_goes(tmp_path: Path, settings: Settings) -> None:
    notes = [Note(1.5, 2.0, 60, 64), Note(9.5, 10.0, 62, 64)]
    (tmp_path / "out").mkdir()
    write_notes(tmp_path / "out" / "song.csv", notes[:1])
    write_notes(tmp_path / "truth.csv", notes)
    (tmp_path / "song.wav").write_bytes(b"sound")
    (job,) = plan([tmp_path / "song.wav"], tmp_path / "out", ["csv"], reference=tmp_path / "truth.csv")
    enter(job)
    entry = Manifest(tmp_path / "out").get("song")
    assert entry is not None
    for start, recall in ((0.0, 0.5), (1.0, 1.0)):
        found = keep(job, "done before", replace(settings, start=start), entry).score
        assert found is not None
        assert found.note.recall == recall


def test_what_is_kept_is_not_read_without_a_reference(tmp_path: Path, settings: Settings) -> None:
    (job,) = plan([tmp_path / "song.wav"], tmp_path / "out")
    assert keep(job, "already there", settings) == Outcome(job, kept="already there")


@pytest.mark.parametrize("broken", ["out/song.csv", "truth.csv"])
def test_what_is_kept_and_cannot_be_scored_fails(broken: str, tmp_path: Path, settings: Settings) -> None:
    for name in ("out/song.csv", "truth.csv"):
        write_notes(tmp_path / name, [Note(0.5, 1.0, 60, 64)])
    (tmp_path / broken).write_text("no notes")
    (job,) = plan([tmp_path / "song.wav"], tmp_path / "out", ["csv"], reference=tmp_path / "truth.csv")
    outcome = keep(job, "already there", settings)
    assert outcome.kept == "already there"
    assert str(tmp_path / broken) in str(outcome.error)
