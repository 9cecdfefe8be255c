"""Requests that follow from what the last finished run of an experiment used."""

import os
from pathlib import Path
from typing import Any

import pytest

from hpc_dl.cluster.resume import apply_changes
from hpc_dl.cluster.right_sizing import last_use, memory_for, request_warning
from hpc_dl.config import yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.config.resources import Resources
from hpc_dl.errors import ConfigError
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.phase_times import PHASES, PhaseTimes
from hpc_dl.runs.state import write_state
from hpc_dl.runs.usage_samples import Sample, SampleFile
from hpc_dl.sweeps.config import SweepConfig
from hpc_dl.sweeps.preparation import plan
from tests import experiments

MINUTES = 10.0


def used(runs: Path, gib: float, *, name: str = "tiny-k3f", state: Any = "finished", age_s: float = 0.0) -> RunFolder:
    """A run of ten minutes that used this much memory and one CPU core."""
    run = RunFolder.create_at(runs / name)
    run.config.write_text(yaml.dumps({"name": "tiny", "seed": 1, "resources": Resources().model_dump()}))
    write_state(run, state)
    run.result.write_text("{}")
    os.utime(run.result, (1e9 - age_s, 1e9 - age_s))
    seconds = dict.fromkeys(PHASES, 0.0) | {"training": 60 * MINUTES}
    PhaseTimes(0, 0, "", None, 1000.0, 1000.0 + 60 * MINUTES, 0, "end", seconds, ()).write(run.usage)
    SampleFile(run.usage, 0).append(Sample(1010.0, 10.0, rss_gib=gib, cpus=1.0))
    return run


def test_auto_takes_the_newest_finished_run_with_a_margin(tmp_path: Path) -> None:
    auto = Resources(memory="auto")
    assert auto.memory_gib == 16
    resources, explanation = memory_for(auto, [tmp_path], "tiny")
    assert (resources.memory, explanation) == (
        "16G", "resources.memory: auto is 16G, since no finished run of tiny has measured it yet."
    )  # fmt: skip
    used(tmp_path, 30.0, name="tiny-bcd", age_s=60)
    used(tmp_path, 2.0)
    used(tmp_path, 50.0, name="tiny-fgh", state="failed")
    used(tmp_path, 50.0, name="tiny-other-k3f")
    resources, explanation = memory_for(auto, [tmp_path], "tiny")
    assert resources.memory == "3G" and "used 2.00 GiB" in explanation
    assert memory_for(Resources(memory="7G"), [tmp_path], "tiny") == (Resources(memory="7G"), "")


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"memory": "64G"}, ["2.00 GiB of memory per node (requested: 64G)"]),
        ({"memory": "1G"}, ["2.00 GiB of memory per node (requested: 1G)"]),
        ({"time": "12:00:00"}, ["10:00 min (requested: 12:00:00)"]),
        ({"time": 5}, ["10:00 min (requested: 5)"]),
        ({"cpus_per_gpu": 8}, ["1.0 CPU cores per rank (requested: 8)"]),
        ({"memory": "64G", "time": 600}, ["64G", "600"]),
        ({}, []),
    ],
    ids=str,
)
def test_warning_where_a_request_is_far_from_the_use(
    tmp_path: Path, request_: dict[str, Any], expected: list[str]
) -> None:
    requested = Resources(**{"memory": "8G", "time": 30, "cpus_per_gpu": 4} | request_)
    assert request_warning(requested, [tmp_path], "tiny") == ""
    used(tmp_path, 2.0)
    warning = request_warning(requested, [tmp_path], "tiny")
    assert bool(warning) == bool(expected)
    assert all(part in warning for part in expected)
    assert not expected or "hpc-dl efficiency" in warning


def test_runs_without_samples_and_damaged_ones_say_nothing(tmp_path: Path) -> None:
    run = used(tmp_path, 2.0)
    run.config.write_text("name: [")
    assert last_use([tmp_path, tmp_path / "missing"], "tiny") is None


def test_other_words_are_no_memory() -> None:
    with pytest.raises(ConfigError, match="memory"):
        Experiment.from_dict({"name": "x", "resources": {"memory": "automatic"}})


def test_sweep_and_resume_replace_auto(tmp_path: Path) -> None:
    file = experiments.classification_file(tmp_path)
    used(tmp_path, 2.0)
    raw = experiments.raw(file, resources={"memory": "auto", "gpus_per_node": 0, "cpus_per_gpu": 1})
    said: list[str] = []
    config = SweepConfig.model_validate({"parameters": {"optimizer.lr": {"values": [1e-3, 1e-2]}}})
    planned = plan(raw, "tiny", config, runs=tmp_path, data_dir=None, say=said.append)
    assert {new.member.experiment.resources.memory for new in planned.new} == {"3G"}
    assert any("auto is 3G" in line for line in said)
    run = experiments.prepared(tmp_path, experiments.raw(file))
    used(run.path.parent, 4.0)
    assert apply_changes(run, ["resources.memory=auto"]).resources.memory == "6G"
