"""The :class:`History` of a training run: what it recorded, as a table, a CSV file and a picture."""

from __future__ import annotations

import csv
from typing import Any, BinaryIO

from ..table import Shown, Table, number
from ..typing import PathLike
from . import plotting

FIELDS: tuple[str, ...] = (
    "epoch",
    "train_loss",
    "train_accuracy",
    "running_loss",
    "running_accuracy",
    "test_loss",
    "test_accuracy",
    "lr",
    "images_per_second",
)
POINTS = 5  # points per epoch
ROWS = 20  # at most so many rows in the table


class History(Shown, list[dict[str, Any]]):
    """What a run recorded: one dict per point with the keys of ``FIELDS``, five points per epoch.

    ``epoch`` is a float: 2.4 is the point after two fifths of the third epoch. ``train_loss`` and
    ``train_accuracy`` are means over the epoch so far; at a whole epoch they are the means of that epoch, the
    numbers that one reports. ``running_loss`` and ``running_accuracy`` are means over the batches since the
    point before. They do not jump where an epoch begins, so :meth:`plot` draws them. The test values are set
    at whole epochs and None elsewhere. Accuracies are None where the labels are not class indices.
    ``history.test_accuracy`` and the like return the last value that is not None.

    Attributes
    ----------
    stopped : {"time limit", "interrupted", "callback"} or None
        Why the run ended early; None if it did not.
    resumed : float or None
        The epoch at which :func:`fit` continued from a checkpoint; None if the run started anew.
    """

    stopped: str | None = None
    resumed: float | None = None

    def table(self) -> Table:
        """Whole epochs and the latest point as a table; ``print`` and notebooks show it.

        The middle of a long run is left out.
        """
        points = [p for p in self if p["epoch"] % 1 == 0 or p is self[-1]]
        keys = [key for key in FIELDS if not key.startswith("running")]
        rows = [[number(p.get(key)) for key in keys] for p in points]
        if len(rows) > ROWS:
            rows[ROWS // 2 : -ROWS // 2] = [["..."] * len(keys)]
        return Table(
            [key.replace("_", " ") for key in keys],
            rows,
            "r" * len(keys),
            after=f"stopped: {self.stopped}" if self.stopped else "",
        )

    def __getattr__(self, name: str) -> Any:
        if name not in FIELDS:
            raise AttributeError(name)
        return next((p[name] for p in reversed(self) if p.get(name) is not None), None)

    def to_csv(self, path: PathLike) -> None:
        """Write one line per point, with a header."""
        with open(path, "w", newline="") as f:
            writer = csv.DictWriter(f, FIELDS)
            writer.writeheader()
            writer.writerows(self)

    def plot(self, path: PathLike | BinaryIO) -> None:
        """Draw train loss, train accuracy and test accuracy over the epochs.

        Parameters
        ----------
        path : path or binary file
            Where the PNG is written.

        Raises
        ------
        ImportError
            matplotlib is not installed.

        Notes
        -----
        The train values are the running ones. The test loss is drawn if there is no test accuracy.
        """
        curves: dict[str, list[tuple[float, float]]] = {}
        test = "test_loss" if self.test_accuracy is None else "test_accuracy"
        for key in ("running_loss", "running_accuracy", test):
            # histories of older versions have no running values, so their means over the epoch are drawn
            points = [(p["epoch"], p.get(key, p.get(key.replace("running", "train")))) for p in self]
            curves[key.replace("_", " ").replace("running", "train")] = [
                (epoch, value) for epoch, value in points if value is not None
            ]
        plotting.learning_curve(curves, path)
