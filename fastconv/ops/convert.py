"""The same numbers elsewhere: copies, other types, other devices."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import backends, devices, dtypes
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


def to(x: Variable, target: Any) -> Any:
    """``x`` on a device or in a dtype, whichever ``target`` names."""
    if isinstance(target, str) and target.split(":")[0] in ("cpu", "cuda"):
        target = devices.device(target)
        return x if target == x.device else ToDevice.apply(x, target=target)
    return astype(x, dtypes.parse("to", target, "a device, 'cpu' or 'cuda', or a dtype: "))
