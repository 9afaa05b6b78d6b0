"""The forward of an optimized net: the kernels of a pass, recorded and run again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from .. import backends, nn
from ..backends import settings
from ..backends.select import forced
from ..nn.hooks import hooked
from ..nn.tree import versions
from ..tensor import Tensor
from .forward import Forward, given
from .fused import refuse
from .in_sequence import run


class _State:
    """The modules of a net and their versions; a new one, and with it new recordings, after every change."""

    def __init__(self, net: nn.Module) -> None:
        self.modules = list(net.modules())
        self.versions = versions(self.modules)
        self.recordable = all(_recordable(m, m is net) for m in self.modules)
        # Tensors that share memory share its version.
        self.memories = [t.memory for t in (*net.parameters(), *net.buffers())]


class InferenceRecorder(Forward):
    """The forward of the net: from the second input of a shape on, only its kernels run.

    The recordings of the last four shapes are kept. What could change them makes new ones: weights, modules
    and their options, all of this net only, and threads and precision. Nets with a ``forward`` from outside
    fastconv, which may look at values, and engines that cannot record run layer by layer.
    """

    LIMIT = 4

    def __init__(self, module: nn.Module, own: Callable[..., Any] | None = None) -> None:
        super().__init__(module, own)
        self._state: _State | None = None
        self._recordings: OrderedDict[tuple, Any] = OrderedDict()

    def _current(self) -> _State:
        state = self._state
        if state is None or versions(state.modules) != state.versions:
            self._state = state = _State(self.module)
        return state

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        x = args[0] if len(args) == 1 and not kwargs else None
        refuse(self.module.training, x)
        if not isinstance(x, Tensor) or x.requires_grad:
            return run(self.plain, *args, **kwargs)
        engine: Any = backends.engine_of(x.device)
        if backends.observer.get() is not None or not hasattr(engine, "record"):
            return run(self.plain, x)
        state = self._current()
        key = (
            engine,
            x.shape,
            x.dtype,
            settings.get_num_threads(),
            settings.get_float32_precision(),
            forced(None),
            state,
            # Versions only rise, so an equal sum means equal versions.
            sum([memory.version for memory in state.memories]),
        )
        replay = self._recordings.get(key, self)
        if replay is self:
            y = run(self.plain, x)  # packs the weights, so the next pass can be recorded
            self._recordings[key] = None if state.recordable else False
            while len(self._recordings) > self.LIMIT:
                self._recordings.popitem(last=False)
            return y
        if replay is None:
            replay = engine.record(lambda a: run(self.plain, Tensor(a)).array, x.array) or False
            self._recordings[key] = replay
        return Tensor(replay(x.array)) if replay else run(self.plain, x)


def _recordable(module: nn.Module, top: bool) -> bool:
    """Whether ``module`` does the same for all values, and has no recorder of its own."""
    ours = type(module).__module__.partition(".")[0] == __name__.partition(".")[0]
    return (
        ours
        and given(module) is None
        and (top or not hooked(module))
        and (top or not isinstance(vars(module).get("forward"), InferenceRecorder))
    )
