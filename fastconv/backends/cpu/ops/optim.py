"""One step of an optimizer over all parameters in one launch, by the formulas of ``common/optimizers.py``.

parameters laid end to end:   [ p0        | p1  | p2                    | ... ]
threads: equal shares of the   <- thread 0 ->|<- thread 1            ->|
elements, whatever parameter they are in
"""

from __future__ import annotations

import functools
from itertools import accumulate

import numpy as np

from fastconv.backends.common.optimizers import STATES, rules

from ..codegen.emitter import view1d
from ..codegen.jit import body, kernel, split_range
from ..runtime import layout
from . import borrowed as reference

# Bytes of an array object before its first field in NumPy's C API, which is the address of its data.
HEAD = object.__basicsize__

inline = body(inline=True)
_select = inline(lambda condition, a, b: a if condition else b)


@body
def part(ids, p, first, end, offsets, like):
    """The elements of parameter ``p`` between ``first`` and ``end`` of all elements laid end to end.

    ``ids``: addresses of the array objects. The kernel reads the addresses of their data itself, because
    asking every array in Python takes as long as the update of a small network.
    """
    start, stop = max(first, offsets[p]), min(end, offsets[p + 1])
    data = view1d(ids[p] + HEAD, 1, ids)[0]
    return view1d(data + (start - offsets[p]) * like.itemsize, max(stop - start, 0), like)


@functools.cache
def _kernel(name, real):
    zero = real(0)
    rule = rules(_select, np.sign, np.sqrt, zero)[name]
    update, states = inline(rule.update), rule.states

    def run(thread, threads, ids, offsets, numbers, like):
        # ids: a row for the parameters, one for the gradients and one for each of STATES states. The tests of
        # ``states`` are decided at compile time.
        sign, decay, shrink, own = numbers[0], numbers[1], numbers[2], numbers[3:]
        first, end = split_range(thread, threads, offsets[-1])
        for k in range(offsets.size - 1):
            p, g = part(ids[0], k, first, end, offsets, like), part(ids[1], k, first, end, offsets, like)
            a = part(ids[2], k, first, end, offsets, like)
            b = part(ids[3], k, first, end, offsets, like)
            c = part(ids[4], k, first, end, offsets, like)
            for i in range(p.size):
                new, a_new, b_new, c_new = update(
                    shrink * p[i],
                    sign * g[i] + decay * p[i],
                    a[i] if states > 0 else zero,
                    b[i] if states > 1 else zero,
                    c[i] if states > 2 else zero,
                    own,
                )
                p[i] = new
                if states > 0:
                    a[i] = a_new
                if states > 1:
                    b[i] = b_new
                if states > 2:
                    c[i] = c_new

    run.__qualname__ = f"optimizer_step.{name}.{np.dtype(real)}"
    return kernel(run)


def _run(name, written, grads, numbers):
    """Step the parameters (``written[0]``) and their states, the other lists of ``written``.

    All arrays of a parameter must be dense and have one order of axes in memory. In place of an array that is
    not, the kernel gets a copy, which is written back afterwards.
    """
    params = [p if p.flags.forc or layout.flat(p) else np.array(p) for p in written[0]]
    work = [params] + [[*map(layout.like, arrays, params)] for arrays in written[1:]]
    grads = [*map(layout.like, grads, params)]
    unused = [params] * (STATES + 1 - len(work))
    ids = np.array([[*map(id, arrays)] for arrays in (params, grads, *work[1:], *unused)], np.int64)
    offsets = np.array([0, *accumulate([p.size for p in params])], np.int64)
    dtype = params[0].dtype
    _kernel(name, dtype.type)(ids, offsets, tuple(np.array(numbers, dtype)), np.empty(0, dtype))
    for arrays, used in zip(written, work):
        for a, b in zip(arrays, used):
            if a is not b:
                a[...] = b


def optimizer_step(name, params, grads, states, numbers):
    # a kernel takes one dtype
    for dtype in sorted({p.dtype for p in params}, key=str):
        lists = [
            [a for a, p in zip(arrays, params) if p.dtype == dtype] for arrays in (params, grads, *states)
        ]
        if dtype.char in "fd":
            _run(name, [lists[0], *lists[2:]], lists[1], numbers)
        else:
            reference.optimizer_step(name, *lists[:2], lists[2:], numbers)
