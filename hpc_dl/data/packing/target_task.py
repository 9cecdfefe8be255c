"""The task that targets in an array are for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpc_dl.errors import DataError

if TYPE_CHECKING:
    from hpc_dl.data.packing.paired import Column


def choose_task(targets: Column, task: str) -> str:
    """Return the task, inferred from the targets if it is ``auto``, after checking the targets."""
    kind, width = targets.dtype.kind, targets.shape[1:]
    if task == "auto":
        task = "regression" if kind == "f" else "segmentation" if len(width) > 1 else "classification"
    if task == "classification" and (kind == "f" or width not in ((), (1,))):
        raise DataError.at(
            targets.name,
            "must contain one class number per sample",
            value=f"{targets.dtype} {targets.shape}",
            remedy="store the class numbers, or use `--task regression`",
        )
    if task == "regression" and (kind in "OSU" or len(width) > 1):
        raise DataError.at(
            targets.name,
            "must contain numbers, (N,) or (N, K), for regression",
            value=f"{targets.dtype} {targets.shape}",
        )
    if task == "segmentation" and (kind not in "biu" or len(width) < 2):
        raise DataError.at(
            targets.name,
            "must contain one integer mask per sample for segmentation",
            value=f"{targets.dtype} {targets.shape}",
        )
    return task
