"""Chains of small layers that an engine computes as one op, used by ``Sequential``.

A layer can be part of a chain if its class defines ``fusion_steps(shape)``, which describes the layer in the
form that the engines' optional op ``fused_chain_plan`` reads. The engine then decides how many of the leading
steps are faster as one op than layer by layer::

    layers    Conv2d    ReLU    MaxPool2d   Conv2d   Sigmoid   BatchNorm2d   Linear
    steps     conv      relu    max_pool    conv     sigmoid   (none)        linear
              |------------ one fused chain ---------------|   on its own    ...

This file does not depend on the classes of layers. A subclass inherits ``fusion_steps``, but only instances
of the class whose body defines it can be fused, because a subclass may compute something else.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

from .. import backends
from ..tape import Op
from ..tensor import Tensor
from .hooks import hooked
from .norm_then import norm_then

#: A tuple of three: the steps of a layer, each a pair of a kind and its spec (or None); the shape of the
#: result; and the weight and bias (or None) of every step that has a weight.
FusionSteps: TypeAlias = tuple[list[tuple[str, Any]], tuple[int, ...], tuple["Tensor | None", ...]]


class Fusible(Protocol):
    """A layer that can be part of a fused chain."""

    def fusion_steps(self, shape: tuple[int, ...]) -> FusionSteps | None:
        """The steps on an input of ``shape``.

        If the result is None, or a ValueError or TypeError is raised, the layer is called on its own. The
        layer then raises the error again, under its own name.
        """
        ...


def _steps(modules: Sequence[Any], x: Tensor) -> tuple[tuple, list[int], list[list[Tensor | None]]]:
    """The steps of the leading modules that can be fused.

    The second result is, for each module, the number of steps up to its end; the third is its parameters.
    """
    steps, ends, params = [], [], []
    shape, dtype, device = x.shape, x.dtype, x.device
    for m in modules:
        if "fusion_steps" not in type(m).__dict__ or "forward" in m.__dict__ or hooked(m):
            break
        try:
            found = m.fusion_steps(shape)
        except (ValueError, TypeError):
            break
        if found is None or any(p is not None and (p.dtype != dtype or p.device != device) for p in found[2]):
            break
        own, shape, own_params = found
        steps += own
        ends.append(len(steps))
        params.append(own_params)
    return tuple(steps), ends, params


class FusedChain(Op):
    """A fused chain as one op: its inputs are ``x`` and the weight and bias of every layer that has them."""

    @staticmethod
    def forward(ctx, x, *params, plan):
        ctx.plan = plan
        weights, biases = params[::2], params[1::2]
        y, ctx.blocks = ctx.engine.fused_chain_fwd(plan, x, weights, biases, any(ctx.needs))
        # Save what the single layers would save, so that autograd refuses the same in-place changes between
        # forward and backward.
        before = [any(ctx.needs[: 1 + 2 * i]) for i in range(len(weights))]
        ctx.save(x if ctx.needs[1] else None, *(w if needed else None for w, needed in zip(weights, before)))
        return y

    @staticmethod
    def backward(ctx, gy):
        needs = ctx.needs
        gx, gw, gb = ctx.engine.fused_chain_bwd(
            ctx.plan, gy, ctx.blocks, ctx.saved[1:], needs[0], needs[1::2], needs[2::2]
        )
        return (gx, *(g for pair in zip(gw, gb) for g in pair))


def run(modules: Sequence[Any], x: Any) -> Any:
    """Call ``modules`` one after the other; consecutive ones run as a fused chain if the engine has a plan,
    and a norm together with the pointwise layer behind it.

    Parameters
    ----------
    modules : sequence of Module
    x : Tensor or whatever the first module takes
        A chain starts from a Tensor of 4 dimensions. No chain is formed while an observer (``summary``,
        ``profile``) is active, because it needs the ops of each layer.

    Returns
    -------
    The result of the last module.
    """
    at, apart = 0, 0  # modules before `apart` are called on their own
    while at < len(modules):
        if at >= apart and isinstance(x, Tensor) and x.ndim == 4 and backends.observer.get() is None:
            engine: Any = backends.engine_of(x.device)
            fusible = hasattr(engine, "fused_chain_plan")
            steps, ends, params = _steps(modules[at:], x) if fusible else ((), [], [])
            plan = engine.fused_chain_plan(steps, x.dtype) if len(steps) > 1 else None
            if plan:
                count = bisect_right(ends, plan.count)
                x = FusedChain.apply(x, *[p for own in params[:count] for p in own], plan=plan)
                at += count
                continue
            apart = at + max(len(ends), 1)
        joined = norm_then(modules, at, x)
        x = modules[at](x) if joined is None else joined
        at += 1 if joined is None else 2
    return x
