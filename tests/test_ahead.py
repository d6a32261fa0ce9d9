"""Items made ahead in a thread: all of them, in order, with their errors, and none after the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from partranscribe.ahead import Ahead


def test_items_come_whole_and_in_order() -> None:
    for depth in (1, 3, 100):
        assert list(Ahead(iter(range(50)), depth)) == list(range(50))
    assert list(Ahead([], 1)) == []


def test_items_are_made_in_another_thread_before_they_are_asked_for() -> None:
    made: list[int] = []
    third = threading.Event()

    def items() -> Iterator[int]:
        for number in range(10):
            made.append(threading.get_ident())
            if number == 2:
                third.set()
            yield number

    stream = Ahead(items(), 2)
    assert next(stream) == 0
    assert third.wait(10)  # two wait, although one was asked for
    assert threading.get_ident() not in made
    stream.close()
    assert len(made) <= 4  # the one taken, the two that waited, and one in hand


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("lost")

    stream = Ahead(items(), 5)
    assert [next(stream), next(stream)] == [1, 2]
    with pytest.raises(KeyError, match="lost"):
        next(stream)


def test_closing_closes_the_items_and_ends_the_thread() -> None:
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            closed.set()

    before = threading.active_count()
    stream = Ahead(items(), 3)
    next(stream)
    stream.close()
    assert closed.is_set()
    assert threading.active_count() == before
