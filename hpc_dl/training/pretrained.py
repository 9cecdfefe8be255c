"""Beginning with weights that another run has learned: ``model.init_from`` and ``model.freeze``."""

from __future__ import annotations

import fnmatch
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hpc_dl.errors import ConfigError, RunError
from hpc_dl.runs import folder

_NUM_LISTED = 4


def weights_file(word: str, runs: Path) -> Path:
    """The file that ``model.init_from`` means: itself, or the best checkpoint of a run.

    Args:
        word: path of a checkpoint file, or a run as on the command line.
        runs: folder of all runs.

    Raises:
        ConfigError: there is no such file or run, or the run has no weights yet.
    """
    path = Path(word).expanduser()
    if path.is_file():
        return path.resolve()
    try:
        run = folder.find(word, runs)
    except RunError as error:
        raise ConfigError.at(
            "model.init_from",
            f"is neither a file nor a run ({error.faults[0].problem})",
            value=word,
            remedy=error.faults[0].remedy or "name a checkpoint file, or a run as `hpc-dl status` lists it",
        ) from None
    if not run.best_checkpoint.exists():
        raise ConfigError.at("model.init_from", "has no checkpoint yet", value=run.name, remedy="wait until it has one")
    return run.best_checkpoint.resolve()


def load_pretrained(module: nn.Module, path: Path, say: Callable[[str], None] = lambda _: None) -> None:
    """Copy the weights of a file into a module, wherever name and shape agree; the others stay as
    they were drawn.

    Args:
        module: with fresh weights; on the meta device it is only checked what would be copied.
        path: a checkpoint of hpc_dl or Lightning, or a state dict that ``torch.save`` wrote. Only
            plain weights are read: a file cannot make this process run code.
        say: tells the user one line.

    Raises:
        ConfigError: the file cannot be read, or none of its weights fits.
    """
    saved = _state_dict(path)
    own = {name: value for name, value in module.state_dict().items() if not name.startswith("evaluation.")}
    fitting = [name for name, value in own.items() if name in saved and saved[name].shape == value.shape]
    fresh = [name for name in own if name not in fitting]
    if not fitting:
        raise ConfigError.at(
            "model.init_from",
            "holds no weights of this model: no name and shape agree",
            value=str(path),
            allowed=f"weights such as {', '.join(list(own)[:_NUM_LISTED])}",
            remedy="name a run of the same architecture",
        )
    with torch.no_grad():
        for name in fitting:
            own[name].copy_(saved[name])
    told = f"Beginning with {len(fitting)} of {len(own)} weights of {path}"
    say(f"{told}; fresh: {_listed(fresh)}" if fresh else told)


def freeze(module: nn.Module, patterns: Sequence[str]) -> None:
    """Keep parts of a module as they are: their parameters are not learned, their running
    statistics do not move.

    Args:
        module: any.
        patterns: names of modules or parameters, with ``*`` for any characters: ``features``,
            ``layers.0.*``.

    Raises:
        ConfigError: a pattern names nothing, or nothing is left to learn.
    """
    for pattern in patterns:
        parts = [part for name, part in module.named_modules() if name and fnmatch.fnmatchcase(name, pattern)]
        parameters = [p for name, p in module.named_parameters() if fnmatch.fnmatchcase(name, pattern)]
        if not parts and not parameters:
            raise ConfigError.at(
                "model.freeze",
                "names no part of the model",
                value=pattern,
                allowed=", ".join(name for name, _ in module.named_children() if name != "evaluation"),
            )
        for part in parts:
            part.eval()
            parameters += part.parameters()
        for parameter in parameters:
            parameter.requires_grad_(False)
    if patterns and not any(parameter.requires_grad for parameter in module.parameters()):
        raise ConfigError.at("model.freeze", "leaves nothing to learn", value=list(patterns))


def _state_dict(path: Path) -> dict[str, torch.Tensor]:
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:
        raise ConfigError.at(
            "model.init_from",
            "holds more than plain weights, which could run code of its author: it is not opened",
            value=str(path),
            remedy="save `model.state_dict()` alone",
        ) from None
    except (OSError, RuntimeError, ValueError, EOFError):
        raise ConfigError.at(
            "model.init_from",
            "is no checkpoint, or a damaged one",
            value=str(path),
            remedy="name a run, or its best.ckpt",
        ) from None
    found = content.get("state_dict", content) if isinstance(content, dict) else {}
    return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NUM_LISTED} more" if len(names) > _NUM_LISTED else ""
    return ", ".join(names[:_NUM_LISTED]) + more
