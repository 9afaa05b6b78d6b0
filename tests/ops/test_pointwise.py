"""Every row of the table of pointwise ops as a kernel: large arrays, which engines do not hand to NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support.selection import every

from fastconv.backends import load
from fastconv.backends.common.pointwise import BINARY, BITWISE, COMPARISONS, DIVISIONS, TERNARY
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
@pytest.mark.parametrize("name", every(UNARY, 5))
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


EXACT = {"add", "sub", "mul", "maximum", "minimum", *COMPARISONS, *DIVISIONS}


def operands(dtype):
    """Pairs of operands: whole arrays, numbers, and every way to repeat one along the other."""
    a, b = values(dtype), values(dtype, 1)
    c_order = np.ascontiguousarray(b)
    yield a, b
    yield a, c_order
    yield a, 2.0
    yield -2.5, a
    yield a, b[:1, :, :1, :1]  # per channel: a row of memory
    yield c_order, c_order[:1, :, :1, :1]  # the same, not the last axis in memory
    yield a, b[:, :, :1, :1]  # a number per image and channel
    yield c_order[:, :1], c_order
    yield a, b[0, 0, 0, 1:2]
    yield a, b[:, :1, :, :1]  # more axes than a walk has: NumPy's
    yield c_order[:, :, :, :5], c_order[:, :, :, 5:]  # halves of rows
    yield c_order[::-1, :, ::2], c_order[:, :, 1::2]
    yield c_order.reshape(-1, 3), c_order[0, 0, 0, :3]  # short rows
    yield c_order.reshape(-1, 3), c_order.reshape(-1, 3)[:, :1]
    yield c_order[:, :, :1], c_order[:, :, :, :1]  # neither has the result's shape
    yield np.broadcast_to(c_order[:1], SHAPE), c_order
    gate = np.broadcast_to(b[:, :, :1, :1], SHAPE)  # as the gradient of a mean is
    yield gate, b[:1, :, :1, :1]
    yield gate.transpose(0, 2, 3, 1), b[0, :, 0, 0]
    yield np.broadcast_to(b[:1, :1, :1, :1], SHAPE), gate
    yield gate, c_order


@pytest.mark.parametrize("dtype", RTOL)
@pytest.mark.parametrize("name", every([n for n in BINARY if n not in BITWISE], 4))
def test_binary(name, dtype):
    engine, reference = load("cpu"), load("numpy")
    pairs = [*operands(dtype)]
    for left, right in pairs if name in ("sub", "lt", "prelu", "remainder") else pairs[:6]:
        got, want = engine.binary_fwd(name, left, right), reference.binary_fwd(name, left, right)
        if name in EXACT:
            np.testing.assert_array_equal(got, want)
            assert got.dtype == want.dtype
        else:
            assert_close(got, want, dtype)


@pytest.mark.parametrize("name", ["bitwise_and", "bitwise_or", "bitwise_xor"])
def test_bools(name):
    engine, reference = load("cpu"), load("numpy")
    for pair in operands("float32"):
        left, right = (v > 0 for v in pair)
        got, want = engine.binary_fwd(name, left, right), reference.binary_fwd(name, left, right)
        np.testing.assert_array_equal(got, want)
        assert got.dtype == want.dtype == np.bool_


@pytest.mark.parametrize("dtype", RTOL)
@pytest.mark.parametrize("name", every(TERNARY, 3))
def test_ternary(name, dtype):
    engine, reference = load("cpu"), load("numpy")
    pairs = [*operands(dtype)]
    c = values(dtype, 2)
    for left, right in pairs if name == "where" else pairs[:8]:
        rest = [right, 0.25, c[:1, :, :1, :1]]
        if np.shape(left)[:1] == SHAPE[:1] and np.shape(left)[-1] != SHAPE[-1]:
            rest = rest[:2]  # c does not fit
        elif np.ndim(left) == 2:
            rest = rest[:2]
        for third in rest:
            first = left > 0 if name == "where" else left
            if name == "where" and (
                np.ndim(first) == 0 or isinstance(right, float) and isinstance(third, float)
            ):
                continue
            got, want = (e.ternary_fwd(name, first, right, third, 0.5) for e in (engine, reference))
            assert_close(got, want, dtype)


@pytest.mark.full
def test_remainders_are_exact():
    """Quotients from tiny to huge, with every special number."""
    rng, cpu = np.random.default_rng(0), load("cpu")
    a, b = (rng.integers(0, 2**32, 20000, dtype=np.uint32).view(np.float32) for _ in range(2))
    a[:9], b[9:18], b[20:5000] = SPECIAL, SPECIAL, a[20:5000] / rng.integers(1, 2**30, 4980)
    for name, exact in (("fmod", np.fmod), ("remainder", np.remainder), ("floor_divide", np.floor_divide)):
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(cpu.binary_fwd(name, a, b), exact(a, b))


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-abs(x)))


#: Functions of float32: the same in float64, the largest error in units of the last place, and the range.
ULPS = {
    "exp": (np.exp, 1.0, (-100, 88)),
    "expm1": (np.expm1, 2.0, (-100, 88)),
    "log": (np.log, 1.0, None),
    "log1p": (np.log1p, 2.0, (-1, 3)),
    "log2": (np.log2, 2.0, None),
    "log10": (np.log10, 2.0, None),
    "rsqrt": (lambda x: 1 / np.sqrt(x), 2.0, None),
    "sin": (np.sin, 2.0, (-1e3, 1e3)),
    "cos": (np.cos, 2.0, (-1e3, 1e3)),
    "erf": (np.vectorize(math.erf), 2.0, (-4, 4)),
    "softplus": (softplus, 2.0, (-40, 40)),
    "logsigmoid": (lambda x: -softplus(-x), 2.0, (-40, 40)),
    "mish": (lambda x: x * np.tanh(softplus(x)), 4.0, (-40, 40)),
    "tanh": (np.tanh, 1.5, (-8, 8)),
}


@pytest.mark.parametrize("name", ULPS)
def test_digits(name):
    """The vector code of float32 against float64, over the range, near zero and over all exponents."""
    exact, most, between = ULPS[name]
    rng = np.random.default_rng(0)
    x = rng.integers(0, 0x7F800000, 20000, dtype=np.uint32).view(np.float32)
    if between:
        x = np.concatenate([rng.uniform(*between, 20000), rng.normal(size=10000), x[x < 1]])
        x = x[(x >= between[0]) & (x <= between[1])].astype(np.float32)
    if name in ("sin", "cos"):  # next to their zeros, and so large that the vector code does not serve
        far = rng.integers(0, 0x7F800000, 20000, dtype=np.uint32).view(np.float32)
        x = np.concatenate([x, (np.pi / 2 * np.arange(10**5)).astype(np.float32), far])
    numbers = (1.0, 1e9) if name == "softplus" else ()
    got, want = load("cpu").unary_fwd(name, x, *numbers), exact(x.astype(np.float64))
    ulp = np.spacing(np.maximum(np.abs(want.astype(np.float32)), np.finfo(np.float32).tiny))
    error = np.abs(got - want) / ulp
    assert np.nanmax(error) <= most, (name, x[np.nanargmax(error)])


def test_large_arguments_of_sine_in_their_gradient():
    x = np.random.default_rng(0).uniform(1e6, 1e30, 10000).astype(np.float32)
    g = np.ones_like(x)
    np.testing.assert_allclose(load("cpu").unary_bwd("sin", g, x), np.cos(x.astype(float)), atol=1e-7)
    np.testing.assert_allclose(load("cpu").unary_bwd("cos", g, x), -np.sin(x.astype(float)), atol=1e-7)
