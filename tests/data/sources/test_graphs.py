"""Data sets of graphs: the published numbers of nodes and edges, and the direction of the edges."""

import numpy as np
import pytest

from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.data_file import DataFile, open_data
from hpc_dl.data.sources import c_elegans

from .conftest import Made

pytestmark = pytest.mark.slow


def opened(made: Made, name: str) -> DataFile:
    file = made(name)
    return open_data(file, DataConfig(file=str(file)))


def test_fly_graphs_have_the_published_cells_and_synapses(made: Made) -> None:
    data = opened(made, "fly_mushroom_body")
    for split, counts, num_edges in [("train", [101, 21, 29, 58], 7425), ("test", [100, 21, 29, 63], 7536)]:
        nodes, edges, features, targets = data.reader(split).read(np.arange(1))
        assert np.bincount(targets.values).tolist() == counts
        assert len(edges.values) == num_edges and len(np.unique(edges.values, axis=0)) == num_edges
        degrees = [np.bincount(edges.values[:, end], minlength=sum(counts)) for end in (1, 0)]
        np.testing.assert_allclose(nodes.values[:, :2], np.log1p(np.stack(degrees, 1)), rtol=1e-6)
        synapses = np.exp(features.values[:, 0].astype(float))
        weighted = [np.bincount(edges.values[:, end], synapses, sum(counts)) for end in (1, 0)]
        np.testing.assert_allclose(nodes.values[:, 2:], np.log1p(np.stack(weighted, 1)), rtol=1e-5)


def test_fly_left_hemisphere_starts_with_the_known_synapses(made: Made) -> None:
    _, edges, features, _ = opened(made, "fly_mushroom_body").reader("train").read(np.arange(1))
    assert edges.values[:3].tolist() == [[0, 1], [0, 2], [0, 3]]
    np.testing.assert_allclose(np.exp(features.values[:4, 0]), [4, 16, 1, 15], rtol=1e-6)


def test_worm_graphs_have_the_published_cells_and_synapses(made: Made) -> None:
    data = opened(made, "c_elegans")
    for split, counts, num_edges, num_synapses in [
        ("train", [382, 420, 199, 151, 58], 6949, 16_668),
        ("val", [69, 75, 36, 32, 10], 2202, 7467),
        ("test", [69, 75, 36, 32, 7], 2186, 7970),
    ]:
        _, edges, features, targets = data.reader(split).read(np.arange(data.spec.sizes[split]))
        assert np.bincount(targets.values).tolist() == counts
        assert len(edges.values) == num_edges
        assert np.exp(features.values.astype(float)).sum() == pytest.approx(num_synapses, rel=1e-5)


def test_worm_node_features_count_synapses_and_muscles_send_none(made: Made) -> None:
    nodes, edges, features, targets = opened(made, "c_elegans").reader("test").read(np.arange(1))
    synapses = np.exp(features.values[:, 0].astype(float))
    for column, (end, weights) in enumerate([(1, None), (0, None), (1, synapses), (0, synapses)]):
        counts = np.bincount(edges.values[:, end], weights, len(targets.values))
        np.testing.assert_allclose(nodes.values[:, column], np.log1p(counts), rtol=1e-5)
    assert not np.isin(edges.values[:, 0], np.flatnonzero(targets.values == 3)).any()


def test_worm_graph_of_three_cells() -> None:
    stored = {"nodes": ["ASHL", "AVAL", "MDL01"], "connections": {"Generic_CS": [[0, 4.0, 0], [0, 0, 1.0], [0, 0, 0]]}}
    types = {"ASHL": "Amphid, nociceptive", "AVAL": "Layer 1 interneuron", "MDL01": "Head muscle"}
    graph = c_elegans._graph(stored, types)
    assert graph["targets"].tolist() == [0, 1, 3]
    assert graph["edges"].tolist() == [[0, 1], [1, 2]]
    np.testing.assert_allclose(np.expm1(graph["nodes"]), [[0, 1, 0, 4], [1, 1, 4, 1], [1, 0, 1, 0]], rtol=1e-6)
    np.testing.assert_allclose(np.exp(graph["edge_features"]), [[4], [1]], rtol=1e-6)


def test_every_mouse_has_the_regions_of_the_atlas(made: Made) -> None:
    data = opened(made, "mouse_connectomes")
    for split, size in data.spec.sizes.items():
        nodes, _, _, targets = data.reader(split).read(np.arange(size))
        assert nodes.lengths.tolist() == [332] * size
        labels = targets.values.reshape(size, 2, 166)
        assert (labels == labels[0, 0]).all(), "all animals and both hemispheres have the same regions"
        assert np.bincount(labels[0, 0]).tolist() == [41, 20, 7, 11, 9, 28, 50]


def test_mouse_edges_go_both_ways_to_the_strongest_neighbors(made: Made) -> None:
    data = opened(made, "mouse_connectomes")
    nodes, edges, features, _ = data.reader("test").read(np.arange(data.spec.sizes["test"]))
    degrees = np.expm1(nodes.values[:, 0]).round().reshape(-1, 332)
    for start, stop, degree in zip(edges.offsets[:-1], edges.offsets[1:], degrees, strict=True):
        fibers = np.zeros((332, 332))
        fibers[tuple(edges.values[start:stop].T)] = np.exp(features.values[start:stop, 0].astype(float)).round()
        np.testing.assert_array_equal(fibers, fibers.T)
        assert ((fibers > 0).sum(1) >= np.minimum(degree, 16)).all() and not fibers.diagonal().any()


def test_mouse_splits_have_32_different_animals(made: Made) -> None:
    data = opened(made, "mouse_connectomes")
    animals = [
        nodes.tobytes()
        for split, size in data.spec.sizes.items()
        for nodes in data.reader(split).read(np.arange(size))[0].values.reshape(size, -1)
    ]
    assert len(set(animals)) == 32


def test_mouse_54776_has_its_known_connections(made: Made) -> None:
    """Its regions 0 and 1 share 3735 fibers; region 0 has 0.794 mm³ and an adc of 0.00032861."""
    data = opened(made, "mouse_connectomes")
    for split, size in data.spec.sizes.items():
        nodes, edges, features, _ = data.reader(split).read(np.arange(size))
        for row in np.flatnonzero(np.isclose(nodes.values[::332, 2], np.log(0.79442784))):
            if np.isclose(nodes.values[332 * row, 3], 0.00032861):
                start = edges.offsets[row]
                assert edges.values[start].tolist() == [0, 1]
                np.testing.assert_allclose(np.exp(features.values[start, 0]), 3735, rtol=1e-5)
                return
    pytest.fail("the animal is in no split")
