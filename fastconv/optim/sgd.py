"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any

from ..checks import check
from .optimizer import Optimizer, Params, prepared


class SGD(Optimizer):
    """Stochastic gradient descent with (Nesterov) momentum, as PyTorch defines it.

    A step computes ``v = momentum * v + (1 - dampening) * g`` and then ``w -= lr * v``, where ``g`` is the
    gradient of the weight ``w``. In the first step ``v = g``.

    Parameters
    ----------
    params : see :class:`Optimizer`
    lr, momentum, dampening, weight_decay : float
        ``weight_decay`` adds ``weight_decay * w`` to the gradient.
    nesterov : bool
        Use Nesterov's momentum, ``w -= lr * (g + momentum * v)``; needs momentum and no dampening.
    maximize : bool
        Maximise the loss instead of minimising it.
    foreach, differentiable, fused
        See :class:`Optimizer`.

    Raises
    ------
    ValueError, TypeError
        If a setting is negative or not a number, or ``nesterov`` is given without momentum or with dampening.

    Examples
    --------
    >>> w = fc.ones(2, requires_grad=True)
    >>> optimizer = optim.SGD([w], lr=0.5)
    >>> w.sum().backward()
    >>> optimizer.step()
    >>> w.detach()
    tensor([0.5, 0.5])
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        settings = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        settings |= {"nesterov": nesterov, "maximize": maximize, "differentiable": differentiable}
        super().__init__(params, settings)

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        check(
            not group["nesterov"] or (group["momentum"] > 0 and group["dampening"] == 0),
            "SGD",
            f"nesterov needs momentum > 0 and dampening 0, got momentum {group['momentum']} and dampening "
            f"{group['dampening']}",
        )

    def slots(self, group: dict[str, Any]) -> dict[str, float]:
        return {"momentum_buffer": 0} if group["momentum"] else {}

    def _rule(self, group: dict[str, Any], counters: dict[str, float]) -> tuple[str, list[float]]:
        numbers, momentum = [*prepared(group), group["lr"]], group["momentum"]
        if not momentum:
            return "sgd", numbers
        gain = 1.0 if counters["step"] == 1 else 1 - group["dampening"]  # the first gradient is taken whole
        return "sgd_nesterov" if group["nesterov"] else "sgd_momentum", [*numbers, momentum, gain]
