"""A page in a real browser, and what it did."""

from __future__ import annotations

import base64
import io
import os
import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")

IN_CHROMIUM = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: install it, or name it in CHROMIUM"),
    # Playwright's own loop and files are closed when Python is.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


class Shown:
    """An open page; at the end nobody may have complained, and nothing been asked for.

    Args:
        page: of Playwright.
        path: of the file.
        ready: a condition that holds when it can be used.
    """

    def __init__(self, page: Any, path: Path, ready: str = "true") -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(path.as_uri())
        self.until(f"document.readyState === 'complete' && {ready}")

    def is_clean(self) -> None:
        """Ends the test of a page."""
        assert self.complaints == []
        assert len(self.requests) == 1  # the file itself

    def ask(self, expression: str) -> Any:
        return self.page.evaluate(f"() => {expression}")

    def until(self, expression: str) -> None:
        """Wait for a condition; the policy of the page forbids Playwright's own way."""
        self.page.evaluate(
            "() => new Promise((done, failed) => {"
            f"  const look = () => ({expression}) ? done() : setTimeout(look, 15);"
            f"  setTimeout(() => failed(new Error({expression!r})), 20000);"
            "  look();"
            "})"
        )

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def text(self, selector: str) -> str:
        return str(self.page.locator(selector).text_content())

    def pixels(self, canvas: str) -> Pixels:
        """What a canvas shows, red, green, blue and opacity: (rows, columns, 4)."""
        picture = self.ask(f"document.getElementById({canvas!r}).toDataURL()").partition(",")[2]
        with av.open(io.BytesIO(base64.b64decode(picture)), "r") as container:
            (frame,) = list(container.decode(video=0))
            return np.asarray(frame.to_ndarray(format="rgba"))
