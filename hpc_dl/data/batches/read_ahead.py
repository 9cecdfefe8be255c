"""Doing something ahead of the time at which it is needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


def read_ahead(read: Callable[[In], Out], pieces: Iterator[In], depth: int) -> Iterator[Out]:
    """``map(read, pieces)`` by a background thread that is up to ``depth`` pieces ahead.

    The thread ends with the iterator, also with one that is left in the middle. An error comes
    where its piece would.
    """
    with ThreadPoolExecutor(1, "read ahead") as pool:
        coming: deque[Future[Out]] = deque()
        try:
            coming.extend(pool.submit(read, piece) for piece in islice(pieces, depth))
            while coming:
                found = coming.popleft().result()
                coming.extend(pool.submit(read, piece) for piece in islice(pieces, 1))
                yield found
                del found  # its memory may be wanted for the next
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def announced(pieces: Iterator[In], announce: Callable[[In], None], depth: int) -> Iterator[In]:
    """The pieces; each is announced when the one that is ``depth`` before it is given out."""
    coming: deque[In] = deque()
    for piece in pieces:
        announce(piece)
        coming.append(piece)
        if len(coming) > depth:
            yield coming.popleft()
    yield from coming
