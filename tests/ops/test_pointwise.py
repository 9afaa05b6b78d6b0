"""Every row of the table of pointwise ops as a kernel: large arrays, which engines do not hand to NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from fastconv.backends import load
from fastconv.backends.common.pointwise import BINARY_FORMULAS, COMPARISONS
from fastconv.backends.common.unary import UNARY

RTOL = {"float32": 3e-6, "float64": 1e-13}
SHAPE = (4, 33, 10, 10)
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 30.0, -30.0]


def values(dtype, seed=0):
    """Numbers on both sides of zero, with some special ones, channels-last in memory."""
    x = np.random.default_rng(seed).normal(0, 2, SHAPE).astype(dtype)
    x.reshape(-1)[: len(SPECIAL)] = SPECIAL
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def assert_close(got, want, dtype):
    assert got.dtype == dtype and got.shape == want.shape
    scale = np.abs(want[np.isfinite(want)]).clip(1).max(initial=1)
    np.testing.assert_allclose(got, want, rtol=RTOL[dtype], atol=RTOL[dtype] * min(scale, 30))


@pytest.mark.parametrize("dtype", RTOL)
@pytest.mark.parametrize("name", UNARY)
def test_unary(name, dtype):
    engine, reference = load("cpu"), load("numpy")
    x, g, row = values(dtype), np.random.default_rng(1).normal(size=SHAPE).astype(dtype), UNARY[name]
    for numbers in (row.numbers,) if name != "pow" else ((2.0,), (3.0,), (0.0,)):
        y, want = engine.unary_fwd(name, x, *numbers), reference.unary_fwd(name, x, *numbers)
        assert [s // y.itemsize for s in y.strides] == [s // x.itemsize for s in x.strides]
        if row.kind == "bool":
            np.testing.assert_array_equal(y, want)
            continue
        assert_close(y, want, dtype)
        if row.backward:
            saved = {"x": x, "y": want, "": None}[row.saves]
            got, want = (e.unary_bwd(name, g, saved, *numbers) for e in (engine, reference))
            assert_close(got, want, dtype)


@pytest.mark.parametrize("dtype", RTOL)
@pytest.mark.parametrize("name", [n for n in BINARY_FORMULAS if n not in COMPARISONS])
def test_binary(name, dtype):
    engine, reference = load("cpu"), load("numpy")
    a, b = values(dtype), values(dtype, 1)
    for left, right in ((a, b), (a, 2.0), (2.0, a), (a, b[:1, :, :1, :1]), (a, b[0, 0, 0, 1:2])):
        got, want = engine.binary_fwd(name, left, right), reference.binary_fwd(name, left, right)
        np.testing.assert_array_equal(got, want)
