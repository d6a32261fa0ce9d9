"""Size of the pages that `partranscribe view` writes, time to write them, and how fast a browser shows them.

`python benchmarks/view.py [--minutes 5 --minutes 180]` makes pages of the example, repeated to that length
with its notes and with a reference, and prints a row for each. The browser columns need Playwright and a
Chromium, which draws without a graphics card then, so that a screen is no slower.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import soundfile
from process import measure
from speed import EXAMPLE, write_recording
from systems import markdown

from partranscribe.note_io import read_notes, write_notes
from partranscribe.notes import Note

COLUMNS = (
    "recording", "notes", "MB", "seconds to write", "CPU seconds", "peak MB", "seconds to open",
    "all there after", "scrolling", "all in sight", "playing",
)  # fmt: skip
SCROLL = """(screens) => new Promise((done) => {
  const roll = page.roll, steps = [];
  const from = page.player.playing ? null : roll.left, began = performance.now();
  let last = began;
  const step = (now) => {
    steps.push(now - last);
    last = now;
    if (now - began > 4000) {
      steps.sort((one, other) => one - other);
      done([steps.length / (now - began) * 1000, steps[Math.floor(steps.length * 0.95)]]);
      return;
    }
    const moved = (now - began) / 1000 * screens * roll.width / roll.scale;
    if (from !== null && screens) roll.moveTo(from + moved);
    else if (from !== null) roll.zoom(steps.length % 2 ? 1.02 : 1 / 1.02);
    requestAnimationFrame(step);
  };
  requestAnimationFrame((now) => { last = now; requestAnimationFrame(step); });
})"""


class Shown(NamedTuple):
    """How a browser shows a page.

    Args:
        open_seconds: from asking for the page to its notes on the screen.
        load_seconds: until the last of the recording is there too.
        scrolling, overview, playing: frames in a second, and the time in ms within which 95 % of them came:
            scrolling by a screen a second, zooming with the whole piece in sight, and playing.
    """

    open_seconds: float
    load_seconds: float
    scrolling: tuple[float, float]
    overview: tuple[float, float]
    playing: tuple[float, float]


def repeated(notes: list[Note], period: float, seconds: float) -> list[Note]:
    """Notes again and again, as long as they begin before some time."""
    rounds = range(int(seconds / period) + 1)
    shifts = [number * period for number in rounds]
    again = [replace(n, onset=n.onset + shift, offset=n.offset + shift) for shift in shifts for n in notes]
    return [note for note in again if note.onset < seconds]


def show(page: Path, chromium: str) -> Shown:
    """Open a page, scroll it, zoom it out and play it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab: Any = browser.new_page(viewport={"width": 1400, "height": 860})
        began = time.perf_counter()
        tab.goto(page.resolve().as_uri(), wait_until="commit", timeout=120_000)
        while not tab.evaluate("() => Boolean(window.page && page.roll.tiles.size)"):
            time.sleep(0.01)
        opened = time.perf_counter() - began
        tab.wait_for_load_state("load", timeout=120_000)
        loaded = time.perf_counter() - began
        scrolling = tab.evaluate(SCROLL, 1)
        tab.keyboard.press("0")
        overview = tab.evaluate(SCROLL, 0)
        tab.evaluate(
            "() => { page.roll.zoom(90 / page.roll.scale); page.player.seek((piece.start + piece.end) / 2); }"
        )
        tab.keyboard.press("Space")
        while not tab.evaluate("() => page.player.playing"):
            time.sleep(0.01)
        playing = tab.evaluate(SCROLL, 0)
        browser.close()
    return Shown(opened, loaded, tuple(scrolling), tuple(overview), tuple(playing))


def row(minutes: float, folder: Path, chromium: str | None) -> tuple[str, ...]:
    """Make a page of so many minutes, and measure it."""
    recording, notes, reference = folder / "song.wav", folder / "song.csv", folder / "truth.csv"
    page = folder / f"{minutes:g}.html"
    write_recording(recording, minutes)
    period = soundfile.info(EXAMPLE).duration
    truth = repeated(read_notes(EXAMPLE.with_suffix(".mid")), period, minutes * 60)
    found = list(truth)
    found[::10] = [replace(note, pitch=note.pitch + 1) for note in truth[::10]]
    found[::7] = [replace(note, offset=note.offset + 0.5) for note in truth[::7]]
    write_notes(reference, truth)
    write_notes(notes, found)
    command = [sys.executable, "-m", "partranscribe", "view", str(recording), str(notes)]
    usage = measure([*command, "--reference", str(reference), "-o", str(page)])
    cells = [
        f"{minutes:g} min", f"{len(found)}", f"{page.stat().st_size / 1e6:.1f}", f"{usage.seconds:.1f}",
        f"{usage.cpu_seconds:.1f}", f"{usage.megabytes:.0f}",
    ]  # fmt: skip
    if chromium is not None:
        shown = show(page, chromium)
        cells += [f"{shown.open_seconds:.1f}", f"{shown.load_seconds:.1f}"]
        cells += [f"{rate:.0f}/s, {late:.0f} ms" for rate, late in shown[2:]]
    return tuple(cells)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, action="append", default=[])
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    parser.add_argument("--keep", type=Path, help="leave the pages in this folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rows = [row(minutes, folder, arguments.chromium) for minutes in arguments.minutes or [5.0, 180.0]]
    print(markdown([COLUMNS[: len(rows[0])], *rows]))


if __name__ == "__main__":
    main()
