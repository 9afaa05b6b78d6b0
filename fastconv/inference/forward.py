"""What a module computes: what its class says, or the ``forward`` that was assigned to it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from .. import nn
from ..nn.hooks import hooked


class Forward:
    """A replacement for the ``forward`` of one module that computes the same.

    It is assigned to the module's attribute ``forward``. Copies and pickles leave out what was worked out
    from the module.

    Attributes
    ----------
    module : Module
    own : callable or None
        The attribute ``forward`` that the module had before.
    """

    def __init__(self, module: nn.Module, own: Callable[..., Any] | None = None) -> None:
        self.module: Any = module
        self.own = own

    def __getstate__(self) -> dict[str, Any]:
        return {"module": self.module, "own": self.own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    @property
    def unoptimized(self) -> Callable[..., Any]:
        """The ``forward`` of the module without this replacement, and without those before it."""
        own = given(self.module)
        return functools.partial(type(self.module).forward, self.module) if own is None else own

    def plain(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes without this replacement."""
        return (
            type(self.module).forward(self.module, *args, **kwargs)
            if self.own is None
            else self.own(*args, **kwargs)
        )


def given(module: nn.Module) -> Callable[..., Any] | None:
    """The attribute ``forward`` that a user assigned to ``module``, or None."""
    own = vars(module).get("forward")
    while isinstance(own, Forward):
        own = own.own
    return own


def computes_as(module: object, *kinds: type[nn.Module]) -> bool:
    """Whether ``module`` computes what one of ``kinds`` computes.

    A subclass qualifies only if it overrides nothing that may take part in computing. A module with hooks
    does not, because they are called with what it alone computes.
    """
    if hooked(module):
        return False
    for kind in kinds:
        if isinstance(module, kind):
            return given(module) is None and (type(module) is kind or _unchanged(module, kind))
    return False


def _unchanged(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether the class of ``module`` has all of ``kind`` but what constructs and prints."""
    names = {n for n in (*dir(kind), *vars(module)) if not n.startswith("__")} - {
        "reset_parameters",
        "extra_repr",
    }
    names |= {"__call__", "__getattr__", "__getattribute__", "__iter__", "__len__"}
    return all(getattr(type(module), n, None) is getattr(kind, n, None) for n in names)
