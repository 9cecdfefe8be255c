"""``hpc-dl cancel``: stop runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpc_dl.cli.arguments import AsJson, RunNames, RunsDir

if TYPE_CHECKING:
    from hpc_dl.runs.folder import RunFolder


def cancel(names: RunNames, runs: RunsDir = None, as_json: AsJson = False) -> None:
    """Stop runs and take their jobs out of the queue.

    A running training saves a checkpoint first, so that `hpc-dl resume` can continue it. The run
    folder stays.

    Example:
        hpc-dl cancel latest
        hpc-dl cancel mlp-digits-sweep
    """
    from hpc_dl.cli.output import emit, say
    from hpc_dl.cli.run_selection import select_runs, select_sweep
    from hpc_dl.cluster.status import cancel as stop
    from hpc_dl.cluster.status import statuses
    from hpc_dl.errors import Fault, HpcDlError
    from hpc_dl.sweeps.cancel import cancel_sweep

    actions: dict[str, str] = {}
    faults: list[Fault] = []
    sweeps = [sweep for name in names if (sweep := select_sweep(name, runs)) is not None]
    others = [name for name in names if select_sweep(name, runs) is None]
    selected = select_runs(others, runs) if others else []
    members: list[RunFolder] = []
    for sweep in sweeps:
        try:
            members += (runs_of_sweep := sweep.runs())
            stopped = cancel_sweep(sweep)
            say(f"{sweep.name}: stop requested for {len(stopped)} of {len(runs_of_sweep)} members")
        except HpcDlError as error:  # the other sweeps and runs are stopped nevertheless
            faults += error.faults
    for run in selected:
        try:
            actions[run.name] = "stop requested" if stop(run) else "had already ended"
        except HpcDlError as error:
            if len(names) == 1:
                raise
            actions[run.name] = "not stopped"
            faults += error.faults
    rows = statuses([*selected, *members] if as_json else selected)
    for row in rows[: len(selected)]:
        say(f"{row['run']}: {actions[row['run']]} ({row['state']})")
    if as_json:
        emit(rows)
    if faults:
        raise HpcDlError(*faults)
