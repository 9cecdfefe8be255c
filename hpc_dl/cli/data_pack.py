"""``hpc-dl data pack`` and ``bench``: make the fastest file of any data, and measure how fast a
file is read here.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hpc_dl.cli.output import emit, say, table
from hpc_dl.errors import DataError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

# h5py and NumPy are imported where they are used: `--help` answers without them.

_SECONDS_BETWEEN_LINES = 10
_MEASURABLE_BYTES = 4 << 20  # smaller files are read in no time, however they lie
_STAGES = {
    "pack": "packing",
    "checksum": "checksum of the whole",
    "verify": "verifying",
    "speed": "measuring the speed",
}

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


def pack(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN",
            help="An HDF5, npz, npy, CSV or Parquet file; a folder of images in folders of classes, of npy files, "
            "or of NIfTI volumes.",
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The HDF5 file to make.")],
    layout: Annotated[
        Literal["contiguous", "chunked"] | None,
        typer.Option(help="contiguous is the fastest, chunked the smaller one; contiguous when no codec is given."),
    ] = None,
    codec: Annotated[
        Literal["none", "gzip", "lzf", "zstd", "blosc2", "lz4"] | None,
        typer.Option(help="What chunks are packed with; lz4 (bitshuffle and LZ4) with --layout chunked."),
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Read all back and compare it with the source.")] = False,
    splits: Annotated[
        str | None,
        typer.Option(metavar="SHARES", help="Divide at random, classes evenly: train=.8,val=.1,test=.1"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of --splits.")] = 0,
    inputs: Annotated[
        str | None, typer.Option(metavar="NAME", help="Dataset, array, folder, or columns with commas.")
    ] = None,
    targets: Annotated[
        str | None,
        typer.Option(
            "--targets", "--target", metavar="NAME", help="Likewise; for NIfTI also a CSV table of files and labels."
        ),
    ] = None,
    task: Annotated[
        Literal["auto", "classification", "regression", "segmentation"],
        typer.Option(help="What the targets are for; by their type when not told."),
    ] = "auto",
    channels: Annotated[
        Literal["auto", "first", "last", "none"], typer.Option(help="Axis of the channels in arrays.")
    ] = "auto",
    size: Annotated[str | None, typer.Option(metavar="HxW", help="Bring images to this height and width.")] = None,
    license: Annotated[str, typer.Option(metavar="SPDX", help="License of the data; the source's when not told.")] = "",
    class_names: Annotated[
        str, typer.Option(metavar="A,B,…", help="Names of the classes 0, 1, …; the source's when not told.")
    ] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Replace OUT; begin anew where an unfinished run made something else.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make the fastest HDF5 file of data of any usual kind.

    When it is killed, the same command goes on where it was.
    """
    from hpc_dl.data.packing.layout import choose_layout
    from hpc_dl.data.packing.pack import Order
    from hpc_dl.data.packing.pack import pack as make
    from hpc_dl.data.packing.source import Wishes
    from hpc_dl.data.packing.splits import parse_fractions

    order = Order(
        wishes=Wishes(
            inputs=inputs,
            targets=targets,
            task=task,
            channels=channels,
            size=_height_and_width(size),
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
        emit(make(source, out, order, lambda *_: None))
        return
    with Bar() as bar:
        made = make(source, out, order, bar)
    sizes = ", ".join(f"{split} {num:,}" for split, num in made["sizes"].items())
    print(f"{out}: {made['task']}, inputs {tuple(made['input_shape'])} {made['input_dtype']}; {sizes}")
    if made["resumed_at"]:
        print(f"went on where an earlier run was: {made['resumed_at']:,} samples were stored")
    for note in made["notes"]:
        print(f"note: {note}")
    print(f"content {made['checksum']}" + (", verified against the source" if made["verified"] else ""))
    print(_gain_of_size(made["before"]["bytes"], made["after"]["bytes"]))
    if made["after"]["bytes"] >= _MEASURABLE_BYTES:
        print(_gain_of_speed(made["before"], made["after"]))


def bench(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An HDF5 file, of hpc_dl or of any other origin.")],
    batch_size: Annotated[int, typer.Option(min=1, help="Samples in a batch.")] = 128,
    inputs: Annotated[str | None, typer.Option(metavar="NAME", help="Dataset to read, where it is not found.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure how fast a file is read here, and say what limits it. Takes about ten seconds."""
    from hpc_dl.data.packing import read_speed
    from hpc_dl.data.packing.read_speed import megabytes

    found = read_speed.bench(file, batch_size, inputs)
    if as_json:
        emit(found)
        return
    disk = found["disk_bytes_per_s"]
    print(f"{found['file']}: {megabytes(found['bytes'])}, shuffled batches of {batch_size}")
    print(
        f"limits here: a copy in memory {megabytes(found['memory_bytes_per_s'])}/s; "
        + (
            f"the file in order from the disk {megabytes(disk)}/s"
            if disk
            else "the file cannot be evicted from memory (a file system in memory, or another process has it mapped), "
            "so that there are no cold figures"
        )
    )
    rows = []
    for dataset in found["datasets"]:
        cells = [dataset["dataset"], str(tuple(dataset["shape"])), dataset["dtype"], dataset["reading"]]
        for speed in (dataset["warm"], dataset["cold"]):
            cells += [f"{speed['samples_per_s']:,.0f}", f"{speed['bytes_per_s'] / 1e6:,.0f}"] if speed else ["", ""]
        rows.append(cells)
    columns = ["dataset", "shape", "type", "reading", "warm: samples/s", "MB/s", "cold: samples/s", "MB/s"]
    table(columns, rows)
    # What holds for several datasets alike is said once, with the gain of the first, the training
    # split's.
    first = {dataset["limit"]: dataset for dataset in reversed(found["datasets"])}
    for limit in dict.fromkeys(dataset["limit"] for dataset in found["datasets"]):
        names = ", ".join(dataset["dataset"] for dataset in found["datasets"] if dataset["limit"] == limit)
        print(f"{names}: limited by {limit}")
        if first[limit]["remedy"]:
            print(f"  {first[limit]['remedy']}")


class Bar:
    """Progress on stderr: a bar on a terminal, else a line now and then."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._stage = ""
        self._told = 0.0

    def __enter__(self) -> Bar:
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
        """Tell that a stage has done so many of so many samples; without a total, that it runs."""
        begins, self._stage = stage != self._stage, stage
        if self._bar is not None:
            if begins:
                if self._task is not None:
                    self._bar.remove_task(self._task)
                self._task = self._bar.add_task(_STAGES[stage])
            assert self._task is not None
            self._bar.update(self._task, completed=done, total=total or None)
        elif begins or done == total or time.monotonic() - self._told > _SECONDS_BETWEEN_LINES:
            self._told = time.monotonic()
            say(f"{_STAGES[stage]}" + (f": {done:,} of {total:,} samples ({done / total:.0%})" if total else ""))


def _gain_of_size(before: int, after: int) -> str:
    from hpc_dl.data.packing.read_speed import megabytes

    return f"size: {megabytes(before)} -> {megabytes(after)}"


def _gain_of_speed(before: dict[str, Any], after: dict[str, Any]) -> str:
    times = after["samples_per_s"] / max(1, before["samples_per_s"])
    was, now = (f"{speed['samples_per_s']:,} samples/s ({speed['order']})" for speed in (before, after))
    return f"speed: {was} -> {now}: {times:,.{1 if times < 10 else 0}f} times"


def _height_and_width(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, _, width = text.lower().partition("x")
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise DataError.at("--size", "is no height and width", value=text, allowed="for example 224x224")
    return int(height), int(width)
