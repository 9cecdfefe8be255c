"""One graph whose nodes are split by masks: stored once, trained and evaluated as a whole."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.data_file import open_data
from hpc_dl.data.open_spec import class_counts
from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import IGNORED
from hpc_dl.errors import DataError

NUM_NODES = 30
TARGETS = np.arange(NUM_NODES) % 3
SPLIT_OF = np.arange(NUM_NODES) // 10


def written(path: Path, **replaced: Any) -> str:
    generator = np.random.default_rng(0)
    content = {
        "nodes": generator.normal(size=(NUM_NODES, 4)).astype("f4"),
        "edges": generator.integers(0, NUM_NODES, (50, 2)),
        "targets": TARGETS,
        **{f"{name}_mask": number == SPLIT_OF for number, name in enumerate(("train", "val", "test"))},
    }
    with h5py.File(path / "g.h5", "w") as file:
        for name, values in (content | replaced).items():
            if values is not None:
                file[name] = values
    return str(path / "g.h5")


def config(file: str, **section: Any) -> DataConfig:
    return DataConfig(file=file, **{"inputs": ["nodes", "edges"], "splits": {"nodes": {}}, "batch_size": 1, **section})


def labels(file: str, split: str, **section: Any) -> tuple[Ragged, np.ndarray]:
    with open_data(file, config(file, **section)).reader(split) as reader:
        nodes, _, targets = reader.read(np.arange(len(reader)))
    assert isinstance(nodes, Ragged) and isinstance(targets, Ragged)
    assert len(nodes.values) == len(targets.values) == NUM_NODES
    return nodes, targets.values


@pytest.mark.parametrize("stored", ["masks", "numbers", "bytes"])
def test_every_split_has_all_nodes_and_its_own_labels(tmp_path: Path, stored: str) -> None:
    masks = {name: number == SPLIT_OF for number, name in enumerate(("train", "val", "test"))}
    as_stored = {"masks": lambda m: m, "numbers": np.flatnonzero, "bytes": lambda m: m.astype("u1")}[stored]
    file = written(tmp_path, **{f"{name}_mask": as_stored(mask) for name, mask in masks.items()})
    spec = open_data(file, config(file)).spec
    assert (spec.task, spec.sizes) == ("node_classification", {"train": 1, "val": 1, "test": 1})
    assert (spec.num_outputs, spec.ignores) == (3, True)
    for name, mask in masks.items():
        np.testing.assert_array_equal(labels(file, name)[1], np.where(mask, TARGETS, IGNORED))
    assert class_counts(config(file)) == (4, 3, 3)


@pytest.mark.parametrize("classes", ["numbered", "remap"])
def test_labels_of_nodes_in_no_split_do_not_matter(tmp_path: Path, classes: str) -> None:
    file = written(tmp_path, targets=np.where(SPLIT_OF == 2, -1, TARGETS), test_mask=None)
    spec = open_data(file, config(file, classes=classes)).spec
    assert spec.class_names == ("0", "1", "2")
    np.testing.assert_array_equal(labels(file, "val", classes=classes)[1][10:20], TARGETS[10:20])


def test_unlabeled_nodes_of_a_split_may_have_a_mark(tmp_path: Path) -> None:
    targets = np.where(np.arange(NUM_NODES) % 10 == 1, -1, TARGETS)
    file = written(tmp_path, targets=targets)
    read = labels(file, "train", ignore_label=-1)[1]
    np.testing.assert_array_equal(read[:10], np.where(targets == -1, IGNORED, TARGETS)[:10])


def test_labels_of_nodes_are_remapped(tmp_path: Path) -> None:
    file = written(tmp_path, targets=np.array([b"x", b"y", b"z"])[TARGETS])
    np.testing.assert_array_equal(labels(file, "val", classes="remap")[1][10:20], TARGETS[10:20])


@pytest.mark.parametrize(
    ("replaced", "section", "fault"),
    [
        ({"train_mask": None}, {}, r"train_mask: does not exist"),
        ({"val_mask": SPLIT_OF == 0}, {}, r"the val split shares 10 rows with train"),
        ({"targets": TARGETS[:20]}, {}, r"is a mask of 30 entries, but there are 20"),
        ({"edges": np.array([[0, NUM_NODES]])}, {}, r"the edge in row 0 ends at a node that its graph does not have"),
        ({"targets": np.where(SPLIT_OF == 2, -1, TARGETS)}, {}, r"label out of range .*`data.ignore_label: -1`"),
        ({}, {"inputs": "nodes"}, r"the inputs are not those of a graph.*data.splits.indices"),
    ],
)
def test_split_that_does_not_fit_is_one_line(
    tmp_path: Path, replaced: dict[str, Any], section: dict[str, Any], fault: str
) -> None:
    file = written(tmp_path, **replaced)
    with pytest.raises(DataError, match=fault) as caught:
        open_data(file, config(file, **section))
    assert len(caught.value.faults) == 1
