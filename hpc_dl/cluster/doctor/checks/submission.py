"""Whether Slurm would take a job of this experiment (`sbatch --test-only`)."""

from __future__ import annotations

from collections.abc import Iterator

from hpc_dl.cluster.doctor.check import Check, Finding, Situation
from hpc_dl.cluster.submit import refusal_remedy, uses_slurm


class Submission(Check):
    """The experiment's resources against the site's limits and Slurm."""

    needs_experiment = True

    def findings(self, situation: Situation) -> Iterator[Finding]:
        """Yield Slurm's refusal."""
        experiment, site = situation.experiment, situation.site
        assert experiment is not None
        site.check(experiment)
        if not uses_slurm(site):
            return
        from hpc_dl.cluster.start_time import ask

        refusal = ask(experiment, site, situation.data_dir).refusal
        if refusal:
            remedy = refusal_remedy(refusal, experiment, site) or "see `hpc-dl submit --dry-run`"
            yield Finding(f"Slurm refuses this job: {refusal}", "It could not be submitted", remedy)
