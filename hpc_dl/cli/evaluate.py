"""``hpc-dl evaluate``, ``predict`` and ``export``: what a run's model is worth, and its use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpc_dl.cli.train import AsJson, Runs

Run = Annotated[str, typer.Argument(metavar="RUN", help="A run's name, the beginning of it, its folder, or `latest`.")]


def evaluate(
    word: Run,
    split: Annotated[str, typer.Option("--split", metavar="SPLIT", help="train, val or test.")] = "test",
    runs: Runs = None,
    as_json: AsJson = False,
) -> None:
    """Judge a run's best weights on a split of its data: loss, metrics, confusion matrix."""
    from hpc_dl.cli.output import emit, table
    from hpc_dl.inference import evaluation
    from hpc_dl.inference.trained_model import TrainedModel
    from hpc_dl.runs.folder import default_runs, find
    from hpc_dl.training.console import quiet

    quiet()
    answer = evaluation.evaluate(TrainedModel.load(find(word, runs or default_runs())), split)
    if as_json:
        emit(answer)
        return
    print(f"{answer['run']}, {answer['checkpoint']}: {answer['samples']:,} {split} samples\n")
    table(["metric", split], [[name, f"{value:.4g}"] for name, value in answer["metrics"].items()])
    if "confusion" in answer:
        print()
        rows = [[name, *counts] for name, counts in zip(answer["classes"], answer["confusion"], strict=True)]
        table(["true \\ found", *answer["classes"]], rows)


def predict(
    word: Run,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="HDF5, stored as the training's; or a name of `data list`.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE.h5", help="Where to write the predictions.")],
    inputs: Annotated[
        str | None, typer.Option("--inputs", metavar="NAME", help="Dataset of the inputs, if another than in training.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file of --out if it is there.")] = False,
    runs: Runs = None,
    as_json: AsJson = False,
) -> None:
    """Apply a run's best weights to every sample of a file; targets are not needed."""
    from hpc_dl.cli.output import emit
    from hpc_dl.data.sources import file_of
    from hpc_dl.inference import prediction
    from hpc_dl.inference.trained_model import TrainedModel
    from hpc_dl.runs.folder import default_runs, find
    from hpc_dl.training.console import quiet

    quiet()
    finished = TrainedModel.load(find(word, runs or default_runs()))
    answer = prediction.predict(finished, file_of(file), out, inputs=inputs, force=force)
    if as_json:
        emit(answer)
        return
    told = ", ".join(f"{size:,} in /{group}" for group, size in answer["samples"].items())
    print(f"{out}: predictions of {answer['run']} for the samples of {file}: {told}")


def export(
    word: Run,
    out: Annotated[Path, typer.Option("--out", metavar="FILE.onnx", help="Where to write the model.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the file of --out if it is there.")] = False,
    runs: Runs = None,
    as_json: AsJson = False,
) -> None:
    """Write a run's best model, preprocessing included, as ONNX: to be used without torch."""
    from hpc_dl.cli.output import emit
    from hpc_dl.inference import onnx_export
    from hpc_dl.inference.trained_model import TrainedModel
    from hpc_dl.runs.folder import default_runs, find
    from hpc_dl.training.console import quiet

    quiet()
    answer = onnx_export.export(TrainedModel.load(find(word, runs or default_runs())), out, force=force)
    if as_json:
        emit(answer)
        return
    inputs = f"{answer['inputs']['dtype']} (batch, {', '.join(map(str, answer['inputs']['shape']))})"
    print(f"{out}: {answer['run']}, from `inputs` {inputs} as they are stored to `{answer['output']}`")
    print(f"compared with the model on {answer['compared']} samples: {answer['largest_difference']:.1e} apart at most")
