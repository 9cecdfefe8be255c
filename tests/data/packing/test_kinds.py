"""Each format, written by its usual library, is packed without a change of the samples."""

from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.data_file import open_data
from hpc_dl.data.files.inspection import verify

from .conftest import content, images, labels, packed


def write_images(folder: Path, samples: np.ndarray, suffix: str = ".png") -> None:
    folder.mkdir(parents=True)
    for number, pixels in enumerate(samples):
        Image.fromarray(pixels).save(folder / f"{number:03d}{suffix}")


def write_volume(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)


def test_own_format_keeps_content_and_attributes(own_file: Path, tmp_path: Path) -> None:
    with h5py.File(own_file, "r+") as file:
        file["train/inputs"].attrs["units"] = "counts"
    for number, options in enumerate([{}, {"codec": "gzip"}, {"layout_name": "chunked"}]):
        out = tmp_path / f"{number}.h5"
        result = packed(own_file, out, **options)
        with h5py.File(own_file) as old, h5py.File(out) as new:
            assert result["checksum"] == f"sha256:{old.attrs['sha256']}"  # repacking keeps the checksum
            assert [new.attrs[key] for key in ("source", "task", "license")] == ["own", "classification", "CC0-1.0"]
            assert new["train/inputs"].attrs["units"] == "counts"
        assert open_data(out, DataConfig(file=str(out))).spec.class_names == ("a", "b", "c")
        assert verify(out)["checksum"] == result["checksum"]
        assert result["sizes"] == {"train": 50, "val": 11, "test": 12}


@pytest.mark.parametrize("codec", ["none", "gzip", "lzf", "zstd", "blosc2", "lz4"])
@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_codec_is_lossless(codec: Any, dtype: str, tmp_path: Path) -> None:
    x = images(101).astype(dtype)
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["inputs"], file["targets"] = x, labels(101)
    result = packed(tmp_path / "in.h5", tmp_path / "out.h5", codec=codec, layout_name="chunked")
    arrays = content(tmp_path / "out.h5")
    np.testing.assert_array_equal(arrays["train/inputs"][:, 0], x)
    np.testing.assert_array_equal(arrays["train/targets"], labels(101))
    with h5py.File(tmp_path / "out.h5") as file:
        inputs = file["train/inputs"]
        assert (inputs.chunks, inputs.fletcher32) == ((300 // x[0].nbytes, 1, 5, 6), True)
        assert inputs.shuffle == (dtype == "f4" and codec in ("gzip", "lzf", "zstd"))
        assert file["train/targets"].chunks is None
    assert (result["layout"], result["codec"]) == ("chunked", codec)


def test_split_smaller_than_a_chunk_has_one_chunk(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        for split, num in (("train", 50), ("test", 4)):
            file[f"{split}/x"], file[f"{split}/y"] = images(num), labels(num)
    packed(tmp_path / "in.h5", tmp_path / "out.h5", codec="gzip")
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["test/inputs"].chunks == (4, 1, 5, 6)
        np.testing.assert_array_equal(file["test/inputs"][:, 0], images(4))


def test_other_hdf5_with_chunks_big_endian_and_strings(tmp_path: Path) -> None:
    x = images(37, shape=(12, 12, 3)).astype(">u2")
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file.create_dataset("data/scans", data=x, chunks=(5, 12, 12, 1), compression="gzip")
        file["data/kinds"] = [["ham", "spam"][number % 2] for number in range(37)]
        file.attrs["license"] = "CC-BY-4.0"
    result = packed(
        tmp_path / "in.h5", tmp_path / "out.h5", inputs="data/scans", targets="/data/kinds", channels="last"
    )
    arrays = content(tmp_path / "out.h5")
    np.testing.assert_array_equal(arrays["train/inputs"], np.moveaxis(x, -1, 1))
    assert arrays["train/inputs"].dtype == "<u2"
    np.testing.assert_array_equal(arrays["train/targets"], labels(37, 2))
    assert result["class_names"] == ["ham", "spam"]
    with h5py.File(tmp_path / "out.h5") as file:
        assert file.attrs["license"] == "CC-BY-4.0"


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", ["{part}_{split}", "{split}_{part}"])
def test_npz(compressed: bool, name: str, tmp_path: Path) -> None:
    arrays = {
        name.format(part=part, split=split): values
        for split, num in (("train", 41), ("val", 9), ("test", 12))
        for part, values in (("images", images(num)), ("labels", labels(num)[:, None]))
    }
    (np.savez_compressed if compressed else np.savez)(tmp_path / "in.npz", **arrays)
    result = packed(tmp_path / "in.npz", tmp_path / "out.h5")
    arrays = content(tmp_path / "out.h5")
    np.testing.assert_array_equal(arrays["val/inputs"][:, 0], images(9))
    np.testing.assert_array_equal(arrays["test/targets"], labels(12))
    assert result["sizes"] == {"train": 41, "val": 9, "test": 12}


def test_npy_file_or_folder(tmp_path: Path) -> None:
    folder = tmp_path / "arrays"
    folder.mkdir()
    np.save(folder / "x.npy", images(41))
    np.save(folder / "y.npy", np.linspace(0, 1, 41))
    for number, path in enumerate([folder, folder / "x.npy"]):
        result = packed(path, tmp_path / f"{number}.h5")
        assert result["task"] == "regression"
        np.testing.assert_array_equal(content(tmp_path / f"{number}.h5")["train/targets"], np.linspace(0, 1, 41))
    np.save(folder / "age.npy", labels(41))
    result = packed(folder / "x.npy", tmp_path / "age.h5", targets="age.npy", task="regression")
    np.testing.assert_array_equal(content(tmp_path / "age.h5")["train/targets"], labels(41))


def test_image_folders_with_splits(tmp_path: Path) -> None:
    for split, num in (("train", 9), ("validation", 4)):
        for seed, kind in enumerate(("cat", "dog")):
            write_images(tmp_path / "in" / split / kind, images(num, seed, (8, 7, 3)))
    result = packed(tmp_path / "in", tmp_path / "out.h5")
    arrays = content(tmp_path / "out.h5")
    assert (result["sizes"], result["class_names"]) == ({"train": 18, "val": 8}, ["cat", "dog"])
    np.testing.assert_array_equal(arrays["train/inputs"][9:], np.moveaxis(images(9, 1, (8, 7, 3)), -1, 1))
    np.testing.assert_array_equal(arrays["val/targets"], [0] * 4 + [1] * 4)


def test_images_of_several_sizes_and_modes(tmp_path: Path) -> None:
    write_images(tmp_path / "in" / "a", images(3, shape=(8, 7, 3)))
    write_images(tmp_path / "in" / "b", images(2, shape=(20, 10)), ".tif")
    Image.fromarray(images(1, shape=(9, 9, 4))[0]).save(tmp_path / "in" / "b" / "clear.png")
    result = packed(tmp_path / "in", tmp_path / "out.h5", size=(8, 7))
    arrays = content(tmp_path / "out.h5")["train/inputs"]
    assert arrays.shape == (6, 3, 8, 7)
    np.testing.assert_array_equal(arrays[:3], np.moveaxis(images(3, shape=(8, 7, 3)), -1, 1))
    gray = Image.fromarray(images(2, shape=(20, 10))[0]).convert("RGB").resize((7, 8), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(arrays[3], np.moveaxis(np.asarray(gray), -1, 0))
    assert any("3 of 6 images are resized to 8x7 (bilinear" in note for note in result["notes"])
    assert any("all images are converted to RGB" in note for note in result["notes"])


def test_images_of_16_bits_keep_their_type(tmp_path: Path) -> None:
    wide = images(4, shape=(8, 8)).astype(np.uint16) * 257
    write_images(tmp_path / "in" / "a", wide)
    packed(tmp_path / "in", tmp_path / "out.h5")
    np.testing.assert_array_equal(content(tmp_path / "out.h5")["train/inputs"][:, 0], wide)
    packed(tmp_path / "in", tmp_path / "small.h5", size=(4, 4))
    small = content(tmp_path / "small.h5")["train/inputs"]
    assert small.dtype == np.uint16 and abs(float(small.mean()) - float(wide.mean())) < 3000


def test_volumes_with_masks(tmp_path: Path) -> None:
    volumes = np.random.default_rng(0).normal(size=(5, 6, 7, 8)).astype(np.float32)
    masks = (volumes > 0.5).astype(np.uint8)
    for number in range(5):
        write_volume(tmp_path / "in" / "imagesTr" / f"case{number}_0000.nii.gz", volumes[number])
        write_volume(tmp_path / "in" / "labelsTr" / f"case{number}.nii.gz", masks[number].astype(np.float32))
    for number, options in enumerate([{}, {"codec": "gzip"}]):
        result = packed(tmp_path / "in", tmp_path / f"{number}.h5", splits="train=.8,test=.2", **options)
        arrays = content(tmp_path / f"{number}.h5")
        assert (result["task"], result["sizes"]) == ("segmentation", {"train": 4, "test": 1})
        both = np.concatenate([arrays["train/inputs"], arrays["test/inputs"]])[:, 0]
        order = [int(np.flatnonzero((volumes == volume).all((1, 2, 3)))[0]) for volume in both]
        assert sorted(order) == [0, 1, 2, 3, 4] and arrays["train/targets"].dtype == np.uint8
        np.testing.assert_array_equal(np.concatenate([arrays["train/targets"], arrays["test/targets"]]), masks[order])


def test_volumes_with_a_table_of_labels(tmp_path: Path) -> None:
    volumes = images(4, shape=(3, 4, 5, 2)).astype(np.int16)
    for number in range(4):
        write_volume(tmp_path / "in" / f"v{number}.nii", volumes[number])
    table = tmp_path / "in" / "labels.csv"
    table.write_text("file,label\nv0.nii,well\nv1.nii,ill\nv2.nii,well\nv3.nii,ill\n")
    result = packed(tmp_path / "in", tmp_path / "out.h5", targets=str(table))
    arrays = content(tmp_path / "out.h5")
    assert (result["class_names"], result["input_shape"]) == (["ill", "well"], [2, 3, 4, 5])
    np.testing.assert_array_equal(arrays["train/inputs"], np.moveaxis(volumes, -1, 1))
    np.testing.assert_array_equal(arrays["train/targets"], [1, 0, 1, 0])
    table.write_text("".join(f"v{number},{number}.5\n" for number in range(4)))
    packed(tmp_path / "in", tmp_path / "values.h5", targets=str(table))
    np.testing.assert_array_equal(content(tmp_path / "values.h5")["train/targets"], np.arange(4) + np.float32(0.5))


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_csv(delimiter: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(300, 3)).round(3)
    values[:, 0] = np.arange(300) / 8  # identifies the row
    rows = [[*map(str, row), ["1", "2", "10"][number % 3]] for number, row in enumerate(values)]
    rows[7][1] = ""
    text = "\n".join(delimiter.join(row) for row in [["a", "b b", "c", "label"], *rows])
    (tmp_path / "in.csv").write_text(text + "\n")
    result = packed(tmp_path / "in.csv", tmp_path / "out.h5", splits="train=.5,val=.25,test=.25")
    arrays = content(tmp_path / "out.h5")
    assert (result["sizes"], result["class_names"]) == ({"train": 150, "val": 75, "test": 75}, ["1", "2", "10"])
    assert np.bincount(arrays["val/targets"]).tolist() == [25, 25, 25]
    values[7, 1] = np.nan
    together = np.concatenate([arrays[f"{split}/inputs"] for split in ("train", "val", "test")])
    np.testing.assert_array_equal(together[np.argsort(together[:, 0])], values.astype(np.float32))
    assert any("the inputs contain 1 NaN or infinite values" in note for note in result["notes"])
    packed(tmp_path / "in.csv", tmp_path / "two.h5", inputs="c", targets="a,label", task="regression")
    targets = content(tmp_path / "two.h5")["train/targets"]
    np.testing.assert_array_equal(targets[:, 0], values[:, 0])
    np.testing.assert_array_equal(targets[:, 1], np.resize([1, 2, 10], 300))


def test_csv_without_header(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("".join(f"{number % 2},{number},{number + 1}\n" for number in range(50)))
    packed(tmp_path / "in.csv", tmp_path / "out.h5", targets="1")
    np.testing.assert_array_equal(content(tmp_path / "out.h5")["train/inputs"][:, 1], np.arange(50) + 1)


def test_parquet(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=500).astype(np.float32)
    columns = {"a": [None, *values[1:].tolist()], "b": np.arange(500), "kind": [["x", "y"][n % 2] for n in range(500)]}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "in.parquet", row_group_size=77)
    result = packed(tmp_path / "in.parquet", tmp_path / "out.h5", targets="kind", codec="zstd")
    arrays = content(tmp_path / "out.h5")
    assert result["class_names"] == ["x", "y"] and np.isnan(arrays["train/inputs"][0, 0])
    np.testing.assert_array_equal(arrays["train/inputs"][1:, 0], values[1:])
    np.testing.assert_array_equal(arrays["train/inputs"][:, 1], np.arange(500))
    bytes_only = pyarrow.table({"a": np.arange(9, dtype=np.uint8), "target": np.linspace(0, 1, 9)})
    pyarrow.parquet.write_table(bytes_only, tmp_path / "bytes.parquet")
    assert packed(tmp_path / "bytes.parquet", tmp_path / "bytes.h5")["input_dtype"] == "uint8"
