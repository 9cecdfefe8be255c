"""The run folder: the one thing that login node and compute node share. Every path in it is spelled
here, once.

::

    RUN/
      config.yaml        the resolved experiment, every default spelled out
      site.yaml          the site profile that it was submitted with
      provenance.json    code, packages, host, data: where the result comes from
      code/              the code that runs, so that an edit while the job waits changes nothing
      job.json           how it was launched: Slurm job id, or process
      state.json         what it is doing, written by the job itself
      cancelled.json     who asked to stop it, and when
      journal/           metrics of each attempt, append-only
      attempts.jsonl     each start of the run: when, where, from which step, and how it ended
      timings.json       how long steps, checkpoints and the graceful stop took
      rehearsal.json     only in a rehearsal: where the training waits for its signal
      lock               held by the training that is at work here
      requeue            marker: the stopped job is to be put back into the queue
      heartbeats/        how far each rank is, for the others to see who hangs
      checkpoints/       step-N.ckpt to resume from, best-N.ckpt to keep; links last.ckpt, best.ckpt
      logs/              rank-N.log, one file for each rank
      submitit/          Slurm's script and its own output
      wandb/             W&B's local files
      result.json        the outcome
      evaluation-*.json  what `hpc-dl evaluate` found for a split
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hpc_dl.errors import RunError, nearest

DEFAULT_RUNS = "runs"


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    Attributes:
        path: the folder, absolute.
    """

    path: Path

    @classmethod
    def create(cls, runs: Path, name: str) -> RunFolder:
        """Make a new folder ``NAME-YYYYMMDD-HHMMSS-xxxx`` under ``runs``.

        Raises:
            RunError: the folder cannot be made there.
        """
        stamp = time.strftime("%Y%m%d-%H%M%S")
        folder = cls(Path(os.path.abspath(runs)) / f"{name}-{stamp}-{secrets.token_hex(2)}")
        try:
            for part in (folder.journal, folder.checkpoints, folder.logs, folder.submitit):
                part.mkdir(parents=True)
        except OSError as error:
            raise RunError.at(
                runs,
                f"a run folder cannot be made here: {error.strerror}",
                remedy="choose another folder with --runs DIR",
            ) from None
        return folder

    @property
    def name(self) -> str:
        """The run's name, unique in its runs folder; also its id in W&B."""
        return self.path.name

    @property
    def word(self) -> str:
        """What a user types to name this run: its name where that is enough, else its folder."""
        return self.name if self.path.parent == default_runs().absolute() else str(self.path)

    @property
    def config(self) -> Path:
        """The resolved experiment."""
        return self.path / "config.yaml"

    @property
    def site(self) -> Path:
        """The site profile."""
        return self.path / "site.yaml"

    @property
    def provenance(self) -> Path:
        """Where the result comes from."""
        return self.path / "provenance.json"

    @property
    def code(self) -> Path:
        """The snapshot of the code; on the job's PYTHONPATH."""
        return self.path / "code"

    @property
    def job(self) -> Path:
        """How the run was launched; written by the launcher."""
        return self.path / "job.json"

    @property
    def state(self) -> Path:
        """What the run is doing; written by the job."""
        return self.path / "state.json"

    @property
    def cancelled(self) -> Path:
        """Marks that somebody asked to stop the run."""
        return self.path / "cancelled.json"

    @property
    def requeue(self) -> Path:
        """Marker for the batch script: put the stopped job back into the queue."""
        return self.path / "requeue"

    @property
    def lock(self) -> Path:
        """Held by the training that is at work here."""
        return self.path / "lock"

    @property
    def attempts(self) -> Path:
        """History of the run's starts and ends."""
        return self.path / "attempts.jsonl"

    @property
    def timings(self) -> Path:
        """How long steps, checkpoints and the graceful stop took."""
        return self.path / "timings.json"

    @property
    def heartbeats(self) -> Path:
        """Folder of the ranks' signs of life."""
        return self.path / "heartbeats"

    @property
    def journal(self) -> Path:
        """Folder of the metrics, a file for each attempt."""
        return self.path / "journal"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def last_checkpoint(self) -> Path:
        """The checkpoint to go on from."""
        return self.checkpoints / "last.ckpt"

    @property
    def best_checkpoint(self) -> Path:
        """The checkpoint with the best monitored metric."""
        return self.checkpoints / "best.ckpt"

    @property
    def logs(self) -> Path:
        """Folder of the ranks' logs."""
        return self.path / "logs"

    def log(self, rank: int) -> Path:
        """The log of one rank."""
        return self.logs / f"rank-{rank}.log"

    @property
    def submitit(self) -> Path:
        """Folder of the batch script and of what Slurm and Python print before our own log begins."""
        return self.path / "submitit"

    @property
    def result(self) -> Path:
        """The outcome."""
        return self.path / "result.json"


def default_runs() -> Path:
    """Where runs are kept when nothing else says so: ``$HPC_DL_RUNS``, or ``runs`` in the current
    folder.
    """
    return Path(os.environ.get("HPC_DL_RUNS", DEFAULT_RUNS))


def all_runs(runs: Path) -> Iterator[RunFolder]:
    """All runs under a folder, oldest first."""
    if not runs.is_dir():
        return
    found = [RunFolder(path.absolute()) for path in runs.iterdir() if (path / "config.yaml").is_file()]
    yield from sorted(found, key=lambda run: run.config.stat().st_mtime_ns)


def find(word: str, runs: Path) -> RunFolder:
    """The run that a user means by a path, a name, the beginning of a name, or ``latest``.

    Raises:
        RunError: none or several fit.
    """
    if (Path(word) / "config.yaml").is_file():
        return RunFolder(Path(word).absolute())
    if not word:
        raise RunError.at("RUN", "is empty", allowed="a run's name, the beginning of one, its folder, or 'latest'")
    known = list(all_runs(runs))
    if word == "latest" and known:
        return known[-1]
    exact = [run for run in known if run.name == word]
    fitting = exact or [run for run in known if run.name.startswith(word)]
    if len(fitting) == 1:
        return fitting[0]
    names = [run.name for run in known]
    if not fitting:
        raise RunError.at(
            word,
            f"no such run in {runs.absolute()}",
            allowed="a run's name, the beginning of one, its folder, or 'latest'",
            remedy=nearest(word, names) or "list the runs with `hpc-dl status`, or name their folder with --runs DIR",
        )
    newest = ", ".join(run.name for run in fitting[:-6:-1])
    more = f" and {len(fitting) - 5} older" if len(fitting) > 5 else ""
    raise RunError.at(
        word, f"fits {len(fitting)} runs", allowed=newest + more, remedy="write more of the name, or `latest`"
    )
