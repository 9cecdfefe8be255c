"""The two hemispheres of a fly larva's mushroom body."""

from pathlib import Path

import numpy as np
import pytest

from hpc_dl.data import sources
from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.data_file import open_data
from hpc_dl.data.files.inspection import verify
from hpc_dl.data.open_spec import open_spec
from hpc_dl.errors import DataError
from tests.data.sources.conftest import ensure_or_skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_or_skip("fly_mushroom_body", tmp_path_factory.mktemp("data"))


def test_shapes_and_classes(made: Path) -> None:
    spec = open_spec(DataConfig(file=str(made)))
    assert (spec.input_kind, spec.task, spec.sizes) == ("graph", "node_classification", {"train": 1, "test": 1})
    assert {field.name: field.shape for field in spec.inputs} == {"nodes": (4,), "edges": (2,), "edge_features": (1,)}
    assert spec.class_names == ("Kenyon cell", "input neuron", "output neuron", "projection neuron")
    assert spec.checksum == "sha256:8b968317ec07fac68b9c55b3af2e854d3cafb3c039c816ed45e57d703f71675c"
    verify(made)


def test_the_graphs_are_those_of_the_publication(made: Path) -> None:
    data = open_data(made, DataConfig(file=str(made)))
    for split, counts, num_edges in [("train", [101, 21, 29, 58], 7425), ("test", [100, 21, 29, 63], 7536)]:
        nodes, edges, features, targets = data.reader(split).read(np.arange(1))
        assert np.bincount(targets.values).tolist() == counts
        assert len(edges.values) == num_edges and len(np.unique(edges.values, axis=0)) == num_edges
        degrees = [np.bincount(edges.values[:, way], minlength=sum(counts)) for way in (1, 0)]
        np.testing.assert_allclose(nodes.values[:, :2], np.log1p(np.stack(degrees, 1)), rtol=1e-6)
        synapses = np.exp(features.values[:, 0].astype(float))
        weighted = [np.bincount(edges.values[:, way], synapses, sum(counts)) for way in (1, 0)]
        np.testing.assert_allclose(nodes.values[:, 2:], np.log1p(np.stack(weighted, 1)), rtol=1e-5)


def test_the_first_synapses_of_the_left_hemisphere(made: Path) -> None:
    _, edges, features, _ = open_data(made, DataConfig(file=str(made))).reader("train").read(np.arange(1))
    assert edges.values[:3].tolist() == [[0, 1], [0, 2], [0, 3]]
    np.testing.assert_allclose(np.exp(features.values[:4, 0]), [4, 16, 1, 15], rtol=1e-6)


def test_another_file_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "graspologic/datasets/drosophila"
    folder.mkdir(parents=True)
    (folder / "left_adjacency.csv").write_text("0 1\n1 0\n")
    with pytest.raises(DataError, match=r"left_adjacency.csv: is not the file that was expected"):
        sources.load("fly_mushroom_body").make(tmp_path / "fly.h5", tmp_path)
