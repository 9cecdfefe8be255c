"""``hpc-dl best``: the winning configuration of a sweep."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpc_dl.cli.arguments import AsJson, RunsDir

if TYPE_CHECKING:
    from hpc_dl.sweeps.ranking import RankedPoint

_MOST_ROWS = 10


def best(
    name: Annotated[str, typer.Argument(metavar="SWEEP", help="The sweep's name or its folder.")],
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write the YAML to this new file.")] = None,
    runs: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Show the best settings of a sweep, as a YAML that trains again.

    Points are ranked by the mean of the sweep's objective over their finished seeds. The YAML goes
    to stdout; the ranking and the importance of the parameters (Optuna) to stderr.

    Example:
        hpc-dl best mlp-digits-sweep --out best.yaml
    """
    from hpc_dl.atomic_files import write_text
    from hpc_dl.cli.output import emit, say
    from hpc_dl.cli.run_selection import select_sweep
    from hpc_dl.cli.table_files import check_new_file
    from hpc_dl.cluster.status import statuses
    from hpc_dl.config import overrides, yaml
    from hpc_dl.errors import HpcDlError
    from hpc_dl.schema import parse
    from hpc_dl.sweeps.config import SweepConfig
    from hpc_dl.sweeps.importance import importance
    from hpc_dl.sweeps.ranking import objective_of, ranked

    sweep = select_sweep(name, runs)
    if sweep is None:
        raise HpcDlError.at(name, "is not a sweep", remedy="list the sweeps with `hpc-dl status`")
    if out is not None:
        check_new_file(out)
    objective = objective_of(sweep)
    points = ranked(sweep, objective, statuses(sweep.runs()))
    if not points:
        raise HpcDlError.at(
            sweep.name,
            f"no member has finished with the metric {objective}",
            remedy=f"see `hpc-dl status {sweep.name}`",
        )
    raw: dict[str, Any] = yaml.load(sweep.config)
    shares = importance(parse(SweepConfig, raw.pop("sweep", None), "sweep"), points)
    content = overrides.assigned(raw, points[0].point)
    for line in _ranking(points, objective):
        say(line)
    if shares:
        parts = ", ".join(f"{key} {share:.0%}" for key, share in shares.items())
        say(f"Importance of the parameters (PED-ANOVA, {len(points)} points): {parts}")
    if as_json:
        ranking = [{"point": p.point, "values": p.values, "runs": p.runs} for p in points]
        emit({"objective": objective, "ranking": ranking, "importance": shares, "experiment": content})
    elif out is not None:
        write_text(out, yaml.dumps(content))
        say(f"Wrote {out}. Train it with `hpc-dl train {out}`.")
    else:
        sys.stdout.write(yaml.dumps(content))


def _ranking(points: list[RankedPoint], objective: str) -> list[str]:
    """The best points, one line each, and whether the first is better than chance explains."""
    from hpc_dl.sweeps.points import described
    from hpc_dl.sweeps.ranking import comparison, value_of

    lines = [f"Best {objective} on {len(points)} points:"]
    lines += [
        f"  {number}. {value_of(point)} with {described(point.point)}"
        for number, point in enumerate(points[:_MOST_ROWS], start=1)
    ]
    if len(points) > 1:
        lines.append(comparison(points[0], points[1]))
    return lines
