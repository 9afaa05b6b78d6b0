"""The contract between the layers above and the engines below.

An engine is a module (``numpy``, ``cpu``, ``cuda``) with a function for every method of :class:`Engine`, with
the same name, parameters and defaults. It may have those of :class:`OptionalOps` too. It reads raw arrays,
specs and numbers, never a Tensor. Every engine keeps these rules:

* Arrays have the logical shape ``N, C, [D,] [H,] W``. Strides are free on entry: read-only, sliced and
  transposed arrays are all valid. Results of rank 3 to 5 with channels may be channels-last in memory.
* Arguments arrive validated (the callers and ``spec.py`` do that). An engine writes to no argument, except in
  the ops that say so: ``setitem``, ``index_add``, ``scatter``, ``running_step``, ``optimizer_step``.
* Floats are float32 or float64. A result has the dtype of the arguments, and sums are accumulated in that
  dtype or a wider one. ``unary_fwd``, ``binary_fwd``, reductions, scans, sorts and the ops that move data
  take every real dtype: both operands arrive in one dtype (``dtypes.py`` decides which), and a number beside
  an array is one that the array's dtype can hold. Sums of bools and integers are int64.
* NaN and infinity propagate as in IEEE arithmetic; ``max`` propagates NaN.
* A batch of extent 0 is valid everywhere.
* The same arguments and the same number of threads give a bit-identical result.

In the docstrings ``gy`` is the gradient of the loss with respect to the result ``y``, ``gx`` the one with
respect to ``x``. ``tests/core/test_contract.py`` compares every engine with the methods here;
``docs/architecture.md`` describes how to add an op.
"""
# A docstring is the whole body of a method.
# pyright: reportReturnType=false

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Protocol

from ..common.pair_loss import PAIR_LOSSES as PAIR_LOSSES
from ..common.pointwise import BINARY as BINARY
from ..common.pointwise import TERNARY as TERNARY
from ..common.reduce import REDUCTIONS as REDUCTIONS
from ..common.unary import UNARY as UNARY
from ..select import Algorithm
from .array import Array as Array
from .elements import ElementOps
from .layers import LayerOps
from .moving import MovingOps
from .optional import OptionalOps


class Engine(LayerOps, ElementOps, MovingOps, Protocol):
    """The ops that every engine has."""

    CONV_ALGORITHMS: Sequence[Algorithm]  # see select.py

    def optimizer_step(
        self,
        name: str,
        params: Sequence[Array],
        grads: Sequence[Array],
        states: Sequence[Sequence[Array]],
        numbers: Sequence[float],
    ) -> None:
        """One step of an optimizer; writes ``params`` and ``states``.

        ``name`` is a rule of ``common/optimizers.py``, which has the formulas and the meaning of ``numbers``.
        ``states`` are as many lists as the rule keeps arrays per parameter, each equally long and equally
        shaped as ``params``.
        """


class DeviceEngine(Engine, Protocol):
    """The ``cuda`` engine: what it has beside its ops."""

    Graph: Any  # a training step, recorded once and replayed
    Upload: Any  # batches on their way to the device
    memory: Any  # the pool of device memory
    device: Any  # the stream and synchronisation
    dlpack: Any  # arrays of other libraries


def signatures(protocol: type) -> dict[str, inspect.Signature]:
    """The ops of ``protocol`` and of the protocols that it extends: name -> signature, without ``self``."""
    found: dict[str, inspect.Signature] = {}
    for part in reversed(protocol.__mro__):
        for name, function in vars(part).items():
            if inspect.isfunction(function) and not name.startswith("_"):
                whole = inspect.signature(function)
                found[name] = whole.replace(parameters=list(whole.parameters.values())[1:])
    return found


#: Op -> signature, read from :class:`Engine`.
CONTRACT = signatures(Engine)
#: Op -> signature, read from :class:`OptionalOps`.
OPTIONAL = signatures(OptionalOps)
