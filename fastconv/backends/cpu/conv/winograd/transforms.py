"""What Winograd's method does to a tile, as exact matrices, and how tiles cover an image.

Where the size of an image is no multiple of the tile, its last tiles have fewer outputs, and these need fewer
points: 3 outputs of 3 taps take 5 of the 6 points of F(4, 3), 2 outputs take 4. So there are four kinds of
tiles, and a point of the two-dimensional tile has a matrix product over some of the kinds only. In the order
``a b c d`` the kinds of a product lie side by side::

      b b b a          7 x 7 outputs by F(4x4, 3x3):        points that           have the tiles    are
      b b b a            4  3      6 x 6  6 x 5               all tiles have        a b c d          25
      b b b a          4 b  a      points                     whole columns have      b c             5
      c c c d          3 c  d      5 x 6  5 x 5               whole rows have       a b               5
                                                              whole tiles have        b               1

So 32 tiles (of 8 images) take 25 * 32 + 10 * 16 + 8 products per pair of channels instead of 36 * 32, which
is a sixth less.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction as Q
from functools import cache, cached_property, lru_cache
from math import prod

import numpy as np

from fastconv.backends.cpu.codegen.record import record_type
from fastconv.spec import ConvSpec

Matrix = tuple[tuple[Q, ...], ...]


def _points(n: int) -> list[Q]:
    """The ``n`` finite points where polynomials are evaluated; pairs +a and -a share half of their sums.

    Of 253 pairs and 1771 triples of fractions between 1/4 and 4 these gave the smallest rounding errors, for
    3 taps: 2.5 times smaller ones than 1 and 2 for five points.
    """
    pairs = {3: [Q(1)], 5: [Q(5, 8), Q(3, 2)], 7: [Q(1), Q(2), Q(1, 2)]}[max(n | 1, 3)]
    return [Q(0), *(sign * a for a in pairs for sign in (1, -1))][:n]


#: A point of the two-dimensional tile: the transformed filter it is multiplied with, the first kind of tiles
#: that has it, and the one after the last.
POINT = record_type(filter=1, first_kind=1, end_kind=1)
#: Points in a row (``first`` to ``end``, sorted) that have all of a :data:`POINT` in common. ``fresh``: the
#: first run of its filter.
RUN = record_type(filter=1, first=1, end=1, first_kind=1, end_kind=1, fresh=1)


def toom_cook(m: int, r: int, k: int | None = None) -> tuple[list, list, list]:
    """The matrices of F(m, r): m outputs of r taps from the points 0, 1, -1, 2, -2 (as many as needed) and
    infinity.

    Row p of B^t holds the coefficients of the polynomial that is zero at all points but p (Lagrange's,
    unscaled; the scale is in G).

    Parameters
    ----------
    m, r : int
        Outputs and taps.
    k : int, optional
        Only the first k outputs, from the first points and infinity, with the same G: what the missing points
        contribute to its scale goes into B^t. The rows of what is missing are zero.

    Returns
    -------
    a_t, g, b_t : lists of rows
        ``A^t`` (outputs x points), ``G`` (points x taps) and ``B^t`` (points x inputs), of fractions.

    References
    ----------
    A. Lavin and S. Gray, "Fast algorithms for convolutional neural networks", 2015, arXiv:1509.09308.
    """
    k = m if k is None else k
    points = _points(m + r - 2)
    used, missing = points[: k + r - 2], points[k + r - 2 :]

    def polynomial(roots, scale=1):
        coefficients = [Q(scale)]
        for root in roots:
            coefficients = [a - root * b for a, b in zip([Q(0), *coefficients], [*coefficients, Q(0)])]
        return (*coefficients, *[Q(0)] * (m + r - 1 - len(coefficients)))

    def others(p, these):
        return [q for q in these if q != p]

    nothing = [Q(0)] * len(missing)
    a_t = [(*[p**i for p in used], *nothing, Q(i == k - 1)) for i in range(k)]
    a_t += [(Q(0),) * (m + r - 1)] * (m - k)
    g = [tuple(p**j / prod(p - q for q in others(p, points)) for j in range(r)) for p in points]
    b_t = [polynomial(others(p, used), prod(p - q for q in missing)) for p in used]
    b_t += [(Q(0),) * (m + r - 1)] * len(missing)
    return a_t, [*g, tuple(Q(j == r - 1) for j in range(r))], [*b_t, polynomial(used)]


@dataclass(frozen=True, eq=False)
class Form:
    """One dimension of a pass. Rows of points and pixels that a tile does without are zero.

    Attributes
    ----------
    input_transform : points x input pixels
    filter_transform : filters x taps
    output_transform : output pixels x points
    filter_index : tuple of int
        For each point which filter it is multiplied with.
    step : int
        Tile t reads from input pixel ``step * t + origin`` on, where the caller knows the origin, and writes
        from output pixel ``len(output_transform) * t`` on.
    """

    input_transform: Matrix
    filter_transform: Matrix
    output_transform: Matrix
    filter_index: tuple[int, ...]
    step: int

    @cached_property
    def has_point(self) -> np.ndarray:
        """Which of the points the tile has."""
        return np.array([any(row) for row in self.input_transform])


def _unit(n, i, one=1):
    return tuple(Q(one * int(j == i)) for j in range(n))


def _spread(row, n, places):
    """``row`` with its entries at ``places`` of a row of ``n``."""
    wide = [Q(0)] * n
    for value, place in zip(row, places):
        wide[place] = value
    return tuple(wide)


@cache
def make_form(
    m: int, r: int, stride: int, is_dgrad: bool = False, odd: bool = False, k: int | None = None
) -> Form:
    """The form of a pass of r x r kernels: forward, or backward-data if ``is_dgrad``.

    Parameters
    ----------
    m : int
        Outputs of a tile; pairs of outputs in backward-data of stride 2.
    r : int
        Taps.
    stride : int
        1, or 2 if r = 3.
    is_dgrad : bool
    odd : bool
        An odd padding. It decides whether the even or the odd output pixels of backward-data of stride 2 have
        two taps.
    k : int, optional
        The form of a tile of which only the first k outputs (or pairs) are wanted.
    """
    k = m if k is None else k
    if stride == 1:
        a_t, g, b_t = toom_cook(m, r, k)
        g = [row[::-1] for row in g] if is_dgrad else g
        return Form(tuple(b_t), tuple(g), tuple(a_t), tuple(range(m + r - 1)), m)
    a_t, g, b_t = toom_cook(m, 2, k)
    two, n = m + 1, 2 * m + 1
    filters = (*[_spread(row[::-1] if is_dgrad else row, 3, (0, 2)) for row in g], _unit(3, 1))
    index = (*range(two), *[two] * m)
    if not is_dgrad:
        even = [_spread(row, n, range(0, n, 2)) for row in b_t]
        inputs = (*even, *[_unit(n, 2 * i + 1, i < k) for i in range(m)])
        outputs = tuple((*row, *_unit(m, i, i < k)) for i, row in enumerate(a_t))
        return Form(inputs, filters, outputs, index, 2 * m)
    inputs = (*b_t, *[_unit(two, i + (not odd), i < k) for i in range(m)])
    pairs = [((*row, *[Q(0)] * m), (*[Q(0)] * two, *_unit(m, i, i < k))) for i, row in enumerate(a_t)]
    outputs = tuple(row for pair in pairs for row in (reversed(pair) if odd else pair))
    return Form(inputs, filters, outputs, index, m)


@dataclass(frozen=True, eq=False)
class Tiling:
    """How tiles cover images.

    Attributes
    ----------
    grid : tuple of int
        Tiles of an image, down and across.
    kinds : tuple of pairs of Form
        Down and across, of the four kinds of tiles, in their order.
    spans : ndarray, points x 2
        For each point of the two-dimensional tile the first kind that has it, and the one after the last.
    """

    grid: tuple[int, int]
    kinds: tuple[tuple[Form, Form], ...]
    spans: np.ndarray

    @property
    def whole(self) -> tuple[Form, Form]:
        """Down and across, of whole tiles."""
        return self.kinds[1]

    @cached_property
    def filter_index(self) -> np.ndarray:
        """For each point which of the two-dimensional filters it is multiplied with."""
        down, across = (np.array(form.filter_index, np.int64) for form in self.whole)
        return (down[:, None] * len(self.whole[1].filter_transform) + across).reshape(-1)

    @cached_property
    def points(self) -> np.ndarray:
        """The :data:`POINT` of each point."""
        points = np.zeros(len(self.filter_index), POINT)
        points["filter"], points["first_kind"], points["end_kind"] = self.filter_index, *self.spans.T
        return points

    @cached_property
    def runs(self) -> tuple[np.ndarray, np.ndarray]:
        """The order of the points, sorted by filter and kinds, and the :data:`RUN` of those alike."""
        keys = np.column_stack([self.filter_index, self.spans])
        order = np.lexsort(keys.T[::-1])
        keys = keys[order]
        starts = np.flatnonzero(np.r_[True, (keys[1:] != keys[:-1]).any(1)])
        runs = np.zeros(len(starts), RUN)
        runs["filter"], runs["first_kind"], runs["end_kind"] = keys[starts].T
        runs["first"], runs["end"] = starts, np.r_[starts[1:], len(order)]
        runs["fresh"] = np.r_[True, runs["filter"][1:] != runs["filter"][:-1]]
        return order, runs

    @property
    def products(self) -> int:
        """Products per image and pair of channels."""
        whole = (len(form.input_transform) for form in self.whole)
        last = (form.has_point.sum() for form in self.kinds[3])
        return int(prod((n - 1) * points + rest for n, points, rest in zip(self.grid, whole, last)))


Pair = tuple[int, int]
#: Outputs of a tile: down and across, or a number for both.
Tile = int | Pair


@lru_cache(maxsize=1024)
def make_tiling(m: Pair, r: Pair, stride: Pair, is_dgrad: bool, odd: tuple[bool, bool], size: Pair) -> Tiling:
    """How a pass covers outputs of ``size`` with tiles. The other arguments are those of :func:`make_form`,
    down and across."""
    whole, last, grid = [], [], []
    for i in range(2):
        form = make_form(m[i], r[i], stride[i], is_dgrad, odd[i])
        extent = len(form.output_transform)
        tiles = -(-size[i] // extent)
        left = size[i] - (tiles - 1) * extent
        whole.append(form)
        grid.append(tiles)
        last.append(make_form(m[i], r[i], stride[i], is_dgrad, odd[i], -(-left * m[i] // extent)))
    kinds = (whole[0], last[1]), (whole[0], whole[1]), (last[0], whole[1]), (last[0], last[1])
    below, right = np.meshgrid(*[~form.has_point for form in last], indexing="ij")
    spans = np.stack([right, np.where(below, 2, np.where(right, 3, 4))], -1).reshape(-1, 2).astype(np.int64)
    return Tiling((grid[0], grid[1]), kinds, spans)


def tiling_of(spec: ConvSpec, is_dgrad: bool, m: Tile) -> Tiling:
    """The :func:`make_tiling` of a pass of ``spec``, of one dimension or two, or of these as three: over its
    outputs or, if ``is_dgrad``, its inputs. Tiles have ``m`` outputs in each dimension with more than a
    tap."""
    spec = spec.as_3d()
    size = spec.in_size if is_dgrad else spec.out_size
    pair = (1, m, m) if isinstance(m, int) else (1, *m)
    each = [n if r > 1 else 1 for n, r in zip(pair, spec.kernel)]
    odd = [is_dgrad and before % 2 == 1 for before, _ in spec.padding]
    return make_tiling(
        *((v[1], v[2]) for v in (each, spec.kernel, spec.stride)), is_dgrad, (odd[1], odd[2]), size[1:]
    )
