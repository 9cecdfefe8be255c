"""The figure of a scaling test: speed-up over the number of ranks, and what the ranks wait for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.ticker import PercentFormatter

from hpc_dl.figures.style import COLORS, panels, save, style


def draw_scaling(
    title: str,
    ranks: Sequence[int],
    speedups: Sequence[float],
    data: Sequence[float],
    communication: Sequence[float],
    path: Path,
) -> None:
    """Draw a scaling test.

    Args:
        title: above the panels.
        ranks: of each shape, ascending.
        speedups: relative to the first shape.
        data: share of the time in which each shape waits for data.
        communication: share in which it waits for other ranks.
        path: PNG or SVG file to write.

    Raises:
        OSError: it cannot be written.
    """
    with style():
        figure, (left, right) = panels(title, columns=2, height=3.2)
        ideal = [each / ranks[0] for each in ranks]
        left.plot(ranks, ideal, "--", color=COLORS[7], label="ideal")
        left.plot(ranks, speedups, "o-", color=COLORS[0], label="measured")
        left.set(xlabel="ranks", ylabel="speed-up", xscale="log", yscale="log")
        left.legend()
        positions = range(len(ranks))
        right.bar(positions, data, color=COLORS[4], label="data")
        right.bar(positions, communication, bottom=data, color=COLORS[5], label="communication")
        right.set(xlabel="ranks", ylabel="waiting", ylim=(0, 1))
        right.set_xticks(positions, [str(each) for each in ranks])
        right.yaxis.set_major_formatter(PercentFormatter(1.0))
        right.legend()
        for axis in (left.xaxis, left.yaxis):
            axis.set_minor_formatter("")
            axis.set_major_formatter("{x:g}")
        left.set_xticks(sorted(set(ranks)))
        save(figure, path)
