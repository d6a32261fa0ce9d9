"""Free-running decoding of recordings that training does not see: to validate, and to choose settings."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..config import Config, DecodeConfig
from ..engine import Engine, engine_for, side_by_side
from ..errors import DataError
from ..frames import Frames, NoteCollector
from ..frontend import Spans
from ..model import Par, weights_of
from ..note_array import listed
from ..note_io import without_overlaps
from ..notes import Note
from ..score import Score, average, begun_between, score
from ..timings import Timings
from ..tuning import CONCERT_PITCH
from ..windows import Features, WindowCutter, windows
from .data import Recording, floats
from .logs import Reporter, silent

_BEGINNING = DecodeConfig(between_frames=True, even_velocities=True)
_ONSET_BIASES: list[dict[str, Any]] = [
    {"onset_bias": bias, "reonset_bias": bias} for bias in (-1.0, -0.5, -0.25, 0.0, 0.25, 0.5)
]
_OFFSET_BIASES: list[dict[str, Any]] = [
    {"offset_bias": bias} for bias in (-0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
]
_RESTRIKES: list[dict[str, Any]] = [{"restrike_frames": frames} for frames in (1, 2, 3)]
_BIAS_STEP = 0.125  # between biases, at last
_SHIFT_STEP = 0.008  # seconds; a quarter of a frame
_WINDOW_FRAMES = 96  # whose features are computed at once
_TOGETHER = 8  # recordings that are decoded side by side; more take much memory


@dataclass(frozen=True)
class HeldOut:
    """The beginnings of recordings, ready to be decoded in many ways.

    Args:
        engine: what decodes them.
        features: of each.
        seconds: how long each is.
        notes: that begin in each.
        config: of the network.
    """

    engine: Engine
    features: Sequence[Features]
    seconds: Sequence[float]
    notes: Sequence[Sequence[Note]]
    config: Config

    def found(self, decoded: Sequence[Frames], settings: DecodeConfig) -> list[list[Note]]:
        """The notes of each, as they were heard one by one."""
        found = []
        for frames, seconds in zip(decoded, self.seconds, strict=True):
            collector = NoteCollector(self.config.front_end.seconds_per_frame, settings)
            notes = without_overlaps([*collector.push(frames), *collector.finish()])
            found.append(begun_between(notes, 0.0, seconds))
        return found

    def scores(self, decoded: Sequence[Frames], settings: DecodeConfig) -> Score:
        """Mean score of what was decoded, before velocities are evened or offsets chosen."""
        return average([score(*pair) for pair in zip(self.found(decoded, settings), self.notes, strict=True)])


class Calibration(NamedTuple):
    """The chosen settings, and the mean scores that they give."""

    settings: DecodeConfig
    score: Score


def hold_out(model: Par, config: Config, recordings: Sequence[Recording], seconds: float = 30.0) -> HeldOut:
    """The beginnings of recordings, as far as notes begin in them; what follows is heard, as in decoding.

    Args:
        model: in evaluation mode.
        config: its front end and network.
        recordings: one or more.
        seconds: of each.

    Raises:
        DataError: no note begins in any of them.
    """
    front_end = config.front_end
    rate, most = front_end.sample_rate, round(seconds * front_end.sample_rate)
    tail = config.model.margin_frames * front_end.hop_length + front_end.n_fft // 2
    device = next(model.parameters()).device
    engine = engine_for(config, weights_of(model), device=str(device), threads=torch.get_num_threads())
    features, lengths, notes = [], [], []
    for recording in recordings:
        samples = min(len(recording.audio), most)
        begun = begun_between(listed(recording.notes), 0.0, samples / rate)
        if not begun:
            continue
        audio = floats(recording.audio[: samples + tail]) * recording.gain(front_end)
        heard, frames = _features(engine, config, audio), 1 + samples // front_end.hop_length
        features.append(Features(*(part[:, :frames] for part in heard)))
        lengths.append(samples / rate)
        notes.append(begun)
    if not features:
        fact = f"{recordings[0].name}: no note begins in the first {seconds:g} s, nor in those of any other"
        raise DataError(f"{fact} that is held out; hold out another")
    return HeldOut(engine, features, lengths, notes, config)


def _features(engine: Engine, config: Config, audio: NDArray[np.float32]) -> Features:
    """Of a whole recording."""
    spans = Spans(config.front_end, _WINDOW_FRAMES)
    mels = (
        engine.mels([span], CONCERT_PITCH)[0] for span in itertools.chain(spans.push(audio), spans.finish())
    )
    cut = windows(mels, WindowCutter(config.model.margin_frames, engine.join))
    parts = engine.features(cut, Timings())
    return Features(*(engine.join(part, 1) for part in zip(*parts, strict=True)))


def measure(held_out: HeldOut, settings: DecodeConfig) -> Score:
    """Mean score of free-running decoding with these settings."""
    return held_out.scores(_decoded(held_out, settings), settings)


def found_in(held_out: HeldOut, settings: DecodeConfig) -> list[list[Note]]:
    """The notes that free-running decoding with these settings finds in each, as they were heard."""
    return held_out.found(_decoded(held_out, settings), settings)


def _decoded(held_out: HeldOut, settings: DecodeConfig) -> list[Frames]:
    engine, features = held_out.engine, held_out.features
    together, threads = (_TOGETHER, 1) if engine.name == "torch" else (1, torch.get_num_threads())
    groups = [features[first : first + together] for first in range(0, len(features), together)]

    def decode(group: Sequence[Features]) -> list[Frames]:
        lengths = [piece.note.shape[1] for piece in group]
        batch = group[0]
        if len(group) > 1:
            batch = side_by_side(engine, dict(enumerate(group)), len(group), max(lengths))
        found, _ = engine.begin_decoding(batch, engine.initial_state(len(group)), settings)
        return [frames.part(slice(length)) for frames, length in zip(found.wait(), lengths, strict=True)]

    with ThreadPoolExecutor(threads) as pool:
        return [frames for some in pool.map(decode, groups) for frames in some]


def validate_quickly(held_out: HeldOut) -> Score:
    """Mean score at the best of a few settings: unsure offsets come late without a bias.

    Args:
        held_out: from `hold_out`.
    """
    tried = (replace(_BEGINNING, restrike_frames=2, offset_bias=bias) for bias in (0.0, 0.5, 1.0))
    return max((measure(held_out, settings) for settings in tried), key=_worth)


def _worth(score: Score) -> float:
    """What is raised."""
    return score.note.f1 + score.note_offset.f1


def calibrate(held_out: HeldOut, others: Sequence[HeldOut] = (), report: Reporter = silent) -> Calibration:
    """Choose the settings of decoding, one after the other, at last how sure and how late offsets are.

    What is raised is the sum of the F1 of notes and of notes with offsets. When an offset is heard depends on
    the room: settings that suit a lively one end notes far too early in a dry one. So the last choices, of
    all biases in smaller steps, are made on recordings of several kinds, each of which counts the same.

    Args:
        held_out: from `hold_out`.
        others: of other kinds, which may have been trained on.
        report: is told of each trial before it is made.
    """
    trials = itertools.count(1)

    def tell(trying: DecodeConfig) -> None:
        biases = {"onset_bias": trying.onset_bias, "offset_bias": trying.offset_bias}
        report({"phase": "calibrating", "trial": next(trials), **biases})

    best, sets = _BEGINNING, [held_out, *others]
    highest = _worth(measure(held_out, best))
    for changes in (*_RESTRIKES, *_OFFSET_BIASES, *_ONSET_BIASES, *_RESTRIKES, *_OFFSET_BIASES):
        changed = replace(best, **changes)
        if changed == best:
            continue
        tell(changed)
        if (reached := _worth(measure(held_out, changed))) > highest:
            best, highest = changed, reached
    onsets = _with_best_onsets(sets, best, tell)
    error = onsets.score.median_onset_error or 0.0
    return _with_best_offsets(sets, replace(onsets.settings, onset_shift=round(-error, 4)), tell)


class _Found(NamedTuple):
    """Settings, what they are worth over all sets, and the score on the first."""

    settings: DecodeConfig
    worth: float
    score: Score


def _found(settings: DecodeConfig, scores: Sequence[Score]) -> _Found:
    return _Found(settings, float(np.mean([_worth(score) for score in scores])), scores[0])


def _with_best_onsets(
    sets: Sequence[HeldOut], settings: DecodeConfig, tell: Callable[[DecodeConfig], None]
) -> _Found:
    """The settings with the best bias of onsets and re-onsets, found step by step from the biases there."""

    def biased(steps: int) -> _Found:
        by = steps * _BIAS_STEP
        changed = replace(
            settings, onset_bias=settings.onset_bias + by, reonset_bias=settings.reonset_bias + by
        )
        tell(changed)
        return _found(changed, [measure(one, changed) for one in sets])

    return _climb(biased)


def _with_best_offsets(
    sets: Sequence[HeldOut], settings: DecodeConfig, tell: Callable[[DecodeConfig], None]
) -> Calibration:
    """The settings with the best bias and shift of offsets, found step by step from the bias there."""

    def biased(steps: int) -> _Found:
        changed = replace(settings, offset_bias=settings.offset_bias + steps * _BIAS_STEP)
        tell(changed)
        decoded = [_decoded(one, changed) for one in sets]

        def shifted(steps: int) -> _Found:
            tried = replace(changed, offset_shift=round(steps * _SHIFT_STEP, 4))
            pairs = zip(sets, decoded, strict=True)
            return _found(tried, [one.scores(frames, tried) for one, frames in pairs])

        return _climb(shifted)

    best = _climb(biased)
    return Calibration(best.settings, best.score)


def _climb(at: Callable[[int], _Found]) -> _Found:
    """What is found by going from step 0 to better neighbours while there are any."""
    known = functools.cache(at)
    here = 0
    while (better := max((here, here - 1, here + 1), key=lambda step: known(step).worth)) != here:
        here = better
    return known(here)
