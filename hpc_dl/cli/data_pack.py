"""``hpc-dl data pack``: convert data to fast-to-read HDF5."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from hpc_dl.cli.arguments import AsJson, parse_size
from hpc_dl.cli.output import emit, show
from hpc_dl.cli.pack_progress import ProgressReport
from hpc_dl.formatting import megabytes

# h5py and NumPy are imported inside the functions, so that `--help` works without them.

_MEASURABLE_BYTES = 4 << 20  # smaller files are read too quickly to compare


def pack(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN",
            help="A file (HDF5, MATLAB, h5ad, NWB, zarr, npz, npy, CSV, Parquet, TIFF, text), or a folder of images, "
            "NIfTI volumes (also BIDS), WAV recordings, npy or text files.",
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
            help="As for --inputs; for folders also a CSV table of files and labels.",
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
    classes: Annotated[
        Literal["auto", "remap"],
        typer.Option(help="remap: number the labels that occur from 0 (also one-hot rows and whole floats)."),
    ] = "auto",
    omit: Annotated[str | None, typer.Option(metavar="A,B,…", help="Columns that are not inputs.")] = None,
    categorical: Annotated[
        str | None, typer.Option(metavar="A,B,…", help="Columns of numbers that are categories.")
    ] = None,
    categories: Annotated[
        Literal["onehot", "numbers"], typer.Option(help="How columns of text become numbers.")
    ] = "onehot",
    missing: Annotated[
        Literal["keep", "refuse", "drop", "mean", "median", "most_frequent"],
        typer.Option(
            help="Missing values of a table: keep them as NaN, drop their rows, or fill in a statistic of the training "
            "split."
        ),
    ] = "keep",
    missing_indicator: Annotated[
        bool,
        typer.Option("--missing-indicator", help="For each column with missing values, add one that marks them."),
    ] = False,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Column or dataset, stored for data.group; --splits keeps samples of one group in one split.",
        ),
    ] = None,
    pattern: Annotated[
        str | None, typer.Option(metavar="GLOB", help="Which files of a folder are inputs: '*_T1w.nii.gz'.")
    ] = None,
    tokens: Annotated[Literal["characters", "words"], typer.Option(help="What a text is cut into.")] = "characters",
    vocabulary: Annotated[
        int, typer.Option(min=2, help="Largest vocabulary: the most frequent tokens are kept, all others become one.")
    ] = 20_000,
    rate: Annotated[
        float | None, typer.Option(metavar="HZ", help="Resample recordings to this many values per second.")
    ] = None,
    length: Annotated[
        int | None, typer.Option(min=1, metavar="STEPS", help="Cut or pad each recording to this many steps.")
    ] = None,
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
            size=parse_size(size),
            class_names=tuple(name.strip() for name in class_names.split(",")) if class_names else (),
            classes=classes,
            omit=omit,
            categorical=categorical,
            categories=categories,
            missing=missing,
            indicator=missing_indicator,
            group=group,
            pattern=pattern,
            tokens=tokens,
            vocabulary=vocabulary,
            rate=rate,
            length=length,
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


def _describe_speedup(before: dict[str, Any], after: dict[str, Any]) -> str:
    factor = after["samples_per_s"] / max(1, before["samples_per_s"])
    old, new = (f"{speed['samples_per_s']:,} samples/s ({speed['order']})" for speed in (before, after))
    return f"speed: {old} -> {new}: {factor:,.{1 if factor < 10 else 0}f} times"
