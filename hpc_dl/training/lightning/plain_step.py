"""One training step without the overhead of Lightning's own.

Lightning's loop checks some two hundred times in each step whether other code takes part: it wraps
each of 15 hooks, of the module and of every callback, into a profiler and a name, the forward and
backward pass into a closure, the closure into an optimizer into a strategy. For a small network
that is as much work as the network itself. Which hooks exist does not change within an epoch, so it
is determined once. Where no other code takes part in the optimization, the same operations are done
here in the same order, and only the hooks that exist are called. Everything else uses Lightning's
own step: manual optimization, a module with its own ``optimizer_step`` or ``backward``, scaled
16-bit gradients, optimizers that are not torch's, other strategies, profilers. So does a training
where a private name that only this module needs is missing (see ``hpc_dl.compatibility``).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loops.fetchers import _DataFetcher, _DataLoaderIterDataFetcher
from pytorch_lightning.loops.optimization.automatic import ClosureResult
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.plugins.precision import DoublePrecision, HalfPrecision, MixedPrecision, Precision
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy

#: The hooks of a step; called where a callback or the module defines them.
_HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)
#: A module that defines one of these takes part in the optimization.
_OPTIMIZATION_HOOKS = (
    "optimizer_step",
    "optimizer_zero_grad",
    "backward",
    "configure_gradient_clipping",
    "clip_gradients",
    "lr_scheduler_step",
)
_PRECISIONS = (Precision, MixedPrecision, HalfPrecision, DoublePrecision)
_STRATEGIES = (SingleDeviceStrategy, DDPStrategy)
_BLOCKING = ("cpu", "mps")  # as in Lightning: a copy to these devices is complete when it returns


def suffices(trainer: pl.Trainer, fetcher: _DataFetcher) -> bool:
    """Whether :class:`PlainStep` can do the steps of this training.

    It can if other code takes part in the optimization only through the usual hooks.
    """
    module, strategy, precision = trainer.lightning_module, trainer.strategy, trainer.precision_plugin
    return (
        module.automatic_optimization
        and not any(_has_own(module, name, pl.LightningModule) for name in _OPTIMIZATION_HOOKS)
        and len(trainer.optimizers) == 1
        # Another one may require a closure, which computes the loss several times.
        and type(trainer.optimizers[0]).__module__.startswith("torch.optim.")
        and not isinstance(trainer.optimizers[0], torch.optim.LBFGS)
        and type(strategy) in _STRATEGIES
        and getattr(strategy, "_model_averager", None) is None
        and type(precision) in _PRECISIONS
        and getattr(precision, "scaler", None) is None
        and isinstance(trainer.profiler, PassThroughProfiler)  # type: ignore[attr-defined]
        and not isinstance(fetcher, _DataLoaderIterDataFetcher)
        and not trainer.fit_loop.epoch_loop.automatic_optimization._skip_backward
        and torch.is_grad_enabled()
    )


class PlainStep:
    """Trains on one batch, with an optimizer step where one is due; requires :func:`suffices`."""

    def __init__(self, loop: _TrainingEpochLoop) -> None:
        """Collect the hooks; must be called at the start of each epoch.

        Args:
            loop: the loop, whose counters advance exactly as by its own ``advance``.
        """
        trainer = loop.trainer
        self._loop = loop
        self._trainer = trainer
        self._connector = trainer._logger_connector
        self._module = module = trainer.lightning_module
        self._module_values = vars(module)  # bypasses torch's slow __setattr__, which checks for parameters
        self._optimizer = trainer.optimizers[0]
        self._device = trainer.strategy.root_device
        self._hooks = {name: _hook_owners(name, trainer, module) for name in _HOOKS}
        self._with_index = len(loop._build_kwargs(OrderedDict(), None, 0)) > 1
        converts, casts = (
            _has_own(trainer.precision_plugin, n, Precision) for n in ("convert_input", "forward_context")
        )
        bare = not casts and trainer.strategy.model is module
        self._training_step = module.training_step if bare else trainer.strategy.training_step
        # Lightning's selector: the data module's hook where it has one, or else the module's.
        selector = trainer._data_connector._datahook_selector
        names = ("on_before_batch_transfer", "transfer_batch_to_device")
        self._plain_transfer = not converts and not any(
            _has_own(owner, name, pl.LightningModule)
            for name in names
            for owner in (module, trainer.datamodule)  # type: ignore[attr-defined]
            if owner is not None
        )
        after = "on_after_batch_transfer"
        assert selector is not None
        owner = selector.get_instance(after)
        self._after_transfer: Callable[[Any, int], Any] | None = (
            getattr(owner, after) if _has_own(owner, after, pl.LightningModule) else None
        )

    def __call__(self, fetcher: _DataFetcher) -> None:
        """Fetch a batch and train on it.

        Raises:
            StopIteration: the module's ``on_train_batch_start`` has ended the epoch, or no batch is
                left.
        """
        loop, connector = self._loop, self._connector
        progress = loop.batch_progress
        total, current = progress.total, progress.current
        batch = next(fetcher)[0]
        index = current.ready
        progress.is_last_batch = fetcher.done
        batch = self._to_device(batch)
        total.ready += 1
        current.ready += 1
        # As connector.on_batch_start does, which first determines the running loop.
        connector._first_loop_iter = connector._first_loop_iter is None
        results = loop._results
        results.batch, results.batch_size, results.dataloader_idx = batch, None, None
        outputs: Any = None
        ended = False
        accumulating = loop._should_accumulate()
        if batch is None:
            loop._warning_cache.warn(
                "the data loader returned None for a batch; if this was on purpose, ignore this warning"
            )
        else:
            ended = self._call("on_train_batch_start", batch, index) == -1
            if ended:
                progress.increment_by(0, is_last_batch=True)
                accumulating = loop._should_accumulate()
            else:
                progress.increment_started()
                outputs = self._train_on(batch, index, accumulating)
        progress.increment_processed()
        self._step_schedules(index, accumulating)
        if ended:
            raise StopIteration
        self._call("on_train_batch_end", outputs, batch, index)
        if results:
            connector.on_batch_end()
            progress.increment_completed()
            connector.update_train_step_metrics()
        else:  # no self.log so far
            results.batch = results.batch_size = None
            progress.increment_completed()

    def _to_device(self, batch: Any) -> Any:
        """Move a batch to the device, through the hooks for that."""
        module, device = self._module, self._device
        if not self._plain_transfer:
            batch = self._trainer.precision_plugin.convert_input(batch)
            batch = module._on_before_batch_transfer(batch, dataloader_idx=0)
            return self._trainer.strategy.batch_to_device(batch, dataloader_idx=0)
        if type(batch) in (tuple, list) and all(isinstance(part, torch.Tensor) for part in batch):
            if any(part.device != device for part in batch):
                ahead = device.type not in _BLOCKING
                batch = type(batch)(part.to(device, non_blocking=ahead) for part in batch)
        else:
            batch = module.transfer_batch_to_device(batch, device, 0)
        return batch if self._after_transfer is None else self._after_transfer(batch, 0)

    def _train_on(self, batch: Any, index: int, accumulating: bool) -> dict[str, Any]:
        """Add the gradients of a batch; make an optimizer step unless more batches belong to it."""
        if accumulating:
            with self._unsynchronized():
                return self._add_gradients(batch, index)
        counters = self._loop.automatic_optimization.optim_progress.optimizer.step
        counters.increment_ready()
        outputs = self._add_gradients(batch, index)
        optimizer, trainer = self._optimizer, self._trainer
        self._call("on_before_optimizer_step", optimizer)
        if trainer.gradient_clip_val:
            self._module.clip_gradients(optimizer)
        optimizer.step()
        counters.increment_completed()
        return outputs

    def _add_gradients(self, batch: Any, index: int) -> dict[str, Any]:
        """Run the forward and backward pass.

        Returns:
            The output of ``training_step`` as a dictionary with the loss detached; empty when that
            was ``None``.
        """
        batches = self._trainer.accumulate_grad_batches
        self._module_values["_current_fx_name"] = "training_step"  # for self.log
        output = self._training_step(batch, index) if self._with_index else self._training_step(batch)
        self._module_values["_current_fx_name"] = None
        loss: torch.Tensor | None
        if type(output) is torch.Tensor and batches == 1:
            loss, outputs = output, {"loss": output.detach()}
        else:
            if output is None and self._trainer.world_size > 1:
                raise RuntimeError(
                    "training_step returned None, which is impossible with several ranks: they wait for each other"
                )
            result = ClosureResult.from_training_step_output(output, batches)
            loss, outputs = result.closure_loss, {} if result.loss is None else result.asdict()
        if index % batches == 0:
            counters = self._loop.automatic_optimization.optim_progress.optimizer.zero_grad
            counters.increment_ready()
            self._call("on_before_zero_grad", self._optimizer)
            counters.increment_started()
            # What Optimizer.zero_grad does, without its profiling.
            for group in self._optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = None
            counters.increment_completed()
        if loss is None:
            warning = "`training_step` returned `None`. If this was on purpose, ignore this warning..."
            self._loop._warning_cache.warn(warning)
            return outputs
        self._call("on_before_backward", loss)
        loss.backward()  # type: ignore[no-untyped-call]
        self._call("on_after_backward")
        return outputs

    def _step_schedules(self, index: int, accumulating: bool) -> None:
        """Step the learning-rate schedules that do not depend on a validation."""
        loop = self._loop
        if not accumulating:
            for config in self._trainer.lr_scheduler_configs:
                due = config.interval == "step" and (index + 1) % config.frequency == 0
                if due and not config.reduce_on_plateau:
                    loop.scheduler_progress.increment_ready()
                    config.scheduler.step()  # type: ignore[call-arg]
                    loop.scheduler_progress.increment_completed()
        if loop._num_ready_batches_reached():
            loop.update_lr_schedulers("epoch", update_plateau_schedulers=False)

    def _unsynchronized(self) -> AbstractContextManager[Any]:
        """Return a context without exchange of gradients, which is due once per optimizer step."""
        strategy = self._trainer.strategy
        return strategy.block_backward_sync() if isinstance(strategy, DDPStrategy) else nullcontext()

    def _call(self, name: str, *arguments: Any) -> Any:
        """Call a hook of the callbacks, then of the module; return the result of the module."""
        callbacks, own = self._hooks[name]
        if not callbacks and own is None:
            return None
        values = self._module_values
        before, values["_current_fx_name"] = values["_current_fx_name"], name  # for self.log
        for callback in callbacks:
            callback(self._trainer, self._module, *arguments)
        result = None if own is None else own(*arguments)
        values["_current_fx_name"] = before
        return result


def _has_own(instance: Any, name: str, base: type) -> bool:
    """Whether a method overrides that of the base class."""
    method = getattr(instance, name)
    return getattr(method, "__func__", method) is not getattr(base, name)


def _hook_owners(
    name: str, trainer: pl.Trainer, module: pl.LightningModule
) -> tuple[list[Callable[..., Any]], Callable[..., Any] | None]:
    callbacks = [
        getattr(callback, name)
        for callback in trainer.callbacks  # type: ignore[attr-defined]
        if _has_own(callback, name, Callback)
    ]
    return callbacks, getattr(module, name) if _has_own(module, name, pl.LightningModule) else None
