"""Each stage is given the time that it was at work."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest

from partranscribe.timings import Timings


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the clock is a second later."""
    monkeypatch.setattr(
        "partranscribe.timings.time", SimpleNamespace(perf_counter=itertools.count(0.0, 1.0).__next__)
    )


def test_stages_add_up_by_name() -> None:
    timings = Timings()
    for name in ("reading", "decoding", "reading"):
        with timings.stage(name):
            pass
    assert timings.seconds == {"reading": 2.0, "decoding": 1.0}


def test_a_stage_that_fails_is_counted() -> None:
    timings = Timings()
    with pytest.raises(OSError, match="no"), timings.stage("reading"):
        raise OSError("no")
    assert timings.seconds == {"reading": 1.0}


def test_the_making_of_items_is_counted_and_their_use_is_not() -> None:
    timings = Timings()
    assert list(timings.each("reading", iter("abc"))) == list("abc")
    assert timings.seconds == {"reading": 4.0}  # three items, and finding the end


def test_what_was_measured_elsewhere_adds_up_with_the_rest() -> None:
    timings = Timings()
    with timings.stage("reading"):
        pass
    timings.add({"reading": 2.5, "starting": 4.0})
    timings.add({"starting": 1.0})
    timings.add({})
    assert timings.seconds == {"reading": 3.5, "starting": 5.0}
