"""The mean of two checkpoints: `python benchmarks/mean.py ONE OTHER -o OUT`.

Weights, biases and shifts are `--share` of the way from ONE to OTHER. Of the networks that weigh notes once
all of a recording were heard, those of both are kept side by side, so that the mean of what they say counts,
or, with `--networks`, those of one alone. All else is as in ONE, but for scores, which are to be measured
anew. Released checkpoints are such means, see weights/README.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from partranscribe.checkpoint import (
    CheckpointInfo,
    load_endings,
    load_ghosts,
    load_offsets,
    load_velocities,
)
from partranscribe.endings import EndingNetwork
from partranscribe.torch_checkpoint import load_checkpoint, save_checkpoint
from partranscribe.units import Units

Network = TypeVar("Network")
_MEANS = ("onset_bias", "reonset_bias", "offset_bias", "onset_shift", "offset_shift")


def units_side_by_side(one: Units, other: Units) -> Units:
    """Units of which the sum is the mean of those of two."""
    weight, bias, output = (np.concatenate(parts) for parts in zip(one, other, strict=True))
    return Units(weight, bias, output * np.float32(0.5))


def endings_side_by_side(one: EndingNetwork, other: EndingNetwork) -> EndingNetwork:
    """A network of which the logits are the mean of those of two."""
    first = np.concatenate((one.first, other.first), axis=2)
    second, third = _apart(one.second, other.second), _apart(one.third, other.third)
    biases = zip(one[1:-1:2], other[1:-1:2], strict=True)
    first_bias, second_bias, third_bias = (np.concatenate(pair) for pair in biases)
    output = np.concatenate((one.output, other.output)) * np.float32(0.5)
    return EndingNetwork(first, first_bias, second, second_bias, third, third_bias, output)


def _apart(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights of a layer, (taps, from, to), by which the units of two networks do not meet."""
    beside = np.zeros((len(one), one.shape[1], other.shape[2]), np.float32)
    under = np.zeros((len(one), other.shape[1], one.shape[2]), np.float32)
    return np.concatenate((np.dstack((one, beside)), np.dstack((under, other))), axis=1)


def main(argv: Sequence[str] | None = None) -> None:
    """Read both and write their mean."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("one", type=Path)
    parser.add_argument("other", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.5, help="of OTHER, 0..1")
    parser.add_argument(
        "--networks", choices=("one", "other", "both"), default="both", help="that weigh notes"
    )
    arguments = parser.parse_args(argv)
    (model, one), (other_model, other) = map(load_checkpoint, (arguments.one, arguments.other))
    if one.config.model != other.config.model or one.config.front_end != other.config.front_end:
        parser.error(f"{arguments.one} and {arguments.other} are not of the same network and front end")
    if not 0 <= arguments.share <= 1:
        parser.error("--share is from 0 to 1")
    weights, others = model.state_dict(), other_model.state_dict()
    for key, weight in weights.items():  # which are those of the model
        if weight.is_floating_point():
            weight.lerp_(others[key], arguments.share)

    def network(
        load: Callable[[CheckpointInfo], Network | None], join: Callable[[Network, Network], Network]
    ) -> Network | None:
        of_one, of_other = load(one), load(other)
        if arguments.networks == "one" or of_other is None:
            return of_one
        return of_other if arguments.networks == "other" or of_one is None else join(of_one, of_other)

    with safe_open(arguments.one, framework="pt") as file:
        dtype = file.get_tensor(next(iter(weights))).dtype
    settings, others_settings = one.config.decode, other.config.decode
    means = {
        key: (1 - arguments.share) * getattr(settings, key) + arguments.share * getattr(others_settings, key)
        for key in _MEANS
    }
    decode = replace(others_settings if arguments.networks == "other" else settings, **means)
    save_checkpoint(
        arguments.output,
        model,
        replace(one.config, decode=decode),
        name=one.name,
        training=one.training,
        dtype=dtype,
        ghosts=network(load_ghosts, units_side_by_side),
        endings=network(load_endings, endings_side_by_side),
        offsets=network(load_offsets, units_side_by_side),
        velocities=network(load_velocities, units_side_by_side),
    )


if __name__ == "__main__":
    main()
