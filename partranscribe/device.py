"""Where to compute: on a CPU, or on a GPU for which there is PyTorch."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

from .errors import DeviceError

# Of NVIDIA, and of AMD, whose GPUs PyTorch calls CUDA devices, too.
_LIBRARIES = {"win32": ["nvcuda.dll", "amdhip64.dll", "amdhip64_6.dll", "amdhip64_7.dll"], "darwin": []}
_ON_LINUX = ["libcuda.so.1"]
_DEVICES = [Path("/dev/kfd"), Path("/dev/dxg")]  # the latter is that of Linux within Windows


def resolve_device(name: str) -> str:
    """The device for "auto", "cpu", "cuda" or "cuda:N"; auto takes CUDA if it is there.

    PyTorch, which takes a second to load, is asked only where there may be a GPU.

    Raises:
        DeviceError: there is no such device on this machine.
    """
    name = name.lower()
    if name == "cpu" or (name == "auto" and not may_have_gpu()):
        return "cpu"
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"{name}: no such device; use auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(f"{name}: not supported; use auto, cpu, cuda or cuda:N")
    if device.type == "cuda":
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= there:
            raise DeviceError(f"{name}: {there or 'no'} usable CUDA devices here; use --device cpu")
    return str(device) if device.type == "cuda" else "cpu"


def may_have_gpu() -> bool:
    """Whether a driver of a GPU is there."""
    return any(path.exists() for path in _DEVICES) or any(
        _is_there(library) for library in _LIBRARIES.get(sys.platform, _ON_LINUX)
    )


def _is_there(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
