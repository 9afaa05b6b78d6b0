"""The base of the learning-rate schedules."""

# Arguments of users are checked when they arrive, whatever their declared types say.
# pyright: reportUnnecessaryIsInstance=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastconv.checks import check, number
from fastconv.table import options

from ..optimizer import Optimizer

#: Keys that only PyTorch's state dicts have; their values follow from the other keys.
_PYTORCH = {"_step_count", "_is_initial", "_get_lr_called_within_step", "_last_lr", "verbose"}


def check_optimizer(name: str, optimizer: Any) -> Optimizer:
    """``optimizer``; a TypeError if it is not an optimizer."""
    check(
        hasattr(optimizer, "param_groups"),
        name,
        "expected an optimizer, e.g. optim.SGD(net.parameters()), got "
        f"{getattr(optimizer, '__name__', type(optimizer).__name__)}",
        TypeError,
    )
    return optimizer


def per_group(name: str, what: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """``value`` as a list with one entry per parameter group; a single value is used for all groups."""
    n = len(check_optimizer(name, optimizer).param_groups)
    listed = list(value) if isinstance(value, (list, tuple)) else [value] * n
    check(len(listed) == n, name, f"expected {n} values of {what}, got {len(listed)}")
    return listed


def real(name: str, what: str, value: Any) -> Any:
    """A real number; an int or a float stays as it is, and a tensor or array of one becomes a float."""
    check(not isinstance(value, (bool, np.bool_)), name, f"{what} must be a number, got {value!r}", TypeError)
    result = int(value) if isinstance(value, (int, np.integer)) else number(name, what, value)
    check(result == result, name, f"{what} must be a number, got NaN")
    return result


def positive(name: str, what: str, value: Any) -> Any:
    """A real number above 0."""
    result = real(name, what, value)
    check(result > 0, name, f"{what} must be positive, got {value!r:.60}")
    return result


def whole(name: str, what: str, value: Any) -> int:
    """A whole number as an int; 10.0 is 10, but 10.5 raises a ValueError."""
    result = real(name, what, value)
    check(result % 1 == 0, name, f"{what} must be a whole number, got {value!r:.60}; round it")
    return int(result)


def real_per_group(name: str, what: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """:func:`per_group` of real numbers."""
    return [real(name, what, v) for v in per_group(name, what, optimizer, value)]


class LRScheduler:
    """Base class of the schedules; a subclass defines :meth:`get_lr`.

    Parameters
    ----------
    optimizer : Optimizer
        For a parameter group that is added later, the schedule starts from its learning rate at that time.
    last_epoch : int
        The number of steps already taken, minus one; -1 starts a new schedule. With any other number each
        group needs ``"initial_lr"``.

    Attributes
    ----------
    interval : {"epoch", "step"}
        Whether ``train.fit`` calls :meth:`step` after each epoch or after each batch; may be assigned.
    last_epoch : int
        The number of calls of :meth:`step`, not counting the one in the constructor.
    base_lrs : list of float
        The ``"initial_lr"`` of each group.

    Raises
    ------
    TypeError, ValueError
        If ``optimizer`` is not an optimizer, or ``last_epoch`` is not -1 and a group has no ``"initial_lr"``.
    """

    interval: str = "epoch"
    _starting: bool = False  # whether :meth:`step` is called by the constructor

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        name = type(self).__name__
        self.optimizer = check_optimizer(name, optimizer)
        for i, group in enumerate(optimizer.param_groups):
            check(
                last_epoch == -1 or "initial_lr" in group,
                name,
                "continuing (last_epoch != -1) needs 'initial_lr' in "
                f"every parameter group; group {i} has none",
            )
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs = [g["initial_lr"] for g in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._start()

    def _start(self) -> None:
        """The first step, called by the constructor; many schedules do not change the rate in it."""
        self._starting = True
        self.step()
        del self._starting

    def get_lr(self) -> list[float]:
        """The learning rate of each parameter group for step ``self.last_epoch``.

        When this is called, the groups still have the rate of the step before.
        """
        raise NotImplementedError

    def step(self, epoch: None = None) -> None:
        """Advance by one epoch (or one batch, for schedules counted in batches).

        ``epoch`` is deprecated in PyTorch and must be None here, else a ValueError is raised.
        """
        check(
            epoch is None,
            type(self).__name__,
            f"step({epoch!r}) is not supported; call step() once for each epoch",
        )
        groups = self.optimizer.param_groups
        check(
            len(groups) >= len(self.base_lrs),
            type(self).__name__,
            f"the schedule is for {len(self.base_lrs)} parameter groups, but the optimizer has {len(groups)}",
        )
        for group in groups[len(self.base_lrs) :]:
            self.base_lrs.append(self._join(group))
        self.last_epoch += 1
        self._set(self.get_lr())

    def _undo(self) -> None:
        """Reset the count to its value before the first step."""
        self.last_epoch -= 1

    def restart(self) -> None:
        """Set epoch 0 and its learning rates, whatever the rates are now (for :class:`SequentialLR`)."""
        self.last_epoch = 0
        self._set(self._first_lr())

    def _first_lr(self) -> list[float]:
        """The rates that :meth:`restart` sets; schedules that multiply the current rate override this."""
        return self.get_lr()

    def _set(self, rates: list[float]) -> None:
        for group, lr in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = lr

    def _join(self, group: dict[str, Any]) -> float:
        """The ``initial_lr`` of a group that was added to the optimizer after the schedule was made."""
        return group.setdefault("initial_lr", group["lr"])

    def _scaled(self, factor: float) -> list[float]:
        return [group["lr"] * factor for group in self.optimizer.param_groups]

    def __repr__(self) -> str:
        names = set(inspect.signature(type(self)).parameters) - {"optimizer", "last_epoch"}
        own = options({k: v for k, v in self.__dict__.items() if k in names})
        lrs = ", ".join(f"{g['lr']:.4g}" for g in self.optimizer.param_groups)
        return f"{type(self).__name__}({own}; step {self.last_epoch}, lr {lrs})"

    def get_last_lr(self) -> list[float]:
        """The current learning rate of each parameter group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """All attributes except the optimizer, as plain numbers and lists."""
        return {k: v for k, v in self.__dict__.items() if k != "optimizer"}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a :meth:`state_dict` of fastconv or of PyTorch.

        The current learning rates are not part of it: they are in the state dict of the optimizer.

        Raises
        ------
        TypeError, ValueError
            If the state is that of another schedule, or has more parameter groups than the optimizer.
        """
        name = f"{type(self).__name__}.load_state_dict"
        check(
            isinstance(state_dict, Mapping),
            name,
            f"expected a dict as state_dict() returns it, got {type(state_dict).__name__}",
            TypeError,
        )
        new = self._from_pytorch({k: v for k, v in state_dict.items() if k not in _PYTORCH}, name)
        expected = set(self.state_dict()) - {"interval"}
        check(
            expected == set(new) - {"interval"},
            name,
            f"expected {sorted(expected)}, got {sorted(new)}; is it the state of another schedule?",
        )
        n, groups = len(new.get("base_lrs", ())), len(self.optimizer.param_groups)
        check(
            n <= groups,
            name,
            f"the state has {n} parameter groups, but the optimizer has {groups}; add the others first",
        )
        self.__dict__.update({k: list(v) if isinstance(v, list) else v for k, v in new.items()})

    def _from_pytorch(self, state: dict[str, Any], name: str) -> dict[str, Any]:
        """``state``, a state dict that may be PyTorch's, with the attributes of this class."""
        return state
