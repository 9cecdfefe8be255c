"""What one rank holds in the middle of an epoch besides weights and optimizer, for a resume that is
exact to the bit.

Lightning's checkpoint has the weights, the optimizer, the callbacks and the counters of the loops.
It has neither the random generators, nor the values that torchmetrics and ``self.log`` have
gathered since the epoch began; they differ between the ranks. :func:`capture` copies them into
plain values for ``torch.load(weights_only=True)``; :func:`restore` puts them back into a new
Trainer. Both belong between two batches and cost nothing in the others.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.connectors.logger_connector.result import (
    _Metadata,
    _ResultCollection,
    _ResultMetric,
    _Sync,
)
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import nn
from torchmetrics import Metric, MetricCollection

from hpc_dl.training.console import say

State = dict[str, Any]

_CPU = torch.device("cpu")
_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype)

# What a metric has besides its states. Running, MinMaxMetric and BERTScore count in attributes of
# their own. A metric's settings are not among them: those of the present model hold.
_METRIC_ATTRIBUTES = ("_update_count", "_is_synced", "_cache")
_OWN_ATTRIBUTES = ("_num_vals_seen", "min_val", "max_val", "ref_group_boundaries")
# The value of the last batch, which Lightning goes on to show and to log until the next one; and
# that of the last compute(). They can be of any type, but only tensors are needed: Lightning shows
# nothing else, the rest is computed again from the states.
_METRIC_CACHES = ("_forward_cache", "_computed")
_COLLECTION_ATTRIBUTES = ("_groups", "_groups_checked", "_state_is_copy")

# The arguments of a self.log call that are plain values; a later call must repeat them, or
# Lightning raises.
_LOG_ARGUMENTS = [field.name for field in fields(_Metadata) if field.name not in ("reduce_fx", "_sync")]
# Lightning allows Python's own functions, too, and tells them from torch's.
_REDUCTIONS: dict[str, Callable[..., Any]] = {
    **{f"torch.{name}": getattr(torch, name) for name in ("mean", "sum", "max", "min")},
    **{"sum": sum, "max": max, "min": min},
}

_CONNECTOR_METRICS = ("_callback_metrics", "_logged_metrics", "_progress_bar_metrics")


def capture(trainer: pl.Trainer) -> State:
    """Copy this rank's state: random generators, torchmetrics, what ``self.log`` has gathered.

    To be called between two training batches of ``trainer.fit``, in the main process; or before a
    validation, but not within one: what a validation has gathered by then would be counted twice
    when it is done again. Changes nothing, draws no random number. Metrics that keep whole lists of
    predictions make the state as large as these lists.

    Returns:
        Tensors on the CPU and plain values only; shares no memory with what goes on to live.
    """
    copy = _Copier()
    left_out: list[str] = []
    modules = dict(trainer.lightning_module.named_modules())
    paths = {id(module): path for path, module in modules.items()}
    return {
        "world_size": trainer.world_size,
        "random": _capture_random(trainer.strategy.root_device),
        "metrics": {
            path: _capture_metric(path, module, copy, left_out)
            for path, module in modules.items()
            if isinstance(module, Metric)
        },
        "collections": {
            path: _capture_collection(module)
            for path, module in modules.items()
            if isinstance(module, MetricCollection)
        },
        "results": _capture_results(trainer.fit_loop.epoch_loop._results, paths, copy, left_out),
        "connector": _capture_connector(trainer, copy, left_out),
        "left_out": left_out,
    }


def restore(trainer: pl.Trainer, state: Mapping[str, Any]) -> list[str]:
    """Put back what :func:`capture` copied on the same rank.

    To be called once the loops stand where they stood at the capture: after ``on_train_start``,
    after the data loader's iterator was made (it draws a random number) and before the next batch
    is fetched. The module and its metrics are on their device by then.

    Returns:
        A sentence for each thing that could not be put back and begins anew; normally none.
    """
    if trainer.world_size == state["world_size"]:
        copy = _Copier()
        said = [
            *state["left_out"],
            *_restore_metrics(trainer.lightning_module, state["metrics"], state["collections"], copy),
            *_restore_results(trainer, state["results"], copy),
        ]
    else:
        # A rank's sums are those of the samples it has seen; without those of all the others they
        # mean nothing.
        ranks = f"The checkpoint is of {state['world_size']} ranks and this training has {trainer.world_size}"
        said = [f"{ranks}: the metrics of the epoch begin anew."]
    _restore_connector(trainer, state["connector"])
    said += _restore_random(trainer.strategy.root_device, state["random"])
    return said


def fresh_random(seed: int, rank: int, step: int) -> None:
    """Seed all generators for a rank that has no saved state, such as one more than at the capture.

    The seeds are the first words of ``numpy.random.SeedSequence(seed, spawn_key=(rank, step))``:
    Python's generator gets 64 bits of them, numpy's 128, those of torch (CPU and GPUs) 64. So they
    are the same each time, and are independent between the ranks and of those that the ranks began
    with.

    Args:
        seed: the experiment's seed, not negative.
        rank: number of this process over all nodes, from 0.
        step: optimizer steps done so far.
    """
    words = np.random.SeedSequence(seed, spawn_key=(rank, step)).generate_state(8, np.uint32)
    pairs = words.view(np.uint64)
    random.seed(int(pairs[0]))
    np.random.seed(words[2:6])
    torch.manual_seed(int(pairs[3]))


class _NotPlain(TypeError):
    """A value that a checkpoint cannot hold."""


class _Copier:
    """Deep copies of plain values, their tensors on a device and without their graph.

    What was one object stays one object: the metrics of a compute group share their states, and a
    list that one of them appends to must grow for all.
    """

    def __init__(self) -> None:
        # The originals are kept as well: the id of a dead one could come back.
        self._copies: dict[tuple[int, torch.device], tuple[Any, Any]] = {}

    def __call__(self, value: Any, device: torch.device = _CPU) -> Any:
        if type(value) in _PLAIN:
            return value
        key = (id(value), device)
        if key not in self._copies:
            self._copies[key] = (value, self._copy(value, device))
        return self._copies[key][1]

    def _copy(self, value: Any, device: torch.device) -> Any:
        if isinstance(value, torch.Tensor):
            return value.detach().to(device, copy=True)
        if type(value) in (list, tuple):
            return type(value)(self(item, device) for item in value)
        if isinstance(value, dict):
            return {self(name, device): self(item, device) for name, item in value.items()}
        raise _NotPlain(f"a {type(value).__name__}")


@contextmanager
def _naming(what: str, left_out: list[str]) -> Iterator[None]:
    """Note what cannot be captured, instead of failing for it: a checkpoint without it is better
    than none.
    """
    try:
        yield
    except _NotPlain as error:
        left_out.append(f"{what} begins anew: it holds {error}, which a checkpoint cannot keep.")


# --- random generators --------------------------------------------------------------------------


def _capture_random(device: torch.device) -> State:
    name, key, position, has_gauss, gauss = np.random.get_state(legacy=True)
    state: State = {
        "python": random.getstate(),
        # As a tensor of 64-bit integers: torch.load(weights_only=True) refuses numpy's types.
        "numpy": (str(name), torch.tensor(np.asarray(key).tolist()), int(position), int(has_gauss), float(gauss)),
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def _restore_random(device: torch.device, state: State) -> list[str]:
    random.setstate(state["python"])
    name, key, *rest = state["numpy"]
    np.random.set_state((name, key.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if ("cuda" in state) != (device.type == "cuda"):
        before, now = ("GPU", "CPU") if "cuda" in state else ("CPU", "GPU")
        return [f"The checkpoint is of a {before} and this training is on a {now}: other random numbers are drawn."]
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
    return []


# --- torchmetrics -------------------------------------------------------------------------------


def _capture_metric(path: str, metric: Metric, copy: _Copier, left_out: list[str]) -> State | None:
    with _naming(f"Metric {path}", left_out):
        return {"like": _likeness(metric), **_capture_values(metric, copy)}
    return None


def _capture_values(metric: Metric, copy: _Copier) -> State:
    names = [*_METRIC_ATTRIBUTES, *(name for name in _OWN_ATTRIBUTES if name in vars(metric))]
    attributes = {name: copy(vars(metric)[name]) for name in names}
    for name in _METRIC_CACHES:
        with suppress(_NotPlain):
            attributes[name] = copy(vars(metric)[name])
    return {"states": {name: copy(getattr(metric, name)) for name in metric._defaults}, "attributes": attributes}


def _restore_values(metric: Metric, saved: State, copy: _Copier, device: torch.device) -> None:
    # `compute_on_cpu` keeps lists there.
    lists = _CPU if metric.compute_on_cpu else device
    for name, value in saved["states"].items():
        setattr(metric, name, copy(value, lists if isinstance(value, list) else device))
    for name, value in saved["attributes"].items():
        setattr(metric, name, copy(value, device))


def _likeness(metric: Metric) -> State:
    """What two metrics must have in common for one to go on with the other's values."""
    return {
        "class": f"{type(metric).__module__}.{type(metric).__qualname__}",
        "states": {
            name: list(default.shape) if isinstance(default, torch.Tensor) else None
            for name, default in metric._defaults.items()
        },
    }


def _capture_collection(collection: MetricCollection) -> State:
    copy = _Copier()
    return {
        "like": _members(collection),
        "attributes": {name: copy(getattr(collection, name)) for name in _COLLECTION_ATTRIBUTES},
    }


def _members(collection: MetricCollection) -> State:
    groups = collection._enable_compute_groups
    return {
        "groups": groups if isinstance(groups, bool) else [list(group) for group in groups],
        "metrics": {name: _likeness(metric) for name, metric in collection._modules.items()},
    }


def _restore_metrics(module: nn.Module, metrics: State, collections: State, copy: _Copier) -> list[str]:
    said = []
    modules = dict(module.named_modules())
    changed: list[str] = []
    for path, collection in modules.items():
        if not isinstance(collection, MetricCollection):
            continue
        saved = collections.get(path)
        if saved is not None and saved["like"] == _members(collection):
            for name, value in saved["attributes"].items():
                setattr(collection, name, copy(value))
        else:
            # Metrics that share their states must know it, or each of them would add a batch to the
            # same state. Who shares with whom is known for the whole collection only.
            changed.append(f"{path}.")
            said.append(f"Metrics {path} are others than in the checkpoint: they begin anew.")
    for path, metric in modules.items():
        if not isinstance(metric, Metric) or path.startswith(tuple(changed)):
            continue
        if path not in metrics:
            said.append(f"Metric {path} is not in the checkpoint: it begins anew.")
        elif (saved := metrics[path]) is None:
            continue  # told by capture()
        elif saved["like"] == _likeness(metric):
            _restore_values(metric, saved, copy, metric.device)
        else:
            said.append(f"Metric {path} is another one than in the checkpoint: it begins anew.")
    gone = [path for path in collections if path not in modules]
    changed += [f"{path}." for path in gone]
    gone += [path for path in metrics if path not in modules and not path.startswith(tuple(changed))]
    return said + [f"Metric {path} of the checkpoint is not in the model any more." for path in gone]


# --- self.log -----------------------------------------------------------------------------------


class _ResumedResults(_ResultCollection):
    """Lets go of a restored value whose ``self.log`` call has changed since: Lightning would raise
    at each resume.
    """

    def __init__(self, results: _ResultCollection, restored: Mapping[str, _ResultMetric]) -> None:
        super().__init__(results.training)
        # A batch may have begun: Lightning reads its size from here.
        vars(self).update(vars(results))
        self.update(restored)
        self.unconfirmed = set(restored)

    def log(self, fx: str, name: str, *args: Any, **kwargs: Any) -> None:
        """See ``_ResultCollection.log``, which compares the arguments with those of the first call."""
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
            say(f"self.log({name!r}) in {fx} has other arguments than before: its epoch begins anew.")
            super().log(fx, name, *args, **kwargs)


def _capture_results(
    results: _ResultCollection, paths: Mapping[int, str], copy: _Copier, left_out: list[str]
) -> dict[str, State]:
    reductions = {function: name for name, function in _REDUCTIONS.items()}
    captured = {}
    for key, result in results.items():
        meta = result.meta
        what = f"self.log({meta.name!r}) in {meta.fx}"
        if meta.sync.group is not None:
            left_out.append(f"{what} begins anew: its sync_dist_group cannot be kept.")
        elif meta.reduce_fx not in reductions:
            left_out.append(f"{what} begins anew: its reduce_fx cannot be kept.")
        elif not result.is_tensor and id(result.value) not in paths:
            left_out.append(f"{what} begins anew: its metric is no attribute of the module.")
        else:
            with _naming(what, left_out):
                captured[key] = {
                    "arguments": {name: copy(getattr(meta, name)) for name in _LOG_ARGUMENTS},
                    "reduce_fx": reductions[meta.reduce_fx],
                    "sync_dist": bool(meta.sync.should),
                    "rank_zero_only": bool(meta.sync.rank_zero_only),
                    "metric": None if result.is_tensor else paths[id(result.value)],
                    "has_reset": result.has_reset,
                    **_capture_values(result, copy),
                }
    return captured


def _restore_results(trainer: pl.Trainer, captured: Mapping[str, State], copy: _Copier) -> list[str]:
    said = []
    metrics = {path: module for path, module in trainer.lightning_module.named_modules() if isinstance(module, Metric)}
    restored = {}
    for key, saved in captured.items():
        meta = _Metadata(**saved["arguments"], reduce_fx=_REDUCTIONS[saved["reduce_fx"]])
        # As in LightningModule.log: those of the next call are compared with these.
        meta.sync = _Sync(
            fn=trainer.strategy.reduce, _should=saved["sync_dist"], rank_zero_only=saved["rank_zero_only"]
        )
        path = saved["metric"]
        if path is not None and path not in metrics:
            said.append(f"self.log({meta.name!r}) in {meta.fx} begins anew: its metric {path} is not in the model.")
            continue
        result = _ResultMetric(meta, is_tensor=path is None)
        result.has_reset = saved["has_reset"]
        _restore_values(result, saved, copy, trainer.strategy.root_device)
        if path is not None:
            result.value = metrics[path]
        restored[key] = result
    epoch_loop = trainer.fit_loop.epoch_loop
    epoch_loop._results = _ResumedResults(epoch_loop._results, restored)
    return said


def _capture_connector(trainer: pl.Trainer, copy: _Copier, left_out: list[str]) -> State:
    connector = trainer._logger_connector
    state: State = {}
    for group in _CONNECTOR_METRICS:
        state[group] = {}
        for name, value in getattr(connector, group).items():
            with _naming(f"The metric {name}", left_out):
                state[group][name] = copy(value)
    # None says that an epoch begins, True that its first batch is at work. self.log resets the
    # values of the epoch before at the first call of another hook then, that is if `_current_fx` is
    # another one. Once a validation has begun, it is the validation's; the training epoch goes on
    # with False at its next batch in any case.
    state["_first_loop_iter"] = False if trainer.validating else connector._first_loop_iter
    state["_current_fx"] = connector._current_fx
    return state


def _restore_connector(trainer: pl.Trainer, state: State) -> None:
    # The flags must be back before the next batch begins; a batch that has begun already, has
    # turned None into True.
    copy = _Copier()
    for group in _CONNECTOR_METRICS:
        setattr(trainer._logger_connector, group, copy(state[group], trainer.strategy.root_device))
    for flag in ("_first_loop_iter", "_current_fx"):
        setattr(trainer._logger_connector, flag, state[flag])
