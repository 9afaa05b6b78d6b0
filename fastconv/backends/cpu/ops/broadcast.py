"""Ops of two and three operands: the loops around the formulas of ``common/pointwise.py``.

The result is walked in memory order, as ``outer x middle x inner``. Each operand has a step for each of the
three, 0 where it is repeated; along ``inner`` that is 0 or 1:

    x + 2.0                      steps of x  0 0 1    of the number        0 0 0    (inner is the whole array)
    rows + bias                  steps of x  . n 1    of the bias          0 0 1
    x * gate, channels last      steps of x  . C 1    of N x C x 1 x 1     C 0 1

    threads: equal shares of the elements; each row in a share is one loop, which becomes vector code

Few arrays need more axes. These, arrays below SMALL elements, and those that hold integers go to NumPy.
"""

from __future__ import annotations

import functools
from math import prod

import numpy as np

from fastconv.backends.common.pointwise import (
    BINARY_FORMULAS,
    BITWISE,
    COMPARISONS,
    DIVISIONS,
    GATES,
    float_divisions,
    gates,
    merged,
    ternary,
)

from ..codegen import vector_math
from ..codegen.jit import body, by_numpy, kernel, split_range
from ..runtime import layout, memory
from . import borrowed as reference
from .pointwise import SMALL, inline

# Divisions of float32: vector code where the quotients in BLOCK elements are below NEAR, else the C library.
NEAR, BLOCK = np.float32(1 << 27), 1024
SHORT = 1024  # a row vector below this length is repeated, because short rows would be short loops
_ENDLESS = 1 << 62
BINARY = frozenset((*BINARY_FORMULAS, *BITWISE, *DIVISIONS, *GATES))


@functools.cache
def _formula(name: str, real, near: bool = False):
    """The formula of an op; ``near``: of a division whose quotients are below NEAR."""
    if name in DIVISIONS:
        quotient, fmod = vector_math.quotient, vector_math.fmod_near if near else vector_math.fmod
        return float_divisions(inline, quotient, fmod, np.floor, np.trunc, real(0), real(1))[name]
    select, sigmoid = vector_math.select, vector_math.sigmoid
    if name in GATES:
        return inline(gates(select, sigmoid, real(0))[name])
    if name in BITWISE:
        wide = inline(BITWISE[name])  # Numba computes in 64 bits
        return inline(lambda a, b: real(wide(a, b)))
    if name in BINARY_FORMULAS:
        return inline(BINARY_FORMULAS[name])
    return inline(ternary(inline, select, sigmoid, real(0), real(1))[name])


# ------------------------------------------------------------------------------------------------- kernels
@body(inline=True)
def _row(walk, at):
    """Outer and middle index, and the place in the row, of element ``at``."""
    row = at // walk[0, 2]
    outer = row // walk[0, 1]
    return outer, row - outer * walk[0, 1], at - row * walk[0, 2]


@body(inline=True)
def _behind(walk, outer, middle, inner, count):
    """What :func:`_row` gives for the element ``count`` further on, at most at the start of the next row. It
    divides nothing, which would take as long as a short row."""
    inner += count
    if inner == walk[0, 2]:
        inner, middle = 0, middle + 1
        if middle == walk[0, 1]:
            middle, outer = 0, outer + 1
    return outer, middle, inner


@body(inline=True)
def _piece(a, steps, outer, middle, inner, count):
    """The elements of ``a`` for ``count`` elements of a row; one where they are all the same."""
    first = outer * steps[0] + middle * steps[1] + inner * steps[2]
    return a[first : first + (count if steps[2] else 1)]


@functools.cache
def _binary_kernel(name: str, real):
    formula = _formula(name, real)

    def run(thread, threads, a, b, y, walk):
        start, end = split_range(thread, threads, y.size)
        outer, middle, inner = _row(walk, start)
        while start < end:
            stop = min(end, start + walk[0, 2] - inner)
            out = y[start:stop]
            p = _piece(a, walk[1], outer, middle, inner, out.size)
            q = _piece(b, walk[2], outer, middle, inner, out.size)
            if p.size == q.size == out.size:
                for i in range(out.size):
                    out[i] = formula(p[i], q[i])
            elif p.size == q.size:  # both are repeated
                out[:] = formula(p[0], q[0])
            elif q.size == 1:
                for i in range(out.size):
                    out[i] = formula(p[i], q[0])
            else:
                for i in range(out.size):
                    out[i] = formula(p[0], q[i])
            outer, middle, inner = _behind(walk, outer, middle, inner, stop - start)
            start = stop

    def run_division(thread, threads, a, b, y, walk):
        start, end = split_range(thread, threads, y.size)
        outer, middle, inner = _row(walk, start)
        while start < end:
            stop = min(end, start + walk[0, 2] - inner, start + BLOCK)
            out = y[start:stop]
            p = _piece(a, walk[1], outer, middle, inner, out.size)
            q = _piece(b, walk[2], outer, middle, inner, out.size)
            if p.size == q.size < out.size:  # both are repeated
                out[:] = formula(p[0], q[0])
                outer, middle, inner = _behind(walk, outer, middle, inner, stop - start)
                start = stop
                continue
            # step 0 in a short row of one element is the same as step 1
            i_step, j_step = min(p.size - 1, 1), min(q.size - 1, 1)
            far = False
            if i_step == j_step:
                for i in range(out.size):
                    far |= not abs(p[i]) < NEAR * abs(q[i])
            elif j_step == 0:
                for i in range(out.size):
                    far |= not abs(p[i]) < NEAR * abs(q[0])
            else:
                for i in range(out.size):
                    far |= not abs(p[0]) < NEAR * abs(q[i])
            if far:
                for i in range(out.size):
                    out[i] = formula(p[i * i_step], q[i * j_step])
            elif i_step == j_step:
                for i in range(out.size):
                    out[i] = near(p[i], q[i])
            elif j_step == 0:
                for i in range(out.size):
                    out[i] = near(p[i], q[0])
            else:
                for i in range(out.size):
                    out[i] = near(p[0], q[i])
            outer, middle, inner = _behind(walk, outer, middle, inner, stop - start)
            start = stop

    if name in DIVISIONS and name != "trunc_divide" and real is np.float32:
        near = _formula(name, real, True)
        run = run_division
    run.__qualname__ = f"binary.{name}.{np.dtype(real)}"
    return kernel(run)


@functools.cache
def _ternary_kernel(name: str, real):
    formula = _formula(name, real)

    def run(thread, threads, a, b, c, number, y, walk):
        start, end = split_range(thread, threads, y.size)
        outer, middle, inner = _row(walk, start)
        while start < end:
            stop = min(end, start + walk[0, 2] - inner)
            out = y[start:stop]
            p = _piece(a, walk[1], outer, middle, inner, out.size)
            q = _piece(b, walk[2], outer, middle, inner, out.size)
            r = _piece(c, walk[3], outer, middle, inner, out.size)
            if p.size == q.size == r.size == out.size:
                for i in range(out.size):
                    out[i] = formula(p[i], q[i], r[i], number)
            elif p.size == q.size and p.size > 1:
                for i in range(out.size):
                    out[i] = formula(p[i], q[i], r[0], number)
            elif p.size == r.size and p.size > 1:
                for i in range(out.size):
                    out[i] = formula(p[i], q[0], r[i], number)
            else:
                for i in range(out.size):
                    out[i] = formula(p[i * walk[1, 2]], q[i * walk[2, 2]], r[i * walk[3, 2]], number)
            outer, middle, inner = _behind(walk, outer, middle, inner, stop - start)
            start = stop

    run.__qualname__ = f"ternary.{name}.{np.dtype(real)}"
    return kernel(run)


# ------------------------------------------------------------------------------------------------- operands
def _line(v: np.ndarray) -> np.ndarray:
    """The memory of ``v``, whose strides are not negative, from its first element to its last."""
    if v.flags.c_contiguous:
        return layout.dense(v).reshape(-1)
    last = sum((n - 1) * s for n, s in zip(v.shape, v.strides)) // v.itemsize
    return layout.dense(np.lib.stride_tricks.as_strided(v, (last + 1,), (v.itemsize,)))


def _readable(v: np.ndarray, order) -> np.ndarray:
    """``v`` with its axes in ``order``, as kernels can walk it: a copy if one of them runs backwards, or if
    the last is neither repeated nor dense."""
    v = v.transpose(order)
    axes = [(s, n) for s, n in zip(v.strides, v.shape) if n > 1]
    walkable = all(s >= 0 and s % v.itemsize == 0 for s, _ in axes) and v.flags.aligned
    if walkable and (not axes or v.shape[-1] == 1 or v.strides[-1] in (0, v.itemsize)):
        return v
    kept = [1 if s == 0 else n for s, n in zip(v.strides, v.shape)]
    return np.broadcast_to(layout.dense(v[tuple(slice(0, n) for n in kept)]), v.shape)


def _operands(values: list, shape: tuple[int, ...], real, out_dtype):
    """The result and the operands as lines of memory, and the walk over them; None where it has more axes."""
    arrays = [v if isinstance(v, np.ndarray) else np.full(1, v, real) for v in values]
    same = [v.shape == shape for v in arrays]
    # an array with repeated axes has no order of axes in memory to be kept
    model = next((v for v, s in zip(arrays, same) if s and v.dtype == real and 0 not in v.strides), None)
    if model is None:
        y = memory.empty(shape, out_dtype)
    else:
        y = layout.empty_like(model, out_dtype)
    lines = []
    for v, whole in zip(arrays, same):
        flat = [y, v.reshape(-1)] if v.size == 1 else layout.flat(y, v) if whole else None
        if flat is None:
            break
        lines.append(layout.dense(flat[1]))
    else:
        walk = [(1, 1, y.size), *((0, 0, int(v.size > 1)) for v in arrays)]
        return y, layout.flat(y)[0], lines, np.array(walk)
    order = layout.memory_order(y)
    views = [_readable(np.broadcast_to(v, shape), order) for v in arrays]
    target = y.transpose(order)
    extents, *steps = merged(target.shape, *([s // v.itemsize for s in v.strides] for v in (target, *views)))
    steps = steps[1:]
    lines = [_line(v) for v in views]
    if len(extents) == 2 and extents[1] < SHORT and all(s[0] in (0, extents[1]) for s in steps):
        return y, layout.flat(y)[0], *_repeated(lines, steps, extents[1])
    if len(extents) > 3 or any(s[-1] not in (0, 1) for s in steps):
        return None
    walk = np.zeros((1 + len(lines), 3), np.int64)
    walk[0] = 1
    for row, values in zip(walk, (extents, *steps)):
        row[3 - len(extents) :] = values
    return y, layout.flat(y)[0], lines, walk


def _repeated(lines, steps, inner: int):
    """A walk with longer rows: row vectors of ``inner`` elements are written out several times."""
    count = 1 + SHORT // inner
    length, walk = count * inner, [(1, _ENDLESS, count * inner)]
    for k, (outer, last) in enumerate(steps):
        if outer == 0 and last == 1:
            copies = memory.empty((count, inner), lines[k].dtype)
            by_numpy(np.copyto, copies, lines[k][:inner])
            lines[k] = copies.reshape(-1)
        elif outer != 0 and last == 0:  # a number per row
            return lines, np.array([(1, _ENDLESS, inner), *((0, o, i) for o, i in steps)])
        walk.append((0, length if outer else 0, last))
    return lines, np.array(walk)


def _shape_of(values) -> tuple[int, ...]:
    shapes = {v.shape for v in values if isinstance(v, np.ndarray)}
    return next(iter(shapes)) if len(shapes) == 1 else np.broadcast_shapes(*shapes)


# ----------------------------------------------------------------------------------------- the contract's ops
def binary_fwd(name, a, b):
    values = [a, b]
    types = {v.dtype.char for v in values if isinstance(v, np.ndarray)}
    logical = name in BITWISE and all(isinstance(v, (np.ndarray, bool)) for v in values)
    if name not in BINARY or len(types) != 1 or not types <= ({"?"} if logical else {"f", "d"}):
        return reference.binary_fwd(name, a, b)
    shape = _shape_of(values)
    real = np.dtype(*types).type
    if logical:  # bools are bytes of 0 and 1, and loops over bytes become vector code
        real, values = np.uint8, [v.view(np.uint8) if isinstance(v, np.ndarray) else v for v in values]
    prepared = None
    if prod(shape) >= SMALL:
        prepared = _operands(values, shape, real, np.bool_ if name in COMPARISONS else real)
    if prepared is None:
        return reference.binary_fwd(name, a, b)
    y, out, lines, walk = prepared
    _binary_kernel(name, real)(*lines, out, walk)
    return y.view(np.bool_) if logical else y


def ternary_fwd(name, a, b, c, param=0.0):
    values = [a, b, c]
    floats = values[1:] if name == "where" else values
    types = {v.dtype.char for v in floats if isinstance(v, np.ndarray)}
    if len(types) != 1 or not types <= {"f", "d"}:
        return reference.ternary_fwd(name, a, b, c, param)
    shape = _shape_of(values)
    real = np.dtype(*types).type
    prepared = None
    if prod(shape) >= SMALL:
        prepared = _operands(values, shape, real, real)
    if prepared is None:
        return reference.ternary_fwd(name, a, b, c, param)
    y, out, lines, walk = prepared
    _ternary_kernel(name, real)(*lines, real(param), out, walk)
    return y
