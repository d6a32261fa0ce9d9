"""Cores and memory of this machine, or of the share that a container gives."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from partranscribe import machine
from partranscribe.machine import available_memory, default_threads, usable_cores


def test_the_memory_that_is_available_is_known_or_not() -> None:
    memory = available_memory()
    assert memory is None or memory > 0


@pytest.mark.parametrize(("quota", "cores"), [("250000 100000", 3), ("50000 100000", 1), ("max 100000", 8)])
def test_a_container_has_the_cores_and_the_memory_that_it_is_given(
    quota: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setattr(machine, "CONTAINER", tmp_path)
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("900000\n")
    (tmp_path / "memory.stat").write_text("anon 300000\nactive_file 200000\ninactive_file 400000\n")
    assert usable_cores() == cores
    assert available_memory() == 700_000


@pytest.mark.parametrize(
    ("cores", "allowed", "told", "threads"),
    [
        (8, range(8), None, 4),  # each has two threads
        (8, [0, 1, 4], None, 2),
        (8, [3], None, 1),
        (8, range(8), "3", 3),
        (8, range(8), "16", 4),
        (8, range(8), "many", 4),
        (8, range(8), "0", 4),
        (0, range(6), None, 6),  # where nothing tells which belong together
    ],
)
def test_threads_of_one_core_count_once(
    cores: int,
    allowed: range | list[int],
    told: str | None,
    threads: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for thread in range(cores):
        siblings = tmp_path / "cpus" / f"cpu{thread}" / "topology" / "thread_siblings_list"
        siblings.parent.mkdir(parents=True)
        siblings.write_text(f"{thread % 4},{thread % 4 + 4}\n")
    monkeypatch.setattr(machine, "PROCESSORS", tmp_path / "cpus")
    monkeypatch.setattr(machine, "CONTAINER", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(allowed), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS")
    if told is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert default_threads() == threads
