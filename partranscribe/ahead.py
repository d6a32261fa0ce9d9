"""Work done ahead of whoever waits for its results, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from contextlib import suppress
from queue import Full, Queue
from typing import NamedTuple, TypeVar

T = TypeVar("T")

_LOOK_SECONDS = 0.1  # between two looks whether the items are still wanted


class _End(NamedTuple):
    """Comes after the last item, with the error that ended them if one did."""

    error: BaseException | None


def ahead(items: Iterable[T], depth: int) -> Generator[T]:
    """The same items, made in a thread of their own before they are asked for.

    An error of the items is raised here, after those before it. Where the caller has enough and closes this
    generator, the thread has ended and the items' own generator is closed before `close` returns.

    Args:
        items: what to make.
        depth: how many may wait, at least one.
    """
    made: Queue[T | _End] = Queue(depth)
    enough = threading.Event()

    def put(item: T | _End) -> None:
        while not enough.is_set():
            with suppress(Full):
                made.put(item, timeout=_LOOK_SECONDS)
                break

    def make() -> None:
        error = None
        source = iter(items)
        try:
            for item in source:
                put(item)
                if enough.is_set():
                    break
        except BaseException as raised:
            error = raised
        close = getattr(source, "close", None)
        if close is not None:
            close()
        put(_End(error))

    worker = threading.Thread(target=make, daemon=True)
    worker.start()
    try:
        while not isinstance(item := made.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        enough.set()
        worker.join()
