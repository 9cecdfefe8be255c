"""``hpc-dl efficiency``: what runs requested and used, and what to request next time."""

from __future__ import annotations

from typing import Any

from hpc_dl.cli.arguments import AsJson, OptionalRunNames, RunsDir


def efficiency(names: OptionalRunNames = None, runs: RunsDir = None, as_json: AsJson = False) -> None:
    """Show what runs requested and used, and what to request next.

    Each rank measures itself every 10 s. Memory is that of a node: of the job's cgroup without the
    cache of files, or else of the processes. CPU cores are those of a rank that were busy, exceeded
    in 5 % of the time only. GPUs are measured where the package `nvidia-ml-py` is installed. The
    last line has the overrides for the next run, with a margin of 25 %; for several runs, what
    suffices for all of them.

    Example:
        hpc-dl efficiency latest
        hpc-dl efficiency mlp-digits-sweep
    """
    from hpc_dl.cli.output import emit, show, table
    from hpc_dl.cli.run_selection import select_runs, with_record
    from hpc_dl.cluster.efficiency import efficiency_of_runs, proposal_for_all

    rows = efficiency_of_runs(select_runs(names, runs))
    if as_json:
        emit(rows)
        return
    known = with_record(rows, "used", "what it used")
    if not known:
        return
    if len(known) == 1:
        title = f"{known[0]['run']} ({known[0]['state']})"
        table(["", "requested", "used"], _lines(known[0]), title=title)
    else:
        columns = ["run", "state", "memory", "CPU cores", "time", "GPU", "GPU h", "CPU h", "kWh"]
        table(columns, [_row(row) for row in known] + [_total(known)], unbroken=True)
    changes = known[0]["next"] if len(known) == 1 else proposal_for_all(known)
    if changes:
        show(f"Next time: {' '.join(f'resources.{key}={value}' for key, value in changes.items())}")
    else:
        show("Next time: the same")


def _lines(row: dict[str, Any]) -> list[list[Any]]:
    requested, used, cost = row["requested"], row["used"], row["cost"]
    lines = [
        ["memory per node", requested["memory"], _amount(used, "memory_gib", "{:.2f} GiB")],
        ["CPU cores per rank", str(requested["cpus_per_gpu"]), _amount(used, "cpus", "{:.1f}")],
        ["time", str(requested["time"]), _minutes(used)],
        ["GPU load", _gpus(requested), _amount(used, "gpu", "{:.0%}")],
        ["GPU memory", None, _amount(used, "gpu_gib", "{:.1f} GiB")],
        ["waiting for data", None, _amount(used, "data", "{:.1%}")],
        ["GPU hours", None, f"{cost['gpu_hours']:.3g}"],
        ["CPU hours", None, f"{cost['cpu_hours']:.3g}"],
        ["energy of the GPUs", None, _amount(cost, "gpu_kwh", "{:.3g} kWh")],
    ]
    return [line for line in lines if line[2] is not None]


def _row(row: dict[str, Any]) -> list[Any]:
    requested, used, cost = row["requested"], row["used"], row["cost"]
    return [
        row["run"],
        row["state"],
        _of(_amount(used, "memory_gib", "{:.2f}"), requested["memory"]),
        _of(_amount(used, "cpus", "{:.1f}"), requested["cpus_per_gpu"]),
        _of(_minutes(used), requested["time"]),
        _amount(used, "gpu", "{:.0%}"),
        f"{cost['gpu_hours']:.3g}",
        f"{cost['cpu_hours']:.3g}",
        _amount(cost, "gpu_kwh", "{:.3g}"),
    ]


def _total(rows: list[dict[str, Any]]) -> list[Any]:
    sums = {key: sum(row["cost"].get(key, 0.0) for row in rows) for key in ("gpu_hours", "cpu_hours", "gpu_kwh")}
    energy = f"{sums['gpu_kwh']:.3g}" if sums["gpu_kwh"] else None
    return ["total", "", None, None, None, None, f"{sums['gpu_hours']:.3g}", f"{sums['cpu_hours']:.3g}", energy]


def _of(used: str | None, requested: Any) -> str:
    return f"{used or '?'} of {requested}"


def _amount(values: dict[str, Any], key: str, form: str) -> str | None:
    return form.format(values[key]) if key in values else None


def _minutes(used: dict[str, Any]) -> str | None:
    from hpc_dl.formatting import duration

    return duration(60 * used["minutes"]) if "minutes" in used else None


def _gpus(requested: dict[str, Any]) -> str | None:
    count = requested["nodes"] * requested["gpus_per_node"]
    return f"{count} GPU{'s' if count != 1 else ''}" if count else None
