"""What the architectures say can be done with them, besides evaluating them."""

import pytest
import torch

from hpc_dl.data.spec import PER_POSITION
from tests.models.samples import Combination, batch_of
from tests.models.test_contract import ALL, ONE_PER_ARCHITECTURE, ONE_PER_KIND, initial_model, parametrize


@parametrize(ONE_PER_KIND, quick=ONE_PER_ARCHITECTURE)
def test_embeddings_represent_samples_or_positions(combination: Combination) -> None:
    model, data = initial_model(combination), combination.data
    if "embed" not in model.abilities:
        pytest.skip("it has no last hidden layer")
    x = model.inputs_and_targets(batch_of(data))[0]
    embeddings = model.embed(x)
    first = next(iter(x.values())) if isinstance(x, dict) else x
    is_ragged = combination.task in PER_POSITION and not data.is_dense
    assert len(embeddings) == (len(first.values) if is_ragged else 4)
    assert embeddings.ndim >= 2 and embeddings.isfinite().all() and torch.equal(embeddings, model.embed(x))


def test_abilities_of_architectures() -> None:
    abilities = {(c.name, c.task): initial_model(c).abilities for c in ALL if c.kind in ("tokens", "vector")}
    assert abilities["mlp", "classification"] == ("predict", "embed")
    assert abilities["linear", "regression"] == ("predict",)
    assert abilities["gan", "generation"] == ("generate samples",)
    assert abilities["word2vec", "embedding"] == ("compare words",)
    for name in ("rnn", "lstm", "gru", "transformer"):
        assert abilities[name, "language_modeling"] == ("predict", "embed", "generate text")
        assert abilities[name, "classification"] == ("predict", "embed")
