"""Preprocessed batches for a model outside of the Trainer: in a diagnosis or a prediction."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch

from hpc_dl.data.datamodule import HDF5DataModule


def preprocessed_on(device: torch.device, model: pl.LightningModule, batches: HDF5DataModule, batch: Any) -> Any:
    """Move a batch to the device and preprocess it there, as in the training.

    Args:
        device: where to compute.
        model: decides how a batch is moved.
        batches: the data module with the fitted preprocessing.
        batch: as stored in the file.
    """
    return batches.preprocessed(model.transfer_batch_to_device(batch, device, 0))
