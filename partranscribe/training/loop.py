"""The training loop: note network first, velocity network after it; stops and goes on at any update."""

from __future__ import annotations

import copy
import hashlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from ..config import Config
from ..model import Par, weights_of
from ..notes import NOTE_STATES
from .augment import Augmenter, ContextNoise
from .data import Crop, Crops, Source
from .gradients import Gradients, processes_for
from .objective import BatchNorm, Objective, acoustic_of, batch_norms, frozen_blocks, modules_of
from .train_config import TrainConfig

STATE = "state.pt"  # in the folder of a run

_BATCH_NORM_MOMENTUM = 0.03
_STATISTICS_UPDATES = 60  # whose crops the batch norms of the averaged weights are measured on


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
        if config.model.context == "none":  # no label may answer to a context that is not heard
            settings, noise = replace(settings, own_context=0.0), replace(noise, blank=1.0)
        self._crop_seed = settings.seed
        self.config, self.settings, self.folder, self.device = config, settings, folder, device
        self._source, self._augmenter, self._noise = source, augmenter, noise
        self.objective = Objective(config, settings).to(device)
        self.model = self.objective.model
        for norm in batch_norms(self.model):
            norm.momentum = _BATCH_NORM_MOMENTUM
        for module in self.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = settings.dropout
        if settings.phase == "note":
            self._set_state_priors()
        self.progress = Progress()
        self._start_average()
        self.optimizer = torch.optim.AdamW(
            self.objective.trained_parameters(),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            eps=1e-8,
            fused=True,
        )

    def _measured_norms(self, model: Par) -> list[BatchNorm]:
        """The batch norms whose statistics this phase measures; the others keep theirs."""
        if self.settings.keep_statistics:
            return []
        frozen = {*frozen_blocks(model, self.settings).modules()}
        return [norm for norm in batch_norms(acoustic_of(model, self.settings)) if norm not in frozen]

    def _start_average(self) -> None:
        self._average = AveragedModel(self.objective.trained, multi_avg_fn=self._move_average)

    def _move_average(
        self,
        averages: tuple[Tensor, ...] | list[Tensor],
        weights: tuple[Tensor, ...] | list[Tensor],
        updates: Tensor | int,
    ) -> None:
        """Move the averages towards the weights, by more while a run is young."""
        kept = min(self.settings.average, (1 + int(updates)) / (10 + int(updates)))
        torch._foreach_lerp_(averages, weights, 1 - kept)

    def _set_state_priors(self) -> None:
        """Start the outputs at how often each state occurs: off, offset, onset, sustain, re-onset."""
        priors = torch.tensor([0.96, 0.003, 0.0027, 0.034, 0.0003]).log()
        with torch.no_grad():
            head = self.objective.acoustic_head
            for output in (self.model.note_sequence.output, head):
                assert isinstance(output, nn.Linear)
                output.bias.copy_(priors.repeat(output.out_features // NOTE_STATES))
            head.weight.zero_()  # so that it asks nothing of trained features at first

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
        return self.folder / STATE

    def resume(self) -> bool:
        """Go on from the last save in the folder; False if there is none."""
        if not self._state_path.exists():
            return False
        state = torch.load(self._state_path, map_location="cpu", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.objective.acoustic_head.load_state_dict(state["acoustic_head"])
        self._average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = Progress(state["progress"]["update"], state["progress"]["seconds"])
        self._crop_seed = state.get("crop_seed", self.settings.seed)  # of which older runs made no difference
        return True

    def save(self) -> None:
        """Write all that `resume` needs, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {
            "model": self.model.state_dict(),
            "acoustic_head": self.objective.acoustic_head.state_dict(),
            "average": self._average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
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
        modules_of(model, self.settings).load_state_dict(self._average.module.state_dict())
        acoustic, norms = acoustic_of(model.eval(), self.settings), self._measured_norms(model)
        if not norms:
            return model
        for norm in norms:
            norm.train()
            norm.reset_running_stats()
            norm.momentum = None  # their plain mean
        crops = itertools.islice(self._crops(first=0), _STATISTICS_UPDATES)
        with torch.no_grad():
            for crop in crops:
                self.objective.acoustic(acoustic, self.objective.mel(crop))
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
        for norm in batch_norms(self.model):
            norm.train(norm in measured)
        processes = processes_for(self.objective, self.device)
        with Gradients(self.objective, processes, self._crop_seed) as gradients:
            self._go_on(gradients, report, validate)
        self.save()

    def _go_on(
        self,
        gradients: Gradients,
        report: Callable[[dict[str, Any]], None] | None,
        validate: Callable[[Par], Mapping[str, Any]] | None,
    ) -> None:
        """Update until the run is done; see `run`."""
        started, before = time.monotonic(), self.progress.seconds
        saved, logged, validated = started, started, started
        sums: dict[str, float] = {}
        count = 0
        for crop in self._crops(self.progress.update):
            losses = self._update(gradients, crop)
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
        )
        for crop in loader:
            yield Crop(*(part.to(self.device, non_blocking=True) for part in crop))

    def _update(self, gradients: Gradients, crop: Crop) -> dict[str, float]:
        losses = gradients.compute(self.progress.update, crop)
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        nn.utils.clip_grad_norm_(self.objective.trained_parameters(), self.settings.gradient_norm)
        self.optimizer.step()
        self._average.update_parameters(self.objective.trained)
        return losses


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
    for weight in weights_of(model).values():
        digest.update(weight.tobytes())
    return int.from_bytes(digest.digest()[:8], "big")
