"""Opening HDF5 files and finding datasets in them, with every way it can go wrong told to the user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py

from hpc_dl.data.storage.checksum import datasets
from hpc_dl.data.storage.links import check_links
from hpc_dl.errors import DataError, nearest

_NUM_LISTED = 12


def open_file(path: str | Path, *, chunk_cache_bytes: int | None = None) -> h5py.File:
    """Open a file for reading; use it as a context manager.

    Args:
        path: the file.
        chunk_cache_bytes: size of HDF5's cache of decoded chunks, for each dataset; HDF5's own
            default when None.

    Raises:
        DataError: the file is missing, a folder, empty, unreadable, truncated, or not HDF5.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise DataError.at(path, "is a folder, not an HDF5 file", remedy="give the path of the file in it")
        if path.stat().st_size == 0:
            raise DataError.at(path, "is empty (0 bytes)", remedy="copy or make the file again")
        # h5py names no reason for a plain refusal, the system does.
        path.open("rb").close()
        return h5py.File(path, "r", rdcc_nbytes=chunk_cache_bytes)
    except FileNotFoundError:
        raise DataError.at(
            path, "there is no such file", remedy="check `data.file`, or make the file first (`hpc-dl data make`)"
        ) from None
    except PermissionError:
        raise DataError.at(
            path,
            "may not be read (permission denied)",
            remedy="ask its owner for read access to the file and its folders",
        ) from None
    except OSError as error:
        if "truncated" in str(error):
            raise DataError.at(
                path, "is truncated: shorter than its header says", value=_reason(error), remedy="copy or make it again"
            ) from None
        if "signature not found" in str(error):
            raise DataError.at(
                path, "is not an HDF5 file", remedy="give an HDF5 file, or convert the data (docs/data-format.md)"
            ) from None
        raise DataError.at(
            path, f"cannot be opened: {_reason(error)}", remedy="`h5ls -r FILE` shows whether HDF5 itself can read it"
        ) from None


def find_dataset(file: h5py.File, name: str, option: str) -> h5py.Dataset:
    """The dataset at a path of an open file.

    Args:
        file: the open file.
        name: path of the dataset; the leading ``/`` may be left out.
        option: key of the configuration that named it, for the remedy: ``data.inputs``.

    Raises:
        DataError: there is no dataset at this path (the message lists those that are there), or a
            link, external storage or a virtual dataset leads out of the folder of the file.
    """
    name = f"/{name.strip('/')}"
    found = file.get(name)
    if isinstance(found, h5py.Dataset):
        check_links(found, where(file, name), file.filename)
        return found
    problem = "there is no such dataset"
    if isinstance(found, h5py.Group):
        problem = "is a group, not a dataset"
    elif file.get(name, getlink=True) is not None:
        problem = "is a link, and what it points to cannot be opened"
    known = [path for path, _ in datasets(file)]
    remedy = f"correct `{option}`; {nearest(name, known)}".rstrip("; ")
    if inside := [path for path in known if path.endswith(name)]:
        remedy = (
            f"the file is divided into groups ({', '.join(inside[:3])}): leave `data.splits` out, or name them there"
        )
    raise DataError.at(where(file, name), problem, allowed=listed(known), remedy=remedy)


def where(item: h5py.File | h5py.Dataset, name: str | None = None) -> str:
    """``FILE:/dataset``, the place that a fault names."""
    return f"{item.file.filename}:{item.name if name is None else name}"


def type_name(dataset: h5py.Dataset) -> str:
    """The type of a dataset's values, where NumPy's name says nothing to the user in HDF5's words."""
    dtype = dataset.dtype
    if h5py.check_string_dtype(dtype):
        return "texts"
    if h5py.check_ref_dtype(dtype):
        return "references"
    if (element := h5py.check_vlen_dtype(dtype)) is not None:
        return f"rows of {element} of any length"
    if dtype.names:
        return f"compound of {', '.join(dtype.names)}"
    return "opaque bytes" if dtype.kind == "V" else str(dtype)


def listed(names: list[str]) -> str:
    """The names with commas; a long list is cut."""
    if not names:
        return "the file holds no dataset"
    rest = len(names) - _NUM_LISTED
    return ", ".join(names[:_NUM_LISTED]) + (f" and {rest} more" if rest > 0 else "")


def attribute(item: h5py.File | h5py.Dataset, name: str) -> Any:
    """An attribute in plain Python types (texts as ``str``, arrays as lists), or None where there
    is none.
    """
    value = item.attrs.get(name)
    if isinstance(value, h5py.Empty):
        return None
    if hasattr(value, "tolist"):
        value = value.tolist()
    return _decoded(value)


def _decoded(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, list):
        return [_decoded(element) for element in value]
    return value


def _reason(error: OSError) -> str:
    """HDF5's reason without h5py's preamble: ``truncated file: eof = 100, …``."""
    return str(error).partition("(")[2].removesuffix(")") or str(error)
