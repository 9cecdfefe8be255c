"""The run folder: all files of one run, shared by the login node and the compute nodes.

::

    RUN/
      layout             version of this layout; other versions are refused
      config.yaml        the complete experiment, with every default written out
      site.yaml          the site profile that the run was submitted with
      task.json          only where the run trains nothing: what it does with another run's model
      provenance.json    where the result comes from: code, packages, host, data
      code               link to the code that the job runs, in ../.code, taken when it was prepared
      after.json         until it starts: the runs that must finish before
      trial.json         only in an adaptive sweep: which point of which study the run trains
      job.json           how the run was launched: its Slurm job id or its process id
      state.json         what the run is doing; written by its job
      cancelled.json     who cancelled the run, and when
      labels.json        tags and a note, by `hpc-dl tag` and `hpc-dl note`
      journal/           metrics, one append-only file per attempt
      attempts.jsonl     start and end of each attempt: when, where, at which step, and why
      timings.json       measured times of a step, a checkpoint and a graceful stop
      step-times.json    with trainer.step_times: how long the steps waited for what
      rehearsal.json     only in a rehearsal: the step at which the training waits for its signal
      lock               held by the training that is running in this folder
      requeue            marker for the batch script: requeue the stopped job
      warned-early       jobs that the time limit's warning ended before their ranks could stop
      requeue-refused    Slurm's message when it refused to requeue the job
      heartbeats/        progress of each rank, from which the others detect a stalled rank
      usage/             what each attempt spent its time on; samples of what each rank used
      checkpoints/       step-N.ckpt to resume from, best-N.ckpt to keep; links last.ckpt, best.ckpt
      logs/              rank-N.log, one file per rank
      submitit/          the batch script and its output
      wandb.json         the run's id in W&B, and what W&B has received
      wandb.lock         held by an upload to W&B
      wandb/             what the run's own code logs to W&B: images, histograms, settings
      result.json        final metrics
      why.json           what `hpc-dl why` found out about its end
      frames.h5          what the model made of the same inputs after some epochs, for figures
      figures/           what a finished run and `hpc-dl figures` have drawn
      evaluation-*.json  metrics of `hpc-dl evaluate`, one file per split

Every path is defined here once.
"""

from __future__ import annotations

import itertools
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from hpc_dl.errors import Fault, RunError
from hpc_dl.regular_files import DamagedFile, read_bytes

#: The folder in a folder of runs that holds the snapshots of the code, each once.
CODE_STORE = ".code"
#: The file that marks a folder as that of a sweep, whose members are runs.
SWEEP_FILE = "sweep.yaml"
#: Increased by every change after which the files of older run folders can no longer be read.
LAYOUT_VERSION = "2"
_UNMARKED_LAYOUT = "1"  # folders of that version have no marker
_MOST_LAYOUT_BYTES = 1000
#: The characters of the code at the end of a run's name: none looks like another, and no words.
NAME_CODE = "23456789bcdfghjkmnpqrstvwxz"
NAME_CODE_LENGTH = 3  # more where the short codes are taken


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    Attributes:
        path: the folder, absolute.
    """

    path: Path

    @classmethod
    def create(cls, runs: Path, name: str) -> RunFolder:
        """Create a new folder in ``runs``, with a short name that no other run has: ``NAME-k3f``.

        Raises:
            RunError: the folder cannot be created there.
        """
        for attempt in itertools.count():
            code = "".join(secrets.choice(NAME_CODE) for _ in range(NAME_CODE_LENGTH + attempt // 4))
            path = Path(os.path.abspath(runs)) / f"{name}-{code}"
            try:
                path.mkdir(parents=True)
            except OSError as error:
                if not os.path.lexists(path):
                    raise _not_creatable(runs, error) from None
            else:
                return cls.create_at(path, where=runs)
        raise AssertionError("unreachable")

    @classmethod
    def create_at(cls, path: Path, where: Path | None = None) -> RunFolder:
        """Create a new, empty run folder.

        Args:
            path: the folder, absolute.
            where: the folder of runs as the user named it, for the message.

        Raises:
            RunError: the folder cannot be created there.
        """
        folder = cls(path)
        try:
            for part in (folder.journal, folder.checkpoints, folder.logs, folder.submitit):
                part.mkdir(parents=True)
            folder.layout.write_text(f"{LAYOUT_VERSION}\n", encoding="utf-8")
        except OSError as error:
            raise _not_creatable(where or path.parent, error) from None
        return folder

    @property
    def name(self) -> str:
        """The run's name, unique in its runs folder."""
        return self.path.name

    @property
    def layout(self) -> Path:
        """The version of the folder's layout."""
        return self.path / "layout"

    def layout_fault(self) -> Fault | None:
        """Return why this version of hpc_dl cannot open the folder; ``None`` if it can."""
        try:
            version = read_bytes(self.layout, _MOST_LAYOUT_BYTES).decode(errors="replace").strip()
        except FileNotFoundError:
            if not self.path.exists():
                return Fault(str(self.path), "the run folder does not exist: it was removed or renamed")
            version = _UNMARKED_LAYOUT
        except DamagedFile as error:
            return error.faults[0]
        except OSError as error:
            return Fault(
                str(self.path),
                f"the run folder cannot be read: {error.strerror}",
                remedy="ask its owner for access, or leave it out by naming the runs",
            )
        if version == LAYOUT_VERSION:
            return None
        return Fault(
            str(self.path),
            "the run folder was written by another version of hpc_dl",
            value=f"layout {version}",
            allowed=f"layout {LAYOUT_VERSION}",
            remedy="start a new run with `hpc-dl train` or `hpc-dl submit`",
        )

    def checked(self) -> RunFolder:
        """Return the folder itself if this version of hpc_dl can open it.

        Raises:
            RunError: the folder has another layout, is damaged, or cannot be read.
        """
        if fault := self.layout_fault():
            raise RunError(fault)
        return self

    @property
    def config(self) -> Path:
        """The complete experiment."""
        return self.path / "config.yaml"

    @property
    def site(self) -> Path:
        """The site profile."""
        return self.path / "site.yaml"

    @property
    def provenance(self) -> Path:
        """Code, packages, host and data of the run."""
        return self.path / "provenance.json"

    @property
    def code(self) -> Path:
        """The link to the snapshot of the code; first on the job's PYTHONPATH."""
        return self.path / "code"

    @property
    def after(self) -> Path:
        """The runs that must finish before this one starts."""
        return self.path / "after.json"

    @property
    def job(self) -> Path:
        """How the run was launched; written by the launcher."""
        return self.path / "job.json"

    @property
    def trial(self) -> Path:
        """Which point of which study the run trains."""
        return self.path / "trial.json"

    @property
    def state(self) -> Path:
        """What the run is doing; written by its job."""
        return self.path / "state.json"

    @property
    def cancelled(self) -> Path:
        """Marker: the run was cancelled, by whom and when."""
        return self.path / "cancelled.json"

    @property
    def labels(self) -> Path:
        """Tags and a note."""
        return self.path / "labels.json"

    @property
    def requeue(self) -> Path:
        """Marker for the batch script: requeue the stopped job."""
        return self.path / "requeue"

    @property
    def lock(self) -> Path:
        """Held by the training that is running in this folder."""
        return self.path / "lock"

    @property
    def attempts(self) -> Path:
        """Start and end of each attempt."""
        return self.path / "attempts.jsonl"

    @property
    def timings(self) -> Path:
        """Measured times of a step, a checkpoint and a graceful stop."""
        return self.path / "timings.json"

    @property
    def heartbeats(self) -> Path:
        """Folder of the ranks' heartbeats."""
        return self.path / "heartbeats"

    @property
    def usage(self) -> Path:
        """Folder of what each attempt spent its time on, and of what each rank used."""
        return self.path / "usage"

    @property
    def journal(self) -> Path:
        """Folder of the metrics, one file per attempt."""
        return self.path / "journal"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def last_checkpoint(self) -> Path:
        """The checkpoint to resume from."""
        return self.checkpoints / "last.ckpt"

    @property
    def best_checkpoint(self) -> Path:
        """The checkpoint with the best value of the monitored metric."""
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
        """Folder of the batch script and its output: all that is printed before the log starts."""
        return self.path / "submitit"

    @property
    def frames(self) -> Path:
        """What figures over time are drawn from."""
        return self.path / "frames.h5"

    @property
    def figures(self) -> Path:
        """Folder of the figures."""
        return self.path / "figures"

    @property
    def result(self) -> Path:
        """The final metrics."""
        return self.path / "result.json"

    @property
    def verdict(self) -> Path:
        """Why the run ended, as ``hpc-dl why`` found out."""
        return self.path / "why.json"


def _not_creatable(where: Path, error: OSError) -> RunError:
    problem = f"a run folder cannot be created here: {error.strerror}"
    return RunError.at(where, problem, remedy="choose another folder with --runs DIR")
