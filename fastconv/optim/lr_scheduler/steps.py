"""Schedules that multiply the learning rate by a number."""

# Arguments of users are checked when they arrive, whatever their declared types say.
# pyright: reportUnnecessaryIsInstance=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from fastconv.checks import check

from ..optimizer import Optimizer
from .base import LRScheduler, per_group, positive, real, whole

Factor: TypeAlias = Callable[[int], float]


class StepLR(LRScheduler):
    """Multiply by ``gamma`` every ``step_size`` epochs.

    Parameters
    ----------
    optimizer : Optimizer
    step_size : int
        Number of epochs, positive.
    gamma : float
    last_epoch : int
        See :class:`LRScheduler`.

    Raises
    ------
    ValueError
        If ``step_size`` is not positive.

    Examples
    --------
    >>> optimizer = optim.SGD([fc.ones(1)], lr=0.1)
    >>> schedule = optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.05]
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.step_size = positive("StepLR", "step_size", whole("StepLR", "step_size", step_size))
        self.gamma = real("StepLR", "gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        t = self.last_epoch
        return self._scaled(self.gamma if t > 0 and t % self.step_size == 0 else 1.0)

    def _first_lr(self) -> list[float]:
        return list(self.base_lrs)


class MultiStepLR(LRScheduler):
    """Multiply by ``gamma`` at each epoch of ``milestones``.

    Parameters
    ----------
    optimizer : Optimizer
    milestones : sequence of int
        Epochs, in any order; at an epoch that is listed twice the rate is multiplied twice.
    gamma : float
    last_epoch : int
        See :class:`LRScheduler`.

    Examples
    --------
    >>> optimizer = optim.SGD([fc.ones(1)], lr=1.0)
    >>> schedule = optim.lr_scheduler.MultiStepLR(optimizer, milestones=[1], gamma=0.5)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    def __init__(
        self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        name = "MultiStepLR"
        check(
            isinstance(milestones, Iterable) and not isinstance(milestones, (str, bytes)),
            name,
            f"milestones must be a list of epochs, got {milestones!r:.60}; give a list, e.g. [30, 80]",
            TypeError,
        )
        self.milestones = sorted(whole(name, "each of milestones", m) for m in milestones)
        self.gamma = real(name, "gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return self._scaled(self.gamma ** self.milestones.count(self.last_epoch))

    def _first_lr(self) -> list[float]:
        return [base * self.gamma ** sum(m <= 0 for m in self.milestones) for base in self.base_lrs]

    def _from_pytorch(self, state: dict[str, Any], name: str) -> dict[str, Any]:
        if isinstance(counts := state.get("milestones"), Mapping):  # milestone -> how often
            state["milestones"] = sorted(int(m) for m, n in counts.items() for _ in range(n))
        return state


class ExponentialLR(LRScheduler):
    """Multiply by ``gamma`` every epoch.

    Parameters
    ----------
    optimizer : Optimizer
    gamma : float
    last_epoch : int
        See :class:`LRScheduler`.

    Examples
    --------
    >>> optimizer = optim.SGD([fc.ones(1)], lr=1.0)
    >>> schedule = optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = real("ExponentialLR", "gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return self._scaled(1.0 if self._starting else self.gamma)

    def _first_lr(self) -> list[float]:
        return list(self.base_lrs)


class ConstantLR(LRScheduler):
    """The learning rate times ``factor`` in the first ``total_iters`` epochs, then without the factor.

    Raises
    ------
    ValueError
        If ``factor`` is not between 0 and 1.

    Examples
    --------
    >>> optimizer = optim.SGD([fc.ones(1)], lr=1.0)
    >>> optim.lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters=4).get_last_lr()
    [0.5]
    """

    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        self.factor = real("ConstantLR", "factor", factor)
        check(0 <= factor <= 1, "ConstantLR", f"factor must be between 0 and 1, got {factor}")
        self.total_iters = whole("ConstantLR", "total_iters", total_iters)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        if self.last_epoch == 0:
            return self._scaled(self.factor)
        if self.last_epoch != self.total_iters:
            return self.get_last_lr()
        return self._scaled(1 / self.factor) if self.factor else list(self.base_lrs)

    def _first_lr(self) -> list[float]:
        return [base * (self.factor if self.total_iters > 0 else 1) for base in self.base_lrs]


class LinearLR(LRScheduler):
    """The learning rate times a factor that goes from ``start_factor`` to ``end_factor``.

    The factor changes by the same amount in each of the first ``total_iters`` epochs, then it stays.

    Raises
    ------
    ValueError
        If ``start_factor`` is not in (0, 1], or ``end_factor`` not in [0, 1].

    Examples
    --------
    >>> optimizer = optim.SGD([fc.ones(1)], lr=1.0)
    >>> schedule = optim.lr_scheduler.LinearLR(optimizer, start_factor=0.5, total_iters=4)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.625]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        name = "LinearLR"
        self.start_factor = real(name, "start_factor", start_factor)
        self.end_factor = real(name, "end_factor", end_factor)
        check(0 < start_factor <= 1, name, f"start_factor must be in (0, 1], got {start_factor}")
        check(0 <= end_factor <= 1, name, f"end_factor must be between 0 and 1, got {end_factor}")
        self.total_iters = whole(name, "total_iters", total_iters)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        t, n, start, rise = self.last_epoch, self.total_iters, self.start_factor, self._rise
        if t == 0:
            return self._scaled(start)
        if self._starting or t > n:
            return self.get_last_lr()
        return self._scaled(1 + rise / (n * start + (t - 1) * rise))

    def _first_lr(self) -> list[float]:
        return [base * self.start_factor for base in self.base_lrs]

    @property
    def _rise(self) -> float:
        return self.end_factor - self.start_factor


class PolynomialLR(LRScheduler):
    """The first learning rate times ``(1 - t / total_iters) ** power`` in epoch t; 0 from ``total_iters`` on.

    Raises
    ------
    ValueError
        If ``total_iters`` is not positive.

    Examples
    --------
    >>> optimizer = optim.SGD([fc.ones(1)], lr=1.0)
    >>> schedule = optim.lr_scheduler.PolynomialLR(optimizer, total_iters=4, power=2)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5625]
    """

    def __init__(
        self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1
    ) -> None:
        self.total_iters = positive(
            "PolynomialLR", "total_iters", whole("PolynomialLR", "total_iters", total_iters)
        )
        self.power = real("PolynomialLR", "power", power)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        t, n = self.last_epoch, self.total_iters
        if self._starting or t > n:
            return self.get_last_lr()
        return self._scaled(((n - t) / (n - t + 1)) ** self.power)

    def _first_lr(self) -> list[float]:
        return list(self.base_lrs)


class LambdaLR(LRScheduler):
    """The first learning rate times a function of the epoch.

    Parameters
    ----------
    optimizer : Optimizer
    lr_lambda : callable ``(epoch) -> float``, or a list with one per parameter group
        The state dict does not hold functions. If ``lr_lambda`` is a callable object, the state dict holds
        its attributes.

    Raises
    ------
    ValueError, TypeError
        If there is not one callable per group.

    Examples
    --------
    >>> optimizer = optim.SGD([fc.ones(1)], lr=1.0)
    >>> schedule = optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch))
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    def __init__(
        self, optimizer: Optimizer, lr_lambda: Factor | Sequence[Factor], last_epoch: int = -1
    ) -> None:
        name = type(self).__name__
        self.lr_lambdas: list[Factor] = per_group(name, "lr_lambda", optimizer, lr_lambda)
        for function in self.lr_lambdas:
            check(
                callable(function),
                name,
                f"lr_lambda must be a function of the epoch, got {function!r}",
                TypeError,
            )
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [base * f(self.last_epoch) for f, base in zip(self.lr_lambdas, self.base_lrs)]

    def _join(self, group: dict[str, Any]) -> float:
        """A group that was added later gets the function of the others, if they all have the same one."""
        name = type(self).__name__
        one = all(f is self.lr_lambdas[0] for f in self.lr_lambdas)
        check(one, name, "a parameter group was added, and there is no lr_lambda for it; make a new schedule")
        self.lr_lambdas.append(self.lr_lambdas[0])
        return super()._join(group)

    def state_dict(self) -> dict[str, Any]:
        functions = [dict(getattr(f, "__dict__", {})) or None for f in self.lr_lambdas]
        return {**super().state_dict(), "lr_lambdas": functions}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        functions = list(self.lr_lambdas)
        super().load_state_dict(state_dict)
        for f, attributes in zip(functions, state_dict["lr_lambdas"]):
            if attributes:
                vars(f).update(attributes)
        self.lr_lambdas = functions


class MultiplicativeLR(LambdaLR):
    """Multiply the current learning rate by a function of the epoch, every epoch.

    Parameters and errors are those of :class:`LambdaLR`.

    >>> optimizer = optim.SGD([fc.ones(1)], lr=1.0)
    >>> schedule = optim.lr_scheduler.MultiplicativeLR(optimizer, lambda epoch: 0.5)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    def get_lr(self) -> list[float]:
        if self._starting:
            return self.get_last_lr()
        return [lr * f(self.last_epoch) for f, lr in zip(self.lr_lambdas, self.get_last_lr())]
