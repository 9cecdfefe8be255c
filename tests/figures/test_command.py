"""``hpc-dl figures``, ``hpc-dl models --activations``, and the figures of a finished run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from hpc_dl.figures import kinds
from hpc_dl.figures.activations import draw_activations, shown_names
from hpc_dl.figures.drawing import at_end, draw
from hpc_dl.figures.style import style
from hpc_dl.figures.subject import Subject
from hpc_dl.regular_files import read_json
from hpc_dl.runs.comparison import differences
from hpc_dl.training.train import train
from tests import experiments
from tests.cli.conftest import HpcDl, hpc_dl
from tests.conftest import PROJECT
from tests.figures.conftest import images

__all__ = ["hpc_dl"]  # the fixture

AT_END = {
    "images": ["curves", "confusion", "mistakes", "calibration"],
    "patches": ["curves", "confusion", "mistakes", "calibration"],
    "plane": ["curves", "decision_surface", "confusion", "calibration"],
    "values": ["curves", "residuals", "embeddings", "optimization"],
    "autoencoder": ["curves", "reconstructions", "embeddings", "optimization"],
    "generator": ["curves", "samples", "optimization"],
    "masks": ["curves", "segmentation", "confusion", "calibration"],
    "words": ["curves", "embeddings", "optimization"],
    "text": ["curves", "confusion", "calibration", "optimization"],
    "graphs": ["curves", "confusion", "calibration", "roc"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", AT_END)
def test_finished_run_draws_what_says_most(subject: Callable[[str], Subject], name: str) -> None:
    assert at_end(subject(name)) == AT_END[name]


@pytest.mark.slow
def test_figures_of_a_finished_run_change_nothing_else(tmp_path: Path) -> None:
    runs = []
    for drawn in (True, False):
        content = images(tmp_path)
        content["trainer"]["figures"] = drawn
        runs.append(experiments.prepared(tmp_path, content))
        train(runs[-1])
    assert sorted(path.name for path in runs[0].figures.iterdir()) == sorted(f"{n}.png" for n in AT_END["images"])
    assert not runs[1].figures.exists()
    assert differences(*runs) == []


@pytest.mark.slow
def test_figure_that_cannot_be_drawn_leaves_the_run_finished(tmp_path: Path) -> None:
    content = images(tmp_path)
    content["trainer"]["figures"] = True
    run = experiments.prepared(tmp_path, content)
    run.figures.write_text("a file, where the folder should be")
    train(run)
    assert read_json(run.state)["state"] == "finished" and read_json(run.result)["metrics"]
    assert "The figures could not be drawn: FileExistsError" in run.log(0).read_text()


@pytest.mark.slow
def test_drawing_changes_neither_the_model_nor_the_random_state(
    subject: Callable[[str], Subject], tmp_path: Path
) -> None:
    of = subject("images")
    assert of.model is not None
    of.model.train()
    weights = {name: value.clone() for name, value in of.model.state_dict().items()}
    states = torch.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"].tolist()
    paths = draw(of, ["mistakes", "embeddings", "filters"], tmp_path / "new")
    assert [path.name for path in paths] == ["mistakes.png", "embeddings.png", "filters.png"]
    assert all(torch.equal(value, weights[name]) for name, value in of.model.state_dict().items())
    assert of.model.training and of.model.features.training  # type: ignore[union-attr]
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == np.random.get_state(legacy=False)["state"]["key"].tolist()
    of.model.eval()


@pytest.mark.slow
def test_files_are_light_wide_enough_and_reproducible(subject: Callable[[str], Subject], tmp_path: Path) -> None:
    of = subject("plane")
    first, again = (draw(of, ["decision_surface"], tmp_path / name)[0] for name in ("first", "again"))
    assert first.read_bytes() == again.read_bytes()
    with Image.open(first) as image:
        assert image.width == 960 and image.getpixel((2, 2))[:3] == (255, 255, 255)  # type: ignore[index]
    vectors = [draw(of, ["curves"], tmp_path / name, "svg")[0] for name in ("first", "again")]
    assert vectors[0].read_bytes() == vectors[1].read_bytes()
    assert ElementTree.parse(vectors[0]).getroot().tag.endswith("svg")
    assert {path.name for path in first.parent.iterdir()} == {"decision_surface.png", "curves.svg"}


@pytest.mark.slow
def test_command_draws_and_lists_files(hpc_dl: HpcDl, subject: Callable[[str], Subject], tmp_path: Path) -> None:
    run = subject("images").run.path
    answer = hpc_dl("figures", run, "--only", "curves", "--format", "svg", "--out", tmp_path / "f", "--json")
    assert answer.status == 0, answer.err
    assert answer.json["figures"] == [
        {"name": "curves", "file": str(tmp_path / "f" / "curves.svg"), "shows": kinds.summary("curves")}
    ]
    answer = hpc_dl("figures", run, "--out", tmp_path / "all")
    assert answer.status == 0 and "confusion.png" in answer.out, answer.err
    drawn = {path.stem for path in (tmp_path / "all").iterdir()}
    assert drawn >= {"curves", "confusion", "mistakes", "filters", "embeddings"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "curve"], "--only: is not a kind of figure (got 'curve'; allowed: attention,"),
        (["--only", "residuals"], "--only: applies to the tasks regression, not to classification (got 'residuals')"),
        (["--only", "curves", "--format", "gif"], "--only: cannot be animated (got 'curves'). Use png or svg"),
        (["--format", "pdf"], "--format: is unknown (got 'pdf'; allowed: png, svg, gif)"),
    ],
)
def test_faults(
    hpc_dl: HpcDl, subject: Callable[[str], Subject], tmp_path: Path, arguments: list[str], message: str
) -> None:
    answer = hpc_dl("figures", subject("images").run.path, "--out", tmp_path / "f", *arguments)
    assert answer.status == 2 and message in answer.err, answer.err
    assert not (tmp_path / "f").exists()


@pytest.mark.slow
def test_run_without_weights_shows_its_journal(
    hpc_dl: HpcDl, subject: Callable[[str], Subject], tmp_path: Path
) -> None:
    run = subject("images").run
    empty = experiments.prepared(tmp_path, images(tmp_path))
    for path in run.journal.iterdir():
        (empty.journal / path.name).write_bytes(path.read_bytes())
    answer = hpc_dl("figures", empty.path)
    assert answer.status == 0 and "has no weights yet" in answer.err
    assert sorted(path.name for path in empty.figures.iterdir()) == ["curves.png", "optimization.png"]


@pytest.mark.slow
def test_activations(hpc_dl: HpcDl, tmp_path: Path) -> None:
    with style():
        figure = draw_activations()
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title() for ax in shown] == shown_names() and "maxout" not in shown_names()
    value, slope = (line.get_ydata() for line in shown[shown_names().index("relu")].lines)
    assert np.asarray(value).min() == 0 and set(np.asarray(slope)) == {0, 1}
    answer = hpc_dl("models", "--activations", tmp_path / "a.png")
    assert answer.status == 0 and (tmp_path / "a.png").stat().st_size > 10_000
    answer = hpc_dl("models", "--activations", tmp_path / "a.jpg")
    assert answer.status == 2 and "allowed: .png, .svg" in answer.err


def test_page_lists_every_kind() -> None:
    page = (PROJECT / "docs" / "how-to" / "figures.md").read_text(encoding="utf-8")
    for name in kinds.names():
        assert f"| `{name}` | {kinds.summary(name)[:-1]} |" in page, name
