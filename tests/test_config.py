"""Settings: what they derive, what they refuse, and how they travel through JSON."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from partranscribe.config import (
    PAR,
    PAR_COMPACT,
    Config,
    DecodeConfig,
    FrontEndConfig,
    ModelConfig,
    settings_from_dict,
)
from partranscribe.training.train_config import TrainConfig

CHANGED = Config(
    FrontEndConfig(n_mels=64, f_max=7000.0),
    ModelConfig(
        head="compact",
        time_widths=(3, 1, 3, 1, 1, 5),
        film=False,
        pitchwise=False,
        context="state",
        n_mels=64,
    ),
    DecodeConfig(onset_bias=-0.5, offset_shift=0.01),
)


def test_a_frame_lasts_32_ms() -> None:
    front_end = FrontEndConfig()
    assert front_end.frames_per_second == 31.25
    assert front_end.seconds_per_frame == 0.032


@pytest.mark.parametrize(
    ("widths", "margin"),
    [((3,) * 6, 6), ((1,) * 6, 0), ((3, 1, 3, 1, 1, 1), 2), ((5, 3, 1, 1, 1, 7), 6)],
)
def test_the_margin_is_half_of_every_width(widths: tuple[int, ...], margin: int) -> None:
    assert ModelConfig(time_widths=widths).margin_frames == margin


@pytest.mark.parametrize(("mels", "pooled"), [(700, 175), (64, 16), (67, 16), (4, 1)])
def test_two_pools_leave_a_quarter_of_the_mel_bins(mels: int, pooled: int) -> None:
    assert ModelConfig(n_mels=mels).pooled_mels == pooled


def test_five_seconds_are_157_frames() -> None:
    assert ModelConfig().max_duration_frames == math.ceil(5 * FrontEndConfig().frames_per_second)


def test_the_two_models_of_the_paper_differ_in_the_head_alone() -> None:
    assert replace(PAR, head="compact") == PAR_COMPACT
    assert PAR.head == "full"


def test_settings_are_frozen_and_varied_by_copy() -> None:
    settings = DecodeConfig()
    with pytest.raises(FrozenInstanceError):
        settings.onset_bias = 1.0  # type: ignore[misc]
    assert replace(settings, onset_bias=0.5).onset_bias == 0.5
    assert settings.onset_bias == 0.0


@pytest.mark.parametrize("config", [Config(), CHANGED])
def test_json_gives_the_same_settings_back(config: Config) -> None:
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_what_is_not_said_has_its_default() -> None:
    assert Config.from_dict({}) == Config()
    assert Config.from_dict({"model": {"head": "compact"}}) == Config(model=PAR_COMPACT)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"head": "tiny"}, "head 'tiny' is none of full, compact"),
        ({"context": "all"}, "context 'all' is none of enhanced, state, none"),
        ({"time_widths": (3, 3, 3)}, "not six odd numbers"),
        ({"time_widths": (3, 3, 3, 3, 3, 2)}, "not six odd numbers"),
        ({"time_widths": (3, 3, 3, 3, 3, -1)}, "not six odd numbers"),
        ({"time_widths": ("3", 3, 3, 3, 3, 3)}, "not six odd numbers"),
        ({"time_widths": (3.0, 3, 3, 3, 3, 3)}, "not six odd numbers"),
        ({"cnn_units": 0}, "at least one unit"),
        ({"lstm_units": -1}, "at least one unit"),
        ({"hidden_per_pitch": 0}, "at least one unit"),
        ({"n_mels": 3}, "are not 4 to 2048"),
        ({"max_duration_frames": 0}, "max_duration_frames"),
    ],
)
def test_a_network_that_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hop_length": 0}, "are not all at least one"),
        ({"n_fft": -1}, "are not all at least one"),
        ({"sample_rate": 0}, "are not all at least one"),
        ({"n_mels": 0}, "are not all at least one"),
        ({"sample_rate": 10**7}, "a million samples a second at most"),
        ({"n_fft": 10**6}, "windows of 32768"),
        ({"hop_length": 10**6}, "windows of 32768"),
        ({"f_min": 9000.0}, "are not a range of frequencies"),
        ({"f_max": math.nan}, "are not a range of frequencies"),
        ({"power_floor": 0.0}, "power_floor 0.0 is not above zero"),
    ],
)
def test_a_front_end_that_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FrontEndConfig(**settings)


def test_front_end_and_network_agree_on_the_mel_bins() -> None:
    with pytest.raises(ValueError, match="the front end makes 64 mel bins and the model takes 700"):
        Config(FrontEndConfig(n_mels=64))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"modell": {}}, "unknown section modell"),
        ({"model": {"cnn": 4}}, "unknown setting 'cnn'; known are head, cnn_units"),
        ({"model": {"cnn_units": "4"}}, "'cnn_units' is '4', and int is needed"),
        ({"model": {"cnn_units": 4.5}}, "'cnn_units' is 4.5, and int is needed"),
        ({"model": {"cnn_units": True}}, "'cnn_units' is True, and int is needed"),
        ({"model": {"film": 1}}, "'film' is 1, and bool is needed"),
        ({"model": {"head": None}}, "'head' is None, and str is needed"),
        ({"model": {"time_widths": 3}}, "'time_widths' is 3, and tuple is needed"),
        ({"model": {"time_widths": ["a", 3, 3, 3, 3, 3]}}, "'time_widths' is .* something like"),
        ({"decode": {"onset_bias": "high"}}, "'onset_bias' is 'high', and float is needed"),
        ({"model": 3}, "settings"),
        ({"model": None}, "settings"),
        ({"decode": ["onset_bias"]}, "settings"),
        ([], "settings"),
        (["model"], "settings"),
        (None, "settings"),
        (7, "settings"),
    ],
)
def test_what_is_no_setting_is_told(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config.from_dict(values)


def test_a_whole_number_will_do_for_a_fraction() -> None:
    settings = settings_from_dict(DecodeConfig, {"onset_bias": -1})
    assert settings == DecodeConfig(onset_bias=-1.0)
    assert isinstance(settings.onset_bias, float)


def test_other_settings_are_read_the_same_way() -> None:
    settings = settings_from_dict(TrainConfig, {"phase": "velocity", "minutes": 3})
    assert settings == TrainConfig(phase="velocity", minutes=3.0)
