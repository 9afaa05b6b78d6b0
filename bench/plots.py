"""The plots of ``compare.py``: speed relative to PyTorch as bars; for convolutions the roofline."""

from __future__ import annotations

from statistics import geometric_mean

import report
import workload

#: One colour per engine in every plot. PyTorch's configurations are blue.
COLOURS = {
    "fastconv": "#d62728",
    "torch": "#1f4e9c",
    "torch-cl": "#4f8fd6",
    "torch-bf16": "#a9c9ee",
    "inductor": "#17becf",
    "fastconv-torch": "#f4a3a3",
    "onnxruntime": "#2ca02c",
    "openvino": "#8e5bb5",
    "mnn": "#e69f00",
    "ncnn": "#8c6d4f",
    "numpy": "#7f7f7f",
    "depthwise": "#bcbd22",
    "direct": "#e377c2",
    "im2col": "#aaaa55",
    "winograd": "#444444",
}
BAR = 0.155  # inches: room for a line of small text
GAP = 0.22  # between two groups of bars


def plots(lines, columns, peak, folder, title) -> None:
    """Write ``speed-*.png`` and, for convolutions, ``roofline-*.png`` to ``folder``."""
    try:
        import matplotlib
    except ImportError:
        return print("No plots: they need matplotlib; to have them: pip install matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    suffix = f"{lines[0]['threads']}threads.png"
    columns = [c for c in columns if any(report.time_of(line, c) for line in lines)]
    if not columns:
        return print("No plots: no engine gave a time")
    _speed(plt, lines, columns, folder / f"speed-{suffix}", title)
    if lines[0]["job"]["suite"] == "conv":
        _roofline(plt, lines, columns, peak, folder / f"roofline-{suffix}", title)


def best_peer(line):
    """The fastest float32 engine of another library, or None."""
    times = {c: t for c in report.PEERS if (t := report.time_of(line, c))}
    return min(times, key=times.get) if times else None


def throughput(line, column) -> str:
    """What is printed at a bar: images/s of networks, GFLOP/s of convolutions, ms of other operations."""
    t, job = report.time_of(line, column), line["job"]
    if job["suite"] == "op":
        return f"{t * 1e3:.3g} ms"
    value = job["x"][0] / t if job["suite"] == "net" else workload.flops(job) / t / 1e9
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


UNITS = {"net": "images/s", "conv": "GFLOP/s", "op": "time"}


def _speed(plt, lines, columns, path, title):
    """A panel per pass, a group of bars per line. All panels have their groups at the same heights."""
    passes = list(dict.fromkeys(line["job"]["pass"] for line in lines))
    base = [c for c in report.PYTORCH if c in columns] or columns[:1]
    names = list(dict.fromkeys(map(report.label, lines)))
    shown = {}  # the engines of each panel
    for which in passes:
        mine = [line for line in lines if line["job"]["pass"] == which]
        shown[which] = [c for c in columns if any(report.time_of(line, c) for line in mine)]
    group = BAR * max(map(len, shown.values()))
    height = (group + GAP) * len(names)
    figure, axes = plt.subplots(
        1,
        len(passes),
        figsize=(2 + 5.5 * len(passes), height + 1.8),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for ax, which in zip(axes[0], passes):
        mine = [line for line in lines if line["job"]["pass"] == which]
        ratios = []
        for line in mine:
            middle = -(group + GAP) * names.index(report.label(line))
            ratios += _bars(ax, line, shown[which], base, middle, group)
        mean = f"\nfastconv / best peer: {geometric_mean(ratios):.2f}x (geometric mean)" if ratios else ""
        ax.set_title(f"{report.PASSES[which].partition(':')[0]} ({which}){mean}", fontsize=10)
        _axis(ax, "PyTorch's better layout" if base[0] in report.PYTORCH else base[0])
    for i in range(0, len(names), 2):  # every second group on grey
        for ax in axes[0]:
            middle = -(group + GAP) * i
            ax.axhspan(middle - (group + GAP) / 2, middle + (group + GAP) / 2, color="0.95", zorder=0)
    axes[0][0].set_yticks([-(group + GAP) * i for i in range(len(names))], names, fontsize=9)
    axes[0][0].set_ylim(-height + (group + GAP) / 2, (group + GAP) / 2)
    handles = [plt.Rectangle((0, 0), 1, 1, color=COLOURS.get(c, "k")) for c in columns]
    marked = plt.Rectangle((0, 0), 1, 1, facecolor="none", edgecolor="k", linewidth=1.2)
    figure.legend(
        [*handles, marked],
        [*columns, "\N{BLACK STAR} best peer in float32"],
        loc="outside upper center",
        ncols=min(5, len(columns) + 1),
        fontsize=9,
        frameon=False,
        title=f"{title}\nnumbers at the bars: {UNITS[lines[0]['job']['suite']]}",
        title_fontsize=10,
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _bars(ax, line, columns, base, middle, group):
    """The bars of one line. Returns fastconv's speed relative to the best peer in a list, or an empty
    list."""
    times = [t for c in base if (t := report.time_of(line, c))]
    if not times:
        return []
    best, size = best_peer(line), group / len(columns)
    for i, c in enumerate(columns):
        if not (t := report.time_of(line, c)):
            continue
        speed, y = min(times) / t, middle + group / 2 - (i + 0.5) * size
        edge = {"edgecolor": "k", "linewidth": 1.2} if c == best else {"edgecolor": "none"}
        start, end = (
            min(speed, 1 if speed > 1.02 else 0.98),
            max(speed, 1 if speed < 0.98 else 1.02),
        )  # what is as fast as PyTorch has a bar that is seen
        ax.barh(y, end - start, size * 0.9, left=start, color=COLOURS.get(c, "k"), zorder=2, **edge)
        right = speed >= 1
        star = " \N{BLACK STAR}" if c == best else ""
        ax.annotate(
            throughput(line, c) + star,
            (speed, y),
            xytext=(4 if right else -4, 0),
            textcoords="offset points",
            ha="left" if right else "right",
            va="center",
            fontsize=7,
            fontweight="bold" if c in ("fastconv", best) else "normal",
            zorder=3,
        )
    ratio = report.ratio(line, report.PEERS)
    return [ratio] if ratio else []


def _axis(ax, against):
    """A log scale with plain numbers and room for the text beside the longest bars."""
    ax.set_xscale("log")
    low = min([1, *(p.get_x() for p in ax.patches)])
    high = max([1, *(p.get_x() + p.get_width() for p in ax.patches)])
    span = max(high / low, 2)
    low, high = low / span**0.2, high * span**0.2
    ax.set_xlim(low, high)
    steps = (1, 2, 5) if high / low < 60 else (1, 3)
    ticks = [m * 10.0**e for e in range(-4, 5) for m in steps if low <= m * 10.0**e <= high]
    ax.set_xticks(ticks, [f"{t:g}x" for t in ticks], fontsize=8)
    ax.minorticks_off()
    ax.grid(axis="x", color="0.85", linewidth=0.7, zorder=1)
    ax.axvline(1, color="k", linewidth=1, zorder=2.5)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", top=True, labeltop=True)
    ax.set_xlabel(f"speed relative to {against}, log scale", fontsize=9)
    for side in ("left", "right"):
        ax.spines[side].set_visible(False)


def _roofline(plt, lines, columns, peak, path, title):
    """The speed of convolutions over their arithmetic intensity."""
    passes = list(dict.fromkeys(line["job"]["pass"] for line in lines))
    figure, ax = plt.subplots(figsize=(9, 5.5), layout="constrained")
    intensity = [workload.flops(line["job"]) / workload.bytes_moved(line["job"]) for line in lines]
    if peak:
        edge = sorted([min(intensity) / 2, peak["flops"] / peak["bytes"], max(intensity) * 2])
        roof = [min(peak["flops"], i * peak["bytes"]) / 1e9 for i in edge]
        ax.plot(edge, roof, "k-", lw=1, label="direct: peak and copy")
        ax.axhline(4.5 * peak["flops"] / 1e9, color="k", ls=":", lw=1, label="F(4x6,3x3): 4.5 x peak")
    for c in columns:
        colour = COLOURS.get(c, "k")
        ax.plot([], [], "s", color=colour, label=c)
        for which, marker in zip(passes, "o^<v"):
            points = [
                (x, workload.flops(line["job"]) / t / 1e9)
                for x, line in zip(intensity, lines)
                if line["job"]["pass"] == which and (t := report.time_of(line, c))
            ]
            if points:
                ax.plot(*zip(*points), marker, color=colour, ms=5, alpha=0.7)
    for which, marker in zip(passes, "o^<v"):
        ax.plot([], [], marker, color="grey", label=which)
    ax.set(xscale="log", yscale="log", title=title)
    ax.set(xlabel="FLOP per compulsory byte", ylabel="GFLOP/s (as direct summation)")
    figure.legend(loc="outside right upper", fontsize=7)
    figure.savefig(path, dpi=120)
    plt.close(figure)
