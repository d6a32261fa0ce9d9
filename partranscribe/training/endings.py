"""The network of `partranscribe.endings`, trained on what a trained network decodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..endings import DILATIONS, FRAMES, TAPS, Ending, EndingNetwork
from ..errors import DataError
from ..note_array import OFFSET_COLUMN, ONSET_COLUMN, next_strikes, note_array
from ..offsets import may_end
from ..score import match
from ..windows import NumpyArrays
from .fitting import Heard, fit, passes

_BATCH, _EPOCHS, _UPDATES = 512, 6, 300  # of notes; passes and updates at least
_IMPOSSIBLE = -30.0  # as a logit
_LEAST = 1e-3  # deviation of an input


class _Example(NamedTuple):
    """A note that was found and is there.

    Args:
        window: what is heard of its end, see `endings.EndHeard`.
        possible: frames in which it may end: (FRAMES,).
        wanted: the frame in which it does, or the two it does between: (FRAMES,).
    """

    window: NDArray[np.float16]
    possible: NDArray[np.bool_]
    wanted: NDArray[np.float32]


class Endings(nn.Module):
    """An `EndingNetwork` as it is trained.

    Args:
        hidden: units of each layer.
        scale: of each input, by which it is divided: (inputs,).
    """

    def __init__(self, hidden: int, scale: Tensor) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for size, dilation in zip((len(scale), hidden, hidden), DILATIONS, strict=True):
            layers += nn.Conv1d(size, hidden, TAPS, padding="same", dilation=dilation), nn.ReLU()
        self.layers, self.output = nn.Sequential(*layers), nn.Linear(hidden, 1, bias=False)
        self.scale = scale

    def forward(self, windows: Tensor) -> Tensor:
        """Logits of each frame, see `EndingNetwork.logits`: (notes, FRAMES)."""
        hidden = self.layers((windows / self.scale).transpose(1, 2))
        logits: Tensor = self.output(hidden.transpose(1, 2))[..., 0]
        return logits

    def finished(self) -> EndingNetwork:
        """For windows as they are."""
        parts = {name: part.detach().numpy().copy() for name, part in self.named_parameters()}
        weights = [parts[f"layers.{number}.weight"].transpose(2, 1, 0) for number in (0, 2, 4)]
        biases = [parts[f"layers.{number}.bias"] for number in (0, 2, 4)]
        first = weights[0] / self.scale.numpy()[:, None]
        return EndingNetwork(
            first, biases[0], weights[1], biases[1], weights[2], biases[2], parts["output.weight"][0]
        )


def learn_endings(passages: Sequence[Heard], hidden: int, seconds_per_frame: float) -> EndingNetwork:
    """Learn by what is heard how likely each frame around the end of a note is its end.

    Args:
        passages: to learn from.
        hidden: units of each layer.
        seconds_per_frame: of the front end.

    Raises:
        DataError: too few notes are found in them.
    """
    examples = [example for one in passages for example in _examples(one, seconds_per_frame)]
    if len(examples) < _BATCH:
        raise DataError("too few notes were found to learn how they end; give more passages")

    def loss(network: Endings, batch: Tensor) -> Tensor:
        windows, possible, wanted = (
            torch.from_numpy(np.stack(part))
            for part in zip(*(examples[index] for index in batch.tolist()), strict=True)
        )
        logits = network(windows.float()).masked_fill(~possible, _IMPOSSIBLE)
        return nn.functional.cross_entropy(logits, wanted)

    squares = [np.square(example.window, dtype=np.float32).mean(axis=0) for example in examples]
    network = Endings(hidden, torch.from_numpy(np.sqrt(np.mean(squares, axis=0)) + _LEAST))
    fit(network, loss, len(examples), _BATCH, passes(_EPOCHS, _UPDATES, _BATCH, len(examples)))
    return network.finished()


def with_endings(passage: Heard, network: EndingNetwork, seconds_per_frame: float) -> Heard:
    """The same with the endings of what was found.

    Args:
        passage: whose ends were heard.
        network: that tells them.
        seconds_per_frame: of the front end.
    """
    ends = [passage.ends[note.place] for note in passage.found]
    windows = np.stack([end.window for end in ends]).astype(np.float32)
    endings = (
        Ending(seconds_per_frame * end.first, seconds_per_frame, logits)
        for end, logits in zip(ends, network.logits(windows, NumpyArrays()).astype(np.float16), strict=True)
    )
    places = (note.place for note in passage.found)
    return passage._replace(endings=dict(zip(places, endings, strict=True)))


def _examples(passage: Heard, seconds_per_frame: float) -> Iterator[_Example]:
    """The notes that were found and are there, but for those whose end is in none of their frames."""
    table, there = note_array(passage.found), note_array(passage.there)
    strikes = next_strikes(table)
    for of_there, of_found in match(passage.found, passage.there).onset.tolist():
        end = passage.ends[passage.found[of_found].place]
        frames = seconds_per_frame * (end.first + np.arange(FRAMES, dtype=np.float64))
        possible = may_end(frames, table[of_found, ONSET_COLUMN], strikes[of_found])
        distance = np.abs(frames - there[of_there, OFFSET_COLUMN]) / seconds_per_frame
        wanted = (1 - distance).clip(min=0) * possible
        if wanted.any():
            yield _Example(end.window, possible, (wanted / wanted.sum()).astype(np.float32))
