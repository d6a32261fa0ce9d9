"""What a trained network decodes is heard as a whole, and small networks learn what it gets wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from ..attacks import Attack, attacks_of
from ..config import Config, FrontEndConfig
from ..endings import EndingNetwork, ends_heard
from ..errors import DataError
from ..ghosts import without_ghosts
from ..model import Par
from ..note_array import listed
from ..notes import Note, Place
from ..score import begun_between
from ..tuning import CONCERT_PITCH
from ..units import Units
from .augment import Augmenter
from .calibrate import found_in, hold_out
from .data import Recording, Source, drawn, floats
from .endings import learn_endings, with_endings
from .fitting import Heard
from .ghosts import learn_ghosts
from .logs import Reporter, silent
from .offsets import learn_offsets
from .velocities import learn_velocities

_AT_ONCE = 16  # passages that are decoded
_FEWEST = 20  # notes of a passage that is of use


class Hindsight(NamedTuple):
    """What weighs notes once all of a recording were heard.

    Args:
        ghosts: tells which are there.
        endings: tells when each is likely to end.
        offsets: chooses where they end.
        velocities: corrects how loud they are.
    """

    ghosts: Units
    endings: EndingNetwork
    offsets: Units
    velocities: Units


@dataclass(frozen=True)
class HindsightConfig:
    """How the networks are trained that weigh notes once all of a recording were heard.

    Args:
        passages: how many are heard; 0 does without these networks. Some 4 MB of each are kept until all are
            learnt from.
        seconds: of each. What tells of a recording as a whole takes some notes to show.
        networks: how many of each kind are fitted, from different weights, whose mean counts.
        ghost_hidden: units of each that is for which notes are there.
        ending_hidden: units of each layer of what tells when notes are likely to end, of which there is one.
        hidden: units of each that is for offsets.
        velocity_hidden: units of each that is for velocities.
        seed: of their weights and of the passages.
    """

    passages: int = 0
    seconds: float = 45.0
    networks: int = 4
    ghost_hidden: int = 32
    ending_hidden: int = 24
    hidden: int = 64
    velocity_hidden: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.passages, self.seed) < 0:
            raise ValueError("passages or seed are not from 0 on")
        sizes = self.networks, self.ghost_hidden, self.ending_hidden, self.hidden, self.velocity_hidden
        if min(sizes) < 1 or not self.seconds > 0:
            raise ValueError("networks, units of any of them, or seconds are not above 0")


def train_hindsight(
    model: Par,
    config: Config,
    source: Source,
    augmenter: Augmenter,
    settings: HindsightConfig,
    report: Reporter = silent,
) -> Hindsight:
    """Have passages transcribed and learn from what was found and what there is.

    Args:
        model: in evaluation mode.
        config: its front end and network, and how it decodes.
        source: of passages, which the network may have been trained on.
        augmenter: what is done to them, but for detuning.
        settings: how many, and how large the networks are.
        report: is told how many passages are heard, and what is learnt from them.

    Raises:
        DataError: too few notes are found in them.
    """

    def learning(what: str) -> None:
        report({"phase": "hindsight", "learning": what})

    rng = np.random.default_rng(settings.seed)
    passages = [*_transcribed(model, config, source, augmenter, settings, rng, report)]
    if not passages:
        raise DataError("too few notes were found to learn from; give more passages, or longer ones")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        learning("ghosts")
        ghosts = learn_ghosts(passages, settings.networks, settings.ghost_hidden)
        passages = [one._replace(found=without_ghosts(one.found, ghosts)) for one in passages]
        passages = [one for one in passages if len(one.found) >= _FEWEST]
        frame = config.front_end.seconds_per_frame
        learning("endings")
        endings = learn_endings(passages, settings.ending_hidden, frame)
        passages = [with_endings(one, endings, frame) for one in passages]
        learning("offsets")
        offsets = learn_offsets(passages, settings.networks, settings.hidden, rng)
        learning("velocities")
        velocities = learn_velocities(passages, settings.networks, settings.velocity_hidden, rng)
        return Hindsight(ghosts, endings, offsets, velocities)


def _transcribed(
    model: Par,
    config: Config,
    source: Source,
    augmenter: Augmenter,
    settings: HindsightConfig,
    rng: np.random.Generator,
    report: Reporter,
) -> Iterator[Heard]:
    """What is found in each passage, and what there is."""
    rate, decode = config.front_end.sample_rate, replace(config.decode, drop_ghosts=True)
    for first in range(0, settings.passages, _AT_ONCE):
        count = min(_AT_ONCE, settings.passages - first)
        report({"phase": "hindsight", "passages_heard": first, "of": settings.passages})
        drawn_now = drawn(source, rate, count, settings.seconds, augmenter, rng)
        passages = [one for one in drawn_now if begun_between(listed(one.notes), 0.0, settings.seconds)]
        if not passages:
            continue
        held_out = hold_out(model, config, passages, settings.seconds)
        heard = zip(passages, held_out.features, found_in(held_out, decode), held_out.notes, strict=True)
        for passage, features, found, there in heard:
            if min(len(found), len(there)) >= _FEWEST:
                attacks = _attacks(passage, found, config.front_end)
                said = held_out.engine.to_numpy(features.note)[0]
                ends = ends_heard(said, found, config.front_end.seconds_per_frame)
                yield Heard(found, there, attacks, ends, {})


def _attacks(passage: Recording, found: Sequence[Note], front_end: FrontEndConfig) -> dict[Place, Attack]:
    """Those of what was found, measured in the audio."""
    places = [note.place for note in found]
    audio = floats(passage.audio[:]) * passage.gain(front_end)
    return dict(zip(places, attacks_of(audio, places, front_end.sample_rate, CONCERT_PITCH), strict=True))
