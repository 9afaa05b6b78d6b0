"""Steps of the optimizers: one kernel walks all parameters, following a table of where each lies.

::

    table, a row per piece of a parameter:   first element of  param | grad | states ..,   their number
    block b takes row b; its threads walk the piece

The numbers of a step (learning rate and so on) are a tuple; in a graph, which may replay the kernel with
other numbers, they are an array.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from fastconv.backends.common.optimizers import NUMBERS, rules

from ..runtime import context, layout, memory
from ..runtime.array import DeviceArray, window
from ..runtime.launch import SIMULATED, THREADS, body, cuda, kernel, launch, math

Arrays = Sequence[DeviceArray]
_PIECE = 64 if SIMULATED else 8192


def _rows(places, sizes):
    """The kernel's table: ``places`` are the first elements of the arrays, a row per parameter."""
    pieces = -(-sizes // _PIECE)
    owner = np.repeat(np.arange(len(sizes)), pieces)
    start = (np.arange(len(owner)) - np.repeat(np.cumsum(pieces) - pieces, pieces)) * _PIECE
    count = np.minimum(sizes[owner] - start, _PIECE)
    return np.column_stack([places[owner] + start[:, None], count]).astype(np.int64)


_last: dict[str, tuple] = {}  # rule -> the places and sizes of the arrays it was given last, and the table


def _table(name, *lists):
    """An argument that reaches all of the arrays, and the kernel's table, from lists of the same length."""
    reach, base = window([a for arrays in lists for a in arrays])
    addresses, sizes = [a.address for arrays in lists for a in arrays], [a.size for a in lists[0]]
    what = addresses, sizes, reach.dtype
    last, table = _last.get(name, (None, None))
    if last != what:
        places = (np.array(addresses).reshape(len(lists), -1).T - base) // reach.dtype.itemsize
        table = memory.upload(_rows(places, np.array(sizes)))
        _last[name] = what, table
    return reach, table


@functools.cache
def _kernel(name, real):
    zero, one = real(0), real(1)
    rule = rules(
        select=body(lambda condition, a, b: a if condition else b),
        sign=body(lambda x: one if x > zero else -one if x < zero else x),
        sqrt=body(lambda x: math.sqrt(x)),
        zero=zero,
    )[name]
    update, states = body(rule.update), rule.states

    def step(memory, table, numbers):
        # the tests of ``states`` are decided at compile time
        sign, decay, shrink = numbers[0], numbers[1], numbers[2]
        own = (
            numbers[3],
            numbers[4],
            numbers[5],
            numbers[6],
            numbers[7],
            numbers[8],
            numbers[9],
            numbers[10],
        )
        row = cuda.blockIdx.x * (states + 3)
        for i in range(cuda.threadIdx.x, table[row + states + 2], cuda.blockDim.x):
            p, g = memory[table[row] + i], memory[table[row + 1] + i]
            new, a, b, c = update(
                shrink * p,
                sign * g + decay * p,
                memory[table[row + 2] + i] if states > 0 else zero,
                memory[table[row + 3] + i] if states > 1 else zero,
                memory[table[row + 4] + i] if states > 2 else zero,
                own,
            )
            memory[table[row] + i] = new
            if states > 0:
                memory[table[row + 2] + i] = a
            if states > 1:
                memory[table[row + 3] + i] = b
            if states > 2:
                memory[table[row + 4] + i] = c

    step.__name__ = f"optimizer_step_{name}"
    return kernel(step)


def optimizer_step(
    name: str, params: Arrays, grads: Arrays, states: Sequence[Arrays], numbers: Sequence[float]
) -> None:
    """One step by a rule of ``common/optimizers.py``, in place.

    The kernel sees copies of arrays whose memory order differs from their parameter's. Such states are copied
    back.
    """
    if not params:
        return
    real = params[0].dtype.type
    # as many as the kernel reads, whatever the rule
    padded = context.numbers(tuple(real(v) for v in (*numbers, *[0] * (3 + NUMBERS - len(numbers)))))
    if context.current().phase == "refresh":  # the numbers are in place; kernels are replayed
        return
    grads, *aligned = (
        [layout.like(a, p) for a, p in zip(arrays, params, strict=True)] for arrays in (grads, *states)
    )
    step = _kernel(name, real)
    reach, table = _table(name, params, grads, *aligned)
    launch(step, table.shape[0], THREADS, reach, table, padded)
    for arrays, used in zip(states, aligned):
        for a, b in zip(arrays, used):
            if a is not b:
                layout.copy_to(b, a)
