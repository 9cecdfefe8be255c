"""``hpc_dl.Run``: one run, from its start to its trained model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc_dl.cluster import status as job
from hpc_dl.cluster.follow import follow_run
from hpc_dl.errors import RunError
from hpc_dl.failures.explanation import explain
from hpc_dl.inference.trained_run import TrainedRun, check_model_trusted
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.run_files import read_result
from hpc_dl.tracking.journal import read_journal

if TYPE_CHECKING:
    from hpc_dl.inference.trained_model import TrainedModel


@dataclass(frozen=True)
class Run:
    """A run, wherever it was started: its state, its metrics, its model.

    Attributes:
        folder: its files.
    """

    folder: RunFolder

    @property
    def name(self) -> str:
        """Its name, unique in the folder of runs."""
        return self.folder.name

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.folder.path

    def status(self) -> dict[str, Any]:
        """Return what it is doing, as in ``hpc-dl status --json``: ``state``, ``job``, …."""
        return job.status(self.folder)

    def why(self) -> dict[str, Any]:
        """Return why it failed, stopped or waits: ``cause``, ``remedy``, …, as ``hpc-dl why``."""
        return explain(self.folder)

    def wait(self) -> dict[str, Any]:
        """Wait until it has ended, also through requeues.

        Returns:
            Its final metrics by name.

        Raises:
            RunError: it did not finish; with the reason.
        """
        last: dict[str, Any] = {}
        for update in follow_run(self.folder, from_now=True):
            if isinstance(update, dict):
                last = update
        if last["state"] != "finished":
            raise RunError.at(
                self.name, f"ended without a result ({last['state']}): {last.get('reason', 'no reason was recorded')}"
            )
        return self.metrics()

    def metrics(self) -> dict[str, Any]:
        """Return its final metrics by name; empty before it has finished."""
        metrics: dict[str, Any] = read_result(self.folder).get("metrics", {})
        return metrics

    def journal(self) -> list[dict[str, Any]]:
        """Return what it has logged, one row for each step: ``step``, ``epoch``, ``time``, metrics.

        ``pandas.DataFrame(run.journal())`` makes a table of it. Safe while it is training.

        Raises:
            DamagedFile: a file of the journal is damaged.
        """
        return read_journal(self.folder.journal)

    def model(self, *, trust: bool = False) -> TrainedModel:
        """Load its model with the best weights so far; it may still be training.

        Args:
            trust: whether a model that is the Python code of another user may be imported.

        Raises:
            RunError: it has no weights yet, they are damaged, or the data file is gone.
        """
        check_model_trusted(self.folder, yes=trust)
        trained = TrainedRun.open(self.folder)
        from hpc_dl.inference.trained_model import TrainedModel

        return TrainedModel.load(trained)

    def cancel(self) -> bool:
        """Stop it, with a checkpoint if it is training; return ``False`` if it had already ended.

        Raises:
            HpcDlError: it was never launched, runs on another machine, or Slurm refuses.
        """
        return job.cancel(self.folder)
