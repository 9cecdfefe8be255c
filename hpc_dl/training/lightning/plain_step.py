"""One batch of an ordinary training, straight through.

Lightning's loop asks some two hundred times in each step whether somebody wants something else: it
wraps each of 15 hooks, of the module and of every callback, into a profiler and a name, the forward
and backward pass into a closure, the closure into an optimizer into a strategy. For a small network
that is as much work as the network. Who wants what does not change within an epoch, so it is found
out once: where nobody takes part in the optimization, the same things are done here in the same
order, and only those hooks are called that somebody has. Everything else goes Lightning's own way:
manual optimization, a module with an ``optimizer_step`` or ``backward`` of its own, scaled 16-bit
gradients, optimizers from elsewhere, other strategies, profilers.
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

#: Called where somebody has them.
_HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)
#: With one of these of its own, a module takes part in the optimization.
_TAKES_PART = (
    "optimizer_step",
    "optimizer_zero_grad",
    "backward",
    "configure_gradient_clipping",
    "clip_gradients",
    "lr_scheduler_step",
)
_PRECISIONS = (Precision, MixedPrecision, HalfPrecision, DoublePrecision)
_STRATEGIES = (SingleDeviceStrategy, DDPStrategy)
_BLOCKING = ("cpu", "mps")  # as in Lightning: a copy to these is over when it returns


def suffices(trainer: pl.Trainer, fetcher: _DataFetcher) -> bool:
    """Whether a step of this training is an ordinary one, in which nobody takes part but by the
    usual hooks.
    """
    module, strategy, precision = trainer.lightning_module, trainer.strategy, trainer.precision_plugin
    return (
        module.automatic_optimization
        and not any(_has_own(module, name, pl.LightningModule) for name in _TAKES_PART)
        and len(trainer.optimizers) == 1
        # One from elsewhere may ask for a closure, which computes the loss several times.
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
    """A batch, and an optimizer step where one is due: for a training for which that
    :func:`suffices`.
    """

    def __init__(self, loop: _TrainingEpochLoop) -> None:
        """Look who takes part; to be called at the beginning of each epoch.

        Args:
            loop: whose counters go on, exactly as by its own ``advance``.
        """
        trainer = loop.trainer
        self._loop = loop
        self._trainer = trainer
        self._connector = trainer._logger_connector
        self._module = module = trainer.lightning_module
        self._module_values = vars(module)  # past torch's slow __setattr__, which looks for parameters
        self._optimizer = trainer.optimizers[0]
        self._device = trainer.strategy.root_device
        self._hooks = {name: _owners(name, trainer, module) for name in _HOOKS}
        self._with_index = len(loop._build_kwargs(OrderedDict(), None, 0)) > 1
        converts, casts = (
            _has_own(trainer.precision_plugin, n, Precision) for n in ("convert_input", "forward_context")
        )
        bare = not casts and trainer.strategy.model is module
        self._training_step = module.training_step if bare else trainer.strategy.training_step
        # Lightning's selector: the data module's hook, where it has one, or else the module's.
        givers = trainer._data_connector._datahook_selector
        names = ("on_before_batch_transfer", "transfer_batch_to_device")
        self._plain_transfer = not converts and not any(
            _has_own(giver, name, pl.LightningModule)
            for name in names
            for giver in (module, trainer.datamodule)  # type: ignore[attr-defined]
            if giver is not None
        )
        after = "on_after_batch_transfer"
        assert givers is not None
        giver = givers.get_instance(after)
        self._after_transfer: Callable[[Any, int], Any] | None = (
            getattr(giver, after) if _has_own(giver, after, pl.LightningModule) else None
        )

    def __call__(self, fetcher: _DataFetcher) -> None:
        """Fetch a batch and learn from it.

        Raises:
            StopIteration: the module's ``on_train_batch_start`` has ended the epoch, or there is no
                batch left.
        """
        loop, connector = self._loop, self._connector
        progress = loop.batch_progress
        total, current = progress.total, progress.current
        batch = next(fetcher)[0]
        index = current.ready
        progress.is_last_batch = fetcher.done
        batch = self._received(batch)
        total.ready += 1
        current.ready += 1
        # What connector.on_batch_start does, after finding out which loop is at work.
        connector._first_loop_iter = connector._first_loop_iter is None
        results = loop._results
        results.batch, results.batch_size, results.dataloader_idx = batch, None, None
        outputs: Any = None
        ended = False
        accumulating = loop._should_accumulate()
        if batch is None:
            loop._warning_cache.warn("the loader gave None for a batch; if this was on purpose, ignore this warning")
        else:
            ended = self._call("on_train_batch_start", batch, index) == -1
            if ended:
                progress.increment_by(0, is_last_batch=True)
                accumulating = loop._should_accumulate()
            else:
                progress.increment_started()
                outputs = self._learn(batch, index, accumulating)
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

    def _received(self, batch: Any) -> Any:
        """The batch on its device, through the hooks for that."""
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

    def _learn(self, batch: Any, index: int, accumulating: bool) -> dict[str, Any]:
        """Add the gradients of a batch; make a step, unless more batches belong to it."""
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
        """Forward and backward pass.

        Returns:
            What ``training_step`` returned, as a dictionary with the loss detached; empty when it
            gave none.
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
                    "training_step returned None, which several ranks cannot do: they wait for each other"
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
            told = "`training_step` returned `None`. If this was on purpose, ignore this warning..."
            self._loop._warning_cache.warn(told)
            return outputs
        self._call("on_before_backward", loss)
        loss.backward()  # type: ignore[no-untyped-call]
        self._call("on_after_backward")
        return outputs

    def _step_schedules(self, index: int, accumulating: bool) -> None:
        """Those that do not wait for a validation."""
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
        """Ranks exchange gradients once for each optimizer step."""
        strategy = self._trainer.strategy
        return strategy.block_backward_sync() if isinstance(strategy, DDPStrategy) else nullcontext()

    def _call(self, name: str, *given: Any) -> Any:
        """The hook of this name: of the callbacks in their order, then of the module, whose answer
        is returned.
        """
        callbacks, own = self._hooks[name]
        if not callbacks and own is None:
            return None
        values = self._module_values
        before, values["_current_fx_name"] = values["_current_fx_name"], name  # for self.log
        for callback in callbacks:
            callback(self._trainer, self._module, *given)
        answer = None if own is None else own(*given)
        values["_current_fx_name"] = before
        return answer


def _has_own(instance: Any, name: str, base: type) -> bool:
    """Whether a method is another than that of the base class."""
    method = getattr(instance, name)
    return getattr(method, "__func__", method) is not getattr(base, name)


def _owners(
    name: str, trainer: pl.Trainer, module: pl.LightningModule
) -> tuple[list[Callable[..., Any]], Callable[..., Any] | None]:
    callbacks = [
        getattr(callback, name)
        for callback in trainer.callbacks  # type: ignore[attr-defined]
        if _has_own(callback, name, Callback)
    ]
    return callbacks, getattr(module, name) if _has_own(module, name, pl.LightningModule) else None
