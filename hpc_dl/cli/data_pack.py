"""``hpc-dl data pack`` and ``bench``: convert data to fast-to-read HDF5; measure its speed."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hpc_dl.cli.arguments import AsJson
from hpc_dl.cli.output import emit, say, show, table
from hpc_dl.errors import DataError
from hpc_dl.formatting import megabytes

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

# h5py and NumPy are imported inside the functions, so that `--help` works without them.

_SECONDS_BETWEEN_LINES = 10
_MEASURABLE_BYTES = 4 << 20  # smaller files are read too quickly to compare
_STAGES = {
    "pack": "packing",
    "checksum": "computing the checksum",
    "verify": "verifying",
    "speed": "measuring the speed",
}


def pack(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN",
            help="An HDF5, npz, npy, CSV or Parquet file, or a folder of class folders with images, of npy files, or "
            "of NIfTI volumes.",
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The HDF5 file to write.")],
    layout: Annotated[
        Literal["contiguous", "chunked"] | None,
        typer.Option(
            help="contiguous is faster, chunked is smaller. Default: contiguous, or chunked if --codec is given."
        ),
    ] = None,
    codec: Annotated[
        Literal["none", "gzip", "lzf", "zstd", "blosc2", "lz4"] | None,
        typer.Option(help="Compression of the chunks. Default with --layout chunked: lz4 (Bitshuffle and LZ4)."),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read the packed file back and compare it with the source.")
    ] = False,
    splits: Annotated[
        str | None,
        typer.Option(metavar="SHARES", help="Random split, stratified by class: train=.8,val=.1,test=.1"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of --splits.")] = 0,
    inputs: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Name of a dataset, array or folder, or comma-separated columns. Default: inferred.",
        ),
    ] = None,
    targets: Annotated[
        str | None,
        typer.Option(
            "--targets",
            "--target",
            metavar="NAME",
            help="As for --inputs; for NIfTI also a CSV table of files and labels.",
        ),
    ] = None,
    task: Annotated[
        Literal["auto", "classification", "regression", "segmentation"],
        typer.Option(help="Task of the targets; auto infers it from their type and shape."),
    ] = "auto",
    channels: Annotated[
        Literal["auto", "first", "last", "none"], typer.Option(help="Channel axis of arrays.")
    ] = "auto",
    size: Annotated[str | None, typer.Option(metavar="HxW", help="Resize images to this height and width.")] = None,
    license: Annotated[
        str, typer.Option(metavar="SPDX", help="License of the data. Default: that of the source.")
    ] = "",
    class_names: Annotated[
        str, typer.Option(metavar="A,B,…", help="Names of the classes 0, 1, … Default: those of the source.")
    ] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Replace OUT; start over if an unfinished run has other options.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Convert common formats to fast-to-read HDF5.

    If the command is killed, repeat it to resume.
    """
    from hpc_dl.data.packing.layout import choose_layout
    from hpc_dl.data.packing.pack import PackRequest
    from hpc_dl.data.packing.pack import pack as pack_file
    from hpc_dl.data.packing.source import PackOptions
    from hpc_dl.data.packing.split_assignment import parse_fractions

    request = PackRequest(
        options=PackOptions(
            inputs=inputs,
            targets=targets,
            task=task,
            channels=channels,
            size=_parse_size(size),
            class_names=tuple(name.strip() for name in class_names.split(",")) if class_names else (),
        ),
        layout=choose_layout(layout, codec),
        fractions=parse_fractions(splits) if splits else None,
        seed=seed,
        license=license,
        verify=verify,
        force=force,
    )
    if as_json:
        emit(pack_file(source, out, request, lambda *_: None))
        return
    with ProgressReport() as progress:
        result = pack_file(source, out, request, progress)
    sizes = ", ".join(f"{split} {num:,}" for split, num in result["sizes"].items())
    show(f"{out}: {result['task']}, inputs {tuple(result['input_shape'])} {result['input_dtype']}; {sizes}")
    if result["resumed_at"]:
        show(f"resumed an unfinished run that had stored {result['resumed_at']:,} samples")
    for note in result["notes"]:
        show(f"note: {note}")
    show(f"content {result['checksum']}" + (", verified against the source" if result["verified"] else ""))
    before, after = result["before"], result["after"]
    show(f"size: {megabytes(before['bytes'])} -> {megabytes(after['bytes'])}")
    if after["bytes"] >= _MEASURABLE_BYTES:
        show(_describe_speedup(before, after))


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


class ProgressReport:
    """Progress on stderr: a bar on a terminal, otherwise a line at intervals."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._stage = ""
        self._last_line_at = 0.0

    def __enter__(self) -> ProgressReport:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Report the progress of a stage.

        Args:
            stage: a key of ``_STAGES``.
            done: number of processed samples.
            total: number of all samples; 0 if the stage has no progress.
        """
        is_new, self._stage = stage != self._stage, stage
        if self._bar is not None:
            if is_new:
                if self._task is not None:
                    self._bar.remove_task(self._task)
                self._task = self._bar.add_task(_STAGES[stage])
            assert self._task is not None
            self._bar.update(self._task, completed=done, total=total or None)
        elif is_new or done == total or time.monotonic() - self._last_line_at > _SECONDS_BETWEEN_LINES:
            self._last_line_at = time.monotonic()
            say(f"{_STAGES[stage]}" + (f": {done:,} of {total:,} samples ({done / total:.0%})" if total else ""))


def _describe_speedup(before: dict[str, Any], after: dict[str, Any]) -> str:
    factor = after["samples_per_s"] / max(1, before["samples_per_s"])
    old, new = (f"{speed['samples_per_s']:,} samples/s ({speed['order']})" for speed in (before, after))
    return f"speed: {old} -> {new}: {factor:,.{1 if factor < 10 else 0}f} times"


def _parse_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, _, width = text.lower().partition("x")
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise DataError.at("--size", "is not a height and width", value=text, allowed="for example 224x224")
    return int(height), int(width)
