"""Decoding settings chosen on recordings that training does not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from ..config import Config, DecodeConfig
from ..decode import Frames, NoteCollector, decode, initial_state
from ..frontend import LogMel
from ..model import Features, Par
from ..note_io import without_overlaps
from ..notes import Note
from ..score import Score, average, score
from .data import Recording

_BIASES = (-1.0, -0.5, -0.25, 0.0, 0.25, 0.5)
_ONSET_BIASES: list[dict[str, Any]] = [{"onset_bias": bias, "reonset_bias": bias} for bias in _BIASES]
_OFFSET_BIASES: list[dict[str, Any]] = [{"offset_bias": bias} for bias in _BIASES]
_RESTRIKES: list[dict[str, Any]] = [{"restrike_frames": frames} for frames in (1, 2, 3)]


class Excerpt(NamedTuple):
    """The acoustic features of some seconds of a recording, and the notes that begin in them."""

    features: Features
    notes: list[Note]


class Calibration(NamedTuple):
    """The chosen settings, and the mean scores that they give."""

    settings: DecodeConfig
    score: Score


@torch.inference_mode()
def excerpts(
    model: Par, config: Config, recordings: Sequence[Recording], seconds: float = 30.0
) -> list[Excerpt]:
    """The beginning of each recording, ready to be decoded in many ways."""
    device = next(model.parameters()).device
    log_mel = LogMel(config.front_end).to(device)
    made = []
    for recording in recordings:
        samples = np.asarray(recording.audio[: round(seconds * config.front_end.sample_rate)], np.float32)
        mel = log_mel(torch.from_numpy(samples / 32768).to(device))
        end = len(samples) / config.front_end.sample_rate
        notes = [
            Note(onset, min(offset, end), int(pitch), int(velocity))
            for onset, offset, pitch, velocity in recording.notes.tolist()
            if onset < end - 0.05
        ]
        if notes:
            made.append(Excerpt(model.features(mel.unsqueeze(0)), notes))
    return made


def measure(model: Par, config: Config, held_out: Sequence[Excerpt], settings: DecodeConfig) -> Score:
    """Mean score of free-running decoding with these settings."""
    scores = []
    for features, notes in held_out:
        frames, _ = decode(model, features, initial_state(model), settings)
        scores.append(score(_notes(frames, config, settings), notes))
    return average(scores)


def calibrate(model: Par, config: Config, held_out: Sequence[Excerpt]) -> Calibration:
    """Choose the settings of decoding, one after the other, and at last a constant shift of the onsets.

    What is raised is the sum of the F1 of notes and of notes with offsets.

    Args:
        model: in evaluation mode.
        config: its front end and network.
        held_out: from `excerpts`.
    """

    def worth(settings: DecodeConfig) -> float:
        found = measure(model, config, held_out, settings)
        return found.note.f1 + found.note_offset.f1

    best, highest = DecodeConfig(), worth(DecodeConfig())
    for changes in (*_RESTRIKES, *_ONSET_BIASES, *_OFFSET_BIASES, *_ONSET_BIASES):
        changed = replace(best, **changes)
        if changed != best and (reached := worth(changed)) > highest:
            best, highest = changed, reached
    error = measure(model, config, held_out, best).median_onset_error or 0.0
    shifted = replace(best, onset_shift=round(-error, 4))
    return Calibration(shifted, measure(model, config, held_out, shifted))


def _notes(frames: Frames, config: Config, settings: DecodeConfig) -> list[Note]:
    collector = NoteCollector(config.front_end.seconds_per_frame, settings)
    return without_overlaps([*collector.push(frames), *collector.finish()])
