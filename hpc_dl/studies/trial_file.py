"""``trial.json`` in the run folder of a member of an adaptive sweep; free of Optuna and torch.

It says which point of which study the run trains. ``point`` is null until the run's task has asked
the study for it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from hpc_dl.atomic_files import write_json
from hpc_dl.regular_files import DamagedFile, read_json
from hpc_dl.runs.folder import RunFolder

JOURNAL = "study.journal"
"""The file in a sweep's folder with its studies; other settings begin another study."""


@dataclass(frozen=True)
class RunTrial:
    """The content of the file.

    Attributes:
        study: name of the study.
        number: of the point, from 0.
        objective: the metric by which points are compared.
        pruning: ``min_epochs`` and ``reduction_factor`` where members that lag are ended.
        point: the settings by their dotted keys; ``None`` until they are chosen.
    """

    study: str
    number: int
    objective: str
    pruning: dict[str, int] | None = None
    point: dict[str, Any] | None = None

    def write(self, run: RunFolder) -> None:
        """Replace the file of a run."""
        write_json(run.trial, asdict(self))


def read_trial(run: RunFolder) -> RunTrial | None:
    """Return which point a run trains; ``None`` for one that is not a member of an adaptive sweep.

    Raises:
        DamagedFile: the file is damaged.
    """
    content = read_json(run.trial)
    if content is None:
        return None
    try:
        trial = RunTrial(**content)
    except TypeError:
        raise DamagedFile.at(run.trial, "is damaged: its keys are others", value=content) from None
    pruning, point = trial.pruning, trial.point
    valid = (
        isinstance(trial.study, str)
        and isinstance(trial.number, int)
        and isinstance(trial.objective, str)
        and (pruning is None or (isinstance(pruning, dict) and all(isinstance(v, int) for v in pruning.values())))
        and (point is None or isinstance(point, dict))
    )
    if not valid:
        raise DamagedFile.at(run.trial, "is damaged: a value has another type", value=content)
    return trial
