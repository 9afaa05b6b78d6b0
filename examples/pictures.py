"""Drawing for the examples: arrays side by side in one PNG, and the option where to put it."""

import argparse
from pathlib import Path

import numpy as np


def parser(description: str, name: str) -> argparse.ArgumentParser:
    """A command line with ``--out``, whose default is ``runs/<name>``."""
    p = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    p.add_argument("--out", type=Path, default=Path("runs") / name, help="folder for the pictures")
    return p


def save(path: Path, rows) -> None:
    """Draw ``rows``, lists of ``(title, H x W or H x W x 3 array)``, into one picture.

    A signed array is drawn around zero (blue below, red above), any other from its least to its greatest
    value.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise SystemExit('the pictures need matplotlib: pip install "fastconv[train]"') from None
    columns = max(map(len, rows))
    figure = Figure(figsize=(3.2 * columns, 3.2 * len(rows)), layout="constrained")
    for axes, panel in zip(figure.subplots(len(rows), columns, squeeze=False), rows):
        for ax in axes[len(panel) :]:
            ax.set_axis_off()
        for ax, (title, image) in zip(axes, panel):
            limit = np.abs(image).max()
            signed = (
                {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit} if image.min() < 0 else {"cmap": "gray"}
            )
            ax.imshow(image, **signed)
            ax.set(title=title, xticks=[], yticks=[])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    print(f"drawn: {path}")
