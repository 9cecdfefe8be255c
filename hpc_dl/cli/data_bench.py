"""``hpc-dl data bench``: measure how fast a file is read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpc_dl.cli.arguments import AsJson
from hpc_dl.cli.output import emit, show, table
from hpc_dl.formatting import megabytes


def bench(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An HDF5 file, written by hpc_dl or not.")],
    batch_size: Annotated[int, typer.Option(min=1, help="Samples per batch.")] = 128,
    inputs: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the dataset to read. Default: inferred.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure how fast a file can be read on this machine, and what limits it (takes ~10 s)."""
    from hpc_dl.data.read_speed import benchmark

    result = benchmark.bench(file, batch_size, inputs)
    if as_json:
        emit(result)
        return
    disk = result["disk_bytes_per_s"]
    show(f"{result['file']}: {megabytes(result['bytes'])}, shuffled batches of {batch_size}")
    show(
        f"limits of this machine: a copy in memory {megabytes(result['memory_bytes_per_s'])}/s; "
        + (
            f"reading the file sequentially from disk {megabytes(disk)}/s"
            if disk
            else "reading from disk cannot be measured, because the file cannot be evicted from memory (a file system "
            "in memory, or another process has mapped the file)"
        )
    )
    rows = []
    for dataset in result["datasets"]:
        cells = [dataset["dataset"], str(tuple(dataset["shape"])), dataset["dtype"], dataset["reading"]]
        for speed in (dataset["warm"], dataset["cold"]):
            cells += [f"{speed['samples_per_s']:,.0f}", f"{speed['bytes_per_s'] / 1e6:,.0f}"] if speed else ["", ""]
        rows.append(cells)
    columns = ["dataset", "shape", "type", "reading", "warm: samples/s", "MB/s", "cold: samples/s", "MB/s"]
    table(columns, rows)
    # Print a limit that several datasets share once, with the remedy of the first one (training).
    first = {dataset["limit"]: dataset for dataset in reversed(result["datasets"])}
    for limit in dict.fromkeys(dataset["limit"] for dataset in result["datasets"]):
        names = ", ".join(dataset["dataset"] for dataset in result["datasets"] if dataset["limit"] == limit)
        show(f"{names}: limited by {limit}")
        if first[limit]["remedy"]:
            show(f"  {first[limit]['remedy']}")
