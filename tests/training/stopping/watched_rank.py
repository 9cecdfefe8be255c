"""One rank of a training with a watchdog, started as a script: RUN FAILURE TIMEOUT_S.

FAILURE names what goes wrong (a key of ``FAILURES``).
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from hpc_dl.compatibility.deferred_imports import defer_rarely_used

defer_rarely_used()  # as a rank does

import pytorch_lightning as pl  # noqa: E402
import torch  # noqa: E402
import torch.distributed  # noqa: E402
from pytorch_lightning.strategies import DDPStrategy  # noqa: E402

from hpc_dl.runs.folder import RunFolder  # noqa: E402
from hpc_dl.training.ranks import Ranks  # noqa: E402
from hpc_dl.training.stopping.watchdog import Watchdog  # noqa: E402

HANG_S = 120


class Samples(torch.utils.data.Dataset[torch.Tensor]):
    def __init__(self, size: int = 12) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.full((4,), float(index))


class HangingSamples(Samples):
    def __getitem__(self, index: int) -> torch.Tensor:
        if index == 6:
            time.sleep(HANG_S)
        return super().__getitem__(index)


class Net(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.layer(batch).square().mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", self.layer(batch).square().mean(), sync_dist=True, on_epoch=True, on_step=False)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-4)


class HangsInStep(Net):
    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        if (self.global_rank, batch_idx) == (1, 2):
            time.sleep(HANG_S)
        return super().training_step(batch, batch_idx)


class StopsInStep(Net):
    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        if (self.global_rank, batch_idx) == (0, 1):
            os.kill(os.getpid(), signal.SIGSTOP)
        return super().training_step(batch, batch_idx)


class HangsInValidation(Net):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if (self.global_rank, batch_idx) == (1, 0):
            time.sleep(HANG_S)
        super().validation_step(batch, batch_idx)


class SlowInValidation(Net):
    """Rank 0 waits at the end of the first validation for longer than the timeout."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        time.sleep(self.global_rank if self.current_epoch == 0 else 0)
        super().validation_step(batch, batch_idx)


class HangsInPhase(pl.Callback):
    def __init__(self, watchdog: Watchdog) -> None:
        self.watchdog = watchdog

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            with self.watchdog.phase("writing a checkpoint"):
                time.sleep(HANG_S)
        torch.distributed.barrier()


@dataclass(frozen=True)
class Failure:
    """The parts of a training that go wrong."""

    net: type[Net] = Net
    samples: Samples = field(default_factory=Samples)
    num_workers: int = 0
    callback: Callable[[Watchdog], pl.Callback] = lambda watchdog: pl.Callback()


FAILURES = {
    "hangs-in-step": Failure(net=HangsInStep),
    "stops-in-step": Failure(net=StopsInStep),
    "hangs-in-phase": Failure(callback=HangsInPhase),
    "hangs-in-validation": Failure(net=HangsInValidation),
    "loader-hangs": Failure(samples=HangingSamples()),
    "worker-hangs": Failure(samples=HangingSamples(), num_workers=1),
    "slow-in-validation": Failure(net=SlowInValidation, samples=Samples(24)),
}


def main(run_dir: str, failure_name: str, timeout_s: str) -> None:
    # A shell that starts the tests in the background makes their processes ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    failure = FAILURES[failure_name]
    ranks = Ranks.from_environment()
    run = RunFolder(Path(run_dir))
    log = os.open(run.log(ranks.rank), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 2)
    (run.path / f"ready-{ranks.rank}").touch()  # the imports take longer on some ranks than the timeout
    while len(list(run.path.glob("ready-*"))) < ranks.world_size:
        time.sleep(0.01)
    with Watchdog(run, ranks.rank, ranks.world_size, float(timeout_s)) as watchdog:
        trainer = pl.Trainer(
            callbacks=[watchdog, failure.callback(watchdog)],
            max_epochs=2,
            accelerator="cpu",
            devices=ranks.world_size,
            strategy=DDPStrategy(timeout=timedelta(seconds=600)) if ranks.world_size > 1 else "auto",
            plugins=[ranks.lightning_environment()],
            logger=False,
            enable_checkpointing=False,
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        loader = torch.utils.data.DataLoader(failure.samples, batch_size=2, num_workers=failure.num_workers)
        trainer.fit(failure.net(), loader, loader)
    assert "watchdog" not in [thread.name for thread in threading.enumerate()]
    os._exit(0)  # a process group that still exists at the interpreter's exit may abort


if __name__ == "__main__":
    main(*sys.argv[1:])
