"""Archives, images, tables and volumes, damaged; ``pack`` makes a file that verifies, or one line."""

from __future__ import annotations

import gzip
import io
import random
import shutil
import wave
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from hpc_dl.data.files.inspection import verify
from hpc_dl.data.packing.pack import PackRequest, pack
from hpc_dl.errors import HpcDlError
from tests.fuzz.mutations import mutated

_X = np.random.default_rng(0).normal(size=(30, 6)).astype("f4")
_Y = np.arange(30) % 3


def _npz(folder: Path) -> Path:
    np.savez_compressed(folder / "x.npz", inputs=_X, targets=_Y)
    return folder / "x.npz"


def _npz_bomb(folder: Path) -> Path:
    """An array whose header declares more than any memory holds."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 10)})
    with zipfile.ZipFile(folder / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inputs.npy", header.getvalue() + bytes(50_000_000))
        archive.writestr("targets.npy", header.getvalue())
    return folder / "x.npz"


def _csv(folder: Path) -> Path:
    rows = [",".join([*(f"{value:.3f}" for value in row), "abc"[label]]) for row, label in zip(_X, _Y, strict=True)]
    (folder / "x.csv").write_text("\n".join(["a,b,c,d,e,f,label", *rows, ""]))
    return folder / "x.csv"


def _csv_gz(folder: Path) -> Path:
    _csv(folder)
    (folder / "x.csv.gz").write_bytes(gzip.compress((folder / "x.csv").read_bytes()))
    (folder / "x.csv").unlink()
    return folder / "x.csv.gz"


def _csv_with_nul(folder: Path) -> Path:
    path = _csv(folder)
    path.write_bytes(path.read_bytes().replace(b"0.1", b"0\01", 1))
    return path


def _parquet(folder: Path) -> Path:
    import pyarrow
    import pyarrow.parquet

    columns = {name: _X[:, column] for column, name in enumerate("abcdef")} | {"label": _Y}
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "x.parquet")
    return folder / "x.parquet"


def _images(suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        for number in range(6):
            path = folder / "x" / f"class{number % 2}" / f"{number}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.random.default_rng(number).integers(0, 255, (12, 12, 3), np.uint8)).save(path)
        return folder / "x"

    return make


def _nifti(folder: Path) -> Path:
    import nibabel

    for number in range(4):
        path = folder / "x" / f"class{number % 2}" / f"{number}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 4), "f4"), np.eye(4)), path)  # type: ignore[attr-defined]
    return folder / "x"


def _wav(folder: Path) -> Path:
    for number in range(4):
        path = folder / "x" / f"class{number % 2}" / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(np.arange(400, dtype="<i2").tobytes())
    return folder / "x"


def _mat(folder: Path) -> Path:
    import scipy.io

    scipy.io.savemat(folder / "x.mat", {"X": _X, "y": _Y[:, None]})
    return folder / "x.mat"


def _hdf5(folder: Path) -> Path:
    with h5py.File(folder / "x.h5", "w") as file:
        file.create_dataset("inputs", data=_X, compression="gzip")
        file["targets"] = _Y
    return folder / "x.h5"


def _text(folder: Path) -> Path:
    (folder / "x.txt").write_text("one two three four five\n" * 50)
    return folder / "x.txt"


def _links_in_a_circle(folder: Path) -> Path:
    path = _images("png")(folder)
    for name in ("class0/up", "class1/up", "loop"):
        (path / name).symlink_to(path)
    return path


BASES: dict[str, Callable[[Path], Path]] = {
    "npz": _npz, "csv": _csv, "csv.gz": _csv_gz, "png": _images("png"), "jpg": _images("jpg"), "tif": _images("tif"),
    "bmp": _images("bmp"), "nifti": _nifti, "wav": _wav, "mat": _mat, "hdf5": _hdf5, "text": _text, "parquet": _parquet,
    "nul": _csv_with_nul, "circle": _links_in_a_circle, "bomb": _npz_bomb,
}  # fmt: skip
_AS_THEY_ARE = ("circle", "bomb", "nul")


def make_bases(folder: Path) -> list[str]:
    """Make all sources once; return their names."""
    for name, make in BASES.items():
        (folder / name).mkdir()
        make(folder / name)
    return list(BASES)


def check_case(case: int, seed: int, bases: list[str], folder: Path) -> tuple[str, str]:
    """Damage one file of a source, then pack it."""
    chance = random.Random(f"{seed}-{case}")
    name = bases[case % len(bases)]
    work = folder / f"case{case}"
    shutil.copytree(folder / name, work, symlinks=True)
    files = sorted(path for path in work.rglob("*") if path.is_file() and not path.is_symlink())
    if name not in _AS_THEY_ARE:
        victim = chance.choice(files)
        victim.write_bytes(mutated(victim.read_bytes(), chance))
    (source,) = work.iterdir()
    out = folder / f"out{case}.h5"
    try:
        pack(source, out, PackRequest(), lambda *_: None)
        verify(out)
    except HpcDlError as error:
        assert all("\n" not in str(fault) for fault in error.faults), "a message of several lines"
        return "refused", f"{name}: {error.faults[0]}"
    finally:
        shutil.rmtree(work)
        for left in folder.glob(f"*out{case}.h5*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    return "fine", name
