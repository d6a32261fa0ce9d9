"""Imports point one way, and what is not needed is not loaded."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import partranscribe

PACKAGE = Path(partranscribe.__file__).parent
NAME = "partranscribe"
ROOT = "__init__"

# A module may import those of the lines before its own, and within its own package.
LAYERS = (
    {
        "errors",
        "notes",
        "config",
        "paths",
        "owner",
        "ahead",
        "timings",
        "template",
        "loudness",
        "tuning",
        "file_lock",
        "windows",
        "machine",
        "rhythm",
        "units",
    },
    {"partials"},
    {"attacks", "endings"},
    {
        "audio",
        "device",
        "frames",
        "frontend",
        "weights",
        "note_array",
        "released",
        "whole_file",
        "child_process",
    },
    {"offsets", "dynamics"},
    {"velocities"},
    {"ghosts"},
    {"model", "note_io", "remote", "sampler", "torch_frontend", "checkpoint"},
    {"stepper", "openvino_graph", "torch_checkpoint", "sonify", "manifest"},
    {"triton_decode", "openvino_decode"},
    {"torch_decode"},
    {"openvino_engine", "torch_engine"},
    {"engine", "posteriors", "score"},
    {"transcribe", "opus", "spectrogram"},
    {"plan", "view", "plots"},
    {"extras"},
    {"work"},
    {"workers", "backlog"},
    {"crew", "cluster"},
    {"batch", "training"},
    {"show", "report"},
    {"index"},
    {"cli"},
    {"__main__"},
)


def module_name(path: Path, package: Path = PACKAGE) -> str:
    """A file as a dotted name below the package: `model`, `training.loop`, `__init__`."""
    return ".".join(path.relative_to(package).with_suffix("").parts)


def layer(module: str) -> int:
    part = module.split(".")[0]
    numbers = [number for number, names in enumerate(LAYERS) if part in names]
    assert len(numbers) == 1, f"give {part} a line in LAYERS, and in the layout that is documented"
    return numbers[0]


def imports(source: str, module: str) -> Iterator[str]:
    """Modules of this package that a source imports, wherever in it, as dotted names below the package.

    `from . import x` may name a module or something in a package; it counts as the module `x`.
    """
    package = [NAME, *module.split(".")[:-1]]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            path = ".".join([*base, *([node.module] if node.module else [])])
            found = [f"{path}.{alias.name}" for alias in node.names] if path == NAME else [path]
        else:
            continue
        for name in found:
            if name == NAME:
                yield ROOT
            elif name.startswith(f"{NAME}."):
                yield name.removeprefix(f"{NAME}.")


def is_allowed(module: str, imported: str) -> bool:
    """Whether the one module may import the other; what the package gives away may be of any but `cli`."""
    if imported.startswith("__"):  # what the package itself says, such as its version
        return imported in (ROOT, "__version__")
    if layer(imported) == layer("cli"):
        return module == "__main__"
    if module == ROOT or module.split(".")[0] == imported.split(".")[0]:
        return True
    return layer(imported) < layer(module)


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", sources(), ids=module_name)
def test_imports_point_one_way(path: Path) -> None:
    module = module_name(path)
    found = imports(path.read_text(encoding="utf-8"), module)
    assert [name for name in found if not is_allowed(module, name)] == []


@pytest.mark.parametrize("path", sources(), ids=module_name)
def test_every_module_has_its_place(path: Path) -> None:
    assert module_name(path) == ROOT or layer(module_name(path)) >= 0


@pytest.mark.parametrize(
    ("module", "source", "found"),
    [
        ("torch_decode", "from .model import Par", ["model"]),
        ("torch_decode", "from partranscribe.model import Par", ["model"]),
        ("torch_decode", "import partranscribe.model", ["model"]),
        ("torch_decode", "import partranscribe.model as m, os", ["model"]),
        ("torch_decode", "from . import model, notes", ["model", "notes"]),
        ("torch_decode", "from partranscribe import model", ["model"]),
        ("cli", "from . import __version__", ["__version__"]),
        ("cli", "import partranscribe", [ROOT]),
        ("training.loop", "from ..model import Par", ["model"]),
        ("training.loop", "from .loss import focal_loss", ["training.loss"]),
        ("training.loop", "from .. import cli", ["cli"]),
        ("training.loop", "from . import data", ["training"]),
        ("torch_decode", "def f():\n    from .cli import main", ["cli"]),
        ("torch_decode", "if TYPE_CHECKING:\n    from .cli import main", ["cli"]),
        ("torch_decode", "import torch\nfrom os import path\nfrom partranscribed import x", []),
    ],
)
def test_every_kind_of_import_is_seen(module: str, source: str, found: list[str]) -> None:
    assert list(imports(source, module)) == found


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("model", "torch_decode"),
        ("config", "audio"),
        ("notes", "errors"),
        ("note_io", "score"),
        ("frontend", "model"),
        ("checkpoint", "transcribe"),
        ("transcribe", "training.data"),
        ("batch", "training.loop"),
        ("training.loop", "batch"),
        ("training.loop", "cli"),
        (ROOT, "cli"),
        ("batch", "__main__"),
    ],
)
def test_an_upward_import_would_be_found(module: str, imported: str) -> None:
    assert not is_allowed(module, imported)


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("torch_decode", "model"),
        ("score", "note_io"),
        ("cli", "training.loop"),
        ("training.loop", "training.loss"),
    ],
)
def test_a_downward_import_is_allowed(module: str, imported: str) -> None:
    assert is_allowed(module, imported)


def loaded_by(code: str) -> set[str]:
    """Top-level modules that are loaded once this code has run in a fresh interpreter."""
    ending = "import sys; print('loaded:', *{name.split('.')[0] for name in sys.modules})"
    run = subprocess.run(
        [sys.executable, "-c", f"{code}\n{ending}"], check=True, capture_output=True, text=True
    )
    return set(run.stdout.rpartition("loaded:")[2].split())


def test_help_loads_neither_torch_nor_librosa() -> None:
    loaded = loaded_by("from partranscribe.cli import main\nmain(['--help'], standalone_mode=False)")
    assert "partranscribe" in loaded
    assert not loaded & {"torch", "librosa", "scipy", "numba", "mir_eval", "pretty_midi"}


def test_the_package_alone_loads_nothing_heavy() -> None:
    assert not loaded_by("import partranscribe") & {"torch", "librosa", "numpy", "click"}


def test_a_network_is_computed_without_torch() -> None:
    loaded = loaded_by("import partranscribe.transcribe, partranscribe.openvino_engine")
    assert "openvino" in loaded
    assert not loaded & {"torch", "librosa", "scipy", "numba"}


def test_matplotlib_is_loaded_by_what_draws() -> None:
    assert "matplotlib" not in loaded_by("import partranscribe.plots")
