"""What is not packed: other formats, endless folders, and sizes that a file cannot have."""

import gzip
import os
import struct
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest

from hpc_dl.data.packing.formats import formats
from hpc_dl.errors import DataError

from .conftest import images, labels, packed
from .test_kinds import write_images, write_volume


@pytest.mark.parametrize(
    ("name", "tool"),
    [
        ("in.dcm", "dcm2niix"),
        ("in.xlsx", "libreoffice"),
        ("in.xls", "libreoffice"),
        ("in.edf", "mne.io.read_raw"),
        ("in.rds", "readRDS"),
        ("in.pt", "np.savez"),
        ("in.pkl", "would run code"),
        ("in.tar.gz", "tar -xf"),
        ("in.zip", "unzip"),
        ("in.sav", "read_spss"),
        ("in.jsonl", "read_json"),
        ("in.mp3", "ffmpeg"),
        ("in.mgz", "mri_convert"),
        ("in.unknown", "Convert it to a supported format"),
    ],
)
def test_the_tool_that_converts_a_format_is_named(name: str, tool: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=rf"has an unsupported format.*{tool}") as caught:
        packed(tmp_path / name, tmp_path / "out.h5")
    assert len(caught.value.faults) == 1
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / name).write_bytes(b"x")
    with pytest.raises(DataError, match=r"contains no files of a supported format"):
        packed(folder, tmp_path / "out.h5")


def test_dicom_without_suffix(tmp_path: Path) -> None:
    (tmp_path / "IM0001").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(DataError, match="dcm2niix"):
        packed(tmp_path / "IM0001", tmp_path / "out.h5")


def test_a_cycle_of_links_ends(tmp_path: Path) -> None:
    write_images(tmp_path / "in" / "a", images(2))
    (tmp_path / "in" / "a" / "up").symlink_to(tmp_path / "in")
    with pytest.raises(DataError, match=r"a/up: is a link to a folder above it"):
        packed(tmp_path / "in", tmp_path / "out.h5")
    (tmp_path / "in" / "a" / "up").unlink()
    (tmp_path / "in" / "self").symlink_to(tmp_path / "in" / "self")
    assert packed(tmp_path / "in", tmp_path / "out.h5")["sizes"] == {"train": 2}


def test_a_link_to_another_folder_is_followed(tmp_path: Path) -> None:
    write_images(tmp_path / "all", images(2))
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        (tmp_path / "in" / name).symlink_to(tmp_path / "all")
    assert packed(tmp_path / "in", tmp_path / "out.h5")["sizes"] == {"train": 4}


def test_pipes_and_devices_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "in.csv")
    with pytest.raises(DataError, match=r"in\.csv: is neither a file nor a folder"):
        packed(tmp_path / "in.csv", tmp_path / "out.h5")
    write_images(tmp_path / "in" / "a", images(2))
    os.mkfifo(tmp_path / "in" / "a" / "pipe.png")
    assert packed(tmp_path / "in", tmp_path / "out.h5")["sizes"] == {"train": 2}


def test_a_volume_cannot_be_larger_than_its_file(tmp_path: Path) -> None:
    for number in range(2):
        write_volume(tmp_path / "in" / "images" / f"v{number}.nii.gz", np.zeros((3, 4, 5), np.float32))
        write_volume(tmp_path / "in" / "masks" / f"v{number}.nii.gz", np.zeros((3, 4, 5), np.uint8))
    header = nibabel.Nifti1Header()
    header.set_data_shape((30_000, 30_000, 30_000))
    header.set_data_dtype(np.float64)
    (tmp_path / "in" / "images" / "v1.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(400)))
    with pytest.raises(DataError, match=r"v1\.nii\.gz: declares 216,000,000,000,000 bytes of values, but has"):
        packed(tmp_path / "in", tmp_path / "out.h5")


def test_an_array_cannot_be_larger_than_its_archive(tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", x=images(3), y=labels(3))
    with zipfile.ZipFile(tmp_path / "in.npz", "w") as archive:
        for name, shape in (("x", (1 << 40, 5, 6)), ("y", (1 << 40,))):
            text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
            archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode())
    with pytest.raises(DataError, match=r"in\.npz:x: declares 32,985,348,833,280 bytes of values, but has"):
        packed(tmp_path / "in.npz", tmp_path / "out.h5")


def test_each_format_says_what_it_accepts() -> None:
    accepted = [format.accepts for format in formats()]
    assert len(set(accepted)) == len(accepted) and all(accepted)
