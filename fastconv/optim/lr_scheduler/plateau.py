"""The schedule that depends on a measured value, such as the loss."""

# Arguments of users are checked when they arrive, whatever their declared types say.
# pyright: reportUnnecessaryIsInstance=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any, Literal, SupportsFloat

from fastconv.checks import check

from ..optimizer import Optimizer
from .base import LRScheduler, check_optimizer, real, real_per_group


class ReduceLROnPlateau(LRScheduler):
    """Multiply by ``factor`` when a measured value has not improved for more than ``patience`` epochs.

    ``train.fit`` gives it the loss on the test data, or, with ``mode="max"``, the accuracy. Without test data
    it gives the loss or accuracy on the training data.

    Parameters
    ----------
    optimizer : Optimizer
    mode : {"min", "max"}
        Whether lower or higher is better.
    factor : float
        At least 0 and less than 1.
    patience : int
        Number of epochs without progress that are allowed.
    threshold : float
        A value counts as progress if it is better than the best one by more than this.
    threshold_mode : {"rel", "abs"}
        Whether ``threshold`` is a fraction of the best value or a difference from it.
    cooldown : int
        Number of epochs after a reduction that do not count.
    min_lr : float or one per parameter group
        The smallest learning rate.
    eps : float
        The learning rate is not changed by ``eps`` or less.

    Raises
    ------
    ValueError, TypeError
        If a setting is unknown, or ``factor`` is not at least 0 and less than 1.

    Examples
    --------
    >>> optimizer = optim.SGD([fc.ones(1)], lr=1.0)
    >>> schedule = optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    >>> schedule.step(2.0)
    >>> schedule.step(2.0)
    >>> schedule.get_last_lr()
    [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        name = "ReduceLROnPlateau"
        self.factor = real(name, "factor", factor)
        check(factor < 1, name, f"factor must be less than 1, got {factor}")
        check(factor >= 0, name, f"factor must not be negative, got {factor}")
        check(mode in ("min", "max"), name, f"mode must be 'min' or 'max', got {mode!r}")
        check(
            threshold_mode in ("rel", "abs"),
            name,
            f"threshold_mode must be 'rel' or 'abs', got {threshold_mode!r}",
        )
        self.optimizer = check_optimizer(name, optimizer)
        self.patience, self.cooldown = real(name, "patience", patience), real(name, "cooldown", cooldown)
        self.eps = real(name, "eps", eps)
        self.min_lrs = real_per_group(name, "min_lr", optimizer, min_lr)
        self.default_min_lr = None if isinstance(min_lr, (list, tuple)) else min_lr
        self.mode, self.threshold_mode = mode, threshold_mode
        self.threshold = real(name, "threshold", threshold)
        self.mode_worse = inf if mode == "min" else -inf
        self.last_epoch, self.best = 0, self.mode_worse
        self.cooldown_counter = self.num_bad_epochs = 0

    @property
    def in_cooldown(self) -> bool:
        """Whether the last reduction was less than ``cooldown`` epochs ago, so that epochs do not count."""
        return self.cooldown_counter > 0

    def step(self, metrics: SupportsFloat, epoch: None = None) -> None:  # type: ignore[override]
        """Advance by one epoch; ``metrics`` is the value measured in it, a number or a tensor of one."""
        name = "ReduceLROnPlateau"
        check(epoch is None, name, f"step(metrics, {epoch!r}) is not supported; leave the epoch out")
        try:
            current = float(metrics)
        except (TypeError, ValueError):
            raise TypeError(f"{name}: step needs a number, such as the loss, got {metrics!r}") from None
        self.last_epoch += 1
        if self._is_better(current):
            self.best, self.num_bad_epochs = current, 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

    def _is_better(self, value: float) -> bool:
        sign = 1 if self.mode == "min" else -1
        if self.threshold_mode == "abs":
            return sign * value < sign * self.best - self.threshold
        return sign * value < sign * self.best * (1 - sign * self.threshold)

    def _reduce(self) -> None:
        groups = self.optimizer.param_groups
        if len(groups) != len(self.min_lrs):
            check(
                self.default_min_lr is not None,
                "ReduceLROnPlateau",
                f"the optimizer has {len(groups)} parameter groups and min_lr {len(self.min_lrs)} values; "
                "set min_lrs to a list with one value per group",
            )
            self.min_lrs = [self.default_min_lr] * len(groups)
        for group, low in zip(groups, self.min_lrs):
            new = max(group["lr"] * self.factor, low)
            if group["lr"] - new > self.eps:
                group["lr"] = new

    def get_lr(self) -> list[Any]:
        """The current learning rates; they depend on measured values, so there is no formula."""
        return self.get_last_lr()
