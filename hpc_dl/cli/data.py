"""``hpc-dl data``: list and make data sources, look into HDF5 files, check their content; pack and
measure them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpc_dl.cli.data_pack import bench, pack
from hpc_dl.cli.output import emit, table

# h5py and NumPy are imported where they are used: `--help` answers without them.

app = typer.Typer(
    help="Data sets: list and make the shipped ones; inspect and verify HDF5 files; pack data of any kind, measure.",
    no_args_is_help=True,
)
for command in (pack, bench):
    app.command()(command)

DataDir = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Folder of the data files; else $HPC_DL_DATA or ./data."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
File = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="An HDF5 file, of hpc_dl or of any other origin; or a name of `data list`."),
]


@app.command("list")
def list_sources(data: DataDir = None, as_json: AsJson = False) -> None:
    """List the data sources that `data make` knows; `shared` is what training and test samples have
    in common.
    """
    from hpc_dl.data import sources

    rows = []
    for source in map(sources.load, sources.names()):
        path = sources.path_of(source.name, data)
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


@app.command()
def make(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A name from `data list`.")],
    given: Annotated[
        Path | None,
        typer.Option("--from", metavar="PATH", exists=True, help="A file or folder that you fetched yourself."),
    ] = None,
    data: DataDir = None,
    force: Annotated[bool, typer.Option("--force", help="Make it again even if it is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make the HDF5 file of a data source: fetch, verify by SHA-256, convert."""
    from hpc_dl.data import sources

    found = sources.load(source)
    path = sources.path_of(source, data)
    made = force or given is not None or not path.exists()
    if made:
        found.make(path, given)
    sources.ensure(source, data)
    if as_json:
        emit({"source": source, "file": str(path.absolute()), "made": made})
    else:
        print(f"{path}: {'made' if made else 'was there already (--force makes it again)'}, {found.size}")


@app.command()
def inspect(file: File, data: DataDir = None, as_json: AsJson = False) -> None:
    """Show a file's splits, shapes, types, layout, classes and attributes."""
    from hpc_dl.data import sources
    from hpc_dl.data.files import inspection

    found = inspection.inspect(sources.file_of(file, data))
    if as_json:
        emit(found)
        return
    columns = ["path", "shape", "dtype", "layout", "reading", "bytes"]
    rows = [[d[key] for key in columns] + [d["attributes"].get("units")] for d in found["datasets"]]
    origin = found["format"] or "of other origin"
    table([*columns, "units"], rows, title=f"{found['file']}: {found['bytes']:,} bytes, format {origin}")
    table(["attribute", "value"], [list(pair) for pair in found["attributes"].items()])
    if spec := found["spec"]:
        sizes = ", ".join(f"{split} {size:,}" for split, size in spec["sizes"].items())
        print(f"{spec['task']}: inputs {tuple(spec['input_shape'])} {spec['input_dtype']}; samples: {sizes}")
        if spec["class_names"]:
            print(f"{spec['num_outputs']} classes: {', '.join(spec['class_names'])}")
    else:
        advice = "it must be mended, or made again:"
        if found["format"] is None:
            advice = "`data.inputs`, `data.targets` and `data.splits` tell how to read it:"
        print(f"Not ready for training as it is; {advice}")
        print("\n".join(f"  {fault}" for fault in found["faults"]))


@app.command()
def verify(file: File, data: DataDir = None, as_json: AsJson = False) -> None:
    """Read all of a file: checksum, labels, missing and infinite values. Exit status 2 when
    something is wrong.
    """
    from hpc_dl.data import sources
    from hpc_dl.data.files import inspection

    found = inspection.verify(sources.file_of(file, data))
    if as_json:
        emit(found)
        return
    print(f"{found['file']}: {found['num_datasets']} datasets were read in full")
    print(f"content matches {found['checksum']}" if found["checksum"] else "the file has no checksum to compare with")
    for name, count in found["nan"].items():
        print(f"{name}: {count} missing values (NaN), to be filled in by `data.imputation`")
    for name, count in found["infinite"].items():
        print(f"{name}: {count} infinite values")
    if found["unprotected"]:
        print(f"without checksums, where a flipped bit cannot be seen: {', '.join(found['unprotected'])}")
