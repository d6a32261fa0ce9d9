"""Settings as frozen values: of the front end, of the network, and of decoding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeVar, get_args

Head = Literal["full", "compact"]
Context = Literal["enhanced", "state", "none"]

_Settings = TypeVar("_Settings")


@dataclass(frozen=True)
class FrontEndConfig:
    """Log-mel spectrogram, section IV-C of the paper (the upper limit is Nyquist, not its 8372 Hz).

    `level` is the RMS in decibels relative to full scale to which a recording is brought as a whole, so that
    how loud a note is tells of its velocity; 0 leaves recordings as they are.
    """

    sample_rate: int = 16_000
    n_fft: int = 4096
    hop_length: int = 512
    n_mels: int = 700
    f_min: float = 27.5
    f_max: float = 8000.0
    power_floor: float = 1e-9
    level: float = 0.0

    def __post_init__(self) -> None:
        if min(self.sample_rate, self.n_fft, self.hop_length, self.n_mels) < 1:
            raise ValueError(
                "sample rate, window, hop and mel bins of the front end are not all at least one"
            )
        # The upper ends are far beyond the paper's sizes; a damaged checkpoint must not ask for all memory.
        if self.sample_rate > 1_000_000 or max(self.n_fft, self.hop_length) > 32_768:
            raise ValueError("the front end takes a million samples a second at most, and windows of 32768")
        if not 0 <= self.f_min < self.f_max:
            raise ValueError(f"f_min {self.f_min} and f_max {self.f_max} are not a range of frequencies")
        if not self.power_floor > 0:
            raise ValueError(f"power_floor {self.power_floor} is not above zero")
        if not -100 <= self.level <= 0:
            raise ValueError(f"level {self.level} is not -100 to 0 dB")

    @property
    def frames_per_second(self) -> float:
        """Frames in one second of audio (31.25 by default)."""
        return self.sample_rate / self.hop_length

    @property
    def seconds_per_frame(self) -> float:
        """Time between two frames (0.032 s by default)."""
        return self.hop_length / self.sample_rate


@dataclass(frozen=True)
class ModelConfig:
    """The network of section III, and the switches of its ablations and sizes.

    Args:
        head: "full" for PAR, "compact" for PAR_compact (section III-D).
        cnn_units: channels of every convolution.
        lstm_units: units of each layer of the pitch-wise LSTMs.
        hidden_per_pitch: features that the acoustic module gives to each pitch.
        time_widths: frames that each of the six convolutions spans, bottom to top (Table IV).
        film: False removes the frequency-conditioned FiLM layers (Table II c).
        pitchwise: False puts one LSTM over all pitches in place of the pitch-wise one (Table II a).
        context: what the last frame hands on: "enhanced", the "state" alone (Table II b), or "none"
            for no recursion (Table II e).
        global_lstm_units: units of the LSTM that replaces the pitch-wise one.
    """

    head: Head = "full"
    cnn_units: int = 48
    lstm_units: int = 48
    hidden_per_pitch: int = 48
    time_widths: tuple[int, ...] = (3, 3, 3, 3, 3, 3)
    film: bool = True
    pitchwise: bool = True
    context: Context = "enhanced"
    global_lstm_units: int = 256
    n_mels: int = 700
    max_duration_frames: int = 157

    def __post_init__(self) -> None:
        if self.head not in get_args(Head):
            raise ValueError(f"head {self.head!r} is none of {', '.join(get_args(Head))}")
        if self.context not in get_args(Context):
            raise ValueError(f"context {self.context!r} is none of {', '.join(get_args(Context))}")
        odd = [isinstance(width, int) and 0 < width < 100 and width % 2 == 1 for width in self.time_widths]
        if len(odd) != 6 or not all(odd):
            raise ValueError(f"time_widths {self.time_widths} are not six odd numbers below 100")
        # As of the front end, the upper ends are far beyond the paper's sizes.
        if not all(1 <= units <= 256 for units in (self.cnn_units, self.lstm_units, self.hidden_per_pitch)):
            raise ValueError("every layer needs at least one unit, and has 256 at most")
        if not 1 <= self.global_lstm_units <= 1024:
            raise ValueError(f"global_lstm_units {self.global_lstm_units} are not 1 to 1024")
        if not 4 <= self.n_mels <= 2048:
            raise ValueError(f"n_mels {self.n_mels} are not 4 to 2048")
        if not 1 <= self.max_duration_frames <= 1_000_000:
            raise ValueError(f"max_duration_frames {self.max_duration_frames} are not 1 to 1000000")

    @property
    def margin_frames(self) -> int:
        """Frames that the convolutions look ahead, and back."""
        return sum(width // 2 for width in self.time_widths)

    @property
    def has_fast_loops(self) -> bool:
        """Whether its recursion is that of PAR, for which there are faster loops than PyTorch's."""
        return self.pitchwise and self.context == "enhanced"

    @property
    def pooled_mels(self) -> int:
        """Frequency bins left after the two max-pools (175 of 700)."""
        return self.n_mels // 2 // 2


DOUBTFUL = 0.25
"""Added to the biases of onset and re-onset where ghosts are left out afterwards: fewer notes are missed."""


@dataclass(frozen=True)
class DecodeConfig:
    """How frame probabilities become notes; calibrated on data that training does not see.

    Args:
        onset_bias: added to the onset logit of every frame.
        reonset_bias: added to the re-onset logit of every frame.
        offset_bias: added to the offset and off logits of a pitch that sounds.
        restrike_frames: a note that has sounded for fewer frames is not struck again: an onset or re-onset
            there is sustain. 1 leaves every decision to the network.
        between_frames: onsets and offsets are where the probabilities of two frames expect them, not on the
            frame that they were decided on, as in the paper.
        onset_shift: seconds added to every onset, to undo a constant bias of the labels.
        offset_shift: seconds added to every offset.
        even_velocities: velocities are not as the network heard them one by one, but as they are expected
            where all of a recording were heard, see `dynamics.evened`, and corrected by the network for that
            of the checkpoint, if it has one, see `velocities.corrected`.
        choose_offsets: offsets are not where the network heard notes end one by one, but where they are
            likeliest where all of a recording were heard, see `offsets.chosen`.
        drop_ghosts: onsets that are doubtful are decided on as well, by DOUBTFUL more of both biases, and
            notes that are likelier not there than there, where all of a recording were heard, are left out,
            see `ghosts.without_ghosts`.
    """

    onset_bias: float = 0.0
    reonset_bias: float = 0.0
    offset_bias: float = 0.0
    restrike_frames: int = 1
    between_frames: bool = False
    onset_shift: float = 0.0
    offset_shift: float = 0.0
    even_velocities: bool = False
    choose_offsets: bool = False
    drop_ghosts: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.restrike_frames <= 1_000_000:
            raise ValueError(f"restrike_frames {self.restrike_frames} are not 1 to 1000000")

    @property
    def begin_biases(self) -> tuple[float, float]:
        """What is added to the logits of onset and of re-onset."""
        more = DOUBTFUL if self.drop_ghosts else 0.0
        return self.onset_bias + more, self.reonset_bias + more


@dataclass(frozen=True)
class Config:
    """Everything that a checkpoint needs to be used as it was trained."""

    front_end: FrontEndConfig = field(default_factory=FrontEndConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)

    def __post_init__(self) -> None:
        if self.front_end.n_mels != self.model.n_mels:
            raise ValueError(
                f"the front end makes {self.front_end.n_mels} mel bins and the model takes "
                f"{self.model.n_mels}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """The inverse of `to_dict`.

        Raises:
            ValueError: a section or a setting is unknown or of the wrong type.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"{values!r} is not a table of settings")
        unknown = set(values) - {"front_end", "model", "decode"}
        if unknown:
            raise ValueError(f"unknown section {', '.join(sorted(unknown))}")
        return cls(
            front_end=settings_from_dict(FrontEndConfig, values.get("front_end", {})),
            model=settings_from_dict(ModelConfig, values.get("model", {})),
            decode=settings_from_dict(DecodeConfig, values.get("decode", {})),
        )


def settings_from_dict(kind: type[_Settings], values: Mapping[str, Any]) -> _Settings:
    """Build a frozen settings class from plain values, as they come from JSON or TOML.

    Raises:
        ValueError: a setting is unknown, or its value has the wrong type.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{values!r} is not a table of settings")
    known = {entry.name: entry for entry in fields(kind)}  # type: ignore[arg-type]
    arguments: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"unknown setting {name!r}; known are {', '.join(known)}")
        default = known[name].default
        if isinstance(value, list):
            value = tuple(value)
        if isinstance(default, float) and isinstance(value, int | float) and not isinstance(value, bool):
            if not abs(value) < 1e300:  # nor not a number
                raise ValueError(f"setting {name!r} is no number that can be used")
            value = float(value)
        if isinstance(default, tuple) and isinstance(value, tuple):
            value = _like(default, value, name)
        if isinstance(value, bool) != isinstance(default, bool) or not isinstance(value, type(default)):
            raise ValueError(f"setting {name!r} is {value!r}, and {type(default).__name__} is needed")
        arguments[name] = value
    return kind(**arguments)


def _like(default: tuple[Any, ...], values: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    """Numbers of the type of those of a default; two of them are a range, from one to another."""
    kind = type(default[0])
    are_known = all(type(value) in (int, kind) and abs(value) < 1e300 for value in values)
    is_range = len(values) == 2 and values[0] <= values[1] if are_known else False
    if not are_known or (len(default) == 2 and not is_range):
        raise ValueError(f"setting {name!r} is {list(values)}, and something like {list(default)} is needed")
    return tuple(map(kind, values))


PAR = ModelConfig(head="full")
PAR_COMPACT = ModelConfig(head="compact")
