"""What Winograd's method does to a tile, as exact matrices, and how an image is cut into tiles.

An image whose size is no multiple of the tile ends in tiles of fewer outputs, and these need fewer points: 3
outputs of 3 taps take 5 of the 6 points of F(4, 3), 2 take 4. So there are four kinds of tiles, and a point
of the two-dimensional tile has a
matrix product over some of the kinds only. In the order ``a b c d`` below these lie side by side::

      b b b a          7 x 7 outputs by F(4x4, 3x3):        points that           have the tiles    are
      b b b a            4  3      6 x 6  6 x 5               all tiles have        a b c d          25
      b b b a          4 b  a      points                     whole columns have      b c             5
      c c c d          3 c  d      5 x 6  5 x 5               whole rows have       a b               5
                                                              whole tiles have        b               1

so 32 tiles (of 8 images) take 25 * 32 + 10 * 16 + 8 products per pair of channels instead of 36 * 32, a sixth
less.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction as Q
from functools import cache, cached_property, lru_cache
from math import prod

import numpy as np


def toom_cook(m: int, r: int, k: int | None = None):
    """``A^t, G, B^t`` of F(m, r): m outputs of r taps from the points 0, 1, -1, 2, -2 (as many as needed) and
    infinity.

    Row p of B^t holds the coefficients of the polynomial that is zero at all points but p (Lagrange's,
    unscaled; the scale is in G). ``k``: only the first k outputs, from the first points and infinity, with
    the same G: what the missing points contribute to its scale goes into B^t. The rows of what is missing are
    zero."""
    k = m if k is None else k
    points = [Q(0), Q(1), Q(-1), Q(2), Q(-2)][: m + r - 2]
    used, missing = points[: k + r - 2], points[k + r - 2 :]

    def polynomial(roots, scale=1):
        coefficients = [Q(scale)]
        for root in roots:
            coefficients = [a - root * b for a, b in zip([Q(0), *coefficients], [*coefficients, Q(0)])]
        return (*coefficients, *[Q(0)] * (m + r - 1 - len(coefficients)))

    def others(p, these):
        return [q for q in these if q != p]

    nothing = [Q(0)] * len(missing)
    a_t = [(*[p**i for p in used], *nothing, Q(i == k - 1)) for i in range(k)] + [(Q(0),) * (m + r - 1)] * (
        m - k
    )
    g = [tuple(p**j / prod(p - q for q in others(p, points)) for j in range(r)) for p in points]
    b_t = [polynomial(others(p, used), prod(p - q for q in missing)) for p in used]
    b_t += [(Q(0),) * (m + r - 1)] * len(missing)
    return a_t, [*g, tuple(Q(j == r - 1) for j in range(r))], [*b_t, polynomial(used)]


@dataclass(frozen=True, eq=False)
class Form:
    """One dimension of a pass.

    ``into`` (points x input pixels), ``weigh`` (weights x taps) and ``outof`` (output pixels x points) are
    the matrices; ``weight`` tells which weight each point is multiplied with. Tile t reads from input pixel
    ``step * t + origin`` (origin is the caller's) and writes from output pixel ``len(outof) * t``. Rows of
    points and pixels that a tile does without are zero.
    """

    into: tuple
    weigh: tuple
    outof: tuple
    weight: tuple
    step: int

    @cached_property
    def has(self) -> np.ndarray:
        """Which of the points the tile has."""
        return np.array([any(row) for row in self.into])


def _unit(n, i, one=1):
    return tuple(Q(one * int(j == i)) for j in range(n))


def _spread(row, n, places):
    """``row`` with its entries at ``places`` of a row of ``n``."""
    wide = [Q(0)] * n
    for value, place in zip(row, places):
        wide[place] = value
    return tuple(wide)


@cache
def form(
    m: int, r: int, stride: int, is_dgrad: bool = False, odd: bool = False, k: int | None = None
) -> Form:
    """The form of a pass of r x r kernels: forward, or backward-data if ``swap``. Stride 2 is for r = 3
    (``odd``: an odd padding, which decides whether the even or the odd output pixels of backward-data have
    two taps). ``k``: of a tile of which only the first k outputs (pairs of them in backward-data of stride 2)
    are wanted."""
    k = m if k is None else k
    if stride == 1:
        a_t, g, b_t = toom_cook(m, r, k)
        g = [row[::-1] for row in g] if is_dgrad else g
        return Form(tuple(b_t), tuple(g), tuple(a_t), tuple(range(m + r - 1)), m)
    a_t, g, b_t = toom_cook(m, 2, k)
    two, n = m + 1, 2 * m + 1
    weigh = (*[_spread(row[::-1] if is_dgrad else row, 3, (0, 2)) for row in g], _unit(3, 1))
    weight = (*range(two), *[two] * m)
    if not is_dgrad:
        into = (
            *[_spread(row, n, range(0, n, 2)) for row in b_t],
            *[_unit(n, 2 * i + 1, i < k) for i in range(m)],
        )
        outof = tuple((*row, *_unit(m, i, i < k)) for i, row in enumerate(a_t))
        return Form(into, weigh, outof, weight, 2 * m)
    into = (*b_t, *[_unit(two, i + (not odd), i < k) for i in range(m)])
    pairs = [((*row, *[Q(0)] * m), (*[Q(0)] * two, *_unit(m, i, i < k))) for i, row in enumerate(a_t)]
    outof = tuple(row for pair in pairs for row in (reversed(pair) if odd else pair))
    return Form(tuple(into), weigh, outof, weight, m)


@dataclass(frozen=True, eq=False)
class Tiling:
    """Images cut into ``grid`` tiles. ``kinds``: pairs of forms, down and across, of the four kinds of tiles,
    in their order. ``spans``: for each point of the two-dimensional tile, the first kind and the one after
    the last kind that have it."""

    grid: tuple[int, int]
    kinds: tuple[tuple[Form, Form], ...]
    spans: np.ndarray

    @property
    def form(self) -> Form:
        """That of whole tiles."""
        return self.kinds[1][0]

    @cached_property
    def planes(self) -> np.ndarray:
        """For each point: which of the two-dimensional weights it is multiplied with."""
        one = np.array(self.form.weight, np.int64)
        return (one[:, None] * len(self.form.weigh) + one).reshape(-1)

    @cached_property
    def runs(self) -> tuple[np.ndarray, np.ndarray]:
        """The points sorted by weight and span, and runs of these that have both in common: weight, first
        point and the one after the last, span, and whether it is the weight's first run."""
        keys = np.column_stack([self.planes, self.spans])
        points = np.lexsort(keys.T[::-1])
        keys = keys[points]
        starts = np.flatnonzero(np.r_[True, (keys[1:] != keys[:-1]).any(1)])
        weight, span = keys[starts, 0], keys[starts, 1:]
        runs = np.column_stack(
            [weight, starts, np.r_[starts[1:], len(points)], span, np.r_[True, weight[1:] != weight[:-1]]]
        )
        return points, runs

    @property
    def products(self) -> int:
        """Products per image and pair of channels."""
        whole, (down, across) = len(self.form.into), (form.has.sum() for form in self.kinds[3])
        return int(((self.grid[0] - 1) * whole + down) * ((self.grid[1] - 1) * whole + across))


@lru_cache(maxsize=1024)
def tiling(m: int, r: int, stride: int, is_dgrad: bool, odd: bool, size: tuple[int, int]) -> Tiling:
    """How a pass covers outputs of ``size`` with tiles of m x m (of pairs in backward-data of stride 2)."""
    whole = form(m, r, stride, is_dgrad, odd)
    extent = len(whole.outof)
    grid = tuple(-(-n // extent) for n in size)
    left = [n - (tiles - 1) * extent for n, tiles in zip(size, grid)]
    down, across = (form(m, r, stride, is_dgrad, odd, -(-n * m // extent)) for n in left)
    below, right = (np.broadcast_to(~f.has, (len(f.has),) * 2) for f in (down, across))
    below = below.T
    spans = np.stack([right, np.where(below, 2, np.where(right, 3, 4))], -1).reshape(-1, 2).astype(np.int64)
    return Tiling(grid, ((whole, across), (whole, whole), (down, whole), (down, across)), spans)


def tiling_of(spec, is_dgrad: bool, m: int) -> Tiling:
    """The :func:`tiling` of a pass of ``spec``, lifted or not, over its outputs or, if ``swap``, its
    inputs."""
    odd, size = is_dgrad and spec.padding[-2][0] % 2 == 1, spec.in_size if is_dgrad else spec.out_size
    return tiling(m, spec.kernel[-1], spec.stride[-1], is_dgrad, odd, tuple(size[-2:]))
