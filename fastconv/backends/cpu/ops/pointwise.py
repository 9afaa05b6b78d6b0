"""Ops of one operand: the loops around the formulas of ``common/unary.py``.

    threads: equal shares of the elements, in memory order;  each share is one loop, which becomes vector code

The loops are written once. They are compiled for an op and a dtype when these are first used.

Arrays below SMALL elements and integers go to NumPy. A small array is done there before a parallel launch
(about 10 us) has begun; for integers speed does not matter.
"""

from __future__ import annotations

import functools

import numpy as np

from fastconv.backends.common.unary import UNARY, Scalars, unary

from ..codegen import vector_math
from ..codegen.jit import body, kernel, split_range
from ..runtime import layout
from . import borrowed as reference

SMALL = 1 << 13
# Sine and cosine in float32: vector code up to FAR, beyond which it loses digits. A block of BLOCK elements
# that has a larger one goes to the C library.
PERIODIC, FAR, BLOCK = ("sin", "cos"), np.float32(1 << 20), 1024
inline = body(inline=True)


@functools.cache
def formulas(real, library: bool = False):
    """The unary ops for elements of type ``real``; ``library``: with sine and cosine of the C library."""
    zero, one = real(0), real(1)
    own = {"sin": np.sin, "cos": np.cos} if library else {}
    return unary(
        Scalars(
            body=inline,
            real=real,
            select=vector_math.select,
            sign=np.sign,
            sqrt=np.sqrt,
            floor=np.floor,
            ceil=np.ceil,
            trunc=np.trunc,
            rint=np.rint,
            **{name: getattr(vector_math, name) for name in vector_math.FUNCTIONS} | own,
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
@body
def _is_far(x):
    """Whether sine and cosine of an element need the C library."""
    far = False
    for i in range(x.size):
        far |= abs(x[i]) > FAR
    return far


@functools.cache
def _unary_kernel(name: str, real):
    formula = inline(formulas(real)[name].forward)

    def run(thread, threads, x, p, q, y):
        first, end = split_range(thread, threads, x.size)
        # from 0: a loop whose index might be negative does not become vector code
        source, target = x[first:end], y[first:end]
        for i in range(source.size):
            target[i] = formula(source[i], p, q)

    def run_periodic(thread, threads, x, p, q, y):
        first, end = split_range(thread, threads, x.size)
        for start in range(first, end, BLOCK):
            source, target = x[start : min(start + BLOCK, end)], y[start : min(start + BLOCK, end)]
            if _is_far(source):
                for i in range(source.size):
                    target[i] = careful(source[i], p, q)
            else:
                for i in range(source.size):
                    target[i] = formula(source[i], p, q)

    if name in PERIODIC and real is np.float32:
        careful = inline(formulas(real, True)[name].forward)
        run = run_periodic
    run.__qualname__ = f"unary.{name}.{np.dtype(real)}"
    return kernel(run)


@functools.cache
def _unary_bwd_kernel(name: str, real):
    formula = inline(formulas(real)[name].backward)

    def run(thread, threads, g, s, p, q, y):
        first, end = split_range(thread, threads, g.size)
        up, saved, target = g[first:end], s[first:end], y[first:end]
        for i in range(up.size):
            target[i] = formula(up[i], saved[i], p, q)

    def run_periodic(thread, threads, g, s, p, q, y):
        first, end = split_range(thread, threads, g.size)
        for start in range(first, end, BLOCK):
            stop = min(start + BLOCK, end)
            up, saved, target = g[start:stop], s[start:stop], y[start:stop]
            if _is_far(saved):
                for i in range(up.size):
                    target[i] = careful(up[i], saved[i], p, q)
            else:
                for i in range(up.size):
                    target[i] = formula(up[i], saved[i], p, q)

    if name in PERIODIC and real is np.float32:
        careful = inline(formulas(real, True)[name].backward)
        run = run_periodic
    run.__qualname__ = f"unary_bwd.{name}.{np.dtype(real)}"
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
