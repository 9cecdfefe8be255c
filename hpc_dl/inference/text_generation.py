"""Text from a language model: ``hpc-dl generate``."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch

from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.inference.trained_model import TrainedModel, default_device
from hpc_dl.inference.vocabulary import Vocabulary
from hpc_dl.learning.abilities import GeneratesText


def generate_text(
    trained: TrainedModel,
    start: str | None = None,
    length: int = 400,
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Continue a text, token by token.

    Args:
        trained: a model with the ability ``generate text``.
        start: the text to continue; None: a line break if the training data have one, otherwise
            their first token.
        length: number of tokens to generate.
        temperature: see :func:`hpc_dl.nn.token_sampling.draw_tokens`.
        top_k: see :func:`hpc_dl.nn.token_sampling.draw_tokens`.
        seed: seed of the random numbers.

    Returns:
        ``run``, ``checkpoint``, the options, and ``text``, which begins with ``start``.

    Raises:
        DataError: ``start`` contains what the training data do not.
    """
    vocabulary = Vocabulary(trained.data.class_names)
    if start is not None:
        tokens = vocabulary.tokens(start, "--start")
    elif "\n" in vocabulary:
        tokens = vocabulary.tokens("\n", "--start")
    else:
        tokens = [_first_token(trained)]
    device = default_device()
    model = cast(GeneratesText, trained.model.to(device))
    read = torch.tensor([tokens], device=device)
    generated = model.generate(read, length, temperature, seed, top_k)
    return {
        "run": trained.run.name,
        "checkpoint": trained.checkpoint.path.name,
        "start": start,
        "length": length,
        "temperature": temperature,
        "top_k": top_k,
        "seed": seed,
        "text": vocabulary.text([*tokens, *generated[0].tolist()]),
    }


def _first_token(trained: TrainedModel) -> int:
    assert isinstance(trained.batches, HDF5DataModule)  # only a user's module has loaders of its own
    (inputs, *_) = trained.batches.read_batch("train", np.arange(1))
    assert isinstance(inputs, torch.Tensor)  # a window of one stream, or the model would not predict the next token
    return int(inputs[0, 0])
