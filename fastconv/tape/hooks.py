"""Functions of users that see a gradient on its way, and the handles that remove them."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from typing import Any

from fastconv import variable
from fastconv.checks import check, shape_str
from fastconv.variable import Variable

from .mode import no_grad

_numbers = itertools.count()


class Registry(dict[int, Any]):
    """Functions by the number of their handle, in the order in which they are called."""

    __slots__ = ("__weakref__",)

    def add(self, hook: Any) -> RemovableHandle:
        """Enter ``hook`` as the last one."""
        handle = RemovableHandle(self)
        self[handle.id] = hook
        return handle


class RemovableHandle:
    """What registering a hook returns. As a context manager it removes the hook at the end of the block.

    Parameters
    ----------
    registry : Registry
        Where the hook is entered under :attr:`id`.
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


class GradHooks:
    """What happens with the gradient of one tensor; kept by its node, or by the tensor if it is a leaf.

    Attributes
    ----------
    functions : Registry
        Called with the gradient, which they may replace.
    after : Registry
        Called with the leaf after its ``.grad`` has changed.
    retained : weak reference or None
        To the tensor, no leaf, that keeps its gradient in ``.grad``.
    """

    __slots__ = ("functions", "after", "retained")

    def __init__(self) -> None:
        self.functions, self.after = Registry(), Registry()
        self.retained: weakref.ref[Variable] | None = None

    def retain(self, t: Variable) -> None:
        """Let ``t`` keep its gradient."""
        self.retained = weakref.ref(t)

    def replaced(self, g: Any) -> Any:
        """The gradient, a raw array, after every function has seen it."""
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
        """``leaf.grad`` has changed."""
        for function in list(self.after.values()):
            with no_grad():
                function(leaf)


def of(t: Variable) -> GradHooks:
    """The hooks of ``t``, which requires a gradient; made where there are none yet."""
    place: Any = t.node or t
    if place.hooks is None:
        place.hooks = GradHooks()
    return place.hooks
