"""Folders that a container must see: of the data, its links, and files that the HDF5 file names."""

import itertools
import shlex
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_dl.cluster import site
from hpc_dl.cluster.submit import batch_script
from hpc_dl.config.experiment import Experiment
from hpc_dl.errors import ClusterError

PROFILE = site.SiteProfile(container=site.Container(image="/images/x.sif"))


def binds(file: Path) -> list[str]:
    """The folders that a job's container sees."""
    experiment = Experiment.from_dict({"name": "x", "data": {"file": str(file)}, "model": {"name": "linear"}})
    text = batch_script(Path("/runs"), experiment, PROFILE)
    words = shlex.split(next(line for line in text.splitlines() if line.startswith("srun")))
    return [after for word, after in itertools.pairwise(words) if word == "--bind"]


def folders(parent: Path, *names: str) -> list[Path]:
    paths = [parent / name for name in names]
    for path in paths:
        path.mkdir()
    return paths


def test_every_target_of_symbolic_links_is_visible(tmp_path: Path) -> None:
    first, second, third, elsewhere = folders(tmp_path, "first", "second", "third", "elsewhere")
    (third / "data.h5").write_bytes(b"")
    (second / "link.h5").symlink_to("../third/data.h5")
    (first / "data.h5").symlink_to(second / "link.h5")
    (tmp_path / "alias").symlink_to(elsewhere)
    (elsewhere / "data.h5").write_bytes(b"")
    assert {str(first), str(second), str(third)} <= set(binds(first / "data.h5"))
    assert {str(tmp_path / "alias"), str(elsewhere)} <= set(binds(tmp_path / "alias" / "data.h5"))


def test_files_that_an_hdf5_file_names_are_visible(tmp_path: Path) -> None:
    main, links, deep, virtual, raw = folders(tmp_path, "main", "links", "deep", "virtual", "raw")
    with h5py.File(deep / "d.h5", "w") as file:
        file["x"] = np.arange(4.0)
    with h5py.File(links / "l.h5", "w") as file:
        file["x"] = h5py.ExternalLink("../deep/d.h5", "/x")
    with h5py.File(virtual / "v.h5", "w") as file:
        file["x"] = np.arange(4.0)
    layout = h5py.VirtualLayout((4,), float)
    layout[:] = h5py.VirtualSource(str(virtual / "v.h5"), "x", (4,))
    (raw / "r.bin").write_bytes(np.arange(4.0).tobytes())
    with h5py.File(main / "m.h5", "w") as file:
        file["train/x"] = h5py.ExternalLink("../links/l.h5", "/x")
        file["train/loop"] = h5py.ExternalLink("m.h5", "/train")
        file["train/missing"] = h5py.ExternalLink("../nowhere/n.h5", "/x")
        file.create_virtual_dataset("train/v", layout)
        file.create_dataset("train/r", (4,), float, external=[(str(raw / "r.bin"), 0, 32)])
    assert {str(folder) for folder in (main, links, deep, virtual, raw)} <= set(binds(main / "m.h5"))
    assert str(tmp_path / "nowhere") not in binds(main / "m.h5")


@pytest.mark.parametrize("content", [None, b"", b"no HDF5", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_file_that_is_missing_or_no_hdf5_names_nothing(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "data.h5"
    if content is not None:
        path.write_bytes(content)
    assert str(tmp_path) in binds(path)


def test_separators_in_a_folder_are_refused(tmp_path: Path) -> None:
    (folder,) = folders(tmp_path, "a,b")
    with pytest.raises(ClusterError, match="must not contain ','"):
        binds(folder / "data.h5")
