"""The forward of an optimized net: a program captured from the net, then recorded and run again."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from .. import backends, graph, nn
from ..backends import settings
from ..backends.select import forced
from ..checks import check
from ..graph.program import replaced, values_in
from ..nn.hooks import hooked
from ..nn.tree import versions
from ..tape import is_grad_enabled
from ..tensor import Tensor
from . import merged

NAME = "optimize_for_inference"


class _State:
    """The modules of a net and their versions; a new one, and with it new programs, after every change."""

    def __init__(self, net: nn.Module) -> None:
        self.modules = list(net.modules())
        self.versions = versions(self.modules)
        # Why there is no program. Hooks of the net itself run before and after its forward.
        with_hooks = [name for name, m in net.named_modules() if name and hooked(m)]
        self.refused = f"{with_hooks[0]} has hooks" if with_hooks else None
        self.is_divided = False
        # Tensors that share memory share its version.
        self.memories = [t.memory for t in (*net.parameters(), *net.buffers())]
        self._constants: tuple[Any, graph.Constants] = (None, graph.Constants())

    def constants(self, engine: Any, version: int) -> graph.Constants:
        """What the programs for these values of the weights have computed of them."""
        if self._constants[0] != (engine, version):
            self._constants = (engine, version), graph.Constants()
        return self._constants[1]


class _Arguments:
    """The arguments of a call: tensors, which a program takes, and others, for which it is made."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._count, self._names = len(args), tuple(kwargs)
        self._values = (*args, *kwargs.values())
        self.tensors = [v for v in self._values if isinstance(v, Tensor)]
        self.key: Any = self._names
        self.refused = None if self.tensors else "no argument is a tensor"
        for v in self._values if len(self.tensors) < len(self._values) else ():
            if isinstance(v, Tensor):
                self.key += (None,)
            elif v is None or isinstance(v, (bool, int, float, str)):
                self.key += (repr(v),)
            else:
                self.refused = f"an argument is neither a tensor nor a number: {type(v).__name__}"

    def passed_to(self, function: Callable[..., Any], *tensors: Tensor) -> Any:
        """What ``function`` returns for these arguments, with ``tensors`` in the place of those here."""
        given = iter(tensors)
        values = [next(given) if isinstance(v, Tensor) else v for v in self._values]
        return function(*values[: self._count], **dict(zip(self._names, values[self._count :])))


class _Captured:
    """What a net computes for inputs of some shapes.

    The first inputs give the program. The second show whether the net does the same again; if so, an engine
    that has ``record`` records the kernels, which are all that runs from then on.
    """

    def __init__(
        self, net: Callable[..., Any], engine: Any, constants: graph.Constants, inputs: list[Any]
    ) -> None:
        """Raises CannotCapture."""
        self.engine, self._constants = engine, constants
        self.plain = graph.capture(net, inputs)[0]
        self.program = graph.optimize(self.plain, engine, constants)
        self.output = self.program.output
        self.program.output = list(values_in(self.output))
        self._inputs = 0  # how many have come, up to two
        self._recording: Callable[..., Any] | None = None
        self._parts: list[merged.Merged] | None = None
        self._lock = threading.Lock()

    def run(self, net: Callable[..., Any], inputs: list[Any]) -> Any:
        """The result. Raises CannotCapture if the net computes something else than the program."""
        if self._inputs < 2:
            with self._lock:
                if self._inputs == 1:
                    self._compare(net, inputs)
                    if hasattr(self.engine, "record"):
                        self._recording = self.engine.record(self.program.run, self.engine, inputs)
                self._inputs = min(self._inputs + 1, 2)
        if self._recording is None:
            return self.by_calls(self.engine, inputs)
        return self._result(map(Tensor, self._recording(*inputs)))

    def by_calls(self, engine: Any, inputs: list[Any]) -> Any:
        """The result, call by call; ``engine`` may stand in for the one that the program is for."""
        found = zip(self.program.output, map(Tensor, self.program.run(engine, *inputs)))
        # The caller may change a result in place, but not a constant of the program.
        return self._result([y if v.constant is None else y.clone() for v, y in found])

    def by_layers(self, inputs: list[Tensor]) -> Any:
        """The result by modules that an observer sees, one for each merged layer."""
        assert self._parts is not None
        given = dict(zip(self.plain.inputs, inputs))
        return self._result(merged.run(self._parts, given, self.program.output))

    def divide(self, net: nn.Module) -> None:
        """Make the modules for ``by_layers``."""
        if self._parts is None:
            program = graph.optimize(self.plain, self.engine, self._constants, merged.SEVERAL)
            self._parts = merged.parts(net, self.plain, program)

    def _compare(self, net: Callable[..., Any], inputs: list[Any]) -> None:
        """Raise CannotCapture if the net computes something else than for the first inputs."""
        again, want = graph.capture(net, inputs)
        alike = [c.op for c in again.calls] == [c.op for c in self.plain.calls]
        if not alike or not self._same(self.plain.run(self.engine, *inputs), want):
            raise graph.CannotCapture("the net computes something else for other values of its inputs")

    def _same(self, got: Any, want: Any) -> bool:
        if isinstance(want, Tensor):
            a, b = map(self.engine.to_host, (got, want.array))
            return a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        if isinstance(want, dict):
            return got.keys() == want.keys() and all(self._same(got[k], want[k]) for k in want)
        if isinstance(want, (tuple, list)):
            return len(got) == len(want) and all(map(self._same, got, want))
        return bool(got == want)

    def _result(self, tensors: Iterable[Tensor]) -> Any:
        return replaced(self.output, dict(zip(self.program.output, tensors)).__getitem__)


class InferenceRecorder:
    """The ``forward`` of an optimized net, assigned to its attribute.

    The programs of the last four shapes are kept. What could change them makes new ones: weights, modules and
    their options, all of this net only, and threads and precision. What no program can repeat is divided:
    each module that has modules in it gets a recorder of its own. Copies and pickles have no programs.

    Attributes
    ----------
    module : Module
        The net, or a part of one.
    own : callable or None
        The attribute ``forward`` that it had before.
    is_part : bool
        Part of a net that is no program: it does not warn, and runs as it is where it would have to raise.
    """

    LIMIT = 4

    def __init__(
        self, module: nn.Module, own: Callable[..., Any] | None = None, is_part: bool = False
    ) -> None:
        self.module, self.own, self.is_part = module, own, is_part
        self._state: _State | None = None
        self._programs: dict[Any, _Captured] = {}
        self._lock = threading.Lock()
        self._has_warned = is_part
        self._changes = 0  # how often, one after the other, the net has changed while it was captured
        self._refused: str | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"module": self.module, "own": self.own, "is_part": self.is_part}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    @property
    def programs(self) -> list[graph.Program]:
        """The programs that are kept; each prints as a table."""
        return [p.program for p in self._programs.values()]

    @property
    def unoptimized(self) -> Callable[..., Any]:
        """What the net computes without this."""
        return partial(type(self.module).forward, self.module) if self.own is None else self.own

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.is_part and self._trains(args, kwargs):
            return self.unoptimized(*args, **kwargs)
        self._refuse(args, kwargs)
        if backends.observer.get() is not None:
            return self.unoptimized(*args, **kwargs)
        arguments, state = _Arguments(args, kwargs), self._current()
        why = self._refused or state.refused or arguments.refused
        if why is None:
            try:
                return self._run(arguments, state)
            except graph.CannotCapture as e:
                why = state.refused = str(e)
        if not self._has_warned:
            self._has_warned = True
            text = (
                f"{NAME}: the net cannot be captured as a program ({why}); its parts are optimized one by one"
            )
            warnings.warn(text, stacklevel=3)
        if not state.is_divided:
            _divide(self.module)
            state.is_divided = True
        return self.unoptimized(*args, **kwargs)

    def by_layers(self, *args: Any, **kwargs: Any) -> Any:
        """The same result, computed one merged layer at a time; each is a module that an observer sees."""
        self._refuse(args, kwargs)
        arguments, state = _Arguments(args, kwargs), self._current()
        token = backends.observer.set(None)
        captured = None
        try:
            if not (self._refused or state.refused or arguments.refused):
                captured = self._captured(arguments, state)
                captured.divide(self.module)
        except graph.CannotCapture:
            captured = None
        finally:
            backends.observer.reset(token)
        return (
            self.unoptimized(*args, **kwargs) if captured is None else captured.by_layers(arguments.tensors)
        )

    def _refuse(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise where a net for evaluation is used for training, or asked for gradients."""
        training = "the net evaluates only; train the one it was made from"
        check(not self.module.training, NAME, training, RuntimeError)
        gradients = "the net computes no gradients; use the one it was made from, or no_grad()"
        check(not self._trains(args, kwargs), NAME, gradients, RuntimeError)

    def _trains(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether the module is in training mode, or a gradient is asked for."""
        given = (*args, *kwargs.values())
        asked = is_grad_enabled() and any(isinstance(x, Tensor) and x.requires_grad for x in given)
        return self.module.training or asked

    def _current(self) -> _State:
        state = self._state
        if state is None or versions(state.modules) != state.versions:
            self._state = state = _State(self.module)
        return state

    def _run(self, arguments: _Arguments, state: _State) -> Any:
        net = partial(arguments.passed_to, self.unoptimized)
        inputs = [x.array for x in arguments.tensors]
        if backends.recording.get():  # a step of training, by an engine that shall see each call
            captured = self._programs.get(self._key(arguments, state))
            if captured is None:
                return net(*arguments.tensors)
            return captured.by_calls(backends.engine_of(arguments.tensors[0].device), inputs)
        return self._captured(arguments, state).run(net, inputs)

    def _captured(self, arguments: _Arguments, state: _State) -> _Captured:
        """The program for these arguments, captured now if there is none. Raises CannotCapture."""
        key = self._key(arguments, state)
        if (found := self._programs.get(key)) is not None:
            self._changes = 0
            return found
        with self._lock:
            if key not in self._programs:
                engine, *_, version = key
                net = partial(arguments.passed_to, self.unoptimized)
                constants, inputs = state.constants(engine, version), [x.array for x in arguments.tensors]
                self._programs[key] = _Captured(net, engine, constants, inputs)
                self._changes += versions(state.modules) != state.versions
                if self._changes > self.LIMIT:
                    self._refused = "its forward assigns attributes in each call"
                while len(self._programs) > self.LIMIT:
                    del self._programs[next(iter(self._programs))]
            return self._programs[key]

    def _key(self, arguments: _Arguments, state: _State) -> tuple[Any, ...]:
        tensors = arguments.tensors
        return (
            backends.engine_of(tensors[0].device),
            *[(x.shape, x.dtype, x.device) for x in tensors],
            arguments.key,
            settings.get_num_threads(),
            settings.get_float32_precision(),
            forced(None),
            state,
            # Versions only rise, so an equal sum means equal versions.
            sum([memory.version for memory in state.memories]),
        )


def _divide(net: nn.Module) -> None:
    """Give the modules in ``net`` that have modules in them recorders of their own; those of lists, which are
    not called themselves, in their place."""
    for part in net.children():
        if not any(True for _ in part.children()) or isinstance(vars(part).get("forward"), InferenceRecorder):
            continue
        if type(part).forward is nn.Module.forward and "forward" not in vars(part):
            _divide(part)
        else:
            vars(part)["forward"] = InferenceRecorder(part, vars(part).get("forward"), is_part=True)


def undivide(net: nn.Module) -> None:
    """Take the recorders of parts out of ``net``."""
    for m in net.modules():
        recorder = vars(m).get("forward")
        if isinstance(recorder, InferenceRecorder) and recorder.is_part:
            if recorder.own is None:
                del vars(m)["forward"]
            else:
                vars(m)["forward"] = recorder.own
