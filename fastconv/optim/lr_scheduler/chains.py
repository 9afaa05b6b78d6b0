"""Schedules that consist of other schedules."""

# Arguments of users are checked when they arrive, whatever their declared types say.
# pyright: reportUnnecessaryIsInstance=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from fastconv.checks import check

from ..optimizer import Optimizer
from .base import LRScheduler, check_optimizer
from .plateau import ReduceLROnPlateau


class _Composed(LRScheduler):
    """Base class: checks the schedules, and holds their state dicts in its own."""

    _schedulers: list[LRScheduler]

    def _adopt(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None) -> None:
        name = type(self).__name__
        check(
            isinstance(schedulers, (list, tuple)) and len(schedulers) > 0,
            name,
            f"expected a list of at least one schedule, got {schedulers!r}",
        )
        optimizer = optimizer or getattr(next(iter(schedulers)), "optimizer", None)
        for i, s in enumerate(schedulers):
            check(
                isinstance(s, LRScheduler),
                name,
                f"expected schedules, got {type(s).__name__} at index {i}",
                TypeError,
            )
            check(
                not isinstance(s, ReduceLROnPlateau),
                name,
                f"ReduceLROnPlateau at index {i} needs a measurement in each step; call its step yourself",
            )
            check(
                s.optimizer is optimizer,
                name,
                f"all schedules must be of the same optimizer, {type(s).__name__} at index {i} is not",
            )
        self._schedulers = list(schedulers)
        self.optimizer = check_optimizer(name, optimizer)
        if all(s.interval == "step" for s in schedulers):
            self.interval = "step"

    def _undo(self) -> None:
        for schedule in self._schedulers:
            schedule._undo()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "_schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        own, name = self._schedulers, f"{type(self).__name__}.load_state_dict"
        states = state_dict.get("_schedulers", ()) if isinstance(state_dict, Mapping) else ()
        check(
            len(states) == len(own), name, f"the state has {len(states)} schedules, this one has {len(own)}"
        )
        super().load_state_dict(state_dict)
        self._schedulers = own
        for schedule, state in zip(own, states):
            schedule.load_state_dict(state)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self._schedulers))})"


class ChainedScheduler(_Composed):
    """Several schedules that act one after the other in each step.

    Parameters
    ----------
    schedulers : list of LRScheduler
    optimizer : Optimizer, optional
        The optimizer of the schedules; it need not be given.

    Raises
    ------
    ValueError, TypeError
        If the list is empty, or the schedules are of several optimizers.

    Examples
    --------
    >>> optimizer, lr_scheduler = optim.SGD([fc.ones(1)], lr=1.0), optim.lr_scheduler
    >>> both = [lr_scheduler.ExponentialLR(optimizer, 0.5), lr_scheduler.StepLR(optimizer, 2)]
    >>> schedule = lr_scheduler.ChainedScheduler(both)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        self._adopt(schedulers, optimizer)

    def _start(self) -> None:
        for schedule in self._schedulers:
            schedule._start()

    @property
    def last_epoch(self) -> int:  # type: ignore[override]
        """``last_epoch`` of the first schedule."""
        return self._schedulers[0].last_epoch

    def step(self, epoch: None = None) -> None:
        """Step all schedules."""
        for schedule in self._schedulers:
            schedule.step(epoch)

    def restart(self) -> None:
        for schedule in self._schedulers:
            schedule.restart()


class SequentialLR(_Composed):
    """Several schedules, one after the other, each for some epochs.

    Parameters
    ----------
    optimizer : Optimizer
    schedulers : list of LRScheduler
    milestones : list of int
        The epochs at which the second, third ... schedule begins.
    last_epoch : int
        The number of steps already taken, minus one.

    Raises
    ------
    ValueError, TypeError
        If the list is empty, the schedules are of several optimizers, or the number of milestones is wrong.

    Examples
    --------
    >>> optimizer, lr_scheduler = optim.SGD([fc.ones(1)], lr=1.0), optim.lr_scheduler
    >>> warmup = lr_scheduler.ConstantLR(optimizer, 0.5, total_iters=2)
    >>> decay = lr_scheduler.ExponentialLR(optimizer, 0.1)
    >>> schedule = lr_scheduler.SequentialLR(optimizer, [warmup, decay], milestones=[2])
    >>> rates = []
    >>> for _ in range(4):
    ...     rates += schedule.get_last_lr()
    ...     schedule.step()
    >>> rates
    [0.5, 0.5, 1.0, 0.1]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        self._adopt(schedulers, check_optimizer("SequentialLR", optimizer))
        check(
            len(milestones) == len(schedulers) - 1,
            "SequentialLR",
            f"{len(schedulers)} schedules need {len(schedulers) - 1} milestones, got {len(milestones)}",
        )
        self._milestones, self.last_epoch = list(milestones), last_epoch + 1
        # Each schedule has taken its first step when it was made. Undo these, and repeat only that of the
        # schedule that begins.
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        self._undo()
        self._start()

    def _start(self) -> None:
        self._schedulers[bisect_right(self._milestones, 0)]._start()

    def step(self, epoch: None = None) -> None:
        """Step the schedule whose turn it is."""
        check(epoch is None, "SequentialLR", f"step({epoch!r}) is not supported; call step() once per epoch")
        self.last_epoch += 1
        i = bisect_right(self._milestones, self.last_epoch)
        if i > 0 and self._milestones[i - 1] == self.last_epoch:
            self._schedulers[i].restart()
        else:
            self._schedulers[i].step()

    def restart(self) -> None:
        self.last_epoch = 0
        self._schedulers[bisect_right(self._milestones, 0)].restart()
