"""Networks of torchvision, timm, torch_geometric and transformers, trained from a YAML.

None of them is a dependency: install what is needed in an environment of its own. A test is skipped
where its package is missing.
"""

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpc_dl.cluster.prepare import check
from hpc_dl.config.experiment import Experiment
from hpc_dl.data.files.format import write
from hpc_dl.data.ragged import Ragged
from hpc_dl.regular_files import read_json
from hpc_dl.training.train import train
from tests import experiments

pytestmark = pytest.mark.slow

CLASSES = ["a", "b", "c"]
SPLITS = {"train": 24, "val": 12, "test": 12}


def images(path: Path, channels: int, masks: bool = False) -> Path:
    """Images of 32 × 32 pixels whose brightness is the class, of the image or of each half."""
    splits = {}
    for seed, (split, size) in enumerate(SPLITS.items()):
        x = np.random.default_rng(seed).normal(0, 0.1, (size, channels, 32, 32)).astype(np.float32)
        y = np.arange(size) % 3
        if masks:
            y = np.tile((np.arange(32) // 16)[None, None], (size, 32, 1))
        x += y[:, None] if masks else y[:, None, None, None]
        splits[split] = {"inputs": x, "targets": y.astype(np.int64)}
    write(path, splits, source="squares", task="segmentation" if masks else "classification", license="CC0-1.0",
          class_names=CLASSES[:2] if masks else CLASSES)  # fmt: skip
    return path


def graphs(path: Path, task: str) -> Path:
    """Rings whose nodes have three features, of which the largest is the class."""
    splits = {}
    for seed, (split, size) in enumerate(SPLITS.items()):
        generator = np.random.default_rng(seed)
        sizes = [4 + number % 3 for number in range(size)]
        of_graphs = np.arange(size) % 3
        of_nodes = np.repeat(of_graphs, sizes)
        nodes = generator.normal(0, 0.1, (sum(sizes), 3)) + np.eye(3)[of_nodes]
        edges = [np.stack([np.arange(n), (np.arange(n) + 1) % n], 1) for n in sizes]
        offsets = np.cumsum([0, *sizes])
        targets: Any = Ragged(of_nodes, offsets) if task == "node_classification" else of_graphs
        splits[split] = {
            "nodes": Ragged(nodes.astype(np.float32), offsets), "edges": Ragged.of(edges), "targets": targets
        }  # fmt: skip
    write(path, splits, source="rings", task=task, license="CC0-1.0", class_names=CLASSES, inputs=("nodes", "edges"))  # type: ignore[arg-type]
    return path


def tokens(path: Path, ragged: bool) -> Path:
    """Sequences of three tokens: a periodic text, or one token per sample, the class."""
    splits: dict[str, Any] = {}
    for split, size in SPLITS.items():
        labels = np.arange(size) % 3
        if ragged:
            lengths = [3 + n % 4 for n in range(size)]
            samples = [np.full(length, label) for length, label in zip(lengths, labels, strict=True)]
            splits[split] = {"inputs": Ragged.of(samples), "targets": labels}
        else:
            splits[split] = {"inputs": np.tile([0, 1, 2], size * 4).astype(np.int64)}
    if ragged:
        write(path, splits, source="words", task="classification", license="CC0-1.0", class_names=CLASSES)
    else:
        write(path, splits, source="text", task="language_modeling", license="CC0-1.0", class_names=CLASSES,
              targets=(), stream=True)  # fmt: skip
    return path


SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
SQUARES = {"image_size": 32, "patch_size": 8, "num_channels": 1, "num_labels": 3}
CASES: dict[str, tuple[str, Any, Any, dict[str, Any]]] = {
    # the data, the network, its arguments, further keys of the section `data`
    "torchvision-resnet18": (
        "gray",
        "torch.nn.Sequential",
        [
            {"class": "torch.nn.Conv2d", "args": [1, 3, 1]},
            {"class": "torchvision.models.resnet18", "args": {"num_classes": 3}},
        ],
        {},
    ),
    "torchvision-vit": (
        "color",
        "torchvision.models.VisionTransformer",
        {"image_size": 32, "patch_size": 8, "num_layers": 1, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 16,
         "num_classes": 3},
        {},
    ),
    "torchvision-lraspp": (
        "masks", "torchvision.models.segmentation.lraspp_mobilenet_v3_large",
        {"num_classes": 2, "weights": None, "weights_backbone": None}, {},
    ),
    "timm": (
        "gray", "timm.create_model", {"model_name": "resnet10t", "num_classes": 3, "in_chans": 1}, {}
    ),
    "torch_geometric-GIN": (
        "nodes", "torch_geometric.nn.models.GIN",
        {"in_channels": 3, "hidden_channels": 16, "num_layers": 2, "out_channels": 3}, {},
    ),
    "torch_geometric-GCN": (
        "graphs", "torch_geometric.nn.models.GCN",
        {"in_channels": 3, "hidden_channels": 16, "num_layers": 2, "out_channels": 3}, {},
    ),
    "transformers-gpt2": (
        "text",
        "transformers.GPT2LMHeadModel",
        {"config": {"class": "transformers.GPT2Config",
                    "args": {"vocab_size": 3, "n_embd": 16, "n_layer": 1, "n_head": 2, "use_cache": False}}},
        {"targets": None, "windows": {"length": 12}},
    ),
    "transformers-bert": (
        "words",
        "transformers.BertForSequenceClassification",
        {"config": {"class": "transformers.BertConfig", "args": {**SMALL, "vocab_size": 3, "num_labels": 3}}},
        {},
    ),
    "transformers-vit": (
        "gray", "transformers.ViTForImageClassification",
        {"config": {"class": "transformers.ViTConfig", "args": {**SMALL, **SQUARES}}}, {},
    ),
}  # fmt: skip
FILES: dict[str, Any] = {
    "gray": lambda path: images(path, 1),
    "color": lambda path: images(path, 3),
    "masks": lambda path: images(path, 3, masks=True),
    "nodes": lambda path: graphs(path, "node_classification"),
    "graphs": lambda path: graphs(path, "classification"),
    "text": lambda path: tokens(path, ragged=False),
    "words": lambda path: tokens(path, ragged=True),
}


@pytest.mark.parametrize("case", CASES)
def test_published_network_trains(tmp_path: Path, case: str) -> None:
    package = case.partition("-")[0]
    try:
        importlib.import_module(package)
    except Exception as error:  # torchvision raises a RuntimeError where torch is another build
        pytest.skip(f"{package} cannot be imported: {error}")
    file, network, args, data = CASES[case]
    content = experiments.raw(
        FILES[file](tmp_path / "data.h5"),
        data={"batch_size": 6, **data},
        model={"network": network, "args": args},
        optimizer={"name": "adam", "lr": 0.01},
        trainer={"max_epochs": 5, "log_every_n_steps": 4},
    )
    check(Experiment.from_dict(content), data_dir=None, say=pytest.fail, try_batches=True)
    run = experiments.prepared(tmp_path, content)
    train(run)
    metrics = read_json(run.result)["metrics"]
    # Batch normalization has seen few batches: its statistics are not yet those of the data.
    assert math.isfinite(metrics["val/loss"]) and math.isfinite(metrics["test/loss"])
    assert metrics["train/loss"] < 1.3
