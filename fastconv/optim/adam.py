"""Adam and AdamW."""

# Arguments of users are checked when they arrive, whatever their declared types say.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import Any

from ..checks import check
from .optimizer import Optimizer, Params


class Adam(Optimizer):
    """Adam (Kingma and Ba, "Adam: a method for stochastic optimization", 2015).

    Parameters
    ----------
    params : see :class:`Optimizer`
    lr, eps : float
    betas : (float, float)
        Decay of the running averages of the gradient and of its square.
    weight_decay : float
        Adds ``weight_decay * w`` to the gradient.

    Raises
    ------
    ValueError, TypeError
        If a setting is negative or no number, or ``betas`` are not two numbers in [0, 1).

    Examples
    --------
    >>> w = fc.ones(2, requires_grad=True)
    >>> optimizer = optim.Adam([w], lr=0.5)
    >>> w.sum().backward()
    >>> optimizer.step()  # the first step moves each weight by lr
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
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def _check(self, group: dict[str, Any]) -> None:
        super()._check(group)
        betas = group["betas"]
        check(
            isinstance(betas, (tuple, list)) and len(betas) == 2 and all(0 <= b < 1 for b in betas),
            type(self).__name__,
            f"betas must be two numbers in [0, 1), got {betas}",
        )

    def slots(self, group: dict[str, Any]) -> tuple[str, ...]:
        return "exp_avg", "exp_avg_sq"

    def _update(
        self,
        engine: Any,
        group: dict[str, Any],
        step: int | None,
        params: list[Any],
        grads: list[Any],
        *slots: list[Any],
    ) -> None:
        settings = (group["lr"], *group["betas"], group["eps"], group["weight_decay"], self._decoupled)
        engine.adam_step(params, grads, *slots, step, *settings)


class AdamW(Adam):
    """Adam with decoupled weight decay, ``w -= lr * weight_decay * w`` (Loshchilov and Hutter, 2019).

    Parameters and errors are those of :class:`Adam`; ``weight_decay`` acts on the weights.

    >>> optim.AdamW([fc.ones(2, requires_grad=True)], lr=0.1)
    AdamW(lr=0.1, 1 parameters)
    """

    _decoupled = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)
