"""Figures that look into a network: gradients, feature maps, loss surface and others."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from hpc_dl.figures import kinds
from hpc_dl.figures.drawing import draw
from hpc_dl.figures.kinds.loss_surface import SIZE, loss_surface
from tests.figures.test_kinds import FITTING, Subjects, drawn, labels, title

pytestmark = pytest.mark.slow  # of small runs that are trained for them


def test_gradients(subject: Subjects) -> None:
    of = subject("values")
    (ax,) = drawn(of, "gradients").axes
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["hidden.0", "head"]
    example, network = of.examples(13), of.network
    weight = network.head.weight
    assert isinstance(weight, torch.Tensor)
    loss = torch.nn.functional.mse_loss(network(example.x), example.y)
    (gradient,) = torch.autograd.grad(loss, weight)
    assert ax.patches[1].get_width() == pytest.approx(float(gradient.norm() / weight.detach().norm()), rel=1e-5)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_feature_maps(subject: Subjects) -> None:
    of = subject("images")
    figure = drawn(of, "feature_maps")
    assert figure.axes[1].get_title("left") == "features.0.0: 4 maps of 8 × 8"
    with torch.no_grad():
        maps = of.network.features[0][0](of.examples(1).x)[0]  # type: ignore[index]
    shown = np.asarray(figure.axes[3].images[0].get_array())
    expected = (maps[2] - maps[2].min()) / (maps[2].max() - maps[2].min())
    assert np.allclose(shown, expected, atol=1e-5)


def test_saliency(subject: Subjects) -> None:
    of = subject("images")
    figure = drawn(of, "saliency")
    assert len(figure.axes) == 10
    x = of.examples(5).x.requires_grad_()
    (gradient,) = torch.autograd.grad(of.network(x).max(1).values.sum(), x)
    sizes = gradient[:, 0].abs()
    steepest = int(sizes.amax((1, 2)).argmax())  # others may be 0, behind units that are off
    expected = sizes[steepest] / sizes[steepest].max()
    assert np.allclose(figure.axes[5 + steepest].images[0].get_array(), expected, atol=1e-5)


def test_hidden_space(subject: Subjects) -> None:
    figure = drawn(subject("plane"), "hidden_space")
    assert labels(figure) == [("component 1", "component 2")]
    assert "(8 units): 13 validation samples" in title(figure)
    points = [line for line in figure.axes[0].lines if line.get_linestyle() == "None"]
    assert sum(len(line.get_xdata()) for line in points) == 13  # type: ignore[arg-type]
    assert len(figure.axes[0].lines) - len(points) == 24  # of the grid


def test_loss_surface(subject: Subjects) -> None:
    of = subject("values")
    weights = {name: value.clone() for name, value in of.network.state_dict().items()}
    losses, count = loss_surface(of)
    best = next(row for row in of.journal if row["step"] == of.best_step)
    assert count == 13 and losses.shape == (SIZE, SIZE)
    assert losses[SIZE // 2, SIZE // 2] == pytest.approx(best["val/loss"], rel=1e-5)
    assert losses.min() < losses[0, 0]
    assert all(torch.equal(value, weights[name]) for name, value in of.network.state_dict().items())
    figure = drawn(of, "loss_surface")
    assert [ax.get_ylabel() for ax in figure.axes] == ["direction 2 (in norms of the filters)", "loss"]


def test_convergence(subject: Subjects) -> None:
    of = subject("graphs")
    figure = drawn(of, "convergence")
    assert labels(figure) == [("iteration", "residual")]
    residuals = np.asarray(figure.axes[0].lines[0].get_ydata())
    with torch.no_grad():
        of.network(of.examples(8).x)
    solved = of.network.solved
    assert len(residuals) == solved.iterations  # type: ignore[union-attr]
    assert residuals[-1] == pytest.approx(solved.residual, rel=1e-3)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", kinds.names())
def test_every_kind_can_be_saved_in_both_formats(subject: Subjects, tmp_path: Path, name: str) -> None:
    of = subject(next(run for run, fitting in FITTING.items() if name in fitting))
    (picture,), (vector,) = (draw(of, [name], tmp_path, suffix) for suffix in ("png", "svg"))
    with Image.open(picture) as image:
        assert image.format == "PNG" and len(image.convert("L").getcolors() or ()) > 10
    root = ElementTree.parse(vector).getroot()
    assert root.tag.endswith("svg") and len(list(root.iter())) > 100
