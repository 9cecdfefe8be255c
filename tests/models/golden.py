"""Golden values: what every architecture computes from one seed.

``python -m tests.models.golden`` writes them again. A difference means that the same YAML now gives
another network: fix that, or announce it in the changelog.
"""

import json
from pathlib import Path
from typing import Any

import torch

from tests.models.samples import batch_of, combinations

GOLDEN = Path(__file__).with_name("golden.json")
SEED = 7


def summary_of(model: Any) -> dict[str, Any]:
    """The number of parameters; mean, standard deviation and first value of the outputs.

    Args:
        model: built with ``SEED``, in evaluation mode.
    """
    x, _ = model.inputs_and_targets(batch_of(model.recipe.data))
    with torch.no_grad():
        outputs = model(x)
    statistics = [outputs.mean().item(), outputs.std().item(), outputs.flatten()[0].item()]
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "outputs": [round(value, 5) for value in statistics],
    }


def main() -> None:
    """Write the golden values of all combinations."""
    summaries = {str(c): summary_of(c.build(SEED).eval()) for c in combinations() if c.maps_samples}
    GOLDEN.write_text(json.dumps(summaries, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
