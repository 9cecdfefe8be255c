"""The end of a batch script: shell code that decides whether the job is requeued.

hpc_dl requeues jobs only here. It is shell code because it runs outside of a container, where
``scontrol`` exists, and after the ranks have ended. Three things bound the number of requeues:

- A training that stopped with a checkpoint: ``record_stop`` in ``hpc_dl/training/outcome.py``
  writes the cause (``limit`` or ``term``) to ``RUN/requeue``, unless the run makes no progress or
  has been requeued ``resources.max_requeues`` times.
- Ranks that the warning of the time limit killed before they could handle it: five times
  (``RUN/warned-early``).
- Ranks that a preemption killed, and jobs that Slurm itself requeues (a failed node, a preemption
  without grace time): as often as that happens.

What Slurm reports about the job decides. Measured on Slurm 22.05::

    event                              scontrol show job, after the ranks have ended
    ---------------------------------  --------------------------------------------------------
    time limit warning, or a signal    JobState=RUNNING
    preempted, with GraceTime          JobState=RUNNING, PreemptTime=(a time); Slurm does not
                                       requeue the job itself
    preempted, without GraceTime       Restarts= is $SLURM_RESTART_COUNT + 1: already requeued
    scontrol requeue, node failure     likewise
    scancel                            JobState=COMPLETING; `scontrol requeue` would undo it
    killed at the time limit           JobState=COMPLETING, Reason=TimeLimit
"""

from __future__ import annotations

import shlex
from pathlib import Path

from hpc_dl.cluster.job_id import SHELL_ASSIGNMENT, JobId
from hpc_dl.errors import Stopped
from hpc_dl.runs.folder import RunFolder

#: Shell code that defines ``state_is STATE|…``, about the run folder in ``$run``.
STATE_IS = r"""state_is() { grep -qE "^ *\"state\": \"($1)\"" "$run/state.json" 2>/dev/null; }"""
#: Of the run in ``$run``: what an earlier attempt left, and its state, which these ranks may not
#: live long enough to replace.
FORGET_EARLIER_ATTEMPT = (
    'rm -f "$run/requeue" "$run/requeue-refused"  # of an earlier attempt that was killed',
    'sed -i \'/^ *"state":/s/"stopped"/"running"/\' "$run/state.json" 2>/dev/null  # its ranks may die before they do',
)
OUTLIVE_SIGNALS = "trap : TERM USR1 USR2  # outlive the ranks; an empty trap ('') would be inherited by them"
_DECISION = r"""
requeue() {
    local try message
    for try in 1 2 3 4 5 6; do
        message=$(trap '' TERM; scontrol requeue "$job" 2>&1) && exit STOPPED
        case $message in
            *"pending execution"*) exit STOPPED ;;  # Slurm has requeued it already
            *[Cc]ontact*) sleep 10 ;;  # the controller is restarting
            *) break ;;
        esac
    done
    printf '%s\n' "$message" >"$run/requeue-refused"
}
record_cancellation() {
    [[ -e $run/cancelled.json ]] && return
    printf '{"time": "%s", "by": "scancel"}\n' "$(date +%Y-%m-%dT%H:%M:%S%z)" >"$run/.cancelled.json.$$"
    mv "$run/.cancelled.json.$$" "$run/cancelled.json"
}
cause=
{ read -r cause <"$run/requeue" && rm -f "$run/requeue"; } 2>/dev/null
if [[ -z $cause && $status -ne 0 ]] && ! state_is "stopped|finished|failed|diverged|cancelled"; then
    cause=killed  # before the ranks could stop with a checkpoint
    if [[ $status == 138 || $status == 140 ]]; then  # by USR1 or USR2, before their programs had started
        printf '%s\n' "$job" >>"$run/warned-early"
        (($(wc -l <"$run/warned-early") > 5)) || cause=limit
    fi
fi
if [[ -n $cause ]]; then
    facts=" $(scontrol --oneliner show job "$job" 2>/dev/null) "
    if [[ $facts =~ \ Restarts=([0-9]+)\  ]] && ((BASH_REMATCH[1] > ${SLURM_RESTART_COUNT:-0})); then
        :  # Slurm itself has requeued it
    elif [[ $facts =~ \ PreemptTime=[0-9] ]]; then
        requeue
    elif [[ $facts =~ \ JobState=(COMPLETING|CANCELLED)\  && $facts != *" Reason=TimeLimit "* ]]; then
        record_cancellation
    elif [[ $cause == limit || ($cause == term && $facts == *" Reason=TimeLimit "*) ]]; then
        requeue
    fi
fi
state_is stopped && exit STOPPED
state_is finished && exit 0  # a signal may have reached ranks that had just finished
exit "$status"
""".strip("\n")


def refusal_file(run: RunFolder) -> Path:
    """The file with Slurm's message when it refused to requeue the job."""
    return run.path / "requeue-refused"


def setup_lines(run: RunFolder) -> list[str]:
    """The lines of bash before the ranks are started."""
    return [*_variables(run), *FORGET_EARLIER_ATTEMPT]


def teardown_lines(grow: str = "") -> list[str]:
    """The lines of bash after the ranks, whose exit status is in ``$?``; they end the shell.

    They need :func:`setup_lines`. Exit status: 75 if the run stopped, requeued or not; 0 if it
    finished; else that of the ranks.

    Args:
        grow: the command that submits a run again that ran out of memory; "" for none.
    """
    *decision, stopped, finished, failed = _DECISION.replace("STOPPED", str(Stopped.exit_status)).splitlines()
    again = [f'{grow} "$run"'] if grow else []
    return ["status=$?", *decision, stopped, finished, *again, failed]


def teardown_command(run: RunFolder, status: int, job: JobId | None = None) -> list[str]:
    """The command that runs :func:`teardown_lines` for ranks whose exit status is known.

    Args:
        run: the run.
        status: exit status of srun.
        job: the job that it runs in; ``None``: what the environment says.
    """
    return ["bash", "-c", "\n".join([*_variables(run, job), f"(exit {status})", *teardown_lines()])]


def _variables(run: RunFolder, job: JobId | None = None) -> list[str]:
    return [
        f"run={shlex.quote(str(run.path))}",
        f"job={job}" if job else SHELL_ASSIGNMENT,
        STATE_IS,
        OUTLIVE_SIGNALS,
    ]
