"""``hpc-dl embed``: vectors that represent samples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpc_dl.cli.arguments import AsJson, RunName, RunsDir, Yes, parse_size
from hpc_dl.cli.evaluate import Force, load_model, trained_run


def embed(
    name: RunName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File or folder of samples, as for `hpc-dl predict`.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE.h5", help="HDF5 file to write.")],
    inputs: Annotated[
        str | None, typer.Option("--inputs", metavar="NAME", help="Dataset of the inputs; by default as in training.")
    ] = None,
    targets: Annotated[
        str | None,
        typer.Option(
            "--targets", "--target", metavar="NAME", help="Column of known targets, or a CSV table of files and labels."
        ),
    ] = None,
    size: Annotated[str | None, typer.Option(metavar="HxW", help="Resize images to this height and width.")] = None,
    force: Force = False,
    yes: Yes = False,
    runs: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Write the last hidden layer of a model for every sample.

    Of an autoencoder, the code. Samples with similar vectors are similar for the model.

    Example:
        hpc-dl embed latest photos/ --out embeddings.h5
    """
    from hpc_dl.cli.output import emit, show
    from hpc_dl.cluster.folders import data_folder
    from hpc_dl.data.packing.open_source import check_readable
    from hpc_dl.data.sources import file_of
    from hpc_dl.inference.output_file import check_output

    trained = trained_run(name, runs, yes)
    path = file_of(file, data_folder())
    pixels = parse_size(size)
    check_readable(path)
    check_output(out, force=force, source=path)
    model = load_model(trained)
    model.ability_for("embed")
    from hpc_dl.inference import embedding
    from hpc_dl.inference.samples import HowToRead

    result = embedding.embed(model, path, out, how=HowToRead(inputs, targets, pixels), force=force)
    if as_json:
        emit(result)
        return
    counts = ", ".join(f"{size:,} in /{group}" for group, size in result["samples"].items())
    shape = ", ".join(map(str, result["shape"]))
    show(f"{out}: embeddings ({shape}) of {result['run']} for the samples of {file}: {counts}")
