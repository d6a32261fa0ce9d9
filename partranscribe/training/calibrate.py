"""Free-running decoding of recordings that training does not see: to validate, and to choose settings."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from ..acoustic import acoustic, windows
from ..config import Config, DecodeConfig
from ..decode import Frames, NoteCollector, compiled_loop, decode_batch, initial_state
from ..errors import DataError
from ..frontend import LogMel
from ..model import Features, Par
from ..note_array import listed
from ..note_io import without_overlaps
from ..notes import Note
from ..score import Score, average, begun_between, score
from ..timings import Timings
from .data import Recording, floats

if TYPE_CHECKING:
    from ..openvino_decode import OpenVinoLoop

_BEGINNING = DecodeConfig(between_frames=True)
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
        features: of all, one batch; shorter recordings are followed by zeros.
        frames: how many are of each.
        seconds: how long each is.
        notes: that begin in each.
        config: of the model that made the features.
        loop: what decodes one piece after the other, in place of PyTorch.
    """

    features: Features
    frames: Sequence[int]
    seconds: Sequence[float]
    notes: Sequence[Sequence[Note]]
    config: Config
    loop: OpenVinoLoop | None

    def scores(self, decoded: Sequence[Frames], settings: DecodeConfig) -> Score:
        """Mean score of what was decoded."""
        pieces = zip(decoded, self.frames, self.seconds, self.notes, strict=True)
        scores = []
        for piece, count, seconds, wanted in pieces:
            collector = NoteCollector(self.config.front_end.seconds_per_frame, settings)
            found = [*collector.push(piece.part(slice(count))), *collector.finish()]
            scores.append(score(begun_between(without_overlaps(found), 0.0, seconds), wanted))
        return average(scores)


class Calibration(NamedTuple):
    """The chosen settings, and the mean scores that they give."""

    settings: DecodeConfig
    score: Score


@torch.inference_mode()
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
    device, rate, hop = (
        next(model.parameters()).device,
        config.front_end.sample_rate,
        config.front_end.hop_length,
    )
    log_mel, most = LogMel(config.front_end).to(device), round(seconds * rate)
    tail = config.model.margin_frames * hop + log_mel.half_window
    engine, timings = acoustic(model, device), Timings()
    features, frames, lengths, notes = [], [], [], []
    for recording in recordings:
        samples = min(len(recording.audio), most)
        begun = begun_between(listed(recording.notes), 0.0, samples / rate)
        if not begun:
            continue
        audio = floats(recording.audio[: samples + tail]) * recording.gain(config.front_end)
        mels = torch.split(log_mel(torch.from_numpy(audio).to(device)), _WINDOW_FRAMES)
        parts = engine.features(windows(mels, config.model.margin_frames), timings)
        frames.append(1 + samples // hop)
        features.append(
            Features(*(torch.cat(part, dim=1)[:, : frames[-1]] for part in zip(*parts, strict=True)))
        )
        lengths.append(samples / rate)
        notes.append(begun)
    if not features:
        fact = f"{recordings[0].name}: no note begins in the first {seconds:g} s, nor in those of any other"
        raise DataError(f"{fact} that is held out; hold out another")
    padded = [
        Features(*(F.pad(part, (0, 0, 0, 0, 0, max(frames) - count)) for part in piece))
        for piece, count in zip(features, frames, strict=True)
    ]
    batch = Features(*(torch.cat(parts) for parts in zip(*padded, strict=True)))
    loop = compiled_loop(model) if engine.name == "openvino" else None
    return HeldOut(batch, frames, lengths, notes, config, loop)


def measure(model: Par, held_out: HeldOut, settings: DecodeConfig) -> Score:
    """Mean score of free-running decoding with these settings."""
    return held_out.scores(_decoded(model, held_out, settings), settings)


def _decoded(model: Par, held_out: HeldOut, settings: DecodeConfig) -> list[Frames]:
    loop = held_out.loop
    together, threads = (_TOGETHER, 1) if loop is None else (1, torch.get_num_threads())
    groups = zip(*(torch.split(part, together) for part in held_out.features), strict=True)

    def decode(group: tuple[torch.Tensor, ...]) -> list[Frames]:
        features = Features(*group)
        return decode_batch(model, features, initial_state(model, len(features.note)), settings, loop=loop)[0]

    with ThreadPoolExecutor(threads) as pool:
        return [frames for some in pool.map(decode, groups) for frames in some]


def validate_quickly(model: Par, held_out: HeldOut) -> Score:
    """Mean score at the best of a few settings: unsure offsets come late without a bias.

    Args:
        model: in evaluation mode.
        held_out: from `hold_out`.
    """
    tried = (replace(_BEGINNING, restrike_frames=2, offset_bias=bias) for bias in (0.0, 0.5, 1.0))
    return max((measure(model, held_out, settings) for settings in tried), key=_worth)


def _worth(score: Score) -> float:
    """What is raised."""
    return score.note.f1 + score.note_offset.f1


def calibrate(model: Par, held_out: HeldOut, others: Sequence[HeldOut] = ()) -> Calibration:
    """Choose the settings of decoding, one after the other, at last how sure and how late offsets are.

    What is raised is the sum of the F1 of notes and of notes with offsets. When an offset is heard depends on
    the room: settings that suit a lively one end notes far too early in a dry one. So the last choices, of
    all biases in smaller steps, are made on recordings of several kinds, each of which counts the same.

    Args:
        model: in evaluation mode.
        held_out: from `hold_out`.
        others: of other kinds, which may have been trained on.
    """
    best, sets = _BEGINNING, [held_out, *others]
    highest = _worth(measure(model, held_out, best))
    for changes in (*_RESTRIKES, *_OFFSET_BIASES, *_ONSET_BIASES, *_RESTRIKES, *_OFFSET_BIASES):
        changed = replace(best, **changes)
        if changed == best:
            continue
        if (reached := _worth(measure(model, held_out, changed))) > highest:
            best, highest = changed, reached
    onsets = _with_best_onsets(model, sets, best)
    error = onsets.score.median_onset_error or 0.0
    return _with_best_offsets(model, sets, replace(onsets.settings, onset_shift=round(-error, 4)))


class _Found(NamedTuple):
    """Settings, what they are worth over all sets, and the score on the first."""

    settings: DecodeConfig
    worth: float
    score: Score


def _found(settings: DecodeConfig, scores: Sequence[Score]) -> _Found:
    return _Found(settings, float(np.mean([_worth(score) for score in scores])), scores[0])


def _with_best_onsets(model: Par, sets: Sequence[HeldOut], settings: DecodeConfig) -> _Found:
    """The settings with the best bias of onsets and re-onsets, found step by step from the biases there."""

    def biased(steps: int) -> _Found:
        by = steps * _BIAS_STEP
        changed = replace(
            settings, onset_bias=settings.onset_bias + by, reonset_bias=settings.reonset_bias + by
        )
        return _found(changed, [measure(model, one, changed) for one in sets])

    return _climb(biased)


def _with_best_offsets(model: Par, sets: Sequence[HeldOut], settings: DecodeConfig) -> Calibration:
    """The settings with the best bias and shift of offsets, found step by step from the bias there."""

    def biased(steps: int) -> _Found:
        changed = replace(settings, offset_bias=settings.offset_bias + steps * _BIAS_STEP)
        decoded = [_decoded(model, one, changed) for one in sets]

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
