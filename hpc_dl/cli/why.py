"""``hpc-dl why``: why a run ended, or why it waits."""

from __future__ import annotations

from typing import Any

from hpc_dl.cli.arguments import AsJson, RunName, RunsDir


def why(name: RunName, runs: RunsDir = None, as_json: AsJson = False) -> None:
    """Explain why a run failed, stopped or waits, and what to do.

    Shows one cause, the lines that prove it, the key or command that helps, and whether resuming
    makes sense. The rank that failed first decides. Of a waiting run: Slurm's reason, whether it
    can start at all, and when. Of a sweep, the members that have ended without a result.

    Example:
        hpc-dl why latest
        hpc-dl why mlp-digits-sweep

    Exit status:
        0    the run was explained, or nothing is known to be wrong
        2    invalid input
    """
    from hpc_dl.cli.output import emit, say, show
    from hpc_dl.cli.run_selection import select_run, select_sweep
    from hpc_dl.failures.explanation import explain, explain_failures

    if (sweep := select_sweep(name, runs)) is not None:
        members = explain_failures(sweep.runs())
        if as_json:
            emit(members)
        else:
            say(f"Members of {sweep.name} that have ended without a result: {len(members)}")
            for member in members:
                show(f"{member['run']} ({member['state']}): {member['cause']}")
        return
    found = explain(select_run(name, runs))
    if as_json:
        emit(found)
        return
    for line in _lines(found):
        show(line)


def _lines(found: dict[str, Any]) -> list[str]:
    """The explanation as text."""
    rank = f", rank {found['rank']}" if found.get("rank") is not None else ""
    lines = [f"{found['run']} ({found['state']}{rank}): {found['cause']}"]
    for quote in found.get("evidence", ()):
        number = f":{quote['line']}" if quote["line"] is not None else ""
        lines.append(f"  {quote['file']}{number}: {quote['text']}")
    if found.get("outlook"):
        expected = f"; Slurm expects to start it at {found['expected']}" if found.get("expected") else ""
        lines.append(f"Start: {found['outlook']}{expected}")
    if found.get("remedy"):
        lines.append(f"Remedy: {found['remedy']}")
    if found.get("resume") is not None:
        lines.append("Resume: yes, after the remedy" if found["resume"] else "Resume: no, a new run is needed")
    if found.get("command"):
        lines.append(f"  {found['command']}")
    return lines
