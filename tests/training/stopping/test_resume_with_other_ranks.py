"""A training that resumes with another number of ranks: the same samples in the same batches."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from hpc_dl.atomic_files import write_text
from hpc_dl.config import yaml
from hpc_dl.errors import Stopped
from hpc_dl.regular_files import read_json
from hpc_dl.runs.checkpoints import listed
from hpc_dl.runs.folder import RunFolder
from hpc_dl.tracking.journal import read_journal
from tests import experiments
from tests.training.attempts import Stop, finish, output, start, wait
from tests.training.stopping.interrupted_runs import BATCHES


def take_samples(run: RunFolder) -> dict[tuple[int, int], list[float]]:
    """Return the samples of each global batch by epoch and index, and delete their files."""
    batches: dict[tuple[int, int], list[float]] = {}
    for path in sorted(run.path.glob("samples-*.jsonl")):
        for line in path.read_text().splitlines():
            epoch, batch, sums = json.loads(line)
            batches.setdefault((epoch, batch), []).extend(sums)
        path.unlink()
    return {key: sorted(sums) for key, sums in batches.items()}


def set_ranks(run: RunFolder, ranks: int) -> None:
    """Change the number of ranks of a prepared run."""
    content = yaml.load(run.config)
    content["resources"] |= {"gpus_per_node": ranks, "cpus_per_gpu": 1}
    write_text(run.config, yaml.dumps(content))


@pytest.mark.slow
@pytest.mark.usefixtures("user_modules")
def test_one_rank_resumes_as_two_and_as_four(tmp_path: Path) -> None:
    # The same number of validation samples on each rank: Lightning's sync_dist (2.6) rounds the
    # mean of their numbers down.
    file = experiments.classification_file(tmp_path, {"train": 192, "val": 32, "test": 27})
    sections: dict[str, Any] = {
        "model": {"class": "records_samples.Net"},
        "data": {"batch_size": None, "global_batch_size": 8},
        "trainer": {"accelerator": "cpu", "max_epochs": 2, "log_every_n_steps": 4},
    }
    reference, run = (experiments.prepared(tmp_path, experiments.raw(file, **sections)) for _ in range(2))
    assert wait(start(reference)) == 0, output(reference)
    expected = take_samples(reference)
    assert len(expected) == 2 * BATCHES and all(len(sums) == 8 for sums in expected.values())

    stopped = [Stop(10), Stop(30, numbers=(signal.SIGTERM,), rank=1)]
    for ranks, stop in ((1, stopped[0]), (2, stopped[1])):
        set_ranks(run, ranks)
        assert wait(start(run, stop)) == Stopped.exit_status, output(run)
    set_ranks(run, 4)
    assert wait(start(run)) == 0, output(run)
    assert take_samples(run) == expected, "a sample was in another batch, or not trained on exactly once"

    assert read_json(run.result)["world_size"] == 4
    ours, theirs = (
        {(row["step"], key): value for row in read_journal(r.journal) for key, value in row.items() if "loss" in key}
        for r in (run, reference)
    )
    assert ours.keys() == theirs.keys() and len(ours) >= 14
    for key, value in theirs.items():
        assert ours[key] == pytest.approx(value, rel=1e-4), key
    assert "1 × cpu" in run.log(0).read_text() and "4 × cpu" in run.log(0).read_text()
    assert listed(run.checkpoints, "step")[-1].step == 2 * BATCHES


@pytest.mark.slow
def test_four_ranks_resume_as_one(tmp_path: Path, many_images: Path) -> None:
    sections: dict[str, Any] = {
        "model": {"name": "mlp", "width": 8, "depth": 1},
        "data": {"batch_size": None, "global_batch_size": 8},
        "trainer": {"accelerator": "cpu", "log_every_n_steps": 4},
        "resources": {"gpus_per_node": 4, "cpus_per_gpu": 1},
    }
    run = experiments.prepared(tmp_path, experiments.raw(many_images, **sections))
    assert wait(start(run, Stop(10, rank=3))) == Stopped.exit_status, output(run)
    set_ranks(run, 0)
    finish(run)
    set_ranks(run, 0)
    alone = experiments.raw(many_images, **(sections | {"resources": {"gpus_per_node": 0}}))
    reference = finish(experiments.prepared(tmp_path, alone))
    ours, theirs = (read_json(r.result)["metrics"] for r in (run, reference))
    assert ours == pytest.approx(theirs, rel=1e-4)
    losses = [[row["train/loss"] for row in read_journal(r.journal) if "train/loss" in row] for r in (run, reference)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4), "a row that four ranks started has all samples"
