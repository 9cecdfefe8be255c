"""The look of all figures: size, fonts, colors that color-blind people can distinguish.

A figure is 6 inches wide and saved with 160 pixels per inch; its text is still readable when a page
shows it 600 pixels wide. Colors are those of Okabe and Ito (2008) without their yellow, which is
too pale for lines on white.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hpc_dl.atomic_files import publish
from hpc_dl.errors import escape_control_characters

WIDTH, HEIGHT = 6.0, 4.2  # inches
_PIXELS_PER_INCH = 160
_MILLISECONDS = 250  # of a frame
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
TRAIN, VAL, TEST = COLORS[:3]
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
SEQUENTIAL, DIVERGING = "cividis", "PuOr"

_SETTINGS: dict[Any, Any] = {
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.dpi": _PIXELS_PER_INCH,
    "font.size": 10,
    "axes.titlesize": 10,
    "figure.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E0E0E0",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=COLORS),
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
    "image.interpolation": "nearest",
    "svg.hashsalt": "hpc_dl",  # the same figure is the same file
}


@contextmanager
def style() -> Iterator[None]:
    """A context with these settings, whatever the user's own matplotlibrc says."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # names in scripts without a font
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def panels(
    title: str, rows: int = 1, columns: int = 1, *, height: float = HEIGHT, images: bool = False, **options: Any
) -> tuple[Figure, list[Axes]]:
    """Return a figure with a title, and its axes row by row.

    Args:
        title: above all panels; class names and the like in it are escaped.
        rows: panels from top to bottom.
        columns: panels from left to right.
        height: in inches.
        images: whether the panels hold pictures, without ticks, grid or frame.
        options: those of ``Figure.subplots``, such as ``width_ratios`` or ``sharex``.
    """
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes: list[Axes] = figure.subplots(rows, columns, squeeze=False, **options).ravel().tolist()
    figure.suptitle(label(title, most=200))
    if images:
        for each in axes:
            without_ticks(each)
    return figure, axes


def without_ticks(axes: Axes) -> None:
    """Remove ticks, grid and frame, as around a picture."""
    axes.grid(False)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def label(name: object, most: int = 18) -> str:
    """A name from the data as text of a figure: escaped, and shortened in its middle."""
    text = escape_control_characters(str(name))
    shown = text if len(text) <= most else f"{text[: most // 2]}…{text[len(text) - most // 2 + 1 :]}"
    return shown.replace("$", r"\$")  # between two of these, matplotlib would read a formula


def class_colors(num_classes: int) -> np.ndarray[Any, Any]:
    """A color for each class, (num_classes, 4) in [0, 1]."""
    if num_classes <= len(COLORS):
        return matplotlib.colors.to_rgba_array(COLORS[:num_classes])
    return np.asarray(matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, num_classes)))


def class_legend(axes: Axes, names: Sequence[str], present: Sequence[int], **options: Any) -> None:
    """Add a legend of the classes that occur, with the colors of :func:`class_colors`.

    Args:
        axes: gets the legend.
        names: of all classes.
        present: the numbers of those to list; at most ten are.
        options: those of ``Axes.legend``.
    """
    colors = class_colors(len(names))
    handles = [
        matplotlib.lines.Line2D(
            [],
            [],
            linestyle="none",
            marker=MARKERS[number % len(MARKERS)],
            color=colors[number],
            label=label(names[number]),
        )
        for number in present[:10]
    ]
    axes.legend(handles=handles, **options)


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format that the suffix names; the file appears when it is complete.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    try:
        figure.savefig(temporary, format=path.suffix[1:], metadata=metadata)
        publish(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def save_animation(figures: Iterable[Figure], path: Path) -> None:
    """Write figures of the same size as a GIF that repeats; it appears when it is complete.

    Raises:
        OSError: it cannot be written.
    """
    from PIL import Image

    images = []
    for figure in figures:
        canvas = FigureCanvasAgg(figure)
        canvas.draw()  # type: ignore[no-untyped-call]
        pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
        images.append(Image.fromarray(pixels[..., :3]).quantize(64))
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        images[0].save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=images[1:],
            duration=_MILLISECONDS,
            loop=0,
            optimize=True,
        )
        publish(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
