"""``hpc-dl sync``: upload runs to Weights & Biases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpc_dl.cli.arguments import AsJson, OptionalRunNames, RunsDir

if TYPE_CHECKING:
    from hpc_dl.runs.wandb_sync import Synced

Jobs = Annotated[int, typer.Option("--jobs", metavar="N", min=1, help="Number of runs that are uploaded at a time.")]


def sync(names: OptionalRunNames = None, runs: RunsDir = None, jobs: Jobs = 8, as_json: AsJson = False) -> None:
    """Upload runs to Weights & Biases, and verify it.

    Asks the server what it has, and sends the rest from the run's journal, so that each row arrives
    exactly once. Can be repeated and interrupted at any time, even while the run trains. One line
    for each run says what was compared.

    Example:
        hpc-dl sync latest
    """
    from hpc_dl.cli.output import emit, say
    from hpc_dl.cli.run_selection import select_runs
    from hpc_dl.cluster.status import statuses
    from hpc_dl.errors import RunError
    from hpc_dl.runs.wandb_sync import sync_runs
    from hpc_dl.tracking.wandb_account import NoCredentials, account

    selected = select_runs(names, runs)
    if not selected:
        return
    try:
        owner = account()
    except NoCredentials as error:
        raise RunError.at("W&B", str(error).split(" (`")[0], remedy=error.remedy) from None
    facts = statuses(selected)
    outcomes = []
    items = [(run, fact["state"]) for run, fact in zip(selected, facts, strict=True)]
    with _ended_by_ctrl_c():
        for outcome in sync_runs(items, owner, jobs, say):
            outcomes.append(outcome)
            say(_line(outcome))
    if as_json:
        emit([_facts(outcome) for outcome in outcomes])
    if any(outcome.problem for outcome in outcomes):
        raise typer.Exit(1)


@contextmanager
def _ended_by_ctrl_c() -> Iterator[None]:
    """Let Ctrl-C end the process at once: an upload may end anywhere, and threads take longer."""
    import signal

    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _line(synced: Synced) -> str:
    name, proof = synced.run.name, synced.proof
    if proof is None:
        return f"{name}: {'NOT uploaded: ' + synced.problem if synced.problem else synced.remark}"
    rows = f"{proof.received:,} of {proof.expected:,} rows"
    last = f", last step {proof.last_step:,}" if proof.last_step >= 0 else ""
    problem = f"; NOT complete: {synced.problem}" if synced.problem else ""
    return f"{name}: {rows}{last}, {proof.state}: {proof.url}{problem}"


def _facts(synced: Synced) -> dict[str, Any]:
    proof = synced.proof
    shown = {} if proof is None else {name: getattr(proof, name) for name in _SHOWN}
    return {"run": synced.run.name, "dir": str(synced.run.path), "state": synced.state, "problem": synced.problem,
            **shown}  # fmt: skip


_SHOWN = ("expected", "received", "last_step", "url")
