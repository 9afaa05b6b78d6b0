"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any

from ..checks import check
from .optimizer import Optimizer, Params


class SGD(Optimizer):
    """Stochastic gradient descent with (Nesterov) momentum, as PyTorch defines it.

    ``v = momentum * v + (1 - dampening) * g`` and then ``w -= lr * v``.

    Parameters
    ----------
    params : see :class:`Optimizer`
    lr, momentum, dampening, weight_decay : float
        ``weight_decay`` adds ``weight_decay * w`` to the gradient.
    nesterov : bool
        Needs momentum and no dampening.

    Raises
    ------
    ValueError, TypeError
        If a setting is negative or no number, or ``nesterov`` has no momentum.

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
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            momentum=momentum,
            dampening=dampening,
            weight_decay=weight_decay,
            nesterov=nesterov,
        )

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        check(
            not group["nesterov"] or (group["momentum"] > 0 and group["dampening"] == 0),
            "SGD",
            f"nesterov needs momentum > 0 and dampening 0, got momentum {group['momentum']} and dampening "
            f"{group['dampening']}",
        )

    def slots(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",) if group["momentum"] else ()

    def _update(
        self,
        engine: Any,
        group: dict[str, Any],
        step: int | None,
        params: list[Any],
        grads: list[Any],
        *slots: list[Any],
    ) -> None:
        velocities = slots[0] if slots else grads  # without momentum the kernel reads none
        settings = [group[k] for k in ("lr", "momentum", "dampening", "nesterov", "weight_decay")]
        engine.sgd_step(params, grads, velocities, *settings, step == 1)
