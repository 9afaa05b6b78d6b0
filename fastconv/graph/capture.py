"""Capture: a function runs once, and what it asks of the engine becomes a :class:`Program`.

::

    function(x) -> layers -> F.conv2d -> engine.conv_fwd(array, array, None, spec)
                                          |  a stand-in for the engine notes the call, and which
                                          |  of its arguments are results of earlier calls

An array is known by its place in memory. Arrays that come from nowhere, such as weights, are constants. What
depends on the numbers in an array cannot be noted, and is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from .. import backends, random, variable
from ..backends.stand_in import StandIn
from ..checks import shape_str
from ..tape import no_grad
from .program import Call, Program, Value
from .user_line import caller

#: Ops that write to an argument, and what a program does not repeat.
WRITES = {
    **dict.fromkeys(("setitem", "index_add", "scatter"), "a part of a tensor changes in place"),
    "running_step": "running statistics change; call net.eval(), because the net is in training mode",
    "optimizer_step": "an optimizer changes weights",
}


class CannotCapture(RuntimeError):
    """The function does something that a program cannot repeat; the message says what."""


def capture(function: Callable[..., Any], inputs: Sequence[Any]) -> tuple[Program, Any]:
    """Run ``function`` on tensors of ``inputs``; what it computed as a program, and its result.

    Parameters
    ----------
    function : callable
        Takes Tensors, returns a Tensor or tuples, lists and dicts of Tensors. Python code in it runs now
        only. Modules of a net from ``optimize_for_inference`` compute what they compute without it.
    inputs : sequence of array

    Raises
    ------
    CannotCapture
        The function reads the numbers of a tensor, draws random numbers, changes one of its inputs or
        weights, or looks at memory that the engine does not know. The message names what it called, and the
        line of its code.
    """
    inputs = [_apart(a, inputs[:i]) for i, a in enumerate(inputs)]
    trace = _Trace()
    values = [trace.result(a) for a in inputs]
    trace.given = {variable.owner(a) for a in inputs}
    token = backends.observer.set(trace)
    try:
        with no_grad(), random.drawing_from(_NoNumbers()):  # type: ignore[arg-type]
            output = function(*map(variable.tensor_class, inputs))
    finally:
        backends.observer.reset(token)
    return Program(values, trace.calls, trace.structure(output)), output


def refused(what: str, named: bool = True) -> CannotCapture:
    """The error that says ``what`` cannot be captured, which function does it, and in which line."""
    by, where = caller(capture.__code__)
    return CannotCapture(f"{what}{f' by {by}' * bool(named and by)}{f', at {where}' * bool(where)}")


class _NoNumbers:
    """Stands for the random generator."""

    def __getattr__(self, distribution: str) -> Any:
        raise refused("random numbers are drawn")


class _Trace:
    """The observer of a capture: calls, and the values that arrays in memory are."""

    faithful = True

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.given: set[int] = set()  # owners of the memory of the inputs
        self._values: dict[Any, Value] = {}
        self._stale: set[Any] = set()  # arrays that a change in place of the same memory has outdated
        self._owners: dict[int, set[Any]] = {}  # of results: owner of the memory -> places in it
        self._kept: list[Any] = []  # so that no place is used twice
        self._callers: list[Any] = [None]  # the modules that run now

    def call(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run ``module``; of an optimized net, each layer on its own, because passes merge layers."""
        forward = module.forward
        self._callers.append(module)
        try:
            return getattr(forward, "unoptimized", forward)(*args, **kwargs)
        finally:
            self._callers.pop()

    def engine(self, engine: Any) -> Any:
        """The stand-in for ``engine``. It has no optional ops, which merge several of the contract."""
        return StandIn(engine, partial(self.note, engine), optional=False)

    # ------------------------------------------------------------------------------------------ values
    def result(self, array: Any) -> Value:
        """A new value for what is in ``array`` now."""
        place, owner = _place(array), variable.owner(array)
        value = self._values[place] = Value(tuple(array.shape), array.dtype)
        self._stale.discard(place)
        self._owners.setdefault(owner, set()).add(place)
        self._kept.append(array)
        return value

    def value(self, array: Any) -> Value:
        """The value in ``array``; a constant if no call has computed it."""
        place = _place(array)
        if place in self._stale:
            shape = shape_str(array.shape)
            raise refused(f"a view of a tensor ({shape}) is used after the tensor changed in place", False)
        if (value := self._values.get(place)) is None:
            if variable.owner(array) in self._owners:
                raise refused(f"memory of a tensor ({shape_str(array.shape)}) is read past the engine", False)
            value = self._values[place] = Value.of(array)
            self._kept.append(array)
        return value

    def structure(self, output: Any) -> Any:
        """``output`` with Values in place of Tensors and arrays."""
        if isinstance(output, variable.Variable):
            return self.value(output.array)
        if isinstance(output, np.ndarray):
            return self.value(output)
        if isinstance(output, dict):
            return {k: self.structure(v) for k, v in output.items()}
        if type(output) in (tuple, list):
            return type(output)([self.structure(v) for v in output])
        if output is None or isinstance(output, (bool, int, float, str)):
            return output
        raise CannotCapture(
            f"a result is neither a tensor nor a tuple, list or dict: {type(output).__name__}"
        )

    # ------------------------------------------------------------------------------------------ calls
    def note(self, engine: Any, op: str, args: tuple[Any, ...]) -> Any:
        """Compute ``op`` and note the call."""
        if op == "setitem" and args[1] is Ellipsis:
            return self._replace(engine, args[0], args[2])
        if op in WRITES:
            raise refused(WRITES[op], named=op not in ("running_step", "optimizer_step"))
        if op == "to_host" and self._depends(args[0]):
            raise refused(f"the numbers of a tensor ({shape_str(args[0].shape)}) are read")
        given = self._arguments(args)
        result = getattr(engine, op)(*args)
        self.calls.append(Call(op, given, self._results(result), self._callers[-1]))
        return result

    def _depends(self, array: Any) -> bool:
        return variable.owner(array) in self._owners

    def _replace(self, engine: Any, target: Any, values: Any) -> None:
        """All of ``target`` becomes ``values``."""
        owner = variable.owner(target)
        if owner in self.given or owner not in self._owners or _place(target) not in self._values:
            raise refused(f"an input or a weight ({shape_str(target.shape)}) is changed in place")
        if not hasattr(values, "shape") or tuple(values.shape) != tuple(target.shape):
            raise refused(f"a tensor ({shape_str(target.shape)}) is filled in place")
        value = self.value(values)
        engine.setitem(target, ..., values)
        self._stale |= self._owners[owner]
        place = _place(target)
        self._stale.discard(place)
        self._values[place] = value

    def _arguments(self, structure: Any) -> Any:
        if type(structure) in (tuple, list):
            return type(structure)([self._arguments(s) for s in structure])
        is_array = hasattr(structure, "strides") and not isinstance(structure, np.generic)
        return self.value(structure) if is_array else structure

    def _results(self, structure: Any) -> Any:
        if isinstance(structure, tuple):
            return tuple([self._results(s) for s in structure])
        return self.result(structure) if hasattr(structure, "shape") else structure


def _apart(array: Any, others: Sequence[Any]) -> Any:
    """``array``, or a copy of it if one of ``others`` may be on the same memory.

    A later call of the program may have different arrays there.
    """
    if isinstance(array, np.ndarray):
        return array.copy() if any(np.may_share_memory(array, a) for a in others) else array
    shared = variable.owner(array) in map(variable.owner, others)
    return variable.tensor_class(array).clone().array if shared else array


def _place(array: Any) -> Any:
    if isinstance(array, np.ndarray):
        return array.ctypes.data, array.shape, array.strides, array.dtype.str
    return id(array)
