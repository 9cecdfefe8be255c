"""Versions outside of the tested ranges and missing private names are refused in one line."""

import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
import pytorch_lightning.loops.fetchers
import submitit
import torch
import torchmetrics
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop

from hpc_dl.cluster.rank_process import run_rank
from hpc_dl.compatibility.checks import check_names, check_versions, missing_for_plain_step
from hpc_dl.compatibility.private_names import TESTED
from hpc_dl.errors import ClusterError
from hpc_dl.runs.comparison import differences
from hpc_dl.runs.state import read_state
from tests import experiments
from tests.training.attempts import finish, signals_of_this_process

Remove = Callable[[pytest.MonkeyPatch], None]


def without_instance_attribute(cls: type, name: str) -> Remove:
    """Return what deletes an attribute that ``__init__`` sets."""

    def remove(patch: pytest.MonkeyPatch) -> None:
        original = cls.__init__  # type: ignore[misc]

        @functools.wraps(original)
        def init(self: Any, *arguments: Any, **options: Any) -> None:
            original(self, *arguments, **options)
            del vars(self)[name]

        patch.setattr(cls, "__init__", init)

    return remove


def without(owner: Any, name: str) -> Remove:
    """Return what deletes an attribute of a module, or of a class and its bases."""

    def remove(patch: pytest.MonkeyPatch) -> None:
        for cls in getattr(owner, "__mro__", [owner]):
            if name in vars(cls):
                patch.delattr(cls, name)

    return remove


def without_lzf(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(h5py.h5z, "__file__", h5py.h5d.__file__)


def without_history_dict_to_json(patch: pytest.MonkeyPatch) -> None:
    from wandb.sdk.data_types import utils

    patch.delattr(utils, "history_dict_to_json")


#: Package, the name that its error names, and what deletes that name.
MISSING: list[tuple[str, str, Remove]] = [
    ("torch", "_BaseDataLoaderIter.__next__", without(torch.utils.data.dataloader._BaseDataLoaderIter, "__next__")),
    ("pytorch-lightning", "_TrainingEpochLoop._should_accumulate", without(_TrainingEpochLoop, "_should_accumulate")),
    ("torchmetrics", "MeanMetric():_update_count", without_instance_attribute(torchmetrics.Metric, "_update_count")),
    ("torchmetrics", "MeanMetric():_computed", without_instance_attribute(torchmetrics.Metric, "_computed")),
    ("submitit", "_make_submission_file_text", without(submitit.SlurmExecutor, "_make_submission_file_text")),
    ("wandb", "wandb.sdk.data_types.utils:history_dict_to_json", without_history_dict_to_json),
    ("h5py", "lzf_filter", without_lzf),
]


def names_of(case: tuple[str, str, Remove]) -> str:
    return case[1].rpartition(".")[2].rpartition(":")[2]


def pretend_version(folder: Path, package: str, version: str) -> None:
    """Install metadata of another version of a package into a folder."""
    info = folder / f"{package.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")


@pytest.mark.parametrize("missing", MISSING, ids=names_of)
def test_missing_name_is_one_line(monkeypatch: pytest.MonkeyPatch, missing: tuple[str, str, Remove]) -> None:
    package, name, remove = missing
    remove(monkeypatch)
    with pytest.raises(ClusterError) as raised:
        check_names(*TESTED)
    lines = [line for line in str(raised.value).splitlines() if line.startswith(f"{package} ")]
    assert len(lines) == 1
    floor, bound = TESTED[package]
    assert " has no " in lines[0] and name in lines[0] and f"allowed: >={floor},<{bound}" in lines[0]
    assert raised.value.exit_status == 2


@pytest.mark.parametrize(
    ("package", "version", "accepted"),
    [
        ("wandb", "0.20.0", False),
        ("wandb", "0.31.4", True),
        ("wandb", "0.32.0rc1", False),
        ("pytorch-lightning", "2.5.9", False),
        ("pytorch-lightning", "2.6", True),
        ("pytorch-lightning", "2.7.0", False),
        ("torchmetrics", "1.10.0", False),
        ("torchmetrics", "1.9.0", True),
        ("torch", "2.11.0+cu128", True),
        ("torch", "3.0.0", False),
    ],
)
def test_versions_outside_of_the_range_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, version: str, accepted: bool
) -> None:
    pretend_version(tmp_path, package, version)
    monkeypatch.syspath_prepend(tmp_path)
    if accepted:
        check_versions()
        return
    floor, bound = TESTED[package]
    with pytest.raises(ClusterError) as raised:
        check_versions()
    assert str(raised.value) == (
        f"{package}: version {version} is installed, which hpc_dl was not tested with (allowed: >={floor},<{bound}). "
        f"Install a tested version: pip install '{package}>={floor},<{bound}'"
    )


def test_versions_are_checked_without_importing_the_packages() -> None:
    code = "import sys; from hpc_dl.compatibility.checks import check_versions; check_versions(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert "hpc_dl.compatibility.checks" in imported
    assert imported & {"torch", "pytorch_lightning", "torchmetrics", "submitit", "wandb", "h5py"} == set()


def test_rank_fails_before_the_training(
    tmp_path: Path, image_file: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run = experiments.prepared(tmp_path, experiments.raw(image_file))
    without(_TrainingEpochLoop, "_should_accumulate")(monkeypatch)
    with signals_of_this_process():
        assert run_rank(run, redirect=False) == 1
    state = read_state(run)
    assert state["state"] == "failed"
    assert "_TrainingEpochLoop._should_accumulate" in state["reason"] and "Traceback" not in capfd.readouterr().err
    assert list(run.journal.iterdir()) == [] and list(run.checkpoints.iterdir()) == []


@pytest.mark.slow
def test_training_works_without_the_names_of_the_plain_step(
    tmp_path: Path, image_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = finish(experiments.prepared(tmp_path / "plain", experiments.raw(image_file)))
    assert "Lightning's own step" not in reference.log(0).read_text()
    monkeypatch.delattr(pytorch_lightning.loops.fetchers, "_DataLoaderIterDataFetcher")
    check_names(*TESTED)
    run = finish(experiments.prepared(tmp_path / "lightning", experiments.raw(image_file)))
    assert run.log(0).read_text().count(missing_for_plain_step()) == 1
    assert "_DataLoaderIterDataFetcher" in missing_for_plain_step()
    assert differences(run, reference) == []
