"""Focal loss on note states and squared error on velocities at onsets: section IV-C."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..notes import NOTE_STATES, OFFSET, ONSET, REONSET, SUSTAIN
from .labels import EARLY_FRAMES


def state_weights(onset: float, note: float) -> Tensor:
    """Weight of each state in the loss: (states,).

    Args:
        onset: of onsets and re-onsets.
        note: of sustain and offset.
    """
    weights = torch.ones(NOTE_STATES)
    weights[[ONSET, REONSET]] = onset
    weights[[SUSTAIN, OFFSET]] = note
    return weights


def focal_loss(logits: Tensor, target: Tensor, weights: Tensor, gamma: float = 2.0) -> Tensor:
    """Focal loss of every cell, summed over pitches and averaged over frames: a scalar.

    The paper's α is 1 and γ is 2. A mean over all cells is tiny, as nearly all of them are off.

    Args:
        logits: (batch, frames, pitches, states).
        target: (batch, frames, pitches) states.
        weights: (states,).
        gamma: how much less an easy cell counts.
    """
    log_probabilities = F.log_softmax(logits.float(), dim=-1)
    of_target = log_probabilities.gather(-1, target.unsqueeze(-1)).squeeze(-1)
    cells = -weights[target] * (1 - of_target.exp()) ** gamma * of_target
    return cells.sum(dim=-1).mean()


def unanswered(velocity: Tensor, duration: Tensor, max_duration: int) -> Tensor:
    """Velocities 0..1 without those that the context tells, of notes whose onset it has just heard.

    In decoding it never tells what is asked for, and a network learns nothing of use from copying it.

    Args:
        velocity: (batch, frames, pitches); zero where there is none to tell.
        duration: of the context, likewise: frames since the onset over `max_duration`.
        max_duration: frames that are counted at most.
    """
    age = (duration * max_duration).round()
    return velocity.masked_fill((age > 0) & (age <= EARLY_FRAMES + 1), 0.0)


def velocity_loss(velocity: Tensor, target: Tensor, level: float = 0.1, linear_from: float = 1.0) -> Tensor:
    """Mean error of velocities 0..1 where there is one to tell, squared up to a size: a scalar.

    The part of the error that all notes of a crop share counts less: how loud a recording is tells little of
    how hard the keys were struck, and scores fit a straight line between the two.

    Args:
        velocity: (batch, frames, pitches).
        target: of the same shape; zero where no note begins.
        level: weight of the mean error of each crop; 1 gives the paper's loss, section IV-C.
        linear_from: size from which an error counts linearly; by 1, the most there is, all are squared as in
            the paper. Scores ask whether a velocity is near, and not how far it is if it is not.
    """
    told = target > 0
    error = torch.where(told, velocity - target, 0.0)
    count = told.sum(dim=(1, 2)).clamp(min=1)
    mean = error.sum(dim=(1, 2)) / count  # (batch,)
    own = torch.where(told, error - mean.view(-1, 1, 1), 0.0)
    shared = count * told.any(dim=(1, 2)) * _square(mean, linear_from)
    return (_square(own, linear_from).sum() + level * shared.sum()) / told.sum().clamp(min=1)


def _square(error: Tensor, linear_from: float) -> Tensor:
    """The square up to a size, and a straight line from there on."""
    return 2 * F.huber_loss(error, torch.zeros_like(error), reduction="none", delta=linear_from)
