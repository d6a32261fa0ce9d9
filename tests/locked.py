"""Folders that cannot be listed, whoever runs the tests."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def lock(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let no folder of these names be listed."""

    def refused(listing: Callable[..., Any]) -> Callable[..., Any]:
        def listed(path: Any = ".") -> Any:
            if not isinstance(path, int) and Path(path).name in names:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return listing(path)

        return listed

    for name in ("scandir", "listdir"):
        monkeypatch.setattr(os, name, refused(getattr(os, name)))
