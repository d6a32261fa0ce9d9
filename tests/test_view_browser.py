"""The page in a real browser: what is seen, heard and said, and that it asks for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import TINY
from partranscribe.frontend import LogMel
from partranscribe.note_io import csv_bytes
from partranscribe.notes import Note
from partranscribe.view import Contents, write_view
from shown import IN_CHROMIUM, Shown
from synth import click, melody, write_audio

RATE = 16_000
NOTES = [
    Note(0.5, 1.0, 60, 20, 1.0),
    Note(1.0, 1.5, 64, 110, 1.0),
    Note(2.0, 2.5, 67, 80, 0.4),
    Note(3.0, 3.4, 72, 80, 0.9),
    Note(12.0, 14.5, 60, 64, 0.8),
]
REFERENCE = [
    Note(0.5, 1.0, 60, 40),
    Note(1.0, 1.2, 64, 90),  # its offset is elsewhere
    Note(3.0, 3.4, 72, 80),
    Note(4.0, 4.5, 55, 70),  # missed; the note at 2 s is invented
    Note(12.0, 14.5, 60, 64),
]
HOSTILE = "</script><img src=x onerror=alert(1)>\"'&🎹 שלום"

pytestmark = IN_CHROMIUM


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page with a reference, one without, one with a hostile name, and one without notes."""
    folder = tmp_path_factory.mktemp("pages")
    log_mel = LogMel(TINY.front_end)
    audio = melody(NOTES, RATE, tail=6.5)
    audio += click(10.0, len(audio) / RATE, RATE)[:, 0]  # where two pieces meet
    song = write_audio(folder / "song.wav", audio, RATE)
    hostile = write_audio(folder / f"{HOSTILE.replace('/', '⁄')}.wav", audio[: 3 * RATE], RATE)
    contents = {
        "compared": Contents(song, NOTES, "par", REFERENCE, "truth.mid"),
        "without velocities": Contents(
            song, NOTES, "par", [replace(note, velocity=64) for note in REFERENCE], "truth.txt"
        ),
        "plain": Contents(song, NOTES, "par"),
        "hostile": Contents(hostile, NOTES, HOSTILE, REFERENCE, HOSTILE),
        "empty": Contents(song, [], "par"),
    }
    for name, one in contents.items():
        write_view(folder / f"{name}.html", one, log_mel)
    return {name: folder / f"{name}.html" for name in contents}


@pytest.fixture
def show(browser: Any, pages: dict[str, Path]) -> Iterator[Any]:
    contexts = []

    def opened(name: str, **settings: Any) -> Shown:
        context = browser.new_context(viewport={"width": 1200, "height": 760}, **settings)
        contexts.append(context)
        return Shown(context.new_page(), pages[name], "page.roll.tiles.size > 0")

    yield opened
    for context in contexts:
        context.close()


def colour_of(shown: Shown, at: float, pitch: int) -> list[int]:
    """Red, green and blue of the roll at a time and a key."""
    x, y = shown.ask(f"[page.roll.x({at}), page.roll.y({pitch}) + page.roll.keyHeight / 2]")
    return [int(value) for value in shown.pixels("notes")[round(y), round(x), :3]]


@pytest.mark.parametrize("name", ["compared", "plain", "hostile", "empty"])
def test_page_is_drawn_and_asks_for_nothing(name: str, show: Any) -> None:
    shown = show(name)
    shown.until("[...page.roll.spectrogram.pictures.values()].some(Boolean)")
    for canvas in ("notes", "keyboard", "ruler", "overview"):
        pixels = shown.pixels(canvas)
        assert len(np.unique(pixels.reshape(-1, 4), axis=0)) > 3, canvas
    shown.is_clean()


def test_notes_lie_where_and_as_they_should(show: Any) -> None:
    shown = show("plain", color_scheme="light")
    shown.page.click("#spectrogram")  # off
    shown.until("page.roll.tiles.size > 0")
    background, soft, loud = (colour_of(shown, *place) for place in ((0.75, 62), (0.75, 60), (1.25, 64)))
    assert min(background) > 230
    assert sum(loud) < sum(soft) - 100 < sum(background) - 100  # louder is darker on white
    unsure, sure = colour_of(shown, 2.25, 67), colour_of(shown, 3.2, 72)
    assert sum(unsure) > sum(sure) + 60  # the same velocity, less confidence


def test_data_is_that_of_the_csv(show: Any) -> None:
    shown = show("plain")
    notes = shown.ask("data.notes")
    rows = [
        f"{onset:.4f},{offset:.4f},{pitch},{name},{velocity},{confidence:.4f}"
        for onset, offset, pitch, name, velocity, confidence in zip(*notes.values(), strict=True)
    ]
    assert rows == csv_bytes(NOTES, {}).decode().splitlines()[1:]


def test_space_plays_and_pauses_and_the_cursor_moves(show: Any) -> None:
    shown = show("plain")
    before = shown.pixels("overlay")
    shown.press("Space")
    shown.until("page.player.playing && page.player.time > 0.3")
    assert shown.page.get_attribute("#play", "aria-pressed") == "true"
    assert shown.page.get_attribute("#play", "aria-label") == "Pause"
    shown.press("Space")
    shown.until("!page.player.playing")
    time = shown.ask("page.player.time")
    shown.until(f"document.getElementById('now').textContent === clock({time})")
    assert (shown.pixels("overlay") != before).any()
    assert shown.ask("page.player.sources.size") == 0
    shown.is_clean()


def test_playing_ends_at_the_end_and_begins_again(show: Any) -> None:
    shown = show("plain")
    shown.ask("page.player.seek(piece.end - 0.2)")
    shown.press("Space")
    shown.until("page.player.playing")
    shown.until("!page.player.playing")
    assert shown.ask("page.player.time") == pytest.approx(21.0, abs=0.01)
    shown.press("Space")
    shown.until("page.player.playing && page.player.time < 5")
    shown.press("End")
    shown.until("!page.player.playing && page.player.time === piece.end")
    shown.is_clean()


LISTEN = """() => {
  const ears = [page.player.recording, page.player.transcription].map((gain) => {
    const ear = new AnalyserNode(page.player.context, { fftSize: 4096 });
    gain.connect(ear);
    return ear;
  });
  const heard = new Float32Array(4096);
  window.loudness = (i) => {
    ears[i].getFloatTimeDomainData(heard);
    return Math.max(...heard.map(Math.abs));
  };
}"""


WITHIN_THE_LONG_NOTE = """() => {
  const stay = () => page.player.time > 13.5 && page.player.time < 15 && page.player.seek(12.2);
  page.player.seek(12.2);
  setInterval(stay, 100);
}"""


def test_fader_goes_from_the_recording_to_the_transcription(show: Any) -> None:
    shown = show("plain")
    shown.page.evaluate(WITHIN_THE_LONG_NOTE)
    shown.press("Space")
    shown.until("page.player.playing")
    shown.page.evaluate(LISTEN)
    shown.until("loudness(0) > 0.01 && loudness(1) > 0.01")
    shown.press("1")
    shown.until("loudness(0) > 0.01 && loudness(1) < 0.0005")
    assert shown.page.input_value("#fader") == "0"
    shown.page.focus("#fader")
    shown.press("End")  # of the fader, not of the piece
    shown.until("loudness(0) < 0.0005 && loudness(1) > 0.01")
    assert shown.page.get_attribute("#fader", "aria-valuetext") == "0 % recording, 100 % transcription"
    assert shown.ask("page.player.time") < 20  # nor did it jump there
    shown.is_clean()


# Counts on the thread of the sound, where what is heard and its clock are of one moment.
STOPWATCH = """async ([gain, threshold]) => {
  const processor = `registerProcessor("stopwatch", class extends AudioWorkletProcessor {
    process([[samples]]) {
      const index = samples ? samples.findIndex((sample) => Math.abs(sample) > ${threshold}) : -1;
      if (index >= 0) this.port.postMessage((currentFrame + index) / sampleRate);
      return true;
    }
  });`;
  const { player } = page, { context } = player;
  await context.audioWorklet.addModule("data:text/javascript," + encodeURIComponent(processor));
  const stopwatch = new AudioWorkletNode(context, "stopwatch");
  player[gain].connect(stopwatch).connect(context.destination);
  // When the first sample above the threshold was heard, in seconds of the piece.
  stopwatch.port.onmessage = ({ data }) => { window.time ??= player.position + data - player.startedAt; };
}"""


@pytest.mark.parametrize(
    ("start", "at", "gain", "threshold"),
    [(9.8, 10.0, "recording", 0.1), (11.8, 12.0, "transcription", 0.003)],
)
def test_recording_and_notes_sound_at_their_times(
    start: float, at: float, gain: str, threshold: float, show: Any
) -> None:
    """The click where two pieces of the recording meet, and a note of the transcription."""
    shown = show("plain", bypass_csp=True)
    shown.press("Space")
    shown.until("page.player.playing")  # only now there is sound to listen to
    shown.press("Space")
    shown.ask(f"page.player.seek({start})")
    shown.page.evaluate(STOPWATCH, [gain, threshold])
    shown.press("Space")
    shown.until("window.time")
    assert shown.ask("window.time") == pytest.approx(at, abs=0.001)
    assert shown.complaints == []


def test_keys_move_zoom_and_step(show: Any) -> None:
    shown = show("plain")
    time, scale = "page.player.time", "page.roll.scale"
    shown.press("ArrowRight", "ArrowRight")
    assert shown.ask(time) == 2
    shown.press("Shift+ArrowRight", "ArrowLeft")
    assert shown.ask(time) == 11
    shown.press("Home")
    assert shown.ask(time) == 0
    before = shown.ask(scale)
    shown.press("+")
    assert shown.ask(scale) == pytest.approx(1.5 * before)
    shown.press("-", "-")
    assert shown.ask(scale) < before
    shown.press("0")
    assert shown.ask("page.roll.right >= piece.end && page.roll.keysShown === page.roll.keys")
    shown.press("Shift+ArrowUp")
    assert shown.ask("page.roll.keysShown < page.roll.keys")
    shown.press(".", ".")
    assert shown.ask(time) == 1.0
    assert shown.text("#live").startswith("Note 2 of 5: E4, 0:01.000 to 0:01.500")
    shown.press("End")
    assert shown.ask(time) == 21.0
    shown.is_clean()


def test_errors_are_listed_jumped_to_and_said(show: Any) -> None:
    shown = show("compared")
    rows = shown.page.locator("#error-rows button")
    assert [row.split("0:")[0] for row in rows.all_text_contents()] == [
        "E4 wrong offsetends 0.30 s too late",
        "G4 invented0.50 s long, velocity 80",
        "G3 missed0.50 s long, velocity 70",
    ]
    for key, time, said in [
        ("n", 1.0, "Error 1 of 3: E4 wrong offset at 0:01.00"),
        ("n", 2.0, "Error 2 of 3: G4 invented at 0:02.00"),
        ("n", 4.0, "Error 3 of 3: G3 missed at 0:04.00"),
        ("n", 4.0, "Error 3 of 3"),
        ("p", 2.0, "Error 2 of 3"),
    ]:
        shown.press(key)
        assert shown.ask("page.player.time") == time
        assert shown.text("#live").startswith(said)
    rows.nth(2).click()
    assert shown.ask("page.player.time") == 4.0
    assert rows.nth(2).get_attribute("aria-current") == "true"
    shown.is_clean()


def test_kinds_can_be_hidden(show: Any) -> None:
    shown = show("compared")
    shown.page.click("#spectrogram")
    before = colour_of(shown, 2.25, 67)
    button = shown.page.get_by_role("button", name="Invented 1")
    button.click()
    shown.until("page.roll.tiles.size > 0")
    assert colour_of(shown, 2.25, 67) != before
    assert button.get_attribute("aria-pressed") == "false"
    assert shown.text("#error-count") == "2"
    shown.press("n", "n")
    assert shown.ask("page.player.time") == 4.0


def test_scores_are_those_of_mir_eval(show: Any) -> None:
    shown = show("compared")
    assert shown.page.locator("#scores dt").all_text_contents() == [
        "Note F1", "+ offset", "+ offset, velocity", "Note duration accuracy",
    ]  # fmt: skip
    texts = shown.page.locator("#scores dd").all_text_contents()
    assert texts[0] == "80.0P 80.0  R 80.0"
    assert texts[1].startswith("60.0")
    assert texts[2].startswith("60.0P 60.0")
    assert texts[3] == "75.0"
    texts = show("without velocities").page.locator("#scores dd").all_text_contents()
    assert texts[1].startswith("60.0")
    assert texts[2] == "–one velocity in the reference"


def test_hover_tells_what_a_note_is(show: Any) -> None:
    shown = show("compared")
    box = shown.page.locator("#overlay").bounding_box()

    def hover(at: float, pitch: int) -> str:
        x, y = shown.ask(f"[page.roll.x({at}), page.roll.y({pitch}) + page.roll.keyHeight / 2]")
        shown.page.mouse.move(box["x"] + x, box["y"] + y)
        return shown.text("#tip") if shown.page.locator("#tip").is_visible() else ""

    assert (
        hover(1.4, 64) == "E40:01.000 to 0:01.500, 0.500 svelocity 110, confidence 1.00ends 0.30 s too late"
    )
    assert hover(4.2, 55) == "G30:04.000 to 0:04.500, 0.500 svelocity 70only in the reference"
    assert hover(5.5, 64) == ""


def test_pointer_seeks_drags_and_zooms(show: Any) -> None:
    shown = show("plain")
    box = shown.page.locator("#overlay").bounding_box()
    x, y = box["x"] + 300, box["y"] + 200
    at = shown.ask("page.roll.time(300)")
    shown.page.mouse.click(x, y)
    assert shown.ask("page.player.time") == pytest.approx(at, abs=0.02)
    shown.page.mouse.move(x, y)
    shown.page.mouse.down()
    shown.page.mouse.move(x - 150, y, steps=4)
    shown.page.mouse.up()
    assert shown.ask("page.roll.left") == pytest.approx(shown.ask("150 / page.roll.scale"), rel=0.05)
    before = shown.ask("page.roll.scale")
    shown.page.keyboard.down("Control")
    shown.page.mouse.wheel(0, -100)
    shown.page.keyboard.up("Control")
    shown.until(f"page.roll.scale > {before}")
    overview = shown.page.locator("#overview").bounding_box()
    shown.page.mouse.click(overview["x"] + overview["width"] / 2, overview["y"] + 20)
    assert shown.ask("page.player.time") == pytest.approx(10.5, abs=0.1)


def test_light_and_dark(show: Any) -> None:
    light, dark = show("plain", color_scheme="light"), show("plain", color_scheme="dark")
    assert light.pixels("notes")[..., :3].mean() > 200
    assert dark.pixels("notes")[..., :3].mean() < 60
    light.page.click("#theme")
    assert light.page.get_attribute("#theme", "aria-pressed") == "true"
    light.until("getComputedStyle(document.body).backgroundColor === 'rgb(14, 17, 22)'")
    assert light.ask("page.roll.tiles.size >= 0")
    light.until("document.getElementById('notes').getContext('2d').getImageData(5, 5, 1, 1).data[0] < 60")
    light.is_clean()


def test_hostile_names_are_shown_as_text(show: Any) -> None:
    shown = show("hostile")
    assert shown.text("#title") == f"{HOSTILE.replace('/', '⁄')}.wav"
    assert HOSTILE in shown.text("#subtitle")
    assert shown.page.locator("img").count() == 0
    assert "12.0 s" not in shown.text("#remarks")
    assert "after the recording has ended, at 3.0 s" in shown.text("#remarks")
    shown.is_clean()


def test_page_without_notes_says_so_and_plays(show: Any) -> None:
    shown = show("empty")
    assert shown.text("#remarks") == "There are no notes in this transcription."
    shown.press("Space", ".", "n")
    shown.until("page.player.playing && page.player.time > 0.2")
    shown.is_clean()


def test_everything_can_be_reached_with_the_tab_key(show: Any) -> None:
    shown = show("compared")
    names = []
    for _ in range(24):
        shown.press("Tab")
        names.append(shown.ask("document.activeElement.id || document.activeElement.textContent"))
    for name in ("theme", "play", "fader", "spectrogram", "zoom-in", "roll", "error-after", "overview"):
        assert name in names
    assert shown.page.get_attribute("#overview", "role") == "slider"
    unnamed = shown.ask(
        "[...document.querySelectorAll('button, input, [tabindex]')]"
        ".filter((one) => !one.ariaLabel && !one.textContent.trim()).map((one) => one.outerHTML)"
    )
    assert unnamed == []
