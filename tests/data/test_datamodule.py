"""HDF5DataModule under Lightning's own Trainer."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from hpc_dl.data import HDF5DataModule
from hpc_dl.data.config import DataConfig
from hpc_dl.data.open_spec import open_spec
from hpc_dl.errors import ConfigError, DataError
from tests.data.recorder import Recorder, trainer, unchanged
from tests.data.small_files import MakeFile, samples


@pytest.mark.parametrize("num_workers", [0, 2])
def test_epochs_under_lightning(own_file: Path, num_workers: int) -> None:
    module = Recorder()
    transform = unchanged if num_workers else None
    data = HDF5DataModule(own_file, batch_size=8, transform=transform, num_workers=num_workers, seed=1)
    trainer(max_epochs=2).fit(module, data)
    assert [len(y) for _, y in module.seen["train0"]] == [8] * 6  # the last 2 of 50 are dropped
    first, second = module.inputs("train0"), module.inputs("train1")
    assert first != second and len({*first, *second}) > 48  # another order, which drops other samples
    assert module.inputs("val0") == module.inputs("val1")
    x, y = module.seen["train0"][0]
    assert (x.dtype, y.dtype, float(x.min()) >= 0, float(x.max()) <= 1) == (torch.float32, torch.int64, True, True)
    assert torch.equal((x.flatten(1)[:, 0] * data.scaling.divisor[0] + data.scaling.offset[0]).round().long(), y)
    trainer().test(module, data, verbose=False)
    assert sum(len(y) for _, y in module.seen[f"test{module.current_epoch}"]) == 12
    again = Recorder()
    trainer(max_epochs=1).fit(again, HDF5DataModule(own_file, batch_size=8, seed=1))
    assert again.inputs("train0") == first


class Doubling(Recorder):
    """Changes its batches on the device, like an augmentation."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        x, y = batch
        return 2 * x, y


def test_hook_of_the_module_gets_scaled_batches_and_runs_last(own_file: Path) -> None:
    plain, doubling = Recorder(), Doubling()
    for module in (plain, doubling):
        trainer(max_epochs=1).fit(module, HDF5DataModule(own_file, batch_size=8, seed=1))
    for key in ("train0", "val0"):
        for (x, _), (twice, _) in zip(plain.seen[key], doubling.seen[key], strict=True):
            assert torch.equal(2 * x, twice)


def test_file_without_validation_split(foreign_file: MakeFile) -> None:
    x, y = samples(20)
    path = foreign_file(inputs=x, targets=y)
    fractions = {"fractions": {"train": 1.0, "val": 0.0, "test": 0.0}}
    data = HDF5DataModule(path, batch_size=5, splits=fractions)
    trainer(max_epochs=1).fit(Recorder(), data)
    with pytest.raises(DataError, match=r"has no test split \(allowed: train\)"):
        trainer().test(Recorder(), data)


def test_scaling_of_the_checkpoint_wins(own_file: Path, tmp_path: Path) -> None:
    first = HDF5DataModule(own_file, batch_size=8)
    run = trainer(max_epochs=1)
    run.fit(Recorder(), first)
    run.save_checkpoint(tmp_path / "x.ckpt")
    other = HDF5DataModule(own_file, batch_size=8, scaling="standardize")
    trainer(max_epochs=2).fit(Recorder(), other, ckpt_path=tmp_path / "x.ckpt")
    assert other.scaling == first.scaling != HDF5DataModule(own_file, scaling="standardize").scaling


def test_from_config(own_file: Path) -> None:
    config = DataConfig(file=str(own_file), global_batch_size=10, scaling="none")
    data = HDF5DataModule.from_config(config, open_spec(config), seed=4)
    assert (data.config, data.seed, data.spec.num_outputs) == (config, 4, 3)
    assert len(data.train_dataloader()) == 5


def test_wrong_arguments_are_rejected(own_file: Path) -> None:
    with pytest.raises(ConfigError, match="exclude each other"):
        HDF5DataModule(own_file, batch_size=8, global_batch_size=8)
    with pytest.raises(ConfigError, match=r"HDF5DataModule.scaling: .*Did you mean 'standardize'"):
        HDF5DataModule(own_file, scaling="standardise")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"num_workers: has no effect without a `transform` \(got 4\)\. Remove it"):
        HDF5DataModule(own_file, num_workers=4)
    with pytest.raises(DataError, match="50 samples cannot fill one batch of 64"):
        HDF5DataModule(own_file).train_dataloader()


def test_types_that_torch_lacks_are_converted(foreign_file: MakeFile) -> None:
    for number, kind in enumerate(["?", "u2", "u4", "i2", "f2", "f8", ">f4", ">i2"]):
        inputs = np.arange(60).reshape(20, 3).astype(kind)
        path = foreign_file(f"{number}.h5", train__inputs=inputs, train__targets=np.zeros(20))
        data = HDF5DataModule(path, batch_size=20, scaling="none")
        (batch,) = data.train_dataloader()
        x, _ = data.on_after_batch_transfer(batch, 0)
        assert x.dtype == torch.float32
        np.testing.assert_array_equal(np.sort(x.numpy(), axis=0), np.sort(inputs.astype("f4"), axis=0))


@pytest.mark.slow
@pytest.mark.parametrize("use_distributed_sampler", [True, False])  # True is Lightning's default
def test_two_ranks_train_like_one_process(own_file: Path, tmp_path: Path, use_distributed_sampler: bool) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    script = Path(__file__).with_name("scripts") / "fit_on_two_ranks.py"
    command = [sys.executable, str(script), str(own_file), str(tmp_path), str(use_distributed_sampler)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    pl.seed_everything(0)
    alone = Recorder()
    trainer(max_epochs=2).fit(alone, HDF5DataModule(own_file, global_batch_size=8, seed=1))
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for key in alone.seen:
        (first, _), (second, _) = ranks
        assert sorted(first[key] + second[key]) == sorted(alone.inputs(key))
    assert [sizes for _, sizes in ranks] == [[3, 3], [3, 2]]  # 11 samples, each once, and the same number of batches
    weight = torch.load(tmp_path / "weight0.pt", weights_only=True)
    torch.testing.assert_close(weight, alone.layer.weight.detach(), atol=1e-6, rtol=1e-5)


@pytest.mark.slow
def test_workers_survive_signals_of_the_job_but_not_their_parent(own_file: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-m", "tests.data.scripts.load_in_workers", str(own_file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert parent.stdout is not None and parent.stdin is not None
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    for pid in workers:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
            os.kill(pid, number)
    time.sleep(0.3)
    parent.stdin.write("\n")
    parent.stdin.flush()
    assert parent.stdout.readline() == "6\n"  # all batches arrived
    try:
        assert parent.wait(timeout=150) == 0  # multiprocessing ends its persistent workers at exit
    except subprocess.TimeoutExpired:
        for pid in (*workers, parent.pid):
            os.kill(pid, signal.SIGKILL)
        raise
    for pid in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
