"""The sections of a report beyond the results: settings, mistakes, baselines, cost."""

from pathlib import Path
from typing import Any

import pytest

from hpc_dl.atomic_files import write_json
from hpc_dl.report.blocks import Picture, Section, Table, Text
from hpc_dl.report.html import MOST_BYTES, html_of
from hpc_dl.report.material import Material
from hpc_dl.report.sections.failures import MOST_PICTURE_BYTES
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.run_files import read_result
from hpc_dl.runs.usage_samples import Sample, SampleFile
from tests.cli.conftest import HpcDl
from tests.cli.test_goodput import runs as measured_runs
from tests.cli.test_report import page_of, trained

PNG = b"\x89PNG\r\n\x1a\n"
runs = measured_runs  # the fixture: two runs with what they used


def with_picture(run: RunFolder, kind: str, content: bytes) -> None:
    run.figures.mkdir(exist_ok=True)
    (run.figures / f"{kind}.png").write_bytes(content)


def add(run: RunFolder, **facts: Any) -> None:
    write_json(run.result, read_result(run) | facts)


def test_settings_and_objective_of_every_run_are_plotted(hpc_dl: HpcDl) -> None:
    rates = {trained(seed, lr, 0.5 + lr + seed / 10).name: lr for lr in (0.01, 0.3) for seed in (0, 1)}
    page, _ = page_of(hpc_dl)
    parallel = next(plot for plot in page.plots if "axes" in plot)
    assert [axis["name"] for axis in parallel["axes"]] == ["optimizer.lr", "val/loss"] and parallel["axes"][0]["log"]
    values = {row["name"]: row["value"] for row in parallel["rows"]}
    metrics = {result["run"]: result["metrics"] for result in hpc_dl("results", "--json").json}
    assert values == {name: [lr, pytest.approx(metrics[name]["val/loss"])] for name, lr in rates.items()}
    scatter = next(plot for plot in page.plots if "points" in plot)
    assert sorted(point[2] for point in scatter["points"]) == sorted(rates)


def test_pictures_are_those_of_the_best_and_worst_runs_and_fit(hpc_dl: HpcDl) -> None:
    trained_runs = [trained(0, 0.01 * (number + 1), 0.9 - number / 20) for number in range(10)]
    for run in trained_runs:
        with_picture(run, "mistakes", PNG + b"x" * 290_000)
        with_picture(run, "curves", PNG)  # the page draws them itself
        with_picture(run, "not_a_kind", PNG)
    with_picture(trained_runs[0], "confusion", b"<script>alert(1)</script>")
    page, text = page_of(hpc_dl)
    assert page.tags.count("img") == 4 and len(text.encode()) < 3_000_000
    assert 4 * 290_000 < MOST_PICTURE_BYTES < 5 * 290_000
    captions = text.split("<figcaption>")
    assert any(caption.startswith(f"{trained_runs[0].name} (best): ") for caption in captions)
    assert not any(caption.startswith(trained_runs[5].name) for caption in captions)


def test_text_in_backticks_is_code_and_never_markup() -> None:
    texts = [Text("Type `hpc-dl why <b>` now."), Text("5` of <i>")]
    page = html_of("title", [Section("any", "Any", texts)])
    assert "<p>Type <code>hpc-dl why &lt;b&gt;</code> now.</p>" in page
    assert "<p>5` of &lt;i&gt;</p>" in page


def test_page_that_would_be_too_large_has_no_pictures() -> None:
    table = Table(("name",), [["x" * 100]] * 20_000)
    pictures = Picture("first", PNG + b"x" * 500_000), Picture("second", PNG + b"x" * 500_000, folded=True)
    assert html_of("small", [Section("a", "A", pictures)]).count("<img") == 2
    page = html_of("large", [Section("a", "A", [table, *pictures])])
    assert len(page.encode()) < MOST_BYTES and "<img" not in page and "There are no pictures" in page


def test_weakest_class_of_an_evaluation(hpc_dl: HpcDl) -> None:
    run = trained(0, 0.1, 0.9)
    evaluation = {"classes": ["cat", "<dog>"], "confusion": [[9, 1], [4, 6]], "split": "val"}
    write_json(run.path / "evaluation-val.json", evaluation)
    page, text = page_of(hpc_dl)
    assert "Weakest: &lt;dog&gt;: 6 of 10 recognized (val split)" in text
    assert page.table("true \\ predicted", "cat")[1]["<dog>"] == "6"
    write_json(run.path / "evaluation-val.json", {"classes": ["a"], "confusion": [["x"]]})
    assert "recognized" not in page_of(hpc_dl)[1]


def test_baseline_and_metrics_by_group(hpc_dl: HpcDl) -> None:
    run = trained(0, 0.1, 0.9)
    metric = {"value": 0.75, "low": 0.5, "high": 0.9, "count": 8}
    groups = {
        "by": "site",
        "split": "test",
        "groups": [{"group": "<A>", "samples": 8, "metrics": {"accuracy": metric}}],
    }
    add(run, baseline={"metric": "test/accuracy", "name": "forest", "mean": 0.875}, by_group=groups)
    page, _ = page_of(hpc_dl)
    rows = page.table("model", "test/accuracy")
    assert [row["test/accuracy"] for row in rows] == ["0.875", "0.515"]
    assert page.table("group", "samples")[0] == {"group": "<A>", "samples": "8", "accuracy": "0.75 (0.5 to 0.9)"}
    add(run, baseline=[1], by_group={"groups": [{}]})
    assert page_of(hpc_dl)[0].table("run", "state")


def test_cost_is_that_of_the_commands(hpc_dl: HpcDl, runs: list[RunFolder]) -> None:
    for run in runs[:2]:
        SampleFile(run.usage, 0).append(Sample(1050.0, 50.0, rss_gib=1.2, cpus=0.9))
    page, text = page_of(hpc_dl)
    rows = {row["run"]: row for row in page.table("run", "CPU h")}
    measured = [row for row in hpc_dl("efficiency", "--json").json if "cost" in row]
    assert measured
    for row in measured:
        assert rows[row["run"]]["CPU h"] == f"{row['cost']['cpu_hours']:.4g}"
    goodput = hpc_dl("goodput").out
    assert all(row["share"] in goodput for row in page.table("part", "share")[:-1])  # the last one is 100 %
    assert "What did it cost?" in text


def test_two_runs_of_the_same_name_are_two_rows(hpc_dl: HpcDl) -> None:
    run = trained(0, 0.1, 0.9)
    other = RunFolder(Path("other").absolute() / run.name)
    other.path.parent.mkdir()
    run.path.rename(other.path)
    again = RunFolder(run.path)
    other_copy = trained(1, 0.1, 0.8)
    other_copy.path.rename(again.path)
    assert sorted(Material("both", [again, other]).runs) == [f"other/{run.name}", f"runs/{run.name}"]
