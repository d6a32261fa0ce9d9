"""What is learnt from a crop: the losses of the note network, or of the velocity network beside it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from ..config import Config
from ..model import AcousticModule, LastFrame, Par
from ..notes import NOTE_STATES
from ..torch_frontend import TorchLogMel
from ..windows import Features
from .data import Crop
from .labels import ContextLabels, FrameLabels, forgiving_labels
from .loss import focal_loss, state_weights, unanswered, velocity_loss
from .rollout import own_context
from .train_config import TrainConfig

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d


class Objective(nn.Module):
    """A model, and the losses by which one of its networks learns from crops.

    Args:
        config: of the model.
        settings: of the phase.
    """

    weights: Tensor

    def __init__(self, config: Config, settings: TrainConfig) -> None:
        super().__init__()
        self.settings = settings
        self.model = Par(config.model)
        self.acoustic_head = nn.Linear(config.model.hidden_per_pitch, NOTE_STATES)
        self.log_mel = TorchLogMel(config.front_end)
        self.register_buffer("weights", state_weights(settings.onset_weight, settings.note_weight))
        self.trained = modules_of(self.model, settings)
        self.model.requires_grad_(False)
        self.trained.requires_grad_(True)
        frozen_blocks(self.model, settings).requires_grad_(False)

    def forward(self, crop: Crop, on_its_own: bool = False) -> dict[str, Tensor]:
        """The losses of a batch of crops by name; what is to fall is `loss`.

        It is a mean over frames in the note phase, and over notes in the velocity phase; see `count`.

        Args:
            crop: the batch.
            on_its_own: in the note phase, the context is what the network decodes by itself.
        """
        mel, last = self.mel(crop), _context(crop)
        if self.settings.phase == "velocity":
            return self._velocity_losses(crop, mel, last)
        return self._note_losses(crop, mel, last, on_its_own)

    def count(self, crop: Crop) -> int:
        """Of how many frames or velocities the losses of a batch of crops are a mean."""
        if self.settings.phase == "note":
            return crop.truth[..., 0].numel()
        return int((self._velocities(crop) > 0).sum())

    def trained_parameters(self) -> list[nn.Parameter]:
        """What the optimiser moves, in an order of its own."""
        parameters = list(self.trained.parameters())
        if self.settings.phase == "note":
            parameters += list(self.acoustic_head.parameters())
        return parameters

    def mel(self, crop: Crop) -> Tensor:
        """Log-mel frames of a batch of crops: (batch, frames, mels)."""
        with torch.no_grad(), torch.autocast(crop.audio.device.type, enabled=False):
            mel: Tensor = self.log_mel.padded(crop.audio)
        return mel

    def acoustic(self, module: nn.Module, mel: Tensor) -> Tensor:
        """What an acoustic module makes of log-mel frames, in the precision that suits the device."""
        with torch.autocast(mel.device.type, torch.bfloat16, enabled=has_bfloat16(mel.device)):
            features: Tensor = module(mel)
        return features.float()

    def _note_losses(self, crop: Crop, mel: Tensor, last: LastFrame, on_its_own: bool) -> dict[str, Tensor]:
        model, target = self.model, crop.state
        features = self.acoustic(model.note_acoustic, mel)
        if on_its_own:
            last, target = self._on_its_own(crop, features)
        target = target.long()
        logits, _ = model.note_step(features, last)
        state = focal_loss(logits, target, self.weights)
        acoustic = focal_loss(self.acoustic_head(features), crop.truth.long(), self.weights)
        return {
            "loss": state + self.settings.acoustic_weight * acoustic,
            "state": state,
            "acoustic": acoustic,
        }

    def _on_its_own(self, crop: Crop, features: Tensor) -> tuple[LastFrame, Tensor]:
        """The context that the network decodes by itself, and what is best to answer to it."""
        velocity = torch.where(crop.velocity > 0, crop.velocity, torch.rand_like(crop.velocity))
        last = own_context(
            self.model, features, LastFrame(*(part[:, :1] for part in _context(crop))), velocity
        )
        target = [
            forgiving_labels(
                FrameLabels(truth, told), ContextLabels(*context), self.model.config.max_duration_frames
            ).state
            for truth, told, *context in zip(
                *(part.cpu().numpy() for part in (crop.truth, crop.velocity, *last)), strict=True
            )
        ]
        return last, torch.from_numpy(np.stack(target)).to(crop.state)

    def _velocity_losses(self, crop: Crop, mel: Tensor, last: LastFrame) -> dict[str, Tensor]:
        model = self.model
        with torch.no_grad():
            note = self.acoustic(model.note_acoustic, mel)
        own = self.acoustic(model.velocity_acoustic, mel)
        velocity, _ = model.velocity_step(Features(note, own), last)
        target = self._velocities(crop)
        loss = velocity_loss(velocity, target, linear_from=self.settings.velocity_linear_from)
        error = velocity_loss(velocity.detach(), target, level=1.0)
        return {"loss": loss, "velocity_error": error.sqrt()}

    def _velocities(self, crop: Crop) -> Tensor:
        """That are asked for: (batch, frames, pitches), zero elsewhere."""
        return unanswered(crop.velocity, crop.context_duration, self.model.config.max_duration_frames)


def modules_of(model: Par, settings: TrainConfig) -> nn.ModuleList:
    """What is trained of a model in a phase."""
    if settings.phase == "velocity":
        return nn.ModuleList([model.velocity_acoustic, model.velocity_sequence])
    context = [] if model.context is None else [model.context]
    return nn.ModuleList([model.note_acoustic, model.note_sequence, *context])


def acoustic_of(model: Par, settings: TrainConfig) -> AcousticModule:
    """The acoustic module that is trained of a model in a phase."""
    return model.note_acoustic if settings.phase == "note" else model.velocity_acoustic


def frozen_blocks(model: Par, settings: TrainConfig) -> nn.ModuleList:
    """The blocks of it that a phase leaves as they are."""
    return acoustic_of(model, settings).blocks[: settings.frozen_blocks]


def batch_norms(module: nn.Module) -> Iterator[BatchNorm]:
    """Those of a module."""
    return (one for one in module.modules() if isinstance(one, BatchNorm))


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16; a CPU that does not takes several times as long with it."""
    return device.type == "cuda" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _context(crop: Crop) -> LastFrame:
    return LastFrame(crop.context_state.long(), crop.context_duration, crop.context_velocity)
