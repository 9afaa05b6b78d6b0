"""Pickles, read without trusting them.

A pickle is a program for a small stack machine whose instructions can call any function by its name. The
machine here knows the instructions that build numbers, strings and containers, and calls only functions of
our own, which stand behind a few names (:data:`CALLS`, and those a file format adds) and make values. Every
other name is refused, or an :class:`Unread` stands in its place. Nothing that a file says is ever imported or
executed.
"""

from __future__ import annotations

import re
import reprlib
from collections import defaultdict, deque
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from math import prod
from pathlib import PurePosixPath, PureWindowsPath
from pickletools import genops
from types import SimpleNamespace

import numpy as np


class Refused(ValueError):
    """A file asks for something that is no data."""


class Unread:
    """What stands in the place of an object that was not read, because its class or function is not data.

    Attributes
    ----------
    name : str
        Of the class or function, as the file spells it, e.g. ``"yacs.config.CfgNode"``.
    args : tuple
        What the file gives to it.
    state : object
        The attributes that the file sets, mostly a dict; None without.
    items : list
        What the file appends; pairs of key and value for a kind of dict.
    """

    def __init__(self, name: str, args: tuple = ()):
        self.name, self.args, self.state, self.items = name, args, None, []

    def __repr__(self):
        return f"<{self.name}, not read>"

    def __getattr__(self, attribute):
        raise AttributeError(
            f"{self.name} was not read from the file, so it has no {attribute}; there are "
            ".name .args .state .items, what the file says of it"
        )


class _Name(str):
    """A name that may be called, as the file spelled it; just a string if nobody calls it."""


# ------------------------------------------------------------------------------------------------- values
def _hashable(value):
    """Keys and elements of sets: no deep tuples, whose hash may take for ever."""
    if not all(isinstance(v, KEYS) for v in (value if isinstance(value, tuple) else (value,))):
        raise ValueError(f"a {type(value).__name__} is a key or in a set")
    return value


def _dict(pairs=()):
    return {_hashable(k): v for k, v in (pairs.items() if isinstance(pairs, dict) else pairs)}


def _defaultdict(factory=None, pairs=()):
    kind = FACTORIES.get(factory) if isinstance(factory, _Name) else None
    return _dict(pairs) if kind is None else defaultdict(kind, _dict(pairs))


def _set(items=()):
    return {_hashable(v) for v in items}


def _bytes(text="", encoding="latin1"):
    """How pickles before protocol 3 write bytes: as text."""
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"bytes in the encoding {encoding}")
    return text.encode("latin1")


def _bytearray(data="", encoding="latin1"):
    return bytearray(data if isinstance(data, bytes) else _bytes(data, encoding))


def _dtype(text, *_):
    if not re.fullmatch(r"[biufcSU]\d{1,9}", text):
        raise Refused(f"it holds NumPy values of type {text!r}")
    return np.dtype("<" + text)


def _scalar(dtype, data):
    return np.frombuffer(data, _known_dtype(dtype), 1)[0]


def _known_dtype(dtype) -> np.dtype:
    if not isinstance(dtype, np.dtype) or not dtype.itemsize:
        raise ValueError("a NumPy array without its type")
    return dtype


def _new_array(*_):
    return np.zeros(0, np.uint8)  # BUILD gives it its contents


def _frombuffer(data, dtype, shape, order, *_):
    if not isinstance(data, (bytes, bytearray)) or order not in ("C", "F"):
        raise ValueError("a NumPy array of unknown layout")
    return np.frombuffer(bytearray(data), _known_dtype(dtype)).reshape(_sizes(shape), order=order)


def _sizes(shape) -> tuple:
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("the shape of a NumPy array is no tuple of sizes")
    return shape


#: Names that stand for themselves, as data (a type in a configuration).
CONSTANTS: dict[str, object] = {
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

#: What a defaultdict may call for a missing key.
FACTORIES = {
    f"{module}.{kind.__name__}": kind
    for module in ("builtins", "__builtin__")
    for kind in (list, dict, set, tuple, int, float, str, bool)
}

#: Name -> what makes the value in its place. Each of these takes any arguments a file may give it.
CALLS: dict[str, Callable] = {
    "collections.OrderedDict": _dict,
    "collections.Counter": _dict,
    "collections.defaultdict": _defaultdict,
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
            ("set", _set),
            ("frozenset", lambda items=(): frozenset(_set(items))),
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

#: Classes whose objects are their attributes.
OBJECTS = {"argparse.Namespace", "types.SimpleNamespace"}

KEYS = (
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


def _set_state(target, state) -> None:
    """The instruction BUILD."""
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
        target.__setstate__((1, shape, dtype, bool(fortran), data))
    elif not isinstance(target, dict):  # of a dict: such as the versions of modules, left out
        raise Refused(f"it sets attributes of {type(target).__name__}")


# ------------------------------------------------------------------------------------------------- the stack
# machine
LITERALS = {
    "INT",
    "BININT",
    "BININT1",
    "BININT2",
    "LONG",
    "LONG1",
    "LONG4",
    "FLOAT",
    "BINFLOAT",
    "STRING",
    "BINSTRING",
    "SHORT_BINSTRING",
    "UNICODE",
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE8",
    "BINBYTES",
    "SHORT_BINBYTES",
    "BINBYTES8",
    "BYTEARRAY8",
}
MAKERS = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}


def unpickle(file, calls: dict, constants: dict, persistent: Callable, strict: bool):
    """The value of the pickle that starts here in ``file``.

    Parameters
    ----------
    file : binary file
    calls, constants : dict
        As :data:`CALLS` and :data:`CONSTANTS`, which the caller includes.
    persistent : callable ``(tuple) -> value``
        Finds what lies outside the pickle.
    strict : bool
        Refuse what is no data; else put an :class:`Unread` in its place.
    """
    stack, marks, memo = [], [], {}

    def since_mark():
        at = marks.pop()
        items = stack[at:]
        del stack[at:]
        return items

    def pairs():
        items = since_mark()
        return zip(items[::2], items[1::2], strict=True)

    def top(*kinds):
        if not isinstance(stack[-1], (*kinds, Unread)):
            raise ValueError(f"the pickle adds to a {type(stack[-1]).__name__}")
        return stack[-1]

    def known(name: str):
        if name in constants:
            return constants[name]
        if name in calls or name in FACTORIES or name in OBJECTS:
            return _Name(name)
        return unread(f"it refers to {name}", name)

    def unread(why: str, name: str, args=()):
        if strict:
            raise Refused(why)
        return Unread(name, args)

    def call(name, args):
        if isinstance(name, Unread):
            return Unread(name.name, args)
        if not isinstance(name, _Name) or name not in calls:
            raise Refused(f"it calls {reprlib.repr(name)}")
        if any(isinstance(a, Unread) for a in args) and calls[name] is not _defaultdict:
            return Unread(str(name), args)
        return calls[name](*args)

    def new(name, args, opcode):
        if isinstance(name, Unread):
            return Unread(name.name, args)
        if isinstance(name, _Name) and name in OBJECTS and not args:
            return SimpleNamespace()
        raise Refused(f"it makes an object of {reprlib.repr(name)} with the pickle instruction {opcode}")

    def add(container, items):
        if isinstance(container, Unread):
            container.items.extend(items)
        elif isinstance(container, dict):
            container.update(_dict(items))
        elif isinstance(container, set):
            container.update(_set(items))
        else:
            container.extend(items)

    for opcode, arg, _ in genops(file):
        match opcode.name:
            case op if op in LITERALS:
                stack.append(arg)
            case op if op in MAKERS:
                stack.append(MAKERS[op]())
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo[arg] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(memo[arg])
            case "MARK":
                marks.append(len(stack))
            case "POP":
                stack.pop()
            case "TUPLE":
                stack.append(tuple(since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3" as op:
                stack[-int(op[-1]) :] = [tuple(stack[-int(op[-1]) :])]
            case "LIST":
                stack.append(since_mark())
            case "DICT":
                stack.append(_dict(pairs()))
            case "FROZENSET":
                stack.append(frozenset(_set(since_mark())))
            case "APPEND":
                value = stack.pop()
                add(top(list, deque), [value])
            case "APPENDS":
                values = since_mark()
                add(top(list, deque), values)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                add(top(dict), [(key, value)])
            case "SETITEMS":
                items = pairs()
                add(top(dict), items)
            case "ADDITEMS":
                values = since_mark()
                add(top(set), values)
            case "GLOBAL":
                stack.append(known(arg.replace(" ", ".")))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                if not (isinstance(name, str) and isinstance(module, str)):
                    raise ValueError("a name is no string")
                stack.append(known(f"{module}.{name}"))
            case "REDUCE":
                args, name = stack.pop(), stack.pop()
                stack.append(call(name, tuple(args)))
            case "NEWOBJ" as op:
                args, name = stack.pop(), stack.pop()
                stack.append(new(name, args, op))
            case "NEWOBJ_EX" as op:
                kwargs, args, name = stack.pop(), stack.pop(), stack.pop()
                stack.append(new(name, (*args, kwargs), op))
            case "OBJ" as op:
                name, *args = since_mark()
                stack.append(new(name, tuple(args), op))
            case "INST" as op:
                name = arg.replace(" ", ".")
                stack.append(
                    unread(
                        f"it makes an object of {name} with the pickle instruction INST",
                        name,
                        tuple(since_mark()),
                    )
                )
            case "BUILD":
                state = stack.pop()
                _set_state(stack[-1], state)
            case "BINPERSID":
                kind, *rest = stack.pop()
                if not isinstance(kind, str):
                    raise ValueError("a reference to the outside is no string")
                if kind == "storage":
                    stack.append(persistent(*rest))
                else:
                    value = unread(f"it refers to {kind!r} outside it", kind)
                    # with its source, in old files
                    is_class = kind == "module" and rest and isinstance(rest[0], Unread)
                    stack.append(rest[0] if is_class else value)
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                return stack.pop()
            case op:
                raise Refused(f"it uses the pickle instruction {op}")
    raise ValueError("the pickle has no end")
