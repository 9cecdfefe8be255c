"""The experiment that a command's arguments ``CONFIG [KEY=VALUE …]`` describe."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpc_dl.config.experiment import Experiment


def load_experiment(config: Path, overrides: Iterable[str] | None) -> Experiment:
    """Load the experiment; imports torch, but only once the file has been read.

    Args:
        config: the YAML file, or the name of a shipped one.
        overrides: ``key=value`` arguments.

    Raises:
        ConfigError: with all faults, each at its dotted path.
    """
    from hpc_dl.cli.output import LOADING, say
    from hpc_dl.config import experiment_file

    raw, name = experiment_file.read(config, overrides or (), say)
    say(LOADING)
    from hpc_dl.config.experiment import Experiment

    return Experiment.from_dict(raw, default_name=name)
