"""Uploading runs to W&B during or after their training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from hpc_dl.errors import HpcDlError, environment_fault, escape_control_characters
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.wandb_facts import describe
from hpc_dl.tracking.wandb_account import Account
from hpc_dl.tracking.wandb_description import FAILED, FINISHED, LOST, RUNNING, STOPPED, WAITING, Outcome, Proof
from hpc_dl.tracking.wandb_errors import SharedPatience, WandbError
from hpc_dl.tracking.wandb_record import WandbRecord, upload_lock
from hpc_dl.tracking.wandb_rows import read_rows
from hpc_dl.tracking.wandb_server import WandbServer
from hpc_dl.tracking.wandb_upload import Upload

_LOCK_WAIT_S = 120.0
_OUTCOMES: dict[str, Outcome] = {
    "running": RUNNING,
    "pending": WAITING,
    "stopped": STOPPED,
    "pruned": STOPPED,
    "cancelled": STOPPED,
    "failed": FAILED,
    "finished": FINISHED,
    "lost": LOST,
}


@dataclass(frozen=True)
class Synced:
    """What became of the upload of one run.

    Attributes:
        run: the run.
        state: its state here.
        proof: what W&B has; ``None`` if nothing was sent.
        problem: why W&B does not have all of it; empty if it has.
        remark: a further message for the user.
    """

    run: RunFolder
    state: str
    proof: Proof | None = None
    problem: str = ""
    remark: str = ""


def sync_runs(
    runs: Sequence[tuple[RunFolder, str]], account: Account, jobs: int, say: Callable[[str], None]
) -> Iterator[Synced]:
    """Upload runs, several at a time; yields each one when it is done.

    Args:
        runs: the runs with their states.
        account: server and credentials.
        jobs: number of uploads at a time.
        say: called with problems that begin or end, from several threads.
    """
    patience = SharedPatience(say)
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda item: _sync(item[0], item[1], account, patience), runs)


def _sync(run: RunFolder, state: str, account: Account, patience: SharedPatience) -> Synced:
    """Upload one run; no error of one run keeps others from being uploaded."""
    outcome = _OUTCOMES.get(state)
    try:
        if outcome is None or not run.journal.is_dir():
            return Synced(run, state, remark="has nothing to upload yet")
        with upload_lock(run.path, _LOCK_WAIT_S) as acquired:
            if not acquired:
                return Synced(run, state, problem="another upload of it is running")
            rows = read_rows(run.path, run.journal)
            if state == "pending" and not rows:
                return Synced(run, state, remark="has nothing to upload yet")
            description = describe(run)
            upload = Upload(run.path, WandbRecord.of(run.path), WandbServer(account, patience))
            proof = upload.send(description, rows, outcome)
            return Synced(run, state, proof, proof.problem or proof.missing)
    except Exception as error:  # may be a defect of ours: its type is shown, for a bug report
        return Synced(run, state, problem=_problem(error))


def _problem(error: Exception) -> str:
    fault = environment_fault(error)
    expected = isinstance(error, (WandbError, HpcDlError, OSError))
    text = str(fault or error) if expected else f"{type(error).__name__}: {error}"
    return escape_control_characters(" ".join(text.split()))
