"""Modules that hold a list of modules: Sequential and ModuleList."""

# Arguments of users are checked when they arrive, whatever their declared types say.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast, overload

from ..checks import check
from . import fused_chain
from .module import Module

C = TypeVar("C", bound="_Container")


class _Container(Module):
    """Modules under the names ``"0"``, ``"1"``, ... that can be used like a list."""

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return cast("Iterator[Module]", iter(self._modules.values()))

    def _name(self, i: int) -> str:
        names = list(self._modules)
        check(
            -len(names) <= i < len(names),
            type(self).__name__,
            f"index {i} is out of range for {len(names)} modules",
            IndexError,
        )
        return names[i]

    def _at(self, i: int) -> Module:
        return cast("Module", self._modules[self._name(i)])

    def __setitem__(self, i: int, module: Module) -> None:
        self.add_module(self._name(i), module)

    def append(self: C, module: Module) -> C:
        """Add a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self: C, modules: Iterable[Module]) -> C:
        """Add several modules at the end."""
        for m in modules:
            self.append(m)
        return self


class ModuleList(_Container):
    """A list of registered modules; it has no ``forward``.

    Parameters
    ----------
    modules : iterable of Module
        The first members; ``append``, ``extend`` and ``layers[i] = module`` change the list.

    Examples
    --------
    >>> from fastconv import nn
    >>> len(nn.ModuleList([nn.ReLU(), nn.Flatten()]).append(nn.Identity()))
    3
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    @overload
    def __getitem__(self, i: int) -> Module: ...
    @overload
    def __getitem__(self, i: slice) -> ModuleList: ...
    def __getitem__(self, i: int | slice) -> Module:
        return ModuleList(list(self)[i]) if isinstance(i, slice) else self._at(i)


class Sequential(_Container):
    """Modules that are called one after the other.

    Neighbouring layers that an engine can compute together run as one op; see :mod:`fastconv.nn.fused_chain`.

    Parameters
    ----------
    *modules : Module
        The members in order, or one mapping of names to modules.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.Sequential(fc.nn.Flatten(), fc.nn.Linear(12, 5))(fc.zeros(2, 3, 4)).shape
    (2, 5)
    """

    @overload
    def __init__(self, *modules: Module) -> None: ...
    @overload
    def __init__(self, modules: Mapping[str, Module], /) -> None: ...
    def __init__(self, *modules: Any) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, m in modules[0].items():
                self.add_module(name, m)
        else:
            self.extend(modules)

    @overload
    def __getitem__(self, i: int) -> Module: ...
    @overload
    def __getitem__(self, i: slice) -> Sequential: ...
    def __getitem__(self, i: int | slice) -> Module:
        if not isinstance(i, slice):
            return self._at(i)
        members = cast("list[tuple[str, Module]]", list(self._modules.items()))
        return Sequential(dict(members[i]))

    def forward(self, x: Any) -> Any:
        """The result of the last module; each module gets the result of the one before it."""
        return fused_chain.run(list(self), x)
