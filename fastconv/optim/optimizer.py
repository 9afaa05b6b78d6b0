"""The base of all optimizers: parameter groups, and one fused call of the engine per group."""

# Arguments of users are checked when they arrive, whatever their declared types say.
# pyright: reportUnnecessaryIsInstance=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np

from .. import dtypes
from ..checks import check, check_shape
from ..creation import argument, as_tensor
from ..table import Table, number, options
from ..tensor import Tensor

Params: TypeAlias = Iterable[Tensor] | Iterable[dict[str, Any]]


def _like(p: Tensor) -> Tensor:
    """A copy of the parameter in its own order in memory, so that one kernel walks through both alike."""
    return Tensor(p.engine.copy(p.array))


def _listed(name: str, what: str, params: Any) -> list[Any]:
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
        cure = "a set has no order that stays the same in the next run: give a list"
    elif hasattr(params, "__iter__") and not isinstance(params, (Tensor, dict, str)):
        return list(params)
    raise TypeError(f"{name}: {expected}, got one {kind.strip()}; {cure}")


class Optimizer:
    """Base of the optimizers: groups of parameters, each with its own settings.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
        A dict is one group: ``{"params": [...], "lr": 0.01}``. Settings that it leaves out are those of the
        optimizer.
    **defaults
        The settings of the optimizer.

    Attributes
    ----------
    param_groups : list of dict
        Settings may be changed between steps, e.g. ``opt.param_groups[0]["lr"] = 0.01``.
    state : dict
        Parameter -> its running averages and the number of its updates.

    Raises
    ------
    TypeError, ValueError
        If ``params`` is no list of leaf tensors or of groups, or names a parameter twice; if a setting cannot
        be used.

    Examples
    --------
    >>> net = nn.Linear(4, 2)
    >>> optimizer = optim.SGD([{"params": [net.weight]}, {"params": [net.bias], "lr": 0.01}], lr=0.1)
    >>> [group["lr"] for group in optimizer.param_groups]
    [0.1, 0.01]
    """

    _decoupled = False  # whether weight decay acts on the weights and not on the gradients

    def __init__(self, params: Params, **defaults: Any) -> None:
        name = type(self).__name__
        self.defaults: dict[str, Any] = defaults
        self.state: dict[Tensor, dict[str, Any]] = {}
        self.param_groups: list[dict[str, Any]] = []
        listed = _listed(name, "params", params)
        check(listed, name, "the list of parameters is empty")
        for group in listed if isinstance(listed[0], dict) else [{"params": listed}]:
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
            if not isinstance(p, Tensor):
                raise TypeError(f"{name}: parameters must be Tensors, got {type(p).__name__}{hint}")
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
            slots = self.slots(group)
            # One fused call for each key; there are several only where some parameters had no gradient in an
            # earlier step.
            batches: dict[Any, list[tuple[Any, ...]]] = {}
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
                key = isinstance(array, np.ndarray), array.dtype, state.get("step")
                batches.setdefault(key, []).append((p, array, g, *[state[s].array for s in slots]))
            for (_, _, step), batch in batches.items():
                params, *arrays = map(list, zip(*batch))
                self._update(params[0].engine, group, step, *arrays)
                for p in params:
                    p.memory.version += 1

    def state_dict(self) -> dict[str, Any]:
        """``{"state": {index: {...}}, "param_groups": [...]}`` in PyTorch's form: parameters are numbered in
        order."""
        index = {id(p): i for i, p in enumerate(p for g in self.param_groups for p in g["params"])}
        return {
            "state": {index[id(p)]: dict(s) for p, s in self.state.items() if s},
            "param_groups": [{**g, "params": [index[id(p)] for p in g["params"]]} for g in self.param_groups],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Copy settings and running averages from :meth:`state_dict` of an equal optimizer, PyTorch's too.

        Raises
        ------
        ValueError
            If the state belongs to other parameters or to another optimizer. Nothing is changed then.
        """
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
            self._check_loaded(name, g)
        numbers = [int(i) for g in theirs for i in g["params"]]
        params = dict(zip(numbers, (p for g in self.param_groups for p in g["params"])))
        groups = dict(zip(numbers, (g for g in theirs for _ in g["params"])))
        state: dict[Tensor, dict[str, Any]] = {}
        for i, entries in state_dict["state"].items():
            check(int(i) in params, name, f"state of parameter {i}, but there are {len(params)}")
            state[params[int(i)]] = self._loaded(name, i, params[int(i)], groups[int(i)], entries)
        self.state = state
        for mine, g in zip(self.param_groups, theirs):
            mine.update({k: v for k, v in g.items() if k != "params"})

    def _check_loaded(self, name: str, group: dict[str, Any]) -> None:
        """Refuse a group of a loaded state that this optimizer cannot continue."""
        missing = set(self.defaults) - set(group)
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
                bool(group.get(key, mine)) == mine,
                name,
                f"the state is of an optimizer with {key}={group.get(key)}, here it is {mine}",
            )
        self._check(group)

    def _loaded(
        self, name: str, i: Any, p: Tensor, group: dict[str, Any], entries: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The loaded state of parameter ``p``, which has number ``i`` there; arrays are copied."""
        new: dict[str, Any] = {}
        for key, value in entries.items():
            if hasattr(value, "shape") and key != "step":
                check_shape(name, f"{key} of parameter {i}", value.shape, p.shape, "its parameter's shape")
                value = _like(p).copy_(as_tensor(value).to(p.device))
            if value is not None:  # None: PyTorch's SGD had no velocity yet
                new[key] = int(value) if key == "step" else value
        if "momentum_buffer" in new:
            new.setdefault("step", 1)  # PyTorch's SGD does not count, and only its first step is special
        missing = {"step", *self.slots(group)} - set(new) if new else None
        check(not missing, name, f"the state of parameter {i} has no {', '.join(sorted(missing or ()))}")
        return new

    def slots(self, group: dict[str, Any]) -> tuple[str, ...]:
        """Names of the arrays kept per parameter."""
        raise NotImplementedError

    def _update(
        self,
        engine: Any,
        group: dict[str, Any],
        step: int | None,
        params: list[Any],
        grads: list[Any],
        *slots: list[Any],
    ) -> None:
        """Change the arrays ``params`` in one call of the engine; ``slots`` are lists of arrays in the order
        of :meth:`slots`, ``step`` counts from 1 (None: nothing is kept)."""
        raise NotImplementedError

    def _check(self, group: dict[str, Any]) -> None:
        """Refuse settings that cannot be used."""
        for key in ("lr", "momentum", "weight_decay", "eps"):
            value = group.get(key, 0)
            check(
                isinstance(value, (int, float, np.number)),
                type(self).__name__,
                f"{key} must be a number, got {value!r}",
                TypeError,
            )
            check(value >= 0, type(self).__name__, f"{key} must not be negative, got {value}")
