"""The contract between the layers above and the engines below.

An engine is a module (``numpy``, ``cpu``, ``cuda``) with a function for every method of :class:`Engine`, with
the same name, parameters and defaults. It may also have the functions of :class:`OptionalOps`. Its functions
take raw arrays, specs and numbers, never a Tensor. Every engine keeps these rules:

* Arrays have the logical shape ``N, C, [D,] [H,] W``. Arguments may have any strides: read-only, sliced and
  transposed arrays are all valid. Results of rank 3 to 5 with channels may be channels-last in memory.
* Arguments are valid, because the callers and ``fastconv/spec`` have checked them. An engine does not write
  to its arguments, except in the ops that say so: ``setitem``, ``index_add``, ``scatter``, ``running_step``,
  ``optimizer_step``, and ``batch_norm_train_fwd`` of the optional ones.
* Floats are float32 or float64. A result has the dtype of the arguments, and sums are accumulated in that
  dtype or a wider one. ``unary_fwd``, ``binary_fwd``, reductions, scans, sorts and the ops that move data
  take every real dtype. Both operands have the same dtype (``dtypes.py`` decides which). If one operand is a
  number, the dtype of the other one can hold it. Sums of bools and integers are int64.
* NaN and infinity propagate as in IEEE arithmetic; ``max`` propagates NaN.
* A batch of extent 0 is valid everywhere.
* The same arguments and the same number of threads give a bit-identical result.

In the docstrings ``gy`` is the gradient of the loss with respect to the result ``y``, and ``gx`` that with
respect to ``x``. ``tests/core/test_contract.py`` compares every engine with these methods.
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
        """One step of an optimizer; writes to ``params`` and ``states``.

        ``name`` is a rule of ``common/optimizers.py``, which has the formulas and the meaning of ``numbers``.
        ``states`` has one list for each array that the rule keeps per parameter. Each list has the length of
        ``params``, and its arrays have the shapes of those in ``params``.
        """


class DeviceEngine(Engine, Protocol):
    """The ``cuda`` engine: its attributes in addition to the ops."""

    Graph: Any  # the class of a training step that is recorded once and replayed
    Upload: Any  # the class that copies batches to the device
    memory: Any  # the pool of device memory
    device: Any  # the stream and synchronisation
    events: Any  # marks on the stream
    pinned: Any  # page-locked memory of the host
    properties: Any  # names and numbers of the devices
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
