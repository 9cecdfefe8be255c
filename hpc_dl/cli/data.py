"""``hpc-dl data``: make, inspect, verify and pack data files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpc_dl.cli.arguments import AsJson, DataDir
from hpc_dl.cli.command_group import CONTEXT_SETTINGS, CommandGroup, add_commands
from hpc_dl.cli.completion import complete_sources
from hpc_dl.cli.data_bench import bench
from hpc_dl.cli.data_pack import pack
from hpc_dl.cli.output import emit, show, table

File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="Any HDF5 file, or the name of a source from `hpc-dl data list`.",
        autocompletion=complete_sources,
    ),
]


def list_sources(data: DataDir = None, as_json: AsJson = False) -> None:
    """List the shipped data sources with task, size, license and file.

    The column `shared` says what training and test samples have in common.

    Example:
        hpc-dl data list
    """
    from hpc_dl.cluster.folders import data_folder
    from hpc_dl.data import sources

    folder = data_folder(data)
    rows = []
    for source in map(sources.load, sources.names()):
        path = sources.path_of(source.name, folder)
        rows.append(
            {
                "name": source.name,
                "title": source.title,
                "task": source.task,
                "size": source.size,
                "license": source.license,
                "shared": source.shared,
                "fetched": source.fetched,
                "file": str(path.absolute()) if path.exists() else None,
            }
        )
    if as_json:
        emit(rows)
        return
    columns = ["name", "task", "size", "license", "shared", "file"]
    table(columns, [[row[key] for key in columns] for row in rows])


def make(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="A name from `hpc-dl data list`.", autocompletion=complete_sources),
    ],
    raw_path: Annotated[
        Path | None,
        typer.Option("--from", metavar="PATH", exists=True, help="Raw file or folder that you downloaded yourself."),
    ] = None,
    data: DataDir = None,
    force: Annotated[bool, typer.Option("--force", help="Make the file again if it exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make the HDF5 file of a shipped source: download, verify, convert.

    Downloads are verified by their SHA-256 checksum.

    Example:
        hpc-dl data make fashion_mnist
    """
    from hpc_dl.cluster.folders import data_folder
    from hpc_dl.data import sources

    folder = data_folder(data)
    loaded = sources.load(source, where="SOURCE")
    path = sources.path_of(source, folder)
    made = force or raw_path is not None or not path.exists()
    if made:
        loaded.make(path, raw_path)
    sources.ensure(source, folder)
    if as_json:
        emit({"source": source, "file": str(path.absolute()), "made": made})
    else:
        show(f"{path}: {'made' if made else 'already exists (--force makes it again)'}, {loaded.size}")


def inspect(file: File, data: DataDir = None, as_json: AsJson = False) -> None:
    """Show the splits, shapes, types, classes and attributes of a file.

    Example:
        hpc-dl data inspect data/digits.h5
    """
    from hpc_dl.cluster.folders import data_folder
    from hpc_dl.data import sources
    from hpc_dl.data.files import inspection
    from hpc_dl.data.files.child_process import in_child_process

    path = sources.file_of(file, data_folder(data))
    content = in_child_process(lambda path, _: inspection.inspect(path), path)
    if as_json:
        emit(content)
        return
    columns = ["path", "shape", "dtype", "layout", "reading", "bytes"]
    rows = [[d[key] for key in columns] + [d["attributes"].get("units")] for d in content["datasets"]]
    file_format = f"format {content['format']}" if content["format"] else "not in the format of hpc_dl"
    table([*columns, "units"], rows, title=f"{content['file']}: {content['bytes']:,} bytes, {file_format}")
    if links := content["links"]:
        columns = ["path", "kind", "target", "leads_to", "shape", "reading"]
        table(columns, [[link[key] for key in columns] for link in links], title="links")
    if content["other_files"]:
        show(f"Also read: {', '.join(content['other_files'])}")
    table(["attribute", "value"], [list(pair) for pair in content["attributes"].items()])
    if spec := content["spec"]:
        sizes = ", ".join(f"{split} {size:,}" for split, size in spec["sizes"].items())
        show(f"{spec['task']}: inputs {tuple(spec['input_shape'])} {spec['input_dtype']}; samples: {sizes}")
        if spec["class_names"]:
            names = ", ".join(spec["class_names"])
            show(f"{spec['num_outputs']} classes: {names}")
        for note in spec["notes"]:
            show(f"Note: {note}")
    else:
        advice = "correct or remake the file:"
        if content["format"] is None:
            advice = "specify how to read it with `data.inputs`, `data.targets` and `data.splits`:"
        show(f"The file cannot be used for training yet; {advice}")
        show("\n".join(f"  {fault}" for fault in content["faults"]))


def verify(file: File, data: DataDir = None, as_json: AsJson = False) -> None:
    """Read a whole file; check its checksum, labels and values.

    Counts missing values (NaN) and infinite values.

    Example:
        hpc-dl data verify data/digits.h5

    Exit status:
        0  no fault found
        2  damaged or invalid
    """
    from hpc_dl.cluster.folders import data_folder
    from hpc_dl.data import sources
    from hpc_dl.data.files import inspection
    from hpc_dl.data.files.child_process import in_child_process

    report = in_child_process(inspection.verify, sources.file_of(file, data_folder(data)))
    if as_json:
        emit(report)
        return
    lines = [
        f"{report['file']}: all {report['num_datasets']} datasets were read",
        f"content matches {report['checksum']}" if report["checksum"] else "the file has no checksum of its content",
    ]
    lines += [
        f"{name}: {count} missing values (NaN), which `data.imputation` can fill in"
        for name, count in report["nan"].items()
    ]
    lines += [f"{name}: {count} infinite values" for name, count in report["infinite"].items()]
    if report["unprotected"]:
        lines.append(f"without checksums, so a flipped bit would go unnoticed: {', '.join(report['unprotected'])}")
    lines += [
        f"{name}: {count} chunks were never written, and read as fill values"
        for name, count in report["never_written"].items()
    ]
    if report["unchecked_structure"]:
        lines.append(
            "its structure has no checksums (libver='latest' of h5py writes them): a flipped bit in a shape, "
            "a type or the place of a chunk may go unnoticed"
        )
    show("\n".join(lines))


app = typer.Typer(
    cls=CommandGroup,
    help="Make, inspect, verify and pack data files.",
    epilog="Examples:\n  hpc-dl data make digits\n  hpc-dl data pack images/ images.h5 --verify\n",
    context_settings=CONTEXT_SETTINGS,
    rich_markup_mode=None,
)
add_commands(
    app,
    {
        "Shipped data sources": {"list": list_sources, "make": make},
        "Data files": {"inspect": inspect, "verify": verify, "pack": pack, "bench": bench},
    },
)
