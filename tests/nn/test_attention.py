"""Attention, positional encoding and the encoder, compared with torch and with formulas."""

import math

import pytest
import torch
from torch import nn

from hpc_dl.errors import ConfigError
from hpc_dl.nn.attention import (
    CrossAttention,
    Encoder,
    EncoderBlock,
    EncoderOptions,
    PositionalEncoding,
    SelfAttention,
    sinusoidal_encoding,
)
from hpc_dl.schema import parse


def options(**given: object) -> EncoderOptions:
    return parse(EncoderOptions, {"width": 8, "depth": 2, "heads": 2, "dropout": 0.0} | given, "model")


def test_self_attention_matches_torch() -> None:
    torch.manual_seed(0)
    own, theirs = SelfAttention(8, 2), nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        nn.init.normal_(theirs.in_proj_bias)
        own.queries_keys_values.weight.copy_(theirs.in_proj_weight)
        own.queries_keys_values.bias.copy_(theirs.in_proj_bias)
        own.out.load_state_dict(theirs.out_proj.state_dict())
    x, present = torch.randn(3, 5, 8), torch.arange(5) < torch.tensor([[5], [2], [4]])
    torch.testing.assert_close(own(x), theirs(x, x, x)[0])
    torch.testing.assert_close(own(x, present), theirs(x, x, x, key_padding_mask=~present)[0])
    later = torch.ones(5, 5, dtype=torch.bool).triu(1)
    torch.testing.assert_close(own(x, causal=True), theirs(x, x, x, attn_mask=later)[0])


def test_encoder_block_matches_torch_pre_norm() -> None:
    torch.manual_seed(0)
    own = EncoderBlock(8, 2, 16, 0.0, "gelu")
    theirs = nn.TransformerEncoderLayer(8, 2, 16, 0.0, activation="gelu", batch_first=True, norm_first=True)
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(own.attention.queries_keys_values.weight)
        theirs.self_attn.in_proj_bias.copy_(own.attention.queries_keys_values.bias)
        theirs.self_attn.out_proj.load_state_dict(own.attention.out.state_dict())
        theirs.linear1.load_state_dict(own.dense[0].state_dict())
        theirs.linear2.load_state_dict(own.dense[2].state_dict())
    x = torch.randn(3, 5, 8)
    torch.testing.assert_close(own(x), theirs(x))


def test_encoder_ignores_padding() -> None:
    torch.manual_seed(0)
    encoder, lengths = Encoder(options()).eval(), torch.tensor([5, 2, 0])
    x = torch.randn(3, 5, 8)
    other = x.clone()
    other[1, 2:] = 99
    for causal in (False, True):
        before, after = encoder(x, lengths, causal), encoder(other, lengths, causal)
        torch.testing.assert_close(before[1, :2], after[1, :2])
        torch.testing.assert_close(before[1:2, :2], encoder(x[1:2, :2], None, causal))
        assert before.isfinite().all()
    assert not torch.allclose(encoder(x)[1, :2], encoder(other)[1, :2]), "without lengths it is not padding"


def test_causal_encoder_ignores_later_steps() -> None:
    torch.manual_seed(0)
    encoder, x = Encoder(options()).eval(), torch.randn(1, 6, 8, requires_grad=True)
    for causal in (False, True):
        (gradient,) = torch.autograd.grad(encoder(x, causal=causal)[0, 3].square().sum(), x)
        assert gradient[0, :4].abs().amin() > 0
        assert (gradient[0, 4:].abs().amax() == 0) == causal


def test_sinusoidal_encoding_matches_the_formula() -> None:
    table = sinusoidal_encoding(50, 6)
    for position, number in [(0, 0), (7, 2), (49, 4)]:
        angle = position / 10_000 ** (number / 6)
        assert table[position, number].item() == pytest.approx(math.sin(angle), abs=1e-5)
        assert table[position, number + 1].item() == pytest.approx(math.cos(angle), abs=1e-5)
    assert sinusoidal_encoding(4, 5).shape == (4, 5)


def test_positional_encoding_distinguishes_equal_steps() -> None:
    torch.manual_seed(0)
    x = torch.zeros(2, 4, 8)
    for kind in ("sinusoidal", "learned"):
        actual = PositionalEncoding(kind, 8, 4)(x)  # type: ignore[arg-type]
        assert torch.equal(actual[0], actual[1]) and len(actual[0].unique(dim=0)) == 4
    assert torch.equal(PositionalEncoding("none", 8)(x), x)
    with pytest.raises(ConfigError, match=r"model.max_length: is too small: a sample has 4 steps .*\(got 3\)"):
        PositionalEncoding("learned", 8, 3)(x)


@pytest.mark.parametrize("score", ["dot", "additive"])
def test_cross_attention_ignores_padding(score: str) -> None:
    torch.manual_seed(0)
    attention, states, memory = CrossAttention(score, 4), torch.randn(2, 3, 4), torch.randn(2, 5, 4)  # type: ignore[arg-type]
    actual = attention(states, memory, torch.tensor([5, 1]))
    assert actual.shape == (2, 3, 4)
    torch.testing.assert_close(actual[1], memory[1, :1].expand(3, 4))
    torch.testing.assert_close(attention(states, torch.ones(2, 5, 4), torch.tensor([5, 2])), torch.ones(2, 3, 4))
    changed = memory.clone()
    changed[0, 4:] = 7
    assert not torch.allclose(attention(states, changed, torch.tensor([5, 1]))[0], actual[0])
    torch.testing.assert_close(attention(states, changed, torch.tensor([4, 1]))[1], actual[1])


def test_cross_attention_scores_match_the_formulas() -> None:
    torch.manual_seed(0)
    states, memory = torch.randn(1, 1, 4), torch.randn(1, 2, 4)
    additive = CrossAttention("additive", 4)
    for attention, scores in [
        (CrossAttention("dot", 4), [states[0, 0] @ memory[0, s] for s in (0, 1)]),
        (additive, [additive.score(torch.tanh(additive.query(states) + additive.key(memory[:, s]))) for s in (0, 1)]),
    ]:
        weights = torch.stack([score.reshape(()) for score in scores]).softmax(0)
        expected = weights[0] * memory[0, 0] + weights[1] * memory[0, 1]
        torch.testing.assert_close(attention(states, memory, torch.tensor([2]))[0, 0], expected)


def test_width_must_be_a_multiple_of_heads() -> None:
    with pytest.raises(ConfigError, match=r"^model: `width` must be a multiple of `heads`: 8 is not a multiple of 3$"):
        options(heads=3)


def test_dropout_acts_in_training_only() -> None:
    encoder, x = Encoder(options(dropout=0.5)), torch.randn(2, 3, 8)
    assert not torch.equal(encoder(x), encoder(x))
    assert torch.equal(encoder.eval()(x), encoder(x))
