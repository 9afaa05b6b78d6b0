"""The same numbers elsewhere: copies, other types, other devices."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import backends, devices, dtypes
from fastconv.checks import check
from fastconv.tape import Op
from fastconv.variable import Node, Variable


class Copy(Op):
    """The values in memory of their own."""

    @staticmethod
    def forward(ctx: Node, x: Any) -> Any:
        return ctx.engine.copy(x)

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        return gy


class Cast(Op):
    """The values in another type; the gradient is cast back."""

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
    """``x`` in ``dtype``, or ``x`` itself where it has that type."""
    dtype = dtypes.parse("astype", dtype)
    return x if dtype == x.dtype else Cast.apply(x, dtype=dtype)


def move(x: Variable, target: Any) -> Any:
    """``x`` on device ``target``; 0 is the GPU."""
    where = devices.device("cuda" if target == 0 and not isinstance(target, str) else target)
    return x if where == x.device else ToDevice.apply(x, target=where)


def to(x: Variable, args: tuple[Any, ...], device: Any, dtype: Any, other: Any, copy: bool) -> Any:
    """``x`` on a device and in a dtype, which are given by name, or as ``args`` in one of PyTorch's orders:
    device and dtype, dtype, or a tensor; then the flags ``non_blocking`` and ``copy``."""
    targets = [a for a in args if not isinstance(a, bool)]
    flags = args[len(targets) :]
    check(
        all(isinstance(f, bool) for f in flags) and len(targets) <= 2 and len(flags) <= 2,
        "to",
        f"expected a device, a dtype, both or a tensor, got {args!r:.60}",
        TypeError,
    )
    copy = copy or len(flags) == 2 and flags[1]
    for i, target in enumerate(targets):
        if isinstance(target, Variable):
            other = target
        elif i == 0 and _names_a_device(target):
            device = target
        elif target is not None:
            dtype = dtypes.parse("to", target, "a device, 'cpu' or 'cuda', or a dtype: ")
    if other is not None:
        device, dtype = other.device, other.dtype
    y = x if dtype is None else astype(x, dtypes.parse("to", dtype))
    y = y if device is None else move(y, device)
    return Copy.apply(x) if copy and y is x else y


def _names_a_device(target: Any) -> bool:
    if isinstance(target, str):
        return target.split(":")[0] in ("cpu", "cuda")
    return isinstance(target, int)
