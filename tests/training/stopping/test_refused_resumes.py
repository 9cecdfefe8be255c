"""Resumes that are refused: other data, another model, a second training in the same folder."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hpc_dl.cluster.rank_process import run_rank
from hpc_dl.errors import Stopped
from hpc_dl.regular_files import read_json
from hpc_dl.runs import attempts as history
from hpc_dl.runs import lock
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import read_state, write_state
from hpc_dl.training.train import train
from tests import experiments
from tests.training.attempts import Stop, attempt, finish, signals_of_this_process
from tests.training.stopping.interrupted_runs import FREQUENTLY_SAVED, STEPS

SLOW = pytest.mark.slow


def _other_data(run: RunFolder, file: Path) -> Callable[[], None]:
    content = file.read_bytes()
    sizes = {"train": 192, "val": 29, "test": 27}
    splits = {split: experiments.classes(size, seed + 50) for seed, (split, size) in enumerate(sizes.items())}
    file.unlink()
    experiments.write(
        file, splits, source="tiny", task="classification", license="CC0-1.0", class_names=["dark", "gray", "light"]
    )
    return lambda: (file.write_bytes(content), None)[1]


def _edited(old: str, new: str) -> Callable[[RunFolder, Path], Callable[[], None]]:
    def edit(run: RunFolder, file: Path) -> Callable[[], None]:
        content = run.config.read_text()
        assert content.count(old) == 1, content
        run.config.write_text(content.replace(old, new))
        return lambda: (run.config.write_text(content), None)[1]

    return edit


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (_other_data, ("data.file: differs from the data that the run was trained on so far",)),
        pytest.param(
            _edited("batch_size: 8", "batch_size: 4"),
            ("data.batch_size: changes the size of a batch", "got 4; allowed: 8"),
            marks=SLOW,
        ),
        pytest.param(
            _edited("seed: 7", "seed: 8"), ("seed: differs from the run's seed", "got 8; allowed: 7"), marks=SLOW
        ),
        (_edited("hidden: 8", "hidden: 9"), ("model: does not fit step-00000026.ckpt", "(8,", "now (9,")),
        pytest.param(
            _edited("norm: batch", "norm: none"), ("model: does not fit step-00000026.ckpt: it has no",), marks=SLOW
        ),
    ],
    ids=["data", "batch-size", "seed", "width", "layers"],
)
def test_checkpoint_that_does_not_fit_is_refused(
    tmp_path: Path, change: Callable[[RunFolder, Path], Callable[[], None]], parts: tuple[str, ...]
) -> None:
    file = experiments.classification_file(tmp_path, {"train": 192, "val": 29, "test": 27})
    run = experiments.prepared(tmp_path, experiments.raw(file, **FREQUENTLY_SAVED))
    assert attempt(run, Stop(26)) == Stopped.exit_status
    before = {path.name: path.read_bytes() for path in run.checkpoints.iterdir()}
    undo = change(run, file)
    with pytest.raises(Exception) as raised:
        train(run)
    assert type(raised.value).__name__ == "RunError"
    (line,) = str(raised.value).splitlines()
    assert all(part in line for part in parts), line
    assert "Start a new run" in line
    state = read_state(run)
    assert (state["state"], state["reason"]) == ("failed", line)
    assert {path.name: path.read_bytes() for path in run.checkpoints.iterdir()} == before
    undo()
    finish(run)
    assert read_json(run.result)["steps"] == STEPS
    assert history.history(run)[-2]["from_step"] == 26


@pytest.mark.slow
def test_second_training_in_the_folder_keeps_the_state(tmp_path: Path, many_images: Path) -> None:
    run = experiments.prepared(tmp_path, experiments.raw(many_images, **FREQUENTLY_SAVED))
    with lock.held(run), signals_of_this_process():
        write_state(run, "running", attempt=0)
        before = read_state(run)
        assert run_rank(run, redirect=False) == 2
    assert read_state(run) == before
    assert finish(run) and read_state(run)["state"] == "finished"
