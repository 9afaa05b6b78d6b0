"""A training step recorded and replayed: its kernels, without the Python code between them.

The step is recorded as ``runtime/recorded.py`` says. What differs from step to step is done by Python in
every replay::

    dropout           called again, with the seed of this step
    optimizer_step    the optimizer's own ``step()`` runs in the place of its first kernel
    labels            ops that check them are called again
    host_call         the function is called, which it is not while the step is recorded
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np

from fastconv import backends
from fastconv.backends.stand_in import StandIn, replacing

from .norm_and_relu import Watched
from .runtime.recorded import Recording, others

_R = TypeVar("_R")
#: Rules of ``optimizer_step`` that change gradients, not parameters.
CLIPPING = ("scale", "clamp")


def host_call(function, *arrays):
    function(True, *arrays)


class Graph:
    """A step that is done twice before it is replayed; see the class of this name in ``cuda/graph.py``.

    Parameters
    ----------
    inputs : list of ndarray
        Examples of what the step is given.

    Attributes
    ----------
    inputs : list of ndarray
        The arrays that the step must read.
    seeds : dict
        The seeds of the step done last, in the order they came.
    reads : int
        How often the rehearsal read values on the host, which a recorded step cannot do.
    closed : bool
        The memory was given back; the graph cannot be replayed any more.
    """

    def __init__(self, inputs: Sequence[np.ndarray]):
        self.inputs = list(inputs)
        self.seeds: dict[int, int] = {}
        self.reads, self.closed = 0, False
        self._engine = backends.load("cpu")
        self._ops = StandIn(self._engine, self._run)
        self._phase = ""
        self._recording: Recording | None = None
        self._seeds: list[int] = []  # of the replay
        self._update: Callable[[], Any] | None = None  # to be called by the replay

    @contextlib.contextmanager
    def _during(self, phase: str, engine: Any):
        tokens = backends.recording.set(True), replacing.set(engine)
        self._phase = phase
        try:
            yield
        finally:
            self._phase = ""
            replacing.reset(tokens[1])
            backends.recording.reset(tokens[0])

    def _run(self, name: str, args: tuple[Any, ...]) -> Any:
        """An op of the step."""
        if name == "dropout":
            x, p, scale, seed, *rest = args
            at = self.seeds.setdefault(seed, len(self.seeds))
            args = x, p, scale, (self._seeds[at] if at < len(self._seeds) else seed), *rest
        elif name == "to_host":
            self.reads += 1
            if self._phase == "record":
                raise RuntimeError("a step that is recorded cannot read values on the host")
        elif name == "host_call" and self._phase == "record":
            function, *arrays = args
            return function(False, *arrays)
        elif name == "optimizer_step" and args[0] not in CLIPPING and self._phase != "rehearse":
            update, self._update = self._update, None
            if update is not None:
                update()
            return None
        result = getattr(self._engine, name)(*args)
        if name in ("cross_entropy_mean_fwd", "nll_mean_fwd") and result[0] is None:
            raise ValueError(f"{name.removesuffix('_mean_fwd')}: target has a label that is not a class")
        return result

    def rehearse(self, step: Callable[[], _R]) -> _R:
        """Run ``step()`` as it will be recorded."""
        with self._during("rehearse", self._ops):
            self.seeds.clear()
            return step()

    def record(self, step: Callable[[], _R], changed: Sequence[np.ndarray] = ()) -> _R:
        """Record ``step()``; the next :meth:`replay` is its first run.

        Parameters
        ----------
        step : callable
        changed : sequence of ndarray
            What the step changes: weights, statistics, averages. They keep their values.

        Returns
        -------
        result
            What ``step()`` returned. Each replay writes its arrays.

        Raises
        ------
        RuntimeError
            If the step reads values on the host.
        """
        before = [a.copy() for a in changed]
        given, inputs = self.inputs, others(self.inputs)

        def function(engine: Any, *arrays: np.ndarray, watched: Watched | None = None) -> _R:
            self.inputs = list(arrays)
            self.seeds.clear()
            engine = engine if watched is None else watched.engine(engine)
            try:
                with self._during("record", engine):
                    return step()
            finally:
                for a, values in zip(changed, before):
                    np.copyto(a, values)

        # Op by op, compared on other inputs.
        self._seeds = []
        apart = Recording(function, self._ops, given).differing(function, inputs)
        # Then without and with merged norms, of which the results are compared.
        self._seeds, watched = list(self.seeds), Watched()
        recording = Recording(partial(function, watched=watched), self._ops, inputs, apart)
        pairs = watched.pairs(recording.output)
        if pairs:
            merged = Watched(pairs)
            left = {n - sum(k < n for k, a in pairs.items() if a is None) for n in apart if n not in pairs}
            recording = Recording(partial(function, watched=merged), self._ops, inputs, left)
            if not watched.same(merged):
                recording = Recording(function, self._ops, inputs, apart)
        self._recording, self.inputs = recording, recording.inputs
        return recording.output

    def refresh(self, seeds: Iterable[int], update: Callable[[], Any]) -> None:
        """Take other seeds, and ``update``, which the replay calls in the place of the optimizer's ops."""
        self._seeds, self._update = list(seeds), update

    def replay(self, inputs: Sequence[np.ndarray]) -> None:
        """Do the step on ``inputs``."""
        if self._recording is None:
            raise RuntimeError("graph: no step is recorded, or its memory was given back; record it first")
        self._phase = "replay"
        try:
            self._recording.run(inputs)
        finally:
            self._phase = ""

    def close(self) -> None:
        """Give the memory back; the graph cannot be replayed any more."""
        self._recording, self.closed = None, True
