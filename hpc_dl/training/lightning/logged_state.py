"""What ``self.log`` has accumulated in the middle of an epoch: captured and restored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.connectors.logger_connector.result import (
    _Metadata,
    _ResultCollection,
    _ResultMetric,
    _Sync,
)
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torchmetrics import Metric

from hpc_dl.training.console import say
from hpc_dl.training.lightning.metric_state import capture_values, restore_values
from hpc_dl.training.lightning.plain_copies import PlainCopier, State, warn_on_failure

# The arguments of a self.log call that are plain values; a later call must repeat them, or
# Lightning raises.
_LOG_ARGUMENTS = [field.name for field in fields(_Metadata) if field.name not in ("reduce_fx", "_sync")]
# Lightning allows Python's functions as well, and distinguishes them from torch's.
_REDUCTIONS: dict[str, Callable[..., Any]] = {
    **{f"torch.{name}": getattr(torch, name) for name in ("mean", "sum", "max", "min")},
    **{"sum": sum, "max": max, "min": min},
}
_CONNECTOR_METRICS = ("_callback_metrics", "_logged_metrics", "_progress_bar_metrics")
_CONNECTOR_FLAGS = ("_first_loop_iter", "_current_fx")


class _ResumedResults(_ResultCollection):
    """Restored values; a value whose ``self.log`` call has changed since is discarded.

    Otherwise Lightning would raise an error at each resume.
    """

    def __init__(self, results: _ResultCollection, restored: Mapping[str, _ResultMetric]) -> None:
        super().__init__(results.training)
        # A batch may have started: Lightning reads its size from here.
        vars(self).update(vars(results))
        self.update(restored)
        self.unconfirmed = set(restored)

    def log(self, fx: str, name: str, *args: Any, **kwargs: Any) -> None:
        """Log a value; Lightning compares the arguments with those of the first call."""
        keys = {f"{fx}.{name}", f"{fx}.{name}.{self.dataloader_idx}"} & self.unconfirmed
        if not keys:
            super().log(fx, name, *args, **kwargs)
            return
        self.unconfirmed -= keys
        try:
            super().log(fx, name, *args, **kwargs)
        except MisconfigurationException:
            for key in keys:
                del self[key]
            say(f"self.log({name!r}) in {fx} has different arguments than before: its epoch starts over.")
            super().log(fx, name, *args, **kwargs)


def capture_results(
    results: _ResultCollection, paths: Mapping[int, str], copy: PlainCopier, warnings: list[str]
) -> dict[str, State]:
    """Copy the accumulated values of all ``self.log`` calls.

    Args:
        results: Lightning's bookkeeping of a loop.
        paths: for the id of each module its path.
        copy: copies values.
        warnings: gets a sentence for each value that cannot be stored.
    """
    reductions = {function: name for name, function in _REDUCTIONS.items()}
    captured = {}
    for key, result in results.items():
        meta = result.meta
        subject = f"self.log({meta.name!r}) in {meta.fx}"
        if meta.sync.group is not None:
            warnings.append(f"{subject} starts over: its sync_dist_group cannot be stored.")
        elif meta.reduce_fx not in reductions:
            warnings.append(f"{subject} starts over: its reduce_fx cannot be stored.")
        elif not result.is_tensor and id(result.value) not in paths:
            warnings.append(f"{subject} starts over: its metric is not an attribute of the module.")
        else:
            with warn_on_failure(subject, warnings):
                captured[key] = {
                    "arguments": {name: copy(getattr(meta, name)) for name in _LOG_ARGUMENTS},
                    "reduce_fx": reductions[meta.reduce_fx],
                    "sync_dist": bool(meta.sync.should),
                    "rank_zero_only": bool(meta.sync.rank_zero_only),
                    "metric": None if result.is_tensor else paths[id(result.value)],
                    "has_reset": result.has_reset,
                    **capture_values(result, copy),
                }
    return captured


def restore_results(trainer: pl.Trainer, captured: Mapping[str, State], copy: PlainCopier) -> list[str]:
    """Restore what :func:`capture_results` copied; return a warning for each value that is lost."""
    warnings = []
    metrics = {path: module for path, module in trainer.lightning_module.named_modules() if isinstance(module, Metric)}
    restored = {}
    for key, saved in captured.items():
        meta = _Metadata(**saved["arguments"], reduce_fx=_REDUCTIONS[saved["reduce_fx"]])
        # As in LightningModule.log: the arguments of the next call are compared with these.
        meta.sync = _Sync(
            fn=trainer.strategy.reduce, _should=saved["sync_dist"], rank_zero_only=saved["rank_zero_only"]
        )
        path = saved["metric"]
        if path is not None and path not in metrics:
            subject = f"self.log({meta.name!r}) in {meta.fx}"
            warnings.append(f"{subject} starts over: its metric {path} is not in the model.")
            continue
        result = _ResultMetric(meta, is_tensor=path is None)
        result.has_reset = saved["has_reset"]
        restore_values(result, saved, copy, trainer.strategy.root_device)
        if path is not None:
            result.value = metrics[path]
        restored[key] = result
    epoch_loop = trainer.fit_loop.epoch_loop
    epoch_loop._results = _ResumedResults(epoch_loop._results, restored)
    return warnings


def capture_connector(trainer: pl.Trainer, copy: PlainCopier, warnings: list[str]) -> State:
    """Copy the metrics for callbacks, loggers and progress bar, and the flags of their reset."""
    connector = trainer._logger_connector
    state: State = {}
    for group in _CONNECTOR_METRICS:
        state[group] = {}
        for name, value in getattr(connector, group).items():
            with warn_on_failure(f"The metric {name}", warnings):
                state[group][name] = copy(value)
    # `_first_loop_iter` is None when an epoch starts and True during its first batch. Then self.log
    # resets the values of the previous epoch at the first call of another hook, that is if
    # `_current_fx` differs. After the start of a validation the flag is the validation's; the
    # training epoch continues with False at its next batch in any case.
    state["_first_loop_iter"] = False if trainer.validating else connector._first_loop_iter
    state["_current_fx"] = connector._current_fx
    return state


def restore_connector(trainer: pl.Trainer, state: State) -> None:
    """Restore what :func:`capture_connector` copied.

    Must be called before the next batch starts: it turns ``_first_loop_iter`` from None into True.
    """
    copy = PlainCopier()
    for group in _CONNECTOR_METRICS:
        setattr(trainer._logger_connector, group, copy(state[group], trainer.strategy.root_device))
    for flag in _CONNECTOR_FLAGS:
        setattr(trainer._logger_connector, flag, state[flag])
