"""A graph like a citation network, and how well two GCNs classify its nodes.

``python -m tests.models.citation_graph`` measures that of torch_geometric and that of hpc_dl again;
torch_geometric is not needed otherwise.
"""

import json
import statistics
import tempfile
from pathlib import Path

import h5py
import numpy as np

REFERENCE = Path(__file__).with_name("citation_graph.json")
NUM_NODES, NUM_FEATURES, NUM_CLASSES = 2708, 1433, 7
SHARES = (0.130, 0.080, 0.154, 0.302, 0.157, 0.110, 0.067)  # of the classes of Cora
NUM_TRAIN, NUM_VAL, NUM_TEST = 140, 500, 1000
EPOCHS, WIDTH, DROPOUT, RATE, L2 = 200, 16, 0.5, 0.01, 5e-4
_DEGREE, _INSIDE = 3.9, 0.81  # edges per node, and the share of them within a class
_WORDS, _TOPIC = 18, 0.16  # words per node, and the share of them that its class prefers


def citation_graph(seed: int = 0) -> dict[str, np.ndarray]:
    """A stochastic block model with a bag of words per node.

    Returns:
        ``nodes`` (N, F) float32, rows sum to 1; ``edges`` (E, 2), each once; ``targets`` (N,);
        ``train_mask``, ``val_mask`` and ``test_mask`` (N,) bool.
    """
    generator = np.random.default_rng(seed)
    targets = generator.choice(NUM_CLASSES, NUM_NODES, p=np.array(SHARES) / sum(SHARES))
    same = targets[:, None] == targets
    density = np.where(same, _INSIDE / same.mean(), (1 - _INSIDE) / (1 - same.mean())) * _DEGREE / NUM_NODES
    edges = np.argwhere(np.triu(generator.random((NUM_NODES, NUM_NODES)) < density, 1))
    popularity = generator.pareto(1.5, NUM_FEATURES) + 0.1
    topics = generator.permutation(NUM_FEATURES)[: NUM_CLASSES * 100].reshape(NUM_CLASSES, 100)
    nodes = np.zeros((NUM_NODES, NUM_FEATURES), np.float32)
    for node, label in enumerate(targets):
        chances = (1 - _TOPIC) * popularity / popularity.sum()
        chances[topics[label]] += _TOPIC / topics.shape[1]
        nodes[node, generator.choice(NUM_FEATURES, _WORDS, replace=False, p=chances / chances.sum())] = 1
    order = generator.permutation(NUM_NODES)
    train = np.concatenate([order[targets[order] == label][:20] for label in range(NUM_CLASSES)])
    others = order[~np.isin(order, train)]
    parts = {"train": train, "val": others[:NUM_VAL], "test": others[NUM_VAL : NUM_VAL + NUM_TEST]}
    masks = {f"{name}_mask": np.isin(np.arange(NUM_NODES), part) for name, part in parts.items()}
    return {"nodes": nodes / nodes.sum(1, keepdims=True), "edges": edges, "targets": targets, **masks}


def write(path: Path) -> None:
    """Write the graph once, for ``data.splits.nodes``; -1 for nodes of no split."""
    graph = citation_graph()
    labeled = graph["train_mask"] | graph["val_mask"] | graph["test_mask"]
    with h5py.File(path, "w") as file:
        for name, values in graph.items():
            file[name] = np.where(labeled, values, -1) if name == "targets" else values


def _reference_accuracy(seed: int) -> float:
    """Train the GCN of torch_geometric's own example; its test accuracy after the last epoch."""
    import torch
    from torch.nn import functional
    from torch_geometric.nn import GCNConv

    torch.manual_seed(seed)
    graph = {name: torch.from_numpy(values) for name, values in citation_graph().items()}
    edges = torch.cat([graph["edges"], graph["edges"].flip(1)]).T.contiguous()
    first, last = GCNConv(NUM_FEATURES, WIDTH, cached=True), GCNConv(WIDTH, NUM_CLASSES, cached=True)
    weights = [first.lin.weight, last.lin.weight]  # as hpc_dl's `loss.l2`; the paper: the first only
    groups = [{"params": weights, "weight_decay": L2}, {"params": [first.bias, last.bias]}]
    optimizer = torch.optim.Adam(groups, RATE)

    def outputs(training: bool) -> torch.Tensor:
        hidden = first(functional.dropout(graph["nodes"], DROPOUT, training), edges).relu()
        return last(functional.dropout(hidden, DROPOUT, training), edges)

    for _ in range(EPOCHS):
        optimizer.zero_grad()
        functional.cross_entropy(outputs(True)[graph["train_mask"]], graph["targets"][graph["train_mask"]]).backward()
        optimizer.step()
    with torch.no_grad():
        correct = outputs(False).argmax(1) == graph["targets"]
    return float(correct[graph["test_mask"]].float().mean())


def accuracy(file: Path, seed: int) -> float:
    """Train the GCN of hpc_dl like an experiment; its test accuracy after the last epoch."""
    import pytorch_lightning as pl

    from hpc_dl.config.experiment import Experiment
    from hpc_dl.data.datamodule import HDF5DataModule
    from hpc_dl.data.open_spec import open_spec
    from hpc_dl.training.model_building import build_model

    experiment = Experiment.from_dict(
        {
            "name": "gcn-citations",
            "seed": seed,
            "data": {
                "file": str(file),
                "inputs": ["nodes", "edges"],
                "splits": {"nodes": {}},
                "scaling": "none",
                "batch_size": 1,
            },
            "model": {"name": "gcn", "depth": 2, "width": WIDTH, "dropout": DROPOUT},
            "loss": {"l2": L2},
            "optimizer": {"name": "adam", "lr": RATE},
            "schedule": {"name": "constant"},
            "metrics": ["accuracy"],
            "trainer": {"max_epochs": EPOCHS},
        }
    )
    data = open_spec(experiment.data)
    pl.seed_everything(seed, verbose=False)
    model = build_model(experiment, data)
    batches = HDF5DataModule.from_config(experiment.data, data, seed=seed)
    trainer = pl.Trainer(
        max_epochs=EPOCHS, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(model, batches)
    trainer.test(model, batches, verbose=False)
    return float(trainer.callback_metrics["test/accuracy"])


def main() -> None:
    """Write the accuracies of both over ten seeds, and the versions."""
    import torch
    import torch_geometric

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "graph.h5"
        write(file)
        values = {"torch_geometric": [], "hpc_dl": []}
        for seed in range(10):
            values["torch_geometric"].append(round(_reference_accuracy(seed), 4))
            values["hpc_dl"].append(round(accuracy(file, seed), 4))
            print(seed, {name: of_name[-1] for name, of_name in values.items()}, flush=True)
    record = {name: {"mean": round(statistics.fmean(seeds), 4), "seeds": seeds} for name, seeds in values.items()}
    record |= {"versions": {"torch": torch.__version__, "torch_geometric": torch_geometric.__version__}}
    REFERENCE.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
