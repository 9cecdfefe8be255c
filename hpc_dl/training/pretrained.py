"""Training that starts from pretrained weights: ``model.init_from`` and ``model.freeze``."""

from __future__ import annotations

import fnmatch
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from hpc_dl.errors import ConfigError, RunError
from hpc_dl.formatting import shortened
from hpc_dl.nn.pretrained_names import KnowsOtherNames
from hpc_dl.regular_files import user_path
from hpc_dl.runs import search

_NUM_LISTED = 4


def weights_file(init_from: str, runs: Path) -> Path:
    """Find the file that ``model.init_from`` names: a checkpoint, or the best one of a run.

    Args:
        init_from: path of a checkpoint file, or a run as on the command line.
        runs: folder of all runs.

    Raises:
        ConfigError: there is no such file or run, or the run has no weights yet.
    """
    path = user_path(init_from, "model.init_from")
    if path.is_file():
        return path.resolve()
    try:
        run = search.find(init_from, runs)
    except RunError as error:
        raise ConfigError.at(
            "model.init_from",
            f"is neither a file nor a run ({error.faults[0].problem})",
            value=init_from,
            remedy=error.faults[0].remedy or "specify a checkpoint file, or a run as listed by `hpc-dl status`",
        ) from None
    if not run.best_checkpoint.exists():
        raise ConfigError.at("model.init_from", "has no checkpoint yet", value=run.name, remedy="wait until it has one")
    return run.best_checkpoint.resolve()


def load_pretrained(module: nn.Module, path: Path, say: Callable[[str], None] = lambda _: None) -> None:
    """Copy the weights of a file into a module where name and shape match; the others stay fresh.

    Args:
        module: with fresh weights; on the meta device nothing is copied, only checked.
        path: a checkpoint of hpc_dl or Lightning, a state dict written by ``torch.save``, or a file
            of safetensors. Only plain weights are read, so the file cannot run code in this
            process.
        say: prints one line for the user.

    Raises:
        ConfigError: the file cannot be read, or none of its weights matches.
    """
    saved = _state_dict(path)
    if isinstance(module, KnowsOtherNames):
        saved = module.own_names(saved)
    own = {name: value for name, value in module.state_dict().items() if not name.startswith("evaluation.")}
    matching = [name for name, value in own.items() if name in saved and saved[name].shape == value.shape]
    fresh = [name for name in own if name not in matching]
    if not matching:
        raise ConfigError.at(
            "model.init_from",
            "has no weight that matches this model in name and shape",
            value=str(path),
            allowed=f"weights such as {', '.join(list(own)[:_NUM_LISTED])}",
            remedy="specify a run of the same architecture and width, or weights with these names",
        )
    with torch.no_grad():
        for name in matching:
            own[name].copy_(saved[name])
    message = f"Starting from {len(matching)} of {len(own)} weights of {path}"
    say(f"{message}; fresh: {shortened(fresh, _NUM_LISTED)}" if fresh else message)


def freeze(module: nn.Module, patterns: Sequence[str]) -> None:
    """Freeze parts of a module: their parameters are not trained, their running statistics kept.

    Args:
        module: any.
        patterns: names of modules or parameters, with ``*`` for any characters: ``features``,
            ``layers.0.*``.

    Raises:
        ConfigError: a pattern matches nothing, or nothing remains to train.
    """
    for pattern in patterns:
        parts = [part for name, part in module.named_modules() if name and fnmatch.fnmatchcase(name, pattern)]
        parameters = [p for name, p in module.named_parameters() if fnmatch.fnmatchcase(name, pattern)]
        if not parts and not parameters:
            raise ConfigError.at(
                "model.freeze",
                "matches no part of the model",
                value=pattern,
                allowed=", ".join(name for name, _ in module.named_children() if name != "evaluation"),
            )
        for part in parts:
            part.eval()
            parameters += part.parameters()
        for parameter in parameters:
            parameter.requires_grad_(False)
    if patterns and not any(parameter.requires_grad for parameter in module.parameters()):
        raise ConfigError.at("model.freeze", "freezes every parameter", value=list(patterns))


def _state_dict(path: Path) -> dict[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:
        raise ConfigError.at(
            "model.init_from",
            "contains more than plain weights, such as code that loading would run, so it was not opened",
            value=str(path),
            remedy="save only `model.state_dict()`",
        ) from None
    except (OSError, RuntimeError, ValueError, EOFError, SafetensorError):
        raise ConfigError.at(
            "model.init_from",
            "is not a checkpoint, or a damaged one",
            value=str(path),
            remedy="specify a run, its best.ckpt, a state dict of torch.save, or a .safetensors file",
        ) from None
    state = content.get("state_dict", content) if isinstance(content, dict) else {}
    return {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
