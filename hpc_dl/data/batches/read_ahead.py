"""Work done ahead of the time at which its result is needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


def read_ahead(read: Callable[[In], Out], pieces: Iterator[In], depth: int) -> Iterator[Out]:
    """Yield ``map(read, pieces)``, computed by a background thread up to ``depth`` pieces ahead.

    The thread ends with the iterator, even if it is closed early. An error is raised where its
    piece would have come.
    """
    with ThreadPoolExecutor(1, "read ahead") as pool:
        pending: deque[Future[Out]] = deque()
        try:
            pending.extend(pool.submit(read, piece) for piece in islice(pieces, depth))
            while pending:
                result = pending.popleft().result()
                pending.extend(pool.submit(read, piece) for piece in islice(pieces, 1))
                yield result
                del result  # so that its memory can be reused for the next
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def announce_ahead(pieces: Iterator[In], announce: Callable[[In], None], depth: int) -> Iterator[In]:
    """Yield the pieces; ``announce`` is called with each one ``depth`` pieces before."""
    pending: deque[In] = deque()
    for piece in pieces:
        announce(piece)
        pending.append(piece)
        if len(pending) > depth:
            yield pending.popleft()
    yield from pending
