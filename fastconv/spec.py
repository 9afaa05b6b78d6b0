"""Geometry of every operation: the one place for shapes, padding, work counts and argument errors.

A *spec* is built once per call from shapes alone, refuses what cannot work with a message that says
what was expected and what came, and is then read by every backend, by ``summary``, ``explain_conv`` and the
benchmarks. Nothing here touches array data.

Terms
-----
size : spatial extents only, e.g. ``(H, W)``.
shape : all extents, always in the logical order ``N, C, [D,] [H,] W``.
padding : one ``(before, after)`` pair per spatial dimension once parsed.
macs : multiply-adds (one multiplication and one addition count as ONE).
flops : floating-point operations, ``2 * macs`` (plus one addition per output where there is a bias).
"""

from __future__ import annotations

import inspect
import operator
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from math import prod
from numbers import Integral

import numpy as np

DIMS = {1: ("W",), 2: ("H", "W"), 3: ("D", "H", "W")}


# ------------------------------------------------------------------------------------------------- messages
def shape_str(shape) -> str:
    """``(8, 1, 224, 224)`` -> ``"8x1x224x224"``; a scalar's shape is ``"scalar"``."""
    return "x".join(str(int(s)) for s in shape) or "scalar"


def check(ok, name: str, message: str, error: type[Exception] = ValueError) -> None:
    """Raise ``error`` with ``"<name>: <message>"`` unless ``ok``. The ops of a training step raise on their
    own: making the text takes longer than the check."""
    if not ok:
        raise error(f"{name}: {message}")


def check_call(name: str, signature: inspect.Signature, args, kwargs) -> inspect.BoundArguments:
    """Arguments bound to ``signature``, or a TypeError that shows it under the public ``name``."""
    try:
        unknown = [k for k in kwargs if k not in signature.parameters]
        check(
            not unknown,
            name,
            f"got an unexpected keyword argument {', '.join(map(repr, unknown))}",
            TypeError,
        )
        return signature.bind(*args, **kwargs)
    except TypeError as e:
        plain = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
        raise TypeError(f"{name}{inspect.Signature(plain)}: {e}") from None


def check_rank(name: str, what: str, shape, ranks, layout: str) -> None:
    """Refuse an array of the wrong rank. ``layout`` names the axes expected, e.g. ``"N x C x H x W"``."""
    ranks = (ranks,) if isinstance(ranks, int) else ranks
    if len(shape) not in ranks:
        wanted = " or ".join(map(str, ranks))
        raise ValueError(
            f"{name}: {what} must have {wanted} dimensions ({layout}), got {len(shape)} ({shape_str(shape)})"
        )


def channels_last_hint(x_shape, channels: int) -> str:
    """What to say where an input that should have ``channels`` in its second axis has them in its last."""
    n = len(x_shape) - 2
    if n < 1 or x_shape[-1] != channels:
        return ""
    order = ", ".join(map(str, range(1, n + 1)))
    one = f" (without the batch: .permute({n}, {', '.join(map(str, range(n)))}))" if x_shape[0] == 1 else ""
    return f"; is it N x {' x '.join(DIMS[n])} x C? Then give it as .permute(0, {n + 1}, {order}){one}"


def check_float(name: str, optional=(), **arrays) -> None:
    """Refuse what is not a float32/float64 array, or mixes the two; None passes for the names in
    ``optional``."""
    given = [a for what, a in arrays.items() if a is not None or what not in optional]
    kinds = {a.dtype.char if hasattr(a, "dtype") else "" for a in given}
    if kinds == {"f"} or kinds == {"d"}:  # the rule, told without making text
        return
    first = None
    for what, a in arrays.items():
        if a is None and what in optional:
            continue
        kind = str(getattr(a, "dtype", type(a).__name__))
        if kind not in ("float32", "float64"):
            advice = "; convert it with .astype('float32')" if hasattr(a, "dtype") else ""
            got = "None" if a is None else kind
            raise TypeError(f"{name}: {what} must be a float32 or float64 array, got {got}{advice}")
        first = first or (what, kind)
        if kind != first[1]:
            advice = f"convert one of them, e.g. .astype('{first[1]}')"
            raise TypeError(f"{name}: {what} is {kind} but {first[0]} is {first[1]}; {advice}")


def check_shape(name: str, what: str, got, expected, why: str) -> None:
    """Refuse ``got`` unless it equals ``expected``; ``why`` says where the expectation comes from."""
    if tuple(got) != tuple(expected):
        raise ValueError(
            f"{name}: {what} must have shape {shape_str(expected)} ({why}), got {shape_str(got)}"
        )


def check_axis(name: str, axis, ndim: int) -> int:
    """Normalise one axis to ``0 <= axis < ndim``."""
    try:
        axis = operator.index(axis)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: dim must be an int, got {type(axis).__name__} ({axis!r})") from None
    n = max(ndim, 1)
    if not -n <= axis < n:
        raise IndexError(
            f"{name}: dim {axis} is out of range for {ndim} dimensions (expected {-n} to {n - 1})"
        )
    return axis % n


# ------------------------------------------------------------------------------------------------- parsing
LIMIT = 1 << 40  # elements of the largest array, and the largest extent, stride or padding: more is a mistake


def check_count(name: str, what: str, shape) -> None:
    """Refuse an array of absurd size before anything is allocated or looped over."""
    if prod(shape) >= LIMIT:
        raise ValueError(
            f"{name}: {what} would have the shape {shape_str(shape)}, which is 2^40 elements or more"
        )


def number(name: str, what: str, value, low: float | None = None, high: float | None = None) -> float:
    """A real number as a float, between ``low`` and ``high`` if these are given."""
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{name}: {what} must be a number, got {value!r:.60}") from None
    if low is not None and high is not None:
        check(low <= result <= high, name, f"{what} must be between {low:g} and {high:g}, got {value!r:.60}")
    elif low is not None:
        check(low <= result, name, f"{what} must be at least {low:g}, got {value!r:.60}")
    return result


def one_of(name: str, what: str, value, words) -> None:
    """Refuse what is not one of ``words``."""
    if not isinstance(value, str) or value not in words:
        *first, last = [repr(w) for w in words]
        raise ValueError(f"{name}: {what} must be {', '.join(first)} or {last}, got {value!r:.60}")


def int_tuple(name: str, what: str, value, n: int, minimum: int) -> tuple[int, ...]:
    """An int or a sequence of ``n`` ints as a tuple of ``n`` ints, each at least ``minimum``."""
    items = tuple(value) if isinstance(value, (tuple, list)) else (value,) * n
    if len(items) == 1:
        items *= n
    wanted = "an int" if n == 1 else f"an int or {n} ints"
    check(len(items) == n, name, f"{what} must be {wanted}, got {value!r:.60}")
    try:
        items = tuple(operator.index(i) for i in items)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: {what} must be {wanted}, got {value!r:.60}") from None
    check(min(items) >= minimum, name, f"{what} must be at least {minimum} in each dimension, got {value!r}")
    check(max(items) < LIMIT, name, f"{what} must be below 2^40 in each dimension, got {value!r}")
    return items


def parse_padding(name: str, padding, size, kernel, stride, dilation) -> tuple[tuple[int, int], ...]:
    """Padding in any of its spellings as one ``(before, after)`` pair per spatial dimension.

    ``int``; one int per dimension; one ``(before, after)`` pair per dimension; ``"valid"`` (none);
    ``"full"`` (``dilation * (kernel - 1)`` on each side); ``"same"`` (output ``ceil(size / stride)``; an odd
    total puts the extra row at the end, as PyTorch and TensorFlow do).
    """
    n = len(kernel)
    if isinstance(padding, str):
        if padding == "valid":
            return ((0, 0),) * n
        if padding == "full":
            return tuple((d * (k - 1),) * 2 for k, d in zip(kernel, dilation))
        check(padding == "same", name, f"padding must be 'same', 'valid', 'full' or numbers, got {padding!r}")
        pairs = []
        for i, k, s, d in zip(size, kernel, stride, dilation):
            total = max((-(-i // s) - 1) * s + d * (k - 1) + 1 - i, 0)
            pairs.append((total // 2, total - total // 2))
        return tuple(pairs)
    if isinstance(padding, (tuple, list)) and padding and isinstance(padding[0], (tuple, list)):
        check(
            len(padding) == n and all(isinstance(p, (tuple, list)) and len(p) == 2 for p in padding),
            name,
            f"padding pairs must be {n} x (before, after), got {padding!r}",
        )
        return tuple(int_tuple(name, "padding", p, 2, 0) for p in padding)
    return tuple((p, p) for p in int_tuple(name, "padding", padding, n, 0))


def window_options(name: str, n: int, kernel_size, stride, padding, dilation) -> None:
    """Refuse what no input could make right, when a layer is made and not at its first batch."""
    kernel = int_tuple(name, "kernel_size", kernel_size, n, 1)
    stride = kernel if stride is None else int_tuple(name, "stride", stride, n, 1)
    parse_padding(name, padding, kernel, kernel, stride, int_tuple(name, "dilation", dilation, n, 1))


class _Windows:
    """What windows sliding over 1, 2 or 3 dimensions have in common. Engines ask on every call, so all is
    worked out once."""

    @property
    def ndim(self) -> int:
        """Number of spatial dimensions."""
        return len(self.kernel)

    @cached_property
    def _hash(self) -> int:
        return hash(tuple([getattr(self, f.name) for f in fields(self)]))

    def __hash__(self):
        return self._hash

    @cached_property
    def _as_3d(self):
        m = 3 - self.ndim
        more = dict.fromkeys(("in_size", "kernel", "stride", "dilation", "out_size"), (1,) * m) | {
            "padding": ((0, 0),) * m
        }
        return (
            replace(self, **{name: front + getattr(self, name) for name, front in more.items()})
            if m
            else self
        )

    def as_3d(self):
        """The same with three spatial dimensions (leading ones of extent 1)."""
        return self._as_3d


# -------------------------------------------------------------------------------------------------
# convolution
@dataclass(frozen=True)
class ConvSpec(_Windows):
    """One convolution (cross-correlation) layer call, 1-D, 2-D or 3-D.

    Attributes
    ----------
    batch, c_in, c_out, groups : int
    in_size, kernel, stride, dilation, out_size : tuple of int, one per spatial dimension
    padding : tuple of (before, after), one per spatial dimension
    """

    batch: int
    c_in: int
    c_out: int
    groups: int
    in_size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    out_size: tuple[int, ...]

    __hash__ = _Windows.__hash__

    @cached_property
    def x_shape(self) -> tuple[int, ...]:
        return (self.batch, self.c_in, *self.in_size)

    @cached_property
    def w_shape(self) -> tuple[int, ...]:
        return (self.c_out, self.c_in // self.groups, *self.kernel)

    @cached_property
    def y_shape(self) -> tuple[int, ...]:
        return (self.batch, self.c_out, *self.out_size)

    @property
    def depthwise(self) -> bool:
        """Every input channel has its own filters."""
        return self.groups == self.c_in and self.groups > 1

    @cached_property
    def macs(self) -> int:
        """Multiply-adds of one forward pass (padding counted, as everybody counts it)."""
        return prod(self.y_shape) * (self.c_in // self.groups) * prod(self.kernel)

    @property
    def flops(self) -> int:
        """Floating-point operations of one forward pass without bias: ``2 * macs``."""
        return 2 * self.macs

    def bytes(self, itemsize: int = 4) -> int:
        """Compulsory memory traffic: input, weight and output touched once each."""
        return itemsize * (prod(self.x_shape) + prod(self.w_shape) + prod(self.y_shape))


@lru_cache(maxsize=4096)
def _conv_spec(name, x_shape, w_shape, stride, padding, dilation, groups):
    n = int(name[-2]) if name[-2].isdigit() else 2  # unfold and fold slide over images
    layout = " x ".join(DIMS[n])
    check_rank(name, "input", x_shape, n + 2, f"N x C x {layout}")
    check_rank(name, "weight", w_shape, n + 2, f"C_out x C_in/groups x {layout}")
    stride = int_tuple(name, "stride", stride, n, 1)
    dilation = int_tuple(name, "dilation", dilation, n, 1)
    groups = int_tuple(name, "groups", groups, 1, 1)[0]
    batch, c_in, *size = x_shape
    c_out, c_in_group, *kernel = w_shape
    check(min(w_shape) > 0, name, f"weight must not be empty, got {shape_str(w_shape)}")
    expected = c_in_group * groups
    check(
        c_in == expected,
        name,
        f"weight expects {expected} input channels (weight {shape_str(w_shape)}, groups {groups}), "
        f"input has {c_in} ({shape_str(x_shape)})" + channels_last_hint(x_shape, expected),
    )
    check(
        c_out % groups == 0,
        name,
        f"{c_out} output channels (weight {shape_str(w_shape)}) must be divisible by groups {groups}",
    )
    pads = parse_padding(name, padding, size, kernel, stride, dilation)
    out = []
    for i, k, s, d, (before, after) in zip(size, kernel, stride, dilation, pads):
        extent = d * (k - 1) + 1
        check(
            i + before + after >= extent,
            name,
            f"kernel {shape_str(kernel)} with dilation {dilation} spans {extent} but the padded input has only "
            f"{i + before + after} (input {shape_str(x_shape)}, padding {padding!r}); "
            "use more padding or a smaller kernel",
        )
        out.append((i + before + after - extent) // s + 1)
    check_count(name, "the output", (batch, c_out, *out))
    return ConvSpec(
        batch, c_in, c_out, groups, tuple(size), tuple(kernel), stride, dilation, pads, tuple(out)
    )


def _hashable(name: str, what: str, v):
    """An option as something to remember a spec by: lists as tuples; arrays, dicts and sets are no
    options."""
    if isinstance(v, (tuple, list)):
        return tuple([_hashable(name, what, i) for i in v])
    if v.__hash__ is None:
        raise TypeError(f"{name}: {what} must be made of ints, got {type(v).__name__} ({v!r:.60})")
    return v


def conv_spec(name, x_shape, w_shape, stride=1, padding=0, dilation=1, groups=1, bias_shape=None) -> ConvSpec:
    """Validate a convolution call and return its :class:`ConvSpec`.

    Parameters
    ----------
    name : str
        The caller's name for messages; ends in ``1d``, ``2d`` or ``3d``, which fixes the rank.
    x_shape, w_shape : tuple of int
        ``N x C_in x spatial`` and ``C_out x C_in/groups x spatial``.
    stride, dilation : int or one int per spatial dimension
    padding : see :func:`parse_padding`
    groups : int
    bias_shape : tuple of int, optional
        Must be ``(C_out,)``.

    Raises
    ------
    ValueError, TypeError
        With the function's name, what was expected and what came.
    """
    spec = _conv_spec(
        name,
        tuple(x_shape),
        tuple(w_shape),
        _hashable(name, "stride", stride),
        _hashable(name, "padding", padding),
        _hashable(name, "dilation", dilation),
        _hashable(name, "groups", groups),
    )
    if bias_shape is not None:
        check_shape(name, "bias", bias_shape, (spec.c_out,), "one entry per output channel")
    return spec


def conv_transpose_spec(
    name, x_shape, w_shape, stride=1, padding=0, output_padding=0, groups=1, dilation=1, bias_shape=None
) -> ConvSpec:
    """The forward convolution whose backward-data pass IS this transposed convolution.

    ``w_shape`` is ``C_in x C_out/groups x spatial``. The transposed convolution's input is the returned
    spec's output: ``y_shape == x_shape`` of the call, and its result has the spec's ``x_shape``.
    """
    n = int(name[-2])
    layout = " x ".join(DIMS[n])
    check_rank(name, "input", x_shape, n + 2, f"N x C x {layout}")
    check_rank(name, "weight", w_shape, n + 2, f"C_in x C_out/groups x {layout}")
    stride = int_tuple(name, "stride", stride, n, 1)
    dilation = int_tuple(name, "dilation", dilation, n, 1)
    extra = int_tuple(name, "output_padding", output_padding, n, 0)
    groups = int_tuple(name, "groups", groups, 1, 1)[0]
    check(min(w_shape) > 0, name, f"weight must not be empty, got {shape_str(w_shape)}")
    check(
        x_shape[1] == w_shape[0],
        name,
        f"weight expects {w_shape[0]} input channels (weight {shape_str(w_shape)}), "
        f"input has {x_shape[1]} ({shape_str(x_shape)})" + channels_last_hint(x_shape, w_shape[0]),
    )
    check(
        w_shape[0] % groups == 0,
        name,
        f"{w_shape[0]} input channels (weight {shape_str(w_shape)}) must be divisible by groups {groups}",
    )
    for e, s, d in zip(extra, stride, dilation):
        check(
            e < max(s, d),
            name,
            f"output_padding {output_padding!r} must be smaller than stride {stride} or dilation {dilation}",
        )
    kernel = tuple(w_shape[2:])
    check(not isinstance(padding, str), name, f"padding must be numbers, got {padding!r}")
    pads = parse_padding(name, padding, x_shape[2:], kernel, stride, dilation)
    size = tuple(
        (i - 1) * s - b - a + d * (k - 1) + e + 1
        for i, k, s, d, e, (b, a) in zip(x_shape[2:], kernel, stride, dilation, extra, pads)
    )
    check(
        min(size) > 0,
        name,
        f"output would be {shape_str(size)} (input {shape_str(x_shape)}, padding {padding!r}); use less padding",
    )
    c_out = w_shape[1] * groups
    check_count(name, "the output", (x_shape[0], c_out, *size))
    if bias_shape is not None:
        check_shape(name, "bias", bias_shape, (c_out,), "one entry per output channel")
    return ConvSpec(
        x_shape[0], c_out, x_shape[1], groups, size, kernel, stride, dilation, pads, tuple(x_shape[2:])
    )


# ------------------------------------------------------------------------------------------------- pooling
@dataclass(frozen=True)
class PoolSpec(_Windows):
    """One pooling call, 1-D, 2-D or 3-D: a window per output element.

    ``divisor`` is the fixed divisor of average pooling (``divisor_override``) or None.
    """

    batch: int
    channels: int
    in_size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    out_size: tuple[int, ...]
    count_include_pad: bool = True
    divisor: float | None = None

    __hash__ = _Windows.__hash__

    @cached_property
    def x_shape(self) -> tuple[int, ...]:
        return (self.batch, self.channels, *self.in_size)

    @cached_property
    def y_shape(self) -> tuple[int, ...]:
        return (self.batch, self.channels, *self.out_size)


@lru_cache(maxsize=4096)
def _pool_spec(name, x_shape, kernel, stride, padding, dilation, ceil_mode, count_include_pad, divisor):
    n = int(name[-2])
    check_rank(name, "input", x_shape, n + 2, f"N x C x {' x '.join(DIMS[n])}")
    kernel = int_tuple(name, "kernel_size", kernel, n, 1)
    stride = kernel if stride is None else int_tuple(name, "stride", stride, n, 1)
    dilation = int_tuple(name, "dilation", dilation, n, 1)
    check(divisor is None or divisor != 0, name, "divisor_override must not be zero")
    size = x_shape[2:]
    pads = parse_padding(name, padding, size, kernel, stride, dilation)
    out = []
    for i, k, s, d, (before, after) in zip(size, kernel, stride, dilation, pads):
        extent = d * (k - 1) + 1
        # A window made of padding alone would have no maximum and no mean.
        check(
            before < extent and after < extent and (padding == "same" or max(before, after) <= extent // 2),
            name,
            f"padding {padding!r} must be at most half of the kernel's extent {extent} (kernel_size {kernel})",
        )
        span = i + before + after - extent
        check(
            span >= 0 and i > 0,
            name,
            f"kernel_size {kernel} spans {extent} but the padded input has only {i + before + after} "
            f"(input {shape_str(x_shape)}, padding {padding!r})",
        )
        o = (-(-span // s) if ceil_mode else span // s) + 1
        if ceil_mode and (o - 1) * s >= i + before:  # the last window must start inside input or left padding
            o -= 1
        check(
            d == 1 or all(any(0 <= j * s - before + t * d < i for t in range(k)) for j in range(o)),
            name,
            f"with dilation {dilation} a window of kernel_size {kernel} meets padding alone "
            f"(input {shape_str(x_shape)}, padding {padding!r}); use less padding or dilation",
        )
        out.append(o)
    check_count(name, "the output", (*x_shape[:2], *out))
    return PoolSpec(
        x_shape[0],
        x_shape[1],
        tuple(size),
        kernel,
        stride,
        dilation,
        pads,
        tuple(out),
        count_include_pad,
        divisor,
    )


def pool_spec(
    name,
    x_shape,
    kernel_size,
    stride=None,
    padding=0,
    dilation=1,
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
) -> PoolSpec:
    """Validate a pooling call and return its :class:`PoolSpec`; ``stride=None`` means ``kernel_size``."""
    return _pool_spec(
        name,
        tuple(x_shape),
        _hashable(name, "kernel_size", kernel_size),
        _hashable(name, "stride", stride),
        _hashable(name, "padding", padding),
        _hashable(name, "dilation", dilation),
        bool(ceil_mode),
        bool(count_include_pad),
        None if divisor_override is None else number(name, "divisor_override", divisor_override),
    )


@dataclass(frozen=True)
class AdaptivePoolSpec:
    """Adaptive pooling: output ``i`` covers input rows ``floor(i*in/out) .. ceil((i+1)*in/out)``."""

    batch: int
    channels: int
    in_size: tuple[int, ...]
    out_size: tuple[int, ...]

    @property
    def x_shape(self) -> tuple[int, ...]:
        return (self.batch, self.channels, *self.in_size)

    @property
    def y_shape(self) -> tuple[int, ...]:
        return (self.batch, self.channels, *self.out_size)

    def windows(self, dim: int) -> list[tuple[int, int]]:
        """``(start, stop)`` of every window along spatial dimension ``dim``."""
        i, o = self.in_size[dim], self.out_size[dim]
        return [(j * i // o, -(-(j + 1) * i // o)) for j in range(o)]


def adaptive_pool_spec(name, x_shape, output_size) -> AdaptivePoolSpec:
    """Validate an adaptive 2-D pooling call; ``None`` in ``output_size`` keeps that extent."""
    check_rank(name, "input", x_shape, 4, "N x C x H x W")
    sizes = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * 2
    check(len(sizes) == 2, name, f"output_size must be an int or 2 ints, got {output_size!r}")
    sizes = int_tuple(name, "output_size", [i if s is None else s for i, s in zip(x_shape[2:], sizes)], 2, 1)
    check(min(x_shape[2:]) > 0, name, f"input must not be empty in H and W, got {shape_str(x_shape)}")
    check_count(name, "the output", (*x_shape[:2], *sizes))
    return AdaptivePoolSpec(x_shape[0], x_shape[1], tuple(x_shape[2:]), sizes)


# ------------------------------------------------------------------------------------------------- resizing
@dataclass(frozen=True)
class InterpolateSpec:
    """Resize of ``N x C x H x W``: ``mode`` is ``"nearest"`` or ``"bilinear"``."""

    batch: int
    channels: int
    in_size: tuple[int, int]
    out_size: tuple[int, int]
    mode: str
    align_corners: bool
    # the user's scale_factor: PyTorch maps coordinates with it, not with sizes
    scale: tuple[float, float] | None

    @property
    def x_shape(self) -> tuple[int, ...]:
        return (self.batch, self.channels, *self.in_size)

    @property
    def y_shape(self) -> tuple[int, ...]:
        return (self.batch, self.channels, *self.out_size)

    def taps(self, dim: int, dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """``lo, hi, frac`` of each output row: ``y = (1 - frac) * x[lo] + frac * x[hi]`` (nearest: frac 0).

        Positions are rounded as PyTorch rounds them for images of ``dtype``, or a factor like 3.7 would read
        another pixel at exact multiples: its float32 kernels keep the ratio and the position in float32, and
        those for float64 still take the pixel from a position in float32.
        """
        i, o, place = self.in_size[dim], self.out_size[dim], np.arange(self.out_size[dim])
        dtype, few = np.dtype(dtype), sum(self.out_size) <= 128  # PyTorch has another kernel for few pixels
        if o == i and (few or self.mode == "bilinear"):
            return place, place, np.zeros(o, dtype)
        if self.mode == "nearest":
            if few and o == 2 * i:
                return place // 2, place // 2, np.zeros(o, dtype)
            position = (place * self._ratio(dim, np.dtype("float32") if few else dtype)).astype(np.float32)
            lo = np.minimum(position.astype(np.int64), i - 1)
            return lo, lo, np.zeros(o, dtype)
        if self.align_corners:
            position = place * (float(dtype.type(i - 1) / dtype.type(o - 1)) if o > 1 else 0.0)
        else:
            position = np.maximum((place + 0.5) * self._ratio(dim, dtype) - 0.5, 0)
        position = position.astype(dtype)
        lo = np.minimum(position.astype(np.float32).astype(np.int64), i - 1)
        return lo, np.minimum(lo + 1, i - 1), np.clip(position - lo.astype(dtype), 0, 1)

    def _ratio(self, dim: int, dtype: np.dtype) -> float:
        """Input rows per output row, rounded to ``dtype``."""
        real = dtype.type
        return float(
            real(1.0 / self.scale[dim]) if self.scale else real(self.in_size[dim]) / real(self.out_size[dim])
        )


def interpolate_spec(x_shape, size, scale_factor, mode, align_corners) -> InterpolateSpec:
    """Validate an ``interpolate`` call."""
    name = "interpolate"
    check_rank(name, "input", x_shape, 4, "N x C x H x W")
    one_of(name, "mode", mode, ("nearest", "bilinear"))
    check(
        not (align_corners and mode == "nearest"),
        name,
        "align_corners applies to mode 'bilinear' only, got 'nearest'",
    )
    check((size is None) != (scale_factor is None), name, "give either size or scale_factor")
    check(min(x_shape[1:]) > 0, name, f"input must not be empty, got {shape_str(x_shape)}")
    scale = None
    if size is None:
        scale = tuple(scale_factor) if isinstance(scale_factor, (tuple, list)) else (scale_factor,) * 2
        check(len(scale) == 2, name, f"scale_factor must be a number or 2 numbers, got {scale_factor!r:.60}")
        scale = tuple(number(name, "scale_factor", s) for s in scale)
        good = all(0 < s < LIMIT for s in scale)
        check(good, name, f"scale_factor must be positive and below 2^40, got {scale_factor!r:.60}")
        size = tuple(int(i * s) for i, s in zip(x_shape[2:], scale))
    size = int_tuple(name, "size", size, 2, 1)
    check_count(name, "the output", (*x_shape[:2], *size))
    return InterpolateSpec(x_shape[0], x_shape[1], tuple(x_shape[2:]), size, mode, bool(align_corners), scale)


def pad_pairs(shape, pad, mode: str) -> tuple[tuple[int, int], ...]:
    """``F.pad``'s flat list (last dimension first) as one ``(before, after)`` pair per axis; negative
    crops."""
    name = "pad"
    pad = int_tuple(name, "pad", pad, len(pad), -LIMIT) if len(pad) > 1 else tuple(pad)
    check(
        len(pad) % 2 == 0 and len(pad) // 2 <= len(shape),
        name,
        f"pad must hold 2 numbers for each of at most {len(shape)} dimensions, got {pad}",
    )
    one_of(name, "mode", mode, ("constant", "reflect", "replicate", "circular"))
    pairs = [(0, 0)] * len(shape)
    for j in range(len(pad) // 2):
        pairs[len(shape) - 1 - j] = pad[2 * j : 2 * j + 2]
    limit = {"reflect": lambda s: s - 1, "circular": lambda s: s}
    for s, (before, after) in zip(shape, pairs):
        check(
            s + before + after > 0 or s == 0,
            name,
            f"padding {pad} would leave nothing of input {shape_str(shape)}",
        )
        if mode in limit:
            check(
                max(before, after) <= limit[mode](s) or before == after == 0,
                name,
                f"{mode} padding {pad} must be at most {limit[mode](s)} for an extent of {s} "
                f"(input {shape_str(shape)})",
            )
    check_count(name, "the output", [s + before + after for s, (before, after) in zip(shape, pairs)])
    return tuple(pairs)


def receptive_field(layers) -> list[int]:
    """Extent of the input that one output position sees after each of ``layers``, pairs ``(kernel, stride)``.

    ``R_j = R_(j-1) + (kernel_j - 1) * stride_1 * ... * stride_(j-1)``, starting from ``R_0 = 1``.
    """
    field, jump, found = 1, 1, []
    for kernel, stride in layers:
        field += (kernel - 1) * jump
        jump *= stride
        found.append(field)
    return found


def broadcast_shape(name: str, a, b) -> tuple[int, ...]:
    """NumPy broadcasting of two shapes, or a ValueError that names both."""
    out = []
    n = max(len(a), len(b))
    for p, q in zip((1,) * (n - len(a)) + tuple(a), (1,) * (n - len(b)) + tuple(b)):
        check(p == q or p == 1 or q == 1, name, f"shapes {shape_str(a)} and {shape_str(b)} do not broadcast")
        out.append(q if p == 1 else p)
    return tuple(out)


def is_basic(key) -> bool:
    """Whether ``x[key]`` is a view, with every element once: the key is of integers, slices, None and
    Ellipsis."""
    kinds = (Integral, slice, type(None), type(...))
    return all(
        isinstance(k, kinds) and not isinstance(k, bool) for k in (key if isinstance(key, tuple) else (key,))
    )


def contiguous_strides(shape) -> tuple[int, ...]:
    """Elements between neighbours along each axis, where the last axis runs fastest."""
    strides, step = [], 1
    for extent in reversed(shape):
        strides.append(step)
        step *= max(extent, 1)
    return tuple(reversed(strides))


def reshaped_strides(shape, strides, new_shape) -> tuple[int, ...] | None:
    """The strides of the same memory under ``new_shape``, None where elements would have to move.

    Neighbouring axes that lie one inside the other are one run of elements; new axes must divide such runs.
    """
    if 0 in shape:
        return contiguous_strides(new_shape)
    runs: list[tuple[int, int]] = []  # (elements, stride of the last one)
    for extent, stride in zip(shape, strides):
        if extent == 1:
            continue
        if runs and runs[-1][1] == extent * stride:
            runs[-1] = runs[-1][0] * extent, stride
        else:
            runs.append((extent, stride))
    found, left, step = [], 1, 1
    for extent in reversed(new_shape):
        if extent == 1:
            found.append(step)
            continue
        if left == 1:
            left, step = runs.pop()
        if left % extent:
            return None
        found.append(step)
        left, step = left // extent, step * extent
    return tuple(reversed(found))
