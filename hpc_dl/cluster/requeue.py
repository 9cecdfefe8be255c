"""The end of a Slurm job: whether it is put back into the queue. One owner: the batch script, in
plain shell.

In shell, because the script runs outside of a container, where ``scontrol`` is, and outlives the
ranks. Rank 0 leaves the marker ``RUN/requeue`` when it stops with a checkpoint; its word says why
(``limit``, ``term``). What Slurm then says of the job decides. Measured on Slurm 22.05:

=======================================
====================================================================== what happened ``scontrol show
job``, after the ranks have ended =======================================
====================================================================== warning of the time limit, or
a signal ``JobState=RUNNING`` preempted, partition with a GraceTime ``JobState=RUNNING``,
``PreemptTime=`` a time; Slurm would not requeue it preempted, no GraceTime ``Restarts=`` one more
than ``$SLURM_RESTART_COUNT``: requeued already ``scontrol requeue``, a node failed the same
``scancel`` ``JobState=COMPLETING``; ``scontrol requeue`` would undo it killed at the time limit
``JobState=COMPLETING``, ``Reason=TimeLimit`` =======================================
======================================================================
"""

from __future__ import annotations

import shlex
from pathlib import Path

from hpc_dl.errors import Stopped
from hpc_dl.runs.folder import RunFolder

#: Seconds between Slurm's warning and the time limit: for the running step, the checkpoint and the
#: requeue. Slurm may warn up to a minute earlier.
DEFAULT_LEAD_S = 120

_REFUSAL = "requeue-refused"
_LAST_WORDS = r"""
requeue() {
    local try said
    for try in 1 2 3 4 5 6; do
        said=$(trap '' TERM; scontrol requeue "$SLURM_JOB_ID" 2>&1) && exit STOPPED
        case $said in
            *"pending execution"*) exit STOPPED ;;  # Slurm was faster
            *[Cc]ontact*) sleep 10 ;;  # the controller is restarted
            *) break ;;
        esac
    done
    printf '%s\n' "$said" >"$run/requeue-refused"
}
cancelled() {
    [[ -e $run/cancelled.json ]] && return
    printf '{"time": "%s", "by": "scancel"}\n' "$(date +%Y-%m-%dT%H:%M:%S%z)" >"$run/.cancelled.json.$$"
    mv "$run/.cancelled.json.$$" "$run/cancelled.json"
}
state() { grep -qE "^ *\"state\": \"($1)\"" "$run/state.json" 2>/dev/null; }
word=
{ read -r word <"$run/requeue" && rm -f "$run/requeue"; } 2>/dev/null
if [[ -z $word && $status -ne 0 ]] && ! state "stopped|finished|failed|cancelled"; then
    word=killed  # before it could answer the signal
fi
if [[ -n $word ]]; then
    job=" $(scontrol --oneliner show job "$SLURM_JOB_ID" 2>/dev/null) "
    if [[ $job =~ \ Restarts=([0-9]+)\  ]] && ((BASH_REMATCH[1] > ${SLURM_RESTART_COUNT:-0})); then
        :  # Slurm has requeued it by itself
    elif [[ $job =~ \ PreemptTime=[0-9] ]]; then
        requeue
    elif [[ $job =~ \ JobState=(COMPLETING|CANCELLED)\  && $job != *" Reason=TimeLimit "* ]]; then
        cancelled
    elif [[ $word == limit || ($word == term && $job == *" Reason=TimeLimit "*) ]]; then
        requeue
    fi
fi
state stopped && exit STOPPED
state finished && exit 0  # a signal may have met ranks that had just finished
exit "$status"
""".strip("\n")


def lead_seconds(minutes: int, lead_s: int = DEFAULT_LEAD_S) -> int:
    """How long before a time limit to warn: never more than half of it, or a short job would do
    nothing else.

    Args:
        minutes: the time limit.
        lead_s: seconds wished for.
    """
    return min(lead_s, 30 * minutes)


def refusal(run: RunFolder) -> Path:
    """Where the script leaves what Slurm said when it refused to requeue the job."""
    return run.path / _REFUSAL


def before(run: RunFolder) -> list[str]:
    """The lines of bash before the ranks are started."""
    return [*_setup(run), 'rm -f "$run/requeue" "$run/requeue-refused"  # of an earlier attempt that was killed']


def after() -> list[str]:
    """The lines of bash after :func:`before` and the ranks, whose status they find in ``$?``; they
    end the shell.

    Exit status: 75 when the run has stopped, requeued or not; 0 when it has finished; else that of
    the ranks.
    """
    return ["status=$?", *_LAST_WORDS.replace("STOPPED", str(Stopped.exit_status)).splitlines()]


def conclusion(run: RunFolder, status: int) -> list[str]:
    """The command that does what :func:`after` does, for ranks whose exit status is known.

    Args:
        run: the run.
        status: exit status of srun.
    """
    return ["bash", "-c", "\n".join([*_setup(run), f"(exit {status})", *after()])]


def _setup(run: RunFolder) -> list[str]:
    return [
        f"run={shlex.quote(str(run.path))}",
        "trap : TERM USR1 USR2  # outlive the ranks; not '', which they would inherit",
    ]
