"""Work done by threads a little ahead of where its results are asked for."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


def ahead(function: Callable[[Any], Any], items: Iterable[Any], threads: int, window: int) -> Iterator[Any]:
    """function(item) for each item, in the items' order; up to `window` results are made in advance.

    An exception of the function appears where its result would have. PIL decodes without holding Python's lock, so that
    threads decode images side by side.
    """
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Any]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > window:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
