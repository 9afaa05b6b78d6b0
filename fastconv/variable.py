"""What the tape knows of a tensor: its array, the op that made it, and who else looks at its memory.

``tensor.Tensor`` extends :class:`Variable` by all that users call, and registers itself, so that this module
and ``tape`` make Tensors without importing them::

    Variable -- array       the numbers, as the engine of its device keeps them
             -- node        Node: the op that computed it (None: a leaf)
             -- memory      Memory: counts of changes in place, shared by all tensors on that memory
             -- view_of     View: of which tensor it is a view, and how it was made (None: no view)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import backends, devices, dtypes
from .dtypes import FLOAT32
from .spec import contiguous_strides


class Node:
    """One recorded op, and the ``ctx`` that its forward and backward see.

    Attributes
    ----------
    function : subclass of tape.Op
    engine : module
        The backend that ran forward; backward uses the same one.
    needs : tuple of bool
        Which positional arguments need a gradient.
    parents : sequence of Node, Variable or None
        Where the gradient of each positional argument goes: to the op that computed it, or to a leaf.
    order : int
        Grows with time: an op has a larger number than those it depends on.
    checks : sequence of (Memory, int)
        The memory of saved tensors and the version of it that backward needs.
    result_dtype : numpy.dtype or None
        Of the result; its gradient has the same. None: several results, each with a node of its own behind
        this one; the gradient is a tuple with an entry for each.
    saved : tuple
        What forward kept for backward.
    done : bool
        Whether backward has visited and released the node.
    accumulated : array or None
        During backward of a function that ``accumulates``: the gradient its first argument already has.
    offered : array or None
        During backward of a function that ``offers``: memory for the gradient of one argument.
    hooks : tape.hooks.GradHooks or None
        What users want to happen with the gradient of the result.
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
        "offered",
        "result_dtype",
        "hooks",
        "__dict__",
    )

    function: type[Any]
    engine: Any
    needs: tuple[bool, ...]
    saved: tuple[Any, ...]
    parents: Sequence[Node | Variable | None]
    order: int
    checks: Sequence[tuple[Memory, int]]
    done: bool
    accumulated: Any
    offered: Any
    result_dtype: np.dtype[Any] | None
    hooks: Any

    def __init__(self, function: type[Any], engine: Any, needs: tuple[bool, ...]):
        self.function, self.engine, self.needs = function, engine, needs
        self.saved, self.parents, self.checks, self.done = (), (), (), False
        self.accumulated = self.offered = self.hooks = None

    if TYPE_CHECKING:  # a function may keep more than arrays: ``ctx.axis = axis``

        def __getattr__(self, name: str) -> Any: ...

        def __setattr__(self, name: str, value: Any) -> None: ...

    def save(self, *values: Any) -> None:
        """Keep arrays (or anything) for backward; read them back from ``ctx.saved``."""
        self.saved = values

    def release(self) -> None:
        """Drop all that backward needed, so that its memory is free before the rest of the tape is walked.

        What ``grad_fn`` makes its name of stays.
        """
        self.saved = self.parents = self.checks = ()
        names = {k: v for k, v in self.__dict__.items() if k in ("name", "op")}
        self.__dict__.clear()
        self.__dict__.update(names)
        self.done = True


class Memory:
    """Counts of the changes in place, shared by all tensors that look at the same memory.

    Attributes
    ----------
    version : int
        Number of changes. Backward of an op that saved an older version refuses to run.
    recorded : int
        How many of the changes are on the tape. A view that has seen fewer has an outdated history.
    """

    version: int = 0
    recorded: int = 0


class View:
    """How a tensor that looks at another's memory was made: by ``function``, from the tensor ``source``, with
    ``options``.

    Attributes
    ----------
    seen : int
        ``memory.recorded`` at the time when the view's history was made.
    followed : bool
        Whether autograd can follow a change of the view. It cannot where the view was made under ``no_grad``.
    copied_version : int or None
        None for a real view. A copy may stand for a view, because images lie channels-last in memory and
        PyTorch's do not; this is then the version of the source that the copy holds. The copy is brought up
        to date when it is read, and a change of it is written to the source.
    """

    __slots__ = ("source", "function", "options", "seen", "followed", "copied_version")

    def __init__(
        self,
        source: Variable,
        function: type[Any],
        options: dict[str, Any],
        seen: int,
        followed: bool,
        copied_version: int | None = None,
    ):
        self.source, self.function, self.options, self.seen = source, function, options, seen
        self.followed, self.copied_version = followed, copied_version


class Variable:
    """What the tape and the ops read of a tensor. Users meet it as :class:`fastconv.Tensor`.

    Parameters
    ----------
    data : Variable, array, number or nested sequence
        An array is wrapped without a copy. Another Variable shares its memory and that memory's version.
        Anything else becomes a host array first (Python floats float32).
    requires_grad : bool

    Attributes
    ----------
    array : numpy.ndarray or cuda array
        The numbers. Read it through :meth:`numpy` where the tensor may be a copy that stands for a view.
    tracked : bool
        ``requires_grad`` as it was last set. Read ``requires_grad``, which also knows of changes of what this
        is a view of.
    grad : Variable or None
    node : Node or None
    memory : Memory
    view_of : View or None
    hooks : tape.hooks.GradHooks or None
        Of a leaf: what users want to happen with its gradient.
    """

    __slots__ = ("array", "tracked", "grad", "node", "memory", "view_of", "hooks", "__weakref__")

    array: Any
    tracked: bool
    grad: Any
    node: Node | None
    memory: Memory
    view_of: View | None
    hooks: Any

    def __init__(self, data: Any, requires_grad: bool = False):
        if isinstance(data, Variable):
            data, self.memory = data.array, data.memory
        else:
            self.memory = Memory()
            if type(data) is np.ndarray:
                if data.dtype is not FLOAT32 or not data.flags.aligned:
                    data = dtypes.native(data, "Tensor")
            elif isinstance(data, (np.ndarray, np.generic)) or not hasattr(data, "strides"):
                data = host_array(data, name="Tensor")
        if requires_grad and data.dtype.kind != "f":
            raise TypeError(f"Tensor: only float tensors can require gradients, got {data.dtype}")
        self.array = data
        self.tracked = requires_grad
        self.grad = self.node = self.view_of = self.hooks = None

    @property
    def shape(self) -> tuple[int, ...]:
        """All extents, in the logical order ``N, C, [D,] [H,] W``."""
        return self.array.shape

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return self.array.ndim

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's type of the elements."""
        return self.array.dtype

    @property
    def device(self) -> devices.device:
        """Where the elements are: ``"cpu"`` or ``"cuda"``."""
        return devices.HOST if isinstance(self.array, np.ndarray) else devices.CUDA

    @property
    def engine(self) -> Any:
        """The engine that computes on this tensor: that of its device and of the backend in force."""
        return backends.engine_of(self.device)

    @property
    def requires_grad(self) -> bool:
        """Whether ops on this tensor are recorded."""
        view = self.view_of
        if view is not None and view.seen != self.memory.recorded:
            rebuild_history(self)
        return self.tracked

    @requires_grad.setter
    def requires_grad(self, flag: bool) -> None:
        if flag and self.dtype.kind != "f":
            raise TypeError(f"requires_grad: only float tensors can require gradients, got {self.dtype}")
        if not flag and not self.is_leaf:
            raise RuntimeError(
                "requires_grad: it can be switched off for leaf tensors only, and this is the result of an "
                "op; use .detach() for the values outside the tape"
            )
        self.tracked = flag

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded op computed this tensor."""
        return not self.requires_grad or self.node is None

    def numpy(self) -> np.ndarray[Any, Any]:
        """The values as a NumPy array: the tensor's own memory where it lives on the host.

        Unlike PyTorch's method it also gives the values of a tensor that requires a gradient; the tape does
        not follow what is done with them. The same holds for ``np.asarray(t)``. NumPy's functions refuse such
        a tensor where their result would have had a gradient.
        """
        if self.view_of is not None:
            update_copies(self)
        return self.engine.to_host(self.array)


#: The class of all results: Tensor, once its module is imported.
tensor_class: type[Any] = Variable


def register(kind: type[Variable]) -> None:
    """Make ``kind`` the class of all results. ``tensor.py`` calls this once, for Tensor."""
    global tensor_class
    tensor_class = kind


# ------------------------------------------------------------------------------------------------- arguments
def host_array(
    data: Any, dtype: Any = None, name: str = "tensor", what: str = "data"
) -> np.ndarray[Any, Any]:
    """Numbers, nested sequences, arrays or lists of tensors as an array on the host; errors call it argument
    ``what`` of function ``name``."""
    if isinstance(data, (list, tuple)) and any(isinstance(d, Variable) for d in data):
        data = [d.numpy() if isinstance(d, Variable) else d for d in data]
    return dtypes.array(data, dtype, name, what)


def argument(name: str, what: str, data: Any, device: str | None = None) -> Any:
    """Argument ``what`` of function ``name`` as a Tensor, without a copy where that is possible."""
    if isinstance(data, Variable):
        return data
    return tensor_class(devices.place(host_array(data, None, name, what), device))


# ------------------------------------------------------------------------------------------------- history
def take_history(t: Variable, new: Variable) -> None:
    """Make ``t`` the result of the op that computed ``new``; a gradient that it retains is the new one's."""
    old = t.node and t.node.hooks
    if old is not None and old.retained is not None and new.node is not None:
        new.node.hooks = type(old)()
        new.node.hooks.retained, old.retained = old.retained, None
    t.tracked, t.node = new.requires_grad, new.node


# ------------------------------------------------------------------------------------------------- views
def rebuild_history(t: Variable) -> None:
    """Make a view's history anew, after a recorded change in place of what it is a view of."""
    stale: list[tuple[Variable, View]] = []
    while (view := t.view_of) is not None and view.followed and view.seen != t.memory.recorded:
        stale.append((t, view))
        t = view.source
    for t, view in reversed(stale):
        view.seen = t.memory.recorded
        if view.source.requires_grad:
            now = view.function.record(view.source, **view.options)
            take_history(t, now)


def update_copies(t: Variable) -> None:
    """Bring the memory of ``t`` up to date where it is a copy that stands for a view, or a view of one."""
    stale: list[tuple[Variable, View]] = []
    while (view := t.view_of) is not None:
        if view.copied_version is not None and view.copied_version != t.memory.version:
            stale.append((t, view))
        t = view.source
    for t, view in reversed(stale):
        engine, view.copied_version = t.engine, t.memory.version
        engine.setitem(t.array, ..., engine.reshape(view.source.array, t.shape))


def detach(t: Variable) -> Any:
    """A Tensor on the same memory, outside the tape."""
    if t.view_of is not None:
        update_copies(t)
    result = tensor_class(t)
    if (view := t.view_of) is not None:
        source = detach(view.source)
        result.view_of = View(
            source, view.function, view.options, view.seen, view.followed, view.copied_version
        )
    return result


def pytorch_strides(t: Variable) -> tuple[int, ...] | None:
    """The strides that ``t`` has in PyTorch, where the last axis of a new tensor runs fastest; None: not
    known."""
    view = t.view_of
    if view is None:
        return contiguous_strides(t.shape)
    strides = pytorch_strides(view.source)
    return None if strides is None else view.function.strides(view.source.shape, strides, **view.options)


def share_as_pytorch(
    result: Variable,
    source: Variable,
    function: type[Any],
    options: dict[str, Any],
    engine: Any,
    followed: bool,
) -> None:
    """Make ``result`` a view of ``source`` where it is one in PyTorch, whose images lie in logical order,
    else a copy."""
    array = result.array
    shares = array is source.array or is_view(array, source.array)
    version = None
    if not shares or source.view_of is not None:  # else every new shape is a view in PyTorch too
        strides = pytorch_strides(source)
        viewed = strides is not None and function.strides(source.shape, strides, **options) is not None
        if shares and strides is not None and not viewed:
            result.array = engine.copy(array)
            return
        if not shares:
            if not viewed or 0 in array.shape or not source.array.flags.writeable:
                return
            version = source.memory.version  # the elements had to move: the copy stands for a view
    result.memory = source.memory
    result.view_of = View(source, function, options, source.memory.recorded, followed, version)


def is_view(a: Any, b: Any) -> bool:
    """Whether array ``a`` looks at the memory of array ``b``."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.base is not None and np.may_share_memory(a, b)
    # on a device every array of a piece of memory has it as base
    return getattr(a, "base", None) is getattr(b, "base", a)


def owner(array: Any) -> int:
    """The id of the object that owns the array's memory."""
    while (base := getattr(array, "base", None)) is not None:
        array = base
    return id(array)
