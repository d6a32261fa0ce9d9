"""A training recipe: one TOML file, read into settings and carried out phase by phase."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args

import numpy as np
import torch

from ..checkpoint import checkpoint_info
from ..config import Config, DecodeConfig, FrontEndConfig, ModelConfig, settings_from_dict
from ..errors import PartranscribeError
from ..file_lock import lock
from ..model import Par
from ..sampler import Instrument
from ..score import Measure, Score
from ..torch_checkpoint import load_checkpoint, save_checkpoint
from ..whole_file import whole_file
from .augment import Augmenter, ContextNoise, load_rooms
from .calibrate import calibrate, hold_out, measure, validate_quickly
from .data import Mixture, Recording, Recordings, Source, drawn, load_folder, transposed
from .hindsight import Hindsight, HindsightConfig, train_hindsight
from .logs import Reporter, log_to, silent
from .loop import STATE, Trainer
from .memory import keep_freed_memory
from .played import Played, PlayedConfig, load_instruments, load_performances
from .synthesis import NO_PEDAL, Performance
from .train_config import Phase, TrainConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_T = TypeVar("_T")

_SECTIONS = ("model", "front_end", "augment", "context_noise", "played", "hindsight", *get_args(Phase))
_DEEPEST = 8  # recipes that extend each other
_VALIDATION_PIECES, _VALIDATION_SECONDS = 8, 20.0
_CALIBRATION_PIECES, _CALIBRATION_SECONDS = 24, 60.0
_TRAINED_SECONDS = 30.0  # of each piece that was trained on, for the calibration of biases
_UNMOVED = 0.001  # of an F1 of 0..1
_LOCK, _BEGINNING = "in_use.lock", "began_with.json"


class RecipeError(PartranscribeError):
    """A recipe or its data cannot be used."""


@dataclass(frozen=True)
class Recipe:
    """What is trained and how; see the files in `configs`.

    Args:
        name: of the model.
        config: front end and network.
        phases: settings of the note network's training and of the velocity network's.
        augmenters: what each phase does to audio, still without rooms.
        noise: what is done to the context.
        played: how performances are played on sampled and modelled pianos.
        hindsight: how the networks are trained that weigh notes once all of a recording were heard.
    """

    name: str
    config: Config
    phases: Mapping[Phase, TrainConfig]
    augmenters: Mapping[Phase, Augmenter]
    noise: ContextNoise
    played: PlayedConfig
    hindsight: HindsightConfig


def _read_toml(path: Path, depth: int = 0) -> dict[str, Any]:
    """A recipe's values on top of those of the recipe that it extends."""
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror}); is the path right?") from error
    except ValueError as error:
        raise RecipeError(f"{path}: is not TOML ({error}); correct it") from error
    extended = values.pop("extends", None)
    if extended is None:
        return values
    if not isinstance(extended, str):
        raise RecipeError(f"{path}: extends {extended!r}; give the path of a recipe")
    if depth == _DEEPEST:
        raise RecipeError(f"{path}: extends a recipe that extends itself; correct one of them")
    return _merged(_read_toml(path.parent / extended, depth + 1), values)


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """All values of two tables and of the tables in them, the latter's where both have one."""
    merged = {**below, **above}
    for name in below.keys() & above.keys():
        if isinstance(below[name], dict) and isinstance(above[name], dict):
            merged[name] = _merged(below[name], above[name])
    return merged


@dataclass(frozen=True)
class TrainingData:
    """What a recipe is carried out on.

    Args:
        recordings: folders of recordings with their note lists.
        hold_out: recordings whose names end so are not trained on; decoding is calibrated on them.
        performances: a folder of MIDI files, to be played on the pianos.
        pianos: a folder of sampled pianos, each a table beside a sound file of its name.
        rooms: a table of impulse responses (`start` and `length` in samples) beside a .flac of its name.
    """

    recordings: Sequence[Path] = ()
    hold_out: str = ""
    performances: Path | None = None
    pianos: Path | None = None
    rooms: Path | None = None

    def __post_init__(self) -> None:
        if (self.performances is None) != (self.pianos is None):
            raise RecipeError("performances and pianos are of use together only; give both or neither")
        if not self.recordings and self.performances is None:
            raise RecipeError("there is nothing to train on; give recordings, or performances and pianos")

    @property
    def names(self) -> list[str]:
        """Of the folders that are trained on."""
        return [path.name for path in (*self.recordings, self.performances, self.pianos) if path is not None]


def read_recipe(path: Path) -> Recipe:
    """Read a recipe.

    With `extends`, the path of another recipe seen from this one, only what differs from it is told.

    Raises:
        RecipeError: the file is not there, is not TOML, or has an unknown section or setting.
    """
    values = _read_toml(path)
    name = values.pop("name", path.stem)
    unknown = set(values) - set(_SECTIONS)
    if unknown:
        raise RecipeError(
            f"{path}: unknown section {', '.join(sorted(unknown))}; known: {', '.join(_SECTIONS)}"
        )
    try:
        phases = {phase: dict(_table(values, phase)) for phase in get_args(Phase)}
        augment = {
            phase: {**_table(values, "augment"), **_table(settings, "augment")}
            for phase, settings in phases.items()
        }
        for settings in phases.values():
            settings.pop("augment", None)
        front_end = settings_from_dict(FrontEndConfig, values.get("front_end", {}))
        return Recipe(
            name=name,
            config=Config(front_end, settings_from_dict(ModelConfig, values.get("model", {}))),
            phases={
                phase: settings_from_dict(TrainConfig, {**settings, "phase": phase})
                for phase, settings in phases.items()
            },
            augmenters={
                phase: settings_from_dict(Augmenter, {"sample_rate": front_end.sample_rate, **settings})
                for phase, settings in augment.items()
            },
            noise=settings_from_dict(ContextNoise, values.get("context_noise", {})),
            played=settings_from_dict(PlayedConfig, values.get("played", {})),
            hindsight=settings_from_dict(HindsightConfig, values.get("hindsight", {})),
        )
    except ValueError as error:
        raise RecipeError(f"{path}: {error}") from error


def _table(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A table among a recipe's values, empty if it is not told.

    Raises:
        ValueError: it is none.
    """
    table = values.get(name, {})
    if not isinstance(table, Mapping):
        raise ValueError(f"{name} is {table!r}, and a table of settings is needed")
    return table


def train(
    recipe: Recipe,
    data: TrainingData,
    run: Path,
    *,
    start: Path | None = None,
    device: torch.device | None = None,
    report: Reporter | None = None,
    export_only: bool = False,
) -> None:
    """Carry a recipe out, or go on where it stopped, and export what came of it.

    Args:
        recipe: what is trained and how.
        data: what on.
        run: folder of the run: its state, its logs, and at the end `checkpoint.safetensors`.
        start: a checkpoint to begin with in place of random weights; its hours of audio count as heard, its
            data as trained on, and the settings of its decoding stay where the note network does. A run that
            goes on knows what it began with.
        device: where to train.
        report: is told of the progress, as the logs in `run` are.
        export_only: export the run as it stands, without training on.

    Raises:
        RecipeError: there is nothing to train on, or nothing to export; or `run` cannot be written to, began
            with another checkpoint, or another process trains there.
    """
    keep_freed_memory()
    device, report = device or torch.device("cpu"), report or silent
    config = recipe.config
    with nullcontext() if export_only else _alone(run):
        loaded = _load(data, run, config.front_end)
        rate = config.front_end.sample_rate
        rooms = [] if data.rooms is None else load_rooms(data.rooms.with_suffix(".flac"), data.rooms, rate)
        augmenters = {phase: replace(one, rooms=rooms) for phase, one in recipe.augmenters.items()}
        states = [run / phase / STATE for phase in recipe.phases]
        beginning = _Beginning.of(run, start, is_begun=any(state.exists() for state in states))
        if beginning is not None and not export_only:
            beginning.keep(run)
        model = None if start is None else load_checkpoint(start)[0]
        heard: dict[Phase, float] = {}
        missing = ""
        for phase, settings in recipe.phases.items():
            if not settings.updates and not settings.minutes:
                missing = phase if model is None else ""
                continue
            source = loaded.source(recipe.played, phase)
            trainer = Trainer(config, settings, source, augmenters[phase], recipe.noise, run / phase, device)
            resumed = trainer.resume()
            if export_only and not resumed:
                continue
            if not resumed and model is not None:
                trainer.start_from(model, new_velocity=beginning is None)
            elif not resumed and missing:
                fact = f"the {missing} network is left out, and there is none to keep"
                raise RecipeError(f"{fact}; give --init")
            elif not resumed and beginning is not None:
                fact = f"{run}: began with a checkpoint, and nothing of it was saved yet"
                raise RecipeError(f"{fact}; give --init again")
            if not export_only:
                trainer.run(log_to(run / phase, report), loaded.validation(config))
            model = trainer.averaged()
            heard[phase] = trainer.hours_heard
        if model is None or not (any(heard.values()) or recipe.hindsight.passages):
            raise RecipeError(f"{run}: nothing has been trained here yet, so there is nothing to export")
        before = beginning or _Beginning()
        told = {
            "hours_heard": round(before.hours_heard + heard.get("note", 0.0), 1),
            "velocity_hours_heard": round(before.velocity_hours_heard + heard.get("velocity", 0.0), 1),
            "data": list(dict.fromkeys([*before.data, *data.names])),
        }
        known = before.settings if "note" not in heard else None
        others = loaded.trained(recipe.played, augmenters["note"]) if loaded.held_out and not known else []
        path = run / "checkpoint.safetensors"
        learn = None
        if recipe.hindsight.passages:
            passages, augmenter = loaded.source(recipe.played, "note"), augmenters["note"]
            learn = partial(
                train_hindsight,
                source=passages,
                augmenter=augmenter,
                settings=recipe.hindsight,
                report=report,
            )
        export(model, config, loaded.held_out, others, path, recipe.name, told, report, known, learn)


@dataclass(frozen=True)
class _Beginning:
    """The checkpoint that a run began with, which its folder keeps in mind; random weights heard nothing.

    Args:
        sha256: of the file.
        hours_heard, velocity_hours_heard: of audio, by its note network and by its velocity network.
        data: names of the folders that it was trained on.
        decode: settings of its decoding.
    """

    sha256: str = ""
    hours_heard: float = 0.0
    velocity_hours_heard: float = 0.0
    data: Sequence[str] = ()
    decode: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, run: Path, start: Path | None, *, is_begun: bool) -> _Beginning | None:
        """What a run that may have begun already began or begins with; None for random weights.

        Raises:
            RecipeError: it began with something else.
        """
        path = run / _BEGINNING
        known = cls(**json.loads(path.read_text("utf-8"))) if path.exists() else None
        if start is None:
            return known
        info = checkpoint_info(start)
        note, velocity = (info.training.get(name, 0.0) for name in ("hours_heard", "velocity_hours_heard"))
        data = info.training.get("data", ())
        given = cls(info.sha256, note, velocity, data, asdict(info.config.decode))
        if (is_begun and known is None) or (known is not None and known.sha256 != given.sha256):
            what = "random weights, not with" if known is None else "another checkpoint than"
            fact = f"{run}: began with {what} {start}"
            raise RecipeError(f"{fact}; leave --init out to go on, or name another folder")
        return given

    @property
    def settings(self) -> DecodeConfig | None:
        """Of its decoding, if they were ever calibrated."""
        settings = settings_from_dict(DecodeConfig, self.decode)
        return None if settings == DecodeConfig() else settings

    def keep(self, run: Path) -> None:
        """Have the folder of a run keep it in mind."""
        with whole_file(run / _BEGINNING) as temporary:
            temporary.write_text(json.dumps(asdict(self)), "utf-8")


@contextmanager
def _alone(run: Path) -> Iterator[None]:
    """Hold the folder of a run: two processes would write over each other's state."""
    try:
        run.mkdir(parents=True, exist_ok=True)
        file = (run / _LOCK).open("w")
    except OSError as error:
        fact = f"{run}: cannot be written to ({error.strerror or error})"
        raise RecipeError(f"{fact}; name a folder that can") from error
    with file:
        if not lock(file, wait=False):
            fact = f"{run}: another process is training there"
            raise RecipeError(f"{fact}; wait for it, or name another folder")
        yield


def export(
    model: Par,
    config: Config,
    held_out: Sequence[Recording],
    others: Sequence[Sequence[Recording]],
    path: Path,
    name: str,
    training: Mapping[str, Any],
    report: Reporter,
    settings: DecodeConfig | None = None,
    learn: Callable[[Par, Config], Hindsight] | None = None,
) -> None:
    """Write a checkpoint: calibrated, and in half precision if that moves no score by 0.1 %.

    Args:
        model: in evaluation mode.
        config: its front end and network.
        held_out: recordings to calibrate on; without any, nothing is calibrated or halved.
        others: recordings of other kinds, for the calibration of biases.
        path: of the checkpoint.
        name, training: what it says of itself.
        report: is told of the calibration.
        settings: of decoding, in place of a calibration.
        learn: what trains the networks that weigh notes at last; without it there will be none.
    """
    dtype = torch.float32
    if settings is not None:
        settings = replace(settings, choose_offsets=False, drop_ghosts=False)
        config = replace(config, decode=settings)
    if held_out:
        held_out = spread(held_out, _CALIBRATION_PIECES)
        features = hold_out(model, config, held_out, _CALIBRATION_SECONDS)
        if settings is None:
            kinds = [hold_out(model, config, some, _TRAINED_SECONDS) for some in others]
            settings, score = calibrate(features, kinds, report)
            config = replace(config, decode=settings)
            report({"phase": "calibration", **asdict(settings), **score.to_dict()})
        else:
            score = measure(features, settings)
            report({"phase": "settings kept", **score.to_dict()})
        halved = copy.deepcopy(model).half().float()
        after = measure(hold_out(halved, config, held_out, _CALIBRATION_SECONDS), settings)
        pairs = zip(_measures(after), _measures(score), strict=True)
        moved = max(abs(one.f1 - other.f1) for one, other in pairs)
        dtype = torch.float16 if moved < _UNMOVED else torch.float32
        report({"phase": "half precision", "kept": dtype == torch.float16, "moved": moved})
    save = partial(save_checkpoint, path, model, name=name, training=training, dtype=dtype)
    save(config)
    if learn is not None:
        hindsight = learn(model, config)
        asks = {"drop_ghosts": True, "choose_offsets": True, "even_velocities": True}
        report({"phase": "hindsight", **asks})
        save(replace(config, decode=replace(config.decode, **asks)), **hindsight._asdict())


def spread(items: Sequence[_T], most: int) -> Sequence[_T]:
    """So many of them at most, evenly taken from all."""
    return items[:: max(-(-len(items) // most), 1)]


def _measures(score: Score) -> list[Measure]:
    measures = (score.note, score.note_offset, score.note_offset_velocity)
    return [measure for measure in measures if measure is not None]


class _Loaded(NamedTuple):
    """The data of a run."""

    recordings: list[Recording]
    held_out: list[Recording]
    performances: list[Performance]
    instruments: list[Instrument]
    front_end: FrontEndConfig

    def source(self, settings: PlayedConfig, phase: Phase) -> Source:
        """What a phase is trained on. How loud a velocity is does not vary for the velocity network.

        Raises:
            RecipeError: there is nothing to train on, or no sampled piano beside modelled ones.
        """
        if settings.modelled and not self.instruments:
            raise RecipeError("modelled pianos are played beside sampled ones; give both, or modelled = 0")
        settings = replace(settings, touch=(1.0, 1.0)) if phase == "velocity" else settings
        sources: list[tuple[float, Source]] = [*self._played(settings)]
        if self.recordings:
            sources.append((settings.cut_share, Recordings(self.recordings, self.front_end)))
        if not sources:
            raise RecipeError("no recording with a note list beside it, and no performance with a piano")
        return sources[0][1] if len(sources) == 1 else Mixture(sources)

    def trained(self, settings: PlayedConfig, augmenter: Augmenter) -> list[list[Recording]]:
        """Some of what is trained on: recordings, and performances and note lists as they were heard."""
        found = []
        if self.recordings:
            found.append([*spread(self.recordings, _CALIBRATION_PIECES)])
        as_played = replace(settings, transpose=0, tempo=(1.0, 1.0), touch=(1.0, 1.0))
        for _, played in self._played(as_played):
            rng, rate = np.random.default_rng(0), self.front_end.sample_rate
            found.append(drawn(played, rate, _CALIBRATION_PIECES, _TRAINED_SECONDS, augmenter, rng))
        return found

    def _played(self, settings: PlayedConfig) -> Iterator[tuple[float, Played]]:
        """What is played, and its share."""
        note_lists = [Performance(transposed(one.notes, 0), NO_PEDAL) for one in self.recordings]
        kinds = (
            (settings.share, self.performances, replace(settings, pedal_share=0.0)),
            (settings.note_list_share, [each for each in note_lists if len(each.keys)], settings),
        )
        for share, performances, how in kinds:
            if share and performances and self.instruments:
                yield share, Played(performances, self.instruments, how, self.front_end.level)

    def validation(self, config: Config) -> Callable[[Par], dict[str, Any]] | None:
        """Scores of free-running decoding on a part of what is held out."""
        if not self.held_out:
            return None
        some = spread(self.held_out, _VALIDATION_PIECES)

        def validate(model: Par) -> dict[str, Any]:
            score = validate_quickly(hold_out(model, config, some, _VALIDATION_SECONDS))
            return {name: value for name, value in score.to_dict().items() if name.endswith("_f1")}

        return validate


def _load(data: TrainingData, run: Path, front_end: FrontEndConfig) -> _Loaded:
    sample_rate = front_end.sample_rate
    recordings = [
        one for folder in data.recordings for one in load_folder(folder, run / "audio", sample_rate)
    ]
    performances = load_performances(data.performances, run / "audio") if data.performances else []
    instruments = load_instruments(data.pianos, sample_rate) if data.pianos else []
    if data.performances and not performances:
        raise RecipeError(f"{data.performances}: no performance in MIDI there; is the path right?")
    held_out = [one for one in recordings if _is_held_out(one, data.hold_out)]
    if data.hold_out and not held_out:
        fact = f"no recording's name ends with {data.hold_out}, which was to be held out"
        raise RecipeError(f"{fact}; correct one of them")
    recordings = [one for one in recordings if not _is_held_out(one, data.hold_out)]
    return _Loaded(recordings, held_out, performances, instruments, front_end)


def _is_held_out(recording: Recording, ending: str) -> bool:
    return recording.held_out or bool(ending and recording.name.endswith(ending))
