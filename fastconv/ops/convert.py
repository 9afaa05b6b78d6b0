"""Copies, casts to other dtypes, and moves to other devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastconv import backends, devices, dtypes
from fastconv.backends.common import pinned
from fastconv.checks import check
from fastconv.tape import Op
from fastconv.variable import Node, Variable


class Copy(Op):
    """A copy of the values in new memory."""

    @staticmethod
    def forward(ctx: Node, x: Any) -> Any:
        return ctx.engine.copy(x)

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        return gy


class Cast(Op):
    """The values in another dtype; the gradient is cast back."""

    @staticmethod
    def forward(ctx: Node, x: Any, dtype: np.dtype[Any]) -> Any:
        ctx.dtype = x.dtype
        return ctx.engine.cast(x, dtype)

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        return ctx.engine.cast(gy, ctx.dtype)


class Pin(Op):
    """A copy in page-locked memory."""

    @staticmethod
    def forward(ctx: Node, x: Any) -> Any:
        return backends.load("cuda").pinned.copy(x)

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        return gy


class ToDevice(Op):
    """The values on another device; the gradient moves back."""

    @staticmethod
    def forward(ctx: Node, x: Any, target: str, non_blocking: bool = False) -> Any:
        ctx.target = target
        if target != "cuda":
            return ctx.engine.to_host(x)
        if non_blocking and pinned.owner(x) is not None:
            return backends.load("cuda").memory.from_host(x, non_blocking=True)
        return backends.engine_of(target).asarray(x)

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        cuda = backends.load("cuda")
        return cuda.to_host(gy) if ctx.target == "cuda" else cuda.asarray(gy)


def astype(x: Variable, dtype: Any) -> Any:
    """``x`` cast to ``dtype``; ``x`` itself if it has that dtype."""
    dtype = dtypes.parse("astype", dtype)
    return x if dtype == x.dtype else Cast.apply(x, dtype=dtype)


def to(x: Variable, *args: Any, **kwargs: Any) -> Any:
    """``x`` on the device and in the dtype that the arguments name.

    The result is ``x`` itself if both are the same, unless ``copy`` is True.
    """
    device, dtype, copied, non_blocking = destination("to", args, kwargs)
    moves = device is not None and device != x.device
    y = ToDevice.apply(x, target=device, non_blocking=non_blocking) if moves else x
    y = y if dtype is None or dtype == y.dtype else Cast.apply(y, dtype=dtype)
    return Copy.apply(x) if copied and y is x else y


def is_pinned(x: Variable) -> bool:
    """Whether ``x`` lies in page-locked memory of the host."""
    return x.device == "cpu" and pinned.owner(x.array) is not None


def pin_memory(x: Variable) -> Any:
    """``x`` in page-locked memory of the host; ``x`` itself if it is there."""
    check(
        x.device == "cpu",
        "pin_memory",
        "the tensor is on the GPU; only memory of the host can be page-locked",
    )
    return x if is_pinned(x) else Pin.apply(x)


class Destination(NamedTuple):
    """What the arguments of a call of ``to`` mean; None: as it is."""

    device: devices.device | None
    dtype: np.dtype[Any] | None
    copy: bool
    non_blocking: bool


_OPTIONS = ("device", "dtype", "other", "non_blocking", "copy", "memory_format")


def destination(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Destination:
    """What the arguments of a call of ``to`` mean, in all PyTorch's forms.

    The arguments are a device, a dtype, both, or a tensor, and then ``non_blocking`` and ``copy``.
    ``memory_format`` has no effect, because the engine chooses the strides.
    """
    unknown = [k for k in kwargs if k not in _OPTIONS]
    check(not unknown, name, f"got an unexpected argument {', '.join(map(repr, unknown))}", TypeError)
    device, dtype = kwargs.get("device"), kwargs.get("dtype")
    rest, other = list(args), kwargs.get("other")
    if rest and isinstance(rest[0], Variable):
        other = rest.pop(0)
    elif rest and (rest[0] is None or _is_device(rest[0])):
        device = rest.pop(0)
        if rest and not isinstance(rest[0], bool):
            dtype = rest.pop(0)
    elif rest:
        dtype = dtypes.parse(name, rest.pop(0), "a device, 'cpu' or 'cuda', or a dtype: ")
    flags = dict(zip(("non_blocking", "copy", "memory_format"), rest))
    check(
        len(rest) <= 3 and all(isinstance(f, (bool, np.bool_)) for f in rest[:2]),
        name,
        f"expected a device, a dtype, both or a tensor, then non_blocking and copy, got {tuple(args)!r:.60}",
        TypeError,
    )
    if other is not None:
        device, dtype = other.device, other.dtype
    copy, non_blocking = (bool(flags.get(n, kwargs.get(n, False))) for n in ("copy", "non_blocking"))
    return Destination(
        None if device is None else devices.named(device),
        None if dtype is None else dtypes.parse(name, dtype),
        copy,
        non_blocking,
    )


def _is_device(value: Any) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return True
    return isinstance(value, str) and value.split(":")[0] in ("cpu", "cuda")
