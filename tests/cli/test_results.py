"""``hpc-dl results``: which runs and columns it shows, groups of seeds, and tables for programs."""

import csv
import io
import time
from pathlib import Path

import pytest

from hpc_dl.atomic_files import write_json
from hpc_dl.config import yaml
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import write_state
from tests.cli.conftest import HpcDl


def finished(seed: int, lr: float, accuracy: float, width: int = 8) -> str:
    run = RunFolder.create(Path("runs"), "digits")
    sections = {"model": {"name": "mlp", "width": width}, "optimizer": {"name": "sgd", "lr": lr}}
    run.config.write_text(yaml.dumps({"name": "digits", "seed": seed, **sections}))
    metrics = {"val/accuracy": accuracy, "val/loss": 1 - accuracy, "test/accuracy": 0.5, "train/loss": 0.25}
    write_json(run.result, {"run": run.name, "metrics": metrics, "seconds": 12.5})
    write_state(run, "finished", step=100)
    return run.name


@pytest.fixture
def names(hpc_dl: HpcDl) -> list[str]:
    """Two seeds of two rates; the second rate is better."""
    return [finished(0, 0.01, 0.8), finished(1, 0.01, 0.7), finished(0, 0.1, 0.95), finished(1, 0.1, 0.85)]


def listed(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines()[1:]]


def test_conditions_and_age_choose_the_runs(hpc_dl: HpcDl, names: list[str]) -> None:
    assert listed(hpc_dl("results", "--where", "optimizer.lr>0.05").out) == names[2:]
    both = hpc_dl("results", "--where", "optimizer.lr>0.05", "--where", "val/accuracy<0.9", "--since", "1h").out
    assert listed(both) == names[3:]
    assert "optimizer.lr" not in both, "columns are the settings in which the listed runs differ"
    answer = hpc_dl("results", "--since", time.strftime("%Y-%m-%d", time.localtime(time.time() + 86400)))
    assert (answer.status, answer.out, answer.err) == (0, "", "None of the 4 runs matches.\n")
    assert listed(hpc_dl("status", "--where", "seed=1").out) == names[1::2]


def test_best_is_by_the_validation_loss_or_by_sort(hpc_dl: HpcDl, names: list[str]) -> None:
    assert listed(hpc_dl("results", "--best", 2).out) == [names[2], names[3]]
    assert listed(hpc_dl("results", "--best", 1, "--sort", "val/accuracy").out) == [names[2]]
    answer = hpc_dl("results", "--best", 1, "--sort", "seed")
    assert answer.status == 2 and "whether lower or higher values are better (got 'seed')" in answer.err


@pytest.mark.parametrize("option", ["--sort", "--columns", "--where"])
def test_test_metrics_are_named_with_test_only(hpc_dl: HpcDl, names: list[str], option: str) -> None:
    value = "test/accuracy" + ("=0.5" if option == "--where" else "")
    answer = hpc_dl("results", option, value)
    assert (
        answer.status == 2 and f"{option}: no such column" in answer.err and "--test of `hpc-dl results`" in answer.err
    )
    assert hpc_dl("results", option, value, "--test").status == 0


def test_requested_columns(hpc_dl: HpcDl, names: list[str]) -> None:
    header, first, *_ = hpc_dl("results", "--columns", "model.width, train/loss,seconds").out.splitlines()
    assert header.split() == ["run", "model.width", "train/loss", "seconds"]
    assert first.split() == [names[0], "8", "0.25", "12.5"]
    answer = hpc_dl("results", "--columns", "model.with")
    assert answer.status == 2 and "Did you mean 'model.width'?" in answer.err


def test_groups_over_seeds(hpc_dl: HpcDl, names: list[str]) -> None:
    header, best, other = hpc_dl("results", "--group", "--sort", "val/accuracy").out.splitlines()
    assert header.split() == ["runs", "seeds", "optimizer.lr", "val/accuracy", "val/loss"]
    assert best.split("  ")[:2] == [f"{names[2]} +1", "2"]
    assert "0.9 ± 0.64 (sd 0.071)" in best and "0.75 ± 0.64 (sd 0.071)" in other  # t = 12.706 with one degree
    (group,) = hpc_dl("results", "--group", "--best", 1, "--json").json
    assert group["runs"] == names[2:] and group["optimizer.lr"] == 0.1


def test_csv_has_the_table_in_full_precision(hpc_dl: HpcDl, names: list[str]) -> None:
    rows = list(csv.DictReader(io.StringIO(hpc_dl("results", "--csv").out)))
    assert list(rows[0]) == ["run", "state", "seed", "optimizer.lr", "val/accuracy", "val/loss"]
    assert float(rows[0]["val/loss"]) == 1 - 0.8 and rows[3]["run"] == names[3]
    grouped = hpc_dl("results", "--csv", "--group").out.splitlines()[0]
    assert "val/accuracy,val/accuracy/sd,val/accuracy/interval" in grouped


def test_parquet_file(hpc_dl: HpcDl, names: list[str]) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow comes with the extra pack")
    assert hpc_dl("results", "--parquet", "r.parquet").status == 0
    table = parquet.read_table("r.parquet").to_pydict()
    assert table["run"] == names and table["optimizer.lr"] == [0.01, 0.01, 0.1, 0.1]
    assert [path.name for path in Path().iterdir() if "parquet" in path.name] == ["r.parquet"]
    answer = hpc_dl("results", "--parquet", "r.parquet")
    assert answer.status == 2 and "exists already" in answer.err
    assert hpc_dl("results", "--parquet", "no/r.parquet").err.startswith(
        "hpc-dl: no/r.parquet: its folder does not exist"
    )
    assert "exclude each other" in hpc_dl("results", "--parquet", "s.parquet", "--json").err
