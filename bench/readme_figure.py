"""The picture at the top of the README, from folders of results of ``compare.py net --shapes users``.

    python bench/readme_figure.py docs/speed.png bench/results/...-infer bench/results/...-train [more ...]

A panel per pass. For each network a bar shows fastconv's speed and a mark the best other library's, both
relative to PyTorch's faster layout. Later folders replace lines of earlier ones.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from statistics import geometric_mean

from report import PASSES, PYTORCH

#: Larger errors than this disqualify an engine in inference. Losses after a step differ by chance.
RIGHT = 0.01
NAMES = {
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "mnn": "MNN",
    "torch": "PyTorch",
    "torch-cl": "PyTorch",
}


def read(folders) -> dict[str, dict[str, dict[str, float]]]:
    """Milliseconds by pass, network and engine."""
    times: dict = {}
    for folder in folders:
        with open(Path(folder) / "times.csv", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["milliseconds"]]
        for name, which in dict.fromkeys((row["name"], row["pass"]) for row in rows):
            times.setdefault(which, {})[name] = {}
        for row in rows:
            if row["engine"] != "torch-bf16" and (row["pass"] == "train" or float(row["error"] or 0) < RIGHT):
                times[row["pass"]][row["name"]][row["engine"]] = float(row["milliseconds"])
    return times


def panel(ax, which, times) -> None:
    """Bars and marks of one pass; the last line is the geometric mean."""
    ours, best, labels = [], [], []
    for name, engines in times.items():
        torch = min(engines[c] for c in PYTORCH if c in engines)
        others = {c: t for c, t in engines.items() if c != "fastconv"}
        peer = min(others, key=others.__getitem__)
        ours.append(torch / engines["fastconv"])
        best.append(torch / others[peer])
        labels.append((name, NAMES.get(peer, peer)))
    lines = [*zip(labels, ours, best), (("geometric mean", ""), geometric_mean(ours), geometric_mean(best))]
    for y, ((_, peer), mine, other) in enumerate(lines):
        last = y == len(lines) - 1
        ax.barh(-y, mine, 0.7, color="#8c1c1c" if last else "#d62728", zorder=2)
        ax.plot([other] * 2, [-y - 0.42, -y + 0.42], color="k", lw=2.5, zorder=3, solid_capstyle="butt")
        ax.annotate(
            f"{mine:.2f}", (max(mine, other), -y), (5, 0), textcoords="offset points", va="center", fontsize=8
        )
        ax.annotate(peer, (0.03, -y), va="center", fontsize=7, color="w", zorder=4)
    ax.axvline(1, color="#1f4e9c", lw=1.2, zorder=2.5)
    ax.set_yticks([-y for y in range(len(lines))], [name for (name, _), *_ in lines], fontsize=8)
    ax.set_ylim(-len(lines) + 0.4, 0.6)
    ax.set_xlim(0, max([*ours, *best]) * 1.12)
    ax.tick_params(axis="y", length=0)
    ax.set_title(PASSES[which].partition(":")[0], fontsize=9)
    ax.set_xlabel("times the speed of PyTorch's faster layout (blue line)", fontsize=8)
    for side in ("left", "right", "top"):
        ax.spines[side].set_visible(False)


def main(path, *folders) -> None:
    """Draw the picture."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    times = read(folders)
    figure, axes = plt.subplots(
        1, len(times), figsize=(5 * len(times), 4.6), squeeze=False, layout="constrained"
    )
    for ax, (which, lines) in zip(axes[0], times.items()):
        panel(ax, which, lines)
    figure.suptitle(
        "fastconv (red), and the best other library (black mark, its name in the bar); 2 cores of a Zen 4",
        fontsize=9,
    )
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])
