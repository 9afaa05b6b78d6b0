"""Learning-rate schedules, each written as a formula of the number of steps taken."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from math import cos, pi

from ..spec import check


class LRScheduler:
    """Base of the schedules; sets ``lr`` of every parameter group at construction and at each :meth:`step`.

    Parameters
    ----------
    optimizer : Optimizer
    last_epoch : int
        Steps already taken, less one: -1 starts anew.

    Attributes
    ----------
    interval : {"epoch", "step"}
        When ``train.fit`` calls :meth:`step`; may be assigned.
    """

    interval = "epoch"

    def __init__(self, optimizer, last_epoch: int = -1):
        self.optimizer = optimizer
        for group in optimizer.param_groups:
            check(last_epoch == -1 or "initial_lr" in group, type(self).__name__,
                  "continuing (last_epoch != -1) needs 'initial_lr' in every parameter group")  # fmt: skip
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs = [g["initial_lr"] for g in optimizer.param_groups]
        self.last_epoch = last_epoch
        self.step()

    def lr(self, base: float, t: int) -> float:
        """Learning rate after ``t`` steps of a group that started with ``base``."""
        raise NotImplementedError

    def step(self) -> None:
        """Advance by one epoch (or one batch, for schedules counted in batches)."""
        self.last_epoch += 1
        for base, group in zip(self.base_lrs, self.optimizer.param_groups):
            group["lr"] = self.lr(base, self.last_epoch)

    def get_last_lr(self) -> list[float]:
        """Learning rate of each parameter group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict:
        """Everything but the optimizer, as plain numbers and lists."""
        return {k: v for k, v in self.__dict__.items() if k != "optimizer"}

    def load_state_dict(self, state_dict: dict) -> None:
        """Continue where :meth:`state_dict` was taken (the optimizer's own state holds the current lr)."""
        expected = set(self.state_dict()) - {"interval"}
        check(expected == set(state_dict) - {"interval"}, f"{type(self).__name__}.load_state_dict",
              f"expected {sorted(expected)}, got {sorted(state_dict)}; was it another schedule's?")  # fmt: skip
        self.__dict__.update(state_dict)


class StepLR(LRScheduler):
    """``lr = base * gamma ** (epoch // step_size)``."""

    def __init__(self, optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1):
        check(step_size > 0, "StepLR", f"step_size must be positive, got {step_size}")
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def lr(self, base, t):
        return base * self.gamma ** (t // self.step_size)


class MultiStepLR(LRScheduler):
    """Multiply by ``gamma`` at each epoch of ``milestones``."""

    def __init__(self, optimizer, milestones: Sequence[int], gamma: float = 0.1, last_epoch: int = -1):
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def lr(self, base, t):
        return base * self.gamma ** bisect_right(self.milestones, t)


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from ``base`` to ``eta_min`` in ``T_max`` epochs (SGDR without restarts, Loshchilov and Hutter,
    2017)."""

    def __init__(self, optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1):  # noqa: N803
        check(T_max > 0, "CosineAnnealingLR", f"T_max must be positive, got {T_max}")
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def lr(self, base, t):
        return self.eta_min + (base - self.eta_min) * (1 + cos(pi * t / self.T_max)) / 2


class OneCycleLR(LRScheduler):
    """One rise to ``max_lr`` and one fall, momentum moving the other way (Smith and Topin, "Super-convergence", 2019).

    Call :meth:`step` after each batch.

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
        The first lr is ``max_lr / div_factor``, the last one that divided by ``final_div_factor``.
    three_phase : bool
        Fall back to the first lr as fast as it rose, then to the last one.
    """

    interval = "step"

    def __init__(self, optimizer, max_lr, total_steps: int | None = None, epochs: int | None = None,
                 steps_per_epoch: int | None = None, pct_start: float = 0.3, anneal_strategy: str = "cos",
                 cycle_momentum: bool = True, base_momentum: float = 0.85, max_momentum: float = 0.95,
                 div_factor: float = 25.0, final_div_factor: float = 1e4, three_phase: bool = False,
                 last_epoch: int = -1):  # fmt: skip
        name, groups = "OneCycleLR", optimizer.param_groups
        if total_steps is None:
            check(epochs is not None and steps_per_epoch is not None, name,
                  "give total_steps, or epochs and steps_per_epoch")  # fmt: skip
            total_steps = epochs * steps_per_epoch
        check(isinstance(total_steps, int) and total_steps > 0, name,
              f"the number of steps must be a positive int, got {total_steps!r}")  # fmt: skip
        check(0 <= pct_start <= 1, name, f"pct_start must be between 0 and 1, got {pct_start}")
        check(anneal_strategy in ("cos", "linear"), name,
              f"anneal_strategy must be 'cos' or 'linear', got {anneal_strategy!r}")  # fmt: skip
        max_lrs = list(max_lr) if isinstance(max_lr, (list, tuple)) else [max_lr] * len(groups)
        check(len(max_lrs) == len(groups), name, f"expected {len(groups)} values of max_lr, got {len(max_lrs)}")
        check(not cycle_momentum or all("betas" in g or g.get("momentum") for g in groups), name,
              "cycle_momentum needs an optimizer with momentum, or pass cycle_momentum=False")  # fmt: skip
        self.total_steps, self.anneal_strategy, self.cycle_momentum = total_steps, anneal_strategy, cycle_momentum
        low, high, n = base_momentum, max_momentum, total_steps
        # (last step, lr from, lr to, momentum from, momentum to), lr in units of the group's first lr
        d, f = div_factor, 1 / final_div_factor
        if three_phase:
            self.phases = [[pct_start * n - 1, 1, d, high, low], [2 * pct_start * n - 2, d, 1, low, high],
                           [n - 1, 1, f, high, high]]  # fmt: skip
        else:
            self.phases = [[pct_start * n - 1, 1, d, high, low], [n - 1, d, f, low, high]]
        if last_epoch == -1:
            for group, top in zip(groups, max_lrs):
                group["initial_lr"] = top / div_factor
        super().__init__(optimizer, last_epoch)

    def step(self):
        super().step()
        if self.cycle_momentum:
            value = self._at(self.last_epoch)[1]
            for group in self.optimizer.param_groups:
                group.update({"betas": (value, *group["betas"][1:])} if "betas" in group else {"momentum": value})

    def lr(self, base, t):
        return base * self._at(t)[0]

    def _at(self, t):
        """Factor on the first lr, and momentum, at step ``t``."""
        check(t <= self.total_steps, "OneCycleLR", f"step {t} is beyond the cycle of {self.total_steps} steps")
        start = 0.0
        for phase in self.phases:
            end, lr0, lr1, m0, m1 = phase
            if t <= end or phase is self.phases[-1]:
                share = min((t - start) / (end - start), 1.0) if end != start else 1.0
                share = (1 - cos(pi * share)) / 2 if self.anneal_strategy == "cos" else share
                return lr0 + (lr1 - lr0) * share, m0 + (m1 - m0) * share
            start = end
