"""Self-contained HTML pages: script, style and data are inside, and nothing comes from a network."""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

_FOLDER = Path(__file__).parent / "page"
_POLICY = (
    "default-src 'none'; script-src '{script}'; style-src '{style}'; base-uri 'none'; form-action 'none'"
)
_FOR_HTML = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})

MARK = '<meta name="generator" content="partranscribe">'  # by which pages are known


class Template(NamedTuple):
    """A page: its head, what `data_element` and others give, its script, and the tail."""

    head: str
    script: str
    tail: str


def template(name: str) -> Template:
    """A page of the folder `page`, with its style, and a policy by which nothing runs but its script."""
    script, style = (_part(f"common.{kind}") + _part(f"{name}.{kind}") for kind in ("js", "css"))
    policy = _POLICY.format(script=_hash(script), style=_hash(style))
    page = _part(f"{name}.html").replace("{policy}", policy).replace("{style}", style)
    head, tail = page.split("{data}")
    return Template(head, f"<script>{script}</script>\n", tail)


def data_element(name: str, value: object) -> str:
    """An element that holds JSON for the script, which finds it by its name."""
    return f'<script type="application/json" id="{name}">{json_for_html(value)}</script>\n'


def bytes_element(name: str, content: bytes) -> str:
    """An element that holds bytes, in Base64."""
    return f'<script type="text/plain" id="{name}">{base64.b64encode(content).decode()}</script>\n'


def json_for_html(value: object) -> str:
    """JSON that may stand in a script element, whatever its strings hold."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).translate(_FOR_HTML)


def _part(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """The SHA-256 by which a content security policy knows an inline script or style."""
    return f"sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}"
