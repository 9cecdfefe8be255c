"""The batch script of a job array: each task trains its members, one after another."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hpc_dl.cluster import requeue
from hpc_dl.cluster.batch_script import RankCommand, ScriptExecutor, executor
from hpc_dl.cluster.job_id import SHELL_ASSIGNMENT
from hpc_dl.runs.folder import RunFolder

if TYPE_CHECKING:
    from hpc_dl.cluster.site import SiteProfile
    from hpc_dl.config.experiment import Experiment

# Until the ranks: the next member that has not ended in an earlier attempt of this task.
_MEMBERS = r"""
worst=0
for member in $(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" "$array/tasks"); do
run=$sweep/$member
if state_is "finished|failed|diverged|cancelled" || [[ -e $run/cancelled.json ]]; then continue; fi
rm -f "$run/requeue" "$run/requeue-refused"  # of an earlier attempt that was killed
exec >>"$run/submitit/${job}_0_log.out" 2>&1
""".strip("\n")
# A stop ends the task: it was requeued, cancelled, or is at its time limit.
_NEXT = """
)
status=$?
if ((status == 75)); then exit 75; fi
if ((status > worst)); then worst=$status; fi
done
exit $worst
""".strip("\n")


def array_executor(
    array: RunFolder,
    sweep: Path,
    num_tasks: int,
    parallel: int | None,
    experiment: Experiment,
    site: SiteProfile,
    data_dir: Path | None,
    lead_s: int,
    before_member: str = "",
) -> ScriptExecutor:
    """Return the executor that submits a job array or writes its script.

    Args:
        array: the folder of the submission; its file ``tasks`` has the members of each task in one
            line.
        sweep: the folder of the members.
        num_tasks: the number of tasks.
        parallel: how many of them may run at the same time; ``None`` for all.
        experiment: an experiment with the resources of all members.
        site: the site profile.
        data_dir: where shipped data sources are kept; ``None`` for the default.
        lead_s: seconds between the warning signal and the time limit of a task.
        before_member: the arguments of Python for what a member needs before it trains, and once
            more after its end; "" for nothing.

    Raises:
        ClusterError: the path of the sweep cannot be used in a batch script.
    """
    slurm = executor(array, experiment, site, data_dir, lead_s, shared=sweep)
    members, following = _MEMBERS, _NEXT
    if before_member:
        command = f'{slurm.python} {before_member} "$run"'
        members = members.replace('|cancelled"', '|cancelled|pruned"') + f"\nif ! {command}; then worst=1; continue; fi"
        following = following.replace("if ((status > worst))", f"{command} || true\nif ((status > worst))")
    setup: Sequence[str] = slurm.parameters["setup"]
    before = [line for line in setup if line not in requeue.setup_lines(array)]
    slurm.parameters["setup"] = [
        *before,
        f"sweep={shlex.quote(str(sweep))}",
        f"array={shlex.quote(str(array.path))}",
        SHELL_ASSIGNMENT,
        requeue.STATE_IS,
        requeue.OUTLIVE_SIGNALS,
        *members.splitlines(),
    ]
    first, *rest = requeue.teardown_lines()
    slurm.parameters["teardown"] = [first, "(", *rest, *following.splitlines()]
    slurm.rank_command = RankCommand('-u -m hpc_dl.cluster.rank_process "$run"', '"$run/submitit/%j_%t_log.out"')
    limit = f"%{parallel}" if parallel is not None and parallel < num_tasks else ""
    slurm.options = {
        **slurm.options,
        "array": f"0-{num_tasks - 1}{limit}",
        "output": f"{array.submitit}/%A_%a_0_log.out",
    }
    return slurm
