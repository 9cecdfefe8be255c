"""What Lightning and torchmetrics rarely use is imported at its first use, and is then complete."""

import subprocess
import sys

import pytest

from tests.conftest import PROJECT

START = """
import sys
from hpc_dl.compatibility.deferred_imports import defer_rarely_used
defer_rarely_used()
import torch
torch.optim.Adam([torch.ones(1)])  # as the check of the packages does, before Lightning is imported
import gc
import pytorch_lightning as pl
import torchmetrics
assert gc.isenabled()
for name in ("scipy.signal", "matplotlib", "matplotlib.pyplot", "torch._dynamo.utils"):
    assert name not in sys.modules, name
"""


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


# One process for all uses, because each imports Lightning anew.
@pytest.mark.slow
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

weight = torch.ones(1, requires_grad=True)
optimizer = torch.optim.SGD([weight], lr=0.5)
weight.backward()
optimizer.step()
assert weight.item() == 0.5
torch.use_deterministic_algorithms(True)  # which every Trainer sets
module = pl.LightningModule()
assert pl.utilities.compile._maybe_unwrap_optimized(module) is module
from hpc_dl.figures.undisturbed import undisturbed
with undisturbed(torch.nn.Linear(1, 1)):
    pass
torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
ranks = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(1, 1))
ranks(torch.ones(1, 1)).sum().backward()
mode = torch._dynamo.utils.get_optimize_ddp_mode()
assert "torch._dynamo.utils" not in sys.modules and "torch._inductor.utils" not in sys.modules
compiled = torch.compile(module)
from torch._dynamo import OptimizedModule
assert isinstance(compiled, OptimizedModule)
assert torch._dynamo.utils is sys.modules["torch._dynamo.utils"]
assert mode == torch._dynamo.utils.get_optimize_ddp_mode()
torch.distributed.destroy_process_group()
assert torch._inductor.config.deterministic and torch._inductor.config.max_autotune is not None
assert pl.utilities.compile._maybe_unwrap_optimized(compiled) is module
from pytorch_lightning.trainer.connectors.logger_connector.result import _ResultCollection
_ResultCollection(training=True).log("step", "loss", torch.tensor(1.0))
optimizer.step()
assert weight.item() == 0.0 and optimizer.step.__module__ == "torch.optim.sgd"

from scipy import signal
assert signal.butter and "butter" in vars(sys.modules["scipy.signal"])
""")


@pytest.mark.slow  # one more process that imports Lightning
def test_submodule_of_a_placeholder_belongs_to_the_real_package() -> None:
    run(f"""{START}
import importlib.util
assert importlib.util.find_spec("torch._dynamo").origin.endswith("torch/_dynamo/__init__.py")
import torch._dynamo.utils as utils  # which the package imports, too
from torch._dynamo import config
assert torch._dynamo.utils is utils is sys.modules["torch._dynamo.utils"]
assert utils.__spec__.origin == utils.__file__
assert torch._dynamo is sys.modules["torch._dynamo"] and torch._dynamo.config is config
assert torch._dynamo.disable.__module__.startswith("torch._dynamo")
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
