"""Copies, casts to other dtypes, and moves to other devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastconv import backends, devices, dtypes
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


class ToDevice(Op):
    """The values on another device; the gradient moves back."""

    @staticmethod
    def forward(ctx: Node, x: Any, target: str) -> Any:
        ctx.target = target
        return backends.engine_of(target).asarray(x) if target == "cuda" else ctx.engine.to_host(x)

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
    device, dtype, copied = destination("to", args, kwargs)
    y = x if device is None or device == x.device else ToDevice.apply(x, target=device)
    y = y if dtype is None or dtype == y.dtype else Cast.apply(y, dtype=dtype)
    return Copy.apply(x) if copied and y is x else y


_OPTIONS = ("device", "dtype", "other", "non_blocking", "copy", "memory_format")


def destination(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[devices.device | None, np.dtype[Any] | None, bool]:
    """The device, the dtype and ``copy`` that the arguments of a call of ``to`` mean, in all PyTorch's forms.

    The arguments are a device, a dtype, both, or a tensor, and then ``non_blocking`` and ``copy``.
    ``non_blocking`` has no effect, because a move waits until it is done; ``memory_format`` has none, because
    the engine chooses the strides.
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
    return (
        None if device is None else devices.named(device),
        None if dtype is None else dtypes.parse(name, dtype),
        bool(flags.get("copy", kwargs.get("copy", False))),
    )


def _is_device(value: Any) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return True
    return isinstance(value, str) and value.split(":")[0] in ("cpu", "cuda")
