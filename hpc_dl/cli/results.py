"""``hpc-dl results``: the final metrics of runs, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from hpc_dl.cli.arguments import AsJson, OptionalRunNames, RunsDir, Since, Where
from hpc_dl.cli.run_table import Row, Sort

if TYPE_CHECKING:
    from hpc_dl.learning.metric_names import Split
    from hpc_dl.runs.folder import RunFolder

_DEFAULT_METRIC = "val/loss"

Test = Annotated[
    bool,
    typer.Option(
        "--test",
        help="Show the test metrics, too. To choose a run by them would bias them: choose by the validation metrics.",
    ),
]
Best = Annotated[
    int | None,
    typer.Option("--best", metavar="N", min=1, help=f"Only the N best, by the metric of --sort or {_DEFAULT_METRIC}."),
]
Group = Annotated[
    bool,
    typer.Option(
        "--group", help="One row for runs that differ in the seed only: mean ± 95% interval (Student's t), sd."
    ),
]
Columns = Annotated[
    str | None,
    typer.Option("--columns", metavar="A,B", help="The columns to show: settings, metrics, submitted, seconds, …"),
]
Csv = Annotated[bool, typer.Option("--csv", help="Print the table as CSV, with all settings that differ.")]
Parquet = Annotated[Path | None, typer.Option("--parquet", metavar="FILE", help="Write the same table to a new file.")]


def results(
    names: OptionalRunNames = None,
    runs: RunsDir = None,
    where: Where = None,
    since: Since = None,
    sort: Sort = None,
    best: Best = None,
    group: Group = False,
    test: Test = False,
    columns: Columns = None,
    as_csv: Csv = False,
    parquet: Parquet = None,
    as_json: AsJson = False,
) -> None:
    """Show the validation metrics of runs, one row for each run.

    Runs are compared by their validation metrics, next to the settings in which they differ. A
    sweep stands for all of its members. --json has the metrics of all splits.

    Example:
        hpc-dl results
        hpc-dl results --where 'optimizer.lr>1e-3' --sort val/loss
        hpc-dl results mlp-digits-sweep --group --best 3
    """
    from hpc_dl.cli.output import emit, say
    from hpc_dl.cli.run_selection import select_runs
    from hpc_dl.cli.run_table import columns_of_settings, matching, print_runs, sort_order
    from hpc_dl.cli.table_files import check_new_file, print_csv, write_parquet
    from hpc_dl.errors import HpcDlError
    from hpc_dl.runs.seeds import over_seeds

    if as_json + as_csv + (parquet is not None) > 1:
        raise HpcDlError.at("--json, --csv and --parquet", "exclude each other", remedy="use one of them")
    if parquet is not None:
        check_new_file(parquet)
    everything = _results_of(select_runs(names, runs), test)
    listed = [everything[number] for number in matching([result.row for result in everything], where, since)]
    if everything and not listed:
        say(f"None of the {len(everything)} runs matches.")
    rows = [result.row for result in listed]
    differing, further = columns_of_settings([result.settings for result in listed])
    if as_csv or parquet:
        differing, further = [*differing, *further], []
    splits: tuple[Split, ...] = ("val", "test") if test else ("val",)
    metrics = [name for split in splits for name in _metric_names(listed, split)]
    if group:
        rows = over_seeds(rows, [result.settings for result in listed], metrics)
        shown = ["runs", "seeds", *(key for key in differing if key != "seed"), *metrics]
    else:
        tags = ["tags"] if any("tags" in row for row in rows) else []
        shown = ["run", "state", *tags, *differing, *metrics]
    if columns:
        shown = _requested(columns, shown[0], rows)
    order = sort_order(rows, _best_metric(sort, rows) if best else sort)[:best]
    rows = [rows[number] for number in order]
    if not group:
        listed = [listed[number] for number in order]
    if as_json:
        emit(rows if group else [_complete(result) for result in listed])
    elif as_csv:
        print_csv(_with_spread(shown, rows), rows)
    elif parquet:
        write_parquet(parquet, _with_spread(shown, rows), rows)
    else:
        print_runs(shown, [_with_intervals(row) for row in rows] if group else rows, hidden=further)
        _print_remarks(listed, metrics, test)


class _Result(NamedTuple):
    """The result of one run.

    Attributes:
        run: the run.
        outcome: its state, and its metrics if it has finished.
        settings: its configuration by dotted keys.
        row: all of this by column.
    """

    run: RunFolder
    outcome: dict[str, Any]
    settings: dict[str, Any]
    row: Row


def _results_of(runs: Sequence[RunFolder], test: bool) -> list[_Result]:
    from hpc_dl.cluster.overview import overview
    from hpc_dl.learning.metric_names import split_of
    from hpc_dl.runs.settings import shown

    known = overview(runs)
    results = []
    for run, one, settings in zip(runs, known, shown([one.settings for one in known]), strict=True):
        outcome = {"metrics": {}, **one.facts, **one.result}
        metrics = {name: value for name, value in outcome["metrics"].items() if test or split_of(name) != "test"}
        row = settings | metrics | one.facts | one.result
        row.pop("metrics", None)
        results.append(_Result(run, outcome, settings, row))
    return results


def _complete(result: _Result) -> dict[str, Any]:
    """The outcome of a run with all that its result file has."""
    from hpc_dl.runs.run_files import read_result

    return result.outcome | (read_result(result.run) if result.outcome["state"] == "finished" else {})


def _metric_names(results: Sequence[_Result], split: Split) -> list[str]:
    """The metrics of a split; those without one (``g_loss``) count as validation metrics."""
    from hpc_dl.learning.metric_names import split_of

    names = {name for result in results for name in result.outcome["metrics"]}
    return sorted(name for name in names if (split_of(name) or "val") == split)


def _requested(columns: str, first: str, rows: Sequence[Row]) -> list[str]:
    """The columns of ``--columns``, after the one with the names of the runs."""
    from hpc_dl.cli.run_table import unknown_column

    requested = [name.strip() for name in columns.split(",")]
    known = {key for row in rows for key in row}
    for name in requested if rows else ():
        if name not in known:
            raise unknown_column("--columns", name, known)
    return list(dict.fromkeys([first, *requested]))


def _best_metric(sort: str | None, rows: Sequence[Row]) -> str:
    """The column that ``--best`` ranks by; its direction must be known."""
    from hpc_dl.cli.run_table import unknown_column
    from hpc_dl.errors import HpcDlError
    from hpc_dl.learning.direction import direction_of_name

    metric = sort or _DEFAULT_METRIC
    if rows and not any(metric in row for row in rows):
        raise unknown_column("--best", metric, {key for row in rows for key in row})
    if direction_of_name(metric) is None:
        raise HpcDlError.at(
            "--best", "it is not known whether lower or higher values are better", value=metric,
            remedy="name another metric with --sort, or use --sort without --best",
        )  # fmt: skip
    return metric


def _with_spread(columns: list[str], rows: Sequence[Row]) -> list[str]:
    """The columns for a file: after a mean over seeds its standard deviation and its interval."""
    from hpc_dl.runs.seeds import interval_column, sd_column

    known = {key for row in rows for key in row}
    spread = {
        column: [name for name in (sd_column(column), interval_column(column)) if name in known] for column in columns
    }
    return [name for column in columns for name in (column, *spread[column])]


def _with_intervals(row: Row) -> Row:
    """A row of ``--group`` for the table, with mean, interval and deviation in one cell."""
    from hpc_dl.learning.intervals import with_interval
    from hpc_dl.runs.seeds import interval_column, sd_column

    first, *others = row["runs"]
    texts: Row = {"runs": f"{first} +{len(others)}" if others else first}
    for name, value in row.items():
        if (half_width := row.get(interval_column(name))) is not None:
            texts[name] = f"{with_interval(value, half_width)} (sd {row[sd_column(name)]:.2g})"
    return row | texts


def _print_remarks(results: Sequence[_Result], metrics: Sequence[str], test: bool) -> None:
    """Print what the table has no place for."""
    from hpc_dl.cli.group_table import group_table
    from hpc_dl.cli.output import say, show

    if len(results) == 1 and test and (by_group := _complete(results[0]).get("by_group")):  # of the test
        show()
        group_table(by_group)
    if not metrics and not test and _metric_names(results, "test"):
        say("There are no validation metrics; --test shows the test metrics.")
    for outcome in (result.outcome for result in results):
        if outcome["state"] == "unreadable":
            say(f"hpc-dl: {outcome['dir']}: {outcome['reason']}")
