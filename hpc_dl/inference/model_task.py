"""A run that evaluates or exports the model of another run instead of training one.

Its folder, job and states are those of any run; ``task.json`` says what it does.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpc_dl.atomic_files import write_json
from hpc_dl.errors import RunError
from hpc_dl.regular_files import DamagedFile, read_json
from hpc_dl.runs import lock
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.provenance import slurm_facts
from hpc_dl.runs.state import write_state


def task_file(run: RunFolder) -> Path:
    """The file that says what the run does with another run's model instead of training."""
    return run.path / "task.json"


@dataclass(frozen=True)
class ModelTask:
    """What to do with a trained model: exactly one of ``split`` and ``out`` is given.

    Attributes:
        trained: the folder of the run whose best weights are used.
        split: evaluate on this split of its data.
        out: export to this file.
        force: whether ``out`` may be replaced.
    """

    trained: Path
    split: str | None = None
    out: Path | None = None
    force: bool = False

    @classmethod
    def of(cls, run: RunFolder) -> ModelTask | None:
        """Return the task of a run; ``None`` if it trains.

        Raises:
            DamagedFile: the file is damaged.
        """
        content = read_json(task_file(run))
        if content is None:
            return None
        task = content if isinstance(content, dict) else {}
        trained, split, out = (task.get(key) for key in ("trained", "split", "out"))
        if not isinstance(trained, str) or not isinstance(split or out, str) or (split and out):
            raise DamagedFile.at(
                task_file(run), "is damaged: it must have either a split or an output file", value=content
            )
        return cls(Path(trained), split, Path(out) if out else None, task.get("force") is True)

    def write(self, run: RunFolder) -> None:
        """Make it the task of a run."""
        paths = {"trained": str(self.trained), "out": str(self.out) if self.out else None}
        write_json(task_file(run), {**paths, "split": self.split, "force": self.force})

    @property
    def folders(self) -> list[Path]:
        """The folders that it reads and writes."""
        return [self.trained, *([self.out.parent] if self.out else [])]


def perform(task: ModelTask, run: RunFolder) -> None:
    """Do the task, and record its result as that of the run.

    Args:
        task: the task.
        run: whose job this is.

    Raises:
        HpcDlError: the other run has no intact weights, or its model cannot do this.
    """
    with lock.held(run):
        write_state(run, "running", attempt=0, **slurm_facts())
        outcome = _outcome(task)
        metrics = {f"{task.split}/{name}": value for name, value in outcome.get("metrics", {}).items()}
        result = {"run": run.name, "dir": str(run.path), "state": "finished", "metrics": metrics, "task": outcome}
        write_json(run.result, result)
        write_state(run, "finished")


def _outcome(task: ModelTask) -> dict[str, Any]:
    """What ``hpc-dl evaluate`` or ``hpc-dl export`` returns."""
    from hpc_dl.inference.trained_run import TrainedRun
    from hpc_dl.training.console import quiet

    trained = TrainedRun.open(RunFolder(task.trained).checked())
    os.environ["WANDB_MODE"] = "disabled"  # a user's module may call wandb.init in its __init__
    from hpc_dl.inference.trained_model import TrainedModel

    quiet()
    if task.split is not None:
        from hpc_dl.inference.evaluation import evaluate

        trained.check_split(task.split)
        return evaluate(TrainedModel.load(trained), task.split)
    from hpc_dl.inference.export import export

    if task.out is None:
        raise RunError.at(task.trained.name, "has neither a split to evaluate nor a file to export to")
    return export(TrainedModel.load(trained), task.out, force=task.force)
