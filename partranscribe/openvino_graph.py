"""The acoustic modules as OpenVINO graphs: the fastest way to compute them on a CPU.

They compute what `model.AcousticModule` does: batch norms are folded into the layers before them, and the
factors of FiLM, which depend on nothing but the height, become constants.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .config import ModelConfig
from .notes import PITCHES
from .weights import ACOUSTIC_BLOCKS, NORM_EPSILON, Part

# OpenVINO reports each import to its makers, where it finds this package; what a user transcribes is private.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino as ov  # noqa: E402
from openvino import opset13 as op  # noqa: E402

# `openvino_decode` takes OpenVINO from here, where it has been kept quiet.
__all__ = ["acoustic_graph", "compile_graph", "constant", "linear", "op", "ov"]


def compile_graph(graph: ov.Model, threads: int, *, short: bool = False) -> ov.CompiledModel:
    """A graph, compiled for this CPU.

    Args:
        graph: of any kind.
        threads: how many requests may be computed at once, each on one thread.
        short: compute in bfloat16, where the CPU knows it.
    """
    core = _core()
    short = short and "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if short else "f32",
        "NUM_STREAMS": threads,
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,  # acoustic modules, decoding and front end share the cores
    }
    return core.compile_model(graph, "CPU", settings)


@cache
def _core() -> ov.Core:
    """The only one, for as long as the process lives.

    Its CPU plugin gives the thread that loads it a stack for signals, and frees that at its own end. Where
    it is freed by another thread, or before another that came after it, the stack that stays is none, and the
    next signal that Python handles, such as Ctrl-C, is a segmentation fault.
    """
    return ov.Core()


def acoustic_graph(config: ModelConfig, module: Part) -> ov.Model:
    """The graph of one module: (1, frames, mels) -> (frames, pitches, hidden), frames of any number.

    Args:
        config: of the network.
        module: the weights of an acoustic module.
    """
    mel = op.parameter([1, -1, config.n_mels], np.float32)
    x = op.unsqueeze(mel, np.int64(1))
    for level in range(ACOUSTIC_BLOCKS):
        x = _block(x, module.part(f"blocks.{level}"), config.n_mels >> level)
        if level < ACOUSTIC_BLOCKS - 1:
            x = op.max_pool(x, [1, 2], [1, 1], [0, 0], [0, 0], [1, 2]).output(0)
    head = _compact_head if config.head == "compact" else _full_head
    return ov.Model([head(x, module.part("head"), config.hidden_per_pitch)], [mel])


def _block(x: Any, block: Part, bins: int) -> Any:
    a = op.relu(_convolution(x, block.part("conv1")))
    second, norm = block.part("conv2"), block.part("norm")
    if "film.gamma.0.weight" not in block:
        return op.relu(op.add(a, _convolution(a, second, norm)))
    gamma, beta = (constant(_factor(block.part(f"film.{name}"), bins)) for name in ("gamma", "beta"))
    a = op.add(op.multiply(a, gamma), beta)
    b = op.add(op.multiply(_convolution(a, second, norm), gamma), beta)
    return op.relu(op.add(a, b))


def _factor(network: Part, bins: int) -> NDArray[np.float32]:
    """γ or β of `model.Film`: (1, channels, 1, bins)."""
    x: NDArray[np.float32] = (np.arange(bins, dtype=np.float32) / np.float32(bins))[:, None]
    for layer in ("0", "2", "4"):
        x = np.maximum(x @ network[f"{layer}.weight"].T + network[f"{layer}.bias"], 0)
    return (x @ network["6.weight"].T).T[None, :, None]


def _convolution(x: Any, layer: Part, norm: Part | None = None) -> Any:
    scale, shift = _scale_and_shift(norm) if norm is not None else (np.ones(1), np.zeros(1))
    weight = _double(layer["weight"]) * scale.reshape(-1, 1, 1, 1)
    bias = _double(layer["bias"]) * scale + shift
    edge = [size // 2 for size in weight.shape[2:]]
    y = op.convolution(x, constant(weight), [1, 1], edge, edge, [1, 1])
    return op.add(y, constant(bias.reshape(1, -1, 1, 1)))


def linear(x: Any, layer: Part, norm: Part | None = None) -> Any:
    """A linear layer, with the batch norm after it folded into its weights."""
    weight: NDArray[Any]
    bias: NDArray[Any]
    weight, bias = layer["weight"], layer["bias"]
    if norm is not None:
        scale, shift = _scale_and_shift(norm)
        weight, bias = weight * scale.reshape(-1, 1), bias * scale + shift
    return op.add(op.matmul(x, constant(weight), False, True), constant(bias))


def _compact_head(x: Any, head: Part, hidden: int) -> Any:
    x = op.relu(_convolution(x, head.part("squeeze.0"), head.part("squeeze.1")))
    x = op.relu(_convolution(x, head.part("squeeze.3")))
    x = op.squeeze(x, np.array([0, 1]))  # (frames, bins)
    x = op.relu(linear(x, head.part("split"), head.part("split_norm")))
    x = _to_pitches(x, hidden)
    x = op.transpose(x, np.array([1, 0, 2]))  # (pitches, frames, hidden)
    for level in range(2):
        layer, norm = head.part(f"layers.{level}"), head.part(f"norms.{level}")
        scale, shift = (part.reshape(PITCHES, 1, -1) for part in _scale_and_shift(norm))
        weight, bias = _double(layer["weight"]) * scale, _double(layer["bias"]) * scale + shift
        x = op.relu(op.add(op.matmul(x, constant(weight), False, False), constant(bias)))
    return op.transpose(x, np.array([1, 0, 2]))


def _full_head(x: Any, head: Part, hidden: int) -> Any:
    x = op.transpose(op.squeeze(x, np.int64(0)), np.array([1, 2, 0]))  # (frames, bins, channels)
    x = op.reshape(x, np.array([0, -1]), True)
    x = _to_pitches(linear(op.relu(linear(x, head.part("collect"))), head.part("split")), hidden)
    x = op.mvn(x, np.array([1, 2]), True, NORM_EPSILON, "inside_sqrt")
    weight, bias = (constant(head[f"norm.{name}"]) for name in ("weight", "bias"))
    return op.relu(op.add(op.multiply(x, weight), bias))


def _to_pitches(x: Any, hidden: int) -> Any:
    return op.reshape(x, np.array([0, PITCHES, hidden]), True)


def _scale_and_shift(norm: Part) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What a batch norm multiplies with and adds."""
    scale = _double(norm["weight"]) / np.sqrt(_double(norm["running_var"]) + NORM_EPSILON)
    return scale, _double(norm["bias"]) - _double(norm["running_mean"]) * scale


def _double(values: NDArray[np.float32]) -> NDArray[np.float64]:
    return values.astype(np.float64)


def constant(values: NDArray[Any]) -> Any:
    """Weights as a node, which copies them.

    Given the bare array, OpenVINO would first turn it into a Python list. If it shared its memory, one of
    its threads could let go of it while Python ends, which aborts the process.
    """
    return op.constant(np.ascontiguousarray(values, np.float32))
