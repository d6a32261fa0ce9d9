"""Passages of performances, played on sampled and on modelled pianos as they are asked for."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from ..audio import AUDIO_SUFFIXES
from ..errors import DataError
from ..loudness import gain_to
from ..note_array import OFFSET_COLUMN, VELOCITY_COLUMN
from ..notes import PEDAL_THRESHOLD
from ..remote import files_below
from ..sampler import Instrument, SamplerSettings, load_instrument
from .action import action_noise, knocks
from .coding import through_opus
from .data import Passage, fingerprint
from .modelled import numbered_piano
from .resonance import strings_response
from .synthesis import (
    HALF_PEDAL,
    Performance,
    half_pedalled,
    load_performance,
    pedal_held,
    pedalled,
    render_excerpt,
    vary,
    vary_instrument,
)

_ACTIONS = 20  # that sound each in its own way
_RESPONSES = 8  # of strings, each out of tune in its own way
_LOUDEST_DB = -30.0  # RMS of one note of velocity 127 a second
_SOFTER_BY_DECAY = 0.13  # decibels for every decibel a second of faster decay


@dataclass(frozen=True)
class PlayedConfig:
    """How performances are played for training.

    Args:
        share: of the passages that are performances.
        note_list_share: of those that are note lists of recordings, whose notes last as long as their pedal
            did; the passages that are left are cut from recordings.
        modelled: how many pianos that were never built are added, see `modelled.numbered_piano`.
        modelled_share: of the passages that are played on those, if there are any.
        pedal_share: of the note lists that are played with a pedal, see `synthesis.pedalled`; the others are
            played without one.
        half_pedal_share: of the others that are played with a pedal that is too high to count, see
            `synthesis.half_pedalled`.
        half_pedal: range of the value of that pedal, up to 63.
        pedal_pause: range of the seconds from where their notes end until that pedal is pressed again.
        transpose: semitones at most, up or down.
        tempo: range of the factor of the tempo.
        touch: range of the exponent of velocity / 127; the velocity network is trained at 1.
        undamped_from: range of the lowest pitch without a damper.
        slowness, damper_delay: ranges of how slowly a damper silences a string, and of the seconds until it
            touches it, see `SamplerSettings`; what is drawn below 0 is prompt. The software pianos of MAPS
            fall by 5 to 9 dB within 0.1 s of an offset, sampled ones with a slowness of 1 by 16 to 25
            (benchmarks/damping.py).
        lift: range of the share of damper_delay after which a press of the pedal lifts the dampers.
        pedal_depth: range of the value of the pedal, 0..127, from which on it has lifted them.
        pedal_play: range of how far below that it begins to lift them.
        unevenness_db: standard deviation of the loudness of the keys; 1 dB is as much as a velocity of 5.
        extra_decay: range of the decibels a second by which strings fall faster than those that were sampled.
        resonance_db: range of the energy of what all strings answer to an impulse while the pedal is down, in
            decibels; what they answer to a tone is some 20 dB louder.
        action_share: of what is played that has the noise of keys and pedal as they go back up.
        action_db: range of its level: of the largest sample of a knock, where middle C has an RMS of -24 at
            velocity 127, and of -37 at 64.
        opus_share: of what is played that is kept as Opus, see `coding.through_opus`. Where recordings were
            and what is played was not, a network knows the two by that, and takes a recording of a real
            piano that was never coded for one that is played.
    """

    share: float = 0.5
    note_list_share: float = 0.0
    modelled: int = 0
    modelled_share: float = 0.5
    pedal_share: float = 0.0
    half_pedal_share: float = 0.0
    half_pedal: tuple[float, float] = HALF_PEDAL
    pedal_pause: tuple[float, float] = (0.01, 0.1)
    transpose: int = 5
    tempo: tuple[float, float] = (0.8, 1.25)
    touch: tuple[float, float] = (0.7, 1.4)
    undamped_from: tuple[int, int] = (88, 93)
    slowness: tuple[float, float] = (1.0, 6.0)
    damper_delay: tuple[float, float] = (0.0, 0.06)
    lift: tuple[float, float] = (1.0, 1.0)
    pedal_depth: tuple[float, float] = (float(PEDAL_THRESHOLD), float(PEDAL_THRESHOLD))
    pedal_play: tuple[float, float] = (0.0, 0.0)
    unevenness_db: float = 0.3
    extra_decay: tuple[float, float] = (0.0, 6.0)
    resonance_db: tuple[float, float] = (-50.0, -24.0)
    action_share: float = 0.0
    action_db: tuple[float, float] = (-85.0, -40.0)
    opus_share: float = 0.0

    def __post_init__(self) -> None:
        if min(self.share, self.note_list_share, self.cut_share) < 0:
            fact = f"share {self.share} and note_list_share {self.note_list_share}"
            raise ValueError(f"{fact} are not from 0 on, or are more than 1 together")
        if self.modelled < 0 or not 0 <= self.modelled_share <= 1:
            fact = f"modelled {self.modelled} and modelled_share {self.modelled_share}"
            raise ValueError(f"{fact}: give a number of pianos from 0 on, and a share of 0 to 1")

    @property
    def cut_share(self) -> float:
        """Of the passages that are cut from recordings."""
        return 1 - (self.share + self.note_list_share)  # 1 - 0.9 - 0.1 would be below zero


def expected_loudness(performance: Performance, settings: SamplerSettings) -> float:
    """`loudness` of a performance, to 1 dB on five sampled pianos, from how many notes are how loud."""
    decibels = settings.decibels_per_velocity * (performance.keys[:, VELOCITY_COLUMN] - 127)
    loudest = _LOUDEST_DB - _SOFTER_BY_DECAY * settings.extra_decay
    return float(loudest + 10 * np.log10(np.sum(10 ** (decibels / 10)) / performance.seconds))


@functools.cache
def _strings(sample_rate: int) -> list[NDArray[np.float32]]:
    """Responses of the strings of eight pianos."""
    rng = np.random.default_rng(0)
    return [strings_response(rng, sample_rate) for _ in range(_RESPONSES)]


@functools.cache
def _actions(sample_rate: int) -> list[NDArray[np.float32]]:
    """Knocks of the actions of twenty pianos."""
    rng = np.random.default_rng(0)
    return [knocks(rng, sample_rate) for _ in range(_ACTIONS)]


class Played:
    """Passages of performances, each drawn in proportion to its length, on any instrument.

    Args:
        performances: what is played.
        instruments: on what, beside the modelled pianos of the settings.
        settings: how.
        level: RMS in decibels of each performance as a whole, as far as its notes tell; 0 for as loud as the
            instruments are.
    """

    def __init__(
        self,
        performances: Sequence[Performance],
        instruments: Sequence[Instrument],
        settings: PlayedConfig,
        level: float = 0.0,
    ) -> None:
        self._performances, self._instruments, self._settings = performances, instruments, settings
        self._level = level
        lengths = np.array([performance.seconds for performance in performances])
        self._odds = lengths / lengths.sum()
        rate = instruments[0].sample_rate
        self._modelled = [numbered_piano(number, rate) for number in range(settings.modelled)]
        self._strings, self._actions = _strings(rate), _actions(rate)

    def draw(self, samples: int, lead: int, rng: np.random.Generator) -> Passage:
        """See `Source.draw`."""
        settings = self._settings
        performance = self._performances[rng.choice(len(self._performances), p=self._odds)]
        performance = vary(
            performance,
            rng,
            transpose=settings.transpose,
            tempo=settings.tempo,
            exponent=settings.touch,
        )
        is_list = not len(performance.pedal)
        if is_list and settings.pedal_share > 0 and rng.random() < settings.pedal_share:
            performance = pedalled(performance, rng, settings.pedal_pause)
        elif is_list and settings.half_pedal_share > 0 and rng.random() < settings.half_pedal_share:
            performance = half_pedalled(performance, rng, settings.half_pedal)
        is_modelled = bool(self._modelled) and rng.random() < settings.modelled_share
        instruments = self._modelled if is_modelled else self._instruments
        instrument = instruments[int(rng.integers(len(instruments)))]
        rate = instrument.sample_rate
        begin = rng.uniform(-lead / rate, max(performance.seconds - samples / 2 / rate, 0.0))
        lowest, highest = settings.undamped_from
        sampler = SamplerSettings(undamped_from=int(rng.integers(lowest, highest + 1)))
        sampler = vary_instrument(
            instrument,
            rng,
            sampler,
            unevenness_db=settings.unevenness_db,
            slowness=settings.slowness,
            damper_delay=settings.damper_delay,
            extra_decay=settings.extra_decay,
            lift=settings.lift,
            pedal_depth=settings.pedal_depth,
            pedal_play=settings.pedal_play,
        )
        strings = self._strings[int(rng.integers(len(self._strings)))]
        strings = strings * np.float32(10 ** (rng.uniform(*settings.resonance_db) / 20))
        audio, notes = render_excerpt(performance, instrument, begin, samples, sampler, strings)
        if settings.action_share > 0 and rng.random() < settings.action_share:
            releases = pedal_held(performance, sampler.pedal_depth)[:, 1]
            ups = np.concatenate((performance.keys[:, OFFSET_COLUMN], releases)) - begin
            knocked = self._actions[int(rng.integers(len(self._actions)))]
            audio += action_noise(ups, knocked, samples, rate, rng.uniform(*settings.action_db), rng)
        if self._level != 0:
            audio *= np.float32(gain_to(self._level, expected_loudness(performance, sampler)))
        if rng.random() < settings.opus_share:
            audio = through_opus(audio, rate)
        return Passage(audio, notes)


def midi_files(folder: Path) -> list[Path]:
    """Those of a folder and below, in the order of their names."""
    return [folder / path for path in files_below(folder, (".mid", ".midi"))]


def load_performances(folder: Path, cache: Path) -> list[Performance]:
    """The MIDI files of a folder and below, in the order of their names.

    Args:
        folder: MIDI files.
        cache: where they are kept between runs in one file, as reading them takes long.
    """
    paths = midi_files(folder)
    stored = cache / f"performances-{fingerprint(paths)}.npz"
    if not stored.exists():
        performances = [load_performance(path) for path in paths]
        arrays = {f"keys{i}": performance.keys for i, performance in enumerate(performances)}
        arrays |= {f"pedal{i}": performance.pedal for i, performance in enumerate(performances)}
        stored.parent.mkdir(parents=True, exist_ok=True)
        partial = stored.with_suffix(".part.npz")
        np.savez(partial, **arrays)  # type: ignore[arg-type]
        partial.rename(stored)
    with np.load(stored) as kept:
        read = [Performance(kept[f"keys{i}"], kept[f"pedal{i}"]) for i in range(len(paths))]
    return [performance for performance in read if len(performance.keys)]


def load_instruments(folder: Path, sample_rate: int) -> list[Instrument]:
    """The sampled pianos of a folder, each a table with a sound file of the same name beside it.

    Raises:
        DataError: there is none, or one of them cannot be read.
    """
    found = [
        _load_instrument(audio, table, sample_rate)
        for table in sorted(folder.glob("*.csv"))
        for audio in sorted(folder.iterdir())
        if audio.stem == table.stem and audio.suffix.lower() in AUDIO_SUFFIXES
    ]
    if not found:
        fact = f"{folder}: no sampled piano there, which is a table beside a sound file of its name"
        raise DataError(f"{fact}; is the path right?")
    return found


def _load_instrument(audio: Path, table: Path, sample_rate: int) -> Instrument:
    try:
        return load_instrument(audio, table, sample_rate)
    except (OSError, soundfile.SoundFileError, KeyError, ValueError) as error:
        fact = f"{type(error).__name__}: {error}"
        wrong = f"{table}: no piano can be made of it and {audio.name}"
        raise DataError(f"{wrong} ({fact}); correct them") from error
