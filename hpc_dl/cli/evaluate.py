"""``hpc-dl evaluate``, ``predict`` and ``export``: use the best weights of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpc_dl.cli.arguments import AsJson, RunName, RunsDir, Yes, parse_size
from hpc_dl.cli.completion import complete_splits

if TYPE_CHECKING:
    from hpc_dl.inference.trained_model import TrainedModel
    from hpc_dl.inference.trained_run import TrainedRun

Force = Annotated[bool, typer.Option("--force", help="Replace the output file if it exists.")]
Inputs = Annotated[
    str | None, typer.Option("--inputs", metavar="NAME", help="Dataset of the inputs; by default as in training.")
]
Targets = Annotated[
    str | None,
    typer.Option(
        "--targets", "--target", metavar="NAME", help="Column of known targets, or a CSV table of files and labels."
    ),
]
ImageSize = Annotated[str | None, typer.Option("--size", metavar="HxW", help="Resize images to this height and width.")]


def evaluate(
    name: RunName,
    split: Annotated[
        str,
        typer.Option("--split", metavar="SPLIT", help="train, val or test.", autocompletion=complete_splits),
    ] = "test",
    yes: Yes = False,
    runs: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Compute a run's metrics and confusion matrix on a split.

    Uses the run's best weights and its own data. The loss is one of the metrics.

    Example:
        hpc-dl evaluate latest --split val
    """
    from hpc_dl.cli.group_table import group_table
    from hpc_dl.cli.output import emit, show, table

    trained = trained_run(name, runs, yes)
    trained.check_split(split)
    with loaded_model(trained) as model:
        from hpc_dl.inference import evaluation

        result = evaluation.evaluate(model, split)
    if as_json:
        emit(result)
        return
    samples = "" if result["samples"] is None else f"{result['samples']:,} "
    show(f"{result['run']}, {result['checkpoint']}: {samples}{split} samples\n")
    table(["metric", split], [[metric, f"{value:.4g}"] for metric, value in result["metrics"].items()])
    if "confusion" in result:
        show()
        rows = [[label, *counts] for label, counts in zip(result["classes"], result["confusion"], strict=True)]
        table(["true \\ predicted", *result["classes"]], rows)
    if "by_group" in result:
        show()
        group_table(result["by_group"])


def predict(
    name: RunName,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="HDF5 file in the format of the training data, what `hpc-dl data pack` reads (folders of images, "
            "CSV, …), or a name from `hpc-dl data list`.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="File to write: .h5, or .csv with one row per sample.")
    ],
    inputs: Inputs = None,
    targets: Targets = None,
    beams: Annotated[
        int | None,
        typer.Option(
            "--beams", metavar="N", min=1, help="Beams of the search, for models that write sequences; 1 by default."
        ),
    ] = None,
    size: ImageSize = None,
    force: Force = False,
    yes: Yes = False,
    runs: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Predict a file or folder of samples with the best weights.

    Targets are not needed; known ones are copied beside the predictions.

    Examples:
        hpc-dl predict latest new.h5 --out predictions.h5
        hpc-dl predict latest photos/ --out predictions.csv
    """
    from hpc_dl.cli.output import emit, show

    pixels = parse_size(size)
    trained, path = checked_paths(name, file, out, runs, yes=yes, force=force)
    with loaded_model(trained) as model:
        from hpc_dl.inference import prediction
        from hpc_dl.inference.samples import HowToRead

        result = prediction.predict(model, path, out, how=HowToRead(inputs, targets, pixels), beams=beams, force=force)
    if as_json:
        emit(result)
        return
    counts = ", ".join(f"{size:,} {group}" for group, size in result["samples"].items())
    show(f"{out}: predictions of {result['run']} for the samples of {file}: {counts}")


def export(
    name: RunName,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="ONNX file to write; text for word vectors.")],
    force: Force = False,
    yes: Yes = False,
    runs: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Export a run's best model with its preprocessing to ONNX.

    The exported model runs without PyTorch. Its outputs are compared with those of the original on
    samples of the run's data. For a GAN, this is the generator. Word vectors are written in the
    text format of word2vec.

    Example:
        hpc-dl export latest --out model.onnx
    """
    from hpc_dl.cli.output import emit, show
    from hpc_dl.inference.output_file import check_output

    trained = trained_run(name, runs, yes)
    check_output(out, force=force)
    with loaded_model(trained) as model:
        from hpc_dl.inference import export as exporting

        result = exporting.export(model, out, force=force)
    if as_json:
        emit(result)
        return
    if "words" in result:
        show(f"{out}: {result['run']}, {result['words']:,} vectors of {result['dimensions']} numbers")
        return
    meaning = "random numbers from N(0, 1)" if result["output"] == "samples" else "as stored in the data file"
    inputs = f"{result['inputs']['dtype']} (batch, {', '.join(map(str, result['inputs']['shape']))})"
    show(f"{out}: {result['run']}, from `inputs` {inputs} {meaning} to `{result['output']}`")
    show(f"Largest difference from the model on {result['compared']} samples: {result['largest_difference']:.1e}")


def trained_run(name: str, runs: Path | None, yes: bool) -> TrainedRun:
    """Find a run with weights and data whose code may be run; does not import torch."""
    from hpc_dl.cli.run_selection import select_run
    from hpc_dl.inference.trained_run import TrainedRun, check_model_trusted

    run = select_run(name, runs)
    check_model_trusted(run, yes=yes)
    return TrainedRun.open(run)


def checked_paths(
    name: str, file: Path, out: Path, runs: Path | None, *, yes: bool, force: bool
) -> tuple[TrainedRun, Path]:
    """Find a trained run and the samples for it, and check that the output can be written.

    Mistakes are reported before torch is imported.

    Returns:
        The run, and the path of the samples.
    """
    from hpc_dl.cluster.folders import data_folder
    from hpc_dl.data.packing.open_source import check_readable
    from hpc_dl.data.sources import file_of
    from hpc_dl.inference.output_file import check_output

    trained = trained_run(name, runs, yes)
    path = file_of(file, data_folder())
    check_readable(path)
    check_output(out, force=force, source=path)
    return trained, path


@contextmanager
def loaded_model(trained: TrainedRun) -> Iterator[TrainedModel]:
    """Load a run's best model, without console messages of Lightning.

    Until the context ends, ``wandb.init`` in a user's module has no effect.
    """
    from hpc_dl.cli.output import LOADING, say

    say(LOADING)
    from hpc_dl.inference.trained_model import TrainedModel
    from hpc_dl.tracking.wandb_environment import wandb_mode
    from hpc_dl.training.console import quiet

    quiet()
    with wandb_mode("disabled"):
        yield TrainedModel.load(trained)
