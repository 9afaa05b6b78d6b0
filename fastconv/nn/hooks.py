"""Hooks of modules: users' functions that are called around forward, with gradients, and with state dicts.

A module without hooks has no table of hooks, so they do not slow down its calls.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable
from typing import Any, TypeAlias

from ..autograd import Function
from ..checks import check
from ..tape import is_grad_enabled
from ..tape.hooks import Registry, RemovableHandle
from ..tensor import Tensor
from .tree import ModuleTree, touch

#: Called with module, arguments and, with ``with_kwargs``, keyword arguments.
ForwardPreHook: TypeAlias = (
    Callable[[Any, tuple[Any, ...]], Any] | Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]
)
#: Called with module, arguments, with ``with_kwargs`` keyword arguments, and the result.
ForwardHook: TypeAlias = (
    Callable[[Any, tuple[Any, ...], Any], Any] | Callable[[Any, tuple[Any, ...], dict[str, Any], Any], Any]
)


class HookTable:
    """The hooks of one module, in one registry per event."""

    def __init__(self) -> None:
        self.forward_pre, self.forward = Registry(), Registry()
        self.backward_pre, self.backward = Registry(), Registry()
        self.state_dict_pre, self.state_dict = Registry(), Registry()
        self.load_pre, self.load = Registry(), Registry()

    @property
    def in_calls(self) -> bool:
        """Whether there are hooks that a call of the module must run."""
        return bool(self.forward_pre or self.forward or self.backward_pre or self.backward)

    def call(
        self, module: Any, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """``forward(*args, **kwargs)`` with the hooks before and after it."""
        for hook, with_kwargs in list(self.forward_pre.values()):
            if with_kwargs:
                new = hook(module, args, kwargs)
                if new is not None:
                    check(
                        isinstance(new, tuple) and len(new) == 2,
                        "forward pre-hook",
                        f"expected None or a tuple of args and kwargs, got {new!r:.60}",
                        RuntimeError,
                    )
                    args, kwargs = new
            elif (new := hook(module, args)) is not None:
                args = new if isinstance(new, tuple) else (new,)
        watch = _Watch(module, self, args) if self.backward_pre or self.backward else None
        done: set[int] = set()
        result = None
        try:
            if watch is not None:
                args = watch.inputs(args)
            result = forward(*args, **kwargs)
            for number, (hook, with_kwargs, _) in list(self.forward.items()):
                done.add(number)
                new = hook(module, args, kwargs, result) if with_kwargs else hook(module, args, result)
                result = result if new is None else new
            return result if watch is None else watch.outputs(result)
        except Exception:
            for number, (hook, with_kwargs, always) in list(self.forward.items()):
                if always and number not in done:
                    try:
                        hook(module, args, kwargs, result) if with_kwargs else hook(module, args, result)
                    except Exception as e:
                        warnings.warn(f"forward hook with always_call=True raised {e!r}", stacklevel=2)
            raise


class _Watch:
    """Passes the gradients of one call of a module to its backward hooks.

    The inputs of the call go through an op that does not change them, and so do the outputs. In the backward
    pass, the op of the outputs gets the gradients of the outputs first. The op of the inputs gets the
    gradients of the inputs when all of them are computed.
    """

    def __init__(self, module: Any, table: HookTable, args: tuple[Any, ...]) -> None:
        self.module, self.table, self.count = module, table, len(args)
        self.at: list[int] = []  # positions of tensors among the inputs; empty if none needs a gradient
        self.out_at: list[int] = []
        self.out_count = 0
        self.grad_outputs: tuple[Any, ...] = ()

    def inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments after the op of the inputs."""
        at = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
        if is_grad_enabled() and any(args[i].requires_grad for i in at):
            self.at = at
            return _passed(_Inputs, self, args, at)
        return args

    def outputs(self, result: Any) -> Any:
        """The results after the op of the outputs."""
        if not isinstance(result, (Tensor, tuple)):
            warnings.warn(
                f"{type(self.module).__name__}: backward hooks are called for a Tensor or a tuple of them, "
                f"and forward returned {type(result).__name__}",
                stacklevel=4,
            )
            return result
        every = result if isinstance(result, tuple) else (result,)
        self.out_at = [i for i, y in enumerate(every) if isinstance(y, Tensor)]
        self.out_count = len(every)
        if not any(every[i].requires_grad for i in self.out_at):
            return result
        passed = _passed(_Outputs, self, every, self.out_at)
        return passed if isinstance(result, tuple) else passed[0]

    def output_gradients(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        """The gradients of the outputs as the backward pre-hooks return them."""
        every = _spread(grads, self.out_at, self.out_count)
        for hook in list(self.table.backward_pre.values()):
            new = hook(self.module, every)
            if new is not None:
                every = self._counted("backward pre-hook", "output", new, every)
        self.grad_outputs = every
        if not self.at:
            self._hooked((None,) * self.count)
        return tuple(every[i] for i in self.out_at)

    def input_gradients(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        """The gradients of the inputs as the backward hooks return them."""
        every = self._hooked(_spread(grads, self.at, self.count))
        return tuple(every[i] for i in self.at)

    def _hooked(self, every: tuple[Any, ...]) -> tuple[Any, ...]:
        for hook in list(self.table.backward.values()):
            new = hook(self.module, every, self.grad_outputs)
            if new is not None:
                new = self._counted("backward hook", "input", new, every)
                check(
                    bool(self.at) or all(g is None for g in new),
                    "backward hook",
                    f"no input of {type(self.module).__name__} requires a gradient; a hook must return None",
                    RuntimeError,
                )
                every = new
        return every

    def _counted(self, what: str, of: str, new: Any, every: tuple[Any, ...]) -> tuple[Any, ...]:
        new = new if isinstance(new, tuple) else (new,)
        check(
            len(new) == len(every),
            what,
            f"{type(self.module).__name__} has {len(every)} {of}s, and a hook returned {len(new)} gradients",
            RuntimeError,
        )
        return new


class _Inputs(Function):
    @staticmethod
    def forward(ctx: Any, watch: _Watch, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.watch = watch
        ctx.mark_non_differentiable(*[t for t in tensors if not t.requires_grad])
        return tensors

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return None, *ctx.watch.input_gradients(grads)


class _Outputs(Function):
    @staticmethod
    def forward(ctx: Any, watch: _Watch, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        return _Inputs.forward(ctx, watch, *tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return None, *ctx.watch.output_gradients(grads)


def _passed(op: type[Function], watch: _Watch, values: tuple[Any, ...], at: list[int]) -> tuple[Any, ...]:
    """``values``, with the tensors at the positions ``at`` replaced by the results of ``op``."""
    passed = iter(op.apply(watch, *[values[i] for i in at]))
    return tuple(next(passed) if i in at else v for i, v in enumerate(values))


def _spread(grads: tuple[Any, ...], at: list[int], count: int) -> tuple[Any, ...]:
    by_position = dict(zip(at, grads))
    return tuple(by_position.get(i) for i in range(count))


def _gone() -> None:
    """Returns None, like a dead weak reference; unlike a lambda it can be pickled."""


class ModuleHandle(RemovableHandle):
    """The handle of a module's hook. If module and handle are copied together, the copies belong together."""

    def __init__(self, module: HookedModule, registry: Registry) -> None:
        super().__init__(registry)
        self._module: Callable[[], Any] = weakref.ref(module)

    def remove(self) -> None:
        """Remove the hook; a second call does nothing."""
        super().remove()
        if (module := self._module()) is not None:
            touch(module)

    def __getstate__(self) -> tuple[Any, ...]:
        return self.id, self._registry(), self._module()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.id, *kept = state
        self._registry, self._module = [_gone if k is None else weakref.ref(k) for k in kept]


class HookedModule(ModuleTree):
    """The part of :class:`Module` that registers hooks."""

    _hook_table: HookTable | None = None

    def _register_hook(
        self, name: str, what: str, hook: Any, entry: Any, prepend: bool = False
    ) -> RemovableHandle:
        check(callable(hook), name, f"expected a function, got {hook!r:.60}", TypeError)
        if self._hook_table is None:
            self.__dict__["_hook_table"] = HookTable()
        registry = getattr(self._hook_table, what)
        handle = ModuleHandle(self, registry)
        others = dict(registry) if prepend else {}
        for number in others:
            del registry[number]
        registry[handle.id] = entry
        registry.update(others)
        touch(self)
        return handle

    def register_forward_pre_hook(
        self, hook: ForwardPreHook, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args)`` before every forward.

        Parameters
        ----------
        hook : callable
            It may return new arguments, as a tuple or a single value, or None to keep them.
        prepend : bool
            Call it before the hooks that are registered already.
        with_kwargs : bool
            Call ``hook(module, args, kwargs)`` instead. It may return a tuple of new args and new kwargs.

        Returns
        -------
        RemovableHandle
            Its ``remove()`` removes the hook.

        Examples
        --------
        >>> net = nn.ReLU()
        >>> handle = net.register_forward_pre_hook(lambda module, args: -args[0])
        >>> net(fc.tensor([-1.0, 2.0]))
        tensor([1., 0.])
        """
        return self._register_hook(
            "register_forward_pre_hook", "forward_pre", hook, (hook, with_kwargs), prepend
        )

    def register_forward_hook(
        self,
        hook: ForwardHook,
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after every forward.

        Parameters
        ----------
        hook : callable
            It may return a new output, or None to keep the output.
        prepend : bool
            Call it before the hooks that are registered already.
        with_kwargs : bool
            Call ``hook(module, args, kwargs, output)`` instead.
        always_call : bool
            Call the hook also if forward raises an error; then the output is None.

        Returns
        -------
        RemovableHandle
            Its ``remove()`` removes the hook.

        Examples
        --------
        >>> net, shapes = nn.Linear(2, 3), []
        >>> handle = net.register_forward_hook(lambda module, args, y: shapes.append(y.shape))
        >>> y = net(fc.zeros(4, 2)); shapes
        [(4, 3)]
        """
        return self._register_hook(
            "register_forward_hook", "forward", hook, (hook, with_kwargs, always_call), prepend
        )

    def register_full_backward_hook(
        self, hook: Callable[[Any, Any, Any], Any], prepend: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` when the gradients of the inputs are computed.

        Parameters
        ----------
        hook : callable
            Both gradients are tuples, with None for values without a gradient. The hook may return a new
            ``grad_input``, or None to keep it.
        prepend : bool
            Call it before the hooks that are registered already.

        Returns
        -------
        RemovableHandle
            Its ``remove()`` removes the hook.

        Examples
        --------
        >>> net, seen = nn.ReLU(), []
        >>> handle = net.register_full_backward_hook(lambda module, gx, gy: seen.append((gx, gy)))
        >>> net(fc.tensor([-1.0, 2.0], requires_grad=True)).sum().backward(); seen
        [((tensor([0., 1.]),), (tensor([1., 1.]),))]
        """
        return self._register_hook("register_full_backward_hook", "backward", hook, hook, prepend)

    def register_full_backward_pre_hook(
        self, hook: Callable[[Any, Any], Any], prepend: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, grad_output)`` before the gradients of this module are computed.

        The hook may return a new ``grad_output``, or None to keep it. The other parameters and the result are
        those of :meth:`register_full_backward_hook`.
        """
        return self._register_hook("register_full_backward_pre_hook", "backward_pre", hook, hook, prepend)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, prefix, keep_vars)`` before :meth:`state_dict` reads this module's tensors."""
        return self._register_hook("register_state_dict_pre_hook", "state_dict_pre", hook, hook)

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata)`` after :meth:`state_dict`.

        The hook may change ``state_dict`` in place and must return None. ``local_metadata`` is an empty dict.
        """
        return self._register_hook("register_state_dict_post_hook", "state_dict", hook, hook)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook`` before :meth:`load_state_dict` of this module, or of a net that contains it.

        Parameters
        ----------
        hook : callable
            It is called with the arguments ``module, state_dict, prefix, local_metadata, strict,
            missing_keys, unexpected_keys, error_msgs``. ``state_dict`` is a copy of the whole state, which
            the hook may change; the names of this module's tensors begin with ``prefix``. Messages that it
            adds to ``error_msgs`` are reported.
        """
        return self._register_hook("register_load_state_dict_pre_hook", "load_pre", hook, hook)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, incompatible_keys)`` after :meth:`load_state_dict`.

        The hook may remove names from ``incompatible_keys.missing_keys`` and ``unexpected_keys``, which are
        then not reported as errors.
        """
        return self._register_hook("register_load_state_dict_post_hook", "load", hook, hook)


def hooks_of(module: Any) -> HookTable | None:
    """The hooks of ``module``, or None if none was ever registered."""
    return module._hook_table if isinstance(module, HookedModule) else None


def hooked(module: Any) -> bool:
    """Whether a call of ``module`` must run hooks, so that the module must not be fused or recorded."""
    table = hooks_of(module)
    return table is not None and table.in_calls
