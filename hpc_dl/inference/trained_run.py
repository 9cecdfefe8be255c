"""What a command that uses a run's weights checks before it imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hpc_dl.config import yaml
from hpc_dl.data.config import DataConfig
from hpc_dl.data.open_spec import open_spec
from hpc_dl.data.own_data_config import data_section
from hpc_dl.data.spec import SPLITS, DataSpec
from hpc_dl.errors import Fault, RunError
from hpc_dl.runs.checkpoints import Checkpoint, listed, problem_of
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import DONE, ENDED, read_state
from hpc_dl.runs.trust import check_trusted, names_code


@dataclass(frozen=True)
class TrainedRun:
    """A run that has weights, and the data it was trained on.

    Attributes:
        run: the run.
        checkpoint: its best weights so far, intact.
        data: the data it was trained on.
    """

    run: RunFolder
    checkpoint: Checkpoint
    data: DataSpec

    @classmethod
    def open(cls, run: RunFolder) -> TrainedRun:
        """Find the best weights so far, and open the data; the run may still be training.

        Raises:
            RunError: it has no weights yet, or they are damaged, or its data file is gone.
            HpcDlError: the data file is damaged, or no longer fits the run.
        """
        best = listed(run.checkpoints, "best")
        if not best:
            raise RunError(_without_weights(run))
        config = run_data(run)
        if problem := problem_of(best[-1]):
            raise RunError.at(best[-1].path, f"is damaged: {problem}", remedy="restore it from a copy")
        return cls(run, best[-1], open_spec(config))

    @property
    def own_loaders(self) -> bool:
        """Whether the data come from the loaders of the user's module."""
        return not self.data.file

    def check_split(self, split: str) -> None:
        """Check that the data have a split; of a module's own loaders only the module knows.

        Raises:
            RunError: they have not.
        """
        splits = SPLITS if self.own_loaders else tuple(self.data.sizes)
        if split not in splits:
            raise RunError.at("--split", "is not a split of the data", value=split, allowed=", ".join(splits))


def _without_weights(run: RunFolder) -> Fault:
    state = read_state(run)["state"]
    if state in DONE:
        return Fault(run.name, "has no weights anymore", remedy=f"restore {run.checkpoints} from a copy")
    if state in ENDED:
        remedy = "`hpc-dl why` shows the reason, and `hpc-dl resume` continues it"
        return Fault(run.name, "has no weights: it ended before its first validation", remedy=remedy)
    return Fault(run.name, "has no weights yet", remedy="wait for its first validation (see `hpc-dl status`)")


def check_model_trusted(run: RunFolder, *, yes: bool) -> None:
    """Check that the code of a run's model may be imported; ask where it is another user's.

    Args:
        run: the run.
        yes: whether the user has agreed already.

    Raises:
        RunError: it is another user's, and the user did not agree.
    """
    config = yaml.load(run.config)
    if names_code(config.get("model") if isinstance(config, dict) else None):
        check_trusted(run, "its model is Python code that its config.yaml names", yes=yes)


def run_data(run: RunFolder) -> DataConfig:
    """Return the ``data`` section of a run, whose file exists.

    Raises:
        RunError: the file was moved or deleted since the run started.
        ConfigError: the run's configuration is damaged, or of another version.
    """
    raw = yaml.load(run.config)
    config = data_section(raw if isinstance(raw, Mapping) else {"data": raw})
    if config.file is not None and not Path(config.file).exists():
        raise RunError.at(
            config.file,
            f"does not exist anymore, but {run.name} was trained on it",
            remedy="copy the data file back to this path",
        )
    return config
