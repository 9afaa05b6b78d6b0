"""Pictures of a run, drawn by matplotlib: learning curve and confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, BinaryIO, Protocol

import numpy as np

from ..typing import Array, PathLike

STYLES = ("-", "m--", "go-.")  # of train loss, train accuracy, test value
DPI = 120


class Plotted(Protocol):
    """An object that draws itself, as a ``History`` does."""

    def plot(self, path: PathLike | BinaryIO) -> None:
        """Write a PNG."""


def figure(**options: Any) -> Any:
    """An empty figure of matplotlib, or an ImportError that says how to install it."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError('drawing needs matplotlib: pip install "fastconv[train]"') from None
    return Figure(**options)


def learning_curve(curves: Mapping[str, Sequence[tuple[float, float]]], path: PathLike | BinaryIO) -> None:
    """Draw ``curves`` (label -> points of epoch and value) as a PNG; one without points is left out."""
    picture = figure(figsize=(5, 3.5), layout="constrained")
    axes = picture.add_subplot(xlabel="epoch")
    for (label, points), style in zip(curves.items(), STYLES):
        if points:
            axes.plot(*zip(*points), style, label=label)
            axes.legend()
    axes.grid()
    picture.savefig(path, format="png", dpi=DPI)


def confusion(matrix: Array, classes: Sequence[object], path: PathLike) -> None:
    """Draw a confusion matrix as a PNG: shares of each row as colours, the counts as numbers."""
    picture = figure(figsize=(2 + 0.5 * len(matrix),) * 2, layout="constrained")
    places = range(len(matrix))
    axes = picture.add_subplot(
        xlabel="taken for", ylabel="class", title=f"accuracy {matrix.trace() / matrix.sum():.4f}"
    )
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(places, classes, rotation=60, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, classes)
    for i, j in np.argwhere(matrix):
        color = "white" if shares[i, j] > 0.5 else "black"
        axes.text(j, i, matrix[i, j], ha="center", va="center", fontsize=7, color=color)
    picture.savefig(path, format="png", dpi=DPI)


def draw(history: Plotted, plot: PathLike) -> None:
    """Draw ``history`` to the file ``plot``, or with ``"live"`` in the notebook, over the picture before."""
    if plot != "live":
        return history.plot(plot)
    try:
        from IPython import display
    except ImportError:
        raise ImportError('plot="live" draws in a notebook (IPython); give a file name instead') from None
    picture = BytesIO()
    history.plot(picture)
    notebook: Any = display
    notebook.clear_output(wait=True)
    notebook.display(notebook.Image(picture.getvalue()))
