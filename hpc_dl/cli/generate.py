"""``hpc-dl generate``, ``similar`` and ``analogy``: use generative models and word vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hpc_dl.cli.arguments import AsJson, RunName, RunsDir, Yes
from hpc_dl.cli.evaluate import Force, loaded_model, trained_run

Count = Annotated[int, typer.Option("--count", metavar="N", min=1, help="Number of words to list.")]


def generate(
    name: RunName,
    start: Annotated[str | None, typer.Option("--start", metavar="TEXT", help="Text to continue.")] = None,
    length: Annotated[
        int | None,
        typer.Option("--length", metavar="N", min=1, help="Characters or words to generate; 400 by default."),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature",
            metavar="T",
            min=0,
            help="Divisor of the logits; 0 selects the most probable token each time; 1 by default.",
        ),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option("--top-k", metavar="K", min=1, help="Draw from the K most probable tokens only.")
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", metavar="N", min=1, help="Number of samples; 64 by default.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="File of the samples: .h5, or .png for images.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="S", help="Seed of the random numbers.")] = 0,
    force: Force = False,
    yes: Yes = False,
    runs: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Generate text or samples with a run's model.

    Language models (rnn, lstm, gru, transformer) continue a text: --start, --length, --temperature,
    --top-k. A GAN generates samples like its training data: --count, --out.

    Examples:
        hpc-dl generate latest --start "In the beginning" --temperature 0.7
        hpc-dl generate latest --count 100 --out samples.png
    """
    from hpc_dl.cli.output import emit, show

    of_text = {"start": start, "length": length, "temperature": temperature, "top_k": top_k}
    of_samples = {"count": count, "out": out}
    with loaded_model(trained_run(name, runs, yes)) as model:
        if model.ability_for("generate") == "generate text":
            _refuse(of_samples, f"{model.run.name} generates text", of_text)
            from hpc_dl.inference.text_generation import generate_text

            result = generate_text(model, **_given(of_text), seed=seed)
            emit(result) if as_json else show(result["text"])
            return
        _refuse(of_text, f"{model.run.name} generates samples, not text", of_samples)
        from hpc_dl.errors import RunError
        from hpc_dl.inference.sample_generation import generate_samples

        if out is None:
            raise RunError.at(
                "--out", "is required: the file of the samples", allowed="FILE.h5, or FILE.png for images"
            )
        result = generate_samples(model, seed=seed, force=force, **_given(of_samples))
    if as_json:
        emit(result)
        return
    shape = ", ".join(map(str, result["shape"]))
    show(f"{out}: {result['count']:,} samples of {result['run']}, {result['dtype']} ({shape})")


def similar(
    name: RunName,
    words: Annotated[list[str], typer.Argument(metavar="WORD", help="Words of the training data.")],
    count: Count = 10,
    yes: Yes = False,
    runs: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """List the words whose vectors are most similar to given ones.

    The numbers are cosines of the vectors: 1 for the same direction.

    Example:
        hpc-dl similar latest king river
    """
    from hpc_dl.cli.output import emit, table

    with loaded_model(trained_run(name, runs, yes)) as model:
        model.ability_for("similar")
        from hpc_dl.inference.word_vectors import similar_words

        result = similar_words(model, words, count)
    if as_json:
        emit(result)
        return
    columns = [[f"{found['word']} {found['cosine']:.2f}" for found in near] for near in result["similar"].values()]
    table(list(result["similar"]), [list(row) for row in zip(*columns, strict=True)])


def analogy(
    name: RunName,
    a: Annotated[str, typer.Argument(metavar="A", help="A is to B …")],
    b: Annotated[str, typer.Argument(metavar="B", help="… as C is to the answer.")],
    c: Annotated[str, typer.Argument(metavar="C", help="See B.")],
    count: Count = 5,
    yes: Yes = False,
    runs: RunsDir = None,
    as_json: AsJson = False,
) -> None:
    """Complete an analogy with word vectors: A is to B as C is to …

    Lists the words whose vectors are most similar to B − A + C.

    Example:
        hpc-dl analogy latest man king woman
    """
    from hpc_dl.cli.output import emit, show, table

    with loaded_model(trained_run(name, runs, yes)) as model:
        model.ability_for("analogy")
        from hpc_dl.inference.word_vectors import complete_analogy

        result = complete_analogy(model, a, b, c, count)
    if as_json:
        emit(result)
        return
    show(f"{a} is to {b} as {c} is to:")
    table(["word", "cosine"], [[found["word"], f"{found['cosine']:.2f}"] for found in result["answers"]])


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _refuse(options: dict[str, Any], because: str, allowed: dict[str, Any]) -> None:
    """Refuse options of the other kind of models.

    Raises:
        RunError: one is given.
    """
    from hpc_dl.errors import RunError

    for name in _given(options):
        raise RunError.at(_option(name), f"has no effect: {because}", allowed=", ".join(map(_option, allowed)))


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
