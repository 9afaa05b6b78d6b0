"""Users' functions that are called with a gradient during the walk, and the handles that remove them."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol

from fastconv import variable
from fastconv.checks import check, shape_str
from fastconv.variable import Variable

from .mode import no_grad

_numbers = itertools.count()

#: Functions to call when the walk that runs has ended without an error; None outside of a walk.
at_end: ContextVar[list[Callable[[], None]] | None] = ContextVar("fastconv_at_end", default=None)


class Registry(dict[int, Any]):
    """Hooks under the number of their handle, in the order in which they are called."""

    __slots__ = ("__weakref__",)

    def add(self, hook: Any) -> RemovableHandle:
        """Add ``hook``; it is called after the others."""
        handle = RemovableHandle(self)
        self[handle.id] = hook
        return handle


class RemovableHandle:
    """The result of registering a hook. As a context manager it removes the hook at the end of the block.

    Parameters
    ----------
    registry : Registry
        The registry that holds the hook, with the key :attr:`id`.
    """

    def __init__(self, registry: Registry) -> None:
        self.id = next(_numbers)
        self._registry: Callable[[], Registry | None] = weakref.ref(registry)

    def remove(self) -> None:
        """Remove the hook; a second call does nothing."""
        if (registry := self._registry()) is not None:
            registry.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


class Sink(Protocol):
    """Where the gradients of leaves go when they are complete."""

    def memory(self, leaf: Variable) -> Any:
        """A 1-D array for the gradient of ``leaf``, which an op may write to it, or None."""

    def ready(self, leaf: Variable) -> None:
        """The gradient of ``leaf`` is in ``leaf.grad``, and this walk does not change it any more."""


class GradHooks:
    """The hooks on the gradient of one tensor. Its node holds them, or the tensor itself if it is a leaf.

    Attributes
    ----------
    functions : Registry
        Functions that are called with the gradient and may replace it.
    after : Registry
        Functions that are called with the leaf after its ``.grad`` has changed.
    retained : weak reference or None
        Refers to the tensor, if it is not a leaf and keeps its gradient in ``.grad``.
    sink : Sink or None
        Of a leaf: it is told when the gradient is complete.
    """

    __slots__ = ("functions", "after", "retained", "sink")

    def __init__(self) -> None:
        self.functions, self.after = Registry(), Registry()
        self.retained: weakref.ref[Variable] | None = None
        self.sink: Sink | None = None

    @property
    def by_user(self) -> bool:
        """Whether there are functions of the user."""
        return bool(self.functions or self.after)

    def retain(self, t: Variable) -> None:
        """Keep the gradient of ``t``, which is not a leaf, in ``t.grad``."""
        self.retained = weakref.ref(t)

    def memory(self, leaf: Variable) -> Any:
        """A 1-D array to which an op may write the gradient of ``leaf``, or None."""
        return None if self.sink is None or self.functions else self.sink.memory(leaf)

    def replaced(self, g: Any) -> Any:
        """Call every function with the gradient ``g``, a raw array, and return the gradient that is left."""
        for function in list(self.functions.values()):
            with no_grad():
                new = function(variable.tensor_class(g))
            if new is None:
                continue
            check(
                isinstance(new, Variable),
                "register_hook",
                f"a hook must return a Tensor or None, got {type(new).__name__}",
                TypeError,
            )
            check(
                new.shape == g.shape and new.dtype == g.dtype,
                "register_hook",
                f"a hook must return a gradient of {g.dtype} and shape {shape_str(g.shape)}, "
                f"got {new.dtype} {shape_str(new.shape)}",
                RuntimeError,
            )
            g = new.array
        return g

    def accumulated(self, leaf: Variable) -> None:
        """Call the functions in ``after`` and tell the sink, because ``leaf.grad`` has changed."""
        for function in list(self.after.values()):
            with no_grad():
                function(leaf)
        if self.sink is not None:
            self.sink.ready(leaf)


def of(t: Variable) -> GradHooks:
    """The hooks of ``t``, which requires a gradient; a new object if it has none yet."""
    place: Any = t.node or t
    if place.hooks is None:
        place.hooks = GradHooks()
    return place.hooks
