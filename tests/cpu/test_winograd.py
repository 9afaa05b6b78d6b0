"""Winograd's method: its matrices exactly, and images that no whole number of tiles covers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from support.selection import full

import fastconv as fc
from fastconv.backends import load
from fastconv.spec import conv_spec

pytest.importorskip("numba")
from fastconv.backends.cpu.conv.winograd import forward, gradient, transforms  # noqa: E402

TILES = [(6, 3), (4, 3), (2, 3), (5, 4), (3, 4), (4, 5), (2, 5), (4, 2)]


@pytest.mark.parametrize(("m", "r", "k"), [(m, r, k) for m, r in TILES for k in range(1, m + 1)])
def test_matrices_are_exact(m, r, k):
    rng = np.random.default_rng(m * r + k)
    a_t, g, b_t = transforms.toom_cook(m, r, k)
    d, w = ([Fraction(int(v)) for v in rng.integers(-9, 10, n)] for n in (m + r - 1, r))

    def times(matrix, vector):
        return [sum(a * b for a, b in zip(row, vector)) for row in matrix]

    points = [u * v for u, v in zip(times(g, w), times(b_t, d))]
    assert times(a_t, points)[:k] == [sum(w[j] * d[i + j] for j in range(r)) for i in range(k)]
    assert sum(any(row) for row in b_t) == k + r - 1  # no point more than k outputs need
    assert not any(any(row[k + r - 1 :]) for row in b_t)  # no pixel either


def test_products_of_a_cut_image():
    """7 x 7 outputs: 6 points for 4 of them, 5 for 3."""

    def products(m, r, stride, is_dgrad, odd, size):
        return transforms.make_tiling(*((n, n) for n in (m, r, stride)), is_dgrad, (odd, odd), size).products

    assert products(4, 3, 1, False, False, (7, 7)) == 11**2
    assert products(4, 3, 2, False, False, (7, 8)) == (9 + 7) * 18
    assert products(4, 3, 2, True, True, (14, 14)) == (9 + 7) ** 2  # 7 pairs
    line = transforms.make_tiling((1, 4), (1, 3), (1, 1), False, (False, False), (1, 7))
    assert line.products == 11 and line.grid == (1, 2)


@pytest.mark.parametrize("size", [(7, 6), *full(((5, 9),), ((3, 4),), ((1, 2),), ((14, 11),), ((13, 8),))])
@pytest.mark.parametrize(
    ("kernel", "stride", "m"),
    [
        (3, 1, (4, 6)),
        (3, 2, 4),
        (5, 1, 4),
        *full((3, 1, 6), (3, 1, 4), (3, 1, 2), (3, 2, 2), (4, 1, 5), (4, 1, 3), (5, 1, 2)),
    ],
)
@pytest.mark.parametrize("channels", [(8, 5), (40, 70)])  # by tiles; by panels, where there are few
def test_images_that_tiles_do_not_cover(size, kernel, stride, m, channels):
    rng, (c_in, c_out) = np.random.default_rng(5), channels
    for padding in (kernel // 2, kernel - 1):
        spec = conv_spec("conv2d", (3, c_in, *size), (c_out, c_in, kernel, kernel), stride, padding)
        x, w, gy = (rng.standard_normal(s) for s in (spec.x_shape, spec.w_shape, spec.y_shape))
        x32, w32, gy32 = (a.astype(np.float32) for a in (x, w, gy))
        reference = load("numpy")
        for got, want in (
            (forward.fwd(x32, w32, None, spec, None, None, m), reference.conv_fwd(x, w, None, spec)),
            (forward.bwd_data(gy32, w32, spec, None, m), reference.conv_bwd_data(gy, w, spec)),
            (gradient.bwd_weight(x32, gy32, spec, m), reference.conv_bwd_weight(x, gy, spec)),
        ):
            np.testing.assert_allclose(got, want, rtol=0, atol=5e-5 * np.abs(want).max())


@pytest.fixture
def few_threads():
    """``set_num_threads``, at most as many as before; afterwards there are as many again."""
    before = fc.get_num_threads()
    yield lambda threads: fc.set_num_threads(min(threads, before))
    fc.set_num_threads(before)


@pytest.mark.parametrize("by_planes", [True, False])
@pytest.mark.parametrize(
    ("size", "kernel", "padding", "dilation", "threads"),
    [
        ((5, 9, 14), (3, 3, 3), 1, 1, 2),
        ((4, 8, 7), (3, 3, 3), (4, 1, 1), (2, 1, 1), 2),  # planes with zeros only; a ring of five planes
        ((3, 13, 13), (2, 5, 5), (0, 2, 2), 1, 1),
        ((6, 7, 7), (1, 4, 4), (1, 0, 0), 1, 2),
    ],
)
def test_volumes(monkeypatch, few_threads, size, kernel, padding, dilation, threads, by_planes):
    """Planes of x transformed into a ring, and gathered."""
    monkeypatch.setattr(forward, "runs_by_planes", lambda spec, *_: by_planes and spec.kernel[0] > 1)
    monkeypatch.setattr(gradient, "gradient_by_planes", lambda spec, *_: by_planes and spec.kernel[0] > 1)
    rng, reference = np.random.default_rng(6), load("numpy")
    spec = conv_spec("conv3d", (3, 5, *size), (37, 5, *kernel), 1, padding, dilation)
    x, w, gy, b = (rng.standard_normal(s) for s in (spec.x_shape, spec.w_shape, spec.y_shape, 37))
    added = rng.standard_normal(spec.x_shape)
    x32, w32, gy32, b32 = (a.astype(np.float32) for a in (x, w, gy, b))
    m = {3: 6, 4: 5, 5: 4}[kernel[-1]]
    few_threads(threads)
    for got, want in (
        (
            forward.fwd(x32, w32, b32, spec, gy32, "relu", m),
            np.maximum(reference.conv_fwd(x, w, b, spec) + gy, 0),
        ),
        (
            forward.bwd_data(gy32, w32, spec, added.astype(np.float32), m),
            reference.conv_bwd_data(gy, w, spec) + added,
        ),
        (gradient.bwd_weight(x32, gy32, spec, m), reference.conv_bwd_weight(x, gy, spec)),
    ):
        np.testing.assert_allclose(got, want, rtol=0, atol=5e-5 * np.abs(want).max())
