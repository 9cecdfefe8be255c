"""``hpc-dl batch-size``: the sizes that are tried, and those that need too much memory."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hpc_dl.cluster import batch_size
from hpc_dl.cluster.batch_size import Trial, fastest, is_about_memory, largest, search
from hpc_dl.errors import environment_fault
from tests.cli.conftest import HpcDl, config, hpc_dl, image_file

__all__ = ["config", "hpc_dl", "image_file"]

# Each sample of a batch takes 100 MB.
HUNGRY = """
import pytorch_lightning as pl
import torch


class Net(pl.LightningModule):
    def __init__(self, data):
        super().__init__()
        self.layer = torch.nn.Linear(64, 3)

    def training_step(self, batch, batch_idx):
        x, y = batch
        if self.global_step == 0:
            torch.ones(len(x), 100_000_000, dtype=torch.uint8)
        loss = torch.nn.functional.cross_entropy(self.layer(x.flatten(1)), y)
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
"""


def fits_up_to(limit: int) -> Callable[[int], Trial]:
    return lambda size: Trial(size, problem="out of memory") if size > limit else Trial(size, float(size), 1)


@pytest.mark.parametrize(
    ("limit", "most", "tried"),
    [
        (100, 48, [8, 16, 32, 48]),  # all samples in one batch
        (70, 1000, [8, 16, 32, 64, 128, 96, 80, 72]),
        (300, 1000, [8, 16, 32, 64, 128, 256, 512, 384, 320, 288]),
        (3, 1000, [8, 4, 2, 3]),
        (0, 1000, [8, 4, 2, 1]),
        (100, 1, [1]),
        (100, 5, [5]),
    ],
)
def test_sizes_that_are_tried(limit: int, most: int, tried: list[int]) -> None:
    trials = search(fits_up_to(limit), most)
    assert list(trials) == tried
    found = largest(trials)
    assert (found.size if found else 0) == max((size for size in tried if size <= limit), default=0)


def test_search_ends_with_its_time() -> None:
    time_left = iter([True, True, False])
    assert list(search(fits_up_to(100), 1000, lambda: next(time_left))) == [8, 16]


def test_fastest_is_the_smallest_of_those_that_are_as_fast() -> None:
    speeds = {8: 100.0, 16: 196.0, 32: 200.0, 64: 190.0}
    best = fastest({size: Trial(size, speed, 1) for size, speed in speeds.items()} | {128: Trial(128, problem="no")})
    assert best is not None and best.size == 16
    assert fastest({}) is None


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", True),
        ("RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        (
            "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes",
            True,
        ),
        (str(environment_fault(MemoryError())), True),
        ("ValueError: the memory format is unknown", False),
    ],
)
def test_reasons_that_are_about_memory(reason: str, expected: bool) -> None:
    assert is_about_memory(reason) is expected


@pytest.mark.slow  # trains in several processes
def test_size_that_needs_more_memory_than_allowed_is_survived(
    hpc_dl: HpcDl, config: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hungry.py").write_text(HUNGRY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(batch_size, "_RESOLUTION", 1)  # two trials are enough here
    resources = {"memory": "1000M", "gpus_per_node": 0, "cpus_per_gpu": 1}
    path = config(model={"class": "hungry.Net"}, optimizer={}, resources=resources)
    answer = hpc_dl("batch-size", path, "--json")
    assert answer.status == 0, answer.err
    trials = {trial["size"]: trial for trial in answer.json["trials"]}
    assert 1 <= answer.json["fastest"] <= answer.json["largest"] < 8
    assert trials[8]["problem"] == "out of memory"
    assert all(trial["memory"] > size * 100e6 for size, trial in trials.items() if not trial["problem"])
    assert not (tmp_path / "cwd/runs").exists()


def test_json_is_one_document(hpc_dl: HpcDl, config: Callable[..., Path]) -> None:
    answer = hpc_dl("batch-size", config(), "--json", "--lr-range")
    assert answer.status == 2 and "--json: prints one result" in answer.err
