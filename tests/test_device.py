"""Devices by name, and where PyTorch is asked for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from partranscribe import device
from partranscribe.device import may_have_gpu, resolve_device
from partranscribe.errors import DeviceError, PartranscribeError


def pretend_cuda(monkeypatch: pytest.MonkeyPatch, devices: int) -> None:
    monkeypatch.setattr("partranscribe.device.may_have_gpu", lambda: devices > 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: devices > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)


@pytest.mark.parametrize(
    ("name", "devices", "expected"),
    [
        ("auto", 0, "cpu"),
        ("auto", 2, "cuda"),
        ("cpu", 0, "cpu"),
        ("cpu", 2, "cpu"),
        ("cpu:0", 0, "cpu"),
        ("CPU", 0, "cpu"),
        ("cuda", 1, "cuda"),
        ("cuda:1", 2, "cuda:1"),
    ],
)
def test_a_device_that_is_there_is_used(
    monkeypatch: pytest.MonkeyPatch, name: str, devices: int, expected: str
) -> None:
    pretend_cuda(monkeypatch, devices)
    assert resolve_device(name) == expected


@pytest.mark.parametrize(
    ("name", "devices", "message"),
    [
        ("cuda", 0, "cuda: no usable CUDA devices here; use --device cpu"),
        ("cuda:0", 0, "cuda:0: no usable CUDA devices here"),
        ("cuda:99", 2, "cuda:99: 2 usable CUDA devices here"),
        ("tpu", 1, "tpu: no such device; use auto, cpu, cuda or cuda:N"),
        ("", 1, "no such device"),
        ("cuda:x", 1, "cuda:x: no such device"),
        ("meta", 1, "meta: not supported"),
        ("mps", 1, "mps: not supported"),
    ],
)
def test_a_device_that_is_not_there_is_told(
    monkeypatch: pytest.MonkeyPatch, name: str, devices: int, message: str
) -> None:
    pretend_cuda(monkeypatch, devices)
    with pytest.raises(DeviceError, match=message):
        resolve_device(name)
    assert issubclass(DeviceError, PartranscribeError)


@pytest.mark.parametrize("platform", ["linux", "win32", "darwin"])
def test_where_there_is_no_driver_there_is_no_gpu(
    platform: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(device, "_DEVICES", [tmp_path / "kfd"])
    monkeypatch.setattr(device, "_ON_LINUX", ["libno_such_thing.so.1"])
    monkeypatch.setattr(device, "_LIBRARIES", {"win32": ["no_such_thing.dll"], "darwin": []})
    assert not may_have_gpu()
    (tmp_path / "kfd").touch()
    assert may_have_gpu()


@pytest.mark.skipif(sys.platform != "linux", reason="names a library of Linux")
def test_where_there_is_a_driver_there_may_be_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_DEVICES", [tmp_path / "kfd"])
    monkeypatch.setattr(device, "_ON_LINUX", ["libc.so.6"])
    assert may_have_gpu()


@pytest.mark.parametrize(
    ("name", "gpu", "loads"), [("cpu", True, False), ("auto", False, False), ("auto", True, True)]
)
def test_pytorch_is_asked_only_where_there_may_be_a_gpu(name: str, gpu: bool, loads: bool) -> None:
    code = f"""
import sys
from partranscribe import device
device.may_have_gpu = lambda: {gpu}
device.resolve_device({name!r})
print("torch" in sys.modules)
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == str(loads)
