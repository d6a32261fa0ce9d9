"""Calibration finds the settings with which the references were made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import TINY, decode, swelling_noise
from partranscribe.config import DecodeConfig
from partranscribe.errors import DataError
from partranscribe.frames import NoteCollector
from partranscribe.model import Par
from partranscribe.note_array import note_array
from partranscribe.note_io import without_overlaps
from partranscribe.notes import Note
from partranscribe.score import average
from partranscribe.torch_decode import initial_state
from partranscribe.torch_frontend import TorchLogMel
from partranscribe.training.calibrate import calibrate, found_in, hold_out, measure, validate_quickly
from partranscribe.training.data import Recording

RATE = 16_000


def heard(model: Par, audio: torch.Tensor, settings: DecodeConfig) -> list[Note]:
    """What the model hears with these settings."""
    with torch.inference_mode():
        features = model.features(TorchLogMel(TINY.front_end)(audio).unsqueeze(0))
    frames, _ = decode(model, features, initial_state(model), settings)
    collector = NoteCollector(TINY.front_end.seconds_per_frame, settings)
    return without_overlaps([*collector.push(frames), *collector.finish()])


def recordings(model: Par, settings: DecodeConfig) -> list[Recording]:
    """Noise of 3 s and of 2 s, labelled with what the model hears in it, between frames."""
    settings = replace(settings, between_frames=True)
    found = []
    for seed, seconds in ((3, 3), (4, 2)):
        integers = np.round(swelling_noise(seed, seconds * RATE) * 32767 * 0.9).astype(np.int16)
        notes = heard(model, torch.from_numpy(integers.astype(np.float32) / 32768), settings)
        found.append(Recording(str(seed), integers, note_array(notes)))
    return found


def test_recordings_of_several_lengths_are_measured_as_each_by_itself(lively: Par) -> None:
    settings = DecodeConfig(restrike_frames=2)
    pieces = recordings(lively, settings)
    each = [measure(hold_out(lively, TINY, [piece]), settings) for piece in pieces]
    assert measure(hold_out(lively, TINY, pieces), settings) == average(each)
    assert all(score.note.recall == 1.0 for score in each)  # what begins at the very end is not asked for


def test_velocities_are_measured_as_they_are_heard(lively: Par) -> None:
    pieces = recordings(lively, DecodeConfig())
    held_out = hold_out(lively, TINY, pieces)
    as_heard = measure(held_out, DecodeConfig(between_frames=True))
    evened = measure(held_out, DecodeConfig(between_frames=True, even_velocities=True))
    assert as_heard.note_offset == evened.note_offset
    assert as_heard.note_offset_velocity is not None
    assert as_heard.note_offset_velocity.f1 > 0.99  # than which no other velocities are as near
    assert evened == as_heard  # what no setting of calibration changes is left as it was heard


def test_recordings_whose_beginnings_are_silent_are_named(lively: Par) -> None:
    later, pieces = np.array((30, 30, 0, 0)), recordings(lively, DecodeConfig())
    pieces = [replace(piece, notes=piece.notes + later) for piece in pieces]
    with pytest.raises(DataError, match=r"^3: no note begins in the first 30 s, nor in those of any other"):
        hold_out(lively, TINY, pieces)


def test_only_the_beginnings_count(lively: Par) -> None:
    settings = DecodeConfig()
    (piece, _) = recordings(lively, settings)
    held_out = hold_out(lively, TINY, [piece], seconds=1.0)
    (notes,) = held_out.notes
    assert 0 < len(notes) < len(piece.notes)
    assert max(note.onset for note in notes) < 1.0
    assert max(note.offset for note in notes) <= 1.0
    assert piece.notes[:, 1].max() > 1.0


@pytest.mark.parametrize(
    "changes",
    [{"restrike_frames": 3}, {"onset_bias": -0.5, "reonset_bias": -0.5}, {"offset_bias": 0.5}],
)
def test_the_settings_behind_the_references_are_found(lively: Par, changes: dict[str, float]) -> None:
    wanted = replace(DecodeConfig(), **changes)  # type: ignore[arg-type]
    pieces = recordings(lively, wanted)
    # With another engine, or in other windows, a note may begin or not where two logits nearly tie.
    notes = found_in(hold_out(lively, TINY, pieces), replace(wanted, between_frames=True))
    pieces = [replace(piece, notes=note_array(found)) for piece, found in zip(pieces, notes, strict=True)]
    plain = measure(hold_out(lively, TINY, pieces), DecodeConfig(between_frames=True))
    found = calibrate(hold_out(lively, TINY, pieces))
    assert found.settings.between_frames
    assert found.settings.even_velocities
    assert found.score.note.recall == found.score.note_offset.recall == 1.0
    assert plain.note_offset.f1 < found.score.note_offset.f1 - 0.01
    for name, value in changes.items():
        assert getattr(found.settings, name) == value


def test_offsets_are_those_of_all_kinds_of_recordings(lively: Par) -> None:
    early, late = (recordings(lively, DecodeConfig(offset_bias=bias)) for bias in (0.75, -0.25))
    held_out = hold_out(lively, TINY, early)
    alone = calibrate(held_out)
    assert calibrate(held_out, [hold_out(lively, TINY, early)]) == alone
    both = calibrate(held_out, [hold_out(lively, TINY, late)] * 3)
    assert both.settings.offset_bias < alone.settings.offset_bias
    assert both.score == measure(held_out, both.settings)
    assert both.score.note_offset.f1 < alone.score.note_offset.f1


def test_onsets_are_those_of_all_kinds_of_recordings(lively: Par) -> None:
    fewer, more = (
        recordings(lively, DecodeConfig(onset_bias=bias, reonset_bias=bias)) for bias in (-0.5, 0.25)
    )
    held_out = hold_out(lively, TINY, fewer)
    assert calibrate(held_out).settings.onset_bias == -0.5
    both = calibrate(held_out, [hold_out(lively, TINY, more)] * 3).settings
    assert both.onset_bias > -0.5
    assert both.onset_bias == both.reonset_bias


def test_a_quick_validation_takes_the_better_of_its_settings(lively: Par) -> None:
    pieces = recordings(lively, DecodeConfig(restrike_frames=2, offset_bias=0.5))
    score = validate_quickly(hold_out(lively, TINY, pieces))
    assert score.note_offset.recall == 1.0
    settings = DecodeConfig(restrike_frames=2, between_frames=True)
    plain = measure(hold_out(lively, TINY, pieces), settings)
    assert plain.note_offset.f1 < score.note_offset.f1


def test_constant_errors_of_the_times_are_taken_out(lively: Par) -> None:
    pieces = [
        replace(piece, notes=piece.notes + np.array((0.02, 0.02, 0, 0)))
        for piece in recordings(lively, DecodeConfig())
    ]
    found = calibrate(hold_out(lively, TINY, pieces))
    assert found.settings.onset_shift == pytest.approx(0.02, abs=1e-3)
    assert found.score.median_onset_error == pytest.approx(0.0, abs=1e-3)
    assert found.settings.offset_shift >= 0
