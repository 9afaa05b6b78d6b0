"""The places of boxes and lines in a picture of a directed graph without cycles, in layers.

The steps are those of Sugiyama, Tagawa and Toda (Methods for visual understanding of hierarchical system
structures, 1981)::

    layers      a box lies one layer below the lowest box that points to it
    points      a line that passes a layer has a point there, which takes a place like a box
    order       a box moves to the mean place of its neighbours in the layer above, then below, and so on
    places      as near to the neighbours as the order and the widths allow
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

#: Pixels between two boxes of a layer, and between two layers.
GAP, STEP = 24, 26
#: How often the layers are put in order, and how often their places are improved.
SWEEPS = 8


class Layout(NamedTuple):
    """Where boxes and lines are.

    Attributes
    ----------
    boxes : list of (x, y)
        Of each box its centre.
    lines : list of list of (x, y)
        Of each edge the points that it passes, from box to box.
    width, height : float
    """

    boxes: list[tuple[float, float]]
    lines: list[list[tuple[float, float]]]
    width: float
    height: float


def layout(sizes: Sequence[tuple[float, float]], edges: Sequence[tuple[int, int]]) -> Layout:
    """The layout of boxes of these sizes (width, height); every edge leads to a box with a larger number.

    >>> layout([(10, 10), (10, 10)], [(0, 1)]).boxes
    [(15.0, 15.0), (15.0, 51.0)]
    """
    count = len(sizes)
    levels = _levels(count, edges)
    widths = [w for w, _ in sizes]
    below: list[list[int]] = [[] for _ in sizes]
    above: list[list[int]] = [[] for _ in sizes]
    routes: list[list[int]] = []
    for a, b in edges:
        route = [a]
        for level in range(levels[a] + 1, levels[b]):
            route.append(len(levels))
            levels.append(level)
            widths.append(1.0)
            below.append([])
            above.append([])
        route.append(b)
        for p, q in zip(route, route[1:]):
            below[p].append(q)
            above[q].append(p)
        routes.append(route)
    rows: list[list[int]] = [[] for _ in range(max(levels, default=-1) + 1)]
    for i, level in enumerate(levels):
        rows[level].append(i)
    _order(rows, above, below)
    xs = _places(rows, widths, above, below, count)
    left = min((x - w / 2 for x, w in zip(xs, widths)), default=0.0) - 10
    xs = [x - left for x in xs]
    tops, y = [], 10.0
    for row in rows:
        tall = max((sizes[i][1] for i in row if i < count), default=0.0)
        tops.append((y, tall))
        y += tall + STEP
    middle = [tops[level][0] + tops[level][1] / 2 for level in levels]
    lines = []
    for route in routes:
        a, b = route[0], route[-1]
        points = [(xs[a], middle[a] + sizes[a][1] / 2)]
        for i in route[1:-1]:
            top, tall = tops[levels[i]]
            points += [(xs[i], top), (xs[i], top + tall)]
        lines.append([*points, (xs[b], middle[b] - sizes[b][1] / 2)])
    width = max((x + w / 2 for x, w in zip(xs, widths)), default=0.0) + 10
    return Layout(list(zip(xs[:count], middle[:count])), lines, width, y - STEP + 10)


def _levels(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """The layer of each box: the longest path to it.

    A box that nothing points to is just above the first box that it points to.
    """
    levels = [0] * count
    for a, b in sorted(edges):
        levels[b] = max(levels[b], levels[a] + 1)
    targets = {b for _, b in edges}
    for i in range(count):
        if i not in targets:
            levels[i] = min((levels[b] for a, b in edges if a == i), default=1) - 1
    return levels


def _order(rows: list[list[int]], above: list[list[int]], below: list[list[int]]) -> None:
    """Put each layer in the order of the mean places of its neighbours."""
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        neighbours = above if down else below
        at = {i: k for row in rows for k, i in enumerate(row)}
        for row in rows if down else rows[::-1]:
            row.sort(key=lambda i: _mean([at[n] for n in neighbours[i]], at[i]))
            at.update({i: k for k, i in enumerate(row)})


def _mean(numbers: Sequence[float], otherwise: float) -> float:
    return sum(numbers) / len(numbers) if numbers else otherwise


def _places(
    rows: list[list[int]],
    widths: list[float],
    above: list[list[int]],
    below: list[list[int]],
    count: int,
) -> list[float]:
    """The x of each box and point."""
    xs = [0.0] * len(widths)
    for row in rows:
        _put(row, [0.0] * len(row), widths, xs, count)
    both = [a + b for a, b in zip(above, below)]
    for sweep in range(2 * SWEEPS):
        down = sweep % 2 == 0
        neighbours = both if sweep >= SWEEPS else above if down else below
        for row in rows if down else rows[::-1]:
            near = [neighbours[i] for i in row]
            _put(row, [_mean([xs[n] for n in ns], xs[i]) for i, ns in zip(row, near)], widths, xs, count)
    return xs


def _put(row: list[int], wanted: list[float], widths: list[float], xs: list[float], count: int) -> None:
    """Place a layer so that the squares of the distances to the ``wanted`` places are least.

    Without the widths between them the places are a rising sequence, and the nearest such sequence consists
    of means of neighbouring runs (pool adjacent violators; Ayer et al., 1955). Points of lines count more
    than boxes, because long lines should be straight.
    """
    offsets, at = [], 0.0
    for k, i in enumerate(row):
        at += (widths[row[k - 1]] + widths[i]) / 2 + GAP if k else 0.0
        offsets.append(at)
    runs: list[tuple[float, float, int]] = []  # mean, weight, number of members
    for i, want, offset in zip(row, wanted, offsets):
        mean, weight, members = want - offset, (1.0 if i < count else 4.0), 1
        while runs and runs[-1][0] >= mean:
            m, w, n = runs.pop()
            mean, weight, members = (m * w + mean * weight) / (w + weight), w + weight, members + n
        runs.append((mean, weight, members))
    means = [mean for mean, _, members in runs for _ in range(members)]
    for i, mean, offset in zip(row, means, offsets):
        xs[i] = mean + offset
