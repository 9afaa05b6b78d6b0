"""One step of an optimizer, in place, over lists of parameters."""

import numpy as np

from ..common.optimizers import rules


def _select(condition, a, b):
    """``np.where``; a Python number takes the type of the array beside it."""
    dtype = next(x.dtype for x in (a, b) if isinstance(x, (np.ndarray, np.generic)))
    return np.where(condition, a, b).astype(dtype, copy=False)


_RULES = rules(_select, np.sign, np.sqrt, 0.0)


def optimizer_step(name, params, grads, states, numbers):
    sign, decay, shrink, *n = map(float, numbers)
    for p, g, *own in zip(params, grads, *states, strict=True):
        a, b, c = (*own, None, None, None)[:3]
        new = _RULES[name].update(p * shrink, sign * g + decay * p, a, b, c, n)
        for old, value in zip((p, *own), new):
            old[...] = value
