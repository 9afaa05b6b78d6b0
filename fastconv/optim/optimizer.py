"""The base of all optimizers: parameter groups, and one fused call of the engine per group."""

# Arguments of users are checked when they arrive, whatever their declared types say.
# pyright: reportUnnecessaryIsInstance=false, reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import functools
import inspect
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, TypeAlias

import numpy as np

from .. import dtypes
from ..checks import check, check_shape, is_number
from ..creation import argument, as_tensor
from ..table import Table, number, options
from ..tape.hooks import Registry, RemovableHandle
from ..tensor import Tensor

Params: TypeAlias = Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[dict[str, Any]]
Closure: TypeAlias = Callable[[], Any]


def _like(p: Tensor) -> Tensor:
    """A copy of the parameter with the same order in memory, so that one kernel can loop over both arrays."""
    return Tensor(p.engine.copy(p.array))


def _listed(name: str, what: str, params: Any) -> list[Any]:
    """``params`` as a list, or an error that says how to get one."""
    kind, expected, cure = type(params).__name__, f"{what} must be a list of Tensors or dicts", "give a list"
    if hasattr(params, "parameters"):
        cure = "give the parameters of a network, net.parameters()"
    elif callable(params):
        kind, cure = (
            f"{kind} {_called(params)}",
            "it has to be called, as in net.parameters()",
        )
    elif isinstance(params, (set, frozenset)):
        cure = "a set has no order that stays the same in the next run: give a list"
    elif hasattr(params, "__iter__") and not isinstance(params, (Tensor, dict, str)):
        return list(params)
    raise TypeError(f"{name}: {expected}, got one {kind.strip()}; {cure}")


def _called(function: Callable[..., Any]) -> str:
    """The name of a function; for a method, the class of its object and its name."""
    name = getattr(function, "__name__", "")
    owner = getattr(function, "__self__", None)
    return name if owner is None else f"{type(owner).__name__}.{name}"


def _plain(value: Any) -> Any:
    """A setting that is a tensor, or a tuple or list of tensors, as a number or numbers."""
    if isinstance(value, (tuple, list)):
        return tuple(map(_plain, value)) if isinstance(value, tuple) else [*map(_plain, value)]
    return value.item() if isinstance(value, Tensor) else value


def _with_hooks(step: Callable[..., Any]) -> Callable[..., Any]:
    """``step`` with the registered hooks called before and after it."""

    @functools.wraps(step)
    def run(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        for hook in tuple(self.pre_hooks.values()):
            changed: tuple[Any, Any] | None = hook(self, args, kwargs)
            if changed is not None:
                check(
                    isinstance(changed, tuple) and len(changed) == 2,
                    type(self).__name__,
                    f"a hook before the step must return None or (args, kwargs), got {changed!r}",
                    TypeError,
                )
                args, kwargs = changed
        result = step(self, *args, **kwargs)
        for hook in tuple(self.post_hooks.values()):
            hook(self, args, kwargs)
        return result

    return run


class Optimizer:
    """Base class of the optimizers: groups of parameters, each group with its own settings.

    A user's own optimizer needs to define only :meth:`step`, as in PyTorch.

    Parameters
    ----------
    params : iterable of Tensor, of (name, Tensor) or of dict
        A dict is one group: ``{"params": [...], "lr": 0.01}``. A setting that it does not have is taken from
        ``defaults``.
    defaults : dict
        The settings of groups that do not have their own.

    Optimizers accept PyTorch's arguments ``foreach`` and ``fused``. These have no effect, because a step is
    always one call of the engine for all parameters of a group. ``capturable=True`` and
    ``differentiable=True`` are refused.

    Attributes
    ----------
    param_groups : list of dict
        Settings may be changed between steps, e.g. ``opt.param_groups[0]["lr"] = 0.01``.
    state : dict
        Parameter -> its running averages, the number of its updates, and other values that a step changes.

    Raises
    ------
    TypeError, ValueError
        If ``params`` is not a list of leaf tensors or of groups, or is empty; if a parameter appears twice;
        if a setting is not supported.

    Examples
    --------
    >>> net = nn.Linear(4, 2)
    >>> optimizer = optim.SGD([{"params": [net.weight]}, {"params": [net.bias], "lr": 0.01}], lr=0.1)
    >>> [group["lr"] for group in optimizer.param_groups]
    [0.1, 0.01]
    """

    #: Settings that must be numbers, and those that must not be negative.
    _numbers: ClassVar[tuple[str, ...]] = ("lr", "momentum", "dampening", "weight_decay", "eps")
    _nonnegative: ClassVar[tuple[str, ...]] = ("lr", "momentum", "weight_decay", "eps")
    #: Settings that state dicts of earlier versions may lack -> the value that is used then.
    _added: ClassVar[dict[str, Any]] = {"maximize": False}

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        name = type(self).__name__
        for key in ("capturable", "differentiable"):
            check(
                not defaults.get(key),
                name,
                f"{key}=True is not supported; leave it out. A step on the GPU is recorded by train.fit, and "
                "is never part of the tape",
            )
        self.defaults: dict[str, Any] = {
            k: v for k, v in defaults.items() if k not in ("capturable", "differentiable")
        }
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        self.pre_hooks, self.post_hooks = Registry(), Registry()  # functions that see each step
        listed = _listed(name, "params", params)
        check(listed, name, "the list of parameters is empty")
        for group in listed if isinstance(listed[0], dict) else [{"params": listed}]:
            self.add_param_group(group)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "step" in vars(cls):
            cls.step = _with_hooks(cls.step)

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Add parameters to optimise.

        Parameters
        ----------
        group : dict
            ``"params"``, a list of leaf tensors or of (name, Tensor), and any settings.

        Raises
        ------
        TypeError, ValueError
            As for the class; also if some parameters of the optimizer have names and others have none.
        """
        name = type(self).__name__
        check(
            isinstance(group, dict) and "params" in group,
            name,
            "a parameter group must be a dict with 'params', "
            f"got {f'one with {list(group)}' if isinstance(group, dict) else type(group).__name__}",
            TypeError,
        )
        params = group["params"]
        params = [params] if isinstance(params, Tensor) else _listed(name, "'params' of a group", params)
        names = [p[0] for p in params if isinstance(p, tuple) and len(p) == 2 and isinstance(p[0], str)]
        named = [bool(names), *("param_names" in g for g in self.param_groups)]
        check(
            len(names) in (0, len(params)) and len({*named}) == 1,
            name,
            "some parameters have names and others have none; give names to all of them or to none",
        )
        if names:
            params = [p for _, p in params]
            group = {**group, "param_names": names}
        seen = {id(p) for g in self.param_groups for p in g["params"]}
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"{name}: parameters must be Tensors, got {type(p).__name__}")
            check(
                p.is_leaf, name, "only leaf tensors can be optimised, got the result of an op; call .detach()"
            )
            check(id(p) not in seen, name, "a parameter appears more than once; give each in one group only")
            dtypes.check_writable(name, "a parameter", p.array)
            seen.add(id(p))
        group = {**self.defaults, **group}
        group = {k: v if k == "params" else _plain(v) for k, v in group.items()}
        group["params"] = params
        self._check(group)
        self.param_groups.append(group)

    def __repr__(self) -> str:
        usual = {k: p.default for k, p in inspect.signature(type(self)).parameters.items()} | self._added
        shown = [
            k
            for k in self.defaults
            if k == "lr" or any(k not in usual or g[k] != usual[k] for g in self.param_groups)
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
        """Set the gradients to None, or, with ``set_to_none=False``, to zero in place."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none or p.grad is None:
                    p.grad = None
                else:
                    p.grad.zero_()

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` before each step.

        ``args`` and ``kwargs`` are the arguments of :meth:`step`. The hook returns None, or a pair
        ``(args, kwargs)`` that replaces them.
        """
        return self.pre_hooks.add(hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` after each step."""
        return self.post_hooks.add(hook)

    @_with_hooks
    def step(self, closure: Closure | None = None) -> Any:
        """Update every parameter that has a gradient.

        Parameters
        ----------
        closure : callable, optional
            Called first; it computes the loss and its gradients, and returns the loss.

        Returns
        -------
        object
            The result of ``closure``, else None.
        """
        loss = None if closure is None else closure()
        for group in self.param_groups:
            slots = self.slots(group)
            # One fused call for each key: device, dtype and counters. Counters differ if some parameters had
            # no gradient in an earlier step.
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
                state, counters = self.state[p] if slots else {}, ()
                if slots:
                    if not state:
                        state.update(self._counters(group))
                        state.update({s: _like(p).fill_(value) for s, value in slots.items()})
                    counters = tuple((k, state[k]) for k in self._counters(group))
                key = isinstance(array, np.ndarray), array.dtype, counters
                batches.setdefault(key, []).append((p, array, g, *[state[s].array for s in slots]))
            for (_, _, before), batch in batches.items():
                params, arrays, grads, *states = map(list, zip(*batch))
                counters = dict(before)
                if counters:
                    counters["step"] += 1
                rule, numbers = self._rule(group, counters)
                params[0].engine.optimizer_step(rule, arrays, grads, states, numbers)
                for p in params:
                    p.memory.version += 1
                    if counters:
                        self.state[p].update(counters)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """``{"state": {index: {...}}, "param_groups": [...]}``, in PyTorch's form.

        ``index`` is the position of a parameter among those of all groups. The tensors share the
        optimizer's memory.
        """
        index = {id(p): i for i, p in enumerate(p for g in self.param_groups for p in g["params"])}
        return {
            "state": {index[id(p)]: dict(s) for p, s in self.state.items() if s},
            "param_groups": [{**g, "params": [index[id(p)] for p in g["params"]]} for g in self.param_groups],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Copy settings and running averages from the :meth:`state_dict` of an optimizer of the same class.

        The state dict may be that of PyTorch's optimizer.

        Raises
        ------
        ValueError
            If the state belongs to other parameters or to another optimizer; then nothing is changed.
        """
        name = f"{type(self).__name__}.load_state_dict"
        check(
            isinstance(state_dict, dict) and {"state", "param_groups"} <= set(state_dict),
            name,
            "expected a dict with 'state' and 'param_groups'",
        )
        theirs = [
            {k: v if k == "params" else _plain(v) for k, v in g.items()} for g in state_dict["param_groups"]
        ]
        sizes = [len(g["params"]) for g in self.param_groups]
        got = [len(g["params"]) for g in theirs]
        check(sizes == got, name, f"expected groups of {sizes} parameters, got {got}")
        for i, g in enumerate(theirs):
            theirs[i] = self._loaded_group(name, g)
        numbers = [int(i) for g in theirs for i in g["params"]]
        params = dict(zip(numbers, (p for g in self.param_groups for p in g["params"])))
        groups = dict(zip(numbers, (g for g in theirs for _ in g["params"])))
        state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        for i, entries in state_dict["state"].items():
            check(int(i) in params, name, f"state of parameter {i}, but there are {len(params)}")
            state[params[int(i)]] = self._loaded(name, i, params[int(i)], groups[int(i)], entries)
        self.state = state
        for mine, g in zip(self.param_groups, theirs):
            mine.update({k: v for k, v in g.items() if k != "params"})

    def _loaded_group(self, name: str, group: dict[str, Any]) -> dict[str, Any]:
        """A group of a loaded state, with missing settings added; a group that does not fit is refused."""
        group = {**{k: v for k, v in self._added.items() if k in self.defaults}, **group}
        missing = set(self.defaults) - set(group)
        check(
            not missing,
            name,
            f"setting {', '.join(sorted(missing))} is missing; is it the state of another optimizer?",
        )
        for key, mine in ("maximize", False), ("amsgrad", False), ("decoupled_weight_decay", False):
            check(
                key in self.defaults or bool(group.get(key, mine)) == mine,
                name,
                f"the state is from an optimizer with {key}={group.get(key)}, which this one does not have",
            )
        self._check(group)
        return group

    def _loaded(
        self, name: str, i: Any, p: Tensor, group: dict[str, Any], entries: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The loaded state of parameter ``p``, which has number ``i`` in the file; arrays are copied."""
        new: dict[str, Any] = {}
        counters, slots = self._counters(group), self.slots(group)
        for key, value in entries.items():
            if key in counters and value is not None:
                value = int(value) if key == "step" else float(value)
            elif value is not None and hasattr(value, "shape"):
                check_shape(name, f"{key} of parameter {i}", value.shape, p.shape, "its parameter's shape")
                value = _like(p).copy_(as_tensor(value).to(p.device))
            if value is not None:  # None: PyTorch's SGD had no velocity yet
                new[key] = value
        if "momentum_buffer" in new:
            new.setdefault("step", 1)  # PyTorch's SGD does not count, and only its first step is special
        missing: set[str] = {*counters, *slots} - set(new) if new and slots else set()
        check(not missing, name, f"the state of parameter {i} has no {', '.join(sorted(missing))}")
        return new

    def slots(self, group: dict[str, Any]) -> dict[str, float]:
        """The arrays kept per parameter, of its shape: name -> the number that fills the array at first."""
        return {}

    def _counters(self, group: dict[str, Any]) -> dict[str, float]:
        """The numbers kept per parameter that has slots: name -> the first value. "step" counts updates."""
        return {"step": 0}

    def _rule(self, group: dict[str, Any], counters: dict[str, float]) -> tuple[str, list[float]]:
        """The row of ``backends/common/optimizers.py`` that updates this group, and its numbers.

        ``counters`` are those of this step: in the first step, "step" is 1. They may be changed.
        """
        raise NotImplementedError

    def _check(self, group: dict[str, Any]) -> None:
        """Refuse settings that are not numbers, or are negative."""
        name = type(self).__name__
        for key in self._numbers:
            value = group.get(key, 0)
            check(is_number(value), name, f"{key} must be a number, got {value!r:.60}", TypeError)
            check(value == value, name, f"{key} must be a number, got NaN")
        for key in self._nonnegative:
            value = group.get(key, 0)
            check(value >= 0, name, f"{key} must not be negative, got {value}")

    def _check_pair(self, group: dict[str, Any], key: str, expected: str) -> tuple[float, float]:
        """The setting ``key``, which must be two numbers; ``expected`` says which ones are accepted."""
        name, value = type(self).__name__, group[key]
        message = f"{key} must be {expected}, got {value!r:.60}"
        check(isinstance(value, (tuple, list)) and len(value) == 2, name, message)
        check(all(map(is_number, value)), name, message, TypeError)
        return group[key]


def prepared(group: dict[str, Any], decoupled: bool = False) -> list[float]:
    """The first three numbers of every rule: sign, decay, shrink (see ``backends/common/optimizers.py``)."""
    sign, decay = -1.0 if group["maximize"] else 1.0, group["weight_decay"]
    return [sign, 0.0, 1 - group["lr"] * decay] if decoupled else [sign, decay, 1.0]
