"""How a phase of training goes: settings of its length, its crops, its losses and its optimiser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..weights import ACOUSTIC_BLOCKS

Phase = Literal["note", "velocity"]


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
            trained weights. What is learnt of a crop then does not depend on the others of its batch.
        processes: that divide a batch among them on a CPU, one thread each, where batch norms keep their
            statistics; 0 for as many as PyTorch would use threads. At most one for each crop.
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
    processes: int = 0
    seed: int = 0
    save_minutes: float = 5.0
    validate_minutes: float = 20.0

    def __post_init__(self) -> None:
        if self.batch < 1 or self.crop_frames < 1 or self.warmup < 1:
            raise ValueError("batch, crop_frames and warmup are not all at least one")
        if min(self.updates, self.minutes, self.workers, self.processes, self.seed) < 0:
            raise ValueError("updates, minutes, workers, processes and seed are not all at least zero")
        for name in ("hold", "average", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} is not a share below 1")
        if self.velocity_linear_from <= 0:
            raise ValueError(f"velocity_linear_from {self.velocity_linear_from} is not above zero")
        if not 0 <= self.own_context <= 1:
            raise ValueError(f"own_context {self.own_context} is not a share")
        if not 0 <= self.frozen_blocks <= ACOUSTIC_BLOCKS:
            raise ValueError(f"frozen_blocks {self.frozen_blocks} is not within 0..{ACOUSTIC_BLOCKS}")
