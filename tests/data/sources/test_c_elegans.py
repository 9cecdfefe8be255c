"""The brains of eight worms."""

import json
from pathlib import Path

import numpy as np
import pytest

from hpc_dl.data import sources
from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.data_file import open_data
from hpc_dl.data.files.inspection import verify
from hpc_dl.data.open_spec import open_spec
from hpc_dl.data.sources import c_elegans
from hpc_dl.errors import DataError
from tests.data.sources.conftest import ensure_or_skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_or_skip("c_elegans", tmp_path_factory.mktemp("c_elegans"))


def test_shapes_and_classes(made: Path) -> None:
    spec = open_spec(DataConfig(file=str(made)))
    assert (spec.input_kind, spec.task, spec.sizes) == (
        "graph",
        "node_classification",
        {"train": 6, "val": 1, "test": 1},
    )
    assert {field.name: field.shape for field in spec.inputs} == {"nodes": (4,), "edges": (2,), "edge_features": (1,)}
    assert spec.class_names == ("sensory neuron", "interneuron", "motor neuron", "muscle", "other cell")
    assert spec.checksum == "sha256:c0653706a1c8f1fae55d52aa7091c5a0ec216ae7edfcd1ffa6f8d92b88e47eaa"
    verify(made)


def test_the_graphs_are_those_of_the_publication(made: Path) -> None:
    data = open_data(made, DataConfig(file=str(made)))
    for split, counts, num_edges, num_synapses in [
        ("train", [382, 420, 199, 151, 58], 6949, 16_668),
        ("val", [69, 75, 36, 32, 10], 2202, 7467),
        ("test", [69, 75, 36, 32, 7], 2186, 7970),
    ]:
        _, edges, features, targets = data.reader(split).read(np.arange(data.spec.sizes[split]))
        assert np.bincount(targets.values).tolist() == counts
        assert len(edges.values) == num_edges
        assert np.exp(features.values.astype(float)).sum() == pytest.approx(num_synapses, rel=1e-5)


def test_features_count_the_synapses_and_muscles_send_none(made: Path) -> None:
    nodes, edges, features, targets = open_data(made, DataConfig(file=str(made))).reader("test").read(np.arange(1))
    synapses = np.exp(features.values[:, 0].astype(float))
    for column, (way, weights) in enumerate([(1, None), (0, None), (1, synapses), (0, synapses)]):
        counts = np.bincount(edges.values[:, way], weights, len(targets.values))
        np.testing.assert_allclose(nodes.values[:, column], np.log1p(counts), rtol=1e-5)
    assert not np.isin(edges.values[:, 0], np.flatnonzero(targets.values == 3)).any()


def test_a_graph_of_three_cells() -> None:
    stored = {"nodes": ["ASHL", "AVAL", "MDL01"], "connections": {"Generic_CS": [[0, 4.0, 0], [0, 0, 1.0], [0, 0, 0]]}}
    types = {"ASHL": "Amphid, nociceptive", "AVAL": "Layer 1 interneuron", "MDL01": "Head muscle"}
    graph = c_elegans._graph(stored, types)
    assert graph["targets"].tolist() == [0, 1, 3]
    assert graph["edges"].tolist() == [[0, 1], [1, 2]]
    np.testing.assert_allclose(np.expm1(graph["nodes"]), [[0, 1, 0, 4], [1, 1, 4, 1], [1, 0, 1, 0]], rtol=1e-6)
    np.testing.assert_allclose(np.exp(graph["edge_features"]), [[4], [1]], rtol=1e-6)


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "all_cell_info.csv").write_text("Cell name,Type\nASHL,Head muscle\n")
    with pytest.raises(DataError, match=r"all_cell_info.csv: is not the file that was expected"):
        sources.load("c_elegans").make(tmp_path / "worms.h5", tmp_path)
    (tmp_path / "all_cell_info.csv").unlink()
    (tmp_path / "WitvlietDataReader1.json").write_text(json.dumps({"nodes": []}))
    with pytest.raises(DataError, match=r"all_cell_info.csv is not in there"):
        sources.load("c_elegans").make(tmp_path / "worms.h5", tmp_path)
    assert not (tmp_path / "worms.h5").exists()
