"""Elementwise ops, with broadcasting, and dropout.

Arrays whose elements correspond in memory are walked as one line; broadcasting walks as few axes as the
strides allow. The formulas are those of ``common/pointwise.py``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from math import sqrt as host_sqrt

import numpy as np

from fastconv.backends.common import random_bits
from fastconv.backends.common.pointwise import (
    BINARY_FORMULAS,
    BITWISE,
    COMPARISONS,
    DIVISIONS,
    GATES,
    float_divisions,
    gates,
    ternary,
)
from fastconv.backends.common.unary import (
    CUBIC,
    CUBIC_SLOPE,
    INVERSE_ROOT_2PI,
    ROOT_8_OVER_PI,
    UNARY,
    Scalars,
    unary,
)

from ..codegen import ptx
from ..runtime import context, layout, memory
from ..runtime.array import DeviceArray, dense_strides
from ..runtime.launch import body, cuda, grid, kernel, launch, math


@body
def _select(condition, a, b):
    return a if condition else b


@functools.cache
def _sigmoid(real):
    zero, one = real(0), real(1)

    @body
    def sigmoid(x):
        e = math.exp(-abs(x))  # at most 1, so nothing overflows
        return one / (one + e) if x >= zero else e / (one + e)

    return sigmoid


@functools.cache
def _formulas(real):
    """The unary ops for elements of type ``real``."""
    zero, half, one, two = real(0), real(0.5), real(1), real(2)
    floating = np.dtype(real).kind == "f"
    root_half, density = real(host_sqrt(0.5)), real(INVERSE_ROOT_2PI)
    rate, cubic, cubic_slope = real(ROOT_8_OVER_PI), real(CUBIC), real(CUBIC_SLOPE)
    sigmoid = _sigmoid(real)

    @body
    def cdf(x):
        return half * math.erfc(-x * root_half)

    @body
    def gate(x):
        return sigmoid(rate * (x + cubic * x * x * x))

    @body
    def rint(x):
        below = math.floor(x)
        rest = x - below
        odd = below - two * math.floor(below * half)
        return below + one if rest > half else below + odd if rest == half else below

    @body
    def power(x, p):
        return x * x if p == two else math.sqrt(x) if p == half else math.pow(x, p)

    return unary(
        Scalars(
            body=body,
            real=lambda v: real(v) if v != math.inf or floating else zero,  # integers have no infinity
            select=_select,
            sign=body(lambda x: one if x > zero else -one if x < zero else x),
            exp=body(lambda x: math.exp(x)),
            expm1=body(lambda x: math.expm1(x)),
            log=body(lambda x: math.log(x)),
            log1p=body(lambda x: math.log1p(x)),
            log2=body(lambda x: math.log2(x)),
            log10=body(lambda x: math.log10(x)),
            sqrt=body(lambda x: math.sqrt(x)),
            rsqrt=body(lambda x: one / math.sqrt(x)),
            sin=body(lambda x: math.sin(x)),
            cos=body(lambda x: math.cos(x)),
            tanh=body(lambda x: math.tanh(x)),
            erf=body(lambda x: math.erf(x)),
            floor=body(lambda x: math.floor(x)),
            ceil=body(lambda x: math.ceil(x)),
            trunc=body(lambda x: math.trunc(x)),
            rint=rint,
            quotient=body(lambda a, b: a / b),
            power=power,
            power_bwd=body(lambda g, x, p: g * p * power(x, p - one) if p != zero else zero),
            relu=body(lambda x: zero if x <= zero else x),
            sigmoid=sigmoid,
            softplus=body(lambda x: (x if x > zero else zero) + math.log1p(math.exp(-abs(x)))),
            normal_cdf=cdf,
            gelu_tanh_gate=gate,
            gelu_bwd=body(lambda g, x: g * (cdf(x) + x * math.exp(-half * x * x) * density)),
            gelu_tanh_bwd=body(
                lambda g, x: g * gate(x) * (one + x * (one - gate(x)) * rate * (one + cubic_slope * x * x))
            ),
            silu_bwd=body(lambda g, x: g * sigmoid(x) * (one + x * (one - sigmoid(x)))),
        )
    )


@functools.cache
def _unary_kernel(name, real, result, vector_width):
    value, (load, store) = body(_formulas(real)[name].forward), ptx.vector_access(vector_width)

    def unary(x, p, q, y, n):
        out = cuda.local.array(vector_width, result)
        i = cuda.grid(1) * vector_width
        while i < n:
            v = load(x, i)
            for k in range(vector_width):
                out[k] = value(v[k], p, q)
            store(y, i, out)
            i += cuda.gridsize(1) * vector_width

    unary.__name__ = f"unary_{name}"
    return kernel(unary)


@functools.cache
def _unary_bwd_kernel(name, real, vector_width):
    gradient, (load, store) = body(_formulas(real)[name].backward), ptx.vector_access(vector_width)

    def unary_bwd(gy, saved, p, q, gx, n):
        out = cuda.local.array(vector_width, real)
        i = cuda.grid(1) * vector_width
        while i < n:
            g, v = load(gy, i), load(saved, i)
            for k in range(vector_width):
                out[k] = gradient(g[k], v[k], p, q)
            store(gx, i, out)
            i += cuda.gridsize(1) * vector_width

    unary_bwd.__name__ = f"unary_bwd_{name}"
    return kernel(unary_bwd)


def _as_float(a):
    """A float16 array as float32, anything else as it is."""
    return cast(a, np.float32) if isinstance(a, DeviceArray) and a.dtype.char == "e" else a


def half_as_float(op: Callable) -> Callable:
    """Decorate an op that computes float16 arrays in float32, because kernels have no float16 arithmetic.

    A float32 result becomes float16.
    """

    @functools.wraps(op)
    def run(*args):
        for a in args:
            if isinstance(a, DeviceArray) and a.dtype.char == "e":
                break
        else:
            return op(*args)
        y = op(*map(_as_float, args))
        return cast(y, np.float16) if y.dtype == np.float32 else y

    return run


@half_as_float
def unary_fwd(name: str, x: DeviceArray, param=None, param2=None) -> DeviceArray:
    """The unary op ``name`` of each element."""
    x = x if layout.is_dense(x) else layout.dense(x)
    y, real = layout.empty_like(x, bool if UNARY[name].kind == "bool" else None), x.dtype.type
    numbers, vector_width = (real(param or 0), real(param2 or 0)), layout.vector_width(x.size, x, y)
    unary = _unary_kernel(name, real, y.dtype.type, vector_width)
    launch(unary, *grid(x.size // vector_width), x, *numbers, y, x.size)
    return y


@half_as_float
def unary_bwd(name: str, gy: DeviceArray, saved, param=None, param2=None) -> DeviceArray:
    """The gradient in the operand of the unary op ``name``."""
    gy, saved = layout.alike(gy, gy if saved is None else saved)
    gx, real = layout.empty_like(gy), gy.dtype.type
    numbers, vector_width = (real(param or 0), real(param2 or 0)), layout.vector_width(gy.size, gy, saved, gx)
    unary_bwd = _unary_bwd_kernel(name, real, vector_width)
    launch(unary_bwd, *grid(gy.size // vector_width), gy, saved, *numbers, gx, gy.size)
    return gx


# ---------------------------------------------------------------------------------- two and three operands
def _integer_division(name, real):
    """A division of integers; Python's ``//`` and ``%`` round towards minus infinity."""
    zero, one = real(0), real(1)

    @body
    def trunc_divide(a, b):
        whole = a // b
        return whole + one if whole * b != a and (a < zero) != (b < zero) else whole

    return {
        "floor_divide": body(lambda a, b: a // b),
        "remainder": body(lambda a, b: a % b),
        "trunc_divide": trunc_divide,
        "fmod": body(lambda a, b: a - trunc_divide(a, b) * b),
    }[name]


@functools.cache
def _operation(name, real):
    """The function of two numbers of type ``real``."""
    zero, one = real(0), real(1)

    def integer_power(a, b):
        if b < zero:  # the reciprocal without its fraction
            return zero if a != one and a != -one else a if b % real(2) != zero else one
        result = one
        while b > zero:
            if b % real(2) != zero:
                result = real(result * a)
            a, b = real(a * a), real(b // real(2))
        return result

    if name in DIVISIONS:
        if np.dtype(real).kind in "iu":
            return _integer_division(name, real)
        operations = (
            body(lambda a, b: a / b),
            body(lambda a, b: math.fmod(a, b)),
            body(lambda x: math.floor(x)),
            body(lambda x: math.trunc(x)),
        )
        return float_divisions(body, *operations, zero, one)[name]
    if name in GATES:
        return body(gates(_select, _sigmoid(real), zero)[name])
    if name in BITWISE:
        return body(BITWISE[name])
    if name == "pow":
        return body(integer_power if np.dtype(real).kind in "iu" else lambda a, b: math.pow(a, b))
    if name == "pow_by_base":
        return body(lambda a, b: b * math.pow(a, b - one) if b != zero else zero)
    if name == "pow_by_exponent":
        return body(lambda a, b: math.pow(a, b) * math.log(a) if a != zero or b < zero else zero)
    return body(BINARY_FORMULAS[name])


@functools.cache
def _binary_kernel(name, real, result, vector_width, left, right):
    """``left``, ``right``: whether that operand is an array; the other is a number."""
    op, (load, store) = _operation(name, real), ptx.vector_access(vector_width)

    def binary(a, b, y, n):
        out = cuda.local.array(vector_width, result)
        i = cuda.grid(1) * vector_width
        while i < n:
            u, v = load(a, i) if left else a, load(b, i) if right else b
            for k in range(vector_width):
                out[k] = op(real(u[k]) if left else u, real(v[k]) if right else v)
            store(y, i, out)
            i += cuda.gridsize(1) * vector_width

    binary.__name__ = f"binary_{name}"
    return kernel(binary)


@functools.cache
def _broadcast_kernel(name, real, index):
    op = _operation(name, real)

    def broadcast(a, b, y, shape, a_steps, b_steps, n):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            rest, at_a, at_b = index(i), index(0), index(0)
            for d in range(len(shape) - 1, -1, -1):
                whole = rest // shape[d]
                place = rest - whole * shape[d]
                at_a += place * a_steps[d]
                at_b += place * b_steps[d]
                rest = whole
            y[i] = op(real(a[at_a]), real(b[at_b]))

    broadcast.__name__ = f"broadcast_{name}"
    return kernel(broadcast)


def _is_array(v) -> bool:
    return isinstance(v, DeviceArray)


def _number(v):
    return v.item() if isinstance(v, (np.generic, np.ndarray)) else v


def _binary(name, real, a, b, y):
    """Start a kernel that walks arrays whose elements correspond in memory; an operand may be a number."""
    left, right = _is_array(a), _is_array(b)
    vector_width = layout.vector_width(y.size, y, *(v for v in (a, b) if _is_array(v)))
    binary = _binary_kernel(name, real, y.dtype.type, vector_width, left, right)
    launch(binary, *grid(y.size // vector_width), a, b, y, y.size)


@half_as_float
def binary_fwd(name: str, a, b) -> DeviceArray:
    """The binary op ``name`` of two arrays, broadcast to one shape, or of an array and a number."""
    a, b = (v if _is_array(v) else _number(v) for v in (a, b))
    computed = a.dtype if _is_array(a) else b.dtype
    dtype = np.dtype(bool) if name in COMPARISONS else computed
    if computed.kind == "b":  # bytes of 0 and 1 on the device
        name, computed = {"add": "maximum"}.get(name, name), np.dtype(np.uint8)
    real = computed.type
    if not (_is_array(a) and _is_array(b)):
        x = a if _is_array(a) else b
        x = x if layout.is_dense(x) else layout.dense(x)
        y = layout.empty_like(x, dtype)
        a, b = (x if _is_array(v) else real(v) for v in (a, b))
        _binary(name, real, a, b, y)
        return y
    if a.shape == b.shape and layout.is_dense(a) and layout.same_order(b, a):
        y = layout.empty_like(a, dtype)
        _binary(name, real, a, b, y)
        return y
    shape = np.broadcast_shapes(a.shape, b.shape)
    a, b = layout.broadcast(a, shape), layout.broadcast(b, shape)
    whole = next((v for v in (a, b) if layout.is_dense(v)), None)
    y = memory.empty(shape, dtype) if whole is None else layout.empty_like(whole, dtype)
    order = layout.memory_order(y)
    a, b, out = (v.transpose(*order) for v in (a, b, y))
    *walk, _ = layout.merged(out.shape, *map(layout.steps, (a, b, out)))
    extents, a_steps, b_steps = layout.unsigned(max(a.span, b.span, y.size), *walk)
    launch(
        _broadcast_kernel(name, real, type(extents[0])),
        *grid(y.size),
        a,
        b,
        out,
        extents,
        a_steps,
        b_steps,
        y.size,
    )
    return y


@functools.cache
def _ternary_kernel(name, real, index):
    op = body(ternary(body, _select, _sigmoid(real), real(0), real(1))[name])

    def ternary_kernel(a, b, c, number, y, shape, a_steps, b_steps, c_steps, n):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            rest, at_a, at_b, at_c = index(i), index(0), index(0), index(0)
            for d in range(len(shape) - 1, -1, -1):
                whole = rest // shape[d]
                place = rest - whole * shape[d]
                at_a += place * a_steps[d]
                at_b += place * b_steps[d]
                at_c += place * c_steps[d]
                rest = whole
            y[i] = op(a[at_a], b[at_b], c[at_c], number)

    ternary_kernel.__name__ = f"ternary_{name}"
    return kernel(ternary_kernel)


@half_as_float
def ternary_fwd(name: str, a, b, c, param: float = 0.0) -> DeviceArray:
    """The ternary op ``name`` of arrays and numbers, broadcast to one shape."""
    values = [v if _is_array(v) else _number(v) for v in (a, b, c)]
    dtype = next(v for v in values[name == "where" :] if _is_array(v)).dtype
    shape = np.broadcast_shapes(*(v.shape for v in values if _is_array(v)))
    arrays = [layout.broadcast(v if _is_array(v) else layout.filled((1,), dtype, v), shape) for v in values]
    whole = next((v for v in arrays if layout.is_dense(v)), None)
    y = memory.empty(shape, dtype) if whole is None else layout.empty_like(whole, dtype)
    order = layout.memory_order(y)
    *arrays, out = (v.transpose(*order) for v in (*arrays, y))
    *walk, _ = layout.merged(out.shape, *map(layout.steps, (*arrays, out)))
    extents, *steps = layout.unsigned(max(y.size, *(v.span for v in arrays)), *walk)
    number = dtype.type(param)
    launch(
        _ternary_kernel(name, dtype.type, type(extents[0])),
        *grid(y.size),
        *arrays,
        number,
        out,
        extents,
        *steps,
        y.size,
    )
    return y


@functools.cache
def _cast_kernel(real):
    @kernel
    def cast_elements(x, y, n):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            y[i] = real(x[i])

    return cast_elements


def cast(x: DeviceArray, dtype) -> DeviceArray:
    """A fresh array of another dtype."""
    if np.dtype(dtype) == bool:
        return binary_fwd("ne", x, 0)
    x = x if layout.is_dense(x) else layout.dense(x)
    y = layout.empty_like(x, np.dtype(dtype))
    launch(_cast_kernel(y.dtype.type), *grid(x.size), x, y, x.size)
    return y


# ------------------------------------------------------------------------------------------------- dropout
_bits24 = body(random_bits.bits24)


@functools.cache
def _dropout_kernel(real):
    factor, zero = np.uint64(random_bits.SEED_FACTOR), real(0)

    @kernel
    def drop(x, y, shape, places, x_steps, seed, least, scale, n):
        # y is walked through memory; of each element x_steps give the place in x, and places the number in
        # logical order, from which its random bits come
        start = seed[0] * factor
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            rest, source, number = np.uint64(i), np.uint64(0), start
            for d in range(len(shape) - 1, -1, -1):
                whole = rest // shape[d]
                place = rest - whole * shape[d]
                source += place * x_steps[d]
                number += place * places[d]
                rest = whole
            y[i] = x[source] * scale if _bits24(number) >= least else zero

    return drop


def dropout(x: DeviceArray, p: float, scale: float, seed: int, channels: bool = False) -> DeviceArray:
    """``x * scale``, zero with probability ``p``; a hash of ``seed`` and an element's number decides.

    With ``channels`` the number is that of the element's channel among those of all examples.
    """
    y, real = layout.empty_like(x), x.dtype.type
    order = layout.memory_order(y)
    numbers = (x.shape[1], 1, *(0,) * (x.ndim - 2)) if channels else dense_strides(x.shape, 1)
    shape, places, x_steps = layout.merged(
        [y.shape[i] for i in order], [numbers[i] for i in order], [layout.steps(x)[i] for i in order]
    )
    wide = (tuple(map(np.uint64, t)) for t in (shape, places, x_steps))
    launch(
        _dropout_kernel(real),
        *grid(x.size),
        x,
        y,
        *wide,
        context.seed(seed),
        random_bits.threshold(p),
        real(scale),
        x.size,
    )
    return y
