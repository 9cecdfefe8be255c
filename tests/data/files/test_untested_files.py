"""Opening a data file that no run has read yet: the HDF5 library may loop forever on it."""

import itertools
import time
from collections import deque
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_dl.data import open_spec as module
from hpc_dl.data.config import DataConfig
from hpc_dl.data.files import child_process
from hpc_dl.errors import DataError


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["inputs"] = np.zeros((30, 3), np.float32)
        file["targets"] = np.arange(30) % 3
    fractions = {"fractions": {"train": 0.6, "val": 0.2, "test": 0.2}}
    return DataConfig.model_validate(
        {"file": str(tmp_path / "x.h5"), "inputs": "inputs", "targets": "targets", "splits": fractions}
    )


def test_untested_file_yields_the_same_spec(config: DataConfig) -> None:
    assert module.open_untested_spec(config) == module.open_spec(config)


def test_call_that_never_returns_is_one_line(config: DataConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SILENCE_S", 0.3)
    monkeypatch.setattr(module, "open_data", lambda *_: deque(itertools.repeat(0), maxlen=0))
    with pytest.raises(DataError, match=r"x\.h5: .*does not survive \(no answer for 0\.3 s\)"):
        module.open_untested_spec(config)


def test_long_work_in_python_may_go_on(config: DataConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = module.open_spec(config)

    def slow(*_: object) -> object:
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            pass
        return type("Data", (), {"spec": spec})

    monkeypatch.setattr(child_process, "_BEAT_EVERY_S", 0.02)
    monkeypatch.setattr(module, "_SILENCE_S", 0.6)
    monkeypatch.setattr(module, "open_data", slow)
    assert module.open_untested_spec(config) == spec


def test_faults_read_the_same_from_a_child(config: DataConfig) -> None:
    absent = config.model_copy(update={"inputs": "absent"})
    with pytest.raises(DataError) as directly:
        module.open_spec(absent)
    with pytest.raises(DataError) as from_child:
        module.open_untested_spec(absent)
    assert str(from_child.value) == str(directly.value)
