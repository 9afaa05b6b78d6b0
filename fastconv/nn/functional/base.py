"""Helpers of several functions: inputs without a batch axis, and one definition for 1-D, 2-D and 3-D."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from fastconv.checks import check_call
from fastconv.creation import argument
from fastconv.errors import shorten
from fastconv.tape import Op
from fastconv.typing import TensorLike

P = ParamSpec("P")
R = TypeVar("R")


def batched(
    name: str, ndim: int, run: Callable[..., Any], x: TensorLike, /, *args: Any, **options: Any
) -> Any:
    """``run(x, ...)``, where ``x`` may have no batch axis.

    An input of ``ndim`` dimensions is a single example. It gets a batch axis for the call, which is removed
    from the results.
    """
    x = argument(name, "input", x)
    if x.ndim != ndim:
        return run(x, *args, **options)
    out = run(x.unsqueeze(0), *args, **options)
    return tuple(o.squeeze(0) for o in out) if isinstance(out, tuple) else out.squeeze(0)


def named(name: str, function: Callable[Concatenate[str, P], R]) -> Callable[P, R]:
    """A public function called ``name`` that calls ``function(name, ...)``.

    One definition thus serves ``conv1d``, ``conv2d`` and ``conv3d``, and messages use the public name.
    """
    signature = inspect.signature(function)
    signature = signature.replace(parameters=list(signature.parameters.values())[1:])

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(name, *args, **kwargs)
        except Exception as e:
            if isinstance(e, TypeError):
                check_call(name, signature, args, kwargs)
            shorten(e)
            raise

    call.__signature__ = signature  # type: ignore[attr-defined]
    call.__name__ = call.__qualname__ = name
    return call


class SpatialMap(Op):
    """A linear op that a spec describes; its derivative is the adjoint op with the same spec."""

    @staticmethod
    def forward(ctx, x, op, adjoint, spec):
        ctx.adjoint, ctx.spec = adjoint, spec
        return getattr(ctx.engine, op)(x, spec)

    @staticmethod
    def backward(ctx, gy):
        return getattr(ctx.engine, ctx.adjoint)(gy, ctx.spec)
