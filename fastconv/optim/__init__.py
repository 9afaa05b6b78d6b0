"""Optimizers: parameter groups on top of one fused backend call per group."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, Union

import numpy as np

from .. import dtypes
from ..checks import check, check_shape
from ..creation import argument, as_tensor
from ..table import Table, number, options
from ..tensor import Tensor
from . import lr_scheduler

Params: TypeAlias = Iterable[Tensor] | Iterable[dict[str, Any]]

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "lr_scheduler"]


def _like(p: Tensor) -> Tensor:
    """A tensor of the parameter's shape, dtype and order in memory, so that one kernel walks both alike."""
    return Tensor(p.engine.copy(p.array))


def _listed(name: str, what: str, params) -> list:
    """``params`` as a list, or an error that says how to get one."""
    kind, expected, cure = type(params).__name__, f"{what} must be a list of Tensors or dicts", "give a list"
    if hasattr(params, "parameters"):
        cure = "give the parameters of a network, net.parameters()"
    elif callable(params):
        kind, cure = (
            f"{kind} {getattr(params, '__qualname__', '')}",
            "it has to be called, as in net.parameters()",
        )
    elif isinstance(params, (set, frozenset)):
        cure = "a set has no order that the next run would have too: give a list"
    elif hasattr(params, "__iter__") and not isinstance(params, (Tensor, dict, str)):
        return list(params)
    raise TypeError(f"{name}: {expected}, got one {kind.strip()}; {cure}")


class Optimizer:
    """Base of the optimizers: groups of parameters, each with its own settings.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
        A dict is one group: ``{"params": [...], "lr": 0.01}``; settings it leaves out take the optimizer's
        own.
    defaults : settings of the groups

    Attributes
    ----------
    param_groups : list of dict
        Settings may be changed between steps, e.g. ``opt.param_groups[0]["lr"] = 0.01``.
    state : dict
        Parameter -> its running averages and the number of its updates.
    """

    _decoupled = False  # whether weight decay acts on the weights and not on the gradients

    def __init__(self, params: Params, **defaults: Any) -> None:
        name = type(self).__name__
        self.defaults: dict[str, Any] = defaults
        self.state: dict[Tensor, dict[str, Any]] = {}
        self.param_groups: list[dict[str, Any]] = []
        params = _listed(name, "params", params)
        check(params, name, "the list of parameters is empty")
        for group in params if isinstance(params[0], dict) else [{"params": params}]:
            self.add_param_group(group)

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Optimise more parameters; ``group`` is a dict with ``"params"`` and any settings."""
        name = type(self).__name__
        check(
            isinstance(group, dict) and "params" in group,
            name,
            "a parameter group must be a dict with 'params', "
            f"got {group if isinstance(group, dict) else type(group).__name__}",
            TypeError,
        )
        params = group["params"]
        params = [params] if isinstance(params, Tensor) else _listed(name, "'params' of a group", params)
        seen = {id(p) for g in self.param_groups for p in g["params"]}
        for p in params:
            hint = "; give net.parameters(), without the names" if isinstance(p, tuple) else ""
            check(
                isinstance(p, Tensor),
                name,
                f"parameters must be Tensors, got {type(p).__name__}{hint}",
                TypeError,
            )
            check(
                p.is_leaf, name, "only leaf tensors can be optimised, got the result of an op; call .detach()"
            )
            check(id(p) not in seen, name, "a parameter appears more than once; each needs one group")
            dtypes.check_writable(name, "a parameter", p.array)
            seen.add(id(p))
        group = {**self.defaults, **group, "params": params}
        self._check(group)
        self.param_groups.append(group)

    def __repr__(self) -> str:
        usual = inspect.signature(type(self)).parameters
        shown = [
            k
            for k in self.defaults
            if k == "lr" or any(k not in usual or g[k] != usual[k].default for g in self.param_groups)
        ]
        groups = [
            f"{options({k: g[k] for k in shown})}, {len(g['params'])} parameters" for g in self.param_groups
        ]
        many = f"{len(groups)} groups: " if len(groups) > 1 else ""
        return f"{type(self).__name__}({many}{'; '.join(groups)})"

    def _repr_html_(self) -> str:
        """The groups as a table, for notebooks."""
        keys = list(dict.fromkeys(k for g in self.param_groups for k in g if k != "params"))
        rows = []
        for i, g in enumerate(self.param_groups):
            elements = sum(p.numel() for p in g["params"])
            rows.append((str(i), str(len(g["params"])), number(elements), *(str(g.get(k, "")) for k in keys)))
        return Table(
            ("group", "parameters", "elements", *keys), rows, "r" * (3 + len(keys)), type(self).__name__
        ).html()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or set them to zero in place."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none or p.grad is None:
                    p.grad = None
                else:
                    p.grad.zero_()

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            slots, batches = self._slots(group), {}
            for p in group["params"]:
                if (grad := p.grad) is None:
                    continue
                if not isinstance(grad, Tensor):
                    grad = argument(type(self).__name__, "gradient", grad, p.device)
                array, g = p.array, grad.array
                if g.shape != array.shape:
                    check_shape(
                        type(self).__name__, "gradient", g.shape, array.shape, "its parameter's shape"
                    )
                if g.dtype != array.dtype:
                    g = grad.astype(array.dtype).array
                state = self.state.setdefault(p, {})
                if slots:
                    if not state:
                        state.update(step=0, **{s: _like(p).zero_() for s in slots})
                    state["step"] += 1
                # One fused call: parameters differ only where some had no gradient in an earlier step.
                key = isinstance(array, np.ndarray), array.dtype, state.get("step")
                batches.setdefault(key, []).append((p, array, g, *[state[s].array for s in slots]))
            for (_, _, step), batch in batches.items():
                params, *arrays = map(list, zip(*batch))
                self._update(params[0].engine, group, step, *arrays)
                for p in params:
                    p.memory.version += 1

    def state_dict(self) -> dict[str, Any]:
        """``{"state": {index: {...}}, "param_groups": [...]}`` with parameters numbered in order, as
        PyTorch's."""
        index = {id(p): i for i, p in enumerate(p for g in self.param_groups for p in g["params"])}
        return {
            "state": {index[id(p)]: dict(s) for p, s in self.state.items() if s},
            "param_groups": [{**g, "params": [index[id(p)] for p in g["params"]]} for g in self.param_groups],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over settings and running averages (copied) from :meth:`state_dict` of an equal optimizer,
        PyTorch's too."""
        name = f"{type(self).__name__}.load_state_dict"
        check(
            isinstance(state_dict, dict) and {"state", "param_groups"} <= set(state_dict),
            name,
            "expected a dict with 'state' and 'param_groups'",
        )
        theirs = [
            {k: v.item() if isinstance(v, Tensor) else v for k, v in g.items()}
            for g in state_dict["param_groups"]
        ]
        sizes = [len(g["params"]) for g in self.param_groups]
        got = [len(g["params"]) for g in theirs]
        check(sizes == got, name, f"expected groups of {sizes} parameters, got {got}")
        for g in theirs:
            missing = set(self.defaults) - set(g)
            check(
                not missing,
                name,
                f"setting {', '.join(sorted(missing))} is missing; was it another optimizer's?",
            )
            for key, mine in (
                ("maximize", False),
                ("amsgrad", False),
                ("decoupled_weight_decay", self._decoupled),
            ):
                check(
                    bool(g.get(key, mine)) == mine,
                    name,
                    f"the state is of an optimizer with {key}={g.get(key)}, here it is {mine}",
                )
            self._check(g)
        numbers = [int(i) for g in theirs for i in g["params"]]
        params = dict(zip(numbers, (p for g in self.param_groups for p in g["params"])))
        groups = dict(zip(numbers, (g for g in theirs for _ in g["params"])))
        state = {}
        for i, entries in state_dict["state"].items():
            check(int(i) in params, name, f"state of parameter {i}, but there are {len(params)}")
            p, new = params[int(i)], {}
            for key, value in entries.items():
                if hasattr(value, "shape") and key != "step":
                    check_shape(
                        name, f"{key} of parameter {i}", value.shape, p.shape, "its parameter's shape"
                    )
                    value = _like(p).copy_(as_tensor(value).to(p.device))
                if value is not None:  # None: PyTorch's SGD had no velocity yet
                    new[key] = int(value) if key == "step" else value
            if "momentum_buffer" in new:
                new.setdefault("step", 1)  # PyTorch's SGD does not count, and only its first step is special
            missing = {"step", *self._slots(groups[int(i)])} - set(new) if new else None
            check(not missing, name, f"the state of parameter {i} has no {', '.join(sorted(missing or ()))}")
            state[p] = new
        self.state = state
        for mine, g in zip(self.param_groups, theirs):
            mine.update({k: v for k, v in g.items() if k != "params"})

    def _slots(self, group) -> tuple[str, ...]:
        """Names of the arrays kept per parameter."""
        raise NotImplementedError

    def _check(self, group) -> None:
        for key in ("lr", "momentum", "weight_decay", "eps"):
            value = group.get(key, 0)
            check(
                isinstance(value, (int, float, np.number)),
                type(self).__name__,
                f"{key} must be a number, got {value!r}",
                TypeError,
            )
            check(value >= 0, type(self).__name__, f"{key} must not be negative, got {value}")


class SGD(Optimizer):
    """Stochastic gradient descent with (Nesterov) momentum, in PyTorch's form ``v = m v + (1 - d) g; w -= lr
    v``.

    Parameters
    ----------
    params : see :class:`Optimizer`
    lr, momentum, dampening, weight_decay : float
        ``weight_decay`` adds ``weight_decay * w`` to the gradient.
    nesterov : bool
        Needs momentum and no dampening.
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

    def _check(self, group):
        super()._check(group)
        check(
            not group["nesterov"] or (group["momentum"] > 0 and group["dampening"] == 0),
            "SGD",
            f"nesterov needs momentum > 0 and dampening 0, got momentum {group['momentum']} and dampening "
            f"{group['dampening']}",
        )

    def _slots(self, group):
        return ("momentum_buffer",) if group["momentum"] else ()

    def _update(self, engine, group, step, params, grads, velocities=None):
        settings = [group[k] for k in ("lr", "momentum", "dampening", "nesterov", "weight_decay")]
        engine.sgd_step(params, grads, grads if velocities is None else velocities, *settings, step == 1)


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

    def _check(self, group):
        super()._check(group)
        betas = group["betas"]
        check(
            isinstance(betas, (tuple, list)) and len(betas) == 2 and all(0 <= b < 1 for b in betas),
            type(self).__name__,
            f"betas must be two numbers in [0, 1), got {betas}",
        )

    def _slots(self, group):
        return "exp_avg", "exp_avg_sq"

    def _update(self, engine, group, step, params, grads, ms, vs):
        settings = (group["lr"], *group["betas"], group["eps"], group["weight_decay"], self._decoupled)
        engine.adam_step(params, grads, ms, vs, step, *settings)


class AdamW(Adam):
    """Adam with decoupled weight decay, ``w -= lr * weight_decay * w`` (Loshchilov and Hutter, 2019)."""

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
