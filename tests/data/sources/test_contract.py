"""The contract of all data sources: each matches facts.yaml, and is the same when made again."""

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hpc_dl.data import sources
from hpc_dl.data.config import DataConfig, Windows
from hpc_dl.data.files.data_file import open_data
from hpc_dl.data.files.inspection import verify
from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import TASKS

from .conftest import FACTS, SOURCES, Made

pytestmark = pytest.mark.slow


def config_of(name: str, file: Path) -> DataConfig:
    window = FACTS[name].get("window")
    return DataConfig(file=str(file), windows=Windows(length=window) if window else None)


def test_facts_cover_all_sources() -> None:
    assert sorted(FACTS) == sources.names()


@pytest.mark.parametrize("name", sources.names())
def test_source_describes_itself(name: str) -> None:
    source = sources.load(name)
    assert source.name == name
    assert source.task in TASKS
    assert source.title and source.size and source.license and source.fetched
    assert source.shared in ("none", "subject", "image", "writer", "atlas", "unknown")
    # An SPDX expression of AND-ed licenses: readable in a table, and by a machine.
    assert re.fullmatch(r"[A-Za-z0-9.-]+( AND [A-Za-z0-9.-]+)*", source.license)
    facts = FACTS[name]
    assert (source.task, source.license, source.shared) == (facts["task"], facts["license"], facts["shared"])


@pytest.mark.parametrize("name", SOURCES)
def test_made_file_matches_facts(name: str, made: Made) -> None:
    facts = FACTS[name]
    file = made(name)
    spec = open_data(file, config_of(name, file)).spec
    assert (spec.name, spec.task, spec.input_kind) == (name, facts["task"], facts["kind"])
    assert {field.name: list(field.shape) for field in spec.inputs} == facts["inputs"]
    assert {field.name: list(field.shape) for field in spec.targets} == facts["targets"]
    assert spec.inputs[0].dtype == facts["dtype"]
    assert spec.sizes == facts["sizes"]
    assert spec.num_outputs == facts["num_outputs"]
    classes = facts.get("classes", [])
    assert list(spec.class_names[: len(classes)]) == classes
    if "sha256" in facts:
        assert spec.checksum == f"sha256:{facts['sha256']}"
    assert verify(file)["checksum"] == spec.checksum


@pytest.mark.parametrize("name", SOURCES)
def test_made_file_names_its_origin(name: str, made: Made) -> None:
    source = sources.load(name)
    with h5py.File(made(name)) as file:
        assert file.attrs["license"] == source.license
        assert file.attrs["shared"] == source.shared
        assert file.attrs["description"] == source.title
        assert file.attrs["provenance"]


@pytest.mark.parametrize("name", [name for name in FACTS if "counts" in FACTS[name]])
def test_classes_have_the_known_counts(name: str, made: Made) -> None:
    with h5py.File(made(name)) as file:
        counts = {split: np.bincount(group["targets"][()]).tolist() for split, group in file.items()}
    assert counts == FACTS[name]["counts"]


@pytest.mark.parametrize("name", [name for name in FACTS if "window" not in FACTS[name]])  # streams have no samples
def test_splits_share_no_inputs(name: str, made: Made) -> None:
    file = made(name)
    data = open_data(file, config_of(name, file))
    seen: set[bytes] = set()
    num_shared = 0
    for split, size in data.spec.sizes.items():
        with data.reader(split) as reader:
            inputs = {sample.tobytes() for sample in samples_of(reader.read(np.arange(size))[0])}
        num_shared += len(inputs & seen)
        seen |= inputs
    assert num_shared == FACTS[name].get("shared_inputs", 0)


def samples_of(values: Any) -> Any:
    if not isinstance(values, Ragged):
        return values
    return [values.values[start:stop] for start, stop in zip(values.offsets, values.offsets[1:], strict=False)]


@pytest.mark.parametrize("name", SOURCES)
def test_making_twice_gives_the_same_file(name: str, made: Made, tmp_path: Path) -> None:
    first = made(name)
    sources.load(name).make(tmp_path / first.name, None)
    assert (tmp_path / first.name).read_bytes() == first.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == [first.name]
