"""Elementwise ops, with broadcasting, and dropout.

Arrays whose elements correspond in memory are walked as one line; broadcasting walks as few axes as the
strides allow. The arithmetic is written once per element type, because a bare ``0.5`` is a float64 in a
kernel and would turn float32 arithmetic into float64.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from math import floor, pi
from math import sqrt as host_sqrt

import numpy as np

from ..runtime import context, layout, memory
from ..runtime.array import DeviceArray, dense_strides
from ..runtime.launch import body, cuda, grid, kernel, launch, math


@functools.cache
def _unary_bodies(real):
    """The device functions of each op by name, for elements ``real``: ``value(x, param)`` and
    ``gradient(gy, saved, param)``, where ``saved`` is what ``UNARY`` of the contract says."""
    zero, half, one, two = real(0), real(0.5), real(1), real(2)
    root_half, density = real(host_sqrt(0.5)), real(1 / host_sqrt(2 * pi))
    rate, cubic, cubic3 = real(host_sqrt(8 / pi)), real(0.044715), real(0.134145)

    @body
    def sigmoid(x):
        e = math.exp(-abs(x))  # at most 1, so nothing overflows
        return one / (one + e) if x >= zero else e / (one + e)

    @body
    def cdf(x):
        return half * math.erfc(-x * root_half)

    @body
    def gate(x):
        return sigmoid(rate * (x + cubic * x * x * x))

    @body
    def power(x, p):
        return x * x if p == two else math.sqrt(x) if p == half else math.pow(x, p)

    def table(name, forward, backward):
        forward.__name__, backward.__name__ = name, f"{name}_bwd"
        return body(forward), body(backward)

    bodies = {
        "neg": (lambda x, p: -x, lambda g, s, p: -g),
        "abs": (lambda x, p: abs(x), lambda g, x, p: g if x > zero else -g if x < zero else g * x),
        "exp": (lambda x, p: math.exp(x), lambda g, y, p: g * y),
        "log": (lambda x, p: math.log(x), lambda g, x, p: g / x),
        "sqrt": (lambda x, p: math.sqrt(x), lambda g, y, p: g / (two * y)),
        "pow": (lambda x, p: power(x, p), lambda g, x, p: g * p * power(x, p - one) if p != zero else zero),
        "relu": (lambda x, p: zero if x <= zero else x, lambda g, y, p: zero if y <= zero else g),
        "leaky_relu": (lambda x, p: x if x > zero else x * p, lambda g, x, p: g if x > zero else g * p),
        "sigmoid": (lambda x, p: sigmoid(x), lambda g, y, p: g * y * (one - y)),
        "tanh": (lambda x, p: math.tanh(x), lambda g, y, p: g * (one - y * y)),
        "gelu": (
            lambda x, p: x * cdf(x),
            lambda g, x, p: g * (cdf(x) + x * math.exp(-half * x * x) * density),
        ),
        "gelu_tanh": (
            lambda x, p: x * gate(x),
            lambda g, x, p: g * gate(x) * (one + x * (one - gate(x)) * rate * (one + cubic3 * x * x)),
        ),
        "silu": (
            lambda x, p: x * sigmoid(x),
            lambda g, x, p: g * sigmoid(x) * (one + x * (one - sigmoid(x))),
        ),
    }
    return {name: table(name, *pair) for name, pair in bodies.items()}


@functools.cache
def _unary_kernel(name, real):
    value = _unary_bodies(real)[name][0]

    def unary(x, p, y, n):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            y[i] = value(x[i], p)

    unary.__name__ = f"unary_{name}"
    return kernel(unary)


@functools.cache
def _unary_bwd_kernel(name, real):
    gradient = _unary_bodies(real)[name][1]

    def unary_bwd(gy, saved, p, gx, n):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            gx[i] = gradient(gy[i], saved[i], p)

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
def unary_fwd(name: str, x: DeviceArray, param=None) -> DeviceArray:
    """The unary op ``name`` of each element."""
    x = x if layout.is_dense(x) else layout.dense(x)
    y, real = layout.empty_like(x), x.dtype.type
    launch(_unary_kernel(name, real), *grid(x.size), x, real(param or 0), y, x.size)
    return y


@half_as_float
def unary_bwd(name: str, gy: DeviceArray, saved, param=None) -> DeviceArray:
    """The gradient in the operand of the unary op ``name``."""
    gy, saved = layout.alike(gy, gy if saved is None else saved)
    gx, real = layout.empty_like(gy), gy.dtype.type
    launch(_unary_bwd_kernel(name, real), *grid(gy.size), gy, saved, real(param or 0), gx, gy.size)
    return gx


# -------------------------------------------------------------------------------------------- two operands
# pow and its derivatives need constants, so they are below. The larger of two numbers is NaN if one of them
# is.
BINARY_OPS = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "maximum": lambda a, b: a if a >= b or a != a else b,
    "minimum": lambda a, b: a if a <= b or a != a else b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
}
_COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")


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

    if name == "pow":
        return body(integer_power if np.dtype(real).kind in "iu" else lambda a, b: math.pow(a, b))
    if name == "pow_by_base":
        return body(lambda a, b: b * math.pow(a, b - one) if b != zero else zero)
    if name == "pow_by_exponent":
        return body(lambda a, b: math.pow(a, b) * math.log(a) if a != zero or b < zero else zero)
    return body(BINARY_OPS[name])


@functools.cache
def _binary_kernel(name, real, left, right):
    """``left``, ``right``: whether that operand is an array; the other is a number."""
    op = _operation(name, real)

    def binary(a, b, y, n):
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            y[i] = op(real(a[i]) if left else a, real(b[i]) if right else b)

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


@half_as_float
def binary_fwd(name: str, a, b) -> DeviceArray:
    """The binary op ``name`` of two arrays, broadcast to one shape, or of an array and a number."""
    a, b = (v if _is_array(v) else _number(v) for v in (a, b))
    computed = a.dtype if _is_array(a) else b.dtype
    dtype = np.dtype(bool) if name in _COMPARISONS else computed
    if computed.kind == "b":  # bytes of 0 and 1 on the device
        name, computed = {"add": "maximum"}.get(name, name), np.dtype(np.uint8)
    real = computed.type
    if not (_is_array(a) and _is_array(b)):
        x = a if _is_array(a) else b
        x = x if layout.is_dense(x) else layout.dense(x)
        y = layout.empty_like(x, dtype)
        a, b = (x if _is_array(v) else real(v) for v in (a, b))
        launch(_binary_kernel(name, real, _is_array(a), _is_array(b)), *grid(x.size), a, b, y, x.size)
        return y
    if a.shape == b.shape and layout.is_dense(a) and layout.same_order(b, a):
        y = layout.empty_like(a, dtype)
        launch(_binary_kernel(name, real, True, True), *grid(a.size), a, b, y, a.size)
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
@functools.cache
def _dropout_kernel(real):
    u30, u27, u31, u40 = (np.uint64(n) for n in (30, 27, 31, 40))
    spread, zero = np.uint64(0x9E3779B97F4A7C15), real(0)
    m1, m2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)

    @kernel
    def drop(x, y, shape, places, x_steps, seed, least, scale, n):
        # y is walked through memory; of each element x_steps give the place in x, and places the number in
        # logical order, which is hashed (SplitMix64)
        start = seed[0] * spread
        for i in range(cuda.grid(1), n, cuda.gridsize(1)):
            rest, source, z = np.uint64(i), np.uint64(0), start
            for d in range(len(shape) - 1, -1, -1):
                whole = rest // shape[d]
                place = rest - whole * shape[d]
                source += place * x_steps[d]
                z += place * places[d]
                rest = whole
            z = (z ^ (z >> u30)) * m1
            z = (z ^ (z >> u27)) * m2
            z = z ^ (z >> u31)
            y[i] = x[source] * scale if (z >> u40) >= least else zero

    return drop


def dropout(x: DeviceArray, p: float, scale: float, seed: int) -> DeviceArray:
    """``x * scale``, zero with probability ``p``; a hash of ``seed`` and an element's number decides."""
    y, real = layout.empty_like(x), x.dtype.type
    order = layout.memory_order(y)
    numbers = dense_strides(x.shape, 1)
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
        np.uint64(floor(p * 2**24)),
        real(scale),
        x.size,
    )
    return y
