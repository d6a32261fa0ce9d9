"""A process is known from others, and known to be at work or not."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from partranscribe.owner import Owner

ELSEWHERE = Owner("another machine", os.getpid(), "1")


def test_a_process_is_itself_and_at_work() -> None:
    assert Owner.myself() == Owner.myself()
    assert Owner.myself().process == os.getpid()
    assert Owner.myself().lives(1e6)


def test_processes_of_one_machine_have_one_host() -> None:
    tell = "from partranscribe.owner import Owner; me = Owner.myself(); print(me.host, me.process)"
    told = subprocess.run([sys.executable, "-c", tell], capture_output=True, text=True, check=True).stdout
    host, process = told.split()
    assert host == Owner.myself().host
    assert int(process) != os.getpid()


@pytest.mark.skipif(os.name == "nt", reason="a process cannot be asked for there")
def test_a_process_that_ended_is_not_at_work_however_short_ago() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = Owner.here(process.pid)
    assert owner.lives(0.0)
    assert owner.lives(1e6)  # silence does not count where the process can be seen
    process.kill()
    process.communicate()
    assert not owner.lives(0.0)


@pytest.mark.skipif(os.name == "nt", reason="a process cannot be asked for there")
def test_a_process_of_another_user_is_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(process: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert Owner.here(os.getpid()).lives(0.0)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="when a process started is not told there")
def test_a_later_process_of_the_same_number_is_another() -> None:
    assert not replace(Owner.myself(), started="1").lives(0.0)


@pytest.mark.parametrize(("silent", "lives"), [(-5.0, True), (0.0, True), (89.9, True), (90.0, False)])
def test_a_process_of_another_machine_is_at_work_until_it_is_silent_too_long(
    silent: float, lives: bool
) -> None:
    assert ELSEWHERE.lives(silent) is lives


@pytest.mark.parametrize(("silent", "lives"), [(0.0, True), (89.9, True), (90.0, False)])
def test_where_a_number_may_be_another_s_by_now_a_process_is_at_work_until_it_is_silent_too_long(
    silent: float, lives: bool
) -> None:
    """As on systems that do not tell when a process started."""
    assert replace(Owner.myself(), started="0").lives(silent) is lives
