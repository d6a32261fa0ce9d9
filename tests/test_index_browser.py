"""The page of a batch in a real browser: it sorts, searches and opens the pages of its recordings."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from partranscribe.batch import Result
from partranscribe.errors import AudioError
from partranscribe.index import write_index
from partranscribe.plan import PAGE, Extra, Job
from partranscribe.score import Measure, Score
from partranscribe.work import Outcome
from shown import IN_CHROMIUM, Shown

pytestmark = IN_CHROMIUM

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&🎹 שלום.wav"
NAMES = ["take 10.wav", "take 9.wav", HOSTILE, "broken.wav", "late.wav"]


def scored(f1: float) -> Score:
    measure = Measure(f1, f1, f1)
    return Score(
        note=measure,
        note_offset=measure,
        note_offset_velocity=measure,
        duration_accuracy=f1,
        matched=1,
        held_too_long=0.0,
        median_onset_error=0.0,
        estimated_notes=1,
        reference_notes=1,
    )


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings that are done, one kept, one failed, and one that was not begun."""
    folder = tmp_path_factory.mktemp("pages")
    jobs = []
    for place, name in enumerate(NAMES):
        page = folder / "50% #1?" / f"{place}.html"
        page.parent.mkdir(exist_ok=True)
        if place < 3:
            page.write_text(f"<!doctype html><title>{place}</title>")
        jobs.append(Job(Path("in") / name, name, extras={PAGE: Extra(page, folder)}))
    outcomes = [
        Outcome(jobs[0], notes=20, duration=60.0, score=scored(0.5)),
        Outcome(jobs[1], notes=3, duration=3725.0, score=scored(0.75)),
        Outcome(jobs[2], notes=1000, duration=600.0, kept="done before"),
        Outcome(jobs[3], error=AudioError(f"{jobs[3].source}: no samples")),
    ]
    return write_index(folder, jobs, Result(outcomes, interrupted=True, seconds=1.0))


@pytest.fixture
def shown(browser: Any, index: Path) -> Iterator[Shown]:
    context = browser.new_context(viewport={"width": 1100, "height": 600})
    yield Shown(context.new_page(), index)
    context.close()


def column(shown: Shown, number: int) -> list[str]:
    """What the rows show in one column, from the left."""
    return list(shown.page.locator(f"#rows tr > :nth-child({number})").all_text_contents())


def test_table_tells_what_became_of_each_recording(shown: Shown) -> None:
    headings = shown.page.locator("thead th").all_text_contents()
    expected = ["File", "Duration", "Notes", "Note F1", "+ offset", "+ velocity", "Duration acc.", "Status"]
    assert headings == expected
    assert column(shown, 1) == NAMES
    assert column(shown, 2) == ["1:00", "1:02:05", "10:00", "–", "–"]
    assert column(shown, 3) == ["20", "3", "1,000", "–", "–"]
    assert column(shown, 4) == ["50.0", "75.0", "–", "–", "–"]
    assert column(shown, 8) == ["done", "done", "kept", "failedno samples", "not begun"]
    assert shown.page.locator("#means tr > *").all_text_contents()[1:4] == ["1:13:05", "1,023", "62.5"]
    assert shown.text("#subtitle") == "5 recordings, 1:13:05, interrupted before the end"
    shown.is_clean()


@pytest.mark.parametrize(
    ("heading", "rising"),
    [
        ("File", [HOSTILE, "broken.wav", "late.wav", "take 9.wav", "take 10.wav"]),
        ("Notes", ["take 9.wav", "take 10.wav", HOSTILE, "broken.wav", "late.wav"]),
        ("Note F1", ["take 10.wav", "take 9.wav", HOSTILE, "broken.wav", "late.wav"]),
    ],
)
def test_heading_sorts_both_ways_with_what_is_missing_last(
    heading: str, rising: list[str], shown: Shown
) -> None:
    button = shown.page.get_by_role("button", name=heading, exact=True)
    header = shown.page.locator(f"thead th:has-text('{heading}')")
    button.click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert column(shown, 1) == rising
    button.focus()
    shown.press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    there = len(rising) if heading == "File" else 3 if heading == "Notes" else 2
    assert column(shown, 1) == rising[:there][::-1] + rising[there:]
    button.click()
    assert header.get_attribute("aria-sort") is None
    assert column(shown, 1) == NAMES
    shown.is_clean()


def test_search_finds_names_and_reasons(shown: Shown) -> None:
    shown.press("/")
    shown.page.keyboard.type("TAKE 9")
    assert column(shown, 1) == ["take 9.wav"]
    assert shown.text("#shown") == "1 of 5"
    shown.page.fill("#search", "samples")
    assert column(shown, 1) == ["broken.wav"]
    shown.page.fill("#search", "nowhere")
    assert column(shown, 1) == []
    shown.page.click("#clear")
    assert column(shown, 1) == NAMES
    shown.is_clean()


def test_status_is_chosen_by_a_button(shown: Shown) -> None:
    done = shown.page.get_by_role("button", name="done 2")
    done.click()
    assert column(shown, 1) == ["take 10.wav", "take 9.wav"]
    assert shown.page.locator("#statuses [aria-pressed=true]").count() == 1
    done.click()
    assert column(shown, 1) == NAMES


def test_row_opens_its_page(shown: Shown) -> None:
    assert shown.page.locator("#rows a").count() == 3  # the others have none
    shown.page.click("#rows a >> nth=1")
    shown.until("document.title === '1'")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_theme_is_that_of_the_system_until_it_is_changed(browser: Any, index: Path, scheme: str) -> None:
    context = browser.new_context(color_scheme=scheme)
    shown = Shown(context.new_page(), index)
    assert shown.ask("document.documentElement.dataset.theme") == scheme
    shown.page.click("#theme")
    assert shown.ask("document.documentElement.dataset.theme") != scheme
    shown.is_clean()
    context.close()


def test_rows_come_as_they_are_scrolled_to(browser: Any, tmp_path: Path) -> None:
    jobs = [Job(Path(f"{place}.wav"), f"{place}.wav") for place in range(450)]
    index = write_index(tmp_path, jobs, Result([], interrupted=True, seconds=1.0))
    context = browser.new_context(viewport={"width": 1100, "height": 600})
    shown = Shown(context.new_page(), index)
    assert shown.page.locator("#rows tr").count() == 200
    limit = time.monotonic() + 60
    while shown.page.locator("#rows tr").count() < 450:
        assert time.monotonic() < limit
        shown.press("End")  # and once more, if it was the end before the last rows came
        shown.page.wait_for_timeout(50)
    assert column(shown, 1) == [job.name for job in jobs]
    assert shown.page.locator("#more").is_hidden()
    shown.page.fill("#search", "449")
    assert column(shown, 1) == ["449.wav"]
    shown.is_clean()
    context.close()


def test_rows_come_to_one_who_never_leaves_the_end(browser: Any, tmp_path: Path) -> None:
    jobs = [Job(Path(f"{place}.wav"), f"{place}.wav") for place in range(950)]
    index = write_index(tmp_path, jobs, Result([], interrupted=True, seconds=1.0))
    context = browser.new_context(viewport={"width": 1100, "height": 600})
    shown = Shown(context.new_page(), index)
    shown.page.evaluate(
        "() => {"
        "  const jump = () => scrollTo(0, document.documentElement.scrollHeight);"
        "  new MutationObserver(jump).observe(document.getElementById('rows'), { childList: true });"
        "  jump();"
        "}"
    )
    shown.until("document.querySelectorAll('#rows tr').length === 950")
    shown.is_clean()
    context.close()
