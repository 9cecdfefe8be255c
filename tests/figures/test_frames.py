"""Figures over time: what the training records, and that it trains as without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from hpc_dl.figures.drawing import draw
from hpc_dl.figures.frame_makers import frame_makers
from hpc_dl.figures.frames import MOST_FRAMES, read_frames, schedule
from hpc_dl.figures.hidden_plane import hidden_units
from hpc_dl.figures.kinds.hidden_space import Projection
from hpc_dl.figures.subject import Subject
from hpc_dl.runs.comparison import differences
from hpc_dl.runs.folder import RunFolder
from hpc_dl.training.train import train
from tests import experiments
from tests.figures.conftest import generator, plane, text
from tests.figures.test_kinds import Subjects, drawn
from tests.training.attempts import Stop, finish

pytestmark = pytest.mark.slow  # of small runs that are trained for them


@pytest.mark.parametrize(("epochs", "expected"), [(3, {0, 1, 2, 3}), (1000, None), (-1, None)])
def test_frames_are_few_and_include_the_ends(epochs: int, expected: set[int] | None) -> None:
    due = schedule(epochs)
    chosen = {epoch for epoch in range(2000) if due(epoch)}
    assert len(chosen) <= MOST_FRAMES and 0 in chosen
    assert expected is None or chosen == expected
    assert epochs < 0 or max(chosen) == epochs


@pytest.mark.parametrize("experiment", [plane, generator, text])
def test_training_is_the_same_with_frames(experiment: Any, tmp_path: Path) -> None:
    runs: list[RunFolder] = []
    content = experiment(tmp_path)
    for recorded in (True, False):
        content["trainer"]["figures"] = recorded
        runs.append(experiments.prepared(tmp_path, content))
        train(runs[-1])
    assert runs[0].frames.is_file() and not runs[1].frames.exists()
    assert differences(*runs) == []


def test_resumed_training_has_each_frame_once(tmp_path: Path) -> None:
    content = plane(tmp_path)
    straight = experiments.prepared(tmp_path, content)
    train(straight)
    stopped = finish(experiments.prepared(tmp_path, content), Stop(8), Stop(15))
    recorded, expected = read_frames(stopped.frames), read_frames(straight.frames)
    assert list(recorded) == list(expected) == ["surface", "hidden"]
    for kind, frames in recorded.items():
        assert frames.epochs == expected[kind].epochs == (0, 1, 2, 3, 4)
        assert all(np.array_equal(*pair) for pair in zip(frames.values, expected[kind].values, strict=True))
    assert differences(stopped, straight) == []


def test_surfaces(subject: Subjects, tmp_path: Path) -> None:
    of = subject("plane")
    figure = drawn(of, "surface_by_epoch")
    assert [ax.get_title() for ax in figure.axes if ax.get_visible()] == [f"epoch {n}" for n in range(5)]
    frames = of.frames["surface"]
    assert frames.class_names == ("low $", "up $")
    assert frames.values[0].shape == (120 * 120, 2) and frames.points.shape == (13, 2)
    assert of.batches is not None
    corner = torch.tensor([[frames.extent[0], frames.extent[2]]])
    with torch.no_grad():  # the best weights are those of the last epoch
        expected = of.network(of.batches.preprocessings[0](corner))[0].numpy()
    assert of.best_step == 24 and np.allclose(frames.values[-1][0], expected, rtol=1e-2)
    (path,) = draw(of, ["surface_by_epoch"], tmp_path, "gif")
    with Image.open(path) as image:
        assert image.n_frames == 5 and image.size == (600, 500)  # type: ignore[attr-defined]


def test_hidden_spaces(subject: Subjects, tmp_path: Path) -> None:
    of = subject("plane")
    frames = of.frames["hidden"]
    assert frames.values[0].shape == (13 + 25 * 25, 8) and of.run.frames.stat().st_size < 1 << 20
    points = hidden_units(of, frames.points)  # the best weights are those of the last epoch
    assert np.allclose(frames.values[-1][:13], points, rtol=1e-2, atol=1e-3)
    figure = drawn(of, "hidden_space_by_epoch")
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title() for ax in shown] == [f"epoch {n}" for n in range(5)]
    assert len({(ax.get_xlim(), ax.get_ylim()) for ax in shown}) == 1
    project = Projection(np.float32(frames.values[-1][:13]))
    for ax, units in zip(shown, frames.values, strict=True):  # the same projection for all frames
        drawn_points = [np.stack(line.get_data(), 1) for line in ax.lines if line.get_linestyle() == "None"]
        expected = project(np.float32(units[:13]))
        assert np.allclose(
            np.concatenate(drawn_points), np.concatenate([expected[frames.targets == c] for c in (0, 1)])
        )
    (path,) = draw(of, ["hidden_space_by_epoch"], tmp_path, "gif")
    with Image.open(path) as image:
        assert image.n_frames == 5 and image.size == (600, 500)  # type: ignore[attr-defined]


def test_wide_layers_have_no_hidden_frames(subject: Subjects, monkeypatch: pytest.MonkeyPatch) -> None:
    of = subject("plane")
    assert [frames.kind for frames, _ in frame_makers(of)] == ["surface", "hidden"]
    monkeypatch.setattr("hpc_dl.figures.frame_makers._MOST_UNITS", 7)
    assert [frames.kind for frames, _ in frame_makers(of)] == ["surface"]


def test_samples(subject: Subjects, tmp_path: Path) -> None:
    of = subject("generator")
    figure = drawn(of, "samples_by_epoch")
    real, generated = figure.axes[3].lines
    assert len(real.get_xdata()) == 13  # type: ignore[arg-type]
    assert figure.axes[3].get_aspect() == 1
    assert np.array_equal(np.stack(generated.get_data(), 1), np.float32(of.frames["samples"].values[3]))
    assert draw(of, ["samples_by_epoch"], tmp_path, "gif")[0].stat().st_size > 1000


def test_texts(subject: Subjects) -> None:
    of = subject("text")
    texts = of.frames["texts"].values
    assert [len(text) for text in texts] == [168] * 3
    assert all(text.startswith("abc\nabc\n") for text in texts)
    figure = drawn(of, "texts_by_epoch")
    assert [ax.get_title("left") for ax in figure.axes] == ["epoch 0", "epoch 1", "epoch 2"]
    assert figure.axes[0].texts[0].get_text().startswith("abc⏎abc⏎")


def test_damaged_frames_are_no_frames(subject: Subjects, tmp_path: Path) -> None:
    content = subject("plane").run.frames.read_bytes()
    path = tmp_path / "frames.h5"
    for damaged in (b"", b"no HDF5", content[: len(content) // 2]):
        path.write_bytes(damaged)
        assert read_frames(path) == {}
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    assert read_frames(tmp_path / "empty.h5") == read_frames(tmp_path / "none.h5") == {}
    assert Subject(experiments.prepared(tmp_path, plane(tmp_path))).no_frames("surface")
