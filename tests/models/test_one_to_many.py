"""One input, a sequence of symbols: the decoder starts from the encoder's vector."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import FieldSpec
from hpc_dl.errors import ConfigError
from hpc_dl.models.one_to_many import OneToMany, OneToManyConfig
from tests.experiments import spec, training_recipe
from tests.models.samples import data_of
from tests.models.test_seq2seq import ragged

LABELS = replace(
    spec(),
    task="sequence_to_sequence",
    num_outputs=4,
    inputs=(FieldSpec("inputs", (3,), "float32"),),
    targets=(FieldSpec("targets", (), "int64", ragged=True),),
)
ONE_HOT = torch.eye(3)
NAMES = ragged([0, 1, 2, 3], [3, 3], [2])


def one_to_many(**options: Any) -> OneToMany:
    torch.manual_seed(0)
    config = OneToManyConfig.model_validate(OneToManyConfig.small | options)
    return config.build(LABELS, training_recipe(LABELS)).eval()  # type: ignore[return-value]


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("layers", [1, 2])
def test_learns_a_sequence_for_each_label(cell: str, layers: int) -> None:
    model = one_to_many(cell=cell, layers=layers, hidden=16, max_length=6)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(80):
        optimizer.zero_grad()
        model.training_step((ONE_HOT, NAMES), 0).backward()
        optimizer.step()
    for beams in (1, 3):
        written = model.sequences(ONE_HOT, beams)
        assert (written.values.tolist(), written.offsets.tolist()) == (NAMES.values.tolist(), NAMES.offsets.tolist())


def test_the_sequence_depends_on_the_input_through_the_initial_state_only() -> None:
    model = one_to_many()
    assert not torch.equal(model(ONE_HOT)[0], model(ONE_HOT)[1])
    torch.nn.init.zeros_(model.initial_state.weight)
    assert torch.equal(model(ONE_HOT)[0], model(ONE_HOT)[1])


def test_samples_of_a_batch_are_independent() -> None:
    model = one_to_many(cell="lstm", layers=2)
    _, y = model.inputs_and_targets((ONE_HOT, NAMES))
    alone = [model(ONE_HOT[i : i + 1], y.part(slice(i, i + 1))) for i in range(3)]
    torch.testing.assert_close(model(ONE_HOT, y), torch.cat(alone), rtol=1e-4, atol=1e-5)
    assert model.embed(ONE_HOT).shape == (3, 8)


def test_too_many_blocks() -> None:
    data = data_of("image", "sequence_to_sequence")  # 12 × 12
    OneToManyConfig(channels=[4, 4, 4]).build(data, training_recipe(data))
    with pytest.raises(ConfigError, match=r"^model\.channels: has too many blocks: .* 12×12 .*at most 3 blocks"):
        OneToManyConfig(channels=[4] * 4).build(data, training_recipe(data))


def test_an_empty_sequence_is_the_end_symbol() -> None:
    _, y = one_to_many().inputs_and_targets((ONE_HOT, ragged([1], [], [])))
    assert y.values.tolist() == [1, 4, 4, 4]
    assert isinstance(one_to_many().sequences(ONE_HOT), Ragged)
