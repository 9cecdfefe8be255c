"""Tests of ``my_model.py``: run ``python -m pytest`` in this folder."""

from __future__ import annotations

from pathlib import Path

import torch
from my_model import MyModel

from hpc_dl import DataConfig, HDF5DataModule, open_spec


def test_training_step_reduces_the_loss(tmp_path: Path) -> None:
    """Twenty steps on one batch at least halve its loss."""
    data = open_spec(DataConfig(source="digits"), tmp_path)
    torch.manual_seed(0)
    model = MyModel(data, width=32, lr=1e-2)
    batches = HDF5DataModule(data.file, batch_size=64)
    batch = batches.preprocessed(next(iter(batches.train_dataloader())))
    assert model(batch[0]).shape == (64, data.num_outputs)
    optimizer = model.configure_optimizers()
    losses = []
    for step in range(20):
        loss = model.training_step(batch, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
