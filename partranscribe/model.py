"""The PAR and PAR_compact networks: section III of the paper."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import ModelConfig
from .notes import NOTE_STATES, PITCHES
from .weights import (
    ACOUSTIC_BLOCKS,
    CONTEXT_EMBEDDING,
    COUNTS,
    FILM_UNITS,
    FULL_HEAD_UNITS,
    LSTM_LAYERS,
    NORM_EPSILON,
    SQUEEZED_CHANNELS,
    STATE_EMBEDDING,
    Weights,
)
from .windows import Features

_DROPOUT = 0.25

LstmState = tuple[Tensor, Tensor]


class LastFrame(NamedTuple):
    """What each frame hands to the next, per pitch: the enhanced recursive context of section III-C.

    Each tensor is (batch, frames, pitches). `state` holds note states as integers; `duration`
    (frames since the onset, over the longest that is counted) and `velocity` (MIDI velocity / 127)
    lie within 0..1 and are zero while the note is off.
    """

    state: Tensor
    duration: Tensor
    velocity: Tensor


class Prediction(NamedTuple):
    """State logits (batch, frames, pitches, states) and velocities / 127 (batch, frames, pitches)."""

    states: Tensor
    velocity: Tensor


class State(NamedTuple):
    """Memory of the two LSTMs between frames."""

    note: LstmState
    velocity: LstmState


class Film(nn.Module):
    """Scale and shift each frequency row of a feature map as a function of its relative height.

    Section III-B-1: γ and β each come from their own four-layer network of k / F. Its last layer
    starts so that γ is near one: near zero, where an untouched default puts it, it starves the stack.

    Args:
        channels: channels of the feature map.
        bins: its height F.
    """

    height: Tensor

    def __init__(self, channels: int, bins: int) -> None:
        super().__init__()
        self.gamma = self._network(channels)
        self.beta = self._network(channels)
        self.register_buffer("height", (torch.arange(bins) / bins).unsqueeze(1), persistent=False)
        with torch.no_grad():
            hidden = self.gamma[:-1](self.height).mean(dim=0)
            final = self.gamma[-1].weight
            assert isinstance(final, Tensor)
            final.mul_(0.1).add_((hidden / hidden.square().sum()).unsqueeze(0))

    @staticmethod
    def _network(channels: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for inputs in (1, FILM_UNITS, FILM_UNITS):
            layer = nn.Linear(inputs, FILM_UNITS)
            nn.init.uniform_(layer.bias, 0.0, 0.5)
            layers += [layer, nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(FILM_UNITS, channels, bias=False))

    def factors(self) -> tuple[Tensor, Tensor]:
        """γ and β, (channels, 1, bins) each."""
        gamma, beta = self.gamma(self.height), self.beta(self.height)
        return gamma.t().unsqueeze(1), beta.t().unsqueeze(1)


class ConvFilmBlock(nn.Module):
    """Two convolutions with one FiLM layer used twice: (batch, in, frames, F) -> (batch, out, frames, F).

    Args:
        inputs, channels: channels that come in and go out.
        bins: height F of the feature map.
        widths: frames spanned by the two convolutions.
        film: False leaves the modulation out (Table II c).
    """

    def __init__(self, inputs: int, channels: int, bins: int, widths: tuple[int, int], film: bool) -> None:
        super().__init__()
        first, second = widths
        self.conv1 = nn.Conv2d(inputs, channels, (first, 3), padding=(first // 2, 1))
        self.conv2 = nn.Conv2d(channels, channels, (second, 3), padding=(second // 2, 1))
        self.norm = nn.BatchNorm2d(channels, NORM_EPSILON)
        self.film = Film(channels, bins) if film else None

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        a = F.relu_(self.conv1(x))
        if self.film is None:
            return F.relu_(a + self._normed(a))
        gamma, beta = (factor.to(a.dtype) for factor in self.film.factors())
        a = torch.addcmul(beta, gamma, a)
        return F.relu_(torch.addcmul(a + beta, gamma, self._normed(a)))

    def _normed(self, a: Tensor) -> Tensor:
        """The second convolution and its batch norm, as one where the norm stays and something learns."""
        conv, norm = self.conv2, self.norm
        if norm.training or not torch.is_grad_enabled():
            return norm(conv(a))  # type: ignore[no-any-return]
        assert conv.bias is not None
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        weight, bias = (
            conv.weight * scale.view(-1, 1, 1, 1),
            (conv.bias - norm.running_mean) * scale + norm.bias,
        )
        return F.conv2d(a, weight, bias, padding=conv.padding)


class FullHead(nn.Module):
    """PAR's head: (batch, channels, frames, bins) -> (batch, frames, pitches, hidden)."""

    def __init__(self, channels: int, bins: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.collect = nn.Linear(channels * bins, FULL_HEAD_UNITS)
        self.dropout = nn.Dropout(_DROPOUT)
        self.split = nn.Linear(FULL_HEAD_UNITS, PITCHES * hidden)
        self.norm = nn.LayerNorm((PITCHES, hidden), NORM_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the head."""
        x = x.permute(0, 2, 3, 1).flatten(2)  # (batch, frames, bins * channels)
        x = self.split(F.relu(self.dropout(self.collect(x))))
        return F.relu(self.norm(x.view(*x.shape[:2], PITCHES, self.hidden)))


class PitchLinear(nn.Module):
    """A linear layer with weights of its own for each pitch: (pitches, n, inputs) -> (pitches, n, outputs).

    The same as a grouped 1×1 convolution with one group a pitch.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(PITCHES, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(PITCHES, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        return torch.baddbmm(self.bias.to(x.dtype), x, self.weight.to(x.dtype))


class CompactHead(nn.Module):
    """PAR_compact's head, section III-D; shapes as `FullHead`."""

    def __init__(self, channels: int, bins: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.squeeze = nn.Sequential(
            nn.Conv2d(channels, SQUEEZED_CHANNELS, 1),
            nn.BatchNorm2d(SQUEEZED_CHANNELS, NORM_EPSILON),
            nn.ReLU(),
            nn.Conv2d(SQUEEZED_CHANNELS, 1, 1),
            nn.ReLU(),
        )
        only = self.squeeze[3]
        assert isinstance(only, nn.Conv2d)
        assert only.bias is not None
        nn.init.uniform_(only.weight, 0.0, 0.5)  # with one channel left, a negative start can stay dead
        nn.init.zeros_(only.bias)
        self.split = nn.Linear(bins, PITCHES * hidden)
        self.split_norm = nn.BatchNorm1d(PITCHES * hidden, NORM_EPSILON)
        self.dropout = nn.Dropout(_DROPOUT)
        self.layers = nn.ModuleList(PitchLinear(hidden, hidden) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm1d(PITCHES * hidden, NORM_EPSILON) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the head."""
        batch, frames = x.shape[0], x.shape[2]
        x = self.squeeze(x).squeeze(1).flatten(0, 1)  # (batch * frames, bins)
        x = F.relu(self.dropout(self.split_norm(self.split(x))))
        for layer, norm in zip(self.layers, self.norms, strict=True):
            by_pitch = x.view(-1, PITCHES, self.hidden).transpose(0, 1)
            x = F.relu_(norm(layer(by_pitch).transpose(0, 1).flatten(1)))
        return x.view(batch, frames, PITCHES, self.hidden)


class AcousticModule(nn.Module):
    """Log-mel to features of each pitch: (batch, frames, mels) -> (batch, frames, pitches, hidden).

    The edges of what it is given are the edges of the recording; a piece of a longer one needs
    `ModelConfig.margin_frames` more on either side, to be cut off afterwards. Inside, feature maps are
    (batch, channels, frames, bins) with the channels last in memory, where convolutions are fastest.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        units, bins = config.cnn_units, config.n_mels
        widths, film = config.time_widths, config.film
        self.blocks = nn.ModuleList(
            ConvFilmBlock(inputs, units, bins >> level, (widths[2 * level], widths[2 * level + 1]), film)
            for level, inputs in enumerate([1, *[units] * (ACOUSTIC_BLOCKS - 1)])
        )
        self.dropout = nn.Dropout(_DROPOUT)
        head = CompactHead if config.head == "compact" else FullHead
        self.head = head(units, config.pooled_mels, config.hidden_per_pitch)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, mel: Tensor) -> Tensor:
        """Apply the module."""
        x = mel.unsqueeze(1).contiguous(memory_format=torch.channels_last)
        x = self.dropout(F.max_pool2d(self.blocks[0](x), (1, 2)))
        x = F.max_pool2d(self.blocks[1](x), (1, 2))
        features: Tensor = self.head(self.dropout(self.blocks[2](x)))
        return features


class ContextEncoder(nn.Module):
    """The last frame as a vector for each pitch: LastFrame -> (batch, frames, pitches, size)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(NOTE_STATES, STATE_EMBEDDING)
        self.enhanced = config.context == "enhanced"
        self.size = CONTEXT_EMBEDDING if self.enhanced else STATE_EMBEDDING
        if self.enhanced:
            hidden = config.hidden_per_pitch
            self.layers = nn.Sequential(nn.Linear(2, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
            self.join = nn.Linear(hidden + STATE_EMBEDDING, CONTEXT_EMBEDDING)

    def forward(self, last: LastFrame) -> Tensor:
        """Encode the last frame."""
        embedded: Tensor = self.embedding(last.state)
        if not self.enhanced:
            return embedded
        note = self.layers(torch.stack((last.duration, last.velocity), dim=-1))
        joined: Tensor = self.join(torch.cat((embedded, note), dim=-1))
        return joined


class SequenceModule(nn.Module):
    """Note-state sequence module (section III-C): (batch, frames, pitches, inputs) -> (…, outputs).

    Args:
        config: with `pitchwise`, one LSTM runs over every pitch by itself, with the same weights;
            without, one LSTM sees all pitches at once (Table II a).
        inputs, outputs: features for each pitch that come in and go out.
    """

    def __init__(self, config: ModelConfig, inputs: int, outputs: int) -> None:
        super().__init__()
        self.pitchwise, self.outputs = config.pitchwise, outputs
        copies = 1 if config.pitchwise else PITCHES
        self.units = config.lstm_units if config.pitchwise else config.global_lstm_units
        self.lstm = nn.LSTM(copies * inputs, self.units, LSTM_LAYERS)
        self.output = nn.Linear(self.units, copies * outputs)

    def initial_state(self, batch: int) -> LstmState:
        """Zeros, before the first frame."""
        sequences = batch * PITCHES if self.pitchwise else batch
        zeros = self.output.weight.new_zeros(LSTM_LAYERS, sequences, self.units)
        return zeros, zeros

    def forward(self, x: Tensor, state: LstmState | None = None) -> tuple[Tensor, LstmState]:
        """Run over all frames of x, from the state that the frames before it left."""
        batch, frames = x.shape[:2]
        x = x.transpose(0, 1)
        x = x.flatten(1, 2) if self.pitchwise else x.flatten(2)
        hidden, state = self.lstm(x, state)
        y = self.output(hidden).view(frames, batch, PITCHES, self.outputs).transpose(0, 1)
        return y, state


class Par(nn.Module):
    """PAR or PAR_compact, as its config says.

    Args:
        config: sizes and switches; `config.PAR` and `config.PAR_COMPACT` are the paper's.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        hidden = config.hidden_per_pitch
        self.note_acoustic = AcousticModule(config)
        self.velocity_acoustic = AcousticModule(config)
        self.context = ContextEncoder(config) if config.context != "none" else None
        context_size = self.context.size if self.context is not None else 0
        self.note_sequence = SequenceModule(config, context_size + hidden, NOTE_STATES)
        self.velocity_sequence = SequenceModule(config, context_size + 2 * hidden, 1)

    def features(self, mel: Tensor) -> Features:
        """Both acoustic modules: (batch, frames, mels) -> features of every frame and pitch."""
        return Features(note=self.note_acoustic(mel), velocity=self.velocity_acoustic(mel))

    def initial_state(self, batch: int = 1) -> State:
        """The LSTMs' memory before the first frame."""
        return State(self.note_sequence.initial_state(batch), self.velocity_sequence.initial_state(batch))

    def forward(self, mel: Tensor, last: LastFrame) -> Prediction:
        """Teacher-forced: every frame at once, each with the frame before it given.

        Args:
            mel: (batch, frames, mels).
            last: for each frame, what the frame before it was; ignored where the model has no recursion.
        """
        prediction, _ = self.step(self.features(mel), last, self.initial_state(mel.shape[0]))
        return prediction

    def step(self, features: Features, last: LastFrame, state: State) -> tuple[Prediction, State]:
        """One frame (or several, with the frame before each given), from the state before it.

        Args:
            features: (batch, frames, pitches, hidden) each.
            last: (batch, frames, pitches) each.
            state: from `initial_state`, or from the step before.
        """
        context = self._encoded(last)
        states, note_state = self._note(context, features.note, state.note)
        velocity, velocity_state = self._velocity(context, features, state.velocity)
        return Prediction(states, velocity), State(note_state, velocity_state)

    def note_step(
        self, note: Tensor, last: LastFrame, state: LstmState | None = None
    ) -> tuple[Tensor, LstmState]:
        """The logits of the note states alone, as by `step`; without a state, from the first frame on."""
        return self._note(self._encoded(last), note, state)

    def velocity_step(
        self, features: Features, last: LastFrame, state: LstmState | None = None
    ) -> tuple[Tensor, LstmState]:
        """The velocities alone, as by `step`; no gradient flows into the note network (section IV-C)."""
        return self._velocity(self._encoded(last), features, state)

    def _encoded(self, last: LastFrame) -> list[Tensor]:
        return [] if self.context is None else [self.context(last)]

    def _note(self, context: list[Tensor], note: Tensor, state: LstmState | None) -> tuple[Tensor, LstmState]:
        logits, state = self.note_sequence(torch.cat([*context, note], dim=-1), state)
        return logits, state

    def _velocity(
        self, context: list[Tensor], features: Features, state: LstmState | None
    ) -> tuple[Tensor, LstmState]:
        detached = [part.detach() for part in (*context, features.note)]
        velocity, state = self.velocity_sequence(torch.cat([*detached, features.velocity], dim=-1), state)
        return velocity.squeeze(-1), state

    def parameter_count(self) -> int:
        """Trainable numbers, as Tables I, III and IV count them."""
        return sum(parameter.numel() for parameter in self.parameters())


def weights_of(model: Par) -> Weights:
    """The weights of a network for any engine; they share its memory where it is on the CPU."""
    return {
        name: value.detach().cpu().float().numpy()
        for name, value in model.state_dict().items()
        if not name.endswith(COUNTS)
    }


def par_with(config: ModelConfig, weights: Weights) -> Par:
    """A network that infers with such weights, which are copied."""
    model = Par(config)
    counts = {name: value for name, value in model.state_dict().items() if name.endswith(COUNTS)}
    model.load_state_dict({**counts, **{name: torch.from_numpy(value) for name, value in weights.items()}})
    return model.requires_grad_(False).eval()
