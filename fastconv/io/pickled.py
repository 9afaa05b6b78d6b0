"""What a pickle may hold: the names that it may use, and the values that these stand for.

A pickle is a program for a small stack machine, whose instructions can call any function by its name. The
machine in ``pickle_machine.py`` calls only the functions in :data:`CALLS` and those that a file format adds
(``pth.py``). They make values. Every other name is refused, or replaced by an :class:`Unread`. Nothing that a
file names is imported or executed.
"""

# A file holds values of any type.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta, timezone
from math import prod
from pathlib import PurePosixPath, PureWindowsPath
from types import SimpleNamespace
from typing import Any

import numpy as np


class Refused(ValueError):
    """A file asks for something that is not data."""


class Unread:
    """A placeholder for an object that was not read, because its class or function is not data.

    Attributes
    ----------
    name : str
        The class or function as the file spells it, e.g. ``"yacs.config.CfgNode"``.
    args : tuple
        The arguments that the file gives to it.
    state : object
        The attributes that the file sets, usually a dict; None if it sets none.
    items : list
        The items that the file adds; pairs of key and value if the object is a kind of dict.
    """

    name: str
    args: tuple[Any, ...]
    state: Any
    items: list[Any]

    def __init__(self, name: str, args: tuple[Any, ...] = ()):
        self.name, self.args, self.state, self.items = name, args, None, []

    def __repr__(self) -> str:
        return f"<{self.name}, not read>"

    def __getattr__(self, attribute: str) -> Any:
        raise AttributeError(
            f"{self.name} was not read from the file, so it has no {attribute}; there are "
            ".name .args .state .items, what the file says about it"
        )


class Name(str):
    """A name that the file may call, as the file spells it; if the file does not call it, it is a string."""


# ------------------------------------------------------------------------------------------------- values
def _hashable(value: Any) -> Any:
    """``value``, if it may be a key or in a set; nested tuples may not: their hash may take forever."""
    if not all(isinstance(v, KEYS) for v in (value if isinstance(value, tuple) else (value,))):
        raise ValueError(f"a {type(value).__name__} is a key or in a set")
    return value


def as_dict(pairs: Any = ()) -> dict[Any, Any]:
    """A dict made of pairs, or a copy of a dict; its keys are checked."""
    return {_hashable(k): v for k, v in (pairs.items() if isinstance(pairs, dict) else pairs)}


def as_defaultdict(factory: Any = None, pairs: Any = ()) -> dict[Any, Any]:
    """A defaultdict whose factory is one of :data:`FACTORIES`, else a plain dict."""
    kind = FACTORIES.get(factory) if isinstance(factory, Name) else None
    return as_dict(pairs) if kind is None else defaultdict(kind, as_dict(pairs))


def as_set(items: Iterable[Any] = ()) -> set[Any]:
    """A set whose elements are checked."""
    return {_hashable(v) for v in items}


def _bytes(text: str = "", encoding: str = "latin1") -> bytes:
    """Bytes from text, the form in which pickles before protocol 3 hold them."""
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"bytes in the encoding {encoding}")
    return text.encode("latin1")


def _bytearray(data: str | bytes = "", encoding: str = "latin1") -> bytearray:
    return bytearray(data if isinstance(data, bytes) else _bytes(data, encoding))


def _dtype(text: str, *_: Any) -> np.dtype[Any]:
    if not re.fullmatch(r"[biufcSU]\d{1,9}", text):
        raise Refused(f"it holds NumPy values of type {text!r}")
    return np.dtype("<" + text)


def _scalar(dtype: Any, data: Any) -> Any:
    return np.frombuffer(data, _known_dtype(dtype), 1)[0]


def _known_dtype(dtype: Any) -> np.dtype[Any]:
    if not isinstance(dtype, np.dtype) or not dtype.itemsize:
        raise ValueError("a NumPy array without its type")
    return dtype


def _new_array(*_: Any) -> np.ndarray:
    return np.zeros(0, np.uint8)  # the instruction BUILD sets its contents


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> np.ndarray:
    if not isinstance(data, (bytes, bytearray)) or order not in ("C", "F"):
        raise ValueError("a NumPy array of unknown layout")
    return np.frombuffer(bytearray(data), _known_dtype(dtype)).reshape(_sizes(shape), order=order)


def _sizes(shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("the shape of a NumPy array is not a tuple of sizes")
    return shape


#: Name -> the value that it stands for, such as a type in a configuration.
CONSTANTS: dict[str, Any] = {
    f"numpy.{name}": getattr(np, name)
    for name in (
        "float16",
        "float32",
        "float64",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
    )
} | {"numpy.bool_": np.bool_, "numpy.bool": np.bool_, "numpy.ndarray": np.ndarray}

#: The functions that a defaultdict may call for a missing key.
FACTORIES = {
    f"{module}.{kind.__name__}": kind
    for module in ("builtins", "__builtin__")
    for kind in (list, dict, set, tuple, int, float, str, bool)
}

#: Name -> the function that makes its value. Each must be safe with any arguments.
CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": as_dict,
    "collections.Counter": as_dict,
    "collections.defaultdict": as_defaultdict,
    "collections.deque": lambda items=(), maxlen=None: deque(items, maxlen),
    "_codecs.encode": _bytes,
    "numpy.dtype": _dtype,
    "datetime.date": date,
    "datetime.datetime": datetime,
    "datetime.time": time,
    "datetime.timedelta": timedelta,
    "datetime.timezone": timezone,
    **{
        f"{module}.{name}": make
        for module in ("builtins", "__builtin__")
        for name, make in (
            ("set", as_set),
            ("frozenset", lambda items=(): frozenset(as_set(items))),
            ("bytes", _bytes),
            ("bytearray", _bytearray),
            ("complex", lambda real, imaginary: complex(real, imaginary)),
        )
    },
    **{
        f"numpy.{core}.{name}": make
        for core in ("core", "_core")
        for name, make in (
            ("multiarray.scalar", _scalar),
            ("multiarray._reconstruct", _new_array),
            ("numeric._frombuffer", _frombuffer),
        )
    },
    **{
        f"pathlib{module}.{kind}": path
        for module in ("", "._local")
        for kind, path in (
            ("PosixPath", PurePosixPath),
            ("PurePosixPath", PurePosixPath),
            ("WindowsPath", PureWindowsPath),
            ("PureWindowsPath", PureWindowsPath),
        )
    },
}

#: Classes whose objects consist of their attributes alone; they become ``types.SimpleNamespace``.
OBJECTS = {"argparse.Namespace", "types.SimpleNamespace"}

#: The types that a key or an element of a set may have; it may also be a tuple of these.
KEYS: tuple[type, ...] = (
    str,
    int,
    float,
    complex,
    bytes,
    type(None),
    frozenset,
    np.generic,
    np.dtype,
    type,
    date,
    time,
    timedelta,
    PurePosixPath,
    PureWindowsPath,
    Unread,
)


def set_state(target: Any, state: Any) -> None:
    """For the instruction BUILD: set the attributes of ``target``, or the contents of an array."""
    if isinstance(target, Unread):
        target.state = state
    elif isinstance(target, SimpleNamespace):
        vars(target).update({k: v for k, v in state.items() if isinstance(k, str)})
    elif isinstance(target, np.dtype):
        if state[1] == ">":
            raise Refused("it holds big-endian NumPy values")
    elif isinstance(target, np.ndarray):
        _, shape, dtype, fortran, data = state
        if prod(_sizes(shape)) * _known_dtype(dtype).itemsize != len(data) or not isinstance(
            data, (bytes, str)
        ):
            raise ValueError("a NumPy array has more or fewer bytes than its shape says")
        data = _bytes(data) if isinstance(data, str) else data
        array: Any = target
        array.__setstate__((1, shape, dtype, bool(fortran), data))
    elif not isinstance(target, dict):  # attributes of a dict, such as versions of modules, are left out
        raise Refused(f"it sets attributes of {type(target).__name__}")
