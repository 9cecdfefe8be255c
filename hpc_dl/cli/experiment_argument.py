"""The experiment that a command's arguments ``CONFIG [KEY=VALUE …]`` describe."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpc_dl.api.experiment import Experiment


def load_experiment(config: Path, overrides: Iterable[str] | None, *, announce: bool = True) -> Experiment:
    """Load the experiment; imports torch, but only once the file has been read.

    Args:
        config: the YAML file, or the name of a shipped one.
        overrides: ``key=value`` arguments.
        announce: whether to say that this takes some seconds.

    Raises:
        ConfigError: with all faults, each at its dotted path.
    """
    from hpc_dl.cli.output import LOADING, say
    from hpc_dl.config import experiment_file

    messages: list[str] = []
    raw, name = experiment_file.read(config, overrides or (), messages.append)
    for message in [LOADING, *messages] if announce else messages:
        say(message)
    from hpc_dl.api.experiment import Experiment

    return Experiment.from_dict(raw, default_name=name)
