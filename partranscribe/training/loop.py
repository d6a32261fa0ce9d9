"""The training loop: note network first, velocity network after it; stops and goes on at any update."""

from __future__ import annotations

import copy
import hashlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from ..acoustic import windows
from ..config import Config
from ..frontend import LogMel
from ..model import ACOUSTIC_BLOCKS, NOTE_STATES, AcousticModule, LastFrame, Par
from .augment import Augmenter, ContextNoise
from .data import Crop, Crops, Source
from .labels import ContextLabels, FrameLabels, forgiving_labels
from .loss import focal_loss, state_weights, unanswered, velocity_loss
from .rollout import own_context

Phase = Literal["note", "velocity"]
_BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d

_BATCH_NORM_MOMENTUM = 0.03
_PART_FRAMES = 80  # whose feature maps fit into a processor's cache
_STATISTICS_UPDATES = 60  # whose crops the batch norms of the averaged weights are measured on


@dataclass(frozen=True)
class TrainConfig:
    """How to train; the model itself is in `Config`.

    Args:
        phase: the note network, or the velocity network beside a finished note network.
        updates: length of the run; 0, without minutes, leaves the phase out.
        minutes: if above zero, the run's length in minutes of computation; `updates` is then ignored.
        batch: crops an update.
        crop_frames: length of a crop.
        learning_rate: highest; reached after `warmup` updates, held for `hold` of the run, then falling
            linearly to zero.
        onset_weight, note_weight: of onset and re-onset, and of sustain and offset, in the focal loss.
        acoustic_weight: of the same loss on a linear head without context, beside the recurrent one.
        velocity_linear_from: error of a velocity 0..1 from which it counts linearly and not squared.
        own_context: share of the updates whose context is what the note network itself decodes there, in
            place of the corrupted one; of use once it decodes well.
        average: how much of the averaged weights is kept at each update, at most: the average goes back over
            the last ninth of the updates, or over 1 / (1 - average) of them if these are fewer. It is what
            is used.
        dropout: share of the activations dropped (0.25 in the paper; less for short runs).
        frozen_blocks: first blocks of the acoustic module that stay as they are. The first one sees all bins
            and takes more than half of the time: a run that begins with trained weights hears twice as much
            without it.
        keep_statistics: batch norms keep the statistics that they begin with; for a run that begins with
            trained weights. No frame then depends on far ones, and a CPU computes features in parts that fit
            into its cache, at up to twice the speed.
        seed: of the weights, the crops and their augmentation. A run that begins with trained weights draws
            other crops than the run that made them.
    """

    phase: Phase = "note"
    updates: int = 10_000
    minutes: float = 0.0
    batch: int = 3
    crop_frames: int = 160
    learning_rate: float = 1.2e-3
    weight_decay: float = 0.01
    warmup: int = 100
    hold: float = 0.4
    gradient_norm: float = 5.0
    onset_weight: float = 4.0
    note_weight: float = 1.5
    acoustic_weight: float = 0.5
    velocity_linear_from: float = 1.0
    own_context: float = 0.0
    average: float = 0.999
    dropout: float = 0.25
    frozen_blocks: int = 0
    keep_statistics: bool = False
    workers: int = 1
    seed: int = 0
    save_minutes: float = 5.0
    validate_minutes: float = 20.0

    def __post_init__(self) -> None:
        if self.batch < 1 or self.crop_frames < 1 or self.warmup < 1:
            raise ValueError("batch, crop_frames and warmup are not all at least one")
        if self.updates < 0 or self.minutes < 0 or self.workers < 0 or self.seed < 0:
            raise ValueError("updates, minutes, workers and seed are not all at least zero")
        for name in ("hold", "average", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} is not a share below 1")
        if self.velocity_linear_from <= 0:
            raise ValueError(f"velocity_linear_from {self.velocity_linear_from} is not above zero")
        if not 0 <= self.own_context <= 1:
            raise ValueError(f"own_context {self.own_context} is not a share")
        if not 0 <= self.frozen_blocks <= ACOUSTIC_BLOCKS:
            raise ValueError(f"frozen_blocks {self.frozen_blocks} is not within 0..{ACOUSTIC_BLOCKS}")


@dataclass
class Progress:
    """Where a run stands."""

    update: int = 0
    seconds: float = 0.0


class Trainer:
    """One run of training, resumable from its folder.

    Args:
        config: of the model that is trained.
        settings: of the run.
        source: what it is trained on.
        augmenter, noise: what is done to audio and context.
        folder: where the run's state and log are kept.
        device: "cpu" or "cuda".
    """

    def __init__(
        self,
        config: Config,
        settings: TrainConfig,
        source: Source,
        augmenter: Augmenter,
        noise: ContextNoise,
        folder: Path,
        device: torch.device,
    ) -> None:
        torch.manual_seed(settings.seed)
        self._crop_seed = settings.seed
        self.config, self.settings, self.folder, self.device = config, settings, folder, device
        self._source, self._augmenter, self._noise = source, augmenter, noise
        self.model = Par(config.model).to(device)
        self.acoustic_head = nn.Linear(config.model.hidden_per_pitch, NOTE_STATES).to(device)
        for norm in _batch_norms(self.model):
            norm.momentum = _BATCH_NORM_MOMENTUM
        for module in self.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = settings.dropout
        self.log_mel = LogMel(config.front_end).to(device)
        self.weights = state_weights(settings.onset_weight, settings.note_weight).to(device)
        self.progress = Progress()
        self._prepare_phase()
        self.optimizer = torch.optim.AdamW(
            self._trained_parameters(),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            eps=1e-8,
        )

    def _prepare_phase(self) -> None:
        if self.settings.phase == "note":
            self._set_state_priors()
        self._trained = self._modules_of(self.model)
        self.model.requires_grad_(False)
        self._trained.requires_grad_(True)
        self._frozen(self.model).requires_grad_(False)
        self._start_average()

    def _modules_of(self, model: Par) -> nn.ModuleList:
        """What is trained of a model in this phase."""
        if self.settings.phase == "velocity":
            return nn.ModuleList([model.velocity_acoustic, model.velocity_sequence])
        context = [] if model.context is None else [model.context]
        return nn.ModuleList([model.note_acoustic, model.note_sequence, *context])

    def _acoustic_of(self, model: Par) -> AcousticModule:
        return model.note_acoustic if self.settings.phase == "note" else model.velocity_acoustic

    def _frozen(self, model: Par) -> nn.ModuleList:
        """The blocks that this phase leaves as they are."""
        return self._acoustic_of(model).blocks[: self.settings.frozen_blocks]

    def _measured_norms(self, model: Par) -> list[_BatchNorm]:
        """The batch norms whose statistics this phase measures; the others keep theirs."""
        if self.settings.keep_statistics:
            return []
        frozen = {*self._frozen(model).modules()}
        return [norm for norm in _batch_norms(self._acoustic_of(model)) if norm not in frozen]

    def _start_average(self) -> None:
        self._average = AveragedModel(self._trained, multi_avg_fn=self._move_average)

    def _move_average(
        self,
        averages: tuple[Tensor, ...] | list[Tensor],
        weights: tuple[Tensor, ...] | list[Tensor],
        updates: Tensor | int,
    ) -> None:
        """Move the averages towards the weights, by more while a run is young."""
        kept = min(self.settings.average, (1 + int(updates)) / (10 + int(updates)))
        torch._foreach_lerp_(averages, weights, 1 - kept)

    def _trained_parameters(self) -> list[nn.Parameter]:
        parameters = list(self._trained.parameters())
        if self.settings.phase == "note":
            parameters += list(self.acoustic_head.parameters())
        return parameters

    def _set_state_priors(self) -> None:
        """Start the outputs at how often each state occurs: off, offset, onset, sustain, re-onset."""
        priors = torch.tensor([0.96, 0.003, 0.0027, 0.034, 0.0003]).log()
        with torch.no_grad():
            for output in (self.model.note_sequence.output, self.acoustic_head):
                assert isinstance(output, nn.Linear)
                output.bias.copy_(priors.repeat(output.out_features // NOTE_STATES))
            self.acoustic_head.weight.zero_()  # so that it asks nothing of trained features at first

    def start_from(self, model: Par, *, new_velocity: bool = False) -> None:
        """Take the weights of another model as far as they fit; moments start anew.

        PAR and PAR_compact differ in the heads of their acoustic modules alone, so either may begin with the
        other's convolutions and LSTMs.

        Args:
            model: what has other shapes in it is left as this run drew it.
            new_velocity: its velocity network is untrained, and begins as a copy of its note network.
        """
        own = self.model.state_dict()
        fitting = {
            name: weight
            for name, weight in model.state_dict().items()
            if name in own and own[name].shape == weight.shape
        }
        self.model.load_state_dict(fitting, strict=False)
        if self.settings.phase == "velocity" and new_velocity:
            self.model.velocity_acoustic.load_state_dict(model.note_acoustic.state_dict())
        self._crop_seed = _seed_after(self.settings.seed, model)
        self._start_average()

    @property
    def _state_path(self) -> Path:
        return self.folder / "state.pt"

    def resume(self) -> bool:
        """Go on from the last save in the folder; False if there is none."""
        if not self._state_path.exists():
            return False
        state = torch.load(self._state_path, map_location="cpu", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.acoustic_head.load_state_dict(state["acoustic_head"])
        self._average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"].cpu())
        if state.get("cuda_random") is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_random"].cpu(), self.device)
        self.progress = Progress(state["progress"]["update"], state["progress"]["seconds"])
        self._crop_seed = state.get("crop_seed", self.settings.seed)  # of which older runs made no difference
        return True

    def save(self) -> None:
        """Write all that `resume` needs, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {
            "model": self.model.state_dict(),
            "acoustic_head": self.acoustic_head.state_dict(),
            "average": self._average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
            "progress": asdict(self.progress),
            "crop_seed": self._crop_seed,
        }
        partial = self._state_path.with_suffix(".part")
        torch.save(state, partial)
        partial.rename(self._state_path)

    def share_done(self) -> float:
        """How much of the run lies behind, 0..1."""
        if not self.settings.minutes and not self.settings.updates:
            return 1.0
        if self.settings.minutes:
            return min(self.progress.seconds / (60 * self.settings.minutes), 1.0)
        return min(self.progress.update / self.settings.updates, 1.0)

    def averaged(self) -> Par:
        """The model with the averaged weights, a copy in evaluation mode.

        Its batch norms are measured anew, unless they keep their statistics.
        """
        model = copy.deepcopy(self.model)
        self._modules_of(model).load_state_dict(self._average.module.state_dict())
        acoustic, norms = self._acoustic_of(model.eval()), self._measured_norms(model)
        if not norms:
            return model
        for norm in norms:
            norm.train()
            norm.reset_running_stats()
            norm.momentum = None  # their plain mean
        crops = itertools.islice(self._crops(first=0), _STATISTICS_UPDATES)
        with torch.no_grad(), torch.random.fork_rng():
            for crop in crops:
                self._acoustic(acoustic, self._mel(crop))
        return model.eval()

    def _learning_rate(self) -> float:
        settings, done = self.settings, self.share_done()
        warm = min((self.progress.update + 1) / settings.warmup, 1.0)
        return settings.learning_rate * warm * min(1.0, (1.0 - done) / (1.0 - settings.hold))

    def run(
        self,
        report: Callable[[dict[str, Any]], None] | None = None,
        validate: Callable[[Par], Mapping[str, Any]] | None = None,
    ) -> None:
        """Train until the run is done, saving every few minutes and at the end.

        Args:
            report: is given an entry with the losses every half minute.
            validate: gives scores of the averaged model, which are added to an entry now and then.
        """
        if self.share_done() >= 1.0:
            return
        self.model.train()
        if self.settings.phase == "velocity":
            self.model.note_acoustic.eval()
        measured = self._measured_norms(self.model)
        for norm in _batch_norms(self.model):
            norm.train(norm in measured)
        started, before = time.monotonic(), self.progress.seconds
        saved, logged, validated = started, started, started
        sums: dict[str, float] = {}
        count = 0
        for crop in self._crops(self.progress.update):
            losses = self._update(crop)
            self.progress.update += 1
            now = time.monotonic()
            self.progress.seconds = before + now - started
            count += 1
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value
            if now - logged > 30:
                entry = {"update": self.progress.update, "seconds": round(self.progress.seconds, 1)}
                entry |= {name: round(total / count, 5) for name, total in sums.items()}
                entry["audio_per_second"] = round(count * self._audio_per_update / (now - logged), 2)
                entry["share_done"] = round(self.share_done(), 4)
                if validate is not None and now - validated > 60 * self.settings.validate_minutes:
                    entry |= validate(self.averaged())
                    now = validated = time.monotonic()
                if report is not None:
                    report(entry)
                logged, count, sums = now, 0, {}
            if self.share_done() >= 1.0:
                break
            if now - saved > 60 * self.settings.save_minutes:
                self.save()
                saved = now
        self.save()

    @property
    def hours_heard(self) -> float:
        """Hours of audio that the run has been trained on."""
        return self.progress.update * self._audio_per_update / 3600

    @property
    def _audio_per_update(self) -> float:
        return self.settings.batch * self.settings.crop_frames * self.config.front_end.seconds_per_frame

    def _crops(self, first: int) -> Iterator[Crop]:
        """Batches of crops, from the one that the update `first` is made with."""
        settings = self.settings
        crops = Crops(
            self._source,
            self.config.front_end,
            settings.crop_frames,
            self.config.model.max_duration_frames,
            self._augmenter,
            self._noise,
            self._crop_seed,
            first=first * settings.batch,
            count=10**9,
        )
        loader: DataLoader[Crop] = DataLoader(
            crops,
            sampler=_Counting(),
            batch_size=settings.batch,
            num_workers=settings.workers,
            prefetch_factor=4 if settings.workers else None,
            generator=torch.Generator(),  # its own: a loader draws a seed, which must not shift the dropout
        )
        for crop in loader:
            yield Crop(*(part.to(self.device, non_blocking=True) for part in crop))

    def _mel(self, crop: Crop) -> Tensor:
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            mel: Tensor = self.log_mel.padded(crop.audio)
        return mel

    def _update(self, crop: Crop) -> dict[str, float]:
        mel = self._mel(crop)
        compute = self._note_losses if self.settings.phase == "note" else self._velocity_losses
        losses = compute(crop, mel, _context(crop))
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        self.optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._trained_parameters(), self.settings.gradient_norm)
        self.optimizer.step()
        self._average.update_parameters(self._trained)
        return {name: float(value.detach()) for name, value in losses.items()}

    def _acoustic(self, module: nn.Module, mel: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=has_bfloat16(self.device)):
            if self.device.type == "cpu" and not any(norm.training for norm in _batch_norms(module)):
                features = in_parts(module, mel, self.config.model.margin_frames)
            else:
                features = module(mel)
        return features.float()

    def _note_losses(self, crop: Crop, mel: Tensor, last: LastFrame) -> dict[str, Tensor]:
        model, target = self.model, crop.state
        features = self._acoustic(model.note_acoustic, mel)
        if torch.rand(()) < self.settings.own_context:
            last, target = self._on_its_own(crop, features)
        target = target.long()
        context = [] if model.context is None else [model.context(last)]
        logits, _ = model.note_sequence(torch.cat([*context, features], dim=-1))
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
            context = [] if model.context is None else [model.context(last)]
            note = self._acoustic(model.note_acoustic, mel)
        own = self._acoustic(model.velocity_acoustic, mel)
        velocity, _ = model.velocity_sequence(torch.cat([*context, note, own], dim=-1))
        velocity = velocity.squeeze(-1)
        target = unanswered(crop.velocity, last.duration, model.config.max_duration_frames)
        loss = velocity_loss(velocity, target, linear_from=self.settings.velocity_linear_from)
        error = velocity_loss(velocity.detach(), target, level=1.0)
        return {"loss": loss, "velocity_error": error.sqrt()}


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16; a CPU that does not takes several times as long with it."""
    return device.type == "cuda" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def in_parts(module: nn.Module, mel: Tensor, margin: int) -> Tensor:
    """What a module makes of whole crops, computed by parts of each that fit into a processor's cache.

    Args:
        module: an acoustic module whose batch norms keep their statistics.
        mel: (batch, frames, mels).
        margin: frames on either side that a frame's features depend on, `ModelConfig.margin_frames`.
    """
    crops = []
    for crop in mel:
        parts = windows(torch.split(crop, _PART_FRAMES), margin)
        crops.append(torch.cat([module(part.mel.unsqueeze(0))[:, part.inside] for part in parts], dim=1))
    return torch.cat(crops)


def _batch_norms(module: nn.Module) -> Iterator[_BatchNorm]:
    return (one for one in module.modules() if isinstance(one, _BatchNorm))


def _context(crop: Crop) -> LastFrame:
    return LastFrame(crop.context_state.long(), crop.context_duration, crop.context_velocity)


class _Counting(torch.utils.data.Sampler[int]):
    """0, 1, 2, … without end."""

    def __init__(self) -> None:
        super().__init__()

    def __iter__(self) -> Iterator[int]:
        index = 0
        while True:
            yield index
            index += 1


def _seed_after(seed: int, model: Par) -> int:
    """A seed for what follows the training of these weights, which was made of other crops."""
    digest = hashlib.sha256(str(seed).encode())
    for weight in model.state_dict().values():
        digest.update(weight.cpu().contiguous().numpy().tobytes())
    return int.from_bytes(digest.digest()[:8], "big")
