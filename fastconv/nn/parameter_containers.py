"""Modules that hold parameters: ParameterList and ParameterDict."""

# Users' arguments are checked at run time, although by the declared types some checks look unnecessary.
# pyright: reportUnnecessaryIsInstance=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, KeysView
from typing import TYPE_CHECKING, Any, overload

from ..checks import check, shape_str
from ..tensor import Tensor
from .containers import pairs
from .module import Module
from .parameter import Parameter

if TYPE_CHECKING:
    from typing_extensions import Self


#: Means that the method ``pop`` was called without a default, because None can be one.
_MISSING: Any = object()


def _registered(value: Any) -> Any:
    """A Tensor as a parameter; anything else as it is."""
    return Parameter(value) if isinstance(value, Tensor) and not isinstance(value, Parameter) else value


def _line(key: object, value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"({key}): {type(value).__name__}"
    where = f" ({value.device})" if value.device != "cpu" else ""
    return f"({key}): {type(value).__name__} of {value.dtype}, {shape_str(value.shape)}{where}"


class ParameterList(Module):
    """A list of parameters, which are registered; it cannot be called.

    Tensors become parameters. Other values are kept as they are.

    Parameters
    ----------
    values : iterable, optional
        The members at first; ``append``, ``extend`` and ``p[i] = value`` change the list.

    Examples
    --------
    >>> p = nn.ParameterList([fc.ones(2), fc.zeros(3)])
    >>> len(p), [name for name, _ in p.named_parameters()]
    (2, ['0', '1'])
    """

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        self._size = 0
        if values is not None:
            self.extend(values)

    def _name(self, i: Any) -> str:
        i = operator.index(i)
        check(
            -self._size <= i < self._size,
            "ParameterList",
            f"index {i} is out of range for {self._size} values",
            IndexError,
        )
        return str(i % self._size)

    @overload
    def __getitem__(self, i: int) -> Any: ...
    @overload
    def __getitem__(self, i: slice) -> ParameterList: ...
    def __getitem__(self, i: int | slice) -> Any:
        if isinstance(i, slice):
            return ParameterList([self[k] for k in range(*i.indices(self._size))])
        return getattr(self, self._name(i))

    def __setitem__(self, i: int, value: Any) -> None:
        setattr(self, self._name(i), _registered(value))

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Any]:
        return iter([self[i] for i in range(self._size)])

    def __iadd__(self, values: Iterable[Any]) -> Self:
        return self.extend(values)

    def append(self, value: Any) -> Self:
        """Add a value at the end."""
        self._size += 1
        self[self._size - 1] = value
        return self

    def extend(self, values: Iterable[Any]) -> Self:
        """Add several values at the end. A Tensor is one value, so it raises a TypeError here."""
        check(
            isinstance(values, Iterable) and not isinstance(values, Tensor),
            "ParameterList",
            f"expected several values, got {type(values).__name__}",
            TypeError,
        )
        for value in list(values):
            self.append(value)
        return self

    def extra_repr(self) -> str:
        """A line for each value."""
        return "\n  ".join(_line(i, value) for i, value in enumerate(self))

    def __repr__(self) -> str:
        return f"ParameterList(\n  {self.extra_repr()}\n)" if self._size else "ParameterList()"

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Raise a RuntimeError, because a list of parameters computes nothing."""
        raise RuntimeError("ParameterList: it holds parameters and cannot be called")


class ParameterDict(Module):
    """Parameters by name, which are registered; it cannot be called.

    Tensors become parameters. Other values are kept as they are.

    Parameters
    ----------
    parameters : mapping or pairs, optional
        The members at first; ``d[name] = value``, ``update``, ``pop`` and the like change the dict.

    Raises
    ------
    KeyError
        If a name is empty, contains a dot, or is an attribute of the class, such as ``"keys"``.

    Examples
    --------
    >>> d = nn.ParameterDict({"scale": fc.ones(2)})
    >>> "scale" in d, d["scale"].requires_grad, d.get("shift")
    (True, True, None)
    """

    def __init__(self, parameters: Any = None) -> None:
        super().__init__()
        self._names: dict[str, None] = {}
        if parameters is not None:
            self.update(parameters)

    def __getitem__(self, key: str) -> Any:
        if key not in self._names:
            raise KeyError(key)
        return getattr(self, key)

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in self._names:
            self._check_name("parameter", "_parameters", key)
            self._names[key] = None
        setattr(self, key, _registered(value))

    def __delitem__(self, key: str) -> None:
        del self._names[key]
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._names))

    def __reversed__(self) -> Iterator[str]:
        return reversed(list(self._names))

    def __contains__(self, key: str) -> bool:
        return key in self._names

    def __or__(self, other: Any) -> ParameterDict:
        joined = self.copy()
        joined.update(other)
        return joined

    def __ior__(self, other: Any) -> Self:
        self.update(other)
        return self

    def copy(self) -> ParameterDict:
        """Another dict with the same values."""
        return ParameterDict(self)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The value of ``key``; if it is missing, it is added with the value ``default``."""
        if key not in self:
            self[key] = default
        return self[key]

    def clear(self) -> None:
        """Remove all values."""
        for key in self:
            del self[key]

    def pop(self, key: str, default: Any = _MISSING) -> Any:
        """Remove the value of ``key`` and return it; if it is missing, return ``default``.

        Raises a KeyError if ``key`` is missing and there is no default, as ``dict.pop`` does.
        """
        if key not in self and default is not _MISSING:
            return default
        value = self[key]
        del self[key]
        return value

    def popitem(self) -> tuple[str, Any]:
        """Remove the pair that was added last and return it."""
        check(len(self) > 0, "ParameterDict", "popitem: the dict is empty", KeyError)
        key = next(reversed(self))
        return key, self.pop(key)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of ``key``, or ``default``."""
        return self[key] if key in self else default

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> ParameterDict:
        """A new dict with ``default`` for each of ``keys``."""
        return ParameterDict([(key, default) for key in keys])

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._names.keys()

    def items(self) -> Iterable[tuple[str, Any]]:
        """Pairs of name and value."""
        return [(key, self[key]) for key in self]

    def values(self) -> Iterable[Any]:
        """The values."""
        return [self[key] for key in self]

    def update(self, parameters: Any) -> None:
        """Add the values of a mapping, or of pairs of name and value; a name that exists is replaced."""
        for key, value in pairs("ParameterDict", parameters):
            self[key] = value

    def extra_repr(self) -> str:
        """A line for each value."""
        return "\n  ".join(_line(key, value) for key, value in self.items())

    def __repr__(self) -> str:
        return f"ParameterDict(\n  {self.extra_repr()}\n)" if len(self) else "ParameterDict()"

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Raise a RuntimeError, because a dict of parameters computes nothing."""
        raise RuntimeError("ParameterDict: it holds parameters and cannot be called")
