"""Packing of small sources in small blocks, and reading of the packed files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hpc_dl.data.packing import layout, pack, source, writers
from hpc_dl.data.packing.layout import choose_layout
from hpc_dl.data.packing.pack import PackRequest
from hpc_dl.data.packing.source import PackOptions
from hpc_dl.data.packing.split_assignment import parse_fractions

Pack = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Get many blocks, chunks and checkpoints from few samples; do not measure the speed."""
    monkeypatch.setattr(source, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(layout, "_CHUNK_BYTES", 300)
    monkeypatch.setattr(writers, "CHECKPOINT_BYTES", 3000)
    monkeypatch.setattr(pack, "SPEED_SECONDS", 0.001)


def request(
    *, layout_name: Any = None, codec: Any = None, splits: str = "", seed: int = 0, license: str = "",
    verify: bool = True, force: bool = False, **options: Any,
) -> PackRequest:  # fmt: skip
    """The request that the command-line options lead to."""
    return PackRequest(
        options=PackOptions(**options),
        layout=choose_layout(layout_name, codec),
        fractions=parse_fractions(splits) if splits else None,
        seed=seed,
        license=license,
        verify=verify,
        force=force,
    )


def packed(path: Path, out: Path, **options: Any) -> dict[str, Any]:
    """Pack and verify; check that no staging folder remains."""
    result = pack.pack(path, out, request(**options), lambda *_: None)
    assert [child.name for child in out.parent.iterdir() if child.name.endswith(".part")] == []
    return result


def content(path: Path) -> dict[str, np.ndarray]:
    """Read all datasets by path, with h5py itself."""
    arrays: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: arrays.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
    return arrays


def images(num_samples: int, seed: int = 0, shape: tuple[int, ...] = (5, 6)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num_samples, *shape), np.uint8)


def labels(num_samples: int, num_classes: int = 3) -> np.ndarray:
    return np.arange(num_samples) % num_classes
