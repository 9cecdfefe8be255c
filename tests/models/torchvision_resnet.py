"""Golden values: what torchvision's own ResNets compute with drawn weights.

``python -m tests.models.torchvision_resnet`` writes them again, where torchvision is installed. It
is not a dependency of the tests: its wheel needs CUDA, and does not import with the CPU build
of torch.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

GOLDEN = Path(__file__).with_name("torchvision_resnet.json")
DEPTHS = (18, 34, 50)
_SHAPE = (2, 3, 64, 72)


def drawn(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """Weights of these shapes, the same in every version of NumPy, float64.

    Args:
        shapes: by name, in the order in which they are drawn.
    """
    generator = np.random.RandomState(0)  # its stream of numbers never changes
    weights = {}
    for name, shape in shapes.items():
        values = torch.from_numpy(np.asarray(generator.standard_normal(shape)))
        if name.endswith("running_var"):
            values = 1 + values.abs()
        elif name.endswith("num_batches_tracked"):
            values = torch.tensor(0)
        elif len(shape) > 1:  # so that activations keep their size, layer by layer
            values = values * (2 / np.prod(shape[1:])) ** 0.5
        weights[name] = values
    return weights


def images() -> torch.Tensor:
    """Two images, float64."""
    return torch.from_numpy(np.random.RandomState(1).standard_normal(_SHAPE))


def _import_torchvision() -> Any:
    try:
        import torchvision
    except RuntimeError:  # its compiled operators need CUDA; the networks do not need these operators
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor a, Tensor b, float c) -> Tensor")
        import torchvision
    return torchvision


def main() -> None:
    """Write names and shapes of the weights, and the first outputs, for each depth."""
    torchvision = _import_torchvision()
    golden: dict[str, Any] = {"torchvision": torchvision.__version__}
    for depth in DEPTHS:
        network = getattr(torchvision.models, f"resnet{depth}")().double().eval()
        shapes = {name: list(value.shape) for name, value in network.state_dict().items()}
        network.load_state_dict(drawn(shapes))
        with torch.no_grad():
            outputs = network(images())[:, :5].tolist()
        golden[str(depth)] = {"shapes": shapes, "outputs": outputs}
    GOLDEN.write_text(json.dumps(golden) + "\n", encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
