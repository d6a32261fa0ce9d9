"""Draws the pictures of the README anew, with the weights that are installed.

python examples/make_pictures.py [--output FOLDER] [--chromium PROGRAM]

Needs the extra `dev`, and a Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from partranscribe import Note, Transcriber, read_notes, write_notes
from partranscribe.checkpoint import checkpoint_info
from partranscribe.plan import PAGE, Extra, Job
from partranscribe.plots import write_plot
from partranscribe.released import DEFAULT_NAME, checkpoint_path
from partranscribe.work import Settings, view

HERE = Path(__file__).parent
SIZE = {"width": 1280, "height": 760}
ERRORS_TO_PASS = 4  # before the picture of the spoilt notes is taken
DARK_SECOND = 7
POINTED_AT = (600, 408)  # a long note


def spoilt(notes: Sequence[Note]) -> Iterator[Note]:
    """Of all notes, one in sixteen is lost, and one in twenty sounds again an octave higher."""
    for index, note in enumerate(notes):
        if index % 16 != 7:
            yield note
        if index % 20 == 4:
            yield replace(note, pitch=note.pitch + 12, offset=note.onset + 0.16, velocity=35, confidence=0.4)


def page(folder: Path, notes: Path, reference: Path | None) -> Path:
    """The page of the example with some notes."""
    path = folder / f"{notes.stem}.html"
    recording = HERE / "prelude.flac"
    job = Job(recording, recording.name, reference=reference, extras={PAGE: Extra(path, None)})
    view(job, notes, Settings())
    return path


def opened(browser: Any, path: Path, scheme: str) -> Any:
    """A page as a reader sees it who has not touched it yet."""
    shown = browser.new_context(viewport=SIZE, color_scheme=scheme).new_page()
    shown.goto(path.as_uri())
    shown.wait_for_timeout(1000)
    return shown


def main() -> None:
    """Make pages and pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=HERE, help="folder of the pictures")
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    arguments = parser.parse_args()
    truth = HERE / "prelude.mid"
    notes = Transcriber(DEFAULT_NAME, "cpu").transcribe(HERE / "prelude.flac").notes
    write_plot(
        arguments.output / "roll.png", notes, title="prelude.flac", reference=read_notes(truth), start=0.0
    )
    with tempfile.TemporaryDirectory() as made, sync_playwright() as playwright:
        folder = Path(made)
        write_notes(folder / "prelude.csv", notes)
        write_notes(folder / "spoilt.csv", list(spoilt(notes)))
        browser = playwright.chromium.launch(executable_path=arguments.chromium, args=["--no-sandbox"])
        light = opened(browser, page(folder, folder / "spoilt.csv", truth), "light")
        for _ in range(ERRORS_TO_PASS):
            light.keyboard.press("n")
        light.wait_for_timeout(500)
        light.screenshot(path=arguments.output / "view-light.png")
        dark = opened(browser, page(folder, folder / "prelude.csv", None), "dark")
        for _ in range(DARK_SECOND):
            dark.keyboard.press("ArrowRight")
        dark.mouse.move(*POINTED_AT)
        dark.wait_for_timeout(500)
        dark.screenshot(path=arguments.output / "view-dark.png")
        browser.close()
    print(f"pictures of {checkpoint_info(checkpoint_path(DEFAULT_NAME)).sha256[:8]} in {arguments.output}")


if __name__ == "__main__":
    main()
