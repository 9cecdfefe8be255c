"""Messages about invalid sources: each names the place, the problem and the remedy.

No files are left behind.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from hpc_dl.data.packing.layout import choose_layout
from hpc_dl.data.packing.split_assignment import parse_fractions
from hpc_dl.errors import DataError

from .conftest import images, labels, packed
from .test_kinds import write_images, write_volume

Build = Callable[[Path], Any]


def hdf5(**datasets: Any) -> Build:
    def build(path: Path) -> None:
        with h5py.File(path, "w") as file:
            for name, values in datasets.items():
                file[name] = values

    return build


def text(content: str) -> Build:
    return lambda path: path.write_text(content)


def npz(**arrays: Any) -> Build:
    return lambda path: np.savez(path, **arrays)


def truncated(build: Build, num_bytes: int) -> Build:
    """The same file, truncated."""

    def build_and_truncate(path: Path) -> None:
        build(path)
        path.write_bytes(path.read_bytes()[:num_bytes])

    return build_and_truncate


def image_folder(path: Path) -> None:
    write_images(path / "a", images(2, shape=(8, 7, 3)))


def with_file(build: Build, name: str, content: bytes) -> Build:
    def add(path: Path) -> None:
        build(path)
        (path / name).write_bytes(content)

    return add


def image_folder_of_two_sizes(path: Path) -> None:
    image_folder(path)
    write_images(path / "b", images(30, shape=(8, 9, 3)))


def image_folder_with_animation(path: Path) -> None:
    image_folder(path)
    frames = [Image.fromarray(frame) for frame in images(3, shape=(8, 7))]
    frames[0].save(path / "a" / "animation.tif", save_all=True, append_images=frames[1:])


def volumes(shape: tuple[int, ...] = (3, 4, 5), mask: float = 1, num_masks: int = 2) -> Build:
    def build(path: Path) -> None:
        for number in range(2):
            write_volume(path / "images" / f"v{number}.nii", np.zeros((3, 4, 5) if number else shape, np.float32))
            if number < num_masks:
                write_volume(path / "masks" / f"v{number}.nii", np.full((3, 4, 5), mask, np.float32))

    return build


def parquet(**columns: Any) -> Build:
    return lambda path: pyarrow.parquet.write_table(pyarrow.table(columns), path)


# File name in the test's folder, how to build it, options, expected message.
FAULTS: list[tuple[str, Build | None, dict[str, Any], str]] = [
    ("no.h5", None, {}, r"no\.h5: does not exist"),
    ("in.xls", text("x"), {}, r"in\.xls: has an unsupported format \(got '\.xls'; allowed: \.h5 .*\.parquet"),
    ("in.nii", text("x"), {}, r"Specify the folder with the volumes"),
    ("empty", Path.mkdir, {}, r"empty: contains no files of a supported format \(allowed: .*images"),
    # HDF5
    ("in.h5", text("not HDF5"), {}, r"in\.h5: is not an HDF5 file"),
    ("in.h5", hdf5(a=images(3), b=labels(3)), {}, r"has no array with a usual name for inputs \(allowed: /a, /b\)"),
    ("in.h5", hdf5(x=images(3), y=labels(3)), {"targets": "yy"}, r"in\.h5:yy: does not exist"),
    ("in.h5", hdf5(x=images(3), y=labels(4)), {}, r":/y: has targets of shape \(4,\) for 3 inputs"),
    ("in.h5", hdf5(x=images(0), y=labels(0)), {}, r":/x: contains no samples"),
    ("in.h5", hdf5(x=["a", "b"], y=labels(2)), {}, r":/x: must contain numbers"),
    ("in.h5", hdf5(x=images(3, shape=(9, 9, 3)), y=labels(3)), {}, r":/x: looks like images with the channels last"),
    (
        "in.h5",
        hdf5(x=images(3), y=labels(3) - 1),
        {},
        r":/y: has a label out of range in sample 0 \(got -1; allowed: 0 to 2147483647",
    ),
    ("in.h5", hdf5(x=images(3), y=labels(3)), {"class_names": ("a", "b")}, r"in sample 2 \(got 2; allowed: 0 to 1"),
    ("in.h5", hdf5(x=images(3), y=np.eye(3)), {"task": "classification"}, r":/y: must contain one class number per"),
    (
        "in.h5",
        hdf5(x=images(3), y=labels(3)),
        {"splits": "train=.9,test=.1"},
        r"the test split of 3 samples would be em",
    ),
    (
        "in.h5",
        hdf5(x_train=images(3), y_train=labels(3), x_test=images(3), y_test=labels(3)),
        {"splits": "train=.5,test=.5"},
        r"--splits: .*in\.h5 already has splits \(train 3, test 3\)",
    ),
    (
        "in.h5",
        hdf5(x_train=images(3), y_train=labels(3), x_test=images(3, shape=(2, 2)), y_test=labels(3)),
        {},
        r":/x_test: differs in shape or type from the training split",
    ),
    # NumPy
    ("in.npz", text("PK"), {}, r"in\.npz: cannot be read: File is not a zip file"),
    ("in.npz", npz(a=images(3)), {}, r"in\.npz: has no array with a usual name for inputs \(allowed: a\)"),
    ("in.npz", npz(x=np.asfortranarray(images(3)), y=labels(3)), {}, r"in\.npz:x: is stored in Fortran order"),
    ("in.npz", npz(x=images(3), y=np.array([{}] * 3)), {}, r"in\.npz:y: cannot be read: it contains Python objects"),
    ("x.npy", lambda path: np.save(path, images(3)), {}, r"has no array with a usual name for targets"),
    ("x.npy", truncated(lambda path: np.save(path, images(30)), 200), {"targets": "x.npy"}, r"x\.npy: cannot be read:"),
    # images
    (
        "in",
        image_folder_of_two_sizes,
        {},
        r"a/000\.png: differs in size from the other images \(got '8x7'; allowed: 8x9 \(height",
    ),
    (
        "in",
        with_file(image_folder, "a/bad.png", b"no"),
        {},
        r"a/bad\.png: is an image that cannot be read: cannot id",
    ),
    ("in", with_file(image_folder, "stray.png", b"no"), {}, r"stray\.png: is not in a class folder"),
    ("in", image_folder_with_animation, {}, r"animation\.tif: contains 3 images\. Save each"),
    ("in", image_folder, {"class_names": ("b",)}, r"in/a: is not among the class names \(got 'a'; allowed: b\)"),
    # volumes
    ("in", volumes(shape=(3, 4, 6)), {}, r"v1\.nii: differs in shape|v0\.nii: differs in shape from the other volumes"),
    ("in", volumes(mask=0.5), {}, r"masks/v0\.nii: has a value that is not a class at voxel \(0, 0, 0\)"),
    ("in", volumes(mask=3), {"class_names": ("a", "b")}, r"\(got 3; allowed: 0 to 1 \(the class names\)\)"),
    ("in", volumes(num_masks=1), {}, r"images/v1\.nii: has no mask with this name in .*masks"),
    ("in", with_file(volumes(), "images/v2.nii", b"no"), {}, r"images/v2\.nii: has no mask"),
    ("in", with_file(volumes(), "images/v1.nii", b"no"), {}, r"images/v1\.nii: is a volume that cannot be read"),
    ("in", volumes(), {"targets": "segs"}, r"in: has no such subfolder \(got 'segs'; allowed: images, masks\)"),
    # tables
    ("in.csv", text(""), {}, r"in\.csv: is empty"),
    ("in.csv", text("a,b\n1,2\n"), {}, r"in\.csv: has no column with a usual name for targets \(allowed: a, b\)"),
    ("in.csv", text("a,b\n1,2\n"), {"targets": "c"}, r"in\.csv: has no such column \(got 'c'; allowed: a, b\)"),
    (
        "in.csv",
        text("a,y\n1,2\nred,3\n"),
        {},
        r"in\.csv: line 3, column 'a': is not a number \(got 'red'",
    ),
    ("in.csv", text("a,y\n1,2\n1,2,3\n"), {}, r"in\.csv: line 3: has 3 cells for 2 columns"),
    ("in.csv", text("a,y\n1,2\n1,\n"), {}, r"in\.csv: line 3, column 'y': is a missing target \(got ''\)"),
    ("in.csv", text("a,y\n1,2\n"), {"inputs": "y"}, r"in\.csv: has a column that is both input and target \(got 'y'\)"),
    ("in.csv", text("a,a,y\n1,2,3\n"), {}, r"in\.csv: has two columns with the same name \(got 'a'\)"),
    ("in.csv", text("a,y\n"), {}, r"in\.csv: has no rows"),
    ("in.csv", text("a,y\n1,inf\n"), {"task": "regression"}, r"has an infinite or missing target in row 0"),
    ("in.csv", text("a,y\n" + "".join(f"1,n{n}\n" for n in range(50))), {}, r"has 50 different labels for 50 samples"),
    (
        "in.csv",
        text("a,y\n1,x\n1,z\n"),
        {"class_names": ("x",)},
        r"has a label that is not a class name \(got 'z'; allo",
    ),
    ("in.csv.gz", text("no gzip"), {}, r"in\.csv\.gz: cannot be read: Not a gzipped file"),
    ("in.parquet", text("no"), {}, r"in\.parquet: cannot be read as a Parquet file"),
    ("in.parquet", parquet(a=[[1]], y=[1]), {}, r"in\.parquet: column 'a': does not contain numbers \(got 'list"),
    ("in.parquet", parquet(a=[1, 2], y=[1, None]), {}, r"in\.parquet: column 'y': has 1 missing targets"),
]


@pytest.mark.parametrize(("name", "build", "options", "message"), FAULTS, ids=[fault[3][:60] for fault in FAULTS])
def test_invalid_source(name: str, build: Build | None, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    if build is not None:
        build(tmp_path / name)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match=message):
        packed(tmp_path / name, tmp_path / "out.h5", **options)
    assert sorted(tmp_path.rglob("*")) == before


def test_many_unreadable_files_are_summarized(tmp_path: Path) -> None:
    image_folder(tmp_path / "in")
    for number in range(30):
        (tmp_path / "in" / "a" / f"bad{number:02d}.png").write_bytes(b"no")
    with pytest.raises(DataError) as caught:
        packed(tmp_path / "in", tmp_path / "out.h5")
    assert len(caught.value.faults) == 11 and "20 more files with such problems" in str(caught.value)


def test_truncated_image_is_named(tmp_path: Path) -> None:
    image_folder(tmp_path / "in")
    image = tmp_path / "in" / "a" / "000.png"
    image.write_bytes(image.read_bytes()[:150])  # the header is still complete
    with pytest.raises(DataError, match=r"a/000\.png: is an image that cannot be read"):
        packed(tmp_path / "in", tmp_path / "out.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_damaged_archive_is_named(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "in.npz", x=images(500), y=labels(500))
    content = bytearray((tmp_path / "in.npz").read_bytes())
    content[9000] ^= 255
    (tmp_path / "in.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"in\.npz:x: cannot be read"):
        packed(tmp_path / "in.npz", tmp_path / "out.h5")


def test_masks_differ_in_shape_from_volumes(tmp_path: Path) -> None:
    volumes()(tmp_path / "in")
    for number in range(2):
        nibabel.save(nibabel.Nifti1Image(np.zeros((3, 4, 4)), np.eye(4)), tmp_path / "in" / "masks" / f"v{number}.nii")
    with pytest.raises(DataError, match=r"masks/v0\.nii: differs in shape from its volume \(got \(3, 4, 4\)"):
        packed(tmp_path / "in", tmp_path / "out.h5")


def test_invalid_output_path(own_file: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"own\.h5: is the source itself"):
        packed(own_file, own_file, force=True)
    (tmp_path / "existing.h5").touch()
    with pytest.raises(DataError, match=r"existing\.h5: already exists\. .*`--force`"):
        packed(own_file, tmp_path / "existing.h5")
    packed(own_file, tmp_path / "existing.h5", force=True)
    with pytest.raises(DataError, match=r"out\.csv: is not the name of an HDF5 file"):
        packed(own_file, tmp_path / "out.csv")
    with pytest.raises(DataError, match=r"folder\.h5: is a folder"):
        (tmp_path / "folder.h5").mkdir()
        packed(own_file, tmp_path / "folder.h5")


def test_disk_without_space(own_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1}))
    with pytest.raises(DataError, match=r"out\.h5: cannot be written: .* GB are needed and .* GB are free.*to resume"):
        packed(own_file, tmp_path / "out.h5")


@pytest.mark.parametrize("text", ["train", "train=x", "train=.5,foo=.5", "train=.5", "val=1", "train=0,val=1"])
def test_invalid_shares(text: str) -> None:
    with pytest.raises(DataError, match=r"--splits: .*for example train=\.8"):
        parse_fractions(text)


def test_codec_needs_chunks() -> None:
    with pytest.raises(DataError, match=r"--codec: needs chunks \(got 'gzip'\)"):
        choose_layout("contiguous", "gzip")


def test_missing_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    parquet(a=[1], y=[1])(tmp_path / "in.parquet")
    with pytest.raises(
        DataError,
        match=r"needs the Python package pyarrow, which is not installed\. Run `pip install 'hpc_dl\[pack\]'`",
    ):
        packed(tmp_path / "in.parquet", tmp_path / "out.h5")
