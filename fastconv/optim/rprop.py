"""Rprop, which reads the signs of gradients only, and ASGD, which averages the weights."""

from __future__ import annotations

from typing import Any, ClassVar

from ..checks import check
from .optimizer import Optimizer, Params, prepared


class Rprop(Optimizer):
    """Resilient backpropagation (Riedmiller and Braun, "A direct adaptive method for faster backpropagation
    learning", 1993): each weight has its own step size, and the sign of the gradient gives the direction.

    It is made for gradients of the whole training set, not of small batches.

    Parameters
    ----------
    params : see :class:`Optimizer`
    lr : float
        The first step size of each weight.
    etas : (float, float)
        Factors on the step size: where the gradient has changed its sign, and where it has not.
    step_sizes : (float, float)
        The smallest and the largest step size.
    maximize : bool
        Maximise the loss instead of minimising it.
    capturable, foreach, differentiable
        See :class:`Optimizer`.

    Raises
    ------
    ValueError, TypeError
        If ``lr`` is negative or not a number, ``etas`` are not one factor below 1 and one above 1, or
        ``step_sizes`` are not a smaller and a larger number.

    Examples
    --------
    >>> w = fc.ones(2, requires_grad=True)
    >>> optimizer = optim.Rprop([w], lr=0.5)
    >>> w.sum().backward()
    >>> optimizer.step()
    >>> w.detach()
    tensor([0.5, 0.5])
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        settings: dict[str, Any] = {"lr": lr, "etas": etas, "step_sizes": step_sizes, "maximize": maximize}
        super().__init__(params, {**settings, "capturable": capturable, "differentiable": differentiable})

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        low, high = self._check_pair(group, "etas", "two numbers")
        check(0 < low < 1 < high, "Rprop", f"etas must be 0 < a < 1 < b, got {group['etas']}")
        low, high = self._check_pair(group, "step_sizes", "two numbers")
        check(
            0 <= low <= high,
            "Rprop",
            f"step_sizes must be (min, max) with 0 <= min <= max, got {group['step_sizes']}",
        )

    def slots(self, group: dict[str, Any]) -> dict[str, float]:
        return {"prev": 0, "step_size": group["lr"]}

    def _rule(self, group: dict[str, Any], counters: dict[str, float]) -> tuple[str, list[float]]:
        return "rprop", [*prepared({**group, "weight_decay": 0}), *group["etas"], *group["step_sizes"]]


class ASGD(Optimizer):
    """Stochastic gradient descent that keeps an average of the weights (Polyak and Juditsky, "Acceleration of
    stochastic approximation by averaging", 1992).

    ``state[p]["ax"]`` is the average of parameter ``p``.

    Parameters
    ----------
    params : see :class:`Optimizer`
    lr : float
    lambd, alpha : float
        In step t + 1 the learning rate is ``lr / (1 + lambd * lr * t) ** alpha``. Each step multiplies the
        weights by ``1 - lambd * rate``, where ``rate`` is this learning rate.
    t0 : float
        The step after which averaging starts; before it, the average is the last weights.
    weight_decay : float
        Adds ``weight_decay * w`` to the gradient.
    maximize : bool
        Maximise the loss instead of minimising it.
    foreach, differentiable, capturable
        See :class:`Optimizer`.

    Raises
    ------
    ValueError, TypeError
        If ``lr`` or ``weight_decay`` is negative, or a setting is not a number.

    Examples
    --------
    >>> optim.ASGD([fc.ones(2, requires_grad=True)], lr=0.1)
    ASGD(lr=0.1, 1 parameters)
    """

    _numbers: ClassVar[tuple[str, ...]] = (*Optimizer._numbers, "lambd", "alpha", "t0")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        settings = {"lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay}
        settings |= {"maximize": maximize, "capturable": capturable, "differentiable": differentiable}
        super().__init__(params, settings)

    def slots(self, group: dict[str, Any]) -> dict[str, float]:
        return {"ax": 0}

    def _counters(self, group: dict[str, Any]) -> dict[str, float]:
        return {"step": 0, "eta": group["lr"], "mu": 1.0}

    def _rule(self, group: dict[str, Any], counters: dict[str, float]) -> tuple[str, list[float]]:
        t, eta, mu, lr = counters["step"], counters["eta"], counters["mu"], group["lr"]
        counters["eta"] = lr / (1 + group["lambd"] * lr * t) ** group["alpha"]
        counters["mu"] = 1 / max(1, t - group["t0"])
        sign, decay, _ = prepared(group)
        return "asgd", [sign, decay, 1 - group["lambd"] * eta, eta, mu, 1 - mu]
