"""One step of an optimizer, in place, over lists of parameters."""

import numpy as np


def sgd_step(params, grads, velocities, lr, momentum, dampening, nesterov, weight_decay, first):
    """Stochastic gradient descent; the ``first`` step sets ``velocities``, without momentum none does."""
    for p, g, v in zip(params, grads, velocities, strict=True):
        g = g + weight_decay * p
        if momentum:
            v[...] = g if first else momentum * v + (1 - dampening) * g
            g = g + momentum * v if nesterov else v
        p -= lr * g


def adam_step(params, grads, ms, vs, step, lr, beta1, beta2, eps, weight_decay, decoupled):
    """Adam (Kingma, Ba, 2015), or AdamW when ``decoupled`` (Loshchilov, Hutter, 2019); ``step`` counts from
    1."""
    for p, g, m, v in zip(params, grads, ms, vs, strict=True):
        if decoupled:
            p *= 1 - lr * weight_decay
        else:
            g = g + weight_decay * p
        m[...] = beta1 * m + (1 - beta1) * g
        v[...] = beta2 * v + (1 - beta2) * g * g
        unbiased_m, unbiased_v = m / (1 - beta1**step), v / (1 - beta2**step)
        p -= lr * unbiased_m / (np.sqrt(unbiased_v) + eps)
