"""Formats that are read sample by sample: litdata, webdataset and mosaicml-streaming."""

from __future__ import annotations

import functools
import importlib
import sys
import types
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from benchmarks.reading.data_sets import CLASSES, DataSet, peer_path, raw_values
from benchmarks.reading.readers import Batch, Epochs, worker_options


def litdata_sample(index: int, folder: Path, data: DataSet) -> tuple[torch.Tensor, int]:
    """Return one sample, for litdata to store."""
    return torch.from_numpy(np.array(raw_values(folder, data)[index])), index % CLASSES


def write_litdata(folder: Path, data: DataSet) -> None:
    """Store the samples in chunks of 64 MB."""
    import litdata

    sample = functools.partial(litdata_sample, folder=folder, data=data)
    litdata.optimize(
        fn=sample,
        inputs=list(range(data.few)),
        output_dir=str(peer_path(folder, data, "litdata")),
        chunk_bytes="64MB",
        num_workers=1,
        verbose=False,
    )


def litdata_epochs(folder: Path, data: DataSet, *, workers: int) -> Epochs:
    """Read with litdata's own loader."""
    import litdata

    dataset = litdata.StreamingDataset(str(peer_path(folder, data, "litdata")), shuffle=True, drop_last=True)
    loader = litdata.StreamingDataLoader(dataset, batch_size=data.batch, **worker_options(workers))
    return lambda number: iter(loader)


def write_webdataset(folder: Path, data: DataSet) -> None:
    """Store the samples in about 16 tar files."""
    import webdataset

    target = peer_path(folder, data, "webdataset")
    target.mkdir()
    shard = max(1, data.few // 16)
    with webdataset.ShardWriter(str(target / "%04d.tar"), maxcount=shard, verbose=0) as sink:
        for index in range(data.few):
            sink.write(
                {
                    "__key__": f"{index:08d}",
                    "x.npy": np.array(raw_values(folder, data)[index]),
                    "y.cls": index % CLASSES,
                }
            )


def webdataset_epochs(folder: Path, data: DataSet, *, workers: int) -> Epochs:
    """Read shuffled tar files with a buffer of 1,000 samples."""
    import webdataset

    shards = sorted(map(str, peer_path(folder, data, "webdataset").glob("*.tar")))

    def epoch(number: int) -> Iterator[Batch]:
        pipeline = (
            webdataset.WebDataset(shards, shardshuffle=len(shards), seed=number)
            .shuffle(1000)
            .decode()
            .to_tuple("x.npy", "y.cls")
            .map_tuple(torch.from_numpy)
            .batched(data.batch, partial=False)
        )
        for x, y in webdataset.WebLoader(pipeline, batch_size=None, **worker_options(workers)):
            yield torch.as_tensor(x), torch.as_tensor(y)

    return epoch


def import_streaming() -> Any:
    """Import the package ``streaming``.

    It imports torchvision and transformers for classes that are not used here. torchvision must
    match the installed build of torch, and transformers brings dozens of packages, so empty modules
    replace them during the import.
    """
    if "streaming" not in sys.modules:
        replacements: dict[str, dict[str, Any]] = {
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
        for name, content in replacements.items():
            module = types.ModuleType(name)
            module.__spec__ = ModuleSpec(name, None)
            module.__dict__.update(content)
            sys.modules[name] = module
        try:
            importlib.import_module("streaming")
        finally:
            for name in replacements:
                del sys.modules[name]
    return sys.modules["streaming"]


def write_streaming(folder: Path, data: DataSet) -> None:
    """Store the samples in MDS files."""
    streaming = import_streaming()
    shape = ",".join(map(str, data.shape))
    columns = {"x": f"ndarray:{data.dtype}:{shape}", "y": "int"}
    target = str(peer_path(folder, data, "mosaicml-streaming"))
    with streaming.MDSWriter(out=target, columns=columns, progress_bar=False) as sink:
        for index in range(data.few):
            sink.write({"x": np.array(raw_values(folder, data)[index]), "y": index % CLASSES})


def streaming_epochs(folder: Path, data: DataSet, *, workers: int) -> Epochs:
    """Read with a StreamingDataset in a DataLoader."""
    streaming = import_streaming()
    streaming.base.util.clean_stale_shared_memory()
    dataset = streaming.StreamingDataset(
        local=str(peer_path(folder, data, "mosaicml-streaming")),
        shuffle=True,
        batch_size=data.batch,
        num_canonical_nodes=1,
    )
    loader = DataLoader(dataset, batch_size=data.batch, drop_last=True, **worker_options(workers))

    def epoch(number: int) -> Iterator[Batch]:
        for batch in loader:
            yield batch["x"], batch["y"]

    return epoch
