"""What torchmetrics have accumulated in the middle of an epoch: captured and restored."""

from __future__ import annotations

from contextlib import suppress

import torch
from torch import nn
from torchmetrics import Metric, MetricCollection

from hpc_dl.training.lightning.plain_copies import CPU, NotPlain, PlainCopier, State, warn_on_failure

# What a metric has in addition to its states. Running, MinMaxMetric and BERTScore count in separate
# attributes. A metric's settings are not stored: those of the present model hold.
_METRIC_ATTRIBUTES = ("_update_count", "_is_synced", "_cache")
_SPECIAL_ATTRIBUTES = ("_num_vals_seen", "min_val", "max_val", "ref_group_boundaries")
# The value of the last batch, which Lightning shows and logs until the next one, and the value of
# the last compute(). They can have any type, but only tensors are needed: Lightning shows nothing
# else, and other values are computed again from the states.
_METRIC_CACHES = ("_forward_cache", "_computed")
_COLLECTION_ATTRIBUTES = ("_groups", "_groups_checked", "_state_is_copy")


def capture_metrics(modules: dict[str, nn.Module], copy: PlainCopier, warnings: list[str]) -> dict[str, State | None]:
    """Copy the values of all metrics among the modules, by their paths."""
    states: dict[str, State | None] = {}
    for path, module in modules.items():
        if isinstance(module, Metric):
            states[path] = None
            with warn_on_failure(f"Metric {path}", warnings):
                states[path] = {"like": _signature(module), **capture_values(module, copy)}
    return states


def capture_collections(modules: dict[str, nn.Module]) -> dict[str, State]:
    """Copy which metrics share their states, for all metric collections among the modules."""
    return {
        path: _capture_collection(module) for path, module in modules.items() if isinstance(module, MetricCollection)
    }


def restore_metrics(
    module: nn.Module, metrics: dict[str, State | None], collections: dict[str, State], copy: PlainCopier
) -> list[str]:
    """Restore the values of all metrics in a module.

    Returns:
        A warning for each metric that starts over or no longer exists.
    """
    warnings = []
    modules = dict(module.named_modules())
    changed: list[str] = []
    for path, collection in modules.items():
        if not isinstance(collection, MetricCollection):
            continue
        saved = collections.get(path)
        if saved is not None and saved["like"] == _collection_signature(collection):
            for name, value in saved["attributes"].items():
                setattr(collection, name, copy(value))
        else:
            # Metrics that share their states must know it, or each of them would add a batch to the
            # same state. Which metrics share is known for the whole collection only.
            changed.append(f"{path}.")
            warnings.append(f"Metrics {path} differ from those in the checkpoint: they start over.")
    for path, metric in modules.items():
        if not isinstance(metric, Metric) or path.startswith(tuple(changed)):
            continue
        if path not in metrics:
            warnings.append(f"Metric {path} is not in the checkpoint: it starts over.")
            continue
        state = metrics[path]
        if state is None:
            continue  # capture_metrics() has added a warning
        if state["like"] == _signature(metric):
            restore_values(metric, state, copy, metric.device)
        else:
            warnings.append(f"Metric {path} differs from the one in the checkpoint: it starts over.")
    missing = [path for path in collections if path not in modules]
    changed += [f"{path}." for path in missing]
    missing += [path for path in metrics if path not in modules and not path.startswith(tuple(changed))]
    return warnings + [f"Metric {path} of the checkpoint is no longer in the model." for path in missing]


def capture_values(metric: Metric, copy: PlainCopier) -> State:
    """Copy a metric's states and counters.

    Raises:
        NotPlain: a state is neither tensor nor plain value.
    """
    names = [*_METRIC_ATTRIBUTES, *(name for name in _SPECIAL_ATTRIBUTES if name in vars(metric))]
    attributes = {name: copy(vars(metric)[name]) for name in names}
    for name in _METRIC_CACHES:
        with suppress(NotPlain):
            attributes[name] = copy(vars(metric)[name])
    return {"states": {name: copy(getattr(metric, name)) for name in metric._defaults}, "attributes": attributes}


def restore_values(metric: Metric, saved: State, copy: PlainCopier, device: torch.device) -> None:
    """Restore what :func:`capture_values` copied."""
    # `compute_on_cpu` keeps lists on the CPU.
    lists_device = CPU if metric.compute_on_cpu else device
    for name, value in saved["states"].items():
        setattr(metric, name, copy(value, lists_device if isinstance(value, list) else device))
    for name, value in saved["attributes"].items():
        setattr(metric, name, copy(value, device))


def _signature(metric: Metric) -> State:
    """What two metrics must have in common for one to continue with the other's values."""
    return {
        "class": f"{type(metric).__module__}.{type(metric).__qualname__}",
        "states": {
            name: list(default.shape) if isinstance(default, torch.Tensor) else None
            for name, default in metric._defaults.items()
        },
    }


def _capture_collection(collection: MetricCollection) -> State:
    copy = PlainCopier()
    return {
        "like": _collection_signature(collection),
        "attributes": {name: copy(getattr(collection, name)) for name in _COLLECTION_ATTRIBUTES},
    }


def _collection_signature(collection: MetricCollection) -> State:
    groups = collection._enable_compute_groups
    return {
        "groups": groups if isinstance(groups, bool) else [list(group) for group in groups],
        "metrics": {
            name: _signature(metric) for name, metric in collection.named_children() if isinstance(metric, Metric)
        },
    }
