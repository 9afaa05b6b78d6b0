"""Layers that are computed as one op: runs of layers that an engine merges (``backends.OPTIONAL``), for
:class:`Sequential`, and the base of those that are merged for inference."""

from __future__ import annotations

from bisect import bisect_right
from math import prod

from .. import backends
from ..autograd import Function
from ..backends.select import forced
from ..spec import conv_spec, pool_spec
from ..tensor import Tensor
from . import layers
from .modules import Module


class Merged(Module):
    """``layers`` that are called one after the other, as one op. It reads their tensors and options and owns
    none."""

    __setattr__ = object.__setattr__  # what it keeps is worked out from the layers, and no change of a net
    _buffers: dict = {}
    _modules: dict = {}

    def __init__(self, layers: tuple[Module, ...]):
        self.layers = layers

    def __getstate__(self):
        return {"layers": self.layers}

    def __setstate__(self, state):
        self.__init__(**state)

    @property
    def _parameters(self):
        return {f"{i}.{name}": p for i, m in enumerate(self.layers) for name, p in m._parameters.items()}

    def plain(self, x, *more):
        """What the layers compute on their own; ``more``: further arguments of the last one."""
        *before, last = self.layers
        for m in before:
            x = type(m).forward(m, x)
        return type(last).forward(last, x, *more)


# ------------------------------------------------------------------------------------------------- layers as
# steps
def _conv(m, shape):
    if forced(m.algorithm):
        raise ValueError("another algorithm is wanted")
    bias = None if m.bias is None else m.bias.shape
    spec = conv_spec("conv2d", shape, m.weight.shape, m.stride, m.padding, m.dilation, m.groups, bias)
    return [("conv", spec)], spec.y_shape


def _linear(m, shape):
    rows, features = shape
    bias = None if m.bias is None else m.bias.shape
    spec = conv_spec("conv2d", (rows, features, 1, 1), (*m.weight.shape, 1, 1), bias_shape=bias)
    return [("linear", spec)], spec.y_shape[:2]


def _pool(kind):
    def pool(m, shape):
        average = (True, None) if kind == "max_pool" else (m.count_include_pad, m.divisor_override)
        dilation = m.dilation if kind == "max_pool" else 1
        spec = pool_spec(
            f"{kind}2d", shape, m.kernel_size, m.stride, m.padding, dilation, m.ceil_mode, *average
        )
        if getattr(m, "return_indices", False):
            raise ValueError("two results")
        return [(kind, spec)], spec.y_shape

    return pool


def _flatten(m, shape):
    if (m.start_dim, m.end_dim) != (1, -1):
        raise ValueError("other axes")
    return [("flatten", None)], (shape[0], prod(shape[1:]))


def _activation(kind):
    return lambda m, shape: ([(kind, None)], shape)


#: Exact class of a layer, or of the ``forward`` that it was given -> ``(layer, shape of its input) -> (its
#: steps, shape of its result)``; ValueError where it has none.
STEPS = {
    layers.Conv2d: _conv,
    layers.Linear: _linear,
    layers.Flatten: _flatten,
    layers.AvgPool2d: _pool("avg_pool"),
    layers.MaxPool2d: _pool("max_pool"),
    layers.ReLU: _activation("relu"),
    layers.Sigmoid: _activation("sigmoid"),
    layers.Tanh: _activation("tanh"),
    layers.Identity: lambda m, shape: ([], shape),
}


def _steps(modules, x):
    """The steps of the leading modules that have such, and for each of these modules the number of steps up
    to its end."""
    steps, ends, shape, dtype, device = [], [], x.shape, x.dtype, x.device
    for m in modules:
        make = STEPS.get(type(m.__dict__.get("forward", m)))
        if make is None:
            break
        if any(
            p is not None and (p.dtype != dtype or p.device != device)
            for p in (*m._parameters.values(), *m._buffers.values())
        ):
            break
        try:
            found, shape = make(m, shape)
        except (ValueError, TypeError):  # the layer itself will raise what is to be raised
            break
        steps += found
        ends.append(len(steps))
    return tuple(steps), ends


class FusedChain(Function):
    """``x`` and then the weight and bias of every layer that has them, in order."""

    @staticmethod
    def forward(ctx, x, *params, plan):
        ctx.plan = plan
        weights, biases = params[::2], params[1::2]
        y, ctx.blocks = ctx.engine.fused_chain_fwd(plan, x, weights, biases, any(ctx.needs))
        # What single layers would keep, so that a change in place between forward and backward is noticed as
        # it is there.
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


def run(modules, x):
    """Call ``modules`` one after the other, merging runs of them where the engine knows how to."""
    at, apart = 0, 0  # modules before `apart` are called on their own
    while at < len(modules):
        if at >= apart and isinstance(x, Tensor) and x.ndim == 4 and backends.observer.get() is None:
            engine = backends.engine_of(x.device)
            steps, ends = _steps(modules[at:], x) if hasattr(engine, "fused_chain_plan") else ((), [])
            plan = engine.fused_chain_plan(steps, x.dtype) if len(steps) > 1 else None
            if plan:
                end = at + bisect_right(ends, plan.count)
                params = [p for m in modules[at:end] if hasattr(m, "weight") for p in (m.weight, m.bias)]
                x, at = FusedChain.apply(x, *params, plan=plan), end
                continue
            apart = at + max(len(ends), 1)
        x = modules[at](x)
        at += 1
    return x
