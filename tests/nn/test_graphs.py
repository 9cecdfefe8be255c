"""Message passing on batches of graphs."""

import pytest
import torch

from hpc_dl.data.ragged import Ragged
from hpc_dl.errors import ConfigError
from hpc_dl.nn.graphs import (
    EdgeWeights,
    GraphHead,
    Graphs,
    edge_weights,
    feature_counts,
    scatter_max,
    scatter_mean,
    scatter_sum,
)

NODES = Ragged(torch.arange(12.0).reshape(6, 2), torch.tensor([0, 3, 3, 6]))  # the second graph is empty
EDGES = Ragged(torch.tensor([[0, 1], [2, 1], [1, 0], [1, 2]]), torch.tensor([0, 2, 2, 4]))
FEATURES = Ragged(torch.tensor([1.0, 2.0, 3.0, 4.0]), EDGES.offsets)


def test_batch_becomes_one_graph() -> None:
    graphs = Graphs.of({"nodes": NODES, "edges": EDGES, "edge_features": FEATURES})
    assert graphs.source.tolist() == [0, 2, 4, 4]
    assert graphs.target.tolist() == [1, 1, 3, 5]
    assert graphs.graph.tolist() == [0, 0, 0, 2, 2, 2]
    assert (graphs.num_graphs, graphs.num_nodes) == (3, 6)
    assert graphs.edge_features is not None and graphs.edge_features.tolist() == [[1], [2], [3], [4]]
    assert Graphs.of({"nodes": NODES, "edges": EDGES}).edge_features is None


def test_integer_node_values_become_one_feature() -> None:
    graphs = Graphs.of({"nodes": Ragged(torch.tensor([3, 1, 2]), torch.tensor([0, 3])), "edges": EDGES.part(slice(1))})
    assert graphs.nodes.tolist() == [[3.0], [1.0], [2.0]]


def test_scaled_edges_raise() -> None:
    with pytest.raises(ConfigError, match=r"data.scaling: also scales the node indices .*Leave it at `auto`"):
        Graphs.of({"nodes": NODES, "edges": Ragged(EDGES.values / 3, EDGES.offsets)})


def test_scatter_sum_mean_max() -> None:
    messages, index = torch.tensor([[1.0, -5.0], [3.0, -7.0], [10.0, 2.0]]), torch.tensor([2, 2, 0])
    assert scatter_sum(messages, index, 4).tolist() == [[10, 2], [0, 0], [4, -12], [0, 0]]
    assert scatter_mean(messages, index, 4).tolist() == [[10, 2], [0, 0], [2, -6], [0, 0]]
    weights = torch.tensor([3.0, 1.0, 0.5])
    assert scatter_mean(messages, index, 4, weights).tolist() == [[10, 2], [0, 0], [1.5, -5.5], [0, 0]]
    assert scatter_max(messages, index, 4).tolist() == [[10, 2], [0, 0], [3, -5], [0, 0]]


@pytest.mark.parametrize("gather", [scatter_sum, scatter_mean, scatter_max])
def test_scatter_without_edges(gather) -> None:  # type: ignore[no-untyped-def]
    assert gather(torch.empty(0, 2), torch.empty(0, dtype=torch.int64), 3).tolist() == [[0, 0]] * 3


def test_pooling_combines_nodes_of_each_graph() -> None:
    graphs = Graphs.of({"nodes": NODES, "edges": EDGES})
    for pooling, expected in [("mean", [[2.0, 3.0], [0.0, 0.0], [8.0, 9.0]]), ("max", [[4, 5], [0, 0], [10, 11]])]:
        head = GraphHead(2, 2, pooling)  # type: ignore[arg-type]
        with torch.no_grad():
            head.linear.weight.copy_(torch.eye(2))
            head.linear.bias.zero_()
        assert head(graphs.nodes, graphs).tolist() == expected
    assert GraphHead(2, 5, None)(graphs.nodes, graphs).shape == (6, 5)


def test_edge_weights_are_positive() -> None:
    graphs = Graphs.of({"nodes": NODES, "edges": EDGES, "edge_features": FEATURES})
    weigh = EdgeWeights(1)
    with torch.no_grad():
        weigh.linear.weight.fill_(-30)
    assert weigh(graphs).shape == (4,) and (weigh(graphs) >= 0).all()


def test_feature_counts() -> None:
    assert feature_counts({"nodes": (5,), "edges": (2,)}) == (5, 0)
    assert feature_counts({"edges": (2,), "edge_features": (3,), "nodes": ()}) == (1, 3)
    assert feature_counts({"edges": (2,), "edge_features": (), "nodes": (4,)}) == (4, 1)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"nodes": (5,), "edges": (2,), "age": ()}, "a graph has no such input (got 'age'"),
        ({"nodes": (5,), "edges": (3,)}, "`edges` has the wrong shape for a graph (got 'edges (3,) each'"),
        ({"nodes": (5, 2), "edges": (2,)}, "`nodes` has the wrong shape for a graph (got 'nodes (5, 2) each'"),
    ],
)
def test_invalid_graph_inputs_raise(shapes: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        feature_counts(shapes)
    assert f"data.inputs: {message}; allowed: nodes (n, F), edges (e, 2), edge_features (e, F'))" in str(caught.value)


def test_edge_weights_need_features() -> None:
    assert edge_weights(False, 0) is None
    with pytest.raises(ConfigError, match=r"model.edge_weights: needs edge features, and these data have none"):
        edge_weights(True, 0)
