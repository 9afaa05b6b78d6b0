"""Elementwise ops: the loops around the formulas of ``common/pointwise.py``.

    threads: equal shares of the elements, in memory order;  each share is one loop, which becomes vector code

    binary, the shorter operand repeated along the longer one:

        a   [ row | row | row | row ]        b is one number, as large as a, or one row of a's memory
        b   [ row ]

The loops are written once. They are compiled for an op and a dtype when these are first used.

Arrays below SMALL elements, integers, and broadcasts other than a row vector's go to NumPy. A small array is
done there before a parallel launch (about 10 us) has begun; for the rest speed does not matter.
"""

from __future__ import annotations

import functools
from math import prod

import numpy as np

from fastconv.backends.common.pointwise import BINARY_FORMULAS, COMPARISONS
from fastconv.backends.common.unary import UNARY, Scalars, unary

from ..codegen import vector_math
from ..codegen.jit import body, kernel, prange, split_range
from ..runtime import layout
from . import borrowed as reference

SMALL = 1 << 13
BINARY = {name: formula for name, formula in BINARY_FORMULAS.items() if name not in COMPARISONS}

inline = body(inline=True)


@functools.cache
def _formulas(real):
    """The unary ops for elements of type ``real``."""
    zero, one = real(0), real(1)
    return unary(
        Scalars(
            body=inline,
            real=real,
            select=inline(lambda condition, a, b: a if condition else b),
            sign=np.sign,
            sqrt=np.sqrt,
            floor=np.floor,
            ceil=np.ceil,
            trunc=np.trunc,
            rint=np.rint,
            **{name: getattr(vector_math, name) for name in vector_math.FUNCTIONS},
            power=inline(lambda x, p: x * x if p == 2 else x**p),
            power_bwd=inline(
                lambda g, x, p: g * (x + x) if p == 2 else (g * p * x ** (p - one) if p != 0 else zero)
            ),
            relu=inline(lambda x: zero if x <= zero else x),
            gelu_bwd=inline(lambda g, x: g * vector_math.gelu_slope(x)),
            gelu_tanh_bwd=inline(lambda g, x: g * vector_math.gelu_tanh_slope(x)),
            silu_bwd=inline(lambda g, x: g * vector_math.silu_slope(x)),
        )
    )


# ------------------------------------------------------------------------------------------------- kernels
@functools.cache
def _unary_kernel(name: str, real):
    formula = inline(_formulas(real)[name].forward)

    def run(threads, x, p, q, y):
        for thread in prange(threads):
            first, end = split_range(thread, threads, x.size)
            # from 0: a loop whose index might be negative does not become vector code
            source, target = x[first:end], y[first:end]
            for i in range(source.size):
                target[i] = formula(source[i], p, q)

    run.__qualname__ = f"unary.{name}.{np.dtype(real)}"
    return kernel(run)


@functools.cache
def _unary_bwd_kernel(name: str, real):
    formula = inline(_formulas(real)[name].backward)

    def run(threads, g, s, p, q, y):
        for thread in prange(threads):
            first, end = split_range(thread, threads, g.size)
            up, saved, target = g[first:end], s[first:end], y[first:end]
            for i in range(up.size):
                target[i] = formula(up[i], saved[i], p, q)

    run.__qualname__ = f"unary_bwd.{name}.{np.dtype(real)}"
    return kernel(run)


@body(inline=True)
def _piece(a, start, stop):
    """The elements of ``a``, repeated end to end, that belong to elements ``start`` to ``stop``."""
    first = start % a.size
    return a[first : first + stop - start]


@functools.cache
def _binary_kernel(name: str):
    formula = inline(BINARY[name])

    def run(threads, a, b, y):
        # flat; the shorter operand repeats along the other: one number, or one row of the other's memory
        period = min(a.size, b.size)
        for thread in prange(threads):
            start, end = split_range(thread, threads, y.size)
            while start < end:
                stop = min(end, (start // period + 1) * period) if period > 1 else end
                p, q, out = _piece(a, start, stop), _piece(b, start, stop), y[start:stop]
                if p.size == q.size:
                    for i in range(out.size):
                        out[i] = formula(p[i], q[i])
                elif q.size == 1:
                    for i in range(out.size):
                        out[i] = formula(p[i], q[0])
                else:
                    for i in range(out.size):
                        out[i] = formula(p[0], q[i])
                start = stop

    run.__qualname__ = f"binary.{name}"
    return kernel(run)


# ----------------------------------------------------------------------------------------- the contract's ops
def is_large_float(x) -> bool:
    """Whether kernels take an array: floats, and enough of them for a launch to pay."""
    return np.size(x) >= SMALL and x.dtype.char in "fd"


def unary_fwd(name, x, param=None, param2=None):
    if not is_large_float(x):
        return reference.unary_fwd(name, x, param, param2)
    y, real = layout.empty_like(x, np.bool_ if UNARY[name].kind == "bool" else x.dtype), x.dtype.type
    out, source = layout.flat(y, layout.like(x, y))
    _unary_kernel(name, real)(source, real(param or 0), real(param2 or 0), out)
    return y


def unary_bwd(name, gy, saved, param=None, param2=None):
    if not is_large_float(gy):
        return reference.unary_bwd(name, gy, saved, param, param2)
    saved = gy if saved is None else saved  # an op that saves nothing reads nothing
    y, real = layout.empty_like(saved), gy.dtype.type
    out, up, saved = layout.flat(y, layout.like(gy, y), layout.like(saved, y))
    _unary_bwd_kernel(name, real)(up, saved, real(param or 0), real(param2 or 0), out)
    return y


def binary_fwd(name, a, b):
    large = a if np.size(a) >= np.size(b) else b
    small = b if large is a else a
    if name not in BINARY or not is_large_float(large):
        return reference.binary_fwd(name, a, b)
    if np.ndim(small) == 0 and not isinstance(small, np.ndarray):
        small = large.dtype.type(small)
    elif small.dtype != large.dtype:
        return reference.binary_fwd(name, a, b)
    y = layout.empty_like(large)
    out, first = layout.flat(y, layout.like(large, y))
    if np.size(small) == 1 and np.ndim(small) <= large.ndim:
        second = np.full(1, small, large.dtype)
    elif small.shape == large.shape:
        second = layout.flat(y, layout.like(small, y))[1]
    else:
        last = layout.memory_order(y)[-1]
        wide = (1,) * (large.ndim - small.ndim) + small.shape
        if small.ndim > large.ndim or prod(wide) != large.shape[last] or wide[last] != large.shape[last]:
            return reference.binary_fwd(name, a, b)
        second = np.tile(small.reshape(-1), 1 + 1024 // small.size)  # short rows would be short loops
    _binary_kernel(name)(*((first, second) if large is a else (second, first)), out)
    return y
