"""A norm and the pointwise layer behind it as one op, used by ``Sequential``.

::

    layers    Conv2d    BatchNorm2d   ReLU6     Conv2d
                        |-- one op --|

In training the result of the norm alone is never in memory: the engine computes it again where the gradient
needs it. A norm takes part if its class has ``forward_then(x, activation)`` beside ``forward``; a pointwise
layer, if its ``pointwise_op()`` names a row of the table of unary ops and its two numbers. A subclass that
defines ``forward`` itself is called on its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from .. import backends
from ..tensor import Tensor
from .hooks import hooked


@lru_cache(1024)  # every layer of every ``Sequential`` is asked at every call
def _takes_part(kind: Any, method: str) -> bool:
    """Whether the class that defines ``method`` for ``kind`` also says what a call does."""
    owner = next((c for c in kind.__mro__ if method in c.__dict__), None)
    return owner is not None and kind.forward is owner.forward


def _is_plain(module: Any, method: str) -> bool:
    """Whether ``module`` is called as its class says, and that class takes part."""
    return _takes_part(type(module), method) and "forward" not in module.__dict__ and not hooked(module)


def norm_then(modules: Sequence[Any], at: int, x: Any) -> Any:
    """The result of modules ``at`` and ``at + 1`` as one op; None where they must be called on their own."""
    pair = modules[at : at + 2]
    if len(pair) < 2 or not isinstance(x, Tensor) or backends.observer.get() is not None:
        return None
    norm, layer = pair
    if not (_is_plain(norm, "forward_then") and _is_plain(layer, "pointwise_op")) or norm.activation:
        return None
    op = layer.pointwise_op()
    if op is None:
        return None
    if op[0] == "relu":
        return norm.forward_then(x, "relu")
    known = getattr(backends.engine_of(x.device), "BATCH_NORM_ACTIVATIONS", ())
    return norm.forward_then(x, op) if norm.training and op[0] in known else None
