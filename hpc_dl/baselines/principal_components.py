"""Principal components, the baseline for reconstruction."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from hpc_dl.baselines.baseline import Baseline, evaluate
from hpc_dl.baselines.features import rows_of
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.learning.task import Task

_NUM_COMPONENTS = (2, 10, 30)


def fit_principal_components(task: Task, batches: HDF5DataModule) -> Iterator[Baseline]:
    """Reconstruct from the first k principal components, the best linear code (Pearson, 1901)."""
    train = rows_of(batches, "train", None).x
    mean = train.mean(0)
    centered = train - mean
    _, vectors = np.linalg.eigh((centered.T @ centered / len(train)).astype(np.float64))
    shape = batches.spec.input_shape
    for size in _NUM_COMPONENTS:
        if size >= train.shape[1]:
            continue
        components = vectors[:, -size:].astype(np.float32)
        metrics: dict[str, float] = {}
        for split in ("val", "test"):
            if split in batches.spec.sizes:
                x = rows_of(batches, split, None).x
                outputs = torch.as_tensor((x - mean) @ components @ components.T + mean).reshape(len(x), *shape)
                metrics |= evaluate(task, split, outputs, x.reshape(len(x), *shape))
        yield Baseline(f"PCA, {size} components", {name: [value] for name, value in metrics.items()})
