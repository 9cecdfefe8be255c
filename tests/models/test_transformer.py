"""The Transformer: causal attention, positions, and invalid options."""

from dataclasses import replace

import pytest
import torch

from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import DataSpec, FieldSpec, Window
from hpc_dl.errors import ConfigError
from hpc_dl.models.transformer import Transformer, TransformerConfig
from tests.experiments import spec, training_recipe

NEXT = replace(
    spec(),
    task="sequence_labeling",
    num_outputs=7,
    inputs=(FieldSpec("inputs", (6,), "uint8", window=Window(6, 6)),),
    targets=(FieldSpec("next inputs", (6,), "int64", window=Window(6, 6, shift=1)),),
)
STEPS = replace(NEXT, targets=(replace(NEXT.targets[0], name="targets", window=Window(6, 6)),))
RAGGED = replace(spec(), inputs=(FieldSpec("inputs", (4,), "float32", ragged=True),))
SERIES = spec(input_shape=(2, 9))


def transformer(data: DataSpec, **options: object) -> Transformer:
    torch.manual_seed(0)
    given = {key: value for key, value in TransformerConfig.small.items() if key != "vocabulary"} | options
    return TransformerConfig.model_validate(given).build(data, training_recipe(data)).eval()  # type: ignore[return-value]


def tokens(seed: int = 0) -> torch.Tensor:
    return torch.randint(7, (2, 6), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("data", "causal"), [(NEXT, "auto"), (NEXT, True), (STEPS, True), (STEPS, "auto")])
def test_next_token_prediction_ignores_later_tokens(data: DataSpec, causal: bool | str) -> None:
    model, x = transformer(data, depth=2, causal=causal), tokens()
    assert model(x).shape == (2, 7, 6)
    changed = x.clone()
    changed[:, 4:] = (changed[:, 4:] + 1) % 7
    actual, after = model(x)[:, :, :4], model(changed)[:, :, :4]
    if data is NEXT or causal is True:
        torch.testing.assert_close(actual, after)
    else:
        assert not torch.allclose(actual, after)
    assert not torch.allclose(model(x)[:, :, 5], model(changed)[:, :, 5])


@pytest.mark.parametrize("read_out", ["mean", "class_token"])
@pytest.mark.parametrize("positions", ["sinusoidal", "learned"])
def test_padding_of_a_batch_has_no_effect(read_out: str, positions: str) -> None:
    model = transformer(RAGGED, read_out=read_out, positions=positions, max_length=11)
    values, offsets = torch.randn(11, 4), torch.tensor([0, 2, 11])
    together, alone = model(Ragged(values, offsets)), model(Ragged(values[:2], offsets[:2]))
    torch.testing.assert_close(together[:1], alone)
    assert model(Ragged(values, torch.tensor([0, 0, 11]))).isfinite().all(), "a sample without steps"


def test_order_matters_with_positions_only() -> None:
    x = torch.randn(2, 2, 9)
    for positions, matters in [("sinusoidal", True), ("learned", True), ("none", False)]:
        model = transformer(SERIES, positions=positions)
        assert torch.allclose(model(x), model(x.flip(2)), atol=1e-5) != matters, positions


def test_unknown_vocabulary_raises() -> None:
    words = replace(spec(), inputs=(FieldSpec("inputs", (), "int64", ragged=True),))
    with pytest.raises(ConfigError, match=r"^model\.vocabulary: is required"):
        transformer(words)
    assert transformer(words, vocabulary=50)(Ragged(torch.tensor([49, 3]), torch.tensor([0, 2]))).shape == (1, 3)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (
            NEXT,
            {"causal": False},
            "model.causal: would let the network read the next steps, which it has to predict "
            "(got False; allowed: auto or true where `data.targets` are later steps of the inputs)",
        ),
        (
            SERIES,
            {"causal": True, "read_out": "class_token"},
            "model.read_out: comes first, and with `model.causal: true` cannot attend to the steps "
            "(got 'class_token'; allowed: mean)",
        ),
        (
            RAGGED,
            {"positions": "learned"},
            "model.max_length: is required for learned positions: the samples of /data/paper.h5 differ in length. "
            "Set it to the length of the longest sample, or choose other `model.positions`",
        ),
    ],
    ids=["next-seen", "token-sees-nothing", "no-longest"],
)
def test_invalid_options_raise(data: DataSpec, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        transformer(data, **options)
    assert str(caught.value) == message


def test_sample_longer_than_learned_positions_raises() -> None:
    model = transformer(RAGGED, positions="learned", max_length=3)
    with pytest.raises(ConfigError, match=r"^model\.max_length: is too small: a sample has 4 steps"):
        model(Ragged(torch.randn(4, 4), torch.tensor([0, 4])))
