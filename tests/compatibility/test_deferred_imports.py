"""What Lightning and torchmetrics rarely use is imported at its first use, and is then complete."""

import subprocess
import sys

import pytest

from tests.conftest import PROJECT

START = """
import sys
from hpc_dl.compatibility.deferred_imports import defer_rarely_used
defer_rarely_used()
import pytorch_lightning as pl
import torch
import torchmetrics
for name in ("scipy.signal", "torch._dynamo", "matplotlib", "matplotlib.pyplot"):
    assert name not in sys.modules, name
"""


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


# One process for all uses, because each imports Lightning anew.
def test_deferred_modules_are_complete_at_their_first_use() -> None:
    run(f"""{START}
metric = torchmetrics.MeanMetric()
metric.update(1.0)
import torchmetrics.utilities.plot as plots
assert "matplotlib" not in sys.modules
figure, axes = metric.plot()
import matplotlib.axes, matplotlib.pyplot, matplotlib.colors
assert isinstance(figure, matplotlib.pyplot.Figure) and isinstance(axes, matplotlib.axes.Axes)
assert plots.plt.Figure is matplotlib.pyplot.Figure

module = pl.LightningModule()
assert pl.utilities.compile._maybe_unwrap_optimized(module) is module
assert "torch._dynamo" not in sys.modules
compiled = torch.compile(module)
from torch._dynamo import OptimizedModule
assert isinstance(compiled, OptimizedModule)
assert pl.utilities.compile._maybe_unwrap_optimized(compiled) is module
from pytorch_lightning.trainer.connectors.logger_connector.result import _ResultCollection
_ResultCollection(training=True).log("step", "loss", torch.tensor(1.0))

from scipy import signal
assert signal.butter and "butter" in vars(sys.modules["scipy.signal"])
""")


@pytest.mark.slow  # one more process that imports Lightning
def test_imported_modules_stay() -> None:
    run("""
import matplotlib.pyplot as pyplot, scipy.signal as signal, sys, torch._dynamo as dynamo
from hpc_dl.compatibility.deferred_imports import defer_rarely_used
defer_rarely_used()
import torchmetrics.utilities.plot
from lightning_fabric import wrappers
assert torchmetrics.utilities.plot.plt is pyplot and wrappers.OptimizedModule is dynamo.OptimizedModule
assert sys.modules["scipy.signal"] is signal
""")
