"""The page of topics: its examples print, and its commands reach, what the page says."""

import contextlib
import io
import json
import re
import shlex
import statistics
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

from benchmarks import zoo
from hpc_dl.cli.main import app
from hpc_dl.config.experiment import Experiment
from hpc_dl.figures import kinds
from tests.cli.conftest import HpcDl, hpc_dl
from tests.conftest import PROJECT

__all__ = ["hpc_dl"]

TOPICS = (PROJECT / "docs" / "topics.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", TOPICS, re.MULTILINE | re.DOTALL)


class Row(NamedTuple):
    """A row of the tables: what to type, what comes out, and which figures show it."""

    command: str
    result: str
    figures: str

    @property
    def arguments(self) -> list[str]:
        return shlex.split(self.command)[1:]

    @property
    def expected(self) -> tuple[str, bool, str] | None:
        """The metric, whether the number is an upper bound, and the number."""
        found = re.match(r"`(test/\w+)` (at most )?(\d+(?:\.\d+)?)", self.result)
        return (found[1], bool(found[2]), found[3]) if found else None

    @property
    def kinds(self) -> list[str]:
        return re.findall(r"`(\w+)`", self.figures)


GROUP: Any = typer.main.get_command(app)
ROWS = [
    Row(*cells)
    for cells in re.findall(r"^\| [^|]*\| `(hpc-dl [^|`]+)` \| ([^|]+) \| ([^|]+) \|$", TOPICS, re.MULTILINE)
]


@pytest.mark.parametrize(("code", "expected"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_example_prints_what_the_page_says(code: str, expected: str) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "docs/topics.md", "exec"), {})
    assert printed.getvalue() == expected


def test_right_numbers_of_the_table_are_those_computed() -> None:
    (_, expected), *_ = EXAMPLES
    rows = re.findall(r"^\| (?!quantity|---)[^|]+\| ([\d.]+) \| ([\d.]+) \|", TOPICS, re.MULTILINE)
    assert rows == [("0.04", "0.06036"), ("0.31", "0.29"), ("0.699", "0.690")]
    assert "= 0.06036\n" in expected and "one step: [0.28964, 0.3392]" in expected and "[0.31, 0.69]" in expected


def test_every_row_with_a_command_is_read() -> None:
    lines = [line for line in TOPICS.splitlines() if line.startswith("|") and "`hpc-dl " in line]
    assert len(ROWS) == len(lines) > 50


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`hpc-dl ([^`]+)`", TOPICS))))
def test_command_is_valid(command: str) -> None:
    name, *arguments = shlex.split(command)
    values = GROUP.commands[name].make_context(name, arguments).params
    if "config" in values:
        Experiment.load(values["config"], *(values["overrides"] or ()))


def test_rows_show_every_kind_of_figure() -> None:
    assert {kind for row in ROWS for kind in row.kinds} == set(kinds.names())


def test_results_are_those_of_the_zoo() -> None:
    measured = json.loads(zoo.RESULTS.read_text(encoding="utf-8"))
    figures = [figure for name, figure in zoo.figures().items() if name in measured]
    by_command = {" ".join(["hpc-dl train", figure.config, *figure.overrides]): figure for figure in figures}
    compared = [row for row in ROWS if row.expected and row.command in by_command]
    assert len(compared) > 30
    for row in compared:
        metric, is_bound, number = row.expected or ("", False, "")
        figure = by_command[row.command]
        mean = statistics.mean(measured[figure.name]["values"])
        decimals = len(number.partition(".")[2])
        assert metric == figure.metric, row
        assert float(number) == (figure.at_most if is_bound else round(mean, decimals)), row


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["perceptron-xor", "mlp-xor"])
def test_command_reaches_the_result_and_draws_the_figure(experiment: str, tmp_path: Path, hpc_dl: HpcDl) -> None:
    (row,) = [row for row in ROWS if row.arguments == ["train", experiment]]
    metric, is_bound, number = row.expected or ("", False, "")
    runs = ["--runs", str(tmp_path / "runs")]
    trained = hpc_dl(*row.arguments, "wandb.mode=disabled", *runs, "--data", tmp_path / "data", "--json")
    reached = trained.json["metrics"][metric]
    assert reached <= float(number) if is_bound else reached == pytest.approx(float(number))
    drawn = hpc_dl("figures", "latest", *(f"--only={kind}" for kind in row.kinds), *runs, "--json").json["figures"]
    assert row.kinds and [Path(figure["file"]).is_file() for figure in drawn] == [True] * len(row.kinds)
