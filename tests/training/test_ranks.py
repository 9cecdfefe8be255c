"""Rank and world size from the environment, and the equivalence of two ranks with one process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment, SLURMEnvironment

from hpc_dl.errors import ClusterError
from hpc_dl.regular_files import read_json
from hpc_dl.runs.state import read_state
from hpc_dl.tracking.journal import read_journal
from hpc_dl.training.ranks import Ranks, cpus_per_rank
from hpc_dl.training.train import train
from tests import experiments

pytestmark = pytest.mark.slow

SRUN = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_STEP_NUM_TASKS": "4"}
LAUNCHER = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}


@pytest.mark.parametrize(
    ("environment", "ranks", "lightning"),
    [
        ({}, Ranks(0, 0, 1, False), LightningEnvironment),
        (LAUNCHER, Ranks(1, 1, 2, False), LightningEnvironment),
        (SRUN, Ranks(3, 1, 4, True), SLURMEnvironment),
        # Our launcher inside an srun step
        (SRUN | LAUNCHER, Ranks(1, 1, 2, False), LightningEnvironment),
        # A batch script: SLURM_PROCID is set, but the process was not started by srun
        ({"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "4"}, Ranks(0, 0, 1, False), LightningEnvironment),
    ],
)
def test_ranks_from_environment(environment: dict[str, str], ranks: Ranks, lightning: type) -> None:
    assert Ranks.from_environment(environment) == ranks
    assert type(ranks.lightning_environment()) is lightning


def test_cpus_per_rank() -> None:
    reachable = len(os.sched_getaffinity(0))
    assert cpus_per_rank(1, {}) == reachable
    assert cpus_per_rank(1, {"SLURM_CPUS_PER_TASK": "1"}) == 1
    assert cpus_per_rank(1, {"SLURM_CPUS_PER_TASK": "10000"}) == reachable
    assert cpus_per_rank(10_000, {}) == 1


_LAUNCH = """
import sys
from pathlib import Path
from hpc_dl.compatibility.deferred_imports import defer_rarely_used
defer_rarely_used()
from hpc_dl.cluster.launch import launch
from hpc_dl.config import yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.runs.folder import RunFolder

run = RunFolder(Path(sys.argv[1]))
sys.exit(launch(run, Experiment.from_dict(yaml.load(run.config)), foreground=False))
"""


def test_two_ranks_match_one_process_with_the_same_global_batch(tmp_path: Path) -> None:
    # 47 and 13 samples: neither split divides evenly between two ranks.
    file = experiments.classification_file(tmp_path, {"train": 47, "val": 13, "test": 11})
    runs = []
    for gpus in (0, 2):
        content = experiments.raw(
            file,
            model={"name": "cnn", "channels": [4], "hidden": 8, "dropout": 0.0, "norm": "none"},
            data={"batch_size": None, "global_batch_size": 8},
            optimizer={"name": "sgd", "lr": 0.3, "momentum": 0.9},
            schedule={"name": "cosine", "warmup_steps": 2},
            trainer={"max_epochs": 3, "accelerator": "cpu", "accumulate_grad_batches": 2},
            resources={"gpus_per_node": gpus, "cpus_per_gpu": 1},
        )
        runs.append(experiments.prepared(tmp_path, content))
    single, parallel = runs
    train(single)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    launched = subprocess.run(
        [sys.executable, "-c", _LAUNCH, str(parallel.path)], env=environment, cwd=Path(__file__).parents[2]
    )
    assert launched.returncode == 0, parallel.log(0).read_text()

    one, two = (read_json(run.result) for run in runs)
    assert (one["world_size"], two["world_size"], one["steps"]) == (1, 2, two["steps"])
    assert set(one["metrics"]) == set(two["metrics"])
    for name, value in one["metrics"].items():
        assert two["metrics"][name] == pytest.approx(value, rel=1e-3), name
    for checkpoint in ("best_checkpoint", "last_checkpoint"):
        a, b = (torch.load(getattr(run, checkpoint), weights_only=True)["state_dict"] for run in runs)
        for key in a:
            torch.testing.assert_close(a[key], b[key], rtol=1e-3, atol=1e-5)
    rows = [[(row["step"], row["train/loss"]) for row in read_journal(run.journal)] for run in runs]
    assert [step for step, _ in rows[0]] == [step for step, _ in rows[1]]
    assert [loss for _, loss in rows[1]] == pytest.approx([loss for _, loss in rows[0]], rel=1e-3)
    assert {path.name for path in parallel.logs.iterdir()} == {"rank-0.log", "rank-1.log"}


def test_other_number_of_ranks_than_the_experiment_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A site profile with `sbatch: {nodes: 4}`: each rank would train for itself, in one run folder.
    run = experiments.prepared(tmp_path, experiments.raw(experiments.classification_file(tmp_path)))
    for name, value in (SRUN | {"SLURM_PROCID": "0"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ClusterError, match="the job has started 4 ranks, but nodes and gpus_per_node ask for 1"):
        train(run)
    assert read_state(run)["state"] == "failed"
