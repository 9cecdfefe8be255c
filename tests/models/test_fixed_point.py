"""The graph neural network with node states at a fixed point."""

from typing import Any

import pytest
import torch
from torch import Tensor

from hpc_dl.data.spec import DataSpec
from hpc_dl.models.fixed_point import FixedPointConfig, FixedPointNetwork
from hpc_dl.nn.graphs import Graphs
from tests.experiments import training_recipe
from tests.models.graphs import batch, graph_data, permuted

NODE_CLASSES = graph_data("node_classification")
BARE = DataSpec(**vars(NODE_CLASSES) | {"inputs": NODE_CLASSES.inputs[:2]})


def built(data: DataSpec = NODE_CLASSES, scale: float = 1.0, **parameters: Any) -> FixedPointNetwork:
    """Build a network whose weights inside F are ``scale`` times the initial ones."""
    torch.manual_seed(0)
    model = FixedPointConfig(**{"width": 8, **parameters}).module(data, training_recipe(data)).eval()
    with torch.no_grad():
        for parameter in model.transition.parameters():
            parameter.mul_(scale)
    return model


def bare(x: dict[str, Any]) -> dict[str, Any]:
    return {name: x[name] for name in ("nodes", "edges")}


@pytest.mark.parametrize("directed", [True, False])
def test_transition_equals_its_formula(directed: bool) -> None:
    """h_v = φ(A x_v + a + mean of u of (B x_u + C e_uv + σ(D e_uv + d) ⊙ W h_u)), node by node."""
    model, x = built(directed=directed), batch(seed=6, sizes=(5,))
    f = model.transition
    nodes, edges, features = (x[name].values for name in ("nodes", "edges", "edge_features"))
    torch.manual_seed(0)
    state = torch.randn(5, 8)
    pairs = [(int(u), int(v), e) for (u, v), e in zip(edges, features, strict=True)]
    backward = [(v, u, e) for u, v, e in pairs]
    directions = [pairs, backward] if directed else [pairs + backward]
    expected = []
    for v in range(5):
        total = f.input(nodes[v])
        for number, ends in enumerate(directions):
            messages = [
                f.neighbor_input[number](nodes[u])
                + f.edge_input[number](e)
                + f.gate[number](e).sigmoid() * (f._bounded_weight(number) @ state[u])
                for u, to, e in ends
                if to == v
            ]
            if messages:
                total = total + torch.stack(messages).mean(0) / len(directions)
        expected.append(total.tanh())
    torch.testing.assert_close(f(Graphs.of(x))(state), torch.stack(expected))


def test_features_of_neighbors_matter_even_without_states() -> None:
    """A pair of nodes: the state of one depends on the features of the other, also where W is 0."""
    model, x = built(BARE), bare(batch(seed=7, sizes=(2,), density=1.0))
    with torch.no_grad():
        for layer in model.transition.influence:
            layer.weight.zero_()
        before = model.transition(Graphs.of(x))(torch.zeros(2, 8))
        x["nodes"].values[1] += 1
        after = model.transition(Graphs.of(x))(torch.zeros(2, 8))
    assert (before[0] - after[0]).abs().max() > 0.01


@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("directed", [True, False])
@pytest.mark.parametrize("phi", ["tanh", "relu", "elu", "leaky_relu", "sigmoid"])
def test_transition_is_a_contraction(phi: str, directed: bool, scale: float) -> None:
    for data in (NODE_CLASSES, BARE):
        model = built(data, scale, state_activation=phi, directed=directed, contraction=0.8)
        for seed in range(4):
            x = batch(seed, density=0.2 * (seed + 1))
            function = model.transition(Graphs.of(x if data is NODE_CLASSES else bare(x)))
            torch.manual_seed(seed)
            first = torch.randn(20, 8)
            second = first + torch.randn(20, 8) * 10.0**-seed
            before = (first - second).norm(dim=1).max()
            after = (function(first) - function(second)).norm(dim=1).max()
            assert after <= 0.8 * before + 1e-5 * scale


def test_contraction_bound_is_tight() -> None:
    """A ring of equal nodes, along the direction that W stretches most, where φ has slope 1."""
    model = built(BARE, 100.0, state_activation="relu", directed=False, contraction=0.7)
    x = batch(0, sizes=(3,), density=1.0)
    _, _, right = torch.linalg.svd(model.transition.influence[0].weight)
    with torch.no_grad():
        model.transition.input.weight.zero_()
        model.transition.input.bias.fill_(1e4)
        function = model.transition(Graphs.of(bare(x)))
        step = right[0].expand(3, 8)
        moved = function(step) - function(torch.zeros(3, 8))
    torch.testing.assert_close(moved.norm(dim=1), torch.full((3,), 0.7), rtol=0.01, atol=0.01)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_fixed_point_does_not_depend_on_the_start(scale: float) -> None:
    model, x = built(scale=scale, contraction=0.95), batch(seed=1)
    outputs = model(x)
    zero = model.solved
    torch.manual_seed(1)
    torch.testing.assert_close(model(x, start=torch.randn(20, 8) * 10), outputs, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.solved.state, zero.state, rtol=1e-4, atol=1e-4)
    for solved in (zero, model.solved):
        assert solved.residual <= 1e-6 and 2 < solved.iterations < 300


def test_information_reaches_distant_nodes() -> None:
    """A path of ten nodes: one iteration reaches the next node, the fixed point all nodes."""
    x = bare(batch(seed=2, sizes=(10,)))
    path = torch.stack([torch.arange(9), torch.arange(1, 10)], 1)
    x["edges"] = x["edges"]._replace(values=path, offsets=torch.tensor([0, 9]))
    x["nodes"].values.requires_grad_()
    built(BARE, contraction=0.99, scale=5.0, state_activation="leaky_relu")(x)[9].sum().backward()
    assert (x["nodes"].values.grad[0] != 0).any()


def gradients(model: FixedPointNetwork, x: dict[str, Any], unrolled: bool) -> dict[str, Tensor]:
    model.zero_grad()
    if unrolled:
        graphs = Graphs.of(x)
        function, state = model.transition(graphs), torch.zeros(20, 8, dtype=torch.float64)
        for _ in range(300):
            state = function(state)
        outputs = model.head(model.hidden(torch.cat([state, graphs.nodes], 1)), graphs)
    else:
        outputs = model(x)
    outputs.square().sum().backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("directed", [True, False])
def test_implicit_gradient_matches_unrolled_iterations(directed: bool) -> None:
    model = built(directed=directed, tolerance=1e-14, max_iterations=1000, scale=2.0).double()
    x = {
        name: value._replace(values=value.values.double()) if name != "edges" else value
        for name, value in batch(seed=3).items()
    }
    implicit, unrolled = (gradients(model, x, way) for way in (False, True))
    assert set(implicit) == {name for name, _ in model.named_parameters()}
    torch.testing.assert_close(implicit, unrolled)


@pytest.mark.parametrize("task", ["classification", "regression", "multilabel"])
def test_order_of_nodes_has_no_effect(task: str) -> None:
    model, x = built(graph_data(task)), batch(seed=4)
    assert model(x).shape == (4, 3)
    torch.testing.assert_close(model(permuted(x)), model(x), rtol=1e-4, atol=1e-5)


def test_converges_in_half_precision() -> None:
    model, x = built(), batch(seed=5)
    with torch.autocast("cpu", torch.bfloat16):
        model(x)
    assert model.solved.residual <= 1e-6
    halves = {name: value._replace(values=value.values.bfloat16()) for name, value in x.items() if name != "edges"}
    model.bfloat16()(x | halves)
    assert model.solved.iterations < 300
