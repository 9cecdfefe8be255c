"""One line about a sweep: the number of members in each state, the time left, the best so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpc_dl.cluster.overview import RunOverview
    from hpc_dl.sweeps.folder import SweepFolder


def sweep_summary(sweep: SweepFolder, members: Sequence[RunOverview]) -> str:
    """Return the line.

    Args:
        sweep: the sweep.
        members: what each of them is doing.
    """
    from hpc_dl.formatting import duration
    from hpc_dl.sweeps.points import described
    from hpc_dl.sweeps.ranking import objective_of, ranked, value_of
    from hpc_dl.sweeps.time_left import time_left_s

    facts = [one.facts for one in members]
    counts = Counter(str(row["state"]) for row in facts)
    states = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    line = f"{sweep.name}: {len(facts)} runs: {states or 'none'}"
    if (left_s := time_left_s(members)) is not None:
        line += f"; {duration(left_s, whole_seconds=True)} left, {counts['running']} at a time"
    objective = objective_of(sweep)
    points = ranked(sweep, objective, facts)
    if points:
        best = points[0]
        line += f"; best {objective} so far: {value_of(best)} with {described(best.point)}"
    return line
