"""The dataset that an error suggests exists, and can be used for the field."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpc_dl.data.config import DataConfig
from hpc_dl.data.open_spec import open_spec
from hpc_dl.errors import DataError
from tests.data.files.test_bad_files import FRACTIONS, X, Y, datasets, own


@pytest.mark.parametrize(
    ("make", "section", "suggestion"),
    [
        (own(lambda f: None), {"inputs": "image"}, "did you mean 'inputs'?"),
        (own(lambda f: None), {"targets": "inptus"}, "did you mean 'targets'?"),
        (datasets(scans=X, labels=Y), FRACTIONS | {"inputs": "label", "targets": "labels"}, "did you mean 'scans'?"),
        (datasets(a=X, b=X, labels=Y), FRACTIONS | {"inputs": "label", "targets": "labels"}, ""),
        (datasets(a__scan=X, labels=Y), FRACTIONS | {"inputs": "a/scn", "targets": "labels"}, "did you mean 'a/scan'?"),
    ],
    ids=["wrong name in groups", "name like the other field's", "the only one left", "none is plausible", "nested"],
)
def test_suggested_dataset_can_be_used_for_the_field(
    tmp_path: Path, make: Callable[[Path], None], section: dict[str, Any], suggestion: str
) -> None:
    make(tmp_path / "x.h5")
    with pytest.raises(DataError) as caught:
        open_spec(DataConfig.model_validate({"file": str(tmp_path / "x.h5")} | section))
    for fault in caught.value.faults:
        assert fault.remedy.partition("; ")[2] == suggestion
