"""``hpc-dl embed``: vectors that represent samples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpc_dl.cli.arguments import AsJson, RunName, RunsDir, Yes, parse_size
from hpc_dl.cli.evaluate import Force, ImageSize, Inputs, Targets, checked_paths, loaded_model


def embed(
    name: RunName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File or folder of samples, as for `hpc-dl predict`.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE.h5", help="HDF5 file to write.")],
    inputs: Inputs = None,
    targets: Targets = None,
    size: ImageSize = None,
    force: Force = False,
    yes: Yes = False,
    runs: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Write the last hidden layer of a model for every sample.

    For an autoencoder, this is the code. Samples with similar vectors are similar to the model.

    Example:
        hpc-dl embed latest photos/ --out embeddings.h5
    """
    from hpc_dl.cli.output import emit, show

    pixels = parse_size(size)
    trained, path = checked_paths(name, file, out, runs, yes=yes, force=force)
    with loaded_model(trained) as model:
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
