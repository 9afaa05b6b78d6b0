"""Learning-rate schedules.

As in PyTorch, each step changes the learning rate that a parameter group has at that moment. So a rate that
was set by hand has a lasting effect, and several schedules of one optimizer work together.
"""

# Arguments of users are checked when they arrive, whatever their declared types say.
# pyright: reportUnnecessaryIsInstance=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from math import cos, pi
from typing import Any

from ..checks import check
from ..table import options
from .optimizer import Optimizer

#: What only PyTorch's state dicts hold: bookkeeping that follows from the rest.
_PYTORCH = {"_step_count", "_is_initial", "_get_lr_called_within_step", "_last_lr", "verbose"}


class LRScheduler:
    """Base of the schedules; a subclass defines :meth:`get_lr`.

    Parameters
    ----------
    optimizer : Optimizer
        A parameter group that is added later is scheduled from the learning rate it has then.
    last_epoch : int
        The number of steps already taken, minus one; -1 starts anew. With any other number each group needs
        its ``"initial_lr"``.

    Attributes
    ----------
    interval : {"epoch", "step"}
        When ``train.fit`` calls :meth:`step`; may be assigned.
    base_lrs : list of float
        The ``"initial_lr"`` of each group.

    Raises
    ------
    TypeError, ValueError
        If ``optimizer`` is no optimizer, or a group has no ``"initial_lr"`` where it needs one.
    """

    interval: str = "epoch"
    _starting: bool = False  # whether :meth:`step` is called by the constructor

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        name = type(self).__name__
        check(
            hasattr(optimizer, "param_groups"),
            name,
            "expected an optimizer, e.g. optim.SGD(net.parameters()), got "
            f"{getattr(optimizer, '__name__', type(optimizer).__name__)}",
            TypeError,
        )
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            check(
                last_epoch == -1 or "initial_lr" in group,
                name,
                "continuing (last_epoch != -1) needs 'initial_lr' in "
                f"every parameter group; group {i} has none",
            )
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs = [g["initial_lr"] for g in optimizer.param_groups]
        self.last_epoch, self._starting = last_epoch, True
        self.step()
        del self._starting

    def get_lr(self) -> list[float]:
        """The learning rate of each parameter group for step ``self.last_epoch``.

        When this is called, the groups still have the rate of the step before.
        """
        raise NotImplementedError

    def step(self) -> None:
        """Advance by one epoch (or one batch, for schedules counted in batches)."""
        groups = self.optimizer.param_groups
        check(
            len(groups) >= len(self.base_lrs),
            type(self).__name__,
            f"the schedule is of {len(self.base_lrs)} parameter groups, the optimizer has {len(groups)} left",
        )
        for group in groups[len(self.base_lrs) :]:
            self.base_lrs.append(self._join(group))
        self.last_epoch += 1
        for group, lr in zip(groups, self.get_lr(), strict=True):
            group["lr"] = lr

    def _join(self, group: dict[str, Any]) -> float:
        """The ``initial_lr`` of a group that was added to the optimizer later."""
        return group.setdefault("initial_lr", group["lr"])

    def _scaled(self, factor: float) -> list[float]:
        return [group["lr"] * factor for group in self.optimizer.param_groups]

    def __repr__(self) -> str:
        names = set(inspect.signature(type(self)).parameters) - {"optimizer", "last_epoch"}
        own = options({k: v for k, v in self.__dict__.items() if k in names})
        lrs = ", ".join(f"{g['lr']:.4g}" for g in self.optimizer.param_groups)
        return f"{type(self).__name__}({own}; step {self.last_epoch}, lr {lrs})"

    def get_last_lr(self) -> list[float]:
        """Learning rate of each parameter group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer, as plain numbers and lists."""
        return {k: v for k, v in self.__dict__.items() if k != "optimizer"}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue where :meth:`state_dict` was taken, here or in PyTorch.

        The current learning rates are in the optimizer's own state.

        Raises
        ------
        TypeError, ValueError
            If the state is that of another schedule or of more parameter groups.
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
            f"expected {sorted(expected)}, got {sorted(new)}; was it another schedule's?",
        )
        n, groups = len(new["base_lrs"]), len(self.optimizer.param_groups)
        check(
            n <= groups,
            name,
            f"the state is of {n} parameter groups, the optimizer has {groups}; add the others first",
        )
        self.__dict__.update(new, base_lrs=list(new["base_lrs"]))

    def _from_pytorch(self, state: dict[str, Any], name: str) -> dict[str, Any]:
        """``state`` with the attributes of this class, where PyTorch's class has others."""
        return state


class StepLR(LRScheduler):
    """Multiply by ``gamma`` every ``step_size`` epochs.

    >>> optimizer = optim.SGD([fc.ones(1)], lr=0.1)
    >>> schedule = optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.05]
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        check(step_size > 0, "StepLR", f"step_size must be positive, got {step_size}")
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        t = self.last_epoch
        return self._scaled(self.gamma if t > 0 and t % self.step_size == 0 else 1.0)


class MultiStepLR(LRScheduler):
    """Multiply by ``gamma`` at each epoch of ``milestones``; an epoch listed twice multiplies twice."""

    def __init__(
        self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return self._scaled(self.gamma ** self.milestones.count(self.last_epoch))

    def _from_pytorch(self, state: dict[str, Any], name: str) -> dict[str, Any]:
        if isinstance(counts := state.get("milestones"), Mapping):  # milestone -> how often
            state["milestones"] = sorted(int(m) for m, n in counts.items() for _ in range(n))
        return state


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the first learning rate to ``eta_min`` in ``T_max`` epochs, then up again.

    This is SGDR without restarts (Loshchilov and Hutter, 2017).
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:  # noqa: N803
        check(T_max > 0, "CosineAnnealingLR", f"T_max must be positive, got {T_max}")
        self.T_max, self.eta_min = T_max, eta_min
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


class OneCycleLR(LRScheduler):
    """One rise to ``max_lr`` and one fall, while momentum moves the other way.

    From Smith and Topin, "Super-convergence", 2019. Call :meth:`step` after each batch. As in PyTorch, the
    learning rate depends only on the number of steps: a rate that is set by hand lasts until the next step.
    The rate of a group that is added later is taken as its value at the present point of the cycle.

    Parameters
    ----------
    optimizer : Optimizer
    max_lr : float or one per parameter group
    total_steps : int, optional
        Or give ``epochs`` and ``steps_per_epoch``.
    pct_start : float
        Share of the steps spent rising.
    anneal_strategy : {"cos", "linear"}
    cycle_momentum : bool
        Move ``momentum`` (Adam: the first beta) between ``max_momentum`` and ``base_momentum``.
    div_factor, final_div_factor : float
        The first lr is ``max_lr / div_factor``; the last one is the first one divided by
        ``final_div_factor``.
    three_phase : bool
        Fall to the first lr in as many steps as the rise took, then to the last lr.

    Raises
    ------
    ValueError, TypeError
        If the number of steps is missing, or a setting does not fit the optimizer.
    """

    interval = "step"

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        name, groups = "OneCycleLR", getattr(optimizer, "param_groups", [])
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError(f"{name}: give total_steps, or epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        check(
            isinstance(total_steps, int) and total_steps > 0,
            name,
            f"the number of steps must be a positive int, got {total_steps!r}",
        )
        check(0 <= pct_start <= 1, name, f"pct_start must be between 0 and 1, got {pct_start}")
        check(
            anneal_strategy in ("cos", "linear"),
            name,
            f"anneal_strategy must be 'cos' or 'linear', got {anneal_strategy!r}",
        )
        max_lrs: list[Any] = list(max_lr) if isinstance(max_lr, (list, tuple)) else [max_lr] * len(groups)
        check(
            len(max_lrs) == len(groups), name, f"expected {len(groups)} values of max_lr, got {len(max_lrs)}"
        )
        check(
            not cycle_momentum or all("betas" in g or g.get("momentum") for g in groups),
            name,
            "cycle_momentum needs an optimizer with momentum, or pass cycle_momentum=False",
        )
        for key, value in (("base_momentum", base_momentum), ("max_momentum", max_momentum)):
            check(
                isinstance(value, (int, float)),
                name,
                f"{key} must be one number for all groups, got {value!r}",
                TypeError,
            )
        self.total_steps, self.anneal_strategy = total_steps, anneal_strategy
        self.cycle_momentum = cycle_momentum
        low, high, n = base_momentum, max_momentum, total_steps
        # (last step, lr from, lr to, momentum from, momentum to), lr in units of the group's first lr
        d, f = div_factor, 1 / final_div_factor
        if three_phase:
            self.phases = [
                [pct_start * n - 1, 1, d, high, low],
                [2 * pct_start * n - 2, d, 1, low, high],
                [n - 1, 1, f, high, high],
            ]
        else:
            self.phases = [[pct_start * n - 1, 1, d, high, low], [n - 1, d, f, low, high]]
        if last_epoch == -1:
            for group, top in zip(groups, max_lrs):
                group["initial_lr"] = top / div_factor
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        factor, momentum = self._at(self.last_epoch)
        if self.cycle_momentum:
            for group in self.optimizer.param_groups:
                group.update(
                    {"betas": (momentum, *group["betas"][1:])} if "betas" in group else {"momentum": momentum}
                )
        return [base * factor for base in self.base_lrs]

    def _join(self, group: dict[str, Any]) -> float:
        group["initial_lr"] = group["lr"] / self._at(self.last_epoch)[0]
        return group["initial_lr"]

    def _from_pytorch(self, state: dict[str, Any], name: str) -> dict[str, Any]:
        if "_schedule_phases" not in state:
            return state
        ours = {
            "total_steps": self.total_steps,
            "_anneal_func_type": self.anneal_strategy,
            "cycle_momentum": self.cycle_momentum,
            "base_lrs": self.base_lrs,
        }
        theirs = {k: state.get(k) for k in ours}
        ours["phases end at"] = [end for end, *_ in self.phases]
        theirs["phases end at"] = [phase["end_step"] for phase in state["_schedule_phases"]]
        other = [f"{k} {theirs[k]}, here {v}" for k, v in ours.items() if theirs[k] != v]
        check(
            not other,
            name,
            f"PyTorch's schedule was made with other arguments ({'; '.join(other)}); give the same here",
        )
        return {**self.state_dict(), "last_epoch": state["last_epoch"]}

    def _at(self, t: int) -> tuple[float, float]:
        """The factor on the first lr, and the momentum, at step ``t``."""
        check(
            t <= self.total_steps, "OneCycleLR", f"step {t} is beyond the cycle of {self.total_steps} steps"
        )
        i = next((i for i, phase in enumerate(self.phases) if t <= phase[0]), len(self.phases) - 1)
        end, lr0, lr1, m0, m1 = self.phases[i]
        start = self.phases[i - 1][0] if i else 0.0
        share = min((t - start) / (end - start), 1.0) if end != start else 1.0
        share = (1 - cos(pi * share)) / 2 if self.anneal_strategy == "cos" else share
        return lr0 + (lr1 - lr0) * share, m0 + (m1 - m0) * share
