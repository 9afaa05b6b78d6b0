"""The base of every differentiable op, and how it is recorded: a node per op.

An :class:`Op` computes ``forward`` on raw arrays through the backend (``ctx.engine``) and ``backward``
with the same backend's primitives, so every derivative is written once for all backends.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from fastconv import backends, variable
from fastconv.errors import name_memory_error, shorten
from fastconv.variable import Memory, Node, Variable, View, is_view, owner, update_copies

from .mode import enable_grad, is_grad_enabled

_sequence = itertools.count()


def number(node: Node) -> None:
    """Give ``node`` its place on the tape, after all nodes that exist."""
    node.order = next(_sequence)


class Op:
    """Base of every differentiable op.

    Subclasses define two static methods:

    * ``forward(ctx, *args, **options)`` gets raw arrays in place of Tensors and returns an array, or a tuple
      of which only the first entry is differentiable.
    * ``backward(ctx, gy)`` returns one gradient per positional argument (or a single one); None where there
      is none.

    An op whose result is a view of its only argument may define two more:

    * ``written(source, view, **options)`` is called after ``view`` was changed in place; the memory holds the
      new values already. It returns a recorded tensor: ``source`` with its part under the view replaced by
      ``view``.
    * ``strides(shape, strides, **options)`` returns the strides of the result for an argument of this shape
      and these strides, or None if the result is a copy.

    Attributes
    ----------
    accumulates : bool
        Whether ``backward`` adds ``ctx.accumulated``, unless it is None, to the gradient of the first
        argument, in the kernel that computes this gradient. ``ctx.accumulated`` is the sum of the gradients
        that the walk has found for this argument so far.
    offers : int or None
        The argument whose gradient ``backward`` may put in ``ctx.offered``, a 1-D array of as many elements,
        unless that is None.
    reshapes : bool
        Whether the result holds the elements of the argument in another shape. The result may be a copy where
        PyTorch has a view, or the reverse; :func:`fastconv.variable.share_as_pytorch` handles these cases.
    takes_numbers : bool
        Whether ``forward`` gets a NumPy scalar as a Python number; else it gets a 0-d array.
    lends : bool
        Whether other code may keep a reference to the gradients that ``backward`` returns. A leaf then keeps
        a copy of its gradient.

    Examples
    --------
    >>> from fastconv.tape import Op
    >>> class Twice(Op):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         return ctx.engine.binary_fwd("mul", x, 2.0)
    ...
    ...     @staticmethod
    ...     def backward(ctx, gy):
    ...         return ctx.engine.binary_fwd("mul", gy, 2.0)
    >>> Twice.apply(fc.tensor([1.0, 2.0]))
    tensor([2., 4.])
    """

    accumulates: bool = False
    offers: int | None = None
    reshapes: bool = False
    written: Callable[..., Any] | None = None
    takes_numbers: bool = False
    lends: bool = False

    @classmethod
    def apply(cls, *args: Any, **options: Any) -> Any:
        """Apply the op to ``args`` (Tensors, arrays or numbers) and return the result.

        The call is recorded if one of ``args`` requires a gradient and recording is enabled.

        Returns
        -------
        Tensor, or a tuple of Tensors where ``forward`` returns a tuple

        Raises
        ------
        ValueError
            If the tensors are not on one device. ``forward`` may raise other errors.
        """
        record, arrays, parents, tensors, hosts = is_grad_enabled(), [], [], [], set()
        for a in args:
            if isinstance(a, np.generic) and cls.takes_numbers:
                a = a.item()
            elif isinstance(a, (np.ndarray, np.generic)):
                a = variable.argument(_called(cls, options), _parameter(cls, len(arrays)), a)
            parent = None
            if isinstance(a, Variable):
                if a.view_of is not None:
                    update_copies(a)
                tensors.append(a)
                if record and a.requires_grad:
                    parent = a.node or a
                a = a.array
                hosts.add(isinstance(a, np.ndarray))
            arrays.append(a)
            parents.append(parent)
        if len(hosts) > 1:
            device, other = dict.fromkeys(t.device for t in tensors)
            raise ValueError(
                f"{cls.__name__.lower()}: tensors must be on one device, got {device} and {other}; "
                f"move one of them, e.g. with .to({str(other)!r})"
            )
        engine = backends.engine_of("cuda" if False in hosts else "cpu")
        ctx = Node(cls, engine, tuple([p is not None for p in parents]))
        try:
            out = cls.forward(ctx, *arrays, **options)
        except MemoryError as e:
            raise name_memory_error(e, _called(cls, options), arrays) from None
        except Exception as e:
            shorten(e)
            raise
        first, *rest = out if isinstance(out, tuple) else (out,)
        result = variable.tensor_class(first)
        first = result.array
        # results that are not floats (comparisons, casts to integers) have no derivative
        if True in ctx.needs and first.dtype.kind == "f":
            ctx.parents, ctx.result_dtype = parents, first.dtype
            number(ctx)
            if ctx.saved:
                ctx.checks = _checks(ctx.saved, (*tensors, result))
            result.tracked, result.node = True, ctx
        if cls.reshapes:
            variable.share_as_pytorch(result, tensors[0], cls, options, engine, record)
        else:
            for t in tensors:  # a view shares its source's version, so that a later assignment is noticed
                if first is t.array or is_view(first, t.array):
                    followed = record and cls.written is not None
                    result.memory = t.memory
                    result.view_of = View(t, cls, options, t.memory.recorded, followed)
        return (result, *map(variable.tensor_class, rest)) if rest else result

    @classmethod
    def record(cls, *args: Any, **options: Any) -> Any:
        """:meth:`apply`, recorded even within ``no_grad``."""
        with enable_grad():
            return cls.apply(*args, **options)

    @staticmethod
    def strides(*args: Any, **options: Any) -> tuple[int, ...] | None:
        """See the class. This default is for ops whose result is not a view."""
        return None

    @staticmethod
    def forward(ctx: Any, *args: Any, **options: Any) -> Any:
        """Compute the result from raw arrays."""
        raise NotImplementedError

    @staticmethod
    def backward(ctx: Any, gy: Any) -> Any:
        """Compute the gradients of the arguments from that of the result."""
        raise NotImplementedError


def _called(function: type[Op], options: dict[str, Any]) -> str:
    """The name of an op in messages. Where one class serves several ops, it is in the options."""
    words = re.sub("(?<=[a-z])(?=[A-Z])", "_", function.__name__).lower().replace("mat_mul", "matmul")
    return options.get("name") or options.get("op", "").removesuffix("_fwd") or words


def _parameter(function: type[Op], i: int) -> str:
    """The name of argument ``i`` of an op in messages."""
    names = function.forward.__code__.co_varnames[1 : function.forward.__code__.co_argcount]
    layer = (
        {"x": "input", "w": "weight", "b": "bias"}
        if "w" in names
        else {"x": "input", "a": "operand", "b": "operand"}
    )
    return layer.get(names[i], names[i]) if i < len(names) else "operand"


def _checks(saved: tuple[Any, ...], tensors: Iterable[Variable]) -> list[tuple[Memory, int]]:
    """The memory and its version for each of ``tensors`` that ``saved`` holds as an array or a view of it."""
    kept = {id(s) for s in saved if hasattr(s, "strides")}
    if kept <= {id(t.array) for t in tensors}:
        return [(t.memory, t.memory.version) for t in tensors if id(t.array) in kept]
    owners = {owner(s) for s in saved if hasattr(s, "strides")}
    return [(t.memory, t.memory.version) for t in tensors if owner(t.array) in owners]
