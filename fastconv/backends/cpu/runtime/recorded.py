"""A program as a list of kernel launches: recorded once per shape of input, then run without its ops.

Between two kernels an op spends some 10 to 100 microseconds on shapes, checks and memory, which is as long as
a small kernel takes. All of this is the same for the next input of the same shape. So the launches keep their
arguments, and scratch and results stay at their place in memory that belongs to the recording.

    first call    program -> op -> shapes, checks, memory -> kernel(arguments) -> op -> ...
                                                             (the arguments are noted)
    later calls   copy the inputs to their places; kernel(arguments); kernel(arguments); ...; copy the results

Some ops leave small arrays to NumPy, or do some work beside their kernels. Such an op is a step of its own,
which calls the op again and copies what it returns to the place of its result. Which ops these are is found
by comparing every op with its replay on other inputs.
"""

from __future__ import annotations

import numpy as np

from fastconv.backends.stand_in import StandIn

from ..codegen import jit
from . import layout, memory, strided_copy


class _Place:
    """The memory of an array, without the array that keeps it."""

    def __init__(self, x: np.ndarray):
        self.__array_interface__ = x.__array_interface__


def _each(function, structure):
    """``structure`` with ``function`` of each array in it; tuples, lists and dicts are searched."""
    if isinstance(structure, np.ndarray):
        return function(structure)
    if type(structure) in (tuple, list):
        return type(structure)([_each(function, s) for s in structure])
    if isinstance(structure, dict):
        return {k: _each(function, s) for k, s in structure.items()}
    return structure


def _arrays(structure) -> list[np.ndarray]:
    """The arrays in ``structure``."""
    found: list[np.ndarray] = []
    _each(found.append, structure)
    return found


def _like(x: np.ndarray) -> np.ndarray:
    """Memory for an array of x's shape in the order that kernels read."""
    return layout.empty(x.shape, x.dtype)[0] if x.ndim > 2 else memory.empty(x.shape, x.dtype)


#: Ops that every replay calls again. They check values, or read numbers that change from step to step.
AGAIN = frozenset(
    (
        "cross_entropy_fwd",
        "cross_entropy_mean_fwd",
        "dropout",
        "gather",
        "host_call",
        "nll_mean_fwd",
        "optimizer_step",
        "scatter",
        "to_host",
    )
)


class Recording:
    """``function`` on arrays of the shapes and dtypes of ``inputs`` (see ``record`` in the contract).

    Only the arrays that its ops return may depend on the inputs, because whatever else ``function`` does
    happens in the recording only.

    Parameters
    ----------
    apart : collection of int
        The numbers of ops that are called again by every replay, because they do more than launch kernels.

    Attributes
    ----------
    inputs : list of array
        Where a replay finds its inputs.
    output : array or structure of arrays
        What ``function`` returned; every replay writes to it.
    """

    def __init__(self, function, engine, inputs, apart=()):
        self._arena, self._steps, self._engine, self._apart = memory.Arena(), [], engine, apart
        self._kept = [function]  # it keeps its constants, which kernels may know by address
        self._ends, self._results = [], []  # of each op: how many steps up to its end, and the places
        with self._arena, jit.recording(self._note):
            # NumPy would copy an input into the order of kernels at every call, which is not recorded.
            self.inputs = [_like(x) for x in inputs]
            for place, x in zip(self.inputs, inputs):
                np.copyto(place, x)
            self.output = function(StandIn(engine, self._compute), *self.inputs)

    def _note(self, kernel, args):
        if kernel is None:
            self._kept.append(args)
        else:
            self._steps.append((kernel, _each(self._without_owner, args)))

    def _without_owner(self, x):
        """The array as later launches use it.

        Arrays of the arena do not keep their blocks, because launches that follow use these blocks again.
        """
        return np.asarray(_Place(x)) if memory.home(x) is self._arena else x

    def _compute(self, name, args):
        """The result of an op, noted as the kernels that it launched, or as a step of its own."""
        op, before = getattr(self._engine, name), len(self._steps)
        result = op(*args)
        # Arrays that stay: those of the arena, and others that the noted launches keep.
        kept = {_owner(x) for x in _arrays([args, *(given for _, given in self._steps[before:])])}
        stay = all(memory.home(x) is self._arena or _owner(x) in kept for x in _arrays(result))
        if result is None and len(self._steps) == before:  # NumPy wrote to one of the arguments
            stay = False
        if name in AGAIN or len(self._ends) in self._apart or not stay:
            del self._steps[before:]
            places = _each(_like, result)
            _fill(places, result)
            targets = _each(self._without_owner, places)
            if name == "zeros":
                self._steps.append((np.copyto, (targets, 0)))
            else:
                self._steps.append((_again, (op, _each(self._without_owner, args), targets)))
            result = places
        self._ends.append(len(self._steps))
        self._results.append(_each(self._without_owner, result))
        return result

    def differing(self, function, inputs) -> set[int]:
        """The numbers of the ops of which a replay on other inputs gives something else than the op."""
        found: set[int] = set()
        number = 0

        def compare(name, args):
            nonlocal number
            want = getattr(self._engine, name)(*args)
            for run, given in self._steps[self._ends[number - 1] if number else 0 : self._ends[number]]:
                run(*given)
            got = self._results[number]
            if name != "empty" and not all(map(_same, _arrays(got), _arrays(want))):
                found.add(number)
                _fill(got, want)
            number += 1
            return want

        with jit.lock:
            self._start(inputs)
            function(StandIn(self._engine, compare), *inputs)
        return found

    def _start(self, inputs):
        for place, x in zip(self.inputs, inputs, strict=True):
            strided_copy.copy(place, x)

    def run(self, inputs) -> None:
        """Replay, which writes to ``output``."""
        with jit.lock:
            self._start(inputs)
            for run, args in self._steps:
                run(*args)

    def __call__(self, *inputs: np.ndarray):
        with jit.lock:
            self.run(inputs)
            return _each(lambda y: y.copy(order="K"), self.output)


def _again(op, args, targets):
    _fill(targets, op(*args))


def _fill(targets, result):
    for target, part in zip(_arrays(targets), _arrays(result), strict=True):
        np.copyto(target, part)


def _same(a, b):
    return a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def _owner(x: np.ndarray) -> int:
    """The id of the array that owns the memory of ``x``."""
    while isinstance(x.base, np.ndarray):
        x = x.base
    return id(x)


def others(inputs) -> list[np.ndarray]:
    """Inputs of the same shapes with other values: other floats, and integers in another order."""
    return [x * x.dtype.type(-0.5) if x.dtype.kind == "f" else np.roll(x, 1) for x in inputs]


def record(function, engine, inputs):
    """A :class:`Recording` of ``function``."""
    replay, changed = Recording(function, engine, inputs), others(inputs)
    if apart := replay.differing(function, changed):
        replay = Recording(function, engine, inputs, apart)
    return None if replay.differing(function, changed) else replay
