"""The parameters, buffers and submodules of a module: attributes, registries, and iteration over them."""

# Users' arguments are checked at run time, although by the declared types some checks look unnecessary.
# pyright: reportUnnecessaryIsInstance=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..checks import check
from ..tensor import Tensor
from .parameter import Buffer, Parameter

if TYPE_CHECKING:
    from typing_extensions import Self


class ModuleTree:
    """The base of :class:`Module`: its attributes and the tree of its submodules."""

    training: bool = True
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Any]
    _transient: Collection[str] = ()  # names of buffers that are not persistent: not in state_dict
    _last_change: object = None  # see :func:`versions`

    if TYPE_CHECKING:  # attributes such as `net[0].weight` have the type Any

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self) -> None:
        self.__dict__.update(_parameters={}, _buffers={}, _modules={})

    # ---- attributes
    # Parameters, buffers and modules are ordinary attributes, and each is also in the registry of its kind.
    # An assignment calls touch() last, because another thread may read the attributes at the same time.
    def __setattr__(self, name: str, value: Any) -> None:
        own = self.__dict__
        if isinstance(value, (Parameter, ModuleTree, Buffer)):
            if "_modules" not in own:
                raise AttributeError(
                    f"{type(self).__name__}: call super().__init__() before assigning {name!r}"
                )
            kind = (
                "_parameters"
                if isinstance(value, Parameter)
                else "_buffers"
                if isinstance(value, Buffer)
                else "_modules"
            )
            for registry in ("_parameters", "_buffers", "_modules"):
                if registry != kind:
                    own[registry].pop(name, None)
            own[name] = own[kind][name] = value
            if isinstance(value, Buffer):
                self._set_persistent(name, value.persistent)
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
        touch(self)

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        for registry in (self._parameters, self._buffers, self._modules):
            registry.pop(name, None)
        self._set_persistent(name, True)
        touch(self)

    def __dir__(self) -> list[str]:
        return sorted(name for name in super().__dir__() if not name[:1].isdigit())

    def _set_persistent(self, name: str, persistent: bool) -> None:
        if persistent is (name in self._transient):
            names = set(self._transient) ^ {name}
            self.__dict__["_transient"] = names

    def _check_name(self, what: str, registry: str, name: Any) -> None:
        function = f"register_{what}"
        check(
            "_modules" in self.__dict__,
            function,
            f"call super().__init__() in {type(self).__name__} first",
            AttributeError,
        )
        check(
            isinstance(name, str), function, f"the name must be a str, got {type(name).__name__}", TypeError
        )
        check(
            name != "" and "." not in name,
            function,
            f"the name must not be empty or contain a dot, got {name!r}",
            KeyError,
        )
        check(
            name in getattr(self, registry) or not hasattr(self, name),
            function,
            f"{type(self).__name__} has an attribute {name!r} already",
            KeyError,
        )

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Assign a parameter to the attribute ``name``; None reserves the name for a parameter."""
        self._check_name("parameter", "_parameters", name)
        check(
            param is None or isinstance(param, Parameter),
            f"{type(self).__name__}.{name}",
            f"expected an nn.Parameter or None, got {type(param).__name__}",
            TypeError,
        )
        self._parameters[name] = None
        setattr(self, name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Assign a tensor that is moved with the module, but not trained.

        Parameters
        ----------
        name : str
        tensor : Tensor or None
            None reserves the name for a buffer.
        persistent : bool
            Whether ``state_dict`` includes it.

        Raises
        ------
        KeyError
            If ``name`` is empty, contains a dot, or is the name of another attribute.
        TypeError
            If ``tensor`` is neither a Tensor nor None.
        """
        self._check_name("buffer", "_buffers", name)
        check(
            tensor is None or isinstance(tensor, Tensor),
            f"{type(self).__name__}.{name}",
            f"expected a Tensor or None, got {type(tensor).__name__}",
            TypeError,
        )
        self._buffers[name] = None
        setattr(self, name, tensor)
        self._set_persistent(name, persistent)

    def add_module(self, name: str, module: Self | Any) -> None:
        """Assign a submodule to the attribute ``name``, any str without a dot, such as ``"0"``."""
        self._check_name("module", "_modules", name)
        check(
            module is None or isinstance(module, ModuleTree),
            f"{type(self).__name__}.{name}",
            f"expected an nn.Module or None, got {type(module).__name__}",
            TypeError,
        )
        self._modules[name] = None
        setattr(self, name, module)

    register_module = add_module

    # ---- by name
    def get_submodule(self, target: str) -> Any:
        """The submodule with the dotted name ``target``; an empty name is this module.

        Raises
        ------
        AttributeError
            If there is no module of that name.

        Examples
        --------
        >>> nn.Sequential(nn.Sequential(nn.ReLU())).get_submodule("0.0")
        ReLU()
        """
        found: Any = self
        for name in target.split(".") if target else []:
            modules = found.__dict__["_modules"]
            if modules.get(name) is None:
                raise AttributeError(
                    f"get_submodule: {type(found).__name__} has no module {name!r} (of {target!r}); it has "
                    f"{', '.join(map(repr, modules)) or 'none'}"
                )
            found = modules[name]
        return found

    def _by_name(self, function: str, registry: str, target: str) -> Any:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        tensors = module.__dict__[registry]
        if tensors.get(name) is None:
            raise AttributeError(
                f"{function}: {type(module).__name__} has no {function.removeprefix('get_')} {name!r} "
                f"(of {target!r}); it has {', '.join(map(repr, tensors)) or 'none'}"
            )
        return tensors[name]

    def get_parameter(self, target: str) -> Parameter:
        """The parameter with the dotted name ``target``; an AttributeError if there is none."""
        return self._by_name("get_parameter", "_parameters", target)

    def get_buffer(self, target: str) -> Tensor:
        """The buffer with the dotted name ``target``; an AttributeError if there is none."""
        return self._by_name("get_buffer", "_buffers", target)

    def set_submodule(self, target: str, module: Self | Any, strict: bool = False) -> None:
        """Replace the submodule with the dotted name ``target`` by ``module``.

        Parameters
        ----------
        target : str
        module : Module
        strict : bool
            Raise an error if there is no submodule ``target``. By default it is added, if its parent exists.

        Raises
        ------
        AttributeError
            If the parent does not exist, if ``target`` is an attribute but not a module, or with ``strict``
            if it does not exist.
        ValueError
            If ``target`` is empty, or ``module`` is not a Module.

        Examples
        --------
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        >>> net.set_submodule("1", nn.Tanh()); net[1]
        Tanh()
        """
        check(target != "", "set_submodule", "expected the name of a submodule, got an empty one")
        check(
            isinstance(module, ModuleTree),
            "set_submodule",
            f"expected an nn.Module, got {type(module).__name__}",
        )
        if strict:
            self.get_submodule(target)
        path, _, name = target.rpartition(".")
        owner = self.get_submodule(path)
        check(
            isinstance(getattr(owner, name, module), ModuleTree),
            "set_submodule",
            f"the attribute {name!r} of {type(owner).__name__} is not a module",
            AttributeError,
        )
        setattr(owner, name, module)

    # ---- the walk
    def named_children(self) -> Iterator[tuple[str, Any]]:
        """The direct submodules with their names. A module with several names is given once."""
        seen: set[Any] = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Any]:
        """The direct submodules. A module with several names is given once."""
        return (m for _, m in self.named_children())

    def named_modules(
        self, memo: set[Any] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """This module and all its submodules with their dotted names (``""`` for this one).

        Parameters
        ----------
        memo : set of Module, optional
            Modules to leave out; the modules that are given are added to it.
        prefix : str
            The name of this module, with which all other names begin.
        remove_duplicate : bool
            Give each module once, under its first name; else under each of its names.
        """
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                yield from child.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Any]:
        """This module and all its submodules: each once, or (``remove_duplicate=False``) for each name."""
        return (m for _, m in self.named_modules(remove_duplicate=remove_duplicate))

    def _named(
        self, registry: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[Any] = set()
        modules = (
            self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
            if recurse
            else [(prefix, self)]
        )
        for path, module in modules:
            for name, t in getattr(module, registry).items():
                if t is not None and t not in seen:
                    if remove_duplicate:
                        seen.add(t)
                    yield (f"{path}.{name}" if path else name), t

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Every parameter with its dotted name.

        Parameters
        ----------
        prefix : str
            Put in front of every name.
        recurse : bool
            Include the parameters of submodules.
        remove_duplicate : bool
            Give each parameter once, under its first name; else under each of its names.
        """
        return self._named("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Every parameter once; with ``recurse=False`` without the parameters of submodules."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Every buffer with its dotted name; the parameters are those of :meth:`named_parameters`."""
        return self._named("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Every buffer once; with ``recurse=False`` without the buffers of submodules."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def _saved_tensors(self) -> dict[str, Tensor]:
        """Every tensor that ``state_dict`` includes, under each of its names."""
        found: dict[str, Tensor] = {}
        for path, module in self.named_modules(remove_duplicate=False):
            own = module.__dict__
            for name, t in (*own["_parameters"].items(), *own["_buffers"].items()):
                if t is not None and name not in module._transient:
                    found[f"{path}.{name}" if path else name] = t
        return found


def touch(module: ModuleTree) -> None:
    """Give ``module`` a new version, so that code that has recorded or optimized it notices the change."""
    module.__dict__["_last_change"] = object()


def versions(modules: Iterable[ModuleTree]) -> list[object]:
    """The version of each module, an object that every assignment to an attribute replaces by a new one.

    Two lists for the same modules are equal if no attribute was assigned and no hook was added or removed in
    between. Attributes are parameters, buffers, submodules, options, ``forward`` and ``training``, which
    ``train()`` and ``eval()`` assign. A change of the values of a tensor does not count; a tensor has its own
    version.
    """
    return [m._last_change for m in modules]
