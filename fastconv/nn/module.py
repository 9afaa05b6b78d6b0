"""Module: the base of layers and networks.

parameter.py   Parameter and Buffer
tree.py        attributes and submodules
hooks.py       users' functions that are called with a module, its gradients or its state
state.py       the values of parameters and buffers: saved, loaded, moved, cast
module.py      calls, and methods that act on all submodules
"""

# Users' arguments are checked at run time, although by the declared types some checks look unnecessary.
# pyright: reportPrivateUsage=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backends import observer
from ..checks import check
from ..creation import argument
from ..errors import shorten
from .parameter import Parameter as Parameter
from .state import ModuleState

if TYPE_CHECKING:
    from typing_extensions import Self


class Module(ModuleState):
    """Base of layers and networks.

    A subclass calls ``super().__init__()``, assigns its parameters and submodules to attributes, and defines
    ``forward``. Calling the module calls ``forward``; NumPy arrays among the arguments become tensors.

    Attributes
    ----------
    training : bool
        Set by :meth:`train` and :meth:`eval` for the module and all its submodules.

    Examples
    --------
    >>> import fastconv as fc
    >>> class Net(fc.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.conv = fc.nn.Conv2d(1, 4, kernel_size=3)
    ...
    ...     def forward(self, x):
    ...         return self.conv(x).relu()
    >>> Net()(fc.zeros(1, 1, 8, 8)).shape
    (1, 4, 6, 6)
    """

    if TYPE_CHECKING:  # the base classes are in files that cannot import Module, so they return Any

        def children(self) -> Iterator[Module]: ...
        def named_children(self) -> Iterator[tuple[str, Module]]: ...
        def modules(self, remove_duplicate: bool = True) -> Iterator[Module]: ...
        def named_modules(
            self, memo: set[Any] | None = None, prefix: str = "", remove_duplicate: bool = True
        ) -> Iterator[tuple[str, Module]]: ...
        def get_submodule(self, target: str) -> Module: ...

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the result. A subclass must define this method if it is called."""
        raise NotImplementedError(f"{type(self).__name__}: define forward(self, x)")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        args = tuple(
            [argument(type(self).__name__, "input", a) if isinstance(a, np.ndarray) else a for a in args]
        )
        watching = observer.get()
        try:
            if self._hook_table is not None:
                forward = self.forward if watching is None else partial(_observed, watching, self)
                return self._hook_table.call(self, forward, args, kwargs)
            return self.forward(*args, **kwargs) if watching is None else watching.call(self, args, kwargs)
        except Exception as e:
            shorten(e, self)
            raise

    # ---- all submodules
    def train(self, mode: bool = True) -> Self:
        """Set the module and all its submodules to training mode, or to evaluation mode (``mode=False``).

        The mode changes what dropout and batch normalisation compute.
        """
        check(mode in (True, False), "train", f"mode must be True or False, got {mode!r:.60}")
        for m in self.modules():
            # An assignment makes an optimized net record again, so assign only what changes.
            if m.training != bool(mode):
                m.training = bool(mode)
        return self

    def eval(self) -> Self:
        """Set the module and all its submodules to evaluation mode; see :meth:`train`."""
        return self.train(False)

    def apply(self, fn: Callable[[Module], object]) -> Self:
        """Call ``fn(module)`` for every submodule, and then for this module."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # ---- text
    def extra_repr(self) -> str:
        """The text that ``repr`` shows for the options of the module; subclasses override it."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        children = [f"({n}): " + repr(m).replace("\n", "\n  ") for n, m in self._modules.items()]
        if not children:
            return f"{type(self).__name__}({extra})"
        return f"{type(self).__name__}(\n  " + "\n  ".join([extra] * bool(extra) + children) + "\n)"


def _observed(watching: Any, module: Module, *args: Any, **kwargs: Any) -> Any:
    return watching.call(module, args, kwargs)
