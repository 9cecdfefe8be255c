"""``hpc-dl status``: the state and progress of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hpc_dl.cli.arguments import AsJson, OptionalRunNames, RunsDir, Since, Where
from hpc_dl.cli.run_table import Row, Sort

if TYPE_CHECKING:
    from hpc_dl.runs.folder import RunFolder

_SHORT_S = 60.0  # of a shorter run most is start-up, which needs no attention


def status(
    names: OptionalRunNames = None,
    runs: RunsDir = None,
    where: Where = None,
    since: Since = None,
    sort: Sort = None,
    as_json: AsJson = False,
) -> None:
    """Show the state and progress of runs, and why they ended.

    States: pending, running, stopped, finished, pruned (ended early by its sweep), failed,
    diverged, cancelled, lost, unknown. Several runs are shown with the settings in which they
    differ. `hpc-dl why RUN` explains a run that failed or waits.

    Example:
        hpc-dl status latest
        hpc-dl status mlp-digits-sweep
        hpc-dl status --where state=failed --since 2d
        hpc-dl status --sort optimizer.lr
    """
    from hpc_dl.cli.output import emit, say, show
    from hpc_dl.cli.run_selection import select_runs, select_sweep
    from hpc_dl.cli.run_table import columns_of_settings, matching, print_runs, sort_order
    from hpc_dl.cli.sweep_summary import sweep_summary
    from hpc_dl.cluster.folders import cli_name
    from hpc_dl.cluster.overview import overview
    from hpc_dl.cluster.progress import NOT_UPLOADED
    from hpc_dl.runs.settings import shown

    selected = select_runs(names, runs)
    known = overview(selected)
    facts_of_runs = [one.facts | _cause(run, one.facts) for run, one in zip(selected, known, strict=True)]
    settings = shown([one.settings for one in known])
    rows = [{**values, **_row(facts)} for values, facts in zip(settings, facts_of_runs, strict=True)]
    kept = matching(rows, where, since)
    if selected and not kept:
        say(f"None of the {len(selected)} runs matches.")
    order = [kept[position] for position in sort_order([rows[number] for number in kept], sort)]
    if as_json:
        emit([facts_of_runs[number] for number in order])
        return
    differing, further = columns_of_settings([settings[number] for number in kept])
    columns = ["run", "state", "tags", *differing, "job", "progress", "samples/s", "left", "waited"]
    print_runs(columns, [rows[number] for number in order], remarks="reason", hidden=further)
    if len(order) == 1 and "wandb" in rows[order[0]]:
        page = rows[order[0]]["wandb"]
        hint = f"; `hpc-dl sync {cli_name(selected[order[0]])}` uploads it" if page == NOT_UPLOADED else ""
        show(f"W&B: {page}{hint}")
    if len(order) == 1 and (line := _expected_end(facts_of_runs[order[0]])):
        show(line)
    if len(order) == 1 and (line := _goodput(selected[order[0]], facts_of_runs[order[0]])):
        show(line)
    for name in names or []:
        if (sweep := select_sweep(name, runs)) is not None:
            members = set(sweep.members())
            say(sweep_summary(sweep, [one for one in known if one.facts["run"] in members]))


def _row(facts: dict[str, Any]) -> Row:
    from hpc_dl.formatting import duration

    reason = str(facts.get("reason", ""))
    if "rank" in facts and not reason.startswith(f"rank {facts['rank']} "):
        reason = f"rank {facts['rank']}: {reason}"
    if "cause" in facts:
        reason = f"{reason}; why: {facts['cause']}".removeprefix("; ")
    row: Row = {
        "run": facts["run"],
        "state": facts["state"],
        "job": facts["job"],
        "progress": _progress(facts),
        "step": facts.get("step"),
        "submitted": facts.get("submitted"),
        "reason": reason,
        **{key: facts[key] for key in ("tags", "note", "wandb") if key in facts},
    }
    if "samples_per_s" in facts:
        row["samples/s"] = f"{facts['samples_per_s']:,.4g}"
    for key in ("left", "waited"):
        if f"{key}_s" in facts:
            row[key] = duration(facts[f"{key}_s"], whole_seconds=True)
    return row


def _cause(run: RunFolder, facts: dict[str, Any]) -> dict[str, str]:
    """What `hpc-dl why` says of a run that failed, if that is more than its own reason."""
    from hpc_dl.failures.explanation import FAILED, quick_verdict_of

    verdict = quick_verdict_of(run) if facts["state"] in FAILED else None
    if verdict is None or any(quote.file in ("state.json", "cancelled.json") for quote in verdict.evidence):
        return {}
    return {"cause": verdict.cause}


def _expected_end(facts: dict[str, Any]) -> str:
    """When a job will have ended that has to be requeued until then."""
    import datetime

    from hpc_dl.formatting import duration

    if not facts.get("requeues_left"):
        return ""
    end = datetime.datetime.now() + datetime.timedelta(seconds=facts["completion_s"])
    times = "once" if facts["requeues_left"] == 1 else f"{facts['requeues_left']} times"
    wait = duration(facts["mean_wait_s"], whole_seconds=True)
    return f"Expected end: {end:%Y-%m-%d %H:%M}, requeued {times} until then, {wait} in the queue each time"


def _goodput(run: RunFolder, facts: dict[str, Any]) -> str:
    """One line about where the time of a run went; without a query to Slurm."""
    from contextlib import suppress

    from hpc_dl.cluster.goodput import largest_losses
    from hpc_dl.errors import HpcDlError
    from hpc_dl.formatting import duration
    from hpc_dl.runs.goodput import goodput_of

    with suppress(HpcDlError, OSError):
        found = goodput_of(run, is_running=facts["state"] == "running")
        if found is not None and found.allocated_s >= _SHORT_S:
            row = found.to_dict()
            losses = largest_losses(row)
            rest = f"; {losses}" if losses else ""
            return f"Goodput: {found.share:.1%} of {duration(found.allocated_s)} advanced the training{rest}"
    return ""


def _progress(facts: dict[str, Any]) -> str:
    """``epoch 3/10 (45%), step 123/400``, as far as it is known."""
    parts = []
    if "epoch" in facts:  # as in the log, epochs count from 1 for people; in the data they count from 0
        of = f"/{facts['epochs']}" if "epochs" in facts else ""
        done = f" ({facts['epoch_done']:.0%})" if "epoch_done" in facts else ""
        parts.append(f"epoch {facts['epoch'] + 1}{of}{done}")
    if "step" in facts:
        parts.append(f"step {facts['step']}" + (f"/{facts['total_steps']}" if "total_steps" in facts else ""))
    return ", ".join(parts)
