"""Versions of the installed packages, and the private names that hpc_dl uses."""

from __future__ import annotations

from collections.abc import Iterator

from hpc_dl.cluster.doctor.check import Check, Finding, Situation
from hpc_dl.compatibility.checks import check_names, check_training, missing_for_plain_step


class Packages(Check):
    """What a training checks when it starts."""

    def findings(self, situation: Situation) -> Iterator[Finding]:
        """Yield a hint if the fast step cannot be used; other faults are raised."""
        disabled = situation.experiment is not None and situation.experiment.wandb.mode == "disabled"
        check_training(with_wandb=not disabled)
        check_names("submitit")
        if sentence := missing_for_plain_step():
            yield Finding(sentence, "Training is correct, but slower", "install a tested version", fatal=False)
