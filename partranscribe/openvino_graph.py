"""The acoustic modules as OpenVINO graphs: the fastest way to compute them on a CPU.

The weights are those of the PyTorch modules: batch norms are folded into the layers before them, and the
factors of FiLM, which depend on nothing but the height, become constants.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from .model import AcousticModule, CompactHead, ConvFilmBlock, FullHead, PitchLinear
from .notes import PITCHES

# OpenVINO reports each import to its makers, where it finds this package; what a user transcribes is private.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino as ov  # noqa: E402
from openvino import opset13 as op  # noqa: E402

# `openvino_decode` takes OpenVINO from here, where it has been kept quiet.
__all__ = ["acoustic_graph", "array", "compile_graph", "constant", "linear", "op", "ov"]


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


def acoustic_graph(module: AcousticModule, mels: int) -> ov.Model:
    """The graph of one module: (1, frames, mels) -> (frames, pitches, hidden), frames of any number.

    Args:
        module: in evaluation mode.
        mels: height of the spectrogram.
    """
    mel = op.parameter([1, -1, mels], np.float32)
    x = op.unsqueeze(mel, np.int64(1))
    for level, block in enumerate(module.blocks):
        assert isinstance(block, ConvFilmBlock)
        x = _block(x, block)
        if level < 2:
            x = op.max_pool(x, [1, 2], [1, 1], [0, 0], [0, 0], [1, 2]).output(0)
    head = module.head
    x = _compact_head(x, head) if isinstance(head, CompactHead) else _full_head(x, head)
    return ov.Model([x], [mel])


def _block(x: Any, block: ConvFilmBlock) -> Any:
    a = op.relu(_convolution(x, block.conv1))
    if block.film is None:
        return op.relu(op.add(a, _convolution(a, block.conv2, block.norm)))
    gamma, beta = (constant(array(factor)[None]) for factor in block.film.factors())
    a = op.add(op.multiply(a, gamma), beta)
    b = op.add(op.multiply(_convolution(a, block.conv2, block.norm), gamma), beta)
    return op.relu(op.add(a, b))


def _convolution(x: Any, layer: nn.Conv2d, norm: nn.BatchNorm2d | None = None) -> Any:
    assert layer.bias is not None
    scale, shift = _scale_and_shift(norm) if norm is not None else (1.0, 0.0)
    weight = _double(layer.weight) * np.reshape(scale, (-1, 1, 1, 1))
    bias = _double(layer.bias) * scale + shift
    edge = list(layer.padding)
    y = op.convolution(x, constant(weight), [1, 1], edge, edge, [1, 1])
    return op.add(y, constant(bias.reshape(1, -1, 1, 1)))


def linear(x: Any, layer: nn.Linear, norm: nn.BatchNorm1d | None = None) -> Any:
    """A linear layer, with the batch norm after it folded into its weights."""
    weight: NDArray[Any]
    bias: NDArray[Any]
    weight, bias = array(layer.weight), array(layer.bias)
    if norm is not None:
        scale, shift = _scale_and_shift(norm)
        weight, bias = weight * scale.reshape(-1, 1), bias * scale + shift
    return op.add(op.matmul(x, constant(weight), False, True), constant(bias))


def _compact_head(x: Any, head: CompactHead) -> Any:
    narrow, norm, _, only, _ = head.squeeze
    assert isinstance(narrow, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert isinstance(only, nn.Conv2d)
    x = op.relu(_convolution(op.relu(_convolution(x, narrow, norm)), only))
    x = op.squeeze(x, np.array([0, 1]))  # (frames, bins)
    x = op.relu(linear(x, head.split, head.split_norm))
    x = _to_pitches(x, head.hidden)
    x = op.transpose(x, np.array([1, 0, 2]))  # (pitches, frames, hidden)
    for layer, layer_norm in zip(head.layers, head.norms, strict=True):
        assert isinstance(layer, PitchLinear)
        assert isinstance(layer_norm, nn.BatchNorm1d)
        scale, shift = (part.reshape(PITCHES, 1, -1) for part in _scale_and_shift(layer_norm))
        weight, bias = _double(layer.weight) * scale, _double(layer.bias) * scale + shift
        x = op.relu(op.add(op.matmul(x, constant(weight), False, False), constant(bias)))
    return op.transpose(x, np.array([1, 0, 2]))


def _full_head(x: Any, head: FullHead) -> Any:
    x = op.transpose(op.squeeze(x, np.int64(0)), np.array([1, 2, 0]))  # (frames, bins, channels)
    x = op.reshape(x, np.array([0, -1]), True)
    x = _to_pitches(linear(op.relu(linear(x, head.collect)), head.split), head.hidden)
    x = op.mvn(x, np.array([1, 2]), True, head.norm.eps, "inside_sqrt")
    weight, bias = (constant(array(part)) for part in (head.norm.weight, head.norm.bias))
    return op.relu(op.add(op.multiply(x, weight), bias))


def _to_pitches(x: Any, hidden: int) -> Any:
    return op.reshape(x, np.array([0, PITCHES, hidden]), True)


def _scale_and_shift(
    norm: nn.BatchNorm1d | nn.BatchNorm2d,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What a batch norm multiplies with and adds, in evaluation mode."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = _double(norm.weight) / np.sqrt(_double(norm.running_var) + norm.eps)
    return scale, _double(norm.bias) - _double(norm.running_mean) * scale


def _double(tensor: Tensor) -> NDArray[np.float64]:
    array: NDArray[np.float64] = tensor.detach().cpu().double().numpy()
    return array


def array(tensor: Tensor) -> NDArray[np.float32]:
    """A weight, for a graph."""
    array: NDArray[np.float32] = tensor.detach().cpu().float().numpy()
    return array


def constant(values: NDArray[Any]) -> Any:
    """Weights as a node, which shares their memory where it can.

    Given the bare array, OpenVINO would first turn it into a Python list.
    """
    return op.constant(np.ascontiguousarray(values, np.float32), shared_memory=True)
