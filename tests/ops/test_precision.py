"""How exact convolutions are: layers of real sizes against float64, within the bounds that the documentation
states.

The oracle computes a few hundred numbers of each result one by one, as sums in float64; the error is relative
to the result's largest value.
"""

from __future__ import annotations

import numpy as np
import pytest
from support.selection import every

import fastconv as fc
from fastconv.backends import load
from fastconv.spec import conv_spec

#: Algorithm, precision -> the bound stated by set_float32_precision.
BOUNDS = {
    ("direct", "high"): 1e-5,
    ("im2col", "high"): 1e-5,
    ("winograd", "high"): 5e-5,
    ("winograd", "highest"): 1e-5,
    (None, "highest"): 1e-5,  # whatever ``auto`` takes
}
SAMPLES = 200


def layers(n):
    """Random 3x3 layers as networks have them (the more channels, the fewer pixels), a 5x5 layer and two
    first layers."""
    rng = np.random.default_rng(7)
    for _ in range(n):
        c, k = (int(rng.choice([48, 64, 96, 128, 256, 512])) for _ in range(2))
        size = int(rng.integers(1, 3) * 1800 // (c + k)) + int(rng.integers(4, 9))
        yield (int(rng.integers(1, 5)), c, size, size + 1), (k, c, 3, 3), int(rng.integers(1, 3))
    yield (2, 64, 27, 26), (96, 64, 5, 5), 1
    yield (2, 3, 100, 101), (64, 3, 7, 7), 2
    yield (1, 3, 60, 60), (32, 3, 5, 5), 2


def sums(x, w, gy, stride, rng):
    """For each pass: index of some elements of the result, and their values summed in float64 (padding half a
    kernel)."""
    size, pad = w.shape[2], w.shape[2] // 2
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    oh, ow = gy.shape[2:]
    index = [tuple(rng.integers(0, s) for s in gy.shape) for _ in range(SAMPLES)]
    windows = (
        (w[o], padded[b, :, i * stride : i * stride + size, j * stride : j * stride + size])
        for b, o, i, j in index
    )
    yield index, [np.sum(a * b) for a, b in windows]
    index = [tuple(rng.integers(0, s) for s in x.shape) for _ in range(SAMPLES)]
    values = []
    for b, ci, i, j in index:
        taps = [(i + pad - p, j + pad - q, p, q) for p in range(size) for q in range(size)]
        at = [(r // stride, s // stride, p, q) for r, s, p, q in taps if r % stride == 0 and s % stride == 0]
        values.append(
            sum(gy[b, :, r, s] @ w[:, ci, p, q] for r, s, p, q in at if 0 <= r < oh and 0 <= s < ow)
        )
    yield index, values
    index = [tuple(rng.integers(0, s) for s in w.shape) for _ in range(SAMPLES)]
    yield (
        index,
        [
            np.sum(
                gy[:, o]
                * padded[:, ci, p : p + oh * stride : stride, q : q + ow * stride : stride][:, :oh, :ow]
            )
            for o, ci, p, q in index
        ],
    )


@pytest.mark.parametrize(("algorithm", "precision"), every(BOUNDS, 3))
def test_bounds(algorithm, precision):
    engine, rng, worst = load("cpu"), np.random.default_rng(3), 0.0
    before = fc.get_float32_precision()
    fc.set_float32_precision(precision)
    try:
        for x_shape, w_shape, stride in layers(6):
            spec = conv_spec("conv2d", x_shape, w_shape, stride, w_shape[2] // 2)
            if any(
                a.refuses(spec, np.dtype(np.float32)) for a in engine.CONV_ALGORITHMS if a.name == algorithm
            ):
                continue  # a 5x5 kernel, where Winograd's rounding is to be small
            x, w, gy = (rng.standard_normal(s).astype(np.float32) for s in (x_shape, w_shape, spec.y_shape))
            found = (
                engine.conv_fwd(x, w, None, spec, algorithm),
                engine.conv_bwd_data(gy, w, spec, algorithm),
                engine.conv_bwd_weight(x, gy, spec, algorithm),
            )
            exact = sums(*(a.astype(np.float64) for a in (x, w, gy)), stride, rng)
            for result, (index, values) in zip(found, exact):
                got = np.array([result[i] for i in index], np.float64)
                worst = np.maximum(worst, np.abs(got - values).max() / np.abs(result).max())  # NaN stays
    finally:
        fc.set_float32_precision(before)
    assert worst < BOUNDS[algorithm, precision]
    # A bound far above the error would hold nothing.
    assert worst > BOUNDS[algorithm, precision] / 100
