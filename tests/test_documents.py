"""The documents in Markdown: tables that are tables, and links that lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("docs", "examples", "partranscribe", "weights")
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))]
)


def prose(document: Path) -> list[str]:
    """The lines of a document without its code."""
    text = document.read_text("utf-8")
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE).splitlines()


def tables(lines: list[str]) -> Iterator[list[list[str]]]:
    """The cells of each run of lines that look like rows."""
    rows: list[list[str]] = []
    for line in [*lines, ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip().strip("|").split("|")])
        elif rows:
            yield rows
            rows = []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_table_is_one(document: Path) -> None:
    for header, line, *rows in tables(prose(document)):
        assert all(re.fullmatch(":?-+:?", cell) for cell in line), header
        assert {len(row) for row in (line, *rows)} == {len(header)}, header


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_within_the_project_leads_to_a_file(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", "\n".join(prose(document)))
    inside = [link.split("#")[0] for link in links if not re.match(r"\w+:|#", link)]
    assert [link for link in inside if not (document.parent / link).exists()] == []
