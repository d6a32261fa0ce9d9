"""Released checkpoints are found by name, in the package or beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from partranscribe import released as module
from partranscribe.errors import CheckpointError
from partranscribe.paths import sha256_of
from partranscribe.released import checkpoint_path, checkpoint_sha256, released, weights_folder


def test_a_name_is_a_file_of_the_weights_folder(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "weights_folder", lambda: tmp_path)
    assert released() == []
    (tmp_path / "par_compact.safetensors").write_bytes(tiny_checkpoint.read_bytes())
    assert released() == ["par_compact"]
    assert checkpoint_path("par_compact") == tmp_path / "par_compact.safetensors"


def test_a_model_that_is_not_released_is_told(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "weights_folder", lambda: tmp_path)
    with pytest.raises(CheckpointError, match="par: no trained weights are released yet; released: none"):
        checkpoint_path("par")
    (tmp_path / "par_compact.safetensors").write_bytes(tiny_checkpoint.read_bytes())
    with pytest.raises(
        CheckpointError, match="par: no trained weights are released yet; released: par_compact"
    ):
        checkpoint_path("par")


def test_a_checkpoint_that_cannot_be_read_is_told(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checkpoint_sha256(str(tiny_checkpoint)) == sha256_of(tiny_checkpoint)

    def refuse(_: Path) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module, "sha256_of", refuse)
    with pytest.raises(CheckpointError, match="Permission denied; check its permissions"):
        checkpoint_sha256(str(tiny_checkpoint))


def test_any_other_name_is_a_path(tiny_checkpoint: Path, tmp_path: Path) -> None:
    assert checkpoint_path(str(tiny_checkpoint)) == tiny_checkpoint
    for unknown in ("par_large", str(tmp_path), str(tmp_path / "no.safetensors")):
        with pytest.raises(CheckpointError, match="no such checkpoint; name par_compact or par, or a"):
            checkpoint_path(unknown)


def test_weights_are_in_the_package_or_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "partranscribe"
    package.mkdir()
    monkeypatch.setattr(module, "__file__", str(package / "released.py"))
    assert weights_folder() == tmp_path / "weights"
    (package / "weights").mkdir()
    assert weights_folder() == package / "weights"
