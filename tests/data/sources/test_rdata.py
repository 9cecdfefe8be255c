"""Reading data frames from R's ``.rda`` files and lazy-load databases."""

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hpc_dl.data.sources._rdata import read_lazy_frame, read_rdata
from hpc_dl.errors import DataError

from .r_data import data_frame_file, integers, lazy_database

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_data_frame_is_read(compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    (tmp_path / "f.rda").write_bytes(compress(data_frame_file()))
    columns = read_rdata(tmp_path / "f.rda")["f"]
    assert columns["level"].tolist() == ["high", "low", ""]
    np.testing.assert_array_equal(columns["size"], [1.5, np.nan, -2])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"RDX2\nA\n", "it does not start with", id="header"),
        pytest.param(data_frame_file()[:-20], "it ends too early", id="truncated"),
        pytest.param(
            data_frame_file().replace(integers(14, 3), integers(3, 3)),
            "it contains an item of type 3, which is not part of a data frame",
            id="code",
        ),
        pytest.param(lzma.compress(data_frame_file())[:-10], "cannot be read", id="truncated-xz"),
    ],
)
def test_other_content_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "f.rda").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_rdata(tmp_path / "f.rda")


def test_data_frame_in_a_lazy_database_is_read(tmp_path: Path) -> None:
    (tmp_path / "Rdata.rdb").write_bytes(lazy_database())
    columns = read_lazy_frame(tmp_path / "Rdata.rdb", "size")
    assert columns["level"].tolist() == ["high", "low", ""]
    np.testing.assert_array_equal(columns["size"], [1.5, np.nan, -2])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lazy_database()[:-9], "it ends too early"),
        (b"1234" + b"no zlib stream", "cannot be read: Error -3"),
        (b"", "has no data frame with the column size"),
    ],
)
def test_damaged_lazy_database_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "Rdata.rdb").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_lazy_frame(tmp_path / "Rdata.rdb", "size")
