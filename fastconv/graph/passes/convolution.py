"""The arguments of ``conv_fwd`` by name, as passes read and change them."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...spec import ConvSpec
from ..program import Call, Value


class Convolution(NamedTuple):
    """The arguments of a call of ``conv_fwd``, in the contract's order."""

    x: Value
    weight: Value
    bias: Value | None
    spec: ConvSpec
    algorithm: str | None = None
    residual: Value | None = None
    activation: Any = None

    @staticmethod
    def of(call: Call | None) -> Convolution | None:
        """The arguments of ``call`` if it is a convolution."""
        return Convolution(*call.args) if call is not None and call.op == "conv_fwd" else None

    def call(self, result: Value) -> Call:
        """The call with these arguments."""
        return Call("conv_fwd", self, result)

    @property
    def constant(self) -> bool:
        """Whether weight and bias are constants."""
        return self.weight.constant is not None and (self.bias is None or self.bias.constant is not None)


def constant_layer(call: Call | None) -> Convolution | None:
    """``call`` if it is a convolution with constant weights, by no certain algorithm, of one dtype."""
    conv = Convolution.of(call)
    plain = (
        conv is not None and conv.constant and conv.algorithm is None and conv.x.dtype == conv.weight.dtype
    )
    return conv if plain else None


def pointwise_layer(call: Call | None) -> Convolution | None:
    """``call`` if it is such a convolution of 1x1, without stride, padding and groups."""
    conv = constant_layer(call)
    if conv is None:
        return None
    s = conv.spec
    plain = s.groups == 1 and {*s.kernel, *s.stride} == {1} and not any(map(any, s.padding))
    return conv if plain else None
