"""Recurrent networks: their inputs, their outputs, and the generation of text."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import DataSpec, FieldSpec, TaskName, Window
from hpc_dl.errors import ConfigError
from hpc_dl.models.gru import GRUConfig
from hpc_dl.models.lstm import LSTMConfig
from hpc_dl.models.rnn import Recurrent, RNNConfig
from tests.experiments import spec, training_recipe

CONFIGS = {"rnn": RNNConfig, "lstm": LSTMConfig, "gru": GRUConfig}
every = pytest.mark.parametrize("name", CONFIGS)


def data(inputs: FieldSpec, targets: FieldSpec, task: TaskName = "classification", num_outputs: int = 3) -> DataSpec:
    return replace(spec(), inputs=(inputs,), targets=(targets,), task=task, num_outputs=num_outputs)


def text(num_tokens: int = 5, length: int = 8) -> DataSpec:
    """Windows of a stream of tokens, with the next tokens as targets."""
    return data(
        FieldSpec("inputs", (length,), "uint8", window=Window(length, length)),
        FieldSpec("next inputs", (length,), "int64", window=Window(length, length, 1)),
        "sequence_labeling",
        num_tokens,
    )


CLASS = FieldSpec("targets", (), "int64")
UTTERANCES = data(FieldSpec("inputs", (4,), "float32", ragged=True), CLASS)


def build(name: str, data_spec: DataSpec, **options: Any) -> Recurrent:
    torch.manual_seed(0)
    config = CONFIGS[name].model_validate({"hidden": 6, "embedding": 4, **options})
    model = config.build(data_spec, training_recipe(data_spec))
    assert isinstance(model, Recurrent)
    return model.eval()


def ragged(*lengths: int, features: int = 4) -> Ragged:
    return Ragged(torch.randn(sum(lengths), features), torch.tensor([0, *lengths]).cumsum(0))


@every
@pytest.mark.parametrize("read_out", ["last", "mean"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_samples_of_a_batch_are_independent(name: str, read_out: str, bidirectional: bool) -> None:
    model, x = build(name, UTTERANCES, read_out=read_out, bidirectional=bidirectional, layers=2), ragged(3, 9, 1, 5)
    together = model(x)
    assert together.shape == (4, 3)
    for number in range(4):
        torch.testing.assert_close(together[number : number + 1], model(x.part(slice(number, number + 1))))


@every
def test_ragged_outputs_are_concatenated(name: str) -> None:
    labeled = data(UTTERANCES.inputs[0], FieldSpec("targets", (), "int64", ragged=True), "sequence_labeling")
    model, x = build(name, labeled), ragged(3, 5)
    outputs = model(x)
    assert outputs.shape == (8, 3)
    torch.testing.assert_close(outputs[3:], model(x.part(slice(1, 2))))
    y = Ragged(torch.randint(3, (8,)), x.offsets)
    # The loss ignores padding.
    mean = torch.nn.functional.cross_entropy(outputs, y.values)
    torch.testing.assert_close(model.training_step((x, y), 0), mean)


@every
def test_series_are_read_along_the_last_axis(name: str) -> None:
    series = data(FieldSpec("inputs", (4, 7), "float32"), CLASS)
    x = torch.randn(2, 4, 7)
    steps = Ragged(x.transpose(1, 2).reshape(14, 4), torch.tensor([0, 7, 14]))
    torch.testing.assert_close(build(name, series)(x), build(name, UTTERANCES)(steps))


@every
def test_output_depends_on_earlier_steps_only(name: str) -> None:
    model, x = build(name, text()), torch.randint(5, (2, 8))
    changed = x.clone()
    changed[:, 5] = (x[:, 5] + 1) % 5
    one, other = model(x), model(changed)
    assert one.shape == (2, 5, 8)
    assert torch.equal(one[:, :, :5], other[:, :, :5])
    assert not torch.isclose(one[:, :, 5:], other[:, :, 5:]).all(1).any()


def test_regression_per_step_of_a_window() -> None:
    stream = FieldSpec("inputs", (6, 2), "float32", window=Window(6, 6))
    ahead = FieldSpec("next inputs", (6, 2), "float32", window=Window(6, 6, 1))
    model = build("gru", data(stream, ahead, "regression", 12))
    x = torch.randn(3, 6, 2)
    changed = x.clone()
    changed[:, 3] += 1
    one, other = (model(given).reshape(3, 6, 2) for given in (x, changed))
    assert torch.equal(one[:, :3], other[:, :3]) and not torch.equal(one[:, 3:], other[:, 3:])
    loss = model.training_step((x, ahead_of := torch.randn(3, 6, 2)), 0)
    torch.testing.assert_close(loss, (one - ahead_of).square().mean())


def test_step_of_a_single_value() -> None:
    model = build("rnn", data(FieldSpec("inputs", (), "float32", ragged=True), CLASS))
    assert model(Ragged(torch.randn(5), torch.tensor([0, 2, 5]))).shape == (2, 3)


def test_configured_activation_is_used() -> None:
    x = ragged(4, 2)
    tanh, relu = (build("rnn", UTTERANCES, activation=name) for name in ("tanh", "relu"))
    assert not torch.allclose(tanh(x), relu(x))
    assert (relu.layers(torch.randn(2, 4, 4))[0] >= 0).all()


def test_forget_bias() -> None:
    for bias in (1.0, 0.0):
        layer = build("lstm", UTTERANCES, forget_bias=bias).layers.layers[0]
        assert (layer.bias_ih_l0 + layer.bias_hh_l0)[6:12].tolist() == [bias] * 6  # type: ignore[operator]
    assert LSTMConfig().forget_bias == 1


@every
def test_bidirectional_next_step_prediction_raises(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(name, text(), bidirectional=True)
    assert str(caught.value) == (
        "model.bidirectional: would let the network read the next steps, which it has to predict "
        "(got True; allowed: false where `data.targets` are later steps of the inputs)"
    )


def test_vocabulary() -> None:
    def words(dtype: str) -> DataSpec:
        return data(FieldSpec("inputs", (), dtype, ragged=True), CLASS)

    def rows(model: Recurrent) -> int:
        assert model.steps.embedding is not None
        return model.steps.embedding.num_embeddings

    assert rows(build("gru", text(num_tokens=7))) == 7
    assert rows(build("gru", words("uint8"))) == 256
    assert rows(build("gru", words("int64"), vocabulary=11)) == 11
    with pytest.raises(ConfigError) as caught:
        build("gru", words("int64"))
    assert str(caught.value) == (
        "model.vocabulary: is required: /data/paper.h5 does not define the number of different tokens. "
        "Set it to the largest token of the training split, plus 1"
    )


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        (
            FieldSpec("inputs", (2, 9), "float32"),
            FieldSpec("targets", (5,), "int64"),
            "data.targets: must contain one class for each step (got (5,); allowed: (9,))",
        ),
        (
            FieldSpec("inputs", (4,), "float32", ragged=True),
            FieldSpec("targets", (5,), "int64"),
            "data.targets: inputs differ in length but targets do not, in /data/paper.h5. Store one target per step",
        ),
        (
            FieldSpec("inputs", (2, 9), "float32"),
            FieldSpec("targets", (), "int64", ragged=True),
            "data.targets: targets differ in length but inputs do not, in /data/paper.h5. Store one target per step",
        ),
    ],
)
def test_mismatched_targets_raise(inputs: FieldSpec, targets: FieldSpec, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build("gru", data(inputs, targets, "sequence_labeling"))
    assert str(caught.value) == message


def learned(name: str, period: int = 4) -> Recurrent:
    """Train a network to count: 0, 1, 2, 3, 0, 1, …"""
    model = build(name, text(period), hidden=16).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    x = (torch.arange(period)[:, None] + torch.arange(9)) % period
    for _ in range(60):
        optimizer.zero_grad()
        model.training_step((x[:, :-1], x[:, 1:]), 0).backward()
        optimizer.step()
    return model


@every
def test_generate_continues_a_learned_text(name: str) -> None:
    model = learned(name)
    assert model.generate(torch.tensor([[1, 2], [3, 0]]), 6, temperature=0).tolist() == [
        [3, 0, 1, 2, 3, 0],
        [1, 2, 3, 0, 1, 2],
    ]
    assert model.training


@every
def test_carried_state_equals_reading_again(name: str) -> None:
    model, start = build(name, text(), layers=2, dropout=0.5), torch.randint(5, (3, 4))
    actual = model.generate(start, 6, temperature=0)
    for step in range(6):
        read = torch.cat([start, actual[:, :step]], 1)
        assert torch.equal(model(read)[:, :, -1].argmax(1), actual[:, step])


def test_generate_is_determined_by_the_seed() -> None:
    model, start = build("gru", text()), torch.zeros(4, 1, dtype=torch.int64)
    one, same, other = (model.generate(start, 20, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert one.shape == (4, 20) and one.min() >= 0 and one.max() < 5
    before = torch.get_rng_state()
    model.generate(start, 3)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.generate(start, 0).shape == (4, 0)


def test_generated_tokens_follow_the_probabilities() -> None:
    model, start = build("gru", text()), torch.zeros(20_000, 1, dtype=torch.int64)
    logits = model(start[:1])[0, :, 0].detach()
    for temperature in (0.5, 1.0, 3.0):
        drawn = model.generate(start, 1, temperature)[:, 0].bincount(minlength=5) / len(start)
        torch.testing.assert_close(drawn, (logits / temperature).softmax(0), atol=0.015, rtol=0)


def test_generate_needs_next_token_prediction() -> None:
    start = torch.zeros(1, 1, dtype=torch.int64)
    with pytest.raises(ConfigError, match=r"^data\.targets: of /data/paper\.h5 are not the next tokens"):
        build("gru", UTTERANCES).generate(start, 1)
    with pytest.raises(ConfigError, match=r"^temperature: must not be negative"):
        build("gru", text()).generate(start, 1, temperature=-1)
