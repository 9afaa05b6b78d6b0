"""The update rules of the optimizers: a table with one row per rule, which all engines and ``warmup`` use.

A row holds the formula of the new parameter and the new states of one element, written with the scalar
functions of an engine. The compiled engines turn it into the loop of one kernel over all parameters of a
group; the reference applies it to whole arrays. So a new optimizer is a row in this file and a class in
``optim``.

Before an engine applies a formula, it prepares the gradient and the parameter, in the same way for all::

    numbers   sign | decay | shrink | numbers of the rule ...

    g = sign * gradient + decay * parameter      sign is -1 where the optimizer maximises
    p = shrink * parameter                       1, or less with decoupled weight decay

Values that depend only on the number of the step (bias corrections, decayed learning rates) are passed as
numbers too. The classes in ``optim`` compute them in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

#: The largest number of state arrays per parameter that a rule may have.
STATES = 3
#: The largest number of numbers that a rule may have, in addition to the three that all rules have.
NUMBERS = 8


class Rule(NamedTuple):
    """An update rule.

    Attributes
    ----------
    states : int
        How many arrays it keeps per parameter, at most ``STATES``.
    numbers : str
        The names of its numbers in order.
    update : (p, g, a, b, c, n) -> (p, a, b, c)
        The new values of the parameter and of the states; ``n`` holds the numbers. A rule returns the states
        that it does not use unchanged.
    """

    states: int
    numbers: str
    update: Callable


def rules(select: Callable, sign: Callable, sqrt: Callable, zero: float) -> dict[str, Rule]:
    """The rows, written with an engine's functions: ``select(condition, a, b)``, ``sign`` and ``sqrt``."""

    def sgd(p, g, a, b, c, n):
        return p - n[0] * g, a, b, c

    def sgd_momentum(p, g, a, b, c, n):
        a = n[1] * a + n[2] * g
        return p - n[0] * a, a, b, c

    def sgd_nesterov(p, g, a, b, c, n):
        a = n[1] * a + n[2] * g
        return p - n[0] * (g + n[1] * a), a, b, c

    def adam(p, g, a, b, c, n):
        a = n[1] * a + n[2] * g
        b = n[3] * b + n[4] * g * g
        return p - n[0] * a / (sqrt(b) * n[5] + n[6]), a, b, c

    def adam_amsgrad(p, g, a, b, c, n):
        a = n[1] * a + n[2] * g
        b = n[3] * b + n[4] * g * g
        c = select((c >= b) | (c != c), c, b)  # the larger one; a NaN in c is kept
        return p - n[0] * a / (sqrt(c) * n[5] + n[6]), a, b, c

    def adamax(p, g, a, b, c, n):
        a = n[1] * a + n[2] * g
        faded, size = n[3] * b, abs(g) + n[4]
        b = select((faded >= size) | (faded != faded), faded, size)
        return p - n[0] * a / b, a, b, c

    def nadam(p, g, a, b, c, n):
        a = n[2] * a + n[3] * g
        b = n[4] * b + n[5] * g * g
        return p - (n[0] * g + n[1] * a) / (sqrt(b) * n[6] + n[7]), a, b, c

    def radam(p, g, a, b, c, n):
        a = n[1] * a + n[2] * g
        b = n[3] * b + n[4] * g * g
        return p - n[0] * a * (n[5] / (sqrt(b) + n[7]) + n[6]), a, b, c

    def rmsprop(p, g, a, b, c, n):
        a = n[1] * a + n[2] * g * g
        return p - n[0] * g / (sqrt(a) + n[3]), a, b, c

    def rmsprop_centered(p, g, a, b, c, n):
        a = n[1] * a + n[2] * g * g
        b = b + n[2] * (g - b)
        return p - n[0] * g / (sqrt(a - b * b) + n[3]), a, b, c

    def rmsprop_momentum(p, g, a, b, c, n):
        a = n[1] * a + n[2] * g * g
        b = n[4] * b + g / (sqrt(a) + n[3])
        return p - n[0] * b, a, b, c

    def rmsprop_centered_momentum(p, g, a, b, c, n):
        a = n[1] * a + n[2] * g * g
        b = b + n[2] * (g - b)
        c = n[4] * c + g / (sqrt(a - b * b) + n[3])
        return p - n[0] * c, a, b, c

    def adagrad(p, g, a, b, c, n):
        a = a + g * g
        return p - n[0] * g / (sqrt(a) + n[1]), a, b, c

    def adadelta(p, g, a, b, c, n):
        a = n[1] * a + n[2] * g * g
        change = sqrt(b + n[3]) / sqrt(a + n[3]) * g
        b = n[1] * b + n[2] * change * change
        return p - n[0] * change, a, b, c

    def rprop(p, g, a, b, c, n):
        turn = g * a  # negative where the gradient has changed its sign
        b = select(turn < zero, b * n[0], select(turn > zero, b * n[1], b))
        b = select(b < n[2], n[2], b)
        b = select(b > n[3], n[3], b)
        g = select(turn < zero, zero, g)
        return p - sign(g) * b, g, b, c

    def asgd(p, g, a, b, c, n):
        p = p - n[0] * g
        return p, n[2] * a + n[1] * p, b, c

    def scale(p, g, a, b, c, n):
        return n[0] * p, a, b, c

    def clamp(p, g, a, b, c, n):
        p = select(p < n[0], n[0], p)
        return select(p > n[1], n[1], p), a, b, c

    moments = "beta1, 1 - beta1, beta2, 1 - beta2"
    adam_numbers = f"lr / correction1, {moments}, 1 / sqrt(correction2), eps"
    return {
        "sgd": Rule(0, "lr", sgd),
        "sgd_momentum": Rule(1, "lr, momentum, gain", sgd_momentum),
        "sgd_nesterov": Rule(1, "lr, momentum, gain", sgd_nesterov),
        "adam": Rule(2, adam_numbers, adam),
        "adam_amsgrad": Rule(3, adam_numbers, adam_amsgrad),
        "adamax": Rule(2, "lr / correction1, beta1, 1 - beta1, beta2, eps", adamax),
        "nadam": Rule(2, f"rate of g, rate of a, {moments}, 1 / sqrt(correction2), eps", nadam),
        "radam": Rule(2, f"lr / correction1, {moments}, rate by variance, rate without, eps", radam),
        "rmsprop": Rule(1, "lr, alpha, 1 - alpha, eps", rmsprop),
        "rmsprop_centered": Rule(2, "lr, alpha, 1 - alpha, eps", rmsprop_centered),
        "rmsprop_momentum": Rule(2, "lr, alpha, 1 - alpha, eps, momentum", rmsprop_momentum),
        "rmsprop_centered_momentum": Rule(
            3, "lr, alpha, 1 - alpha, eps, momentum", rmsprop_centered_momentum
        ),
        "adagrad": Rule(1, "decayed lr, eps", adagrad),
        "adadelta": Rule(2, "lr, rho, 1 - rho, eps", adadelta),
        "rprop": Rule(2, "eta minus, eta plus, smallest step, largest step", rprop),
        "asgd": Rule(1, "eta, mu, 1 - mu", asgd),
        # not optimizers: they scale or limit gradients, which are passed in place of the parameters
        "scale": Rule(0, "factor", scale),
        "clamp": Rule(0, "low, high", clamp),
    }


def _nothing(*_: object) -> None:
    """Takes the place of an engine's functions when only the other fields of the rows are read."""


_ROWS = rules(_nothing, _nothing, _nothing, 0.0)
#: Rule -> how many arrays it keeps per parameter.
RULES: dict[str, int] = {name: rule.states for name, rule in _ROWS.items()}
#: Rule -> how many numbers it has, including the three that all rules have.
COUNTS: dict[str, int] = {name: 3 + len(rule.numbers.split(",")) for name, rule in _ROWS.items()}
