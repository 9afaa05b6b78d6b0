"""Steps of the optimizers: one kernel walks all parameters, following a table of where each lies.

::

    table, a row per piece of a parameter:   first element of  param | grad | state | state,   their number
    block b takes row b; its threads walk the piece

The numbers of a step (learning rate and so on) are a tuple; in a graph, which may replay the kernel with
other numbers, they are an array.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from ..runtime import context, layout, memory
from ..runtime.array import DeviceArray, window
from ..runtime.launch import SIMULATED, THREADS, cuda, kernel, launch, math

Arrays = Sequence[DeviceArray]
_PIECE = 64 if SIMULATED else 8192


def _table(*lists):
    """An argument that reaches all of the arrays, and the kernel's table, from lists of the same length."""
    reach, base = window([a for arrays in lists for a in arrays])
    rows = []
    for arrays in zip(*lists):
        places = [(a.address - base) // a.itemsize for a in arrays]
        for start in range(0, arrays[0].size, _PIECE):
            rows.append([*(p + start for p in places), min(_PIECE, arrays[0].size - start)])
    return reach, np.array(rows, np.int64)


_tables: dict = {}  # kernel -> the table it was given last, on the host and on the device


def _step(kernel, params, grads, states, *numbers):
    """Launch ``kernel`` on the arrays.

    It sees copies of arrays whose memory order differs from their parameter's. Such states are copied back.
    """
    numbers = context.numbers(numbers)
    if context.current().phase == "refresh":  # the numbers are in place; kernels are replayed
        return
    grads, *aligned = (
        [layout.like(a, p) for a, p in zip(arrays, params, strict=True)] for arrays in (grads, *states)
    )
    reach, rows = _table(params, grads, *aligned)
    last = _tables.get(kernel)
    if last is None or not np.array_equal(last[0], rows):
        last = _tables[kernel] = rows, memory.upload(rows)
    launch(kernel, len(rows), THREADS, reach, last[1], numbers)
    for arrays, used in zip(states, aligned):
        for a, b in zip(arrays, used):
            if a is not b:
                layout.copy_to(b, a)


@functools.cache
def _sgd_kernel(real):
    zero = real(0)

    @kernel
    def sgd(memory, table, numbers):
        lr, momentum, gain, decay = numbers[0], numbers[1], numbers[2], numbers[3]
        nesterov, first = numbers[4] != zero, numbers[5] != zero
        row = cuda.blockIdx.x * 4
        for i in range(cuda.threadIdx.x, table[row + 3], cuda.blockDim.x):
            p = memory[table[row] + i]
            g = memory[table[row + 1] + i] + decay * p
            if momentum != zero:
                at = table[row + 2] + i
                v = g if first else momentum * memory[at] + gain * g
                memory[at] = v
                g = g + momentum * v if nesterov else v
            memory[table[row] + i] = p - lr * g

    return sgd


def sgd_step(
    params: Arrays,
    grads: Arrays,
    velocities: Arrays,
    lr: float,
    momentum: float,
    dampening: float,
    nesterov: bool,
    weight_decay: float,
    first: bool,
) -> None:
    """One step of stochastic gradient descent, in place; ``first``: the velocities hold nothing yet."""
    if not params:
        return
    real = params[0].dtype.type
    states = [velocities if momentum else grads]  # without momentum they are not read
    _step(
        _sgd_kernel(real),
        params,
        grads,
        states,
        *map(real, (lr, momentum, 1 - dampening, weight_decay, nesterov, first)),
    )


@functools.cache
def _adam_kernel(real):
    zero, one = real(0), real(1)

    @kernel
    def adam(memory, table, numbers):
        lr, beta1, rest1, beta2, rest2 = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
        eps, decay, correction1, correction2 = numbers[5], numbers[6], numbers[7], numbers[8]
        decoupled = numbers[9] != zero
        row = cuda.blockIdx.x * 5
        for i in range(cuda.threadIdx.x, table[row + 4], cuda.blockDim.x):
            p, g = memory[table[row] + i], memory[table[row + 1] + i]
            if decoupled:
                p = p * (one - lr * decay)
            else:
                g = g + decay * p
            m = beta1 * memory[table[row + 2] + i] + rest1 * g
            v = beta2 * memory[table[row + 3] + i] + rest2 * g * g
            memory[table[row + 2] + i] = m
            memory[table[row + 3] + i] = v
            memory[table[row] + i] = p - lr * (m / correction1) / (math.sqrt(v / correction2) + eps)

    return adam


def adam_step(
    params: Arrays,
    grads: Arrays,
    ms: Arrays,
    vs: Arrays,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """One step of Adam (Kingma and Ba 2015), in place; ``decoupled``: weight decay as in AdamW."""
    if not params:
        return
    real = params[0].dtype.type
    _step(
        _adam_kernel(real),
        params,
        grads,
        (ms, vs),
        *map(
            real,
            (
                lr,
                beta1,
                1 - beta1,
                beta2,
                1 - beta2,
                eps,
                weight_decay,
                1 - beta1**step,
                1 - beta2**step,
                decoupled,
            ),
        ),
    )
