"""Stacks of threads that wait: for other ranks, for a data loader, or for neither."""

import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import CodeType, FrameType, SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from hpc_dl.data.batches.loader import BatchLoader
from hpc_dl.training.stopping.rank_group import RankGroup
from hpc_dl.training.stopping.stack_reading import LOADING_CALLS, WAITING_MODULES, describe_activity


def stack(*calls: Callable[..., Any]) -> FrameType:
    """Return the innermost frame of a stack of real functions, the innermost last."""
    frame = None
    for call in calls:
        code: CodeType = inspect.unwrap(call).__code__
        frame = SimpleNamespace(f_code=code, f_lineno=code.co_firstlineno, f_back=frame)
    return cast(FrameType, frame)


def poll() -> None:
    """Some other function."""


@pytest.mark.parametrize(
    ("module", "function"),
    [
        ("torch.distributed.distributed_c10d", "all_reduce"),
        ("torch.distributed.distributed_c10d", "broadcast_object_list"),
        ("torch.distributed.distributed_c10d", "barrier"),
        ("torch.distributed.rendezvous", "_env_rendezvous_handler"),
    ],
)
def test_waiting_for_other_ranks_in_torch(module: str, function: str) -> None:
    call = getattr(import_module(module), function)
    assert describe_activity(stack(poll, call, poll)) == (f"in {function}, which waits for other ranks", True)


@pytest.mark.parametrize("method", [RankGroup.highest, RankGroup.from_rank_0, RankGroup.finish_exchange])
def test_waiting_for_other_ranks_in_our_group(method: Callable[..., Any]) -> None:
    assert describe_activity(stack(method)) == (f"in {method.__name__}, which waits for other ranks", True)


def test_every_waiting_module_has_a_file() -> None:
    assert len(WAITING_MODULES) == 3
    assert all(Path(str(module.__file__)).is_file() for module in WAITING_MODULES)


@pytest.mark.parametrize("call", LOADING_CALLS, ids=lambda call: call.__qualname__)
def test_waiting_for_a_data_loader(call: Callable[..., Any]) -> None:
    activity, waits = describe_activity(stack(call, poll))
    assert activity.startswith("its data loader returns no batch, at test_stack_reading.py:") and not waits


def test_other_activity() -> None:
    activity, waits = describe_activity(stack(poll))
    assert activity.startswith("at test_stack_reading.py:") and activity.endswith(" in poll") and not waits
    assert describe_activity(None) == ("its thread has ended", False)


class RecordsActivity(Dataset[torch.Tensor]):
    """Reads the stack of the thread that loads a sample."""

    activity = ""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> torch.Tensor:
        self.activity = describe_activity(sys._current_frames()[threading.get_ident()])[0]
        return torch.zeros(1)


def test_real_data_loader_of_torch() -> None:
    samples = RecordsActivity()
    next(iter(DataLoader(samples)))
    assert samples.activity.startswith("its data loader returns no batch, at ")


def test_real_batch_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    activities = []

    def samples(self: BatchLoader) -> Iterator[Any]:
        activities.append(describe_activity(sys._current_frames()[threading.get_ident()])[0])
        return iter(())

    monkeypatch.setattr(BatchLoader, "_samples", samples)
    loader = BatchLoader.__new__(BatchLoader)
    loader._reader = SimpleNamespace(spec=SimpleNamespace(batch=None))  # type: ignore[assignment]
    assert next(iter(loader), None) is None
    assert len(activities) == 1 and activities[0].startswith("its data loader returns no batch, at ")
