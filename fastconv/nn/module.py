"""Parameter and Module: what layers and networks are made of."""

# Arguments of users are checked when they arrive, whatever their declared types say.
# pyright: reportPrivateUsage=false, reportUnnecessaryIsInstance=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from ..backends import observer
from ..checks import check, shape_str
from ..creation import argument, as_tensor
from ..errors import shorten
from ..tensor import Tensor
from ..typing import DType, TensorLike

M = TypeVar("M", bound="Module")


class IncompatibleKeys(NamedTuple):
    """The names that :meth:`Module.load_state_dict` skipped."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Parameter(Tensor):
    """A leaf tensor that a :class:`Module` registers when it is assigned to an attribute.

    Parameters
    ----------
    data : Tensor or array, float32 or float64
        Wrapped without a copy.
    requires_grad : bool
        Whether training changes it.
    """

    __slots__ = ()

    def __init__(self, data: TensorLike, requires_grad: bool = True):
        super().__init__(as_tensor(data), requires_grad)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


class Module:
    """Base of layers and networks.

    A subclass calls ``super().__init__()``, assigns its parameters and submodules to attributes, and defines
    ``forward``. Calling the module calls ``forward``; NumPy arrays among the arguments become tensors.

    Attributes
    ----------
    training : bool
        Set by :meth:`train` and :meth:`eval` for the module and all its submodules.

    Examples
    --------
    >>> import fastconv as fc
    >>> class Net(fc.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.conv = fc.nn.Conv2d(1, 4, kernel_size=3)
    ...
    ...     def forward(self, x):
    ...         return self.conv(x).relu()
    >>> Net()(fc.zeros(1, 1, 8, 8)).shape
    (1, 4, 6, 6)
    """

    training: bool = True
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _last_change: object = None  # see :func:`versions`

    if TYPE_CHECKING:  # attributes that a user assigned: `net[0].weight`

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self) -> None:
        self.__dict__.update(_parameters={}, _buffers={}, _modules={})

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the result; every subclass that is called defines it."""
        raise NotImplementedError(f"{type(self).__name__}: define forward(self, x)")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        args = tuple(
            [argument(type(self).__name__, "input", a) if isinstance(a, np.ndarray) else a for a in args]
        )
        watching = observer.get()
        try:
            return self.forward(*args, **kwargs) if watching is None else watching.call(self, args, kwargs)
        except Exception as e:
            shorten(e, self)
            raise

    # ---- attributes
    # Parameters, buffers and modules are ordinary attributes, and each is also listed in the registry of its
    # kind. An assignment changes the version last, because another thread may read the attributes meanwhile.
    def __setattr__(self, name: str, value: Any) -> None:
        own = self.__dict__
        if isinstance(value, (Parameter, Module)):
            if "_modules" not in own:
                raise AttributeError(
                    f"{type(self).__name__}: call super().__init__() before assigning {name!r}"
                )
            target = own["_parameters" if isinstance(value, Parameter) else "_modules"]
            for registry in (own["_parameters"], own["_buffers"], own["_modules"]):
                if registry is not target:
                    registry.pop(name, None)
            own[name] = target[name] = value
        else:
            for registry, kind, types in (
                ("_parameters", "an nn.Parameter", ()),
                ("_modules", "an nn.Module", ()),
                ("_buffers", "a Tensor", Tensor),
            ):
                if name in own.get(registry, ()):
                    check(
                        value is None or isinstance(value, types),
                        f"{type(self).__name__}.{name}",
                        f"expected {kind} or None, got {type(value).__name__}",
                        TypeError,
                    )
                    own[name] = own[registry][name] = value
                    break
            else:
                object.__setattr__(self, name, value)
        own["_last_change"] = object()

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        for registry in (self._parameters, self._buffers, self._modules):
            registry.pop(name, None)
        self.__dict__["_last_change"] = object()

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Assign a parameter to the attribute ``name``; None reserves the name for one."""
        self._parameters[name] = None
        setattr(self, name, param)

    def register_buffer(self, name: str, tensor: Tensor | None) -> None:
        """Assign a tensor that is saved and moved like a parameter, but not trained."""
        self._buffers[name] = None
        setattr(self, name, tensor)

    def add_module(self, name: str, module: Module | None) -> None:
        """Assign a submodule to the attribute ``name``, which need not be an identifier."""
        self._modules[name] = None
        setattr(self, name, module)

    register_module = add_module

    # ---- the tree
    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The direct submodules with their names."""
        return ((n, m) for n, m in self._modules.items() if m is not None)

    def children(self) -> Iterator[Module]:
        """The direct submodules."""
        return (m for _, m in self.named_children())

    def named_modules(
        self, prefix: str = "", memo: set[Module] | None = None
    ) -> Iterator[tuple[str, Module]]:
        """This module and all its submodules, each once, with their dotted names (``""`` for this one)."""
        memo = set() if memo is None else memo
        if self not in memo:
            memo.add(self)
            yield prefix, self
            for name, child in self.named_children():
                yield from child.named_modules(f"{prefix}.{name}" if prefix else name, memo)

    def modules(self) -> Iterator[Module]:
        """This module and all its submodules, each once."""
        return (m for _, m in self.named_modules())

    def _named(self, registry: str, prefix: str, recurse: bool) -> Iterator[tuple[str, Any]]:
        seen = set()
        for path, module in self.named_modules(prefix) if recurse else [(prefix, self)]:
            for name, t in getattr(module, registry).items():
                if t is not None and t not in seen:
                    seen.add(t)
                    yield (f"{path}.{name}" if path else name), t

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """Every parameter once, with its dotted name; ``recurse=False``: without those of submodules."""
        return self._named("_parameters", prefix, recurse)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Every parameter once; ``recurse=False``: without those of submodules."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
        """Every buffer once, with its dotted name; ``recurse=False``: without those of submodules."""
        return self._named("_buffers", prefix, recurse)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Every buffer once; ``recurse=False``: without those of submodules."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    # ---- state
    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        """Parameters and buffers by dotted name, which are PyTorch's names.

        The tensors share the module's memory and are outside the tape.
        """
        state = {}
        for name, t in (*self._parameters.items(), *self._buffers.items()):
            if t is not None:
                state[prefix + name] = t.detach()
        for name, child in self.named_children():
            state.update(child.state_dict(f"{prefix}{name}."))
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Copy the values of ``state_dict`` into the parameters and buffers.

        Parameters
        ----------
        state_dict : mapping of name to Tensor, array or number
            A prefix ``module.`` of all names is ignored; PyTorch's data-parallel training adds it.
        strict : bool
            Refuse missing and unexpected names. With False they are skipped and returned.

        Returns
        -------
        IncompatibleKeys
            The skipped names: ``missing_keys`` and ``unexpected_keys``.

        Raises
        ------
        TypeError
            ``state_dict`` is no mapping.
        ValueError
            Names are missing or unexpected, or shapes differ. The message lists all of them, and nothing is
            copied.
        """
        check(
            isinstance(state_dict, Mapping),
            "load_state_dict",
            f"expected a mapping of names to tensors, got {type(state_dict).__name__}",
            TypeError,
        )
        own, state = self.state_dict(), state_dict
        if not own.keys() & state.keys() and all(str(k).startswith("module.") for k in state):
            state = {k.removeprefix("module."): v for k, v in state.items()}
        # Files written before BatchNorm counted its batches have no such entry.
        missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
        unexpected = [k for k in state if k not in own]
        problems = [
            f"its entry {k!r} holds these names: pass state[{k!r}]"
            for k, v in state.items()
            if isinstance(v, Mapping) and any(str(name).removeprefix("module.") in own for name in v)
        ]
        if strict and missing:
            problems.append(f"missing: {', '.join(missing)}")
        if strict and unexpected:
            problems.append(f"unexpected: {', '.join(map(str, unexpected))}")
        for k in (k for k in own if k in state):
            if np.shape(state[k]) != own[k].shape:
                problems.append(
                    f"{k}: expected {shape_str(own[k].shape)}, got {shape_str(np.shape(state[k]))}"
                )
        check(
            not problems,
            "load_state_dict",
            f"the state does not fit this {type(self).__name__}:\n  " + "\n  ".join(problems),
        )
        for k, t in own.items():
            if k in state:
                t[...] = as_tensor(state[k]).detach().to(t.device).astype(t.dtype)
        return IncompatibleKeys(missing, unexpected)

    def train(self: M, mode: bool = True) -> M:
        """Set the training behaviour of dropout and batch normalisation, in all submodules."""
        for m in self.modules():
            # Not assigned where nothing changes, because an optimized net would record again.
            if m.training != bool(mode):
                m.training = bool(mode)
        return self

    def eval(self: M) -> M:
        """Set the evaluation behaviour of dropout and batch normalisation, in all submodules."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Set the gradient of every parameter to None."""
        for p in self.parameters():
            p.grad = None

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Train the parameters (True) or freeze them (False)."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def apply(self: M, fn: Callable[[Module], object]) -> M:
        """Call ``fn`` on every submodule and then on this module."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def to(self: M, target: DType) -> M:
        """Move parameters and buffers to a device, or cast the float ones to a dtype.

        Parameters
        ----------
        target : str or dtype
            ``"cpu"`` or ``"cuda"``, or what NumPy takes for a dtype.
        """
        moving = isinstance(target, str) and target.split(":")[0] in ("cpu", "cuda")
        for t in (*self.parameters(), *self.buffers()):
            if moving or t.dtype.kind == "f":
                t.array = t.detach().to(target).array
                t.memory.version += 1
                t.grad = None if t.grad is None else t.grad.to(target)
        return self

    def cpu(self: M) -> M:
        """Move parameters and buffers to host memory."""
        return self.to("cpu")

    def cuda(self: M) -> M:
        """Move parameters and buffers to the GPU."""
        return self.to("cuda")

    def float(self: M) -> M:
        """Cast float parameters and buffers to float32."""
        return self.to("float32")

    def double(self: M) -> M:
        """Cast float parameters and buffers to float64."""
        return self.to("float64")

    # ---- text
    def extra_repr(self) -> str:
        """The options that the repr of the module shows."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        children = [f"({n}): " + repr(m).replace("\n", "\n  ") for n, m in self._modules.items()]
        if not children:
            return f"{type(self).__name__}({extra})"
        return f"{type(self).__name__}(\n  " + "\n  ".join([extra] * bool(extra) + children) + "\n)"


def versions(modules: Iterable[Module]) -> list[object]:
    """The version of each module: a new object with every assignment to one of its attributes.

    Two lists of the same modules are equal if nothing was assigned in between: no parameter, submodule,
    option or ``forward``, and no ``training`` by ``train()`` or ``eval()``. Values that change in the memory
    of a tensor are not noticed; tensors have versions of their own.
    """
    return [m._last_change for m in modules]
