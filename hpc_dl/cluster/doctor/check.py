"""The base class of the checks, and what they look at and report."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from hpc_dl.cluster.inspection.queries import ClusterFacts
from hpc_dl.cluster.site import SiteProfile
from hpc_dl.errors import HpcDlError

if TYPE_CHECKING:
    from hpc_dl.config.experiment import Experiment


@dataclass(frozen=True)
class Situation:
    """What is examined.

    Attributes:
        site: the site profile.
        runs_dir: the folder of the runs.
        data_dir: the folder of the data files.
        facts: what the cluster offers; ``None`` without Slurm, or if it does not respond.
        experiment: ``None`` if only this machine is examined.
    """

    site: SiteProfile
    runs_dir: Path
    data_dir: Path
    facts: ClusterFacts | None = None
    experiment: Experiment | None = None


@dataclass(frozen=True)
class Finding:
    """What is not as it should be.

    Attributes:
        what: the fact.
        why: why it matters.
        remedy: the command or the key that helps, in the imperative.
        fatal: whether jobs fail or are refused.
    """

    what: str
    why: str
    remedy: str
    fatal: bool = True

    def __str__(self) -> str:
        """The finding in one line."""
        return f"{self.what}. {self.why}. {self.remedy[:1].upper()}{self.remedy[1:]}"


def of_faults(error: HpcDlError) -> list[Finding]:
    """Return the faults of an error as findings."""
    why = "The job would be refused or fail"
    return [Finding(f"{fault.where}: {fault.problem}", why, fault.remedy) for fault in error.faults]


class Check(ABC):
    """One check; the first line of its file's docstring says what it looks at.

    Attributes:
        needs_experiment: whether it is left out when only this machine is examined.
    """

    needs_experiment: ClassVar[bool] = False

    @abstractmethod
    def findings(self, situation: Situation) -> Iterator[Finding]:
        """Yield what is wrong; nothing if all is well, or there is nothing to check.

        Raises:
            HpcDlError: the faults become findings, too.
        """
