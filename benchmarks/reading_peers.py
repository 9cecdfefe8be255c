"""Other formats and their loaders, as their documentation says to use them, on the same samples.

A peer that is not installed is left out and named: ``pip install --no-deps -r
benchmarks/peers.txt`` installs them.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import sys
import types
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from benchmarks.reading_sets import CLASSES, WINDOW_BYTES, DataSet, labels, raw
from benchmarks.reading_ways import Batch, Epoch, Way, processes

# Distribution of each peer; its version stands on the page.
PACKAGES = {
    "litdata": "litdata",
    "webdataset": "webdataset",
    "mosaicml-streaming": "mosaicml-streaming",
    "zarr": "zarr",
    "tensorstore": "tensorstore",
    "tensordict": "tensordict",
}


def versions() -> dict[str, str]:
    """The peers that are installed."""
    found = {}
    for name, distribution in PACKAGES.items():
        try:
            found[name] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def place(folder: Path, data: DataSet, peer: str) -> Path:
    """Where a peer keeps a data set."""
    return folder / f"{data.name}-{peer}"


# --- one sample at a time -----------------------------------------------------------------------


def litdata_sample(index: int, folder: Path, data: DataSet) -> tuple[torch.Tensor, int]:
    return torch.from_numpy(np.array(raw(folder, data)[index])), index % CLASSES


def write_litdata(folder: Path, data: DataSet) -> None:
    import litdata

    sample = functools.partial(litdata_sample, folder=folder, data=data)
    litdata.optimize(
        fn=sample,
        inputs=list(range(data.few)),
        output_dir=str(place(folder, data, "litdata")),
        chunk_bytes="64MB",
        num_workers=1,
        verbose=False,
    )


def litdata_epochs(folder: Path, data: DataSet, *, workers: int) -> Epoch:
    import litdata

    dataset = litdata.StreamingDataset(str(place(folder, data, "litdata")), shuffle=True, drop_last=True)
    loader = litdata.StreamingDataLoader(dataset, batch_size=data.batch, **processes(workers))
    return lambda number: iter(loader)


def write_webdataset(folder: Path, data: DataSet) -> None:
    import webdataset

    target = place(folder, data, "webdataset")
    target.mkdir()
    shard = max(1, data.few // 16)
    with webdataset.ShardWriter(str(target / "%04d.tar"), maxcount=shard, verbose=0) as sink:
        for index in range(data.few):
            sink.write(
                {"__key__": f"{index:08d}", "x.npy": np.array(raw(folder, data)[index]), "y.cls": index % CLASSES}
            )


def webdataset_epochs(folder: Path, data: DataSet, *, workers: int) -> Epoch:
    import webdataset

    shards = sorted(map(str, place(folder, data, "webdataset").glob("*.tar")))

    def epoch(number: int) -> Iterator[Batch]:
        pipeline = (
            webdataset.WebDataset(shards, shardshuffle=len(shards), seed=number)
            .shuffle(1000)
            .decode()
            .to_tuple("x.npy", "y.cls")
            .map_tuple(torch.from_numpy)
            .batched(data.batch, partial=False)
        )
        for x, y in webdataset.WebLoader(pipeline, batch_size=None, **processes(workers)):
            yield torch.as_tensor(x), torch.as_tensor(y)

    return epoch


def import_streaming() -> Any:
    """The package ``streaming``.

    It imports torchvision and transformers for classes that are not used here. The one must be
    built for the very torch that is installed, the other brings dozens of packages: empty stand-ins
    do, for as long as the import takes.
    """
    if "streaming" not in sys.modules:
        stand_ins: dict[str, dict[str, Any]] = {
            "torchvision": {},
            "torchvision.datasets": {"VisionDataset": object},
            "torchvision.transforms": {},
            "torchvision.transforms.functional": {"to_tensor": None},
            "transformers": {},
            "transformers.feature_extraction_utils": {"BatchFeature": dict},
            "transformers.models": {},
            "transformers.models.auto": {},
            "transformers.models.auto.tokenization_auto": {"AutoTokenizer": object},
            "transformers.tokenization_utils_base": {"BatchEncoding": dict},
        }
        for name, content in stand_ins.items():
            module = types.ModuleType(name)
            module.__spec__ = ModuleSpec(name, None)
            module.__dict__.update(content)
            sys.modules[name] = module
        try:
            importlib.import_module("streaming")
        finally:
            for name in stand_ins:
                del sys.modules[name]
    return sys.modules["streaming"]


def write_streaming(folder: Path, data: DataSet) -> None:
    streaming = import_streaming()
    shape = ",".join(map(str, data.shape))
    columns = {"x": f"ndarray:{data.dtype}:{shape}", "y": "int"}
    target = str(place(folder, data, "mosaicml-streaming"))
    with streaming.MDSWriter(out=target, columns=columns, progress_bar=False) as sink:
        for index in range(data.few):
            sink.write({"x": np.array(raw(folder, data)[index]), "y": index % CLASSES})


def streaming_epochs(folder: Path, data: DataSet, *, workers: int) -> Epoch:
    streaming = import_streaming()
    streaming.base.util.clean_stale_shared_memory()
    dataset = streaming.StreamingDataset(
        local=str(place(folder, data, "mosaicml-streaming")), shuffle=True, batch_size=data.batch, num_canonical_nodes=1
    )
    loader = DataLoader(dataset, batch_size=data.batch, drop_last=True, **processes(workers))

    def epoch(number: int) -> Iterator[Batch]:
        for batch in loader:
            yield batch["x"], batch["y"]

    return epoch


# --- arrays of chunks ---------------------------------------------------------------------------


def in_windows(data: DataSet, read: Callable[[list[slice]], Any], wait: Callable[[Any], Any]) -> Epoch:
    """Shuffled batches from chunks: a window of chunks drawn at random, its samples shuffled among
    each other.

    The next window is asked for before the one at hand is given out.
    """
    y = labels(data)
    chunks = [slice(start, min(start + data.chunk, data.few)) for start in range(0, data.few, data.chunk)]
    per_window = max(1, WINDOW_BYTES // (data.chunk * data.sample_bytes))

    def epoch(number: int) -> Iterator[Batch]:
        generator = np.random.default_rng(number)
        order = generator.permutation(len(chunks))
        windows = [
            [chunks[chunk] for chunk in order[start : start + per_window]] for start in range(0, len(order), per_window)
        ]
        coming = read(windows[0])
        for position, window in enumerate(windows):
            parts = wait(coming)
            if position + 1 < len(windows):
                coming = read(windows[position + 1])
            x = np.concatenate(parts)
            classes = np.concatenate([y[chunk] for chunk in window])
            mixed = generator.permutation(len(x))
            for start in range(0, len(x) - data.batch + 1, data.batch):
                rows = mixed[start : start + data.batch]
                yield torch.from_numpy(x[rows]), torch.from_numpy(classes[rows])

    return epoch


def write_zarr(folder: Path, data: DataSet) -> None:
    import zarr

    array = zarr.create_array(
        str(place(folder, data, "zarr")),
        shape=(data.few, *data.shape),
        chunks=(data.chunk, *data.shape),
        dtype=data.dtype,
        compressors=zarr.codecs.ZstdCodec(level=3),
    )
    array[:] = raw(folder, data)[: data.few]


def zarr_epochs(folder: Path, data: DataSet) -> Epoch:
    """One chunk after the other: zarr decodes a chunk's bytes in threads of its own."""
    import zarr

    zarr.config.set({"threading.max_workers": 2})
    array = zarr.open_array(str(place(folder, data, "zarr")), mode="r")
    return in_windows(data, lambda window: window, lambda window: [array[chunk] for chunk in window])


def tensorstore_epochs(folder: Path, data: DataSet) -> Epoch:
    """The array that zarr wrote; two threads decode, and the next window comes meanwhile."""
    import tensorstore

    array = tensorstore.open(
        {
            "driver": "zarr3",
            "kvstore": {"driver": "file", "path": str(place(folder, data, "zarr"))},
            "context": {"data_copy_concurrency": {"limit": 2}, "file_io_concurrency": {"limit": 2}},
        },
        read=True,
        open=True,
    ).result()
    return in_windows(
        data,
        lambda window: [array[chunk].read() for chunk in window],
        lambda futures: [future.result() for future in futures],
    )


def write_tensordict(folder: Path, data: DataSet) -> None:
    from tensordict import MemoryMappedTensor

    values = torch.from_numpy(np.array(raw(folder, data)[: data.few]))
    MemoryMappedTensor.from_tensor(values, filename=str(place(folder, data, "tensordict")))


def tensordict_epochs(folder: Path, data: DataSet) -> Epoch:
    from tensordict import MemoryMappedTensor

    x = MemoryMappedTensor.from_filename(
        filename=str(place(folder, data, "tensordict")),
        dtype=getattr(torch, data.dtype),
        shape=torch.Size((data.few, *data.shape)),
    )
    y = torch.from_numpy(labels(data))

    def epoch(number: int) -> Iterator[Batch]:
        order = torch.randperm(data.few, generator=torch.Generator().manual_seed(number))
        for rows in order.split(data.batch):
            if len(rows) == data.batch:
                yield x[rows], y[rows]

    return epoch


_WRITERS = {
    "litdata": write_litdata,
    "webdataset": write_webdataset,
    "mosaicml-streaming": write_streaming,
    "zarr": write_zarr,
    "tensordict": write_tensordict,
}


def write(folder: Path, data: DataSet, peer: str) -> None:
    """Store a data set as a peer wants it; tensorstore reads zarr's."""
    if peer in _WRITERS:
        _WRITERS[peer](folder, data)


def ways() -> dict[str, Way]:
    """Those whose package is installed."""
    here = versions()
    by_sample: dict[str, Any] = {
        "litdata": litdata_epochs,
        "webdataset": webdataset_epochs,
        "mosaicml-streaming": streaming_epochs,
    }
    by_array: dict[str, Way] = {
        "zarr": zarr_epochs,
        "tensorstore": tensorstore_epochs,
        "tensordict": tensordict_epochs,
    }
    found: dict[str, Way] = {
        f"{name}, {workers} workers": functools.partial(way, workers=workers)
        for name, way in by_sample.items()
        if name in here
        for workers in (0, 2)
    }
    found |= {name: way for name, way in by_array.items() if name in here and (name != "tensorstore" or "zarr" in here)}
    return found
