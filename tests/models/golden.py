"""What every architecture computes from one seed: ``python -m tests.models.golden`` writes it anew.

A difference means that the same YAML gives another network than before: say so in the changelog, or
mend it.
"""

import json
from pathlib import Path
from typing import Any

import torch

from hpc_dl.data.spec import InputKind, TaskName
from hpc_dl.learning.supervised import Supervised
from tests.experiments import learning
from tests.models.samples import batch_of, combinations, data_of, small

GOLDEN = Path(__file__).with_name("golden.json")


def summary_of(name: str, kind: InputKind, task: TaskName) -> dict[str, Any]:
    """The number of parameters, and mean, spread and first value of the outputs for a fixed batch."""
    data = data_of(kind, task)
    torch.manual_seed(7)
    model = small(name).build(data, learning(data))
    assert isinstance(model, Supervised)
    x, _ = model.inputs_and_targets(batch_of(data))
    with torch.no_grad():
        outputs = model.eval()(x)
    found = [outputs.mean().item(), outputs.std().item(), outputs.flatten()[0].item()]
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "outputs": [round(value, 5) for value in found],
    }


def main() -> None:
    """Write all."""
    found = {}
    for name, kind, task in combinations():
        data = data_of(kind, task)
        if task != "sequence_to_sequence" and isinstance(small(name).build(data, learning(data)), Supervised):
            found[f"{name} {kind} {task}"] = summary_of(name, kind, task)
    GOLDEN.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
