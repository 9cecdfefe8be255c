"""How well shuffling by blocks mixes the worst file there is: Fashion-MNIST sorted by class,
compressed in chunks.

Judged by the batches (how uneven the classes are in them, beside the exact shuffle), and by what a
network learns.

    python -m benchmarks.shuffling --data DIR
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import nn

from benchmarks.page import machine, table, told, write_section
from hpc_dl.data import sources
from hpc_dl.data.datamodule import HDF5DataModule

TITLE = "Shuffling by blocks"
BATCH, CHUNK_ROWS, SEEDS = 128, 64, (0, 1, 2)
BUFFERS = (1.0, 4.0, 16.0, 32.0)


def sort_by_class(source: Path, target: Path) -> None:
    """The same samples, all of class 0 first, and so on; chunks of 64 rows, gzip."""
    with h5py.File(source) as file, h5py.File(target, "w") as new:
        for split in ("train", "val", "test"):
            y = file[f"{split}/targets"][()]
            order = np.argsort(y, kind="stable")
            x = file[f"{split}/inputs"][()][order]
            new.create_dataset(f"{split}/inputs", data=x, chunks=(CHUNK_ROWS, *x.shape[1:]), compression="gzip")
            new[f"{split}/targets"] = y[order]


def measure(path: Path, seed: int, **arguments: Any) -> dict[str, float]:
    """One epoch of an MLP; the spread of the classes' shares over the batches, and the accuracy
    after it."""
    data = HDF5DataModule(path, batch_size=BATCH, seed=seed, **arguments)
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    shares = []
    for batch in data.train_dataloader():
        x, y = data.on_after_batch_transfer(batch, 0)
        shares.append(np.bincount(y.numpy(), minlength=10) / BATCH)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    right = total = 0
    with torch.no_grad():
        for batch in data.test_dataloader():
            x, y = data.on_after_batch_transfer(batch, 0)
            right += int((model(x).argmax(1) == y).sum())
            total += len(y)
    return {"spread": float(np.std(shares, axis=0).mean()), "accuracy": right / total}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=None, help="folder of the data files")
    arguments = parser.parse_args()
    facts = machine("torch", "h5py", "numpy")
    source = sources.ensure("fashion_mnist", arguments.data)
    ways: dict[str, dict[str, Any]] = {f"blocks, buffer of {size:g} MiB": {"shuffle_buffer": size} for size in BUFFERS}
    ways["exact"] = {"shuffle": "exact", "shuffle_buffer": 64.0}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sorted.h5"
        sort_by_class(source, path)
        found = {name: [measure(path, seed, **options) for seed in SEEDS] for name, options in ways.items()}
    median = {
        name: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for name, runs in found.items()
    }
    exact = median["exact"]
    rows = [
        [name, f"{values['spread']:.4f}", f"{values['spread'] / exact['spread']:.2f}", f"{values['accuracy']:.3f}"]
        for name, values in median.items()
    ]
    write_section(
        TITLE,
        [
            told(facts),
            "",
            f"Fashion-MNIST sorted by class (the worst case), gzip, chunks of {CHUNK_ROWS} rows (50 KB), batches",
            f"of {BATCH}. The spread is the standard deviation of a class's share over an epoch's batches, beside",
            "that of the exact shuffle (which is chance); the accuracy is an MLP's on the test split after one",
            f"epoch. Medians of {len(SEEDS)} seeds. A file that was shuffled when it was written gives the last row's",
            "figures with any buffer.",
            "",
            *table(["Shuffle", "spread", "of the exact one", "accuracy"], rows),
        ],
    )
    result = {"machine": facts, "batch": BATCH, "chunk_rows": CHUNK_ROWS, "runs": found, "median": median}
    (Path(__file__).parent / "shuffling.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
