"""Adam and its variants: running averages of the gradient and of its magnitude."""

# Arguments of users are checked when they arrive, whatever their declared types say.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import Any, ClassVar

from ..checks import check
from .optimizer import Optimizer, Params, prepared


class _Moments(Optimizer):
    """What these optimizers share: two betas, and the arrays of their averages."""

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        expected = "two numbers in [0, 1)"
        fine = all(0 <= b < 1 for b in self._check_pair(group, "betas", expected))
        check(fine, type(self).__name__, f"betas must be {expected}, got {group['betas']}")

    def slots(self, group: dict[str, Any]) -> dict[str, float]:
        return {"exp_avg": 0, "exp_avg_sq": 0}


def _rates(betas: tuple[float, float]) -> list[float]:
    return [betas[0], 1 - betas[0], betas[1], 1 - betas[1]]


class Adam(_Moments):
    """Adam (Kingma and Ba, "Adam: a method for stochastic optimization", 2015).

    Parameters
    ----------
    params : see :class:`Optimizer`
    lr, eps : float
    betas : (float, float)
        Decay of the running averages of the gradient and of its square.
    weight_decay : float
        Adds ``weight_decay * w`` to the gradient.
    amsgrad : bool
        Divide by the root of the largest average of the square so far (Reddi, Kale and Kumar, "On the
        convergence of Adam and beyond", 2018).
    maximize : bool
        Maximise the loss instead of minimising it.
    decoupled_weight_decay : bool
        Subtract ``lr * weight_decay * w`` from the weights instead of changing the gradient, as in
        :class:`AdamW`.
    foreach, capturable, differentiable, fused
        See :class:`Optimizer`.

    Raises
    ------
    ValueError, TypeError
        If a setting is negative or not a number, or ``betas`` are not two numbers in [0, 1).

    Examples
    --------
    >>> w = fc.ones(2, requires_grad=True)
    >>> optimizer = optim.Adam([w], lr=0.5)
    >>> w.sum().backward()
    >>> optimizer.step()  # the first step moves each weight by lr
    >>> w.detach()
    tensor([0.5, 0.5])
    """

    _added: ClassVar[dict[str, Any]] = {
        "maximize": False,
        "amsgrad": False,
        "decoupled_weight_decay": False,
    }

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        settings: dict[str, Any] = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        settings |= {"amsgrad": amsgrad, "maximize": maximize}
        settings |= {"decoupled_weight_decay": decoupled_weight_decay}
        super().__init__(params, {**settings, "capturable": capturable, "differentiable": differentiable})

    def slots(self, group: dict[str, Any]) -> dict[str, float]:
        return super().slots(group) | ({"max_exp_avg_sq": 0} if group["amsgrad"] else {})

    def _rule(self, group: dict[str, Any], counters: dict[str, float]) -> tuple[str, list[float]]:
        t, (beta1, beta2) = counters["step"], group["betas"]
        return "adam_amsgrad" if group["amsgrad"] else "adam", [
            *prepared(group, group["decoupled_weight_decay"]),
            group["lr"] / (1 - beta1**t),
            *_rates(group["betas"]),
            (1 - beta2**t) ** -0.5,
            group["eps"],
        ]


class AdamW(Adam):
    """Adam with decoupled weight decay, ``w -= lr * weight_decay * w`` (Loshchilov and Hutter, 2019).

    Parameters and errors are those of :class:`Adam`; ``weight_decay`` changes the weights, not the gradient.

    >>> optim.AdamW([fc.ones(2, requires_grad=True)], lr=0.1)
    AdamW(lr=0.1, 1 parameters)
    """

    _added: ClassVar[dict[str, Any]] = {**Adam._added, "decoupled_weight_decay": True}

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            decoupled_weight_decay=True,
        )

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        check(
            group["decoupled_weight_decay"],
            "AdamW",
            "decoupled_weight_decay must be True, got False; for weight decay in the gradient use optim.Adam",
        )


class Adamax(_Moments):
    """Adam that divides by the largest absolute gradient, which decays (Kingma and Ba, 2015, section 7).

    Parameters
    ----------
    params : see :class:`Optimizer`
    lr, eps : float
    betas : (float, float)
        Decay of the running average of the gradient and of its largest absolute value.
    weight_decay : float
        Adds ``weight_decay * w`` to the gradient.
    maximize : bool
        Maximise the loss instead of minimising it.
    foreach, differentiable, capturable
        See :class:`Optimizer`.

    Raises
    ------
    ValueError, TypeError
        As :class:`Adam`.

    Examples
    --------
    >>> w = fc.ones(2, requires_grad=True)
    >>> optimizer = optim.Adamax([w], lr=0.5)
    >>> w.sum().backward()
    >>> optimizer.step()
    >>> w.detach()
    tensor([0.5, 0.5])
    """

    def __init__(
        self,
        params: Params,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        settings: dict[str, Any] = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        settings |= {"maximize": maximize, "capturable": capturable, "differentiable": differentiable}
        super().__init__(params, settings)

    def slots(self, group: dict[str, Any]) -> dict[str, float]:
        return {"exp_avg": 0, "exp_inf": 0}

    def _rule(self, group: dict[str, Any], counters: dict[str, float]) -> tuple[str, list[float]]:
        beta1, beta2 = group["betas"]
        rate = group["lr"] / (1 - beta1 ** counters["step"])
        return "adamax", [*prepared(group), rate, beta1, 1 - beta1, beta2, group["eps"]]


class NAdam(_Moments):
    """Adam with Nesterov's momentum (Dozat, "Incorporating Nesterov momentum into Adam", 2016).

    Parameters
    ----------
    params : see :class:`Optimizer`
    lr, eps : float
    betas : (float, float)
        Decay of the running averages of the gradient and of its square.
    weight_decay : float
        Adds ``weight_decay * w`` to the gradient.
    momentum_decay : float
        How fast the momentum rises to ``betas[0]``: in step t it is
        ``betas[0] * (1 - 0.96 ** (t * momentum_decay) / 2)``.
    decoupled_weight_decay : bool
        Subtract ``lr * weight_decay * w`` from the weights instead of changing the gradient.
    maximize : bool
        Maximise the loss instead of minimising it.
    foreach, capturable, differentiable
        See :class:`Optimizer`.

    Raises
    ------
    ValueError, TypeError
        As :class:`Adam`.

    Examples
    --------
    >>> optim.NAdam([fc.ones(2, requires_grad=True)], lr=0.1)
    NAdam(lr=0.1, 1 parameters)
    """

    _numbers: ClassVar[tuple[str, ...]] = (*Optimizer._numbers, "momentum_decay")
    _nonnegative: ClassVar[tuple[str, ...]] = (*Optimizer._nonnegative, "momentum_decay")

    def __init__(
        self,
        params: Params,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        settings: dict[str, Any] = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        settings |= {"momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay}
        settings |= {"maximize": maximize, "capturable": capturable, "differentiable": differentiable}
        super().__init__(params, settings)

    def _counters(self, group: dict[str, Any]) -> dict[str, float]:
        return {"step": 0, "mu_product": 1.0}

    def _rule(self, group: dict[str, Any], counters: dict[str, float]) -> tuple[str, list[float]]:
        lr, t, (beta1, beta2) = group["lr"], counters["step"], group["betas"]
        now, following = (beta1 * (1 - 0.5 * 0.96 ** (s * group["momentum_decay"])) for s in (t, t + 1))
        counters["mu_product"] *= now
        product = counters["mu_product"]
        return "nadam", [
            *prepared(group, group["decoupled_weight_decay"]),
            lr * (1 - now) / (1 - product),
            lr * following / (1 - product * following),
            *_rates(group["betas"]),
            (1 - beta2**t) ** -0.5,
            group["eps"],
        ]


class RAdam(_Moments):
    """Adam that does not divide by the average square in the first steps, in which that is not yet accurate.

    From Liu et al., "On the variance of the adaptive learning rate and beyond", 2020.

    Parameters
    ----------
    params : see :class:`Optimizer`
    lr, eps : float
    betas : (float, float)
        Decay of the running averages of the gradient and of its square.
    weight_decay : float
        Adds ``weight_decay * w`` to the gradient.
    decoupled_weight_decay : bool
        Subtract ``lr * weight_decay * w`` from the weights instead of changing the gradient.
    maximize : bool
        Maximise the loss instead of minimising it.
    foreach, capturable, differentiable
        See :class:`Optimizer`.

    Raises
    ------
    ValueError, TypeError
        As :class:`Adam`.

    Examples
    --------
    >>> w = fc.ones(2, requires_grad=True)
    >>> optimizer = optim.RAdam([w], lr=0.5)
    >>> w.sum().backward()
    >>> optimizer.step()  # the first steps use momentum alone
    >>> w.detach()
    tensor([0.5, 0.5])
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        settings: dict[str, Any] = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        settings |= {"decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize}
        super().__init__(params, {**settings, "capturable": capturable, "differentiable": differentiable})

    def _rule(self, group: dict[str, Any], counters: dict[str, float]) -> tuple[str, list[float]]:
        t, (beta1, beta2) = counters["step"], group["betas"]
        correction = 1 - beta2**t
        # rho of the paper: the number of gradients in the average square, in the limit and in this step
        largest = 2 / (1 - beta2) - 1
        rho = largest - 2 * t * beta2**t / correction
        if rho > 5:
            ratio = (rho - 4) * (rho - 2) * largest / ((largest - 4) * (largest - 2) * rho)
            by_variance, without = (ratio * correction) ** 0.5, 0.0
        else:
            by_variance, without = 0.0, 1.0
        return "radam", [
            *prepared(group, group["decoupled_weight_decay"]),
            group["lr"] / (1 - beta1**t),
            *_rates(group["betas"]),
            by_variance,
            without,
            group["eps"],
        ]
