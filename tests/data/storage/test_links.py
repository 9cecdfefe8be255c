"""Links, external storage and virtual datasets are followed only inside the folder of the file."""

import os
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.data_file import open_data
from hpc_dl.data.files.inspection import inspect, verify
from hpc_dl.data.storage.dependencies import files_behind
from hpc_dl.data.storage.hdf5 import find_dataset, open_file
from hpc_dl.data.storage.rows import open_rows
from hpc_dl.errors import DataError

from .conftest import values

EXPECTED = values("<i4", (20, 6))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a data file and another one in a subfolder; a third one is outside."""
    for name in ("data", "data/parts", "elsewhere"):
        (tmp_path / name).mkdir()
        with h5py.File(tmp_path / name / "part.h5", "w") as file:
            file["x"] = EXPECTED
            file.create_dataset("gzip", data=EXPECTED, chunks=(4, 6), compression="gzip")
    return tmp_path / "data"


def link(path: Path, target: str, name: str = "x") -> None:
    with h5py.File(path, "w") as file:
        file["x"] = h5py.ExternalLink(target, name)


def virtual(path: Path, *sources: str, name: str = "x") -> None:
    layout = h5py.VirtualLayout((20 * len(sources), 6), "<i4")
    for number, source in enumerate(sources):
        layout[20 * number : 20 * (number + 1)] = h5py.VirtualSource(source, name, (20, 6))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("x", layout, fillvalue=-1)


def external(path: Path, target: str, num_rows: int = 20) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (num_rows, 6), "<i4", external=[(target, 0, h5py.h5f.UNLIMITED)])


def read(path: Path) -> tuple[str, np.ndarray]:
    with open_file(path) as file:
        num_rows = len(find_dataset(file, "x", "data.inputs"))
    with closing(open_rows(path, "x")) as reader:
        rows = np.random.default_rng(0).permutation(num_rows)
        taken = np.empty((num_rows, 6), "<i4")
        taken[rows] = reader.take(rows)
        return reader.reading, taken


def rejects(path: Path, *parts: str) -> None:
    with open_file(path) as file, pytest.raises(DataError) as caught:
        find_dataset(file, "x", "data.inputs")
    for part in (f"{path}:/x: ", *parts):
        assert part in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(DataError):
        open_rows(path, "x")


@pytest.mark.parametrize("name", ["x", "gzip"])
@pytest.mark.parametrize("target", ["part.h5", "parts/part.h5", "parts/../part.h5"])
def test_links_inside_the_folder_are_read_like_their_target(folder: Path, target: str, name: str) -> None:
    link(folder / "a.h5", target, name)
    reading, taken = read(folder / "a.h5")
    assert reading == ("mapped" if name == "x" else "chunks, gzip, decoded by 1 thread")
    np.testing.assert_array_equal(taken, EXPECTED)


def test_chained_links_are_followed(folder: Path) -> None:
    link(folder / "a.h5", "b.h5")
    link(folder / "b.h5", "parts/part.h5")
    np.testing.assert_array_equal(read(folder / "a.h5")[1], EXPECTED)
    link(folder / "b.h5", "../elsewhere/part.h5")
    rejects(folder / "a.h5", "is a link to a dataset outside the folder of its file", "elsewhere/part.h5")


def test_links_out_of_the_folder_are_rejected(folder: Path) -> None:
    for target in ("../elsewhere/part.h5", str(folder.parent / "elsewhere" / "part.h5")):
        link(folder / "a.h5", target)
        rejects(folder / "a.h5", "outside the folder", f"allowed: {folder} and its subfolders", "hpc-dl data pack")


def test_symbolic_link_does_not_hide_the_target(folder: Path) -> None:
    (folder / "disguise.h5").symlink_to(folder.parent / "elsewhere" / "part.h5")
    link(folder / "a.h5", "disguise.h5")
    rejects(folder / "a.h5", "elsewhere/part.h5")


def test_symbolic_link_to_the_data_file_is_followed(folder: Path, tmp_path: Path) -> None:
    link(folder / "a.h5", "part.h5")
    (tmp_path / "mine.h5").symlink_to(folder / "a.h5")
    np.testing.assert_array_equal(read(tmp_path / "mine.h5")[1], EXPECTED)


def test_virtual_dataset_is_read(folder: Path) -> None:
    virtual(folder / "a.h5", "part.h5", "parts/part.h5")
    reading, taken = read(folder / "a.h5")
    assert reading == "by h5py: virtual dataset"
    np.testing.assert_array_equal(taken, np.concatenate([EXPECTED, EXPECTED]))
    virtual(folder / "a.h5", "part.h5", "../elsewhere/part.h5")
    rejects(folder / "a.h5", "is a virtual dataset with a source outside the folder", "elsewhere/part.h5")


def test_nested_virtual_datasets_and_links(folder: Path) -> None:
    virtual(folder / "b.h5", "parts/part.h5")
    virtual(folder / "a.h5", "b.h5")
    np.testing.assert_array_equal(read(folder / "a.h5")[1], EXPECTED)
    virtual(folder / "b.h5", str(folder.parent / "elsewhere" / "part.h5"))
    rejects(folder / "a.h5", "virtual dataset with a source outside", "elsewhere/part.h5")
    link(folder / "b.h5", "../elsewhere/part.h5")
    rejects(folder / "a.h5", "elsewhere/part.h5")
    virtual(folder / "a.h5", "a.h5")
    rejects(folder / "a.h5", "is a virtual dataset that contains itself")


def test_virtual_dataset_inside_one_file(folder: Path) -> None:
    with h5py.File(folder / "a.h5", "w") as file:
        file["deep/y"] = EXPECTED
        layout = h5py.VirtualLayout((20, 6), "<i4")
        layout[:] = h5py.VirtualSource(file["deep/y"])
        file.create_virtual_dataset("x", layout)
    np.testing.assert_array_equal(read(folder / "a.h5")[1], EXPECTED)


@pytest.mark.parametrize(("source", "name"), [("gone.h5", "x"), ("part.h5", "gone")])
def test_missing_source_is_not_read_as_fill_values(folder: Path, source: str, name: str) -> None:
    virtual(folder / "a.h5", source, name=name)
    rejects(folder / "a.h5", "is a virtual dataset with a missing source, whose rows would read as fill values", "gone")
    with pytest.raises(DataError, match="fill values"):
        verify(folder / "a.h5")


def test_external_storage_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "raw.bin").write_bytes(EXPECTED.tobytes())
    external(folder / "a.h5", "raw.bin")
    reading, taken = read(folder / "a.h5")
    assert reading == "by h5py: values in external files"
    np.testing.assert_array_equal(taken, EXPECTED)
    os.replace("raw.bin", folder.parent / "raw.bin")
    rejects(folder / "a.h5", "stores its values in another file, which is missing or too short", "raw.bin")
    external(folder / "a.h5", str(folder.parent / "raw.bin"))
    rejects(folder / "a.h5", "stores its values in another file outside the folder", f"{folder} and its subfolders")


def test_short_external_storage_is_rejected(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "raw.bin").write_bytes(EXPECTED.tobytes())
    external(folder / "a.h5", "raw.bin", num_rows=21)
    rejects(folder / "a.h5", "missing or too short")


def test_dataset_of_the_same_name_is_not_read_instead_of_a_target(folder: Path) -> None:
    with h5py.File(folder / "a.h5", "w") as file:
        file["x"] = np.zeros((20, 6), "<i4")  # the trap: the target is /x of part.h5
        file["inputs"], file["targets"] = h5py.ExternalLink("part.h5", "/x"), np.arange(20) % 2
    data = open_data(folder / "a.h5", DataConfig(file="a.h5", splits={"fractions": {}}))
    rows = np.arange(len(data.reader("train")))
    np.testing.assert_array_equal(data.reader("train").read(rows)[0], EXPECTED[data.splits["train"].rows])


def test_linked_groups_are_splits(folder: Path) -> None:
    with h5py.File(folder / "b.h5", "w") as file:
        file["half/inputs"], file["half/targets"] = EXPECTED, np.arange(20) % 2
    with h5py.File(folder / "a.h5", "w") as file:
        file["train"], file["test"] = h5py.ExternalLink("b.h5", "/half"), h5py.SoftLink("/own")
        file["own/inputs"], file["own/targets"] = EXPECTED + 1, np.arange(20) % 2
    data = open_data(folder / "a.h5", DataConfig(file="a.h5"))
    for split, expected in {"train": EXPECTED, "test": EXPECTED + 1}.items():
        np.testing.assert_array_equal(data.reader(split).read(np.arange(20))[0], expected)


def test_offsets_are_those_of_the_name_or_of_the_target(folder: Path) -> None:
    with h5py.File(folder / "b.h5", "w") as file:
        file["steps"], file["steps_offsets"], file["labels"] = EXPECTED, np.array([0, 5, 20]), np.array([0, 1])
    for name, paths in {"a.h5": ("b.h5", h5py.ExternalLink), "c.h5": ("", lambda _, path: h5py.SoftLink(path))}.items():
        with h5py.File(folder / name, "a") as file:
            if name == "c.h5":
                file["steps"], file["steps_offsets"], file["labels"] = EXPECTED, np.array([0, 5, 20]), np.array([0, 1])
            file["train/inputs"], file["train/targets"] = (paths[1](paths[0], item) for item in ("/steps", "/labels"))
        data = open_data(folder / name, DataConfig(file=name))
        assert data.spec.sizes == {"train": 2}
        assert [len(sample) for sample in data.reader("train").read(np.arange(2))[0].values[:1]] == [6]


@pytest.mark.parametrize("target", ["/loop", "/nothing", "../x"])
def test_soft_links_to_nowhere_are_one_line(folder: Path, target: str) -> None:
    with h5py.File(folder / "a.h5", "w") as file:
        file["x"], file["loop"] = h5py.SoftLink(target), h5py.SoftLink("/x")
    rejects(folder / "a.h5", f"is behind a link whose target cannot be opened, {target}")
    with pytest.raises(DataError, match="is a soft link that leads nowhere"):
        verify(folder / "a.h5")


@pytest.mark.parametrize("target", ["absent.h5", "a.h5"])
def test_external_links_to_nowhere_are_one_line(folder: Path, target: str) -> None:
    link(folder / "a.h5", target)
    rejects(folder / "a.h5", f"is behind a link whose target cannot be opened, {target}:/x")


def test_split_behind_a_broken_link_is_not_left_out(folder: Path) -> None:
    with h5py.File(folder / "a.h5", "w") as file:
        file["train/inputs"], file["train/targets"] = EXPECTED, np.arange(20) % 2
        file["val"] = h5py.ExternalLink("absent.h5", "/val")
    with pytest.raises(DataError, match=r"a.h5:/val: should contain the val split, but is behind a link"):
        open_data(folder / "a.h5", DataConfig(file="a.h5"))


def test_inspect_shows_links_and_where_they_lead(folder: Path) -> None:
    with h5py.File(folder / "a.h5", "w") as file:
        file["x"], file["y"], file["z"] = EXPECTED, h5py.SoftLink("/x"), h5py.ExternalLink("parts/part.h5", "/gzip")
        file["lost"] = h5py.ExternalLink("absent.h5", "/x")
    links = {item["path"]: item for item in inspect(folder / "a.h5")["links"]}
    assert links["/y"]["kind"] == "soft link" and links["/y"]["reading"] == "mapped"
    assert links["/z"]["target"] == "parts/part.h5:/gzip" and links["/z"]["shape"] == [20, 6]
    assert links["/z"]["leads_to"] == f"{folder}/parts/part.h5:/gzip"
    assert links["/lost"]["leads_to"] is None and links["/lost"]["reading"] == "leads nowhere"


def test_files_behind_lists_every_file_on_the_way(folder: Path) -> None:
    external(folder / "raw.h5", str(folder / "raw.bin"))
    (folder / "raw.bin").write_bytes(bytes(480))
    link(folder / "c.h5", "parts/part.h5")
    link(folder / "b.h5", "c.h5")
    virtual(folder / "v.h5", "b.h5", "raw.h5")
    with h5py.File(folder / "a.h5", "w") as file:
        file["x"], file["self"] = h5py.ExternalLink("v.h5", "x"), h5py.SoftLink("/")
    behind = ["a.h5", "v.h5", "b.h5", "c.h5", "parts/part.h5", "raw.h5", "raw.bin"]
    assert files_behind(folder / "a.h5") == tuple(folder / name for name in behind)
    assert files_behind(folder / "a.h5", ["/absent"]) == (folder / "a.h5",)


def test_checksum_changes_with_the_target_of_a_link(folder: Path) -> None:
    with h5py.File(folder / "a.h5", "w") as file:
        file["inputs"], file["targets"] = h5py.ExternalLink("part.h5", "/x"), np.arange(20) % 2
    config = DataConfig(file="a.h5", splits={"fractions": {}})
    before = open_data(folder / "a.h5", config).spec.checksum
    with h5py.File(folder / "part.h5", "a") as file:
        file["x"][0, 0] += 1
    assert open_data(folder / "a.h5", config).spec.checksum != before


def test_virtual_dataset_with_a_shrunken_source_is_rejected(folder: Path) -> None:
    virtual(folder / "a.h5", "part.h5")
    with h5py.File(folder / "part.h5", "w") as file:
        file["x"] = EXPECTED[:12]
    rejects(folder / "a.h5", "a source that has shrunk", "got (12, 6)")
