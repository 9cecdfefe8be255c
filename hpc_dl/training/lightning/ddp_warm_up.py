"""A throw-away batch that makes DDP rebuild its gradient buckets before a resumed training.

The resumed training then adds gradients in the same order as an uninterrupted one.
DDP (Li et al., 2020) sends gradients in buckets. After its first backward pass it rebuilds the
buckets in the order in which the gradients became ready. The place of a number in its bucket
decides in which order an all-reduce adds the ranks' shares, and with more than two ranks the order
changes the last bits of a sum. A resumed training would take its first step with the first layout,
where the uninterrupted training has used the second one for long.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.trainer import call
from torch.nn.parallel import DistributedDataParallel


def needed(trainer: pl.Trainer) -> bool:
    """Whether DDP rebuilds its buckets after the first batch, and their layout matters."""
    wrapped = trainer.strategy.model
    if trainer.world_size <= 2 or not isinstance(trainer.strategy, DDPStrategy):
        return False
    return isinstance(wrapped, DistributedDataParallel) and not wrapped.find_unused_parameters


def run(trainer: pl.Trainer, batch: Any) -> None:
    """Run the forward and backward pass of a batch on all ranks, without lasting effects.

    Weights, optimizers and buffers do not change. Random states, accumulators and Lightning's
    counters do: they must be restored afterward.

    Args:
        trainer: in ``fit``, before its first batch.
        batch: a batch of the data loader, still on the CPU.
    """
    module = trainer.lightning_module
    loop = trainer.fit_loop.epoch_loop
    batch = trainer.precision_plugin.convert_input(batch)
    batch = module._on_before_batch_transfer(batch, dataloader_idx=0)
    batch = call._call_strategy_hook(trainer, "batch_to_device", batch, dataloader_idx=0)
    trainer._logger_connector.on_batch_start(batch)
    kwargs = loop._build_kwargs(OrderedDict(), batch, 0)
    buffers = {name: buffer.detach().clone() for name, buffer in module.named_buffers()}
    if module.automatic_optimization:
        closure = loop.automatic_optimization._make_closure(kwargs, trainer.optimizers[0], 0)
        closure()
        closure.consume_result()
    else:  # the module steps its optimizers itself
        weights = copy.deepcopy(module.state_dict())
        stateful: list[Any] = [*trainer.optimizers, *(config.scheduler for config in trainer.lr_scheduler_configs)]
        states = [copy.deepcopy(part.state_dict()) for part in stateful]
        loop.manual_optimization.run(kwargs)
        module.load_state_dict(weights)
        for part, state in zip(stateful, states, strict=True):
            part.load_state_dict(state)
    for optimizer in trainer.optimizers:
        optimizer.zero_grad()
    with torch.no_grad():
        for name, buffer in module.named_buffers():
            buffer.copy_(buffers[name])
