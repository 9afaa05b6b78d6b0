"""The tape: a node per op, gradients by walking the nodes from the newest to the oldest.

An :class:`Op` computes ``forward`` on raw arrays through the backend (``ctx.engine``) and ``backward``
with the same backend's primitives, so every derivative is written once for all backends. Creation order is a
topological order, so :func:`backward` pops nodes from a heap by sequence number: no recursion, any depth.

What the tape knows of a tensor is in ``variable.py``.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import re
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any

import numpy as np

from . import backends, variable
from .errors import name_memory_error, shorten
from .variable import Memory, Node, Variable, View, is_view, owner, update_copies

_enabled: ContextVar[bool] = ContextVar("fastconv_grad", default=True)
_sequence = itertools.count()


def is_grad_enabled() -> bool:
    """Whether ops are recorded in the running thread or task."""
    return _enabled.get()


class no_grad(contextlib.ContextDecorator):  # noqa: N801 - PyTorch's name
    """Context manager and decorator: ops inside are not recorded.

    >>> x = fc.ones(1, requires_grad=True)
    >>> with fc.no_grad():
    ...     print((x * 2).requires_grad)
    False
    """

    def __enter__(self) -> None:
        self._stack = getattr(self, "_stack", [])
        self._stack.append(_enabled.set(False))

    def __exit__(self, *exc: object) -> None:
        _enabled.reset(self._stack.pop())


class Op:
    """Base of every differentiable op.

    Subclasses define two static methods:

    * ``forward(ctx, *args, **options)`` gets raw arrays in place of Tensors and returns an array, or a tuple
      of which only the first entry is differentiable.
    * ``backward(ctx, gy)`` returns one gradient per positional argument (or a single one); None where there
      is none.

    A function whose result is a view of its only argument may define two more:

    * ``written(source, view, **options)`` returns, on the tape, the tensor ``source`` after the part that the
      view looks at has become ``view``. The memory has been written already.
    * ``strides(shape, strides, **options)`` returns the strides of the result where the argument has this
      shape and these strides; None where the result is a copy.

    Attributes
    ----------
    accumulates : bool
        Whether backward adds ``ctx.accumulated``, where that is not None, to its first gradient, in the
        kernel that computes it.
    reshapes : bool
        Whether the result is the argument under another shape. Where it is a copy, PyTorch's may be a view.
    takes_numbers : bool
        Whether a NumPy scalar stays a number beside the arrays; else it becomes a 0-d array.

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
    reshapes: bool = False
    written: Callable[..., Any] | None = None
    takes_numbers: bool = False

    @classmethod
    def apply(cls, *args: Any, **options: Any) -> Any:
        """The op on ``args`` (Tensors, arrays, numbers), recorded if one of them requires a gradient.

        Returns
        -------
        Tensor, or a tuple of Tensors where ``forward`` returns a tuple

        Raises
        ------
        ValueError
            If the tensors are not on one device; and whatever ``forward`` raises.
        """
        record, arrays, parents, tensors, hosts = _enabled.get(), [], [], [], set()
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
        # comparisons and casts to integers have no derivative
        if True in ctx.needs and first.dtype.kind == "f":
            ctx.parents, ctx.order, ctx.result_dtype = parents, next(_sequence), first.dtype
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
        """:meth:`apply`, recorded even under ``no_grad``."""
        token = _enabled.set(True)
        try:
            return cls.apply(*args, **options)
        finally:
            _enabled.reset(token)

    @staticmethod
    def strides(*args: Any, **options: Any) -> tuple[int, ...] | None:
        """See the class; here for functions whose results are no views."""
        return None

    @staticmethod
    def forward(ctx: Any, *args: Any, **options: Any) -> Any:
        """Compute the result from raw arrays."""
        raise NotImplementedError

    @staticmethod
    def backward(ctx: Any, gy: Any) -> Any:
        """Compute the gradients of the arguments from that of the result."""
        raise NotImplementedError


def backward(tensor: Variable, grad: Any, retain_graph: bool = False) -> None:
    """Add ``d tensor / d leaf`` (contracted with the raw array ``grad``) to every leaf's ``.grad``.

    Raises
    ------
    RuntimeError
        If the graph was freed by an earlier call, or a saved tensor was changed in place since.
    """
    if tensor.node is None:
        _accumulate(tensor, grad, {owner(grad): [grad]}, ())
        return
    pending: dict[Any, Any] = {tensor.node: grad}
    heap = [(-tensor.node.order, tensor.node)]
    taken = {owner(grad): [grad]}
    while heap:
        node = heapq.heappop(heap)[1]
        gy = pending.pop(node)
        _check_usable(node)
        if node.function.accumulates:
            node.accumulated = pending.get(node.parents[0])
        try:
            grads = node.function.backward(node, gy)
        except MemoryError as e:
            raise name_memory_error(e, f"backward of {node.function.__name__.lower()}", [gy]) from None
        merged, node.accumulated = node.accumulated is not None, None
        for i, (parent, g) in enumerate(zip(node.parents, grads if isinstance(grads, tuple) else (grads,))):
            if parent is None or g is None:
                continue
            dtype = parent.result_dtype if isinstance(parent, Node) else parent.dtype
            if g.dtype is not dtype and g.dtype != dtype:  # an op on mixed types computed in the common one
                g = node.engine.cast(g, dtype)
            if not isinstance(parent, Node):
                _accumulate(parent, g, taken, node.saved)
            elif parent not in pending:
                pending[parent] = g
                heapq.heappush(heap, (-parent.order, parent))
            elif i == 0 and merged:
                pending[parent] = g
            else:
                pending[parent] = node.engine.binary_fwd("add", pending[parent], g)
        if not retain_graph:
            node.release()


def _check_usable(node: Node) -> None:
    """Refuse a node that was released, or whose saved tensors have changed."""
    name = node.function.__name__
    if node.done:
        raise RuntimeError(
            f"backward: the graph behind this {name} was already freed by an earlier backward(); compute the "
            "forward pass again, or call backward(retain_graph=True) the first time"
        )
    for memory, version in node.checks:
        if memory.version != version:
            raise RuntimeError(
                f"backward: a tensor that {name} needs was changed in place after its use; "
                "assign to a .clone() instead"
            )


def _called(function: type[Op], options: dict[str, Any]) -> str:
    """What messages call an op: by its options, where one class serves several."""
    words = re.sub("(?<=[a-z])(?=[A-Z])", "_", function.__name__).lower().replace("mat_mul", "matmul")
    return options.get("name") or options.get("op", "").removesuffix("_fwd") or words


def _parameter(function: type[Op], i: int) -> str:
    """What messages call argument ``i`` of an op."""
    names = function.forward.__code__.co_varnames[1 : function.forward.__code__.co_argcount]
    layer = (
        {"x": "input", "w": "weight", "b": "bias"}
        if "w" in names
        else {"x": "input", "a": "operand", "b": "operand"}
    )
    return layer.get(names[i], names[i]) if i < len(names) else "operand"


def _checks(saved: tuple[Any, ...], tensors: Iterable[Variable]) -> list[tuple[Memory, int]]:
    """The versions of those ``tensors`` whose memory is in ``saved``, as the same array or under another
    shape."""
    kept = {id(s) for s in saved if hasattr(s, "strides")}
    if kept <= {id(t.array) for t in tensors}:
        return [(t.memory, t.memory.version) for t in tensors if id(t.array) in kept]
    owners = {owner(s) for s in saved if hasattr(s, "strides")}
    return [(t.memory, t.memory.version) for t in tensors if owner(t.array) in owners]


def _accumulate(leaf: Variable, g: Any, taken: dict[int, list[Any]], saved: tuple[Any, ...]) -> None:
    """Add ``g`` to ``leaf.grad``.

    A first gradient is kept without a copy, unless it is read-only or something else may see its memory.
    ``taken`` holds the arrays that others have, by the owner of their memory; ``saved`` is what the node of
    ``g`` kept.
    """
    if leaf.grad is not None:
        leaf.grad = variable.tensor_class(leaf.engine.binary_fwd("add", leaf.grad.array, g))
        return
    host, root = isinstance(g, np.ndarray), owner(g)
    others = taken.setdefault(root, [])
    locked = not g.flags.writeable if host else 0 in g.strides
    if (
        locked
        or any(not host or np.may_share_memory(g, o) for o in others)
        or any(owner(s) == root for s in saved)
    ):
        g = leaf.engine.copy(g)
    else:
        others.append(g)
    leaf.grad = variable.tensor_class(g)
