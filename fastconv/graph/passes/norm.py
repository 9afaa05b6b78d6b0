"""The arguments of ``batch_norm_fwd`` by name, as passes read and change them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..program import Call, Value


class Norm(NamedTuple):
    """The arguments of a call of ``batch_norm_fwd``, in the contract's order."""

    x: Value
    mean: Value
    invstd: Value
    weight: Value | None
    bias: Value | None
    residual: Value | None = None
    activation: str | None = None

    @staticmethod
    def of(call: Call | None) -> Norm | None:
        """The arguments of ``call`` if it is a BatchNorm."""
        return Norm(*call.args) if call is not None and call.op == "batch_norm_fwd" else None

    def call(self, result: Value) -> Call:
        """The call with these arguments."""
        return Call("batch_norm_fwd", self, result)

    @property
    def vectors(self) -> tuple[Value | None, ...]:
        """What the scale and the shift of each channel are computed from."""
        return self.mean, self.invstd, self.weight, self.bias

    @property
    def constant(self) -> bool:
        """Whether scale and shift are constants."""
        return all(v is None or v.constant is not None for v in self.vectors)

    @property
    def alone(self) -> bool:
        """Whether the call computes nothing more than scale and shift."""
        return self.residual is None and self.activation is None

    def scale_and_shift(self, engine: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """``scale, shift`` of constant vectors in float64: the norm is ``x * scale + shift``."""
        mean, scale = host(engine, self.mean), host(engine, self.invstd)
        if self.weight is not None:
            scale = scale * host(engine, self.weight)
        shift = -mean * scale
        return scale, shift if self.bias is None else shift + host(engine, self.bias)


def host(engine: Any, v: Value) -> np.ndarray[Any, Any]:
    """The numbers of a constant in float64."""
    return engine.to_host(v.constant).astype(np.float64)


def constant(engine: Any, numbers: np.ndarray[Any, Any], like: Value) -> Value:
    """A constant with these numbers, of the dtype of ``like``."""
    return Value.of(engine.asarray(numbers.astype(like.dtype)))
