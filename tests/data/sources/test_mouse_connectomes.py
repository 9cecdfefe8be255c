"""The connectomes of 32 mice."""

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

SIZES = {"train": 20, "val": 4, "test": 8}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_or_skip("mouse_connectomes", tmp_path_factory.mktemp("data"))


def test_shapes_and_classes(made: Path) -> None:
    spec = open_spec(DataConfig(file=str(made)))
    assert (spec.input_kind, spec.task, spec.sizes) == ("graph", "node_classification", SIZES)
    assert {field.name: field.shape for field in spec.inputs} == {"nodes": (10,), "edges": (2,), "edge_features": (1,)}
    assert spec.class_names[0] == "isocortex" and spec.num_outputs == 7
    assert spec.checksum == "sha256:d6749f5152fa72a91aa61a52b2b96751f29b74f9b4f667a74e3b937d3e160bb1"
    verify(made)


def test_every_animal_has_the_regions_of_the_atlas(made: Path) -> None:
    data = open_data(made, DataConfig(file=str(made)))
    for split, size in SIZES.items():
        nodes, _, _, targets = data.reader(split).read(np.arange(size))
        assert nodes.lengths.tolist() == [332] * size
        labels = targets.values.reshape(size, 2, 166)
        assert (labels == labels[0, 0]).all()  # both hemispheres of all animals
        assert np.bincount(labels[0, 0]).tolist() == [41, 20, 7, 11, 9, 28, 50]


def test_edges_go_both_ways_to_the_strongest_neighbors(made: Path) -> None:
    data = open_data(made, DataConfig(file=str(made)))
    nodes, edges, features, _ = data.reader("test").read(np.arange(SIZES["test"]))
    connected = np.expm1(nodes.values[:, 0]).round().reshape(-1, 332)
    for begin, end, degree in zip(edges.offsets[:-1], edges.offsets[1:], connected, strict=True):
        fibres = np.zeros((332, 332))
        fibres[tuple(edges.values[begin:end].T)] = np.exp(features.values[begin:end, 0].astype(float)).round()
        np.testing.assert_array_equal(fibres, fibres.T)
        assert ((fibres > 0).sum(1) >= np.minimum(degree, 16)).all() and not fibres.diagonal().any()


def test_the_splits_have_different_animals(made: Path) -> None:
    data = open_data(made, DataConfig(file=str(made)))
    animals = [
        nodes.tobytes()
        for split, size in SIZES.items()
        for nodes in data.reader(split).read(np.arange(size))[0].values.reshape(size, -1)
    ]
    assert len(set(animals)) == 32


def test_the_connections_of_a_known_animal(made: Path) -> None:
    """Of sub-54776: regions 0 and 1 are joined by 3735 fibres, region 0 has 0.794 mm³ and an adc of
    0.00032861."""
    data = open_data(made, DataConfig(file=str(made)))
    for split, size in SIZES.items():
        nodes, edges, features, _ = data.reader(split).read(np.arange(size))
        for row in np.flatnonzero(np.isclose(nodes.values[::332, 2], np.log(0.79442784))):
            if np.isclose(nodes.values[332 * row, 3], 0.00032861):
                begin = edges.offsets[row]
                assert edges.values[begin].tolist() == [0, 1]
                np.testing.assert_allclose(np.exp(features.values[begin, 0]), 3735, rtol=1e-5)
                return
    pytest.fail("the animal is in no split")


def test_another_file_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "graspologic/datasets/mice"
    folder.mkdir(parents=True)
    (folder / "atlas.csv").write_text("ROI,Macrostructure\n1,isocortex\n")
    with pytest.raises(DataError, match=r"atlas.csv: is not the file that was expected"):
        sources.load("mouse_connectomes").make(tmp_path / "mice.h5", tmp_path)
