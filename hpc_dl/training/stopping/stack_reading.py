"""What a thread does, read from its stack: whether it waits for other ranks, or for a batch."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import FrameType

import torch.utils.data.dataloader

from hpc_dl.data.batches.loader import BatchLoader
from hpc_dl.training.stopping import rank_group

#: A thread with a call of one of these modules on its stack waits for other ranks.
WAITING_MODULES = (
    import_module("torch.distributed.distributed_c10d"),
    import_module("torch.distributed.rendezvous"),  # as an attribute of its package, the name is a function
    rank_group,
)
#: A thread with one of these calls on its stack waits for the data loader.
LOADING_CALLS = (torch.utils.data.dataloader._BaseDataLoaderIter.__next__, BatchLoader.__iter__)

_WAITING_FILES = {module.__file__ for module in WAITING_MODULES}
_LOADING_CODES = {(call.__code__.co_filename, call.__code__.co_qualname) for call in LOADING_CALLS}


def describe_activity(frame: FrameType | None) -> tuple[str, bool]:
    """Describe what a thread does, as far as its stack shows it for certain.

    Args:
        frame: the innermost frame of the thread's stack; ``None`` for a thread that has ended.

    Returns:
        The description, and whether the thread waits for other ranks.
    """
    if frame is None:
        return "its thread has ended", False
    innermost = frame.f_code
    line = f"at {Path(innermost.co_filename).name}:{frame.f_lineno} in {innermost.co_qualname}"
    caller: FrameType | None = frame
    while caller:
        code = caller.f_code
        if code.co_filename in _WAITING_FILES:
            return f"in {code.co_name}, which waits for other ranks", True
        if (code.co_filename, code.co_qualname) in _LOADING_CODES:
            return f"its data loader returns no batch, {line}", False
        caller = caller.f_back
    return line, False
