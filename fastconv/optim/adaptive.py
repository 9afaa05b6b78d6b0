"""RMSprop, Adagrad and Adadelta: the gradient of each weight is divided by its usual magnitude."""

from __future__ import annotations

from typing import Any, ClassVar

from ..checks import check
from .optimizer import Optimizer, Params, prepared


class RMSprop(Optimizer):
    """RMSprop (Hinton, "Neural networks for machine learning", lecture 6e, 2012).

    Parameters
    ----------
    params : see :class:`Optimizer`
    lr, eps : float
    alpha : float
        Decay of the running average of the gradient's square.
    weight_decay : float
        Adds ``weight_decay * w`` to the gradient.
    momentum : float
        0 uses no momentum.
    centered : bool
        Divide by the root of the gradient's variance, not of its average square (Graves, "Generating
        sequences with recurrent neural networks", 2013).
    maximize : bool
        Maximise the loss instead of minimising it.
    capturable, foreach, differentiable
        See :class:`Optimizer`.

    Raises
    ------
    ValueError, TypeError
        If a setting is negative or not a number, or ``alpha`` is larger than 1.

    Examples
    --------
    >>> w = fc.ones(2, requires_grad=True)
    >>> optimizer = optim.RMSprop([w], lr=0.1, alpha=0.75)
    >>> w.sum().backward()
    >>> optimizer.step()
    >>> w.detach()
    tensor([0.8, 0.8])
    """

    _numbers: ClassVar[tuple[str, ...]] = (*Optimizer._numbers, "alpha")
    _nonnegative: ClassVar[tuple[str, ...]] = (*Optimizer._nonnegative, "alpha")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        settings = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum}
        settings |= {"centered": centered, "maximize": maximize}
        super().__init__(params, {**settings, "capturable": capturable, "differentiable": differentiable})

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        check(group["alpha"] <= 1, "RMSprop", f"alpha must be between 0 and 1, got {group['alpha']}")

    def slots(self, group: dict[str, Any]) -> dict[str, float]:
        found: dict[str, float] = {"square_avg": 0}
        found |= {"grad_avg": 0} if group["centered"] else {}
        return found | ({"momentum_buffer": 0} if group["momentum"] else {})

    def _rule(self, group: dict[str, Any], counters: dict[str, float]) -> tuple[str, list[float]]:
        numbers = [*prepared(group), group["lr"], group["alpha"], 1 - group["alpha"], group["eps"]]
        name = "rmsprop_centered" if group["centered"] else "rmsprop"
        if group["momentum"]:
            return f"{name}_momentum", [*numbers, group["momentum"]]
        return name, numbers


class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning", 2011).

    Parameters
    ----------
    params : see :class:`Optimizer`
    lr, eps : float
    lr_decay : float
        In step t the learning rate is ``lr / (1 + (t - 1) * lr_decay)``.
    weight_decay : float
        Adds ``weight_decay * w`` to the gradient.
    initial_accumulator_value : float
        The first value of the sums of squared gradients.
    maximize : bool
        Maximise the loss instead of minimising it.
    foreach, differentiable, fused
        See :class:`Optimizer`.

    Raises
    ------
    ValueError, TypeError
        If a setting is negative or not a number.

    Examples
    --------
    >>> w = fc.ones(2, requires_grad=True)
    >>> optimizer = optim.Adagrad([w], lr=0.5)
    >>> w.sum().backward()
    >>> optimizer.step()
    >>> w.detach()
    tensor([0.5, 0.5])
    """

    _numbers: ClassVar[tuple[str, ...]] = (*Optimizer._numbers, "lr_decay", "initial_accumulator_value")
    _nonnegative: ClassVar[tuple[str, ...]] = (
        *Optimizer._nonnegative,
        "lr_decay",
        "initial_accumulator_value",
    )

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        settings = {"lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay}
        settings |= {"initial_accumulator_value": initial_accumulator_value}
        super().__init__(params, {**settings, "maximize": maximize, "differentiable": differentiable})

    def slots(self, group: dict[str, Any]) -> dict[str, float]:
        return {"sum": group["initial_accumulator_value"]}

    def _rule(self, group: dict[str, Any], counters: dict[str, float]) -> tuple[str, list[float]]:
        rate = group["lr"] / (1 + (counters["step"] - 1) * group["lr_decay"])
        return "adagrad", [*prepared(group), rate, group["eps"]]


class Adadelta(Optimizer):
    """Adadelta (Zeiler, "ADADELTA: an adaptive learning rate method", 2012).

    Parameters
    ----------
    params : see :class:`Optimizer`
    lr, eps : float
    rho : float
        Decay of the running averages of the squares of gradients and of updates.
    weight_decay : float
        Adds ``weight_decay * w`` to the gradient.
    maximize : bool
        Maximise the loss instead of minimising it.
    foreach, capturable, differentiable
        See :class:`Optimizer`.

    Raises
    ------
    ValueError, TypeError
        If a setting is negative or not a number, or ``rho`` is larger than 1.

    Examples
    --------
    >>> optim.Adadelta([fc.ones(2, requires_grad=True)])
    Adadelta(lr=1.0, 1 parameters)
    """

    _numbers: ClassVar[tuple[str, ...]] = (*Optimizer._numbers, "rho")
    _nonnegative: ClassVar[tuple[str, ...]] = (*Optimizer._nonnegative, "rho")

    def __init__(
        self,
        params: Params,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        settings = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, {**settings, "capturable": capturable, "differentiable": differentiable})

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        check(group["rho"] <= 1, "Adadelta", f"rho must be between 0 and 1, got {group['rho']}")

    def slots(self, group: dict[str, Any]) -> dict[str, float]:
        return {"square_avg": 0, "acc_delta": 0}

    def _rule(self, group: dict[str, Any], counters: dict[str, float]) -> tuple[str, list[float]]:
        return "adadelta", [*prepared(group), group["lr"], group["rho"], 1 - group["rho"], group["eps"]]
