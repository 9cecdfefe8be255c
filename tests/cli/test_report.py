"""``hpc-dl report``: its numbers are those of the journal and the results; texts stay texts."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from hpc_dl.atomic_files import write_json
from hpc_dl.cli import report as command
from hpc_dl.config import yaml
from hpc_dl.runs import attempts
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import write_state
from hpc_dl.tracking.journal import JournalWriter, read_journal
from tests.cli.conftest import HpcDl

HOSTILE = "<img src=x onerror=alert(1)> </script><script>alert(2)</script> \x1b[2J \udcff 名前 اسم"


class Page(HTMLParser):
    """The tags, tables and plots of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.values: list[float] = []
        self.plots: list[Any] = []
        self._is_plot = self._is_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attributes)
        self._is_plot = tag == "script" and given.get("type") == "application/json"
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._is_cell = True
            if value := given.get("data-value"):
                self.values.append(float(value))

    def handle_data(self, data: str) -> None:
        if self._is_plot:
            self.plots.append(json.loads(data))
            self._is_plot = False
        elif self._is_cell:
            self.tables[-1][-1][-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._is_cell = self._is_cell and tag not in ("td", "th")

    def table(self, *columns: str) -> list[dict[str, str]]:
        """The rows of the first table with these columns."""
        found = next(table for table in self.tables if set(columns) <= set(table[0]))
        return [dict(zip(found[0], row, strict=True)) for row in found[1:]]


def trained(seed: int, lr: float, accuracy: float, *, steps: int = 12, name: str = "digits") -> RunFolder:
    """A finished run with a journal."""
    run = RunFolder.create(Path("runs"), name)
    run.config.write_text(
        yaml.dumps({"name": "digits", "seed": seed, "model": {"name": "mlp"}, "optimizer": {"lr": lr}})
    )
    journal = JournalWriter(run.journal, 0)
    for step in range(1, steps + 1):
        journal.write({"train/loss": 1 / step + seed / 10}, step, epoch=(step - 1) // 4)
        if step % 4 == 0:
            journal.write({"val/accuracy": accuracy * step / steps, "val/loss": 1 - accuracy}, step, (step - 1) // 4)
    journal.close()
    metrics = {"val/accuracy": accuracy, "val/loss": 1 - accuracy, "test/accuracy": 0.515, "train/loss": 0.25}
    losses = {"train": 0.1, "val": 0.9, "constant": 2.3}
    diagnosis = {"fit": "overfit", "losses": losses, "advice": ["use dropout"]}
    write_json(run.result, {"run": run.name, "metrics": metrics, "seconds": 12.5, "diagnosis": diagnosis})
    write_state(run, "finished", step=steps)
    return run


def page_of(hpc_dl: HpcDl, *arguments: object) -> tuple[Page, str]:
    answer = hpc_dl("report", *arguments)
    assert (answer.status, answer.err) == (0, "")
    text = Path("report.html").read_text(encoding="utf-8")
    return Page(text), text


def test_numbers_are_those_of_the_results_and_the_journal(hpc_dl: HpcDl) -> None:
    runs = [trained(0, 0.01, 0.8), trained(1, 0.01, 0.7), trained(0, 0.1, 0.95), trained(1, 0.1, 0.85)]
    page, text = page_of(hpc_dl)
    rows = {row["run"]: row for row in page.table("run", "state", "val/loss")}
    for result in hpc_dl("results", "--json").json:
        assert rows[result["run"]]["val/accuracy"] == f"{result['metrics']['val/accuracy']:.4g}"
        assert result["metrics"]["val/loss"] in page.values
    grouped = page.table("place", "seeds")
    (best, _) = hpc_dl("results", "--group", "--json", "--sort", "val/loss").json
    assert grouped[0]["val/loss"].startswith(f"{best['val/loss']:.4g} ± {best['val/loss/interval']:.2g}")
    loss = next(plot for plot in page.plots if "series" in plot and plot["y"] == "loss")
    line = next(one for one in loss["series"] if one["dashed"] and "0.01" in one["name"])
    journals = [[row["train/loss"] for row in read_journal(run.journal)] for run in runs[:2]]
    assert [point[1] for point in line["points"]] == pytest.approx([sum(v) / 2 for v in zip(*journals, strict=True)])
    assert [low for _, low, _ in line["band"]] == pytest.approx(journals[0])
    assert [high for _, _, high in line["band"]] == pytest.approx(journals[1])
    assert (
        "optimizer.lr=0.1" in text
        and "Did it overfit?" in text
        and "--only mistakes" in text
        and "<strong>Yes</strong>" in text
    )


def test_texts_of_runs_are_never_markup(hpc_dl: HpcDl) -> None:
    run = trained(0, 0.1, 0.9, name="<img src=x onerror=alert(1)>")
    model = {"name": "{{ 7 * 7 }} 名前", "</script>": "<img src=x>"}
    run.config.write_text(yaml.dumps({"name": "<b>", "seed": 0, "model": model}))
    write_json(run.result, {"run": HOSTILE, "metrics": {HOSTILE: 0.5, "val/loss": 0.1}, "diagnosis": {"fit": HOSTILE}})
    write_json(run.provenance, {"command": [HOSTILE], "git": {HOSTILE: {"commit": HOSTILE}}, "packages": HOSTILE})
    journal = JournalWriter(run.journal, 1)
    for step in (13, 14):
        journal.write({f"val/{HOSTILE}": 0.5}, step, epoch=step)
    journal.close()
    failed = trained(0, 0.1, 0.9)
    write_state(failed, "failed", reason=HOSTILE)
    page, text = page_of(hpc_dl)
    assert "img" not in page.tags and page.tags.count("script") == 2 + len(page.plots)
    assert [text[at.start() - 50 : at.end() + 50] for at in re.finditer("\x1b", text)] == []
    assert "{{ 7 * 7 }}" in text and "名前" in text
    assert "default-src &#39;none&#39;" in text and "unsafe" not in text.partition("<title>")[0]
    assert hpc_dl("report", "--markdown").status == 0
    escaped_or_code = r"\\.|(?s:```.*?```)|`.*?`"
    assert "<img" not in re.sub(escaped_or_code, "", Path("report.md").read_text(encoding="utf-8"))


def test_damaged_runs_and_runs_without_metrics_have_a_page(hpc_dl: HpcDl) -> None:
    good, damaged, other = trained(0, 0.1, 0.9), trained(1, 0.1, 0.9), trained(2, 0.1, 0.9)
    damaged.result.write_text("{")
    (damaged.journal / "attempt-000.jsonl").write_text("{}\nx\n")
    write_json(other.result, {"metrics": {}, "diagnosis": [1], "seconds": None})
    RunFolder.create(Path("runs"), "empty")
    page, text = page_of(hpc_dl)
    states = {row["run"].replace(" ★ best", ""): row["state"] for row in page.table("run", "state")}
    assert states[good.name] == "finished" and states[damaged.name] == "unreadable" and len(states) == 4
    assert "Traceback" not in text
    assert page_of(hpc_dl, other.name)[0].plots


@pytest.mark.parametrize("arguments", [[], ["missing"], ["--out", "x.pdf"], ["--out", "missing/x.html"]], ids=" ".join)
def test_nothing_to_report_is_one_line(hpc_dl: HpcDl, arguments: list[str]) -> None:
    if "--out" in arguments:
        trained(0, 0.1, 0.9)
    answer = hpc_dl("report", *arguments)
    assert answer.status == 2 and answer.err.splitlines()[-1].startswith("hpc-dl: ")
    assert not list(Path.cwd().glob("*.html"))


def test_long_run_stays_small_and_keeps_its_extremes(hpc_dl: HpcDl) -> None:
    run = trained(0, 0.1, 0.9)
    rows = [{"step": n, "epoch": n // 4, "train/loss": 77.0 if n == 5000 else 1 / n} for n in range(1, 10_001)]
    header = {"attempt": 1, "from_step": 0}
    (run.journal / "attempt-001.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in (header, *rows)))
    page, text = page_of(hpc_dl, run.name)
    loss = next(plot for plot in page.plots if "series" in plot and plot["y"] == "loss")
    points = next(one for one in loss["series"] if one["name"] == "train/loss")["points"]
    assert len(points) < 300 and max(point[1] for point in points) == 77.0
    assert len(text.encode()) < 900_000


def test_restarts_are_marked_with_their_reason(hpc_dl: HpcDl) -> None:
    run = trained(0, 0.1, 0.9)
    attempts.record(run, "started", attempt=0, from_step=0)
    attempts.record(run, "ended", attempt=0, state="stopped", cause="limit")
    attempts.record(run, "started", attempt=1, from_step=8)
    page, _ = page_of(hpc_dl)
    assert all(plot["marks"] == [[2.0, "start 2"]] for plot in page.plots)
    (row,) = page.table("run", "start", "from step")
    assert (row["run"], row["start"], row["from step"]) == (run.name, "2", "8")
    assert row["why the one before it ended"] == "limit"


def test_watching_ends_with_the_last_run(hpc_dl: HpcDl, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained(0, 0.1, 0.9)
    write_state(run, "created")
    versions = []

    def finish() -> None:
        versions.append(Path("report.html").read_text())
        write_state(run, "finished", step=12)

    monkeypatch.setattr(command, "_wait", finish)
    page, text = page_of(hpc_dl, "--watch")
    assert len(versions) == 1 and 'http-equiv="refresh"' in versions[0] and 'http-equiv="refresh"' not in text
    assert page.table("run", "state")[0]["state"] == "finished"
