"""The command line. It only reads arguments and shows results; the work is done elsewhere."""

from __future__ import annotations

import atexit
import errno
import gc
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from . import __version__
from .released import DEFAULT_NAME

if TYPE_CHECKING:  # heavy modules are loaded by the commands that need them
    from .score import Score

# As `note_io`, `engine` and others have them, which take long to load.
FORMATS = ("midi", "csv", "json", "tsv")
ENGINES = ("auto", "openvino", "torch")
PRECISIONS = ("float32", "bfloat16")
LOWEST_TUNING, HIGHEST_TUNING = 220.0, 880.0
DEFAULT_COMMAND = "transcribe"


class _Named(click.Path):
    """A path, or a URL. An empty one is none, and not the folder that the program was called in."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not os.fsdecode(value):
            self.fail("a name is empty; is a variable not set?", param, ctx)
        return super().convert(value, param, ctx)


class _PathHere(_Named):
    """A path on this machine."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if "://" in os.fsdecode(value):
            self.fail(f"{value} is a URL; name a file or a folder on this machine", param, ctx)
        return super().convert(value, param, ctx)


PATH = _PathHere(path_type=Path, readable=False)
PATH_AS_GIVEN = _PathHere(readable=False)  # with the slash at its end
PATH_OR_URL = _Named(readable=False)


class _Program(click.Group):
    """A group whose first command is implied: `partranscribe song.wav` transcribes."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or args[0] in ("-h", "--help"):
            args = [DEFAULT_COMMAND, "--help"]
        elif args[0] not in self.commands and args[0] != "--version":
            args = [DEFAULT_COMMAND, *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            sys.exit(130)
        except OSError as error:
            if error.errno == errno.EPIPE or error.filename is not None:  # click knows the first
                raise
            click.echo(f"error: standard output cannot be written ({error.strerror})", err=True)
            sys.exit(1)


class _Transcribe(click.Command):
    """The implied command; its help stands for the whole program."""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        program = ctx.find_root().info_name or "partranscribe"
        formatter.write_usage(program, "[OPTIONS] SOURCE...")

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        parent = ctx.parent.command if ctx.parent is not None else None
        if not isinstance(parent, click.Group):
            return
        others = [command for name, command in parent.commands.items() if name != DEFAULT_COMMAND]
        with formatter.section("Other commands"):
            formatter.write_dl([(command.name or "", command.get_short_help_str(80)) for command in others])


_MOST_SECONDS = 1e9  # thirty years; samples are counted up to there


class _Seconds(click.FloatRange):
    """Seconds from some number on, which end somewhere."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = float(super().convert(value, param, ctx))
        if not seconds < _MOST_SECONDS:
            self.fail(f"{value} is no number of seconds.", param, ctx)
        return seconds


def _formats(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    names = [name.strip().lower() for name in (value or "").split(",") if name.strip()]
    unknown = [name for name in names if name not in FORMATS]
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)} is unknown; known are {', '.join(FORMATS)}")
    return tuple(dict.fromkeys(names))


def _tuning(ctx: click.Context, parameter: click.Parameter, value: str) -> float | None:
    """A frequency of A4 in Hz; None to measure it."""
    if value == "auto":
        return None
    try:
        hertz = float(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither auto nor a number") from None
    if not LOWEST_TUNING < hertz < HIGHEST_TUNING:
        limits = f"{LOWEST_TUNING:g} and {HIGHEST_TUNING:g}"
        raise click.BadParameter(f"{value} Hz is not between {limits}: an octave around 440")
    return hertz


def _model_options(function: Any) -> Any:
    for option in (
        click.option("--device", default="auto", metavar="DEVICE", show_default=True,
                     help="auto, cpu, cuda or cuda:N; auto takes CUDA if there is one."),
        click.option("--model", default=DEFAULT_NAME, metavar="NAME|PATH", show_default=True,
                     help="A model named by `partranscribe models`, or a checkpoint file."),
    ):  # fmt: skip
        function = option(function)
    return function


_pedal_option = click.option(
    "--pedal-threshold", type=click.IntRange(0, 128), default=64, show_default=True,
    help="Notes of MIDI references last while the sustain pedal (CC64) is at least this (128: never).",
)  # fmt: skip


_tuning_option = click.option(
    "--tuning", callback=_tuning, default="auto", metavar="HZ|auto", show_default=True,
    help="Frequency of A4; auto measures it, and leaves pianos alone that are within 20 cents of 440 Hz.",
)  # fmt: skip


def _extra_options(function: Any) -> Any:
    """What else is made of each recording; of several, in a folder."""
    for name, kind, text in reversed(
        (
            ("--view", "page", "Write a page to see and hear the recording with its notes."),
            ("--plot", "plot", "Draw the piano roll: PNG, SVG or PDF."),
            ("--sonify", "sound", "Play the notes on a sampled piano: WAV, FLAC, Ogg, Opus or MP3."),
            (
                "--sonify-stereo",
                "stereo",
                "The same at the right, and the recording at the left.",
            ),
            ("--posteriors", "posteriors", "Write the probability of each state in each frame: NumPy's NPZ."),
        )
    ):
        option = click.option(name, kind, type=PATH_AS_GIVEN, metavar="FILE|FOLDER", help=text)
        function = option(function)
    return function


@click.group(cls=_Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="partranscribe")
def main() -> None:
    """Transcribe piano recordings."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a pipe may not know every sign
            stream.reconfigure(errors="replace")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was begun is taken away
    gc.set_threshold(100_000)  # all that is loaded would be searched for garbage again and again
    atexit.register(_leave_at_once)
    warnings.formatwarning = lambda message, *_args, **_kwargs: f"warning: {message}\n"


@main.command(DEFAULT_COMMAND, cls=_Transcribe, no_args_is_help=True)
@click.argument("sources", nargs=-1, required=True, type=PATH_OR_URL, metavar="SOURCE...")
@click.option(
    "-o",
    "--output",
    type=PATH_OR_URL,
    metavar="FILE|FOLDER",
    help="A file (its ending is the format) or a folder; by default beside each recording.",
)
@click.option(
    "-f",
    "--format",
    "formats",
    callback=_formats,
    metavar="LIST",
    help="midi, csv, json, tsv, or several with commas; midi by default.",
)
@_model_options
@click.option(
    "--start",
    type=_Seconds(min=0),
    default=0.0,
    metavar="SECONDS",
    help="Begin there; times still count from the start of the file.",
)
@click.option("--end", type=_Seconds(min=0, min_open=True), metavar="SECONDS", help="Stop there.")
@_tuning_option
@click.option(
    "--reference", type=PATH_OR_URL, help="A note list, or a folder of them, to score the result with."
)
@click.option("--scores", type=PATH, help="Write the scores of every recording to this CSV file.")
@_pedal_option
@_extra_options
@click.option("--overwrite", is_flag=True, help="Make outputs anew that are already in an output folder.")
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default="auto",
    show_default=True,
    help="What computes the network; auto takes OpenVINO on a CPU.",
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="float32",
    show_default=True,
    help="Of the acoustic modules; bfloat16 is faster on new processors, and moves a note here and there.",
)
@click.option("--timings", "show_timings", is_flag=True, help="Print the time that each stage took.")
@click.option(
    "-j",
    "--jobs",
    "processes",
    type=click.IntRange(min=1),
    metavar="N",
    help="Processes that transcribe; by default one for each core that the memory bears, on CUDA one.",
)
@click.option("--ray", metavar="ADDRESS", help="Let a Ray cluster do it; `auto` is that of this machine.")
@click.option(
    "--ray-cores",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Cores that each process on the cluster keeps busy, where it has no GPU.",
)
@click.option("--include", multiple=True, metavar="GLOB", help="Of folders, only what fits: *.flac, live/*.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Of folders, not what fits.")
@click.option("--dry-run", is_flag=True, help="Tell what would be written, and do nothing.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first recording that fails.")
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0, min_open=True),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="Give a recording of several up after so long without progress.",
)
@click.option("--report", type=PATH, help="Write what became of every recording to this JSON file.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
def transcribe_command(
    sources: tuple[str, ...],
    output: str | None,
    formats: tuple[str, ...],
    model: str,
    device: str,
    start: float,
    end: float | None,
    tuning: float | None,
    reference: str | None,
    scores: Path | None,
    pedal_threshold: int,
    overwrite: bool,
    engine: str,
    precision: str,
    show_timings: bool,
    processes: int | None,
    ray: str | None,
    ray_cores: int,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    dry_run: bool,
    fail_fast: bool,
    time_limit: float,
    report: Path | None,
    quiet: bool,
    **extras: str | None,
) -> None:
    """Turn piano recordings into MIDI and note lists.

    A SOURCE is a recording in any common format, or a folder, which stands for every recording in it; or
    the URL of one, such as s3://bucket/folder.
    What is done is noted beside the outputs and not done again, so a stopped run can be repeated, and
    several can share a folder. The exit status is 0 if everything was done, 1 if something failed, 2 for
    wrong usage, 130 if it was interrupted.

    \b
      partranscribe song.wav -o song.mid
      partranscribe recordings/ -o transcriptions/ --format midi,csv
      partranscribe song.flac -o song.mid --reference truth.mid
    """
    if end is not None and end <= start:
        raise click.UsageError(f"--end {end:g} is not after --start {start:g}")
    if scores is not None and reference is None:
        raise click.UsageError("--scores needs a --reference to score with")
    if output == "-":
        raise click.UsageError("-o takes a file or a folder; notes are not written to standard output")
    wanted = {kind: Path(path) for kind, path in extras.items() if path is not None}
    extra_folders = [kind for kind, path in extras.items() if path and path.endswith(("/", os.sep))]
    with _ended_by_ctrl_c():
        from . import batch, plan, show
        from .errors import PartranscribeError
        from .index import check_index, write_index
        from .released import checkpoint_path
        from .remote import location
        from .report import REPORT_MARK, SCORES_MARK, check_table, write_report, write_scores
        from .timings import Timings
        from .work import Settings

        try:
            jobs = plan.plan(
                [location(source) for source in sources],
                None if output is None else location(output),
                formats,
                reference=None if reference is None else location(reference),
                extras=wanted,
                extra_folders=extra_folders,
                into_folder=output is not None and output.endswith(("/", os.sep)),
                include=include,
                exclude=exclude,
            )
            marked = [(report, REPORT_MARK), (scores, SCORES_MARK)]
            tables = [(path, mark) for path, mark in marked if path is not None]
            if tables:
                plan.check_tables([path for path, _ in tables], jobs, checkpoint_path(model))
        except plan.UsageError as error:
            raise click.UsageError(str(error)) from None
        except PartranscribeError as error:
            _fail(error)
    settings = Settings(model, device, engine, precision, start, end, tuning, pedal_threshold)
    timings = Timings()
    pages = next((job.extras[plan.PAGE].folder for job in jobs if plan.PAGE in job.extras), None)
    try:
        if dry_run:
            show.print_plan(jobs, batch.foresee(jobs, settings, overwrite=overwrite))
            return
        if pages is not None:
            check_index(pages, overwrite=overwrite)
        for path, mark in tables:
            check_table(path, mark, overwrite=overwrite)
        cluster = None
        if ray is not None:
            from .cluster import Cluster

            cluster = Cluster(ray, processes, ray_cores)
        with show.watcher(quiet=quiet, total=len(jobs)) as watcher:
            result = batch.run(
                jobs,
                settings,
                watcher,
                processes=processes,
                cluster=cluster,
                overwrite=overwrite,
                fail_fast=fail_fast,
                time_limit=time_limit,
                timings=timings,
            )
        scored = {one.job.name: one.score for one in result.outcomes if one.score is not None}
    except PartranscribeError as error:
        _fail(error)
    failed = sum(outcome.error is not None for outcome in result.outcomes)
    untold = []

    def tell(write: Callable[..., object], *arguments: object) -> bool:
        """Write a table, which if it fails does not stop the others."""
        try:
            write(*arguments)
        except PartranscribeError as error:
            untold.append(error)
            return False
        return True

    if report is not None:
        tell(write_report, report, jobs, result, settings)
    if scores is not None and scored:
        tell(write_scores, scores, scored, pedal_threshold)
    has_index = pages is not None and tell(write_index, pages, jobs, result)
    if len(jobs) > 1 and not quiet:
        click.echo(show.tally(result.outcomes, len(jobs)))
        if failed and len(jobs) > show.A_SCREENFUL:
            show.print_failures(result.outcomes)
    if pages is not None and has_index and not quiet:
        click.echo(f"all pages: {pages / plan.INDEX}")
    if scored and not quiet:
        show.print_scores(scored, pedal_threshold)
    if reference is not None and not quiet:
        show.print_without_reference(jobs)
    if show_timings:
        show.print_timings(
            timings.seconds, sum(outcome.duration for outcome in result.outcomes if not outcome.kept)
        )
    for problem in untold:
        click.echo(f"error: {problem}", err=True)
    if result.interrupted:
        click.echo("interrupted; what is done is kept, and the same command goes on from here", err=True)
        sys.exit(130)
    sys.exit(1 if failed or untold else 0)


@main.command("evaluate")
@click.argument("estimate", type=PATH)
@click.argument("reference", type=PATH)
@_pedal_option
@click.option("--csv", "as_csv", is_flag=True, help="Print one CSV row a piece.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option(
    "--plots",
    "pictures",
    type=PATH,
    metavar="FOLDER",
    help="Draw recall by length and by pitch, the errors of onsets, and how far the confidence holds.",
)
def evaluate_command(
    estimate: Path,
    reference: Path,
    pedal_threshold: int,
    as_csv: bool,
    as_json: bool,
    pictures: Path | None,
) -> None:
    """Score note lists against references: two files, or two folders paired by name.

    MIDI, CSV, JSON and MAPS-style TSV are read. Onsets count within 50 ms, offsets within 50 ms or 20 %
    of the duration, velocities within 10 %, by mir_eval; pieces are averaged with equal weight.
    """
    if as_csv and as_json:
        raise click.UsageError("--csv and --json cannot both be printed")
    from . import report, show
    from .errors import PartranscribeError
    from .note_io import read_notes
    from .paths import is_file, is_folder
    from .plots import Pair, write_score_plots
    from .score import match, pair_files, read_reference, score

    failed = False
    for path in (estimate, reference):
        if not is_file(path) and not is_folder(path):
            _fail(f"{path}: no such file or folder; is the path right?")
    if is_folder(estimate) != is_folder(reference):
        raise click.UsageError("ESTIMATE and REFERENCE must be two files or two folders")
    pairs = [(estimate.name, estimate, reference)]
    if is_folder(estimate):
        try:
            pairing = pair_files(estimate, reference)
        except PartranscribeError as error:
            _fail(error)
        pairs = [(pair.name, pair.estimate, pair.reference) for pair in pairing.pairs]
        for path in (*pairing.only_estimate, *pairing.only_reference):
            if report.is_table(path):
                continue
            click.echo(f"error: {path}: has no partner of the same name in the other folder", err=True)
            failed = True
        if not pairs:
            click.echo(
                f"error: {estimate}: no note list with a partner of the same name in {reference}", err=True
            )
    pieces: dict[str, Pair] = {}
    scores: dict[str, Score] = {}
    for name, estimated, wanted in pairs:
        try:
            found = read_notes(estimated, pedal_threshold=pedal_threshold)
            truth = read_reference(wanted, pedal_threshold)
            matches = match(found, truth)
            scores[name] = score(found, truth, matches=matches)
            if pictures is not None:
                pieces[name] = Pair(found, truth, matches)
        except PartranscribeError as error:
            click.echo(f"error: {error}", err=True)
            failed = True
    if scores:
        if as_csv:
            click.echo(report.scores_as_csv(scores, pedal_threshold), nl=False)
        elif as_json:
            click.echo(report.scores_as_json(scores, pedal_threshold), nl=False)
        else:
            show.print_scores(scores, pedal_threshold)
    if pictures is not None and scores:
        try:
            for path in write_score_plots(pictures, pieces):
                click.echo(f"drawn: {path}", err=as_csv or as_json)
        except PartranscribeError as error:
            _fail(error)
    sys.exit(1 if failed or not scores else 0)


@main.command("view")
@click.argument("recording", type=PATH)
@click.argument("notes", type=PATH, required=False)
@click.option("--reference", type=PATH, help="A note list to compare with: hits, errors, scores.")
@click.option(
    "-o",
    "--output",
    type=PATH_AS_GIVEN,
    required=True,
    metavar="PAGE",
    help="The page, an HTML file, or a folder.",
)
@_model_options
@_tuning_option
@_pedal_option
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
def view_command(
    recording: Path,
    notes: Path | None,
    reference: Path | None,
    output: str,
    model: str,
    device: str,
    tuning: float | None,
    pedal_threshold: int,
    quiet: bool,
) -> None:
    """Write a page to see and hear a RECORDING with its NOTES.

    NOTES is a MIDI, CSV, JSON or TSV file; without it the recording is transcribed. The page is one file
    for any browser, asks for nothing from the network, and holds the recording as Opus.

    \b
      partranscribe view song.flac song.csv -o song.html
      partranscribe view song.flac --reference truth.mid -o song.html
    """
    from . import batch, plan, show
    from .errors import PartranscribeError
    from .view import check_page
    from .work import Settings, view

    job = plan.Job(recording, str(recording), reference=reference)
    settings = Settings(model, device, tuning=tuning, pedal_threshold=pedal_threshold)
    try:
        folders = [plan.PAGE] if output.endswith(("/", os.sep)) else []
        (job,) = plan.with_extras([job], {plan.PAGE: Path(output)}, [Path(recording.name)], folders)
        page, folder = job.extras[plan.PAGE]
        if folder is not None:
            check_page(page, folder)
        if notes is None:
            with show.watcher(quiet=quiet, total=1) as watcher:
                result = batch.run([job], settings, watcher, overwrite=True)
            sys.exit(130 if result.interrupted else int(result.outcomes[0].error is not None))
        view(job, notes, settings)
    except plan.UsageError as error:
        raise click.UsageError(str(error)) from None
    except PartranscribeError as error:
        _fail(error)
    if not quiet:
        click.echo(f"{recording}, {notes} → {page}")


@main.command("models")
def models_command() -> None:
    """List the models: size, look-ahead, measured scores, hash."""
    from . import show
    from .checkpoint import checkpoint_info
    from .errors import PartranscribeError
    from .released import NAMES, checkpoint_path, released

    try:
        there = {name: checkpoint_info(checkpoint_path(name)) for name in released()}
    except PartranscribeError as error:
        _fail(error)
    show.print_models({name: there.get(name) for name in NAMES}, DEFAULT_NAME)


@main.command("train")
@click.argument("recipe", type=PATH)
@click.option(
    "--data",
    "recordings",
    multiple=True,
    type=PATH,
    help="A folder of recordings with a note list of the same name beside each; may be repeated.",
)
@click.option("--performances", type=PATH, help="A folder of MIDI files, to be played on the pianos.")
@click.option(
    "--pianos", type=PATH, help="A folder of sampled pianos: a CSV beside a sound file of its name for each."
)
@click.option(
    "--run",
    "run_folder",
    required=True,
    type=PATH,
    help="Folder of the run; a run that was stopped goes on from there.",
)
@click.option("--rooms", type=PATH, help="CSV of room responses (start, length), beside a .flac of its name.")
@click.option("--hold-out", default="", metavar="ENDING", help="Leave out recordings whose names end so.")
@click.option("--init", "start", type=PATH, help="Begin with the weights of this checkpoint.")
@click.option(
    "--export", "export_only", is_flag=True, help="Write the checkpoint of a run as it stands, and stop."
)
@click.option(
    "--device", default="auto", metavar="DEVICE", show_default=True, help="auto, cpu, cuda or cuda:N."
)
def train_command(
    recipe: Path, run_folder: Path, start: Path | None, device: str, export_only: bool, **data: Any
) -> None:
    """Train a model by a RECIPE from the folder configs.

    The note network is trained first and the velocity network after it. At the end the folder of the
    run holds checkpoint.safetensors: averaged weights, calibrated on what is held out.
    """
    import torch

    from . import show
    from .device import resolve_device
    from .errors import PartranscribeError
    from .training.recipe import TrainingData, read_recipe, train

    try:
        with show.training_watcher() as watcher:
            train(
                read_recipe(recipe),
                TrainingData(**data),
                run_folder,
                start=start,
                device=torch.device(resolve_device(device)),
                report=watcher.report,
                export_only=export_only,
            )
    except PartranscribeError as error:
        _fail(error)


def _leave_at_once() -> None:
    """Have nothing searched for garbage at the end, which would take a third of a second."""
    if "triton" not in sys.modules:  # it complains of what is not collected
        gc.freeze()


@contextmanager
def _ended_by_ctrl_c() -> Iterator[None]:
    """Let Ctrl-C end the process at once, while there is nothing yet that must be ended well."""
    before = signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _fail(error: Exception | str) -> NoReturn:
    click.echo(f"error: {error}", err=True)
    sys.exit(1)
