"""The forward of an optimized net: a program captured from the net, then recorded and run again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .. import backends, graph, nn
from ..backends import settings
from ..backends.select import forced
from ..graph.program import replaced, values_in
from ..nn.hooks import hooked
from ..nn.tree import versions
from ..tensor import Tensor
from .forward import Forward
from .fused import refuse
from .in_sequence import run


class _State:
    """The modules of a net and their versions; a new one, and with it new programs, after every change."""

    def __init__(self, net: nn.Module) -> None:
        self.modules = list(net.modules())
        self.versions = versions(self.modules)
        self.capturable = not any(map(hooked, self.modules))
        # Tensors that share memory share its version.
        self.memories = [t.memory for t in (*net.parameters(), *net.buffers())]
        self._constants: tuple[Any, graph.Constants] = (None, graph.Constants())

    def constants(self, engine: Any, version: int) -> graph.Constants:
        """What the programs for these values of the weights have computed of them."""
        if self._constants[0] != (engine, version):
            self._constants = (engine, version), graph.Constants()
        return self._constants[1]


class _Captured:
    """What a net computes for inputs of some shapes.

    The first inputs give the program. The second show whether the net does the same again; if so, the engine
    records the kernels, which are all that runs from then on.
    """

    def __init__(self, net: nn.Module, engine: Any, constants: graph.Constants, inputs: list[Any]) -> None:
        """Raises CannotCapture."""
        self.engine = engine
        self.plain: graph.Program | None = _captured(net, inputs)[0]
        self.program = graph.optimize(self.plain, engine, constants)
        self.output = self.program.output
        self.program.output = list(values_in(self.output))
        self._run: Callable[..., Any] | None = None  # once the second inputs have come
        self._lock = threading.Lock()

    def first(self, inputs: list[Any]) -> Any:
        """The result for the inputs that the program was made from."""
        return self._tensors(self.program.run(self.engine, *inputs))

    def _second(self, net: nn.Module, inputs: list[Any]) -> Callable[..., Any]:
        """What runs from now on. Raises CannotCapture if the net computes something else than the program."""
        plain, self.plain = self.plain, None
        again, want = _captured(net, inputs)
        alike = plain is not None and [c.op for c in again.calls] == [c.op for c in plain.calls]
        if plain is None or not alike or not _same(plain.run(self.engine, *inputs), want):
            raise graph.CannotCapture("the net computes something else for other values of its inputs")
        recording = self.engine.record(self.program.run, self.engine, inputs)
        return recording or partial(self.program.run, self.engine)

    def again(self, net: nn.Module, inputs: list[Any]) -> Any:
        """The result for any inputs after the first. Raises CannotCapture as ``_second`` does."""
        with self._lock:
            if self._run is None:
                self._run = self._second(net, inputs)
        return self._tensors(self._run(*inputs))

    def _tensors(self, arrays: list[Any]) -> Any:
        tensors = dict(zip(self.program.output, map(Tensor, arrays)))
        return replaced(self.output, tensors.__getitem__)


class InferenceRecorder(Forward):
    """The forward of the net: from the second input of a shape on, only its kernels run.

    The programs of the last four shapes are kept. What could change them makes new ones: weights, modules and
    their options, all of this net only, and threads and precision. What no program can repeat (hooks, a
    ``forward`` that looks at values), and engines that cannot record, run layer by layer.
    """

    LIMIT = 4

    def __init__(self, module: nn.Module, own: Callable[..., Any] | None = None) -> None:
        super().__init__(module, own)
        self._state: _State | None = None
        self._programs: OrderedDict[tuple, _Captured | None] = OrderedDict()

    @property
    def programs(self) -> list[graph.Program]:
        """The programs that are kept; each prints as a table."""
        return [p.program for p in self._programs.values() if p is not None]

    def _current(self) -> _State:
        state = self._state
        if state is None or versions(state.modules) != state.versions:
            self._state = state = _State(self.module)
        return state

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        refuse(self.module.training, *args)
        if kwargs or not args or not all(isinstance(x, Tensor) and not x.requires_grad for x in args):
            return run(self.plain, *args, **kwargs)
        engine: Any = backends.engine_of(args[0].device)
        if backends.observer.get() is not None or not hasattr(engine, "record"):
            return run(self.plain, *args)
        state = self._current()
        # Versions only rise, so an equal sum means equal versions.
        version = sum([memory.version for memory in state.memories])
        key = (
            engine,
            *((x.shape, x.dtype, x.device) for x in args),
            settings.get_num_threads(),
            settings.get_float32_precision(),
            forced(None),
            state,
            version,
        )
        inputs = [x.array for x in args]
        try:
            if key in self._programs:
                program = self._programs[key]
                if program is not None:
                    return program.again(self.module, inputs)
            else:
                self._programs[key] = None
                while len(self._programs) > self.LIMIT:
                    self._programs.popitem(last=False)
                if state.capturable:
                    program = _Captured(self.module, engine, state.constants(engine, version), inputs)
                    self._programs[key] = program
                    return program.first(inputs)
        except graph.CannotCapture:
            self._programs[key] = None
        return run(self.plain, *args)


def _captured(net: nn.Module, inputs: list[Any]) -> tuple[graph.Program, Any]:
    """What the layers of ``net`` compute from ``inputs``, each on its own."""
    forward: Any = net.forward
    return graph.capture(forward.unoptimized, inputs)


def _same(got: Any, want: Any) -> bool:
    if isinstance(want, Tensor):
        a, b = got, want.array
        return a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if isinstance(want, dict):
        return got.keys() == want.keys() and all(_same(got[k], want[k]) for k in want)
    if isinstance(want, (tuple, list)):
        return len(got) == len(want) and all(map(_same, got, want))
    return bool(got == want)
