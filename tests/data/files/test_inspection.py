"""What ``hpc-dl data inspect`` shows of files that other programs wrote."""

import json
from pathlib import Path

import h5py
import numpy as np

from hpc_dl.data.files.child_process import in_child_process
from hpc_dl.data.files.inspection import inspect


def test_attributes_that_are_references(tmp_path: Path) -> None:
    """Dimension scales, as netCDF writes them, are attributes with references to datasets."""
    path = tmp_path / "in.h5"
    with h5py.File(path, "w") as file:
        file["inputs"], file["frequency"] = np.zeros((4, 3)), np.arange(3)
        file["frequency"].make_scale("frequency")
        file["inputs"].dims[1].attach_scale(file["frequency"])
        file.attrs["first"], file.attrs["none"] = file["inputs"].ref, h5py.Empty("f4")
        file.attrs["part"] = file["inputs"].regionref[:2]
    facts = in_child_process(lambda path, beat: inspect(path), path)
    assert "reference" in json.dumps(facts["attributes"]["first"])
    assert [dataset["path"] for dataset in facts["datasets"]] == ["/frequency", "/inputs"]
