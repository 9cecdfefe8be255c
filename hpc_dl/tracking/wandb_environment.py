"""The environment variable ``WANDB_MODE``, changed for a while."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal


@contextmanager
def wandb_mode(mode: Literal["disabled"] | None) -> Iterator[None]:
    """Set ``WANDB_MODE``, or unset it with ``None``, and restore it at the end.

    With ``disabled``, ``wandb.init`` in a user's module contacts no server and writes no files.
    """
    before = os.environ.pop("WANDB_MODE", None)
    if mode is not None:
        os.environ["WANDB_MODE"] = mode
    try:
        yield
    finally:
        os.environ.pop("WANDB_MODE", None)
        if before is not None:
            os.environ["WANDB_MODE"] = before
