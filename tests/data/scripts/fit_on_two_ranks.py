"""Train a Recorder on two ranks and save its data: FILE FOLDER USE_DISTRIBUTED_SAMPLER."""

import sys

from hpc_dl.compatibility.deferred_imports import defer_rarely_used

defer_rarely_used()  # as a rank does

import pytorch_lightning as pl  # noqa: E402
import torch  # noqa: E402

from hpc_dl.data.datamodule import HDF5DataModule  # noqa: E402
from tests.data.recorder import Recorder, trainer  # noqa: E402

FILE, FOLDER, USE_DISTRIBUTED_SAMPLER = sys.argv[1:]


class SavingRecorder(Recorder):
    """Saves its inputs, the sizes of its validation batches, and its weights."""

    def on_fit_end(self) -> None:
        inputs = {key: self.inputs(key) for key in self.seen}
        torch.save((inputs, [len(y) for _, y in self.seen["val0"]]), f"{FOLDER}/{self.global_rank}.pt")
        torch.save(self.layer.weight.detach(), f"{FOLDER}/weight{self.global_rank}.pt")


if __name__ == "__main__":
    pl.seed_everything(0)
    fit = trainer(
        max_epochs=2, devices=2, strategy="ddp", use_distributed_sampler=USE_DISTRIBUTED_SAMPLER == "True"
    ).fit
    fit(SavingRecorder(), HDF5DataModule(FILE, global_batch_size=8, seed=1))
