"""The CPU cores that each rank may use, against those that the experiment requests."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hpc_dl.cluster.doctor.check import Finding
from hpc_dl.cluster.doctor.job_check import JobCheck, Measured, Rank, by_node
from hpc_dl.formatting import shortened

if TYPE_CHECKING:
    from hpc_dl.config.experiment import Experiment


class CpuCores(JobCheck):
    """Whether ranks are bound to fewer cores, or all of them to the same ones."""

    why = "The training and the threads that read its data wait for each other"
    remedy = "report it to your site"

    def measure(self, rank: Rank) -> dict[str, Any]:
        """Return the numbers of the cores (``sched_getaffinity``)."""
        return {"cores": sorted(os.sched_getaffinity(0)), "in_slurm": "SLURM_JOB_ID" in os.environ}

    def findings(self, measured: Sequence[Measured], experiment: Experiment) -> Iterator[Finding]:
        """Yield one for each node where ranks have too few cores, alone or together."""
        wanted = experiment.resources.cpus_per_gpu
        for node, ranks in by_node(measured).items():
            cores = [set(each.values["cores"]) for each in ranks]
            together, fewest = set().union(*cores), min(map(len, cores))
            if fewest >= wanted and len(together) >= wanted * len(ranks):
                continue
            listed = f"cores {shortened(sorted(together), most=4)}" if len(together) > 1 else f"core {min(together)}"
            who = (
                f"the {len(ranks)} ranks may use only {listed}" if len(ranks) > 1 else f"the rank may use only {listed}"
            )
            remedy = (
                "set `environment: {SLURM_CPU_BIND: none}` in the site profile, or ask your site how srun binds tasks"
                if ranks[0].values["in_slurm"]
                else f"set resources.cpus_per_gpu={max(1, len(together) // len(ranks))}"
            )
            what = f"{node}: {who}; {wanted * len(ranks)} CPU cores were requested"
            yield Finding(what, self.why, remedy, fatal=False)
