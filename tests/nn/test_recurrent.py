"""Recurrent layers: formulas of the cells, lengths, directions, dropout and states."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from hpc_dl.nn.recurrent import RecurrentLayers, RecurrentOptions, set_forget_bias

Cell = Callable[..., nn.RNNBase]
CELLS: dict[str, Cell] = {
    "rnn": nn.RNN,
    "relu": partial(nn.RNN, nonlinearity="relu"),
    "lstm": nn.LSTM,
    "gru": nn.GRU,
}
every = pytest.mark.parametrize("name", CELLS)


def layers(name: str, **options: Any) -> RecurrentLayers:
    torch.manual_seed(0)
    return RecurrentLayers(CELLS[name], 3, RecurrentOptions(hidden=5, **options))


def sigmoid(x: NDArray[Any]) -> NDArray[Any]:
    return 1 / (1 + np.exp(-x))


def by_hand(name: str, layer: nn.RNNBase, x: NDArray[Any], h: NDArray[Any], c: NDArray[Any]) -> Any:
    """Compute one step by the published formulas, with torch's order of the gates."""
    w, u, b, d = (
        getattr(layer, f"{part}_l0").detach().double().numpy()
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    inputs, states = w @ x + b, u @ h + d
    if name == "rnn":
        return np.tanh(inputs + states), c
    if name == "relu":
        return np.maximum(inputs + states, 0), c
    if name == "lstm":  # Gers et al., 2000
        enter, forget, cell, leave = np.split(inputs + states, 4)
        c = sigmoid(forget) * c + sigmoid(enter) * np.tanh(cell)
        return sigmoid(leave) * np.tanh(c), c
    # Cho et al., 2014, with the reset gate applied after the matrix product, as in cuDNN
    (r, z, n), (s, y, m) = np.split(inputs, 3), np.split(states, 3)
    reset, update = sigmoid(r + s), sigmoid(z + y)
    return (1 - update) * np.tanh(n + reset * m) + update * h, c


@every
def test_recurrent_cells_match_the_formulas(name: str) -> None:
    model = layers(name)
    x = torch.randn(1, 4, 3)
    states, last, _ = model(x)
    h = c = np.zeros(5)
    for step in range(4):
        h, c = by_hand(name, model.layers[0], x[0, step].double().numpy(), h, c)  # type: ignore[arg-type]
        np.testing.assert_allclose(states[0, step].detach().numpy(), h, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(last[0].detach().numpy(), h, rtol=1e-5, atol=1e-6)


@every
@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_has_no_effect(name: str, bidirectional: bool) -> None:
    model = layers(name, layers=2, bidirectional=bidirectional)
    lengths = torch.tensor([2, 5, 1])
    x = torch.randn(3, 5, 3)
    states, last, _ = model(x, lengths)
    assert states.shape == (3, 5, model.size)
    for number, length in enumerate(lengths):
        alone, alone_last, _ = model(x[number : number + 1, :length])
        torch.testing.assert_close(states[number, :length], alone[0])
        torch.testing.assert_close(last[number], alone_last[0])
    other = x.clone()
    other[0, 2:] = other[2, 1:] = 1e6
    assert torch.equal(model(other, lengths)[1], last)


@every
def test_last_state_of_both_directions(name: str) -> None:
    model = layers(name, bidirectional=True)
    states, last, _ = model(torch.randn(2, 4, 3))
    assert torch.equal(last, torch.cat([states[:, -1, :5], states[:, 0, 5:]], 1))


@every
def test_returned_state_continues_the_sequence(name: str) -> None:
    model = layers(name, layers=2)
    x = torch.randn(2, 6, 3)
    whole, _, _ = model(x)
    first, _, state = model(x[:, :4])
    second, _, _ = model(x[:, 4:], None, state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)


@every
def test_dropout_applies_between_layers_only(name: str) -> None:
    model = layers(name, layers=2, dropout=0.5)
    x = torch.randn(2, 6, 3)
    first, second = model(x)[2], model(x)[2]
    below, above = (
        [state[0] if isinstance(state, tuple) else state for state in pair] for pair in zip(first, second, strict=True)
    )
    assert torch.equal(*below)
    assert not torch.equal(*above)
    model.eval()
    assert torch.equal(model(x)[0], model(x)[0])


def test_dropout_uses_torchs_generator() -> None:
    """The random state in a checkpoint is enough to draw the same dropout masks after a resume."""
    model, x = layers("lstm", layers=3, dropout=0.5), torch.randn(2, 6, 3)
    model(x)
    state = torch.get_rng_state()
    expected = model(x)[0]
    torch.set_rng_state(state)
    assert torch.equal(model(x)[0], expected)


@every
def test_empty_samples(name: str) -> None:
    states, last, _ = layers(name)(torch.zeros(2, 3, 3), torch.tensor([0, 3]))
    assert states.isfinite().all() and last.isfinite().all()


def test_forget_bias_is_the_sum_of_both_parameters() -> None:
    model = layers("lstm", bidirectional=True)
    layer = model.layers[0]
    assert isinstance(layer, nn.LSTM)
    before = layer.bias_ih_l0.detach().clone()
    set_forget_bias(layer, 1.5)
    for end in ("", "_reverse"):
        total = getattr(layer, f"bias_ih_l0{end}") + getattr(layer, f"bias_hh_l0{end}")
        assert total[5:10].tolist() == [1.5] * 5
    assert torch.equal(layer.bias_ih_l0[:5], before[:5]) and torch.equal(layer.bias_ih_l0[10:], before[10:])


def test_open_forget_gate_keeps_the_cell_state() -> None:
    model = layers("lstm")
    layer = model.layers[0]
    assert isinstance(layer, nn.LSTM)
    kept = []
    for bias in (10.0, -10.0):
        set_forget_bias(layer, bias)
        cell = torch.ones(1, 1, 5)
        _, _, state = model(torch.zeros(1, 1, 3), None, [(torch.zeros(1, 1, 5), cell)])
        kept.append(state[0][1].mean().item())
    assert kept[0] > 0.7 and abs(kept[1]) < 0.3
