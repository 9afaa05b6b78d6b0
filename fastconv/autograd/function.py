"""``fc.autograd.Function``: users' own differentiable functions, computed with Tensors.

fastconv's own ops are :class:`fastconv.tape.Op`, which compute with the arrays of an engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from fastconv import backends, inplace
from fastconv.checks import check, shape_str
from fastconv.ops.pointwise import unbroadcast
from fastconv.tape import Op, is_grad_enabled, no_grad
from fastconv.tape.op import number
from fastconv.tensor import Tensor
from fastconv.variable import Node, View

F = TypeVar("F", bound=Callable[..., Any])


class _Like(NamedTuple):
    """Shape, dtype and device of a tensor, to check its gradient without keeping its memory."""

    shape: tuple[int, ...]
    dtype: Any
    device: str

    @classmethod
    def of(cls, t: Any) -> _Like | None:
        """The record of ``t`` if it is a Tensor, else None."""
        return cls(t.shape, t.dtype, t.device) if isinstance(t, Tensor) else None


class FunctionCtx:
    """The object by which ``forward`` passes saved tensors and other attributes to ``backward``.

    Attributes
    ----------
    needs_input_grad : tuple of bool
        Which arguments need a gradient.
    """

    def __init__(self, needs_input_grad: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs_input_grad
        self._saved: tuple[Tensor | None, ...] = ()
        self._dirty: tuple[Tensor, ...] = ()
        self._constant: tuple[Tensor, ...] = ()
        self._materialize = True
        self._inputs: list[_Like | None] = []
        self._outputs: list[_Like | None] = []

    if TYPE_CHECKING:

        def __setattr__(self, name: str, value: Any) -> None: ...

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"ctx.{name}: forward has set no such attribute")

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for ``backward``. If one of them is changed in place before, backward is refused."""
        for t in tensors:
            check(
                t is None or isinstance(t, Tensor),  # pyright: ignore[reportUnnecessaryIsInstance]
                "save_for_backward",
                f"expected Tensors, got {type(t).__name__}; keep other things as attributes: ctx.size = size",
                TypeError,
            )
        self._saved = tensors

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """The tensors that were given to :meth:`save_for_backward`."""
        return self._saved

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Declare the inputs that ``forward`` has changed in place; it must return them."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Declare the outputs that have no gradient. ``backward`` still gets an argument for each."""
        self._constant = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """With False, ``backward`` gets None instead of zeros for outputs that were not used."""
        self._materialize = value


class Function:
    """The base class of users' own differentiable functions.

    A subclass defines two static methods, which compute with Tensors:

    * ``forward(ctx, *args)`` returns a Tensor or a tuple. The ops in it are not recorded. ``forward(*args)``
      is possible too; then ``setup_context(ctx, inputs, output)`` sets up ``ctx``.
    * ``backward(ctx, *grads)`` gets a gradient for each output and returns one for each argument, or None for
      an argument without a gradient.

    The function is called as ``Name.apply(*args)``.

    Examples
    --------
    >>> class Exp(fc.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         y = x.exp()
    ...         ctx.save_for_backward(y)
    ...         return y
    ...
    ...     @staticmethod
    ...     def backward(ctx, grad):
    ...         (y,) = ctx.saved_tensors
    ...         return grad * y
    >>> x = fc.zeros(2, requires_grad=True)
    >>> Exp.apply(x).sum().backward()
    >>> x.grad
    tensor([1., 1.])
    """

    _op: type[_Call]

    def __init__(self) -> None:
        name = type(self).__name__
        raise RuntimeError(f"{name}: a function has no instances; call {name}.apply(...)")

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._op = type(
            cls.__name__, (_Call,), {"user": cls, "grad_fn_name": f"{cls.__name__}Backward"}
        )  # for error messages and grad_fn, which name the op

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Compute the result."""
        raise NotImplementedError("Function: define the static method forward(ctx, *args)")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        """Keep what ``backward`` needs in ``ctx``; for a ``forward`` without the parameter ``ctx``."""
        raise NotImplementedError("Function: setup_context was called, and is not defined")

    @staticmethod
    def backward(*args: Any, **kwargs: Any) -> Any:
        """Compute the gradients of the arguments, from ``ctx`` and the gradients of the outputs."""
        raise NotImplementedError("Function: define the static method backward(ctx, *grads)")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Call the function. The call is recorded if one of ``args`` is a Tensor that requires a gradient.

        Returns
        -------
        What ``forward`` returns

        Raises
        ------
        RuntimeError
            If ``forward`` does not return a tensor that it marked dirty, or if autograd cannot record the
            change of such a tensor.
        """
        ctx = FunctionCtx(tuple([isinstance(a, Tensor) and a.requires_grad for a in args]))
        ctx._inputs = [_Like.of(a) for a in args]
        parents = [a.node or a if isinstance(a, Tensor) and a.requires_grad else None for a in args]
        with no_grad():
            if cls.setup_context is Function.setup_context:
                result = cls.forward(ctx, *args)
            else:
                result = cls.forward(*args)
                cls.setup_context(ctx, args, result)
        outputs = list(result) if isinstance(result, tuple) else [result]
        check(
            all(any(t is o for o in outputs) for t in ctx._dirty),
            cls.__name__,
            "forward must return every tensor that it marks dirty",
            RuntimeError,
        )
        node = None
        if is_grad_enabled() and any(ctx.needs_input_grad):
            device = next(a.device for a in args if isinstance(a, Tensor) and a.requires_grad)
            node = Node(cls._op, backends.engine_of(device), ctx.needs_input_grad)
            node.parents, node.ctx = parents, ctx
            number(node)
        outputs = _recorded(cls.__name__, ctx, node, args, outputs)
        if node is not None:
            # A saved output and the node would keep each other alive, so outputs are saved detached.
            own = [o for o in outputs if isinstance(o, Tensor) and o.node is not None]
            ctx._saved = tuple(
                [t.detach() if t is not None and any(t is o for o in own) else t for t in ctx._saved]
            )
            node.checks = [(t.memory, t.memory.version) for t in ctx._saved if t is not None]
        return tuple(outputs) if isinstance(result, tuple) else outputs[0]


def once_differentiable(backward: F) -> F:
    """Return ``backward`` as it is.

    In PyTorch this decorator marks a ``backward`` that cannot be differentiated. In fastconv none can be.
    """
    return backward


class _Call(Op):
    """A call of a user's function on the tape."""

    user: type[Function]
    lends = True

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        own: FunctionCtx = ctx.ctx
        raw = [None] * len(own._outputs)
        for i, g in zip(ctx.positions, gy if isinstance(gy, tuple) else (gy,)):
            raw[i] = g
        grads: list[Tensor | None] = []
        for g, like in zip(raw, own._outputs):
            if g is None and like is not None and own._materialize:
                g = ctx.engine.zeros(like.shape, like.dtype)
            grads.append(None if g is None else Tensor(g))
        with no_grad():
            found = ctx.function.user.backward(own, *grads)
        return _checked(ctx, found if isinstance(found, tuple) else (found,))


class _Output(Op):
    """One of several results of a user's function: its gradient is part of a tuple."""

    @staticmethod
    def backward(ctx: Node, gy: Any) -> Any:
        return (tuple([gy if i == ctx.at else None for i in range(ctx.count)]),)


def _recorded(
    name: str, ctx: FunctionCtx, node: Node | None, args: Sequence[Any], outputs: list[Any]
) -> list[Any]:
    """The results of ``apply``: ``outputs``, or aliases of them, as results of ``node``."""

    def one_of(t: Tensor, tensors: Sequence[Any]) -> bool:
        return any(t is other for other in tensors)

    made: list[Any] = []
    for t in outputs:
        if isinstance(t, Tensor) and not one_of(t, ctx._dirty):
            # A tensor that exists outside of this call keeps its own place on the tape; return an alias.
            if one_of(t, args) or one_of(t, made) or t.requires_grad:
                alias = t.detach()
                alias.view_of = View(t, Op, {}, t.memory.recorded, followed=False)
                t = alias
        made.append(t)
    positions = [
        i
        for i, (t, given) in enumerate(zip(made, outputs))
        if isinstance(t, Tensor) and t.dtype.kind == "f" and not one_of(given, ctx._constant)
    ]
    nodes: dict[int, Node] = {}
    if node is not None:
        node.positions = positions
        node.result_dtype = made[positions[0]].dtype if len(positions) == 1 else None
        nodes = {i: node if len(positions) == 1 else _output(node, made[i], positions, i) for i in positions}
    for i, t in enumerate(made):
        if not isinstance(t, Tensor):
            continue
        if one_of(t, ctx._dirty):
            inplace.begin(t, name, tuple(args))
            new = Tensor(t.array)
            new.tracked, new.node = i in nodes, nodes.get(i)
            inplace.changed(t, new if node is not None else None)
        elif i in nodes:
            t.tracked, t.node = True, nodes[i]
    ctx._outputs = [_Like.of(t) for t in made]
    return made


def _output(node: Node, t: Tensor, positions: list[int], i: int) -> Node:
    part = Node(_Output, node.engine, (True,))
    part.parents, part.result_dtype = [node], t.dtype
    part.at, part.count = positions.index(i), len(positions)
    number(part)
    return part


def _checked(node: Node, grads: tuple[Any, ...]) -> tuple[Any, ...]:
    """The gradients that a user's ``backward`` returned, as raw arrays, after checks.

    A gradient that is larger than its argument, as after broadcasting, is summed to the argument's shape.
    """
    name, count = node.function.__name__, len(node.parents)
    if len(grads) > count and all(g is None for g in grads[count:]):
        grads = grads[:count]
    check(
        len(grads) == count,
        name,
        f"backward returned {len(grads)} gradients, and forward has {count} arguments; return one for each, "
        "or None for an argument without a gradient",
        RuntimeError,
    )
    result: list[Any] = []
    for i, (g, parent, like) in enumerate(zip(grads, node.parents, node.ctx._inputs)):
        check(
            g is None or isinstance(g, Tensor),
            name,
            f"backward must return Tensors or None, got {type(g).__name__} at index {i}",
            TypeError,
        )
        check(
            g is None or like is not None,
            name,
            f"backward returned a gradient at index {i}, where the argument of forward is not a Tensor",
            RuntimeError,
        )
        if g is None or parent is None or like is None:
            result.append(None)
            continue
        shape = like.shape
        fits = g.ndim >= len(shape) and all(a in (1, b) for a, b in zip(shape[::-1], g.shape[::-1]))
        check(
            fits,
            name,
            f"backward returned a gradient of shape {shape_str(g.shape)} at index {i}, where the argument of "
            f"forward has shape {shape_str(shape)}",
            RuntimeError,
        )
        check(
            g.device == like.device,
            name,
            f"backward returned a gradient on {g.device} at index {i}, where the argument of forward is on "
            f"{like.device}",
            RuntimeError,
        )
        result.append(unbroadcast(node.engine, g.array, shape))
    return tuple(result)
