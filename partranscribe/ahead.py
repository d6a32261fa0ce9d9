"""Work done ahead of whoever waits for its results, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import suppress
from queue import Full, Queue
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

_LOOK_SECONDS = 0.1  # between two looks whether the items are still wanted


class _End(NamedTuple):
    """Comes after the last item, with the error that ended them if one did."""

    error: BaseException | None


class Ahead(Generic[T]):
    """The same items, made in a thread of their own from now on, before they are asked for.

    An error of the items is raised here, after those before it. Where the caller has enough and closes this
    iterator, the thread has ended and the items' own generator is closed before `close` returns.

    Args:
        items: what to make.
        depth: how many may wait, at least one.
    """

    def __init__(self, items: Iterable[T], depth: int) -> None:
        self._made: Queue[T | _End] = Queue(depth)
        self._enough = threading.Event()
        self._worker = threading.Thread(target=self._make, args=(items,), daemon=True)
        self._worker.start()

    def __iter__(self) -> Ahead[T]:
        return self

    def __next__(self) -> T:
        if self._enough.is_set():
            raise StopIteration
        item = self._made.get()
        if not isinstance(item, _End):
            return item
        self.close()
        raise item.error or StopIteration

    def close(self) -> None:
        """No more items are wanted."""
        self._enough.set()
        self._worker.join()

    def _make(self, items: Iterable[T]) -> None:
        error = None
        source = iter(items)
        try:
            for item in source:
                self._put(item)
                if self._enough.is_set():
                    break
        except BaseException as raised:
            error = raised
        close = getattr(source, "close", None)
        if close is not None:
            close()
        self._put(_End(error))

    def _put(self, item: T | _End) -> None:
        while not self._enough.is_set():
            with suppress(Full):
                self._made.put(item, timeout=_LOOK_SECONDS)
                break
