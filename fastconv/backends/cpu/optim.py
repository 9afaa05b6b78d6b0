"""One step of an optimizer over all parameters in one launch.

    parameters laid end to end:   [ p0        | p1  | p2                    | ... ]
    threads: equal shares of the   <- thread 0 ->|<- thread 1            ->|
    elements, whatever parameter they are in
"""

from __future__ import annotations

import numpy as np

from . import layout
from .jit import body, kernel, prange, share
from .simd import view1d


@body
def part(addresses, p, first, end, offsets, like):
    """The elements of parameter ``p`` that lie between ``first`` and ``end`` of all elements laid end to end."""
    start, stop = max(first, offsets[p]), min(end, offsets[p + 1])
    return view1d(addresses[p] + (start - offsets[p]) * like.itemsize, max(stop - start, 0), like)


@kernel
def _sgd(threads, params, grads, velocities, offsets, numbers, nesterov, first_step, like):
    lr, momentum, keep, weight_decay = numbers
    for thread in prange(threads):
        first, end = share(thread, threads, offsets[-1])
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
        first, end = share(thread, threads, offsets[-1])
        for k in range(params.size):
            p, g = part(params, k, first, end, offsets, like), part(grads, k, first, end, offsets, like)
            m, v = part(ms, k, first, end, offsets, like), part(vs, k, first, end, offsets, like)
            for i in range(p.size):
                d = g[i] if decoupled else g[i] + weight_decay * p[i]
                q = p[i] * shrink if decoupled else p[i]
                m[i] = beta1 * m[i] + rest1 * d
                v[i] = beta2 * v[i] + rest2 * d * d
                p[i] = q - step_size * m[i] / (np.sqrt(v[i]) * root + eps)


def _tables(params, *others):
    """For a kernel: addresses of every list's arrays (in the parameters' layout), offsets; and what has to stay alive."""
    aligned = [[layout.flat(p, layout.like(a, p)) for p, a in zip(params, arrays)] for arrays in others]
    tables = [np.array([layout.flat(p)[0].ctypes.data for p in params], np.int64)]
    tables += [np.array([pair[1].ctypes.data for pair in pairs], np.int64) for pairs in aligned]
    return tables, np.cumsum([0, *(p.size for p in params)]), aligned


def _by_dtype(params):
    for dtype in sorted({p.dtype for p in params}, key=str):
        yield dtype, [i for i, p in enumerate(params) if p.dtype == dtype]


def sgd_step(params, grads, velocities, lr, momentum, dampening, nesterov, weight_decay, first):
    for dtype, which in _by_dtype(params):
        lists = [[arrays[i] for i in which] for arrays in ((params, grads, velocities) if momentum else (params, grads))]
        tables, offsets, alive = _tables(*lists)
        numbers = tuple(np.array([lr, momentum, 1 - dampening, weight_decay], dtype))
        _sgd(*tables[:2], tables[-1], offsets, numbers, nesterov, first, np.empty(0, dtype))
        del alive


def adam_step(params, grads, ms, vs, step, lr, beta1, beta2, eps, weight_decay, decoupled):
    for dtype, which in _by_dtype(params):
        tables, offsets, alive = _tables(*([arrays[i] for i in which] for arrays in (params, grads, ms, vs)))
        numbers = [lr / (1 - beta1**step), beta1, beta2, 1 - beta1, 1 - beta2, (1 - beta2**step) ** -0.5, eps, weight_decay,
                   1 - lr * weight_decay]  # fmt: skip
        _adam(*tables, offsets, tuple(np.array(numbers, dtype)), decoupled, np.empty(0, dtype))
        del alive
