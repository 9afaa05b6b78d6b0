"""One step of an optimizer over all parameters in one launch.

parameters laid end to end:   [ p0        | p1  | p2                    | ... ]
threads: equal shares of the   <- thread 0 ->|<- thread 1            ->|
elements, whatever parameter they are in
"""

from __future__ import annotations

from itertools import accumulate

import numpy as np

from ..codegen.emitter import view1d
from ..codegen.jit import body, kernel, prange, split_range
from ..runtime import layout

# Bytes of an array object before its first field in NumPy's C API, which is the address of its data.
HEAD = object.__basicsize__


@body
def part(ids, p, first, end, offsets, like):
    """The elements of parameter ``p`` between ``first`` and ``end`` of all elements laid end to end.

    ``ids``: addresses of the array objects. The kernel reads the addresses of their data itself, because
    asking every array in Python takes as long as the update of a small network.
    """
    start, stop = max(first, offsets[p]), min(end, offsets[p + 1])
    data = view1d(ids[p] + HEAD, 1, ids)[0]
    return view1d(data + (start - offsets[p]) * like.itemsize, max(stop - start, 0), like)


@kernel
def _sgd(threads, params, grads, velocities, offsets, numbers, nesterov, first_step, like):
    lr, momentum, keep, weight_decay = numbers
    for thread in prange(threads):
        first, end = split_range(thread, threads, offsets[-1])
        for k in range(params.size):
            p, g = part(params, k, first, end, offsets, like), part(grads, k, first, end, offsets, like)
            if momentum == 0:
                for i in range(p.size):
                    p[i] -= lr * (g[i] + weight_decay * p[i])
                continue
            v = part(velocities, k, first, end, offsets, like)
            for i in range(p.size):
                d = g[i] + weight_decay * p[i]
                w = d if first_step else momentum * v[i] + keep * d
                v[i] = w
                p[i] -= lr * (d + momentum * w if nesterov else w)


@kernel
def _adam(threads, params, grads, ms, vs, offsets, numbers, decoupled, like):
    step_size, beta1, beta2, rest1, rest2, root, eps, weight_decay, shrink = numbers
    for thread in prange(threads):
        first, end = split_range(thread, threads, offsets[-1])
        for k in range(params.size):
            p, g = part(params, k, first, end, offsets, like), part(grads, k, first, end, offsets, like)
            m, v = part(ms, k, first, end, offsets, like), part(vs, k, first, end, offsets, like)
            for i in range(p.size):
                d = g[i] if decoupled else g[i] + weight_decay * p[i]
                q = p[i] * shrink if decoupled else p[i]
                m[i] = beta1 * m[i] + rest1 * d
                v[i] = beta2 * v[i] + rest2 * d * d
                p[i] = q - step_size * m[i] / (np.sqrt(v[i]) * root + eps)


def _run(kernel, written, grads, *numbers):
    """Run ``kernel`` on the parameters (``written[0]``), their gradients and the other lists that it updates.

    All arrays of a parameter must be dense and have one order of axes in memory. In place of an array that is
    not, the kernel gets a copy, which is written back afterwards.
    """
    params = [p if p.flags.forc or layout.flat(p) else np.array(p) for p in written[0]]
    work = [params] + [[*map(layout.like, arrays, params)] for arrays in written[1:]]
    grads = [*map(layout.like, grads, params)]
    # SGD without momentum does not read the third list.
    ids = [np.array([*map(id, arrays)], np.int64) for arrays in (params, grads, *(work[1:] or [params]))]
    offsets = np.array([0, *accumulate([p.size for p in params])], np.int64)
    dtype = params[0].dtype
    kernel(*ids, offsets, tuple(np.array(numbers[0], dtype)), *numbers[1:], np.empty(0, dtype))
    for arrays, used in zip(written, work):
        for a, b in zip(arrays, used):
            if a is not b:
                a[...] = b


def _by_dtype(params):
    """Index lists of the parameters of each dtype, because a kernel takes one dtype."""
    return [
        [i for i, p in enumerate(params) if p.dtype == d] for d in sorted({p.dtype for p in params}, key=str)
    ]


def sgd_step(params, grads, velocities, lr, momentum, dampening, nesterov, weight_decay, first):
    lists = [params, velocities] if momentum else [params]
    for which in _by_dtype(params):
        written = [[arrays[i] for i in which] for arrays in lists]
        _run(
            _sgd,
            written,
            [grads[i] for i in which],
            [lr, momentum, 1 - dampening, weight_decay],
            nesterov,
            first,
        )


def adam_step(params, grads, ms, vs, step, lr, beta1, beta2, eps, weight_decay, decoupled):
    numbers = [
        lr / (1 - beta1**step),
        beta1,
        beta2,
        1 - beta1,
        1 - beta2,
        (1 - beta2**step) ** -0.5,
        eps,
        weight_decay,
        1 - lr * weight_decay,
    ]
    for which in _by_dtype(params):
        p, g, m, v = ([arrays[i] for i in which] for arrays in (params, grads, ms, vs))
        _run(_adam, [p, m, v], g, numbers, decoupled)
