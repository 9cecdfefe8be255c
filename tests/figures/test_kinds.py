"""Each kind of figure of a real run: its axes, labels and values."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from hpc_dl.figures import kinds
from hpc_dl.figures.drawing import fitting
from hpc_dl.figures.kinds.segmentation import slice_with_most_labels
from hpc_dl.figures.representations import representations
from hpc_dl.figures.style import style
from hpc_dl.figures.subject import Subject
from tests.figures.conftest import EXPERIMENTS

Subjects = Callable[[str], Subject]
JOURNAL = {"curves", "optimization"}
LOSS = {"gradients", "loss_surface"}
SCORES = JOURNAL | LOSS | {"confusion", "calibration", "roc", "precision_recall"}
VECTORS = {"embeddings", "tsne"}
CLASSES = SCORES | VECTORS | {"filters", "mistakes", "saliency"}
#: What each of the runs can show.
FITTING = {
    "images": CLASSES | {"feature_maps"},
    "patches": CLASSES | {"attention", "feature_maps"},
    "plane": CLASSES - {"mistakes"} | {"decision_surface", "hidden_space", "hidden_space_by_epoch", "surface_by_epoch"},
    "values": JOURNAL | LOSS | VECTORS | {"residuals", "filters", "saliency"},
    "autoencoder": JOURNAL | LOSS | VECTORS | {"reconstructions", "filters"},
    "generator": JOURNAL | {"samples", "samples_by_epoch"},
    "masks": JOURNAL | LOSS | {"segmentation", "confusion", "calibration", "filters", "feature_maps"},
    "words": JOURNAL | VECTORS,
    "text": JOURNAL | LOSS | {"attention", "calibration", "confusion", "texts_by_epoch"},
    "graphs": SCORES | VECTORS | {"convergence"},
}

pytestmark = pytest.mark.slow  # of small runs that are trained for them


def drawn(subject: Subject, name: str) -> Figure:
    with style():
        figure = kinds.kind(name).draw(subject)
        figure.savefig(io.BytesIO())
    return figure


def labels(figure: Figure) -> list[tuple[str, str]]:
    return [(ax.get_xlabel(), ax.get_ylabel()) for ax in figure.axes]


def title(figure: Figure) -> str:
    return figure.get_suptitle()


def test_every_kind_belongs_to_a_run() -> None:
    assert set().union(*FITTING.values()) == set(kinds.names())
    assert set(FITTING) == {experiment.__name__ for experiment in EXPERIMENTS}
    assert all(kinds.summary(name).endswith(".") for name in kinds.names())


@pytest.mark.parametrize("name", FITTING)
def test_kinds_that_fit_a_run(subject: Subjects, name: str) -> None:
    assert set(fitting(subject(name))) == FITTING[name]


def test_curves(subject: Subjects) -> None:
    of = subject("images")
    figure = drawn(of, "curves")
    assert labels(figure) == [("epoch", "loss"), ("epoch", "metric")]
    lines = {line.get_label(): line for ax in figure.axes for line in ax.lines}
    assert {"train/loss", "val/loss", "val/accuracy", "best"} <= lines.keys()
    rows = [row for row in of.journal if "val/loss" in row]
    assert np.array_equal(lines["val/loss"].get_ydata(), [row["val/loss"] for row in rows])
    assert np.array_equal(lines["val/loss"].get_xdata(), [1, 2])
    assert np.allclose(lines["train/loss"].get_xdata(), np.arange(1, 13) / 6)  # six steps an epoch


def test_optimization(subject: Subjects) -> None:
    figure = drawn(subject("images"), "optimization")
    assert labels(figure) == [("", "learning rate"), ("optimizer step", "norm of the gradient")]
    rate, norm = (ax.lines[0] for ax in figure.axes)
    assert np.allclose(rate.get_ydata(), 0.1) and list(rate.get_xdata()) == list(range(1, 13))
    assert np.all(np.asarray(norm.get_ydata()) > 0) and figure.axes[1].get_yscale() == "log"


def test_confusion(subject: Subjects) -> None:
    of = subject("images")
    figure = drawn(of, "confusion")
    matrix = np.zeros((3, 3))
    for true, predicted in zip(of.observations.targets, of.observations.outputs.argmax(1), strict=True):
        matrix[true, predicted] += 1
    assert matrix.sum() == 13
    assert np.allclose(figure.axes[0].images[0].get_array(), matrix / matrix.sum(1, keepdims=True))
    assert {text.get_text() for text in figure.axes[0].texts} == {str(int(n)) for n in matrix.ravel() if n}
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["dark", "gray", "light"]
    assert title(figure) == f"Validation: {matrix.trace() / 13:.1%} of 13 samples correct"


def test_observations_are_those_of_the_validation(subject: Subjects) -> None:
    of = subject("images")
    logits, classes = of.observations.labeled()
    loss = torch.nn.functional.cross_entropy(logits, classes)
    best = next(row for row in of.journal if row["step"] == of.best_step)
    assert float(loss) == pytest.approx(best["val/loss"], rel=1e-5)
    assert list(of.observations.samples) == list(range(13))


def test_mistakes_come_first_and_name_both_classes(subject: Subjects) -> None:
    of = subject("images")
    probabilities, classes = of.observations.probabilities()
    wrong = int((probabilities.argmax(1) != classes).sum())
    figure = drawn(of, "mistakes")
    assert len(figure.axes) == 10 and f"{wrong} of 13 samples wrong" in title(figure)
    titles = [ax.get_title() for ax in figure.axes]
    assert ["→" in text for text in titles] == [number < wrong for number in range(10)]
    if wrong:
        of_true = probabilities[np.arange(13), classes]
        worst = int(np.where(probabilities.argmax(1) != classes, of_true, 2).argmin())
        assert titles[0].endswith(f"p = {probabilities[worst].max():.2f}")
    shown = np.asarray(figure.axes[-1].images[0].get_array())
    assert shown.shape == (8, 8) and shown.min() == 0 and shown.max() == 1


def test_calibration(subject: Subjects) -> None:
    figure = drawn(subject("images"), "calibration")
    assert labels(figure) == [("", "share correct"), ("probability of the predicted class", "predictions")]
    assert sum(bar.get_height() for bar in figure.axes[1].patches) == 13


def test_roc_and_precision_recall(subject: Subjects) -> None:
    from sklearn.metrics import average_precision_score, roc_auc_score

    of = subject("plane")
    probabilities, classes = of.observations.probabilities()
    figure = drawn(of, "roc")
    assert labels(figure) == [("false positive rate", "true positive rate")]
    area = roc_auc_score(classes, probabilities[:, 1])
    assert figure.axes[0].lines[1].get_label() == rf"up \$  AUC {area:.3f}"
    figure = drawn(of, "precision_recall")
    precision = average_precision_score(classes, probabilities[:, 1])
    assert figure.axes[0].lines[0].get_label() == rf"up \$  AP {precision:.3f}"
    assert len(drawn(subject("images"), "roc").axes[0].lines) == 1 + 3


def test_residuals(subject: Subjects) -> None:
    of = subject("values")
    figure = drawn(of, "residuals")
    assert labels(figure) == [("true value", "predicted value"), ("residual: predicted − true", "samples")]
    true, predicted = figure.axes[0].lines[1].get_data()
    best = next(row for row in of.journal if row["step"] == of.best_step)
    assert np.mean((np.asarray(true) - predicted) ** 2) == pytest.approx(best["val/mse"], rel=1e-4)


def test_filters(subject: Subjects) -> None:
    of = subject("images")
    figure = drawn(of, "filters")
    weights = of.network.features[0][0].weight.detach().numpy()  # type: ignore[index]
    assert len(figure.axes) == 4 and "4 of 4 filters of 1 × 3 × 3" in title(figure)
    assert np.array_equal(figure.axes[0].images[0].get_array(), weights[0, 0])
    assert figure.axes[0].images[0].get_clim() == pytest.approx((-np.abs(weights).max(), np.abs(weights).max()))
    (heat, _) = drawn(subject("values"), "filters").axes
    assert (heat.get_xlabel(), heat.get_ylabel()) == ("input feature", "unit")
    assert heat.images[0].get_array().shape == (8, 5)  # type: ignore[union-attr]


def test_reconstructions(subject: Subjects) -> None:
    of = subject("autoencoder")
    figure = drawn(of, "reconstructions")
    assert len(figure.axes) == 12
    examples = of.examples(6)
    with torch.no_grad():
        error = (of.network(examples.x) - examples.x).square().mean((1, 2, 3))
    assert [ax.get_title() for ax in figure.axes[6:]] == [f"MSE {float(value):.3g}" for value in error]


def test_samples(subject: Subjects) -> None:
    of = subject("generator")
    real, generated = drawn(of, "samples").axes[0].lines
    assert (real.get_label(), generated.get_label()) == ("real", "generated")
    points = of.model.sample(13).numpy()  # type: ignore[union-attr, operator]
    assert np.allclose(np.stack(generated.get_data(), 1), points)


def test_segmentation(subject: Subjects) -> None:
    figure = drawn(subject("masks"), "segmentation")
    assert [ax.get_title() for ax in figure.axes[:3]] == ["input", "true classes", "predicted classes"]
    overlay = np.asarray(figure.axes[1].images[1].get_array())
    assert (overlay[:, :4, 3] == 0).all() and (overlay[:, 4:, 3] > 0.5).all()  # class 0 is transparent
    assert figure.axes[2].get_xlabel().endswith("% of the pixels correct")


def test_slice_of_a_volume_lies_across_its_shortest_axis() -> None:
    image = np.random.default_rng(0).normal(size=(1, 6, 3, 8))
    true, predicted = np.zeros((2, 6, 3, 8), int)
    true[:, 2] = 1
    predicted[0, 2, 0] = 1
    shown = slice_with_most_labels(image, true, predicted)
    assert [part.shape for part in shown] == [(1, 6, 8), (6, 8), (6, 8)]
    assert np.array_equal(shown[0], image[:, :, 2]) and (shown[1] == 1).all() and shown[2].sum() == shown[2][0, 0] == 1


def test_embeddings(subject: Subjects) -> None:
    of = subject("words")
    (ax,) = drawn(of, "embeddings").axes
    counts = dict(zip("abcdefgh", of.model.counts.tolist(), strict=True))  # type: ignore[union-attr, arg-type, operator]
    assert [counts[text.get_text()] for text in ax.texts] == sorted(counts.values(), reverse=True)
    assert "of the variance" in ax.get_xlabel()
    (ax,) = drawn(subject("autoencoder"), "embeddings").axes
    assert sum(len(line.get_xdata()) for line in ax.lines) == 13  # type: ignore[arg-type]
    assert len(ax.lines) == 3  # the classes, which the training did not read
    assert len(drawn(subject("images"), "embeddings").axes[0].lines) == 3


def test_tsne_keeps_neighbors_together(subject: Subjects) -> None:
    from sklearn.manifold import trustworthiness

    of = subject("autoencoder")
    (ax,) = drawn(of, "tsne").axes
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("t-SNE 1", "t-SNE 2")
    codes = representations(of)
    points = {tuple(point) for line in ax.lines for point in np.stack(line.get_data(), 1)}
    assert len(points) == len(codes.points) == 13
    assert points == {tuple(p) for line in drawn(of, "tsne").axes[0].lines for p in np.stack(line.get_data(), 1)}
    assert codes.classes is not None
    placed = np.empty((13, 2))
    for line, number in zip(ax.lines, np.unique(codes.classes), strict=True):
        placed[codes.classes == number] = np.stack(line.get_data(), 1)
    assert trustworthiness(codes.points, placed, n_neighbors=3) > 0.8
    (ax,) = drawn(subject("words"), "tsne").axes
    assert sorted(text.get_text() for text in ax.texts) == list("abcdefgh")


def test_decision_surface(subject: Subjects) -> None:
    of = subject("plane")
    (ax,) = drawn(of, "decision_surface").axes
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("feature 0", "feature 1")
    left, right, bottom, top = ax.images[0].get_extent()
    colors = np.asarray(ax.images[0].get_array())
    corners = torch.tensor([[left, bottom], [right, top]])
    assert of.batches is not None
    with torch.no_grad():
        predicted = of.network(of.batches.preprocessings[0](corners)).argmax(1)
    for corner, color in zip(predicted, (colors[0, 0], colors[-1, -1]), strict=True):
        blue, red = color[2], color[0]  # class 0 is blue, class 1 is red
        assert (blue > red) == (int(corner) == 0)
    assert sum(len(line.get_xdata()) for line in ax.lines) == 13  # type: ignore[arg-type]


def test_attention(subject: Subjects) -> None:
    figure = drawn(subject("patches"), "attention")
    maps = [ax for ax in figure.axes if ax.get_title().startswith("head")]
    assert [ax.get_title() for ax in maps] == ["head 1", "head 2"]
    for ax in maps:
        weights = np.asarray(ax.images[0].get_array())
        assert weights.shape == (5, 5)  # four patches and the class token
        assert np.allclose(weights.sum(1), 1, atol=1e-5)
