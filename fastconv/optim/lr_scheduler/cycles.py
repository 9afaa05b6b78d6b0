"""Schedules that move learning rate and momentum up and down, and are stepped after each batch."""

# Arguments of users are checked when they arrive, whatever their declared types say.
# pyright: reportUnnecessaryIsInstance=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import cos, floor, pi
from typing import Any, Literal

from fastconv.checks import check

from ..optimizer import Optimizer
from .base import LRScheduler, check_optimizer, positive, real, real_per_group, whole


def _set_momentum(group: dict[str, Any], momentum: float) -> None:
    if "betas" in group:
        group["betas"] = (momentum, *group["betas"][1:])
    else:
        group["momentum"] = momentum


class OneCycleLR(LRScheduler):
    """The learning rate rises once to ``max_lr`` and falls once; momentum moves in the opposite direction.

    From Smith and Topin, "Super-convergence", 2019. Call :meth:`step` after each batch. As in PyTorch, the
    learning rate depends only on the number of steps: a rate that is set by hand lasts until the next step.
    The rate of a group that is added later is taken as its rate at the current point of the cycle.

    Parameters
    ----------
    optimizer : Optimizer
    max_lr : float or one per parameter group
    total_steps : int, optional
        The number of steps of the cycle.
    epochs, steps_per_epoch : int, optional
        Used without ``total_steps``, which is then their product.
    pct_start : float
        Fraction of the steps in which the rate rises, from 0 to 1.
    anneal_strategy : {"cos", "linear"}
        Whether the rate follows half a cosine or a line.
    cycle_momentum : bool
        Move ``momentum`` (Adam: the first beta) between ``max_momentum`` and ``base_momentum``.
    base_momentum, max_momentum : float
        The momentum at the highest learning rate, and at the first and last one.
    div_factor, final_div_factor : float
        The first learning rate is ``max_lr / div_factor``; the last one is the first one divided by
        ``final_div_factor``.
    three_phase : bool
        Fall to the first learning rate in as many steps as the rise took, then to the last one.
    last_epoch : int
        See :class:`LRScheduler`.

    Raises
    ------
    ValueError, TypeError
        If the number of steps is missing, a factor is not positive, or a setting does not fit the optimizer.
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
        name, groups = "OneCycleLR", check_optimizer("OneCycleLR", optimizer).param_groups
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError(f"{name}: give total_steps, or epochs and steps_per_epoch")
            total_steps = whole(name, "epochs", epochs) * whole(name, "steps_per_epoch", steps_per_epoch)
        check(
            isinstance(total_steps, int) and total_steps > 0,
            name,
            f"the number of steps must be a positive int, got {total_steps!r}",
        )
        real(name, "pct_start", pct_start)
        check(0 <= pct_start <= 1, name, f"pct_start must be between 0 and 1, got {pct_start}")
        check(
            anneal_strategy in ("cos", "linear"),
            name,
            f"anneal_strategy must be 'cos' or 'linear', got {anneal_strategy!r}",
        )
        max_lrs = real_per_group(name, "max_lr", optimizer, max_lr)
        div_factor = positive(name, "div_factor", div_factor)
        final_div_factor = positive(name, "final_div_factor", final_div_factor)
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
                _set_momentum(group, momentum)
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


class CyclicLR(LRScheduler):
    """The learning rate rises to ``max_lr`` and falls back to ``base_lr``, in cycles.

    Momentum moves in the opposite direction.

    From Smith, "Cyclical learning rates for training neural networks", 2017. Call :meth:`step` after each
    batch.

    Parameters
    ----------
    optimizer : Optimizer
    base_lr, max_lr : float or one per parameter group
    step_size_up, step_size_down : int
        Number of steps in which the rate rises, and in which it falls (the same number by default).
    mode : {"triangular", "triangular2", "exp_range"}
        The height of the cycles: the same for all; half of that of the cycle before; or ``gamma ** step``.
    gamma : float
        Used by ``mode="exp_range"``.
    scale_fn : callable, optional
        The height as a function of the number of the cycle, which counts from 1, or of the step. With it,
        ``mode`` has no effect.
    scale_mode : {"cycle", "iterations"}
        Whether the argument of ``scale_fn`` is the number of the cycle or of the step.
    cycle_momentum : bool
        Move ``momentum`` (Adam: the first beta) between ``max_momentum`` and ``base_momentum``.
    base_momentum, max_momentum : float or one per parameter group
        The momentum at ``max_lr`` and at ``base_lr``.
    last_epoch : int
        See :class:`LRScheduler`.

    Raises
    ------
    ValueError, TypeError
        If a setting does not fit the optimizer or is unknown.

    Examples
    --------
    >>> optimizer = optim.SGD([fc.ones(1)], lr=1.0, momentum=0.9)
    >>> schedule = optim.lr_scheduler.CyclicLR(optimizer, base_lr=0.5, max_lr=1.0, step_size_up=2)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.75]
    """

    interval = "step"

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | Sequence[float],
        max_lr: float | Sequence[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: Literal["cycle", "iterations"] = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.8,
        max_momentum: float | Sequence[float] = 0.9,
        last_epoch: int = -1,
    ) -> None:
        name = "CyclicLR"
        base_lrs = real_per_group(name, "base_lr", optimizer, base_lr)
        self.max_lrs = real_per_group(name, "max_lr", optimizer, max_lr)
        step_size_up = real(name, "step_size_up", step_size_up)
        down = step_size_up if step_size_down is None else real(name, "step_size_down", step_size_down)
        check(
            step_size_up > 0 and down > 0, name, f"step sizes must be positive, got {step_size_up} and {down}"
        )
        modes = "triangular", "triangular2", "exp_range"
        check(
            scale_fn is not None or mode in modes,
            name,
            f"mode must be one of {', '.join(modes)}, got {mode!r}",
        )
        check(
            scale_mode in ("cycle", "iterations"),
            name,
            f"scale_mode must be 'cycle' or 'iterations', got {scale_mode!r}",
        )
        groups = optimizer.param_groups
        check(
            not cycle_momentum or all("betas" in g or "momentum" in g for g in groups),
            name,
            "cycle_momentum needs an optimizer with momentum, or pass cycle_momentum=False",
        )
        self.total_size = float(step_size_up + down)
        self.step_ratio = step_size_up / self.total_size
        self.mode, self.gamma = mode, real(name, "gamma", gamma)
        self._scale_fn_custom = scale_fn
        if scale_fn is None:
            scale_mode = "iterations" if mode == "exp_range" else "cycle"
        self.scale_mode, self.cycle_momentum = scale_mode, cycle_momentum
        if last_epoch == -1:
            for group, lr in zip(groups, base_lrs):
                group["lr"] = lr
        if cycle_momentum:
            self.use_beta1 = "betas" in groups[0]  # not read, but PyTorch's state dicts have it
            self.base_momentums = real_per_group(name, "base_momentum", optimizer, base_momentum)
            self.max_momentums = real_per_group(name, "max_momentum", optimizer, max_momentum)
            if last_epoch == -1:
                for group, low, high in zip(groups, self.base_momentums, self.max_momentums):
                    group.update(base_momentum=low, max_momentum=high)
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def scale_fn(self, x: float) -> float:
        """The height of the cycle with number ``x``, or at step ``x`` (see ``scale_mode``)."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        if self.mode == "triangular":
            return 1.0
        return 0.5 ** (x - 1) if self.mode == "triangular2" else self.gamma**x

    def get_lr(self) -> list[float]:
        t = self.last_epoch
        cycle = floor(1 + t / self.total_size)
        at = 1 + t / self.total_size - cycle  # from 0 to 1 within the cycle
        height = at / self.step_ratio if at <= self.step_ratio else (at - 1) / (self.step_ratio - 1)
        height *= self.scale_fn(cycle if self.scale_mode == "cycle" else t)
        if self.cycle_momentum:
            for group, low, high in zip(self.optimizer.param_groups, self.base_momentums, self.max_momentums):
                _set_momentum(group, high - (high - low) * height)
        return [low + (high - low) * height for low, high in zip(self.base_lrs, self.max_lrs)]

    def _join(self, group: dict[str, Any]) -> float:
        raise ValueError(
            "CyclicLR: a parameter group was added, and there is no max_lr for it; make a new schedule"
        )

    def state_dict(self) -> dict[str, Any]:
        own = dict(getattr(self._scale_fn_custom, "__dict__", {})) or None
        return {**super().state_dict(), "_scale_fn_custom": own}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        function = self._scale_fn_custom
        super().load_state_dict(state_dict)
        self._scale_fn_custom = function
        if state_dict["_scale_fn_custom"]:
            vars(function).update(state_dict["_scale_fn_custom"])
