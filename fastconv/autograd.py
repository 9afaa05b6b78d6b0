"""The tape: a node per op, gradients by walking the nodes from the newest to the oldest.

A :class:`Function` computes ``forward`` on raw arrays through the backend (``ctx.engine``) and ``backward``
with the same backend's primitives, so every derivative is written once for all backends. Creation order is a
topological order, so :func:`backward` pops nodes from a heap by sequence number: no recursion, any depth.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import re
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np

from . import backends
from .checks import shape_str
from .errors import shorten
from .spec import contiguous_strides

if TYPE_CHECKING:
    from .tensor import Tensor

_enabled: ContextVar[bool] = ContextVar("fastconv_grad", default=True)
_sequence = itertools.count()


def is_grad_enabled() -> bool:
    """Whether ops are recorded in the running thread or task."""
    return _enabled.get()


class no_grad(contextlib.ContextDecorator):
    """Context manager and decorator: ops inside are not recorded."""

    def __enter__(self) -> None:
        self._stack = getattr(self, "_stack", [])
        self._stack.append(_enabled.set(False))

    def __exit__(self, *exc: object) -> None:
        _enabled.reset(self._stack.pop())


class Node:
    """One recorded op, and the ``ctx`` its forward and backward see.

    Attributes
    ----------
    engine : module
        The backend that ran forward; backward uses the same.
    needs : tuple of bool
        Which positional arguments need a gradient.
    result_dtype : numpy.dtype
        Of the result; its gradient has the same.
    saved : tuple
        What forward kept for backward.
    accumulated : array or None
        During backward of a function that ``accumulates``: the gradient its first argument already has.
    """

    __slots__ = (
        "function",
        "engine",
        "needs",
        "saved",
        "parents",
        "order",
        "checks",
        "done",
        "accumulated",
        "result_dtype",
        "__dict__",
    )

    function: type[Function]
    engine: Any
    needs: tuple[bool, ...]
    saved: tuple[Any, ...]
    parents: Sequence[Node | Tensor | None]
    order: int
    checks: Sequence[tuple[list[int], int]]
    done: bool
    accumulated: Any

    def __init__(self, function: type[Function], engine: Any, needs: tuple[bool, ...]):
        self.function, self.engine, self.needs = function, engine, needs
        self.saved, self.parents, self.checks, self.done, self.accumulated = (), (), (), False, None

    if TYPE_CHECKING:  # a function may keep more than arrays: ``ctx.axis = axis``

        def __getattr__(self, name: str) -> Any: ...

        def __setattr__(self, name: str, value: Any) -> None: ...

    def save(self, *values: Any) -> None:
        """Keep arrays (or anything) for backward; read them back from ``ctx.saved``."""
        self.saved = values

    def release(self) -> None:
        """Drop everything backward needed, so its memory is free before the rest of the tape is walked."""
        self.saved = self.parents = self.checks = ()
        self.__dict__.clear()
        self.done = True


class View:
    """How a tensor that looks at another's memory was made: by ``function``, from the tensor ``source``, with
    ``options``.

    A tensor's ``_cell`` is shared by all that look at its memory: the version of the memory, and how many of
    the changes in place are on the tape. A view whose ``seen`` is behind the second has a history that no
    longer holds.

    Attributes
    ----------
    followed : bool
        Whether autograd can follow a change of the view: not where it was made under ``no_grad``.
    version : int or None
        Of a copy that stands for a view, because images lie channels-last in memory and PyTorch's do not: the
        version of the source that it holds. It is brought up to date when it is read, and a change of it is
        written to the source.
    """

    __slots__ = ("source", "function", "options", "seen", "followed", "version")

    def __init__(
        self,
        source: Tensor,
        function: type[Function],
        options: dict[str, Any],
        seen: int,
        followed: bool,
        version: int | None = None,
    ):
        self.source, self.function, self.options, self.seen = source, function, options, seen
        self.followed, self.version = followed, version


def refresh(t: Tensor) -> None:
    """Make a view's history anew, after a change in place of what it is a view of."""
    stale = []
    while (view := t._view) is not None and view.followed and view.seen != t._cell[1]:
        stale.append((t, view))
        t = view.source
    token = _enabled.set(True)
    try:
        for t, view in reversed(stale):
            view.seen = t._cell[1]
            if view.source.requires_grad:
                now = view.function.apply(view.source, **view.options)
                t.requires_grad, t._node = True, now._node
    finally:
        _enabled.reset(token)


def update_copies(t: Tensor) -> None:
    """Bring the memory of ``t`` up to date where it is a copy that stands for a view, or a view of one."""
    stale = []
    while (view := t._view) is not None:
        if view.version is not None and view.version != t._cell[0]:
            stale.append((t, view))
        t = view.source
    for t, view in reversed(stale):
        engine, view.version = t._engine, t._cell[0]
        engine.setitem(t._array, ..., engine.reshape(view.source._array, t.shape))


def detached(view: View | None) -> View | None:
    """The same view of the same memory, outside the tape."""
    if view is None:
        return None
    return View(view.source.detach(), view.function, view.options, view.seen, view.followed, view.version)


def _strides(t: Tensor) -> tuple[int, ...] | None:
    """The strides that ``t`` has in PyTorch, where the last axis of a new tensor runs fastest; None: not
    known."""
    view = t._view
    if view is None:
        return contiguous_strides(t.shape)
    strides = _strides(view.source)
    return None if strides is None else view.function.strides(view.source.shape, strides, **view.options)


class Function:
    """Base of every differentiable op.

    Subclasses define two static methods. ``forward(ctx, *args, **options)`` gets raw arrays in place of
    Tensors and returns an array, or a tuple whose first entry alone is differentiable. ``backward(ctx, gy)``
    returns one gradient per positional argument (or a single one), None where there is none. One that
    ``accumulates`` adds ``ctx.accumulated``, where that is not None, to the first of them, in the kernel that
    computes it.

    A function whose result is a view of its only argument may define ``written(source, view, **options)``:
    the tensor ``source`` after its part that is looked at has become ``view``, on the tape; nothing is to be
    written any more. Such a function also defines ``strides(shape, strides, **options)``: those of its result
    where its argument has these, None where it is a copy.
    """

    accumulates: bool = False
    # the result is the argument under another shape; where it is a copy, PyTorch's may be a view
    reshapes: bool = False
    written: Callable[..., Tensor] | None = None
    # whether a NumPy scalar stays a number beside the arrays; else it is a 0-d array
    takes_numbers: bool = False

    @classmethod
    def apply(cls, *args: Any, **options: Any) -> Any:
        record, arrays, parents, tensors, hosts = _enabled.get(), [], [], [], set()
        for a in args:
            if isinstance(a, np.generic) and cls.takes_numbers:
                a = a.item()
            elif isinstance(a, (np.ndarray, np.generic)):
                a = _tensor.argument(_called(cls, options), _parameter(cls, len(arrays)), a)
            parent = None
            if isinstance(a, _tensor.Tensor):
                if a._view is not None:
                    update_copies(a)
                tensors.append(a)
                if record and a.requires_grad:
                    parent = a._node or a
                a = a._array
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
            raise _with_op(e, _called(cls, options), arrays) from None
        except Exception as e:
            shorten(e)
            raise
        first, *rest = out if isinstance(out, tuple) else (out,)
        result = _tensor.Tensor(first)
        first = result._array
        # comparisons and casts to integers have no derivative
        if True in ctx.needs and first.dtype.kind == "f":
            ctx.parents, ctx.order, ctx.result_dtype = parents, next(_sequence), first.dtype
            if ctx.saved:
                ctx.checks = _checks(ctx.saved, (*tensors, result))
            result._requires_grad, result._node = True, ctx
        if cls.reshapes:
            _share_as_pytorch(result, tensors[0], cls, options, engine, record)
        else:
            for t in tensors:  # a view shares its source's version, so that a later assignment is noticed
                if first is t._array or _is_view(first, t._array):
                    result._cell, result._view = (
                        t._cell,
                        View(t, cls, options, t._cell[1], record and cls.written is not None),
                    )
        return (result, *map(_tensor.Tensor, rest)) if rest else result

    @staticmethod
    def strides(shape: tuple[int, ...], strides: tuple[int, ...], **options: Any) -> tuple[int, ...] | None:
        return None

    @staticmethod
    def forward(ctx: Any, *args: Any, **options: Any) -> Any:
        raise NotImplementedError

    @staticmethod
    def backward(ctx: Any, gy: Any) -> Any:
        raise NotImplementedError


def backward(tensor: Tensor, grad: Any, retain_graph: bool = False) -> None:
    """Add ``d tensor / d leaf`` (contracted with the raw array ``grad``) to every leaf's ``.grad``."""
    if tensor._node is None:
        _accumulate(tensor, grad, {_owner(grad): [grad]}, ())
        return
    pending = {tensor._node: grad}
    heap = [(-tensor._node.order, tensor._node)]
    taken = {_owner(grad): [grad]}
    while heap:
        node = heapq.heappop(heap)[1]
        gy = pending.pop(node)
        if node.done:
            raise RuntimeError(
                f"backward: the graph behind this {node.function.__name__} was already freed by an earlier backward(); "
                "compute the forward pass again, or call backward(retain_graph=True) the first time"
            )
        for cell, version in node.checks:
            if cell[0] != version:
                raise RuntimeError(
                    f"backward: a tensor that {node.function.__name__} needs was changed in place after its use; "
                    "assign to a .clone() instead"
                )
        if node.function.accumulates:
            node.accumulated = pending.get(node.parents[0])
        try:
            grads = node.function.backward(node, gy)
        except MemoryError as e:
            raise _with_op(e, f"backward of {node.function.__name__.lower()}", [gy]) from None
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


def _called(function, options) -> str:
    """What messages call an op: by its options, where one class serves several."""
    words = re.sub("(?<=[a-z])(?=[A-Z])", "_", function.__name__).lower().replace("mat_mul", "matmul")
    return options.get("name") or options.get("op", "").removesuffix("_fwd") or words


def _parameter(function, i: int) -> str:
    """What messages call argument ``i`` of an op."""
    names = function.forward.__code__.co_varnames[1 : function.forward.__code__.co_argcount]
    layer = (
        {"x": "input", "w": "weight", "b": "bias"}
        if "w" in names
        else {"x": "input", "a": "operand", "b": "operand"}
    )
    return layer.get(names[i], names[i]) if i < len(names) else "operand"


def _share_as_pytorch(
    result: Tensor,
    source: Tensor,
    function: type[Function],
    options: dict[str, Any],
    engine: Any,
    followed: bool,
) -> None:
    """Make ``result`` a view of ``source`` where it is one in PyTorch, whose images lie in logical order,
    else a copy."""
    array = result._array
    shares = array is source._array or _is_view(array, source._array)
    version = None
    if not shares or source._view is not None:  # else every new shape is a view in PyTorch too
        strides = _strides(source)
        viewed = strides is not None and function.strides(source.shape, strides, **options) is not None
        if shares and strides is not None and not viewed:
            result._array = engine.copy(array)
            return
        if not shares:
            if not viewed or 0 in array.shape or not source._array.flags.writeable:
                return
            version = source._cell[0]  # the elements had to move: the copy stands for a view
    result._cell, result._view = (
        source._cell,
        View(source, function, options, source._cell[1], followed, version),
    )


def _checks(saved, tensors) -> list[tuple[list[int], int]]:
    """The versions of those of ``tensors`` whose memory is in ``saved``, as the arrays they are or in another
    shape."""
    kept = {id(s) for s in saved if hasattr(s, "strides")}
    if kept <= {id(t._array) for t in tensors}:
        return [(t._cell, t._cell[0]) for t in tensors if id(t._array) in kept]
    owners = {_owner(s) for s in saved if hasattr(s, "strides")}
    return [(t._cell, t._cell[0]) for t in tensors if _owner(t._array) in owners]


def _with_op(error: MemoryError, op: str, arrays: Sequence[Any]) -> MemoryError:
    """What to raise in place of ``error``: one of NumPy's, which are of a type of their own, does not say
    which op it was."""
    if type(error) is MemoryError:
        return error
    shapes = ", ".join(shape_str(a.shape) for a in arrays if hasattr(a, "shape"))
    return MemoryError(f"{op} of {shapes}: {error}; smaller inputs or batches need less")


def _is_view(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.base is not None and np.may_share_memory(a, b)
    # on a device every array of a piece of memory has it as base
    return getattr(a, "base", None) is getattr(b, "base", a)


def _owner(array: Any) -> int:
    while (base := getattr(array, "base", None)) is not None:
        array = base
    return id(array)


def _accumulate(leaf: Tensor, g: Any, taken: dict[int, list], saved: tuple) -> None:
    """Add ``g`` to ``leaf.grad``; a first gradient is kept as it is unless it is locked or something else may
    see its memory: ``taken`` holds, by their owner, the arrays that others have, ``saved`` is what its node
    kept."""
    if leaf.grad is not None:
        leaf.grad = _tensor.Tensor(backends.engine_of(leaf.device).binary_fwd("add", leaf.grad._array, g))
        return
    host, owner = isinstance(g, np.ndarray), _owner(g)
    others = taken.setdefault(owner, [])
    locked = not g.flags.writeable if host else 0 in g.strides
    if (
        locked
        or any(not host or np.may_share_memory(g, o) for o in others)
        or any(_owner(s) == owner for s in saved)
    ):
        g = backends.engine_of(leaf.device).copy(g)
    else:
        others.append(g)
    leaf.grad = _tensor.Tensor(g)


from . import tensor as _tensor  # noqa: E402 - last, for its ops derive from Function
