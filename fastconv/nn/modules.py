"""Parameter, Module and the containers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, overload

import numpy as np

from ..backends import observer
from ..checks import check, shape_str
from ..creation import argument, as_tensor
from ..errors import shorten
from ..tensor import Tensor
from ..typing import DType, TensorLike

M = TypeVar("M", bound="Module")


class IncompatibleKeys(NamedTuple):
    """What :meth:`Module.load_state_dict` skipped."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Parameter(Tensor):
    """A leaf tensor that a :class:`Module` registers when it is assigned to an attribute.

    Parameters
    ----------
    data : Tensor or array
        Float; wrapped without a copy.
    requires_grad : bool
    """

    __slots__ = ()

    def __init__(self, data: TensorLike, requires_grad: bool = True):
        super().__init__(as_tensor(data), requires_grad)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


# assignments to attributes of modules so far: nothing worked out from a module before holds after one
changes = [0]


class Module:
    """Base of layers and networks: define ``forward``, assign parameters and modules to attributes.

    Attributes
    ----------
    training : bool
        Set by :meth:`train` and :meth:`eval` for the whole tree.
    """

    training: bool = True
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]

    if TYPE_CHECKING:  # what a user assigned: `net[0].weight`

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self) -> None:
        self.__dict__.update(_parameters={}, _buffers={}, _modules={})

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__}: define forward(self, x)")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        args = tuple(
            [argument(type(self).__name__, "input", a) if isinstance(a, np.ndarray) else a for a in args]
        )
        onlooker = observer.get()
        try:
            return self.forward(*args, **kwargs) if onlooker is None else onlooker.call(self, args, kwargs)
        except Exception as e:
            shorten(e, self)
            raise

    # ---- attributes
    # Parameters, buffers and modules are ordinary attributes, and listed by kind besides.
    def __setattr__(self, name: str, value: Any) -> None:
        changes[0] += 1
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
            return
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
                return
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        changes[0] += 1
        object.__delattr__(self, name)
        for registry in (self._parameters, self._buffers, self._modules):
            registry.pop(name, None)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Same as assigning the attribute; None reserves the name for a parameter."""
        self._parameters[name] = None
        setattr(self, name, param)

    def register_buffer(self, name: str, tensor: Tensor | None) -> None:
        """State that is saved and moved with the parameters but not trained."""
        self._buffers[name] = None
        setattr(self, name, tensor)

    def add_module(self, name: str, module: Module | None) -> None:
        """Same as assigning the attribute, for names that are not identifiers."""
        self._modules[name] = None
        setattr(self, name, module)

    register_module = add_module

    # ---- the tree
    def named_children(self) -> Iterator[tuple[str, Module]]:
        return ((n, m) for n, m in self._modules.items() if m is not None)

    def children(self) -> Iterator[Module]:
        return (m for _, m in self.named_children())

    def named_modules(
        self, prefix: str = "", memo: set[Module] | None = None
    ) -> Iterator[tuple[str, Module]]:
        """This module and everything below it, each once, with its dotted name (``""`` for this one)."""
        memo = set() if memo is None else memo
        if self not in memo:
            memo.add(self)
            yield prefix, self
            for name, child in self.named_children():
                yield from child.named_modules(f"{prefix}.{name}" if prefix else name, memo)

    def modules(self) -> Iterator[Module]:
        return (m for _, m in self.named_modules())

    def _named(self, registry: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
        seen = set()
        for path, module in self.named_modules(prefix):
            for name, t in getattr(module, registry).items():
                if t is not None and t not in seen:
                    seen.add(t)
                    yield (f"{path}.{name}" if path else name), t

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """Every parameter once, with its dotted name."""
        return self._named("_parameters", prefix)

    def parameters(self) -> Iterator[Parameter]:
        return (p for _, p in self.named_parameters())

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Every buffer once, with its dotted name."""
        return self._named("_buffers", prefix)

    def buffers(self) -> Iterator[Tensor]:
        return (b for _, b in self.named_buffers())

    # ---- state
    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        """Parameters and buffers by dotted name (PyTorch's names), on the module's own memory, outside the
        tape."""
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
            A prefix ``module.`` on every name, as data-parallel training leaves it, is ignored.
        strict : bool
            Refuse missing and unexpected names. Without it they are skipped and returned.

        Raises
        ------
        ValueError
            Lists every missing and unexpected name and every shape that differs; nothing has been copied
            then.
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
        """Training behaviour of dropout and batch normalisation, in the whole tree."""
        for m in self.modules():
            if m.training != bool(mode):  # what has been recorded of a net stays good if nothing changes
                m.training = bool(mode)
        return self

    def eval(self: M) -> M:
        """Evaluation behaviour of dropout and batch normalisation, in the whole tree."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Drop every parameter's gradient."""
        for p in self.parameters():
            p.grad = None

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Train the parameters, or freeze them."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def apply(self: M, fn: Callable[[Module], object]) -> M:
        """Call ``fn`` on every module below this one and then on this one."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def to(self: M, target: DType) -> M:
        """Move parameters and buffers to a device (``"cpu"``, ``"cuda"``), or cast the float ones to a
        dtype."""
        moving = isinstance(target, str) and target.split(":")[0] in ("cpu", "cuda")
        for t in (*self.parameters(), *self.buffers()):
            if moving or t.dtype.kind == "f":
                t.array = t.detach().to(target).array
                t.memory.version += 1
                t.grad = None if t.grad is None else t.grad.to(target)
        return self

    def cpu(self: M) -> M:
        return self.to("cpu")

    def cuda(self: M) -> M:
        return self.to("cuda")

    def float(self: M) -> M:
        return self.to("float32")

    def double(self: M) -> M:
        return self.to("float64")

    # ---- text
    def extra_repr(self) -> str:
        """The layer's options, as its repr shows them."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        children = [f"({n}): " + repr(m).replace("\n", "\n  ") for n, m in self._modules.items()]
        if not children:
            return f"{type(self).__name__}({extra})"
        return f"{type(self).__name__}(\n  " + "\n  ".join([extra] * bool(extra) + children) + "\n)"


C = TypeVar("C", bound="_Container")


class _Container(Module):
    """Modules under the names ``"0"``, ``"1"``, ...: index, slice, iterate, ``len``, ``append``,
    ``extend``."""

    _modules: dict[str, Module]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def _name(self, i: int) -> str:
        names = list(self._modules)
        check(
            -len(names) <= i < len(names),
            type(self).__name__,
            f"index {i} is out of range for {len(names)} modules",
            IndexError,
        )
        return names[i]

    def _at(self, i: int) -> Module:
        return self._modules[self._name(i)]

    def __setitem__(self, i: int, module: Module) -> None:
        self.add_module(self._name(i), module)

    def append(self: C, module: Module) -> C:
        """Add a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self: C, modules: Iterable[Module]) -> C:
        """Add several modules at the end."""
        for m in modules:
            self.append(m)
        return self


class ModuleList(_Container):
    """A list of registered modules; it has no ``forward``."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    @overload
    def __getitem__(self, i: int) -> Module: ...
    @overload
    def __getitem__(self, i: slice) -> ModuleList: ...
    def __getitem__(self, i: int | slice) -> Module:
        return ModuleList(list(self)[i]) if isinstance(i, slice) else self._at(i)


class Sequential(_Container):
    """Modules called one after the other: ``Sequential(a, b, ...)`` or one mapping of names to modules."""

    @overload
    def __init__(self, *modules: Module) -> None: ...
    @overload
    def __init__(self, modules: Mapping[str, Module], /) -> None: ...
    def __init__(self, *modules: Any) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, m in modules[0].items():
                self.add_module(name, m)
        else:
            self.extend(modules)

    @overload
    def __getitem__(self, i: int) -> Module: ...
    @overload
    def __getitem__(self, i: slice) -> Sequential: ...
    def __getitem__(self, i: int | slice) -> Module:
        return Sequential(dict(list(self._modules.items())[i])) if isinstance(i, slice) else self._at(i)

    def forward(self, x: Any) -> Any:
        from . import fused_chain  # which knows the layers, which are modules

        return fused_chain.run(list(self), x)
