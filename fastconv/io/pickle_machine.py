"""The stack machine that reads a pickle: one small function per instruction.

A machine has a stack of values, marks (positions in the stack where a container begins), and a memo (values
that the pickle refers to again by number). :data:`INSTRUCTIONS` lists every instruction that it executes; a
pickle with any other is refused. The functions below take the machine and the instruction's argument::

    MARK  BININT 1  BININT 2  TUPLE        stack: ... | 1 | 2      ->      ... | (1, 2)
                                                 mark ^

A name is looked up in the tables of ``pickled.py`` and in those that the caller adds. Nothing is imported,
and nothing is called that is not in a table.
"""

# A file holds values of any type.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

import reprlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pickletools import genops
from types import SimpleNamespace
from typing import Any, BinaryIO

from .pickled import (
    FACTORIES,
    OBJECTS,
    Name,
    Refused,
    Unread,
    as_defaultdict,
    as_dict,
    as_set,
    set_state,
)


def unpickle(
    file: BinaryIO,
    calls: Mapping[str, Callable[..., Any]],
    constants: Mapping[str, object],
    persistent: Callable[..., Any],
    strict: bool,
) -> Any:
    """The value of the pickle that starts at the current position of ``file``.

    Parameters
    ----------
    file : binary file
    calls, constants : mapping
        Names that the pickle may call, and names that stand for a value; as ``pickled.CALLS`` and
        ``pickled.CONSTANTS``, which the caller includes.
    persistent : callable
        Returns a value that lies outside the pickle; the pickle gives the arguments.
    strict : bool
        Refuse an object that is not data. Otherwise an :class:`Unread` stands in its place.

    Raises
    ------
    Refused
        The pickle asks for something that is not data.
    ValueError
        It is damaged.
    """
    machine = Machine(calls, constants, persistent, strict)
    for opcode, argument, _ in genops(file):
        if opcode.name == "STOP":
            return machine.stack.pop()
        instruction = INSTRUCTIONS.get(opcode.name)
        if instruction is None:
            raise Refused(f"it uses the pickle instruction {opcode.name}")
        instruction(machine, argument)
    raise ValueError("the pickle has no end")


class Machine:
    """The state of the machine, and what several instructions share."""

    def __init__(
        self,
        calls: Mapping[str, Callable[..., Any]],
        constants: Mapping[str, object],
        persistent: Callable[..., Any],
        strict: bool,
    ):
        self.calls, self.constants, self.persistent, self.strict = calls, constants, persistent, strict
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def since_mark(self) -> list[Any]:
        """Remove the values above the last mark from the stack, and return them."""
        at = self.marks.pop()
        items = self.stack[at:]
        del self.stack[at:]
        return items

    def pairs(self) -> Iterator[tuple[Any, Any]]:
        """The same values as pairs of key and value."""
        items = self.since_mark()
        return zip(items[::2], items[1::2], strict=True)

    def add(self, items: Iterable[Any], *kinds: type) -> None:
        """Add ``items`` to the container on top of the stack, which must be one of ``kinds``."""
        container = self.stack[-1]
        if isinstance(container, Unread):
            container.items.extend(items)
        elif not isinstance(container, kinds):
            raise ValueError(f"the pickle adds to a {type(container).__name__}")
        elif isinstance(container, dict):
            container.update(as_dict(items))
        elif isinstance(container, set):
            container.update(as_set(items))
        else:
            container.extend(items)

    def unread(self, why: str, name: str, args: tuple[Any, ...] = ()) -> Unread:
        """A placeholder for an object that is not data; if ``strict``, it is refused."""
        if self.strict:
            raise Refused(why)
        return Unread(name, args)

    def known(self, name: str) -> Any:
        """The meaning of a name: a constant, or a :class:`Name` that may be called."""
        if name in self.constants:
            return self.constants[name]
        if name in self.calls or name in FACTORIES or name in OBJECTS:
            return Name(name)
        return self.unread(f"it refers to {name}", name)

    def call(self, name: Any, args: tuple[Any, ...]) -> Any:
        """The result of a function of the table."""
        if isinstance(name, Unread):
            return Unread(name.name, args)
        if not isinstance(name, Name) or name not in self.calls:
            raise Refused(f"it calls {reprlib.repr(name)}")
        function = self.calls[name]
        if any(isinstance(a, Unread) for a in args) and function is not as_defaultdict:
            return Unread(str(name), args)
        return function(*args)

    def new(self, name: Any, args: tuple[Any, ...], instruction: str) -> Any:
        """An object of a class that the pickle makes without calling the class."""
        if isinstance(name, Unread):
            return Unread(name.name, args)
        if isinstance(name, Name) and name in OBJECTS and not args:
            return SimpleNamespace()
        raise Refused(f"it makes an object of {reprlib.repr(name)} with the pickle instruction {instruction}")


# -------------------------------------------------------------------------------------------------
# instructions
def _literal(m: Machine, argument: Any) -> None:
    m.stack.append(argument)


def _making(make: Callable[[], Any]) -> Callable[[Machine, Any], None]:
    return lambda m, argument: m.stack.append(make())


def _nothing(m: Machine, argument: Any) -> None:
    """For PROTO and FRAME: version and size, which ``genops`` has already checked."""


def _put(m: Machine, number: int) -> None:
    m.memo[number] = m.stack[-1]


def _memoize(m: Machine, argument: Any) -> None:
    m.memo[len(m.memo)] = m.stack[-1]


def _get(m: Machine, number: int) -> None:
    m.stack.append(m.memo[number])


def _mark(m: Machine, argument: Any) -> None:
    m.marks.append(len(m.stack))


def _pop(m: Machine, argument: Any) -> None:
    m.stack.pop()


def _tuple_of(n: int) -> Callable[[Machine, Any], None]:
    def run(m: Machine, argument: Any) -> None:
        m.stack[-n:] = [tuple(m.stack[-n:])]

    return run


def _since_mark_as(kind: Callable[[list[Any]], Any]) -> Callable[[Machine, Any], None]:
    return lambda m, argument: m.stack.append(kind(m.since_mark()))


def _dict(m: Machine, argument: Any) -> None:
    m.stack.append(as_dict(m.pairs()))


def _append(m: Machine, argument: Any) -> None:
    value = m.stack.pop()
    m.add([value], list, deque)


def _appends(m: Machine, argument: Any) -> None:
    values = m.since_mark()
    m.add(values, list, deque)


def _set_item(m: Machine, argument: Any) -> None:
    value, key = m.stack.pop(), m.stack.pop()
    m.add([(key, value)], dict)


def _set_items(m: Machine, argument: Any) -> None:
    items = m.pairs()
    m.add(items, dict)


def _add_items(m: Machine, argument: Any) -> None:
    values = m.since_mark()
    m.add(values, set)


def _global(m: Machine, argument: str) -> None:
    m.stack.append(m.known(argument.replace(" ", ".")))


def _stack_global(m: Machine, argument: Any) -> None:
    name, module = m.stack.pop(), m.stack.pop()
    if not (isinstance(name, str) and isinstance(module, str)):
        raise ValueError("a name is not a string")
    m.stack.append(m.known(f"{module}.{name}"))


def _reduce(m: Machine, argument: Any) -> None:
    args, name = m.stack.pop(), m.stack.pop()
    m.stack.append(m.call(name, tuple(args)))


def _new_object(m: Machine, argument: Any) -> None:
    args, name = m.stack.pop(), m.stack.pop()
    m.stack.append(m.new(name, args, "NEWOBJ"))


def _new_object_ex(m: Machine, argument: Any) -> None:
    kwargs, args, name = m.stack.pop(), m.stack.pop(), m.stack.pop()
    m.stack.append(m.new(name, (*args, kwargs), "NEWOBJ_EX"))


def _object(m: Machine, argument: Any) -> None:
    name, *args = m.since_mark()
    m.stack.append(m.new(name, tuple(args), "OBJ"))


def _instance(m: Machine, argument: str) -> None:
    name = argument.replace(" ", ".")
    why = f"it makes an object of {name} with the pickle instruction INST"
    m.stack.append(m.unread(why, name, tuple(m.since_mark())))


def _build(m: Machine, argument: Any) -> None:
    state = m.stack.pop()
    set_state(m.stack[-1], state)


def _persistent(m: Machine, argument: Any) -> None:
    kind, *rest = m.stack.pop()
    if not isinstance(kind, str):
        raise ValueError("a reference to the outside is not a string")
    if kind == "storage":
        m.stack.append(m.persistent(*rest))
        return
    value = m.unread(f"it refers to {kind!r} outside it", kind)
    # old files of PyTorch hold the class of a module together with its source code
    is_class = kind == "module" and rest and isinstance(rest[0], Unread)
    m.stack.append(rest[0] if is_class else value)


#: Instruction -> its function. The names are those of ``pickletools.opcodes``; STOP is handled in `unpickle`.
INSTRUCTIONS: dict[str, Callable[[Machine, Any], None]] = {
    # numbers and strings that are written in the pickle
    **dict.fromkeys(("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"), _literal),
    **dict.fromkeys(("FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING"), _literal),
    **dict.fromkeys(("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"), _literal),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"), _literal),
    "NONE": _making(lambda: None),
    "NEWTRUE": _making(lambda: True),
    "NEWFALSE": _making(lambda: False),
    # containers
    "EMPTY_TUPLE": _making(tuple),
    "EMPTY_LIST": _making(list),
    "EMPTY_DICT": _making(dict),
    "EMPTY_SET": _making(set),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "TUPLE": _since_mark_as(tuple),
    "LIST": _since_mark_as(list),
    "DICT": _dict,
    "FROZENSET": _since_mark_as(lambda items: frozenset(as_set(items))),
    "APPEND": _append,
    "APPENDS": _appends,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "ADDITEMS": _add_items,
    # the stack and the memo
    "MARK": _mark,
    "POP": _pop,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _put),
    "MEMOIZE": _memoize,
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _get),
    # names, and what they make
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "NEWOBJ": _new_object,
    "NEWOBJ_EX": _new_object_ex,
    "OBJ": _object,
    "INST": _instance,
    "BUILD": _build,
    "BINPERSID": _persistent,
    # version and frames
    **dict.fromkeys(("PROTO", "FRAME"), _nothing),
}
