"""Schedules that follow a cosine."""

# Arguments of users are checked when they arrive, whatever their declared types say.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

from math import cos, floor, pi

from fastconv.checks import check

from ..optimizer import Optimizer
from .base import LRScheduler, positive, real


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the first learning rate to ``eta_min`` in ``T_max`` epochs, then up again.

    This is SGDR without restarts (Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm
    restarts", 2017).

    Parameters
    ----------
    optimizer : Optimizer
    T_max : int
        Number of epochs until the lowest learning rate, positive.
    eta_min : float
        The lowest learning rate.
    last_epoch : int
        See :class:`LRScheduler`.

    Raises
    ------
    ValueError
        If ``T_max`` is not positive.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:  # noqa: N803
        self.T_max = positive("CosineAnnealingLR", "T_max", T_max)
        self.eta_min = real("CosineAnnealingLR", "eta_min", eta_min)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        t, n, low = self.last_epoch, self.T_max, self.eta_min
        if self._starting:
            return self.get_last_lr()
        if (t - 1 - n) % (2 * n) == 0:  # at the lowest point the factor below would divide by zero
            rise = (1 - cos(pi / n)) / 2
            return [lr + (base - low) * rise for lr, base in zip(self.get_last_lr(), self.base_lrs)]
        factor = (1 + cos(pi * t / n)) / (1 + cos(pi * (t - 1) / n))
        return [low + (lr - low) * factor for lr in self.get_last_lr()]

    def _first_lr(self) -> list[float]:
        return list(self.base_lrs)


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half a cosine from the first learning rate to ``eta_min``, then a jump back to the first; repeated.

    This is SGDR (Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017).

    Parameters
    ----------
    optimizer : Optimizer
    T_0 : int
        Epochs until the first restart.
    T_mult : int
        Each period is ``T_mult`` times as long as the one before.
    eta_min : float
        The lowest learning rate.

    Raises
    ------
    ValueError
        If ``T_0`` or ``T_mult`` is not a positive int.

    Examples
    --------
    >>> optimizer = optim.SGD([fc.ones(1)], lr=1.0)
    >>> schedule = optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=2)
    >>> rates = []
    >>> for _ in range(4):
    ...     rates += schedule.get_last_lr()
    ...     schedule.step()
    >>> rates
    [1.0, 0.5, 1.0, 0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,  # noqa: N803
        T_mult: int = 1,  # noqa: N803
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        eta_min = real("CosineAnnealingWarmRestarts", "eta_min", eta_min)
        for key, value in ("T_0", T_0), ("T_mult", T_mult):
            check(
                isinstance(value, int) and value > 0,
                "CosineAnnealingWarmRestarts",
                f"{key} must be a positive int, got {value!r}",
            )
        self.T_0, self.T_i, self.T_mult, self.eta_min = T_0, T_0, T_mult, eta_min
        self.T_cur: float = last_epoch  # epochs since the last restart
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        fall = (1 + cos(pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * fall for base in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:  # type: ignore[override]
        """Advance by one epoch, or go to ``epoch``, which may be a fraction (after each batch)."""
        if epoch is None and self.last_epoch < 0:
            epoch = 0
        if epoch is None:
            epoch = self.last_epoch + 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur, self.T_i = self.T_cur % self.T_i, self.T_i * self.T_mult
        else:
            check(epoch >= 0, "CosineAnnealingWarmRestarts", f"step: epoch must not be negative, got {epoch}")
            self.T_cur, self.T_i = epoch, self.T_0
            if self.T_mult == 1:
                self.T_cur = epoch % self.T_0
            else:
                while self.T_cur >= self.T_i:
                    self.T_cur, self.T_i = self.T_cur - self.T_i, self.T_i * self.T_mult
        self.last_epoch = floor(epoch) - 1
        super().step()

    def restart(self) -> None:
        self.step(0)
