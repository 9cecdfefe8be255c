"""Judging a run's model on a split of its data: ``hpc-dl evaluate``."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch

from hpc_dl.atomic_files import write_json
from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import PER_POSITION
from hpc_dl.errors import RunError
from hpc_dl.inference.trained_model import FinishedModel, device
from hpc_dl.learning.metrics import confusion_matrix
from hpc_dl.learning.supervised import Supervised

_LARGEST_MATRIX = 100  # classes


def evaluate(finished: FinishedModel, split: str) -> dict[str, Any]:
    """Compute loss and metrics, and for classes the confusion matrix; written to
    ``evaluation-SPLIT.json`` of the run.

    Args:
        finished: the model.
        split: ``train``, ``val`` or ``test``.

    Returns:
        ``run``, ``checkpoint``, ``split``, ``samples``, ``metrics`` by name without the split, and,
        for one class for each sample, step or pixel, ``classes`` and ``confusion``: rows are the
        true classes, columns the found ones.

    Raises:
        RunError: there is no such split, or the model has no test.
    """
    sizes, model, batches = finished.data.sizes, finished.model, finished.batches
    if split not in sizes:
        raise RunError.at("--split", "is not there", value=split, allowed=", ".join(sizes))
    if not isinstance(model, Supervised) and type(model).test_step is pl.LightningModule.test_step:
        raise RunError.at(finished.run.name, f"its {type(model).__name__} has no test_step to evaluate it by")
    batches.test_split = split
    trainer = pl.Trainer(
        accelerator="auto",
        devices=1,
        precision=finished.experiment.trainer.precision,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.test(model, batches, verbose=False)
    found = {name.removeprefix("test/"): float(value) for name, value in trainer.callback_metrics.items()}
    answer: dict[str, Any] = {
        "run": finished.run.name,
        "checkpoint": finished.checkpoint.path.name,
        "split": split,
        "samples": sizes[split],
        "metrics": dict(sorted(found.items())),
    }
    names = list(finished.data.class_names)
    by_class = finished.data.task in ("classification", *PER_POSITION) and len(names) <= _LARGEST_MATRIX
    if by_class and isinstance(model, Supervised):
        answer |= {"classes": names, "confusion": _confusion(model, batches)}
    write_json(finished.run.path / f"evaluation-{split}.json", answer)
    return answer


def _confusion(model: Supervised, batches: Any) -> list[list[int]]:
    matrix = confusion_matrix(model.recipe.data)
    where = device()
    model.to(where).eval()
    with torch.inference_mode():
        for batch in batches.test_dataloader():
            moved = model.transfer_batch_to_device(batch, where, 0)
            x, y = model.inputs_and_targets(batches.preprocessed(moved))
            matrix.update(model(x).cpu(), (y.values if isinstance(y, Ragged) else y).cpu())
    counts: list[list[int]] = matrix.compute().tolist()
    return counts
