"""The state of one rank in the middle of an epoch, for a resume that is exact to the bit.

Lightning's checkpoint has the weights, the optimizer, the callbacks and the counters of the loops.
It lacks the random generators and the values that torchmetrics and ``self.log`` have accumulated
since the epoch started; they differ between the ranks. :func:`capture` copies them into plain
values for ``torch.load(weights_only=True)``; :func:`restore` restores them in a new Trainer. Both
are called between two training batches and cost nothing otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl

from hpc_dl.training.lightning import logged_state, metric_state, random_state
from hpc_dl.training.lightning.plain_copies import PlainCopier, State


def capture(trainer: pl.Trainer) -> State:
    """Copy this rank's state: random generators, torchmetrics, values of ``self.log``.

    Must be called in the main process, between two training batches of ``trainer.fit`` or before a
    validation. Not within a validation: its values would be counted twice when it is repeated.
    Changes nothing and draws no random number. Metrics that keep whole lists of predictions make
    the state as large as these lists.

    Returns:
        Tensors on the CPU and plain values only; shares no memory with the running training.
    """
    copy = PlainCopier()
    warnings: list[str] = []
    modules = dict(trainer.lightning_module.named_modules())
    paths = {id(module): path for path, module in modules.items()}
    return {
        "world_size": trainer.world_size,
        "random": random_state.capture(trainer.strategy.root_device),
        "metrics": metric_state.capture_metrics(modules, copy, warnings),
        "collections": metric_state.capture_collections(modules),
        "results": logged_state.capture_results(trainer.fit_loop.epoch_loop._results, paths, copy, warnings),
        "connector": logged_state.capture_connector(trainer, copy, warnings),
        "left_out": warnings,
    }


def restore(trainer: pl.Trainer, state: Mapping[str, Any]) -> list[str]:
    """Restore what :func:`capture` copied on the same rank.

    Must be called when the loops are where they were at the capture: after ``on_train_start``,
    after the data loader's iterator was created (which draws a random number), and before the next
    batch is fetched. The module and its metrics are on their device by then.

    Returns:
        A warning for each thing that could not be restored and starts over; normally none.
    """
    if trainer.world_size == state["world_size"]:
        copy = PlainCopier()
        module = trainer.lightning_module
        warnings = [
            *state["left_out"],
            *metric_state.restore_metrics(module, state["metrics"], state["collections"], copy),
            *logged_state.restore_results(trainer, state["results"], copy),
        ]
    else:
        # A rank's sums are those of the samples it has seen; without the sums of all other ranks
        # they mean nothing.
        ranks = f"The checkpoint was saved with {state['world_size']} ranks, and this training has {trainer.world_size}"
        warnings = [f"{ranks}: the metrics of the epoch start over."]
    logged_state.restore_connector(trainer, state["connector"])
    return warnings + random_state.restore(trainer.strategy.root_device, state["random"])
