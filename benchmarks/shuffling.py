"""The quality of shuffling by blocks on the worst case: Fashion-MNIST sorted by class, in chunks.

It is measured by how uneven the classes are in the batches, compared with the exact shuffle, and by
the accuracy of a network after one epoch. ``python -m benchmarks.shuffling`` writes
benchmarks/shuffling.json and a section of docs/reference/benchmarks.md.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import nn

from benchmarks import page
from benchmarks.page import describe, paragraph, table
from hpc_dl.data import sources
from hpc_dl.data.datamodule import HDF5DataModule

BATCH, CHUNK_ROWS, SEEDS = 128, 64, (0, 1, 2)
BUFFERS = (1.0, 4.0, 16.0, 32.0)  # MiB


def sort_by_class(source: Path, target: Path) -> None:
    """Copy a data file, with each split sorted by class and in gzip chunks of 64 rows."""
    with h5py.File(source) as file, h5py.File(target, "w") as copy:
        for split in ("train", "val", "test"):
            y = file[f"{split}/targets"][()]
            order = np.argsort(y, kind="stable")
            x = file[f"{split}/inputs"][()][order]
            copy.create_dataset(f"{split}/inputs", data=x, chunks=(CHUNK_ROWS, *x.shape[1:]), compression="gzip")
            copy[f"{split}/targets"] = y[order]


def measure(path: Path, seed: int, **options: Any) -> dict[str, float]:
    """Train an MLP for one epoch.

    Args:
        path: the data file.
        seed: of the shuffle and the weights.
        options: of the data module.

    Returns:
        ``spread``: the standard deviation of a class's share over the batches, averaged over the
        classes; ``accuracy`` on the test split.
    """
    data = HDF5DataModule(path, batch_size=BATCH, seed=seed, **options)
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    x: Any
    y: Any
    shares = []
    for batch in data.train_dataloader():
        x, y = data.on_after_batch_transfer(batch, 0)
        shares.append(np.bincount(y.numpy(), minlength=10) / BATCH)
        optimizer.zero_grad()
        loss: Any = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    correct = total = 0
    with torch.no_grad():
        for batch in data.test_dataloader():
            x, y = data.on_after_batch_transfer(batch, 0)
            correct += int((model(x).argmax(1) == y).sum())
            total += len(y)
    return {"spread": float(np.std(shares, axis=0).mean()), "accuracy": correct / total}


def section(results: dict[str, Any]) -> list[str]:
    """Return the lines of the section."""
    text = (
        f"Fashion-MNIST sorted by class (the worst case), gzip, chunks of {results['chunk_rows']} rows (50 KB), "
        f"batches of {results['batch']}. The spread is the standard deviation of a class's share over the batches of "
        "an epoch; that of the exact shuffle is due to chance alone. The accuracy is that of an MLP on the test split "
        f"after one epoch. Medians of {len(SEEDS)} seeds. A file that was shuffled when it was written gives the "
        "figures of the last row with any buffer."
    )
    exact = results["median"]["exact"]
    rows = [
        [name, f"{figures['spread']:.4f}", f"{figures['spread'] / exact['spread']:.2f}", f"{figures['accuracy']:.3f}"]
        for name, figures in results["median"].items()
    ]
    head = ["shuffle", "spread", "times the exact one", "accuracy"]
    return [*paragraph(describe(results["machine"])), "", *paragraph(text), "", *table(head, rows)]


def main() -> None:
    """Measure every buffer size and the exact shuffle, and publish the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shuffling", description=__doc__)
    parser.add_argument("--data", type=Path, default=None, help="folder of the data files")
    options = page.parse(parser, quick="one seed")
    facts = page.machine("torch", "h5py", "numpy")
    source = sources.ensure("fashion_mnist", options.data)
    shuffles: dict[str, dict[str, Any]] = {
        f"blocks, buffer of {size:g} MiB": {"shuffle_buffer": size} for size in BUFFERS
    }
    shuffles["exact"] = {"shuffle": "exact", "shuffle_buffer": 64.0}
    seeds = SEEDS[:1] if options.quick else SEEDS
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sorted.h5"
        sort_by_class(source, path)
        runs = {name: [measure(path, seed, **arguments) for seed in seeds] for name, arguments in shuffles.items()}
    median = {
        name: {key: statistics.median(figures[key] for figures in by_seed) for key in by_seed[0]}
        for name, by_seed in runs.items()
    }
    results = {"machine": facts, "batch": BATCH, "chunk_rows": CHUNK_ROWS, "runs": runs, "median": median}
    page.publish("shuffling", results, options.json)


if __name__ == "__main__":
    main()
