"""A training step that is recorded once and then replayed for every batch."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from .. import backends, nn, optim, random
from ..backends import settings
from ..nn.hooks import hooked
from ..tensor import Tensor


class RecordedStep:
    """The whole training step, recorded as one graph and replayed (``graph.py`` of the engine).

    The first step on batches of a shape runs as usual, the second is the graph's rehearsal, the third is
    recorded, and it and all that follow are replayed. A batch of another shape (the last one of an epoch)
    runs as usual in between, and so does every step while there are hooks in the net.

    Parameters
    ----------
    net, optimizer
    compute : callable ``(x, y) -> result``
        Forward pass, backward pass and update.
    on : bool
        False: every step runs as usual.
    name : str or None
        The function that a warning names; None: no warnings.
    """

    def __init__(
        self,
        net: nn.Module,
        optimizer: optim.Optimizer,
        compute: Callable[[Tensor, Tensor], Any],
        on: bool,
        name: str | None,
    ):
        self.net, self.optimizer, self.compute, self.on = net, optimizer, compute, on
        self.name = name
        self.graph: Any = None  # of the engine
        self.shapes: list[tuple[tuple[int, ...], Any]] | None = None  # of the batches that the graph is for
        self.result: Any = None  # what each replay fills
        self.written: list[Any] = []  # versions of the buffers that a step writes to
        self.grads: list[tuple[nn.Parameter, Tensor | None]] = []
        self.assumed: tuple[list[Any], list[Any]] | None = None

    def step(self, x: Tensor, y: Tensor) -> Any:
        """What ``compute`` returned, after the whole step, or None if the step must run as usual."""
        engine: Any = x.engine
        if (
            not (self.on and hasattr(engine, "Graph"))
            or backends.observer.get() is not None
            or self._hooked()
        ):
            return None
        shapes = [(t.shape, t.dtype) for t in (x, y)]
        if shapes != self.shapes:
            self.shapes = self.shapes if self.graph else shapes
            return None
        if self.graph is not None and self.graph.closed:
            self._give_up("its memory is needed for other things")
            return None
        inputs = [x.array, y.array]
        if self.graph is None:
            return self._rehearse(engine, inputs)
        if self.result is None:
            return self._record(inputs)
        return self._replay(inputs)

    def _replay(self, inputs: list[Any]) -> Any:
        for p, grad in self.grads:
            p.grad = grad
        self.graph.refresh([random.next_seed() for _ in self.graph.seeds], self.optimizer.step)
        self.graph.replay(inputs)
        for memory in self.written:  # the optimizer counts the versions of the parameters
            memory.version += 1
        return self.result

    def _hooked(self) -> bool:
        """Whether functions of the user are called in a step; a graph would not call them."""
        return any(map(hooked, self.net.modules())) or any(
            p.hooks is not None and p.hooks.by_user for p in self.net.parameters()
        )

    def _step(self) -> Any:
        x, y = map(Tensor, self.graph.inputs)
        return self.compute(x, y)

    def _rehearse(self, engine: Any, inputs: list[Any]) -> Any:
        before = random.get_state()
        own = {id(p) for g in self.optimizer.param_groups for p in g["params"]}
        others = [(p.memory, p.memory.version) for p in self.net.parameters() if id(p) not in own]
        self.graph = engine.Graph(inputs)
        result, after = self.graph.rehearse(self._step), random.get_state()
        random.set_state(before)
        for _ in self.graph.seeds:
            random.next_seed()
        if self.graph.reads:
            self._give_up("values are read on the host")
        elif random.get_state() != after:
            self._give_up("random numbers are drawn outside dropout")
        elif any(memory.version != version for memory, version in others):
            self._give_up("parameters change that are not the optimizer's")
        random.set_state(after)
        self.assumed = self._assumptions()
        return result

    def _record(self, inputs: list[Any]) -> Any:
        rng_state = random.get_state()
        counts = [  # what the optimizer counts on the host
            (s, {k: v for k, v in s.items() if not isinstance(v, Tensor)})
            for s in self.optimizer.state.values()
        ]
        versions = [(t.memory, t.memory.version) for t in self._tensors()]
        buffers = {id(b.memory) for b in self.net.buffers()}

        def undo() -> None:
            """Take back what Python did while the step was recorded."""
            random.set_state(rng_state)
            for state, count in counts:
                state.update(count)
            for memory, version in versions:
                memory.version = version

        try:
            self.result = self.graph.record(self._step, self._assumptions()[0])
            self.written = [m for m, version in versions if id(m) in buffers and m.version != version]
            self.grads = [(p, p.grad) for p in self.net.parameters()]
            undo()
            return self._replay(inputs)
        except Exception as e:  # a driver may raise anything; no kernel of this step has run yet
            undo()
            self._give_up(e)
            return None

    def _give_up(self, why: object) -> None:
        if self.name is not None:
            text = f"{self.name}: the step cannot be recorded as a graph ({why}); it is done as usual"
            warnings.warn(text, stacklevel=5)
        self.on = False
        self.drop()

    def _tensors(self) -> list[Tensor]:
        """What a step may change: of the net, and of the optimizer."""
        groups = self.optimizer.param_groups
        tensors = [*self.net.parameters(), *self.net.buffers(), *(p for g in groups for p in g["params"])]
        return tensors + [
            t for s in self.optimizer.state.values() for t in s.values() if isinstance(t, Tensor)
        ]

    def _assumptions(self) -> tuple[list[Any], list[Any]]:
        """What a recorded step takes as given: arrays that must stay where they are, and settings."""
        groups, tensors = self.optimizer.param_groups, self._tensors()
        return [t.array for t in tensors], [
            [t.requires_grad for t in tensors],
            [m.training for m in self.net.modules()],
            # the numbers of a step are replaced before each replay, the kernel is not
            [(self.optimizer.slots(g), [v for v in g.values() if isinstance(v, bool)]) for g in groups],
            settings.get_float32_precision(),
        ]

    def check(self) -> None:
        """Drop the graph if net or optimizer were changed between epochs."""
        if self.graph is not None and self.assumed is not None:
            (old, before), (new, now) = self.assumed, self._assumptions()
            if before != now or len(old) != len(new) or any(a is not b for a, b in zip(old, new)):
                self.drop()

    def drop(self) -> None:
        """Give the graph and its memory back."""
        if self.graph is not None:
            self.graph.close()
        self.graph = self.result = self.assumed = None
        self.written, self.grads = [], []
