"""A training recipe: one TOML file, read into settings and carried out phase by phase."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch

from ..checkpoint import load_checkpoint, save_checkpoint
from ..config import Config, FrontEndConfig, ModelConfig, settings_from_dict
from ..errors import PartranscribeError
from .augment import Augmenter, ContextNoise, load_rooms
from .calibrate import calibrate, excerpts
from .data import load_folder
from .loop import Phase, TrainConfig, Trainer, log_to
from .memory import keep_freed_memory

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_SECTIONS = ("model", "front_end", "augment", "context_noise", *get_args(Phase))


class RecipeError(PartranscribeError):
    """A recipe or its data cannot be used."""


@dataclass(frozen=True)
class Recipe:
    """What is trained and how; see the files in `configs`.

    Args:
        name: of the model.
        config: front end and network.
        phases: settings of the note network's training and of the velocity network's.
        augmenter: what is done to audio, still without rooms.
        noise: what is done to the context.
    """

    name: str
    config: Config
    phases: Mapping[Phase, TrainConfig]
    augmenter: Augmenter
    noise: ContextNoise


def read_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        RecipeError: the file is not there, is not TOML, or has an unknown section or setting.
    """
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror}); is the path right?") from error
    except ValueError as error:
        raise RecipeError(f"{path}: is not TOML ({error}); correct it") from error
    name = values.pop("name", path.stem)
    unknown = set(values) - set(_SECTIONS)
    if unknown:
        raise RecipeError(
            f"{path}: unknown section {', '.join(sorted(unknown))}; known: {', '.join(_SECTIONS)}"
        )
    try:
        front_end = settings_from_dict(FrontEndConfig, values.get("front_end", {}))
        return Recipe(
            name=name,
            config=Config(front_end, settings_from_dict(ModelConfig, values.get("model", {}))),
            phases={
                phase: settings_from_dict(TrainConfig, {**values.get(phase, {}), "phase": phase})
                for phase in get_args(Phase)
            },
            augmenter=settings_from_dict(
                Augmenter, {"sample_rate": front_end.sample_rate, **values.get("augment", {})}
            ),
            noise=settings_from_dict(ContextNoise, values.get("context_noise", {})),
        )
    except ValueError as error:
        raise RecipeError(f"{path}: {error}") from error


def train(
    recipe: Recipe,
    data: Sequence[Path],
    run: Path,
    *,
    rooms: Path | None = None,
    hold_out: str = "",
    start: Path | None = None,
    device: torch.device | None = None,
    report: Callable[[dict[str, Any]], None] | None = None,
) -> None:
    """Carry a recipe out, or go on where it stopped.

    Args:
        recipe: what is trained and how.
        data: folders of recordings with their note lists.
        run: folder of the run: its state, its log, and at the end `checkpoint.safetensors`.
        rooms: a table of impulse responses (`start` and `length` in samples) beside a .flac of its name.
        hold_out: recordings whose name ends with this are not trained on; decoding is calibrated on them.
        start: a checkpoint to begin with in place of random weights.
        device: where to train.
        report: is told of the progress, as the log in `run` is.

    Raises:
        RecipeError: there is nothing to train on.
    """
    keep_freed_memory()
    device = device or torch.device("cpu")
    front_end = recipe.config.front_end
    recordings = [one for folder in data for one in load_folder(folder, run / "audio", front_end.sample_rate)]
    held_out = [one for one in recordings if hold_out and one.name.endswith(hold_out)]
    recordings = [one for one in recordings if not (hold_out and one.name.endswith(hold_out))]
    if not recordings:
        raise RecipeError(f"{', '.join(map(str, data))}: no recording with a note list beside it")
    augmenter = recipe.augmenter
    if rooms is not None:
        augmenter = replace(augmenter, rooms=load_rooms(rooms.with_suffix(".flac"), rooms))
    before = load_checkpoint(start)[0] if start is not None else None
    heard = 0.0
    for phase, settings in recipe.phases.items():
        trainer = Trainer(recipe.config, settings, recordings, augmenter, recipe.noise, run / phase, device)
        if not trainer.resume() and before is not None:
            trainer.start_from(before, new_velocity=start is None)
        log = log_to(run / phase / "log.jsonl")

        def tell(entry: dict[str, Any], phase: str = phase, log: Callable[..., None] = log) -> None:
            log(entry)
            if report is not None:
                report({"phase": phase, **entry})

        if trainer.share_done() < 1.0:
            trainer.run(tell)
        before = trainer.model
        heard = max(heard, trainer.hours_heard)
    assert before is not None
    config = recipe.config
    before.eval()
    if held_out:
        chosen = calibrate(before, config, excerpts(before, config, held_out))
        config = replace(config, decode=chosen.settings)
        if report is not None:
            report({"phase": "calibration", **asdict(chosen.settings), **chosen.score.to_dict()})
    training = {"hours_heard": round(heard, 1), "data": [folder.name for folder in data]}
    save_checkpoint(run / "checkpoint.safetensors", before, config, name=recipe.name, training=training)
