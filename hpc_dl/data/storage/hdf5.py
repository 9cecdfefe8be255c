"""Opening HDF5 files and finding datasets in them, with a clear error for every failure."""

from __future__ import annotations

import functools
import os
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import h5py

from hpc_dl.data.storage.dependencies import item_at, linked_datasets, target_of
from hpc_dl.data.storage.links import check_links
from hpc_dl.errors import DataError, HpcDlError, nearest
from hpc_dl.formatting import shortened
from hpc_dl.regular_files import DamagedFile, check_regular

_MAX_LISTED = 12
_MOST_ATTRIBUTE_BYTES = 64 << 20  # the names of four million words
_DAMAGED_REMEDY = "copy the file again, or create it again; `hpc-dl data verify` checks all of it"
_P = ParamSpec("_P")
_R = TypeVar("_R")


def reports_damage(read: Callable[_P, _R]) -> Callable[_P, _R]:
    """Turn errors of the HDF5 library inside a function into one line about the file.

    Which exception h5py raises depends on which byte is damaged, and where it is met.

    Args:
        read: a function whose first argument is the path of a file, or has it as ``file``.
    """

    @functools.wraps(read)
    def guarded(*arguments: _P.args, **options: _P.kwargs) -> _R:
        try:
            return read(*arguments, **options)
        except HpcDlError:
            raise
        except Exception as error:
            if not is_from_h5py(error):
                raise
            path = getattr(arguments[0], "file", arguments[0])
            raise DataError.at(path, f"is damaged: {_reason(error)}", remedy=_DAMAGED_REMEDY) from error

    return guarded


def is_from_h5py(error: BaseException) -> bool:
    """Whether the HDF5 library or h5py raised an error, as opposed to our own code."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and (frames[-1].filename.endswith(".pyx") or f"{os.sep}h5py{os.sep}" in frames[-1].filename)


def open_file(path: str | Path, *, chunk_cache_bytes: int | None = None, option: str = "") -> h5py.File:
    """Open a file for reading; use it as a context manager.

    Args:
        path: the file.
        option: the configuration key that named it, for the remedy; empty if no key did.
        chunk_cache_bytes: size of HDF5's cache of decoded chunks per dataset; HDF5's default if
            None.

    Raises:
        DataError: the file is missing, a folder, empty, unreadable, truncated, or not HDF5.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise DataError.at(path, "is a folder, not an HDF5 file", remedy="specify the path of a file in it")
        check_regular(path, path.stat())
        if path.stat().st_size == 0:
            raise DataError.at(path, "is empty (0 bytes)", remedy="copy the file again, or create it again")
        # If access is denied, h5py does not report the reason, but the system does.
        path.open("rb").close()
        return h5py.File(path, "r", rdcc_nbytes=chunk_cache_bytes)
    except DamagedFile as error:
        raise DataError(error.faults[0]) from None
    except FileNotFoundError:
        remedy = f"check `{option}`, or create the file first (`hpc-dl data make`)" if option else "check the path"
        raise DataError.at(path, "does not exist", remedy=remedy) from None
    except PermissionError:
        raise DataError.at(
            path,
            "cannot be read: permission denied",
            remedy="ask its owner for read access to the file and its folders",
        ) from None
    except OSError as error:
        if "truncated" in str(error):
            raise DataError.at(
                path,
                "is truncated: it is shorter than its header says",
                value=_reason(error),
                remedy="copy the file again, or create it again",
            ) from None
        if "signature not found" in str(error):
            raise DataError.at(
                path,
                "is not an HDF5 file",
                remedy="specify an HDF5 file, or convert the data with `hpc-dl data pack`",
            ) from None
        raise DataError.at(
            path,
            f"cannot be opened: {_reason(error)}",
            remedy="check with `h5ls -r FILE` whether HDF5 itself can read it",
        ) from None


class FoundDataset(h5py.Dataset):  # type: ignore[misc]  # h5py has no types
    """A dataset, and the path at which it was found.

    Behind an external link ``file`` and ``name`` are those of another file. ``NAME_offsets`` and
    the attributes of the file are looked up where the configuration says, in ``opened``.

    Attributes:
        opened: the file that was opened.
        path: the path in that file.
    """

    def __init__(self, dataset: h5py.Dataset, opened: h5py.File, path: str) -> None:
        super().__init__(dataset.id)
        self.opened, self.path = opened, path


def find_dataset(
    file: h5py.File, name: str, option: str, *, group: str = "", taken: Sequence[str] = ()
) -> FoundDataset:
    """Return the dataset at a path of an open file, with links followed.

    Args:
        file: the open file.
        name: path of the dataset; the leading ``/`` may be omitted.
        option: the configuration key that named it, for the remedy: ``data.inputs``.
        group: the group that the option's names are relative to; empty for the whole file.
        taken: paths of datasets that have another role, which are unlikely alternatives.

    Raises:
        DataError: the path holds no dataset (the message lists the existing ones), or a link,
            external storage or a virtual dataset leads out of the folder of the file.
    """
    name = f"/{name.strip('/')}"
    item = item_at(file, name)
    if isinstance(item, h5py.Dataset):
        check_links(item, where(file, name), file.filename)
        return FoundDataset(item, file, name)
    problem = "does not exist"
    existing = [path for path, _ in linked_datasets(file)]
    if isinstance(item, h5py.Group):
        problem = "is a group, not a dataset"
    elif broken := broken_link(file, name):
        problem = f"is behind a link whose target cannot be opened, {broken}"
    remedy = f"correct `{option}`; {_alternative(name, existing, group, taken)}".rstrip("; ")
    if in_groups := [path for path in existing if path.endswith(name)]:
        remedy = (
            f"the file has a group per split ({shortened(in_groups, 3)}): remove `data.splits`, "
            "or list the groups in `data.splits.groups`"
        )
    allowed = shortened(existing, _MAX_LISTED) or "the file has no datasets"
    raise DataError.at(where(file, name), problem, allowed=allowed, remedy=remedy)


def _alternative(name: str, existing: list[str], group: str, taken: Sequence[str]) -> str:
    """Suggest a dataset that is free for the role, named relative to the group; may be empty."""
    prefix = f"/{group.strip('/')}/" if group else "/"
    unlikely = {f"/{path.strip('/')}" for path in taken} | {f"{path}_offsets" for path in existing}
    free = [path for path in existing if path not in unlikely]
    names = [path.removeprefix(prefix) for path in free if path.startswith(prefix)]
    return f"did you mean {names[0]!r}?" if len(names) == 1 else nearest(name.removeprefix(prefix), names)


def find_neighbor(dataset: FoundDataset, ending: str) -> FoundDataset | None:
    """Return the dataset ``NAME + ending`` next to a dataset, or None.

    It is next to the path at which the dataset was found, or next to the target of its link.

    Raises:
        DataError: it leads out of the folder of the file.
    """
    if isinstance(item_at(dataset.opened, dataset.path + ending), h5py.Dataset):
        return find_dataset(dataset.opened, dataset.path + ending, "data.inputs")
    _, target = target_of(dataset.opened, dataset.path)
    if target != dataset.path and isinstance(neighbor := item_at(dataset.file, target + ending), h5py.Dataset):
        check_links(neighbor, where(neighbor), dataset.opened.filename)
        return FoundDataset(neighbor, dataset.file, target + ending)
    return None


def broken_link(file: h5py.File, path: str) -> str:
    """Return the first link on a path that leads nowhere, with its target; empty if none does."""
    parts = path.strip("/").split("/")
    for number in range(1, len(parts) + 1):
        part = "/".join(parts[:number])
        if item_at(file, part) is not None:
            continue
        parent = item_at(file, "/".join(parts[: number - 1]) or "/")
        link = parent.get(parts[number - 1], getlink=True) if isinstance(parent, h5py.Group) else None
        if isinstance(link, h5py.ExternalLink):
            return f"{link.filename}:/{link.path.strip('/')}"
        return link.path if isinstance(link, h5py.SoftLink) else ""
    return ""


def where(item: h5py.File | h5py.Dataset, name: str | None = None) -> str:
    """Return ``FILE:/dataset``, the place that an error names."""
    return f"{item.file.filename}:{item.name if name is None else name}"


def type_name(dataset: h5py.Dataset) -> str:
    """Return the type of a dataset's values; in HDF5's terms where NumPy's name says nothing."""
    dtype = dataset.dtype
    if h5py.check_string_dtype(dtype):
        return "strings"
    if h5py.check_ref_dtype(dtype):
        return "references"
    if (element := h5py.check_vlen_dtype(dtype)) is not None:
        return f"variable-length rows of {element}"
    if dtype.names:
        return f"compound of {', '.join(dtype.names)}"
    return "opaque bytes" if dtype.kind == "V" else str(dtype)


def _stored_bytes(attribute_id: Any) -> int:
    """Return the size of an attribute; h5py takes the size 0 of an empty one for an error."""
    try:
        return int(attribute_id.get_storage_size())
    except RuntimeError:
        return 0


def attribute(item: h5py.File | h5py.Dataset, name: str) -> Any:
    """Return an attribute in plain Python types, or None if it does not exist.

    Bytes become ``str``, arrays become lists.

    Raises:
        DataError: it is larger than any that we use.
    """
    if name in item.attrs and (size := _stored_bytes(item.attrs.get_id(name))) > _MOST_ATTRIBUTE_BYTES:
        raise DataError.at(
            f"{where(item)}, attribute {name}",
            f"is too large to read ({size} bytes)",
            allowed=f"up to {_MOST_ATTRIBUTE_BYTES} bytes",
            remedy="store it as a dataset",
        )
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


def _reason(error: BaseException) -> str:
    """Return HDF5's reason without h5py's preamble: ``truncated file: eof = 100, …``."""
    return str(error).partition("(")[2].removesuffix(")") or str(error)
