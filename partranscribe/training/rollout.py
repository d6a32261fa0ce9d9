"""The recursive context as the network decodes it by itself, to train on its own mistakes."""

from __future__ import annotations

import torch
from torch import Tensor

from ..model import LastFrame, Par
from ..torch_decode import advance


@torch.no_grad()
def own_context(model: Par, features: Tensor, first: LastFrame, velocity: Tensor) -> LastFrame:
    """The context of each frame when every frame follows what was decoded before it (section III-C).

    Args:
        model: the network; its note network decodes, by the likeliest state and without any bias.
        features: of its note acoustic module, (batch, frames, pitches, hidden).
        first: the context of the first frame, (batch, 1, pitches) each.
        velocity: 0..1, what to take for the velocity of a note that begins there, (batch, frames, pitches).
    """
    last, memory = first, model.note_sequence.initial_state(len(features))
    given = [last]
    for frame in range(features.shape[1] - 1):
        here = slice(frame, frame + 1)
        logits, memory = model.note_step(features[:, here], last, memory)
        last = advance(last, logits.argmax(dim=-1), velocity[:, here], model.config.max_duration_frames)
        given.append(last)
    return LastFrame(*(torch.cat(parts, dim=1) for parts in zip(*given, strict=True)))
