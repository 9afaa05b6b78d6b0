"""The losses of pairs of elements: a table that all engines, the tape, ``warmup`` and the tests use.

A row holds the formula of the loss of an input ``x`` and a target ``t``, and the formulas of its two
derivatives, written with the scalar functions of an engine (:class:`Scalars`). The compiled engines turn a
row into kernels that read both arrays once. The forward kernel writes the losses or their sum, the backward
kernel the gradient of one of the two.

Constants have the type of the elements, as in ``unary.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from math import nan, pi
from typing import NamedTuple


class Scalars(NamedTuple):
    """The functions of an engine that the formulas use, for one type of element."""

    real: Callable  # number -> constant of the type of the elements
    select: Callable  # condition, a, b -> a where the condition holds, else b
    sign: Callable
    exp: Callable
    log: Callable
    log1p: Callable  # log(1 + x), exact for small x
    softplus: Callable  # log(1 + exp(x)), which never overflows
    sigmoid: Callable


class PairLoss(NamedTuple):
    """A loss of an input ``x`` and a target ``t``, with at most one number ``p``.

    Attributes
    ----------
    forward : (x, t, p) -> loss
    by_input, by_target : (x, t, p) -> derivative with respect to x, or to t
    number : float or None
        A usual value of ``p``, for warmup; None if the loss has no number.
    """

    forward: Callable
    by_input: Callable
    by_target: Callable
    number: float | None = None


def pair_losses(f: Scalars) -> dict[str, PairLoss]:
    """The rows, written with the functions ``f`` of an engine."""
    zero, half, one, two = f.real(0), f.real(0.5), f.real(1), f.real(2)
    # bounds for the logarithms and for x (1 - x) in binary cross-entropy, so that it is never infinite
    least_log, least_variance, two_pi = f.real(-100), f.real(1e-12), f.real(2 * pi)
    not_a_number = f.real(nan)
    # Names of their own, because Numba reads no attributes of a captured tuple.
    select, sign, exp, log, log1p = f.select, f.sign, f.exp, f.log, f.log1p
    softplus, sigmoid = f.softplus, f.sigmoid
    return {
        "l1": PairLoss(
            lambda x, t, p: abs(x - t),
            lambda x, t, p: sign(x - t),
            lambda x, t, p: sign(t - x),
        ),
        "mse": PairLoss(
            lambda x, t, p: (x - t) * (x - t),
            lambda x, t, p: two * (x - t),
            lambda x, t, p: two * (t - x),
        ),
        "smooth_l1": PairLoss(
            lambda x, t, p: select(abs(x - t) < p, half * (x - t) * (x - t) / p, abs(x - t) - half * p),
            lambda x, t, p: select(abs(x - t) < p, (x - t) / p, sign(x - t)),
            lambda x, t, p: select(abs(x - t) < p, (t - x) / p, sign(t - x)),
            1.0,
        ),
        "huber": PairLoss(
            lambda x, t, p: select(abs(x - t) <= p, half * (x - t) * (x - t), p * (abs(x - t) - half * p)),
            lambda x, t, p: select(abs(x - t) <= p, x - t, p * sign(x - t)),
            lambda x, t, p: select(abs(x - t) <= p, t - x, p * sign(t - x)),
            1.0,
        ),
        "bce": PairLoss(
            # NaN where x or t is no probability
            lambda x, t, p: select(
                (one - t) * t < zero,
                not_a_number,
                (t - one) * select(log1p(-x) < least_log, least_log, log1p(-x))
                - t * select(log(x) < least_log, least_log, log(x)),
            ),
            lambda x, t, p: (x - t) / select((one - x) * x < least_variance, least_variance, (one - x) * x),
            lambda x, t, p: (
                select(log1p(-x) < least_log, least_log, log1p(-x))
                - select(log(x) < least_log, least_log, log(x))
            ),
        ),
        "bce_with_logits": PairLoss(
            lambda x, t, p: (one - t) * x + softplus(-x),
            lambda x, t, p: sigmoid(x) - t,
            lambda x, t, p: -x,
        ),
        # the two terms of bce_with_logits: that with the factor t, and that with the factor 1 - t
        "bce_positive": PairLoss(
            lambda x, t, p: t * softplus(-x),
            lambda x, t, p: -t * sigmoid(-x),
            lambda x, t, p: softplus(-x),
        ),
        "bce_negative": PairLoss(
            lambda x, t, p: (one - t) * softplus(x),
            lambda x, t, p: (one - t) * sigmoid(x),
            lambda x, t, p: -softplus(x),
        ),
        "kl_div": PairLoss(
            lambda x, t, p: select(t == zero, zero, t * log(t)) - t * x,
            lambda x, t, p: -t,
            lambda x, t, p: log(t) + one - x,
        ),
        "kl_div_log_target": PairLoss(
            lambda x, t, p: exp(t) * (t - x),
            lambda x, t, p: -exp(t),
            lambda x, t, p: exp(t) * (t - x + one),
        ),
        "poisson_nll": PairLoss(
            lambda x, t, p: x - t * log(x + p),
            lambda x, t, p: one - t / (x + p),
            lambda x, t, p: -log(x + p),
            1e-8,
        ),
        "poisson_nll_log_input": PairLoss(
            lambda x, t, p: exp(x) - t * x,
            lambda x, t, p: exp(x) - t,
            lambda x, t, p: -x,
        ),
        # the same plus Stirling's approximation of log(t!), where t is above 1
        "poisson_nll_full": PairLoss(
            lambda x, t, p: (
                x - t * log(x + p) + select(t <= one, zero, t * log(t) - t + half * log(two_pi * t))
            ),
            lambda x, t, p: one - t / (x + p),
            lambda x, t, p: select(t <= one, zero, log(t) + half / t) - log(x + p),
            1e-8,
        ),
        "poisson_nll_log_input_full": PairLoss(
            lambda x, t, p: exp(x) - t * x + select(t <= one, zero, t * log(t) - t + half * log(two_pi * t)),
            lambda x, t, p: exp(x) - t,
            lambda x, t, p: select(t <= one, zero, log(t) + half / t) - x,
        ),
        # x is the difference from the target, t the variance, p the lower bound of t
        "gaussian_nll": PairLoss(
            lambda x, t, p: half * (log(select(t < p, p, t)) + x * x / select(t < p, p, t)),
            lambda x, t, p: x / select(t < p, p, t),
            lambda x, t, p: half * (one - x * x / select(t < p, p, t)) / select(t < p, p, t),
            1e-6,
        ),
        "hinge_embedding": PairLoss(
            lambda x, t, p: (
                select(t == one, zero, select(p - x < zero, zero, p - x)) + select(t == -one, zero, x)
            ),
            lambda x, t, p: select(t == -one, zero, one) - select((t == one) | (p - x < zero), zero, one),
            lambda x, t, p: zero * x,
            1.0,
        ),
        # x is the difference of the two inputs
        "margin_ranking": PairLoss(
            lambda x, t, p: select(p - t * x < zero, zero, p - t * x),
            lambda x, t, p: select(p - t * x < zero, zero, -t),
            lambda x, t, p: select(p - t * x < zero, zero, -x),
            0.0,
        ),
        # x is the cosine of the two inputs
        "cosine_embedding": PairLoss(
            lambda x, t, p: select(t == one, one - x, select((t != -one) | (x - p < zero), zero, x - p)),
            lambda x, t, p: select(t == one, -one, select((t == -one) & (x - p >= zero), one, zero)),
            lambda x, t, p: zero * x,
            0.0,
        ),
        "soft_margin": PairLoss(
            lambda x, t, p: softplus(-t * x),
            lambda x, t, p: -t * sigmoid(-t * x),
            lambda x, t, p: -x * sigmoid(-t * x),
        ),
    }


_ROWS = pair_losses(Scalars(*[lambda *_: 0.0] * len(Scalars._fields)))  # to read the names and numbers
#: Loss -> a usual value of its number, None if it has none.
PAIR_LOSSES: dict[str, float | None] = {name: row.number for name, row in _ROWS.items()}
