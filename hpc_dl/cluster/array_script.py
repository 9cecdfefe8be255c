"""The batch script of a job array: each task trains its members, one after another or together."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hpc_dl.cluster import requeue
from hpc_dl.cluster.batch_script import RankCommand, ScriptExecutor, cpus_of_a_rank, executor
from hpc_dl.cluster.job_id import SHELL_ASSIGNMENT
from hpc_dl.runs.folder import RunFolder

if TYPE_CHECKING:
    from hpc_dl.cluster.site import SiteProfile
    from hpc_dl.config.experiment import Experiment

# The next member that has not ended in an earlier attempt of this task.
_NEXT_MEMBER = r"""
worst=0
for member in $(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" "$array/tasks"); do
run=$sweep/$member
if state_is "ENDED" || [[ -e $run/cancelled.json ]]; then continue; fi
""".strip("\n")
# Around the ranks and the decision about them: one member after another.
_IN_TURN = 'exec >>"$run/submitit/${job}_0_log.out" 2>&1'
# A stop ends the task: it was requeued, cancelled, or is at its time limit.
_AFTER_ITS_TURN = "if ((status == 75)); then exit 75; fi"
# The same, with the ranks of all members at the same time.
_TOGETHER = """
set -- "$@" "$run"
done
if (($# == 0)); then exit $worst; fi
""".strip("\n")
# srun has one exit status for all; what became of each member is in its folder.
_AFTER_ALL = """
all=$?
for run in "$@"; do
if state_is pruned; then true; else (exit $all); fi
""".strip("\n")
_WORST = "if ((status > worst)); then worst=$status; fi"
_END = "done\nexit $worst"


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
    side_by_side: int = 1,
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
        side_by_side: how many members of a task, of one rank each, train at the same time.

    Raises:
        ClusterError: the path of the sweep cannot be used in a batch script.
    """
    slurm = executor(array, _for_all(experiment, side_by_side), site, data_dir, lead_s, shared=sweep)
    together = side_by_side > 1
    command = f'{slurm.python} {before_member} "$run"'
    setup: Sequence[str] = slurm.parameters["setup"]
    ended = "finished|failed|diverged|cancelled" + ("|pruned" if before_member else "")
    slurm.parameters["setup"] = [
        *(line for line in setup if line not in requeue.setup_lines(array)),
        f"sweep={shlex.quote(str(sweep))}",
        f"array={shlex.quote(str(array.path))}",
        SHELL_ASSIGNMENT,
        requeue.STATE_IS,
        requeue.OUTLIVE_SIGNALS,
        *_NEXT_MEMBER.replace("ENDED", ended).splitlines(),
        *requeue.FORGET_EARLIER_ATTEMPT,
        *([] if together else [_IN_TURN]),
        *([f"if ! {command}; then worst=1; continue; fi"] if before_member else []),
        *(_TOGETHER.splitlines() if together else []),
    ]
    first, *decision = requeue.teardown_lines()
    slurm.parameters["teardown"] = [
        *(_AFTER_ALL.splitlines() if together else []),
        first,
        "(",
        *decision,
        ")",
        "status=$?",
        *([] if together else [_AFTER_ITS_TURN]),
        *([f"{command} || true"] if before_member else []),
        _WORST,
        *_END.splitlines(),
    ]
    if together:
        tasks = [f"--ntasks={side_by_side}", f"--ntasks-per-node={side_by_side}", *cpus_of_a_rank(experiment, site)]
        # Neither the failure of a member nor its end stops the others, whatever the site's default.
        slurm.parameters["srun_args"] = [*tasks, "--kill-on-bad-exit=0", "--wait=0", "--export=ALL"]
        slurm.rank_command = RankCommand('-u -m hpc_dl.cluster.member_process "$@"', '"$array/submitit/%j_%t_log.out"')
    else:
        slurm.rank_command = RankCommand('-u -m hpc_dl.cluster.rank_process "$run"', '"$run/submitit/%j_%t_log.out"')
    limit = f"%{parallel}" if parallel is not None and parallel < num_tasks else ""
    slurm.options = {
        **slurm.options,
        "array": f"0-{num_tasks - 1}{limit}",
        "output": f"{array.submitit}/%A_%a_0_log.out",
    }
    return slurm


def _for_all(experiment: Experiment, members: int) -> Experiment:
    """The experiment with the CPU cores and the memory of several members."""
    one = experiment.resources
    together = {
        "cpus_per_gpu": members * one.cpus_per_gpu,
        "memory": f"{members * round(one.memory_gib * 1024)}M",
    }
    return replace(experiment, resources=one.model_copy(update=together)) if members > 1 else experiment
