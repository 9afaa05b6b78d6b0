"""Modules that hold other modules: Sequential, ModuleList and ModuleDict."""

# Users' arguments are checked at run time, although by the declared types some checks look unnecessary.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnnecessaryIsInstance=false

from __future__ import annotations

import operator
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import TYPE_CHECKING, Any, TypeAlias, cast, overload

from ..checks import check
from . import fused_chain
from .module import Module

if TYPE_CHECKING:
    from typing_extensions import Self

#: Named modules.
Members: TypeAlias = "Mapping[str, Module] | Iterable[tuple[str, Module]] | ModuleDict"


class _Container(Module):
    """Modules in order, used like a list. ``append`` names a module by its position: ``"0"``, ``"1"``, ..."""

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return cast("Iterator[Module]", iter(list(self._modules.values())))

    def _name(self, i: Any) -> str:
        names, i = list(self._modules), operator.index(i)
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

    def __delitem__(self, i: int | slice) -> None:
        left = list(self)
        if not isinstance(i, slice):
            self._name(i)  # refuses what is out of range
        del left[i]
        self._refill(left)

    def _refill(self, modules: list[Module]) -> None:
        """Replace all members by ``modules``, under the names ``"0"``, ``"1"``, ..."""
        for name in list(self._modules):
            delattr(self, name)
        self.extend(modules)

    def __iadd__(self, modules: Iterable[Module]) -> Self:
        return self.extend(modules)

    def append(self, module: Module) -> Self:
        """Add a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add several modules at the end."""
        check(
            isinstance(modules, Iterable),
            type(self).__name__,
            f"expected several modules, got {type(modules).__name__}",
            TypeError,
        )
        for m in list(modules):
            self.append(m)
        return self

    def insert(self, index: int, module: Module) -> Self:
        """Insert a module before position ``index``; the modules from there on move by one."""
        every = list(self)
        check(
            -len(every) <= index <= len(every),
            type(self).__name__,
            f"index {index} is out of range for {len(every)} modules",
            IndexError,
        )
        check(
            isinstance(module, Module),
            type(self).__name__,
            f"expected an nn.Module, got {type(module).__name__}",
            TypeError,
        )
        every.insert(index, module)
        self._refill(every)
        return self

    def pop(self, key: int) -> Module:
        """Remove a module and return it."""
        module = self._at(key)
        del self[key]
        return module


class ModuleList(_Container):
    """A list of registered modules; it has no ``forward``.

    Parameters
    ----------
    modules : iterable of Module
        The members at first; ``append``, ``insert``, ``pop``, ``layers[i] = module`` and the like change the
        list.

    Examples
    --------
    >>> from fastconv import nn
    >>> len(nn.ModuleList([nn.ReLU(), nn.Flatten()]).append(nn.Identity()))
    3
    """

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        self.extend(() if modules is None else modules)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])

    @overload
    def __getitem__(self, i: int) -> Module: ...
    @overload
    def __getitem__(self, i: slice) -> ModuleList: ...
    def __getitem__(self, i: int | slice) -> Module:
        return ModuleList(list(self)[i]) if isinstance(i, slice) else self._at(i)


class Sequential(_Container):
    """Modules that are called one after the other.

    Consecutive layers that an engine can compute together run as one op; see :mod:`fastconv.nn.fused_chain`.

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

    def __add__(self, other: Sequential) -> Sequential:
        check(
            isinstance(other, Sequential),
            "Sequential",
            f"only a Sequential can be added, got {type(other).__name__}; use extend() for other modules",
        )
        return Sequential(*self, *other)

    def __mul__(self, times: int) -> Sequential:
        check(
            isinstance(times, int) and times > 0,
            "Sequential",
            f"the number of repetitions must be a positive int, got {times!r:.60}",
            TypeError if not isinstance(times, int) else ValueError,
        )
        return Sequential(*(m for _ in range(times) for m in self))

    __rmul__ = __mul__

    def __imul__(self, times: int) -> Self:
        return self.extend(list(self * times)[len(self) :])

    def forward(self, x: Any) -> Any:
        """The result of the last module; each module gets the result of the one before it."""
        return fused_chain.run(list(self), x)


class ModuleDict(Module):
    """Registered modules by name; it has no ``forward``.

    Parameters
    ----------
    modules : mapping of str to Module, or pairs
        The members at first; ``d[name] = module``, ``update``, ``pop`` and ``clear`` change the dict.

    Raises
    ------
    KeyError
        If a name is empty, contains a dot, or is an attribute of the class, such as ``"keys"``.

    Examples
    --------
    >>> d = nn.ModuleDict({"act": nn.ReLU(), "flat": nn.Flatten()})
    >>> list(d), d["act"], "x" in d
    (['act', 'flat'], ReLU(), False)
    """

    def __init__(self, modules: Members | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, key: str) -> Module:
        return cast("dict[str, Module]", self._modules)[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        self[key]  # raises a KeyError for other attributes
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: str) -> bool:
        return key in self._modules

    def clear(self) -> None:
        """Remove all modules."""
        for key in list(self):
            del self[key]

    def pop(self, key: str) -> Module:
        """Remove the module ``key`` and return it."""
        module = self[key]
        del self[key]
        return module

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._modules.keys()

    def items(self) -> ItemsView[str, Module]:
        """Pairs of name and module."""
        return cast("dict[str, Module]", self._modules).items()

    def values(self) -> ValuesView[Module]:
        """The modules."""
        return cast("dict[str, Module]", self._modules).values()

    def update(self, modules: Members) -> None:
        """Add the modules of a mapping, or of pairs of name and module; a name that exists is replaced."""
        for key, module in pairs("ModuleDict", modules):
            self[key] = module


def pairs(name: str, members: Any) -> list[tuple[str, Any]]:
    """The pairs of a mapping or of a sequence of pairs; errors name the class ``name``."""
    if hasattr(members, "items"):
        return list(members.items())
    check(
        isinstance(members, Iterable),
        name,
        f"expected a mapping or pairs of name and value, got {type(members).__name__}",
        TypeError,
    )
    found = [tuple(m) if isinstance(m, Iterable) else (m,) for m in members]
    for i, m in enumerate(found):
        check(len(m) == 2, name, f"expected pairs of name and value, got {len(m)} values at index {i}")
    return cast("list[tuple[str, Any]]", found)
