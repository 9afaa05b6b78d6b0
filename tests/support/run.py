"""Running a case of ``cases.py`` on a backend, and comparing what comes out."""

from __future__ import annotations

from functools import cache

import numpy as np

import fastconv as fc
from fastconv.nn import functional as F


def tensors(case, dtype, requires_grad=False, arrays=None):
    """The case's arguments as Tensors: inputs in ``dtype``, then the constants."""
    arrays = case.arrays if arrays is None else arrays
    inputs = [fc.tensor(a.astype(dtype), requires_grad=requires_grad) for a in arrays]
    constants = [fc.tensor(a.astype(dtype) if a.dtype.kind == "f" else a) for a in case.constants]
    return inputs, constants


def cotangent(case):
    """A fixed random array of the result's shape, exact in float32: what backward starts from."""
    values = np.random.default_rng(len(case.name)).standard_normal(case.expected.shape)
    return np.asarray(values, np.float32).astype(np.float64)


def run(case, dtype, arrays=None):
    """Result and gradients of the case on the backend in force, as NumPy arrays."""
    inputs, constants = tensors(case, dtype, requires_grad=case.gradient, arrays=arrays)
    y = case.function(F, *inputs, *constants)
    if not case.gradient:
        return y.numpy(), []
    y.backward(fc.tensor(cotangent(case).astype(dtype)))
    return y.numpy(), [t.grad.numpy() for t in inputs]


@cache
def reference(case):
    """Result and gradients of the numpy backend in float64; :func:`test_gradient_of_reference` checks
    them."""
    with fc.backend("numpy"):
        return run(case, "float64")


def assert_close(got, want, rtol, what=""):
    """Equal shapes, and values within ``rtol`` of the largest finite one (of 1 where all are smaller)."""
    finite = np.abs(want[np.isfinite(want)])
    scale = max(1.0, finite.max(initial=0.0))
    assert got.shape == want.shape, what
    np.testing.assert_allclose(got, want, rtol=0, atol=rtol * scale, err_msg=what)
