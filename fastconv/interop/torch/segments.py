"""Inference: steps of the engine that follow each other run as one program.

A program (``fastconv.graph``) has the weights as constants, so norms are folded into convolutions and weights
are packed. It holds for one set of shapes and until a weight changes::

    first call with some weights and shapes     step by step: they may change again at once, as in training
    second call                                 the steps are captured as a program, which passes make faster
    later calls                                 the kernels that the engine has recorded of the program
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastconv import backends, graph
from fastconv.backends import settings
from fastconv.backends.select import forced

from .fusion import FLOATS
from .steps import ENGINE, Step, Steps
from .tensors import item, to_array

SAMPLES = 16  # elements of each weight that are compared at every call


class Weights:
    """Inputs of a graph that stay from call to call, and whether they have changed.

    Versions of tensors tell, and the number of steps of optimizers, because fused optimizers do not count as
    changes of version. Changes through ``.data`` do not either, so some elements of each weight are compared.

    Attributes
    ----------
    version : int
        Grows with every change.
    constants : fastconv.graph.Constants
        What passes have computed of these weights.
    """

    def __init__(self, indices: Sequence[int]):
        self.indices, self.version, self.constants = list(indices), 0, graph.Constants()
        self._facts: Any = None
        self._samples: list[np.ndarray[Any, Any]] = []
        self._values: list[bytes] = []

    def look(self, inputs: Sequence[Any]) -> None:
        """Compare the inputs with those of the last call."""
        tensors = [inputs[i] for i in self.indices]
        facts = [_optimizer_steps(), *((t.data_ptr(), _changes(t)) for t in tensors)]
        if facts == self._facts and self._sampled() == self._values:
            return
        self._facts, self._samples = facts, _samples(tensors)
        self._values = self._sampled()
        self.version += 1
        self.constants = graph.Constants()

    def _sampled(self) -> list[bytes]:
        return [np.concatenate(same).tobytes() for same in self._samples]


def _changes(tensor: Any) -> int:
    """How often PyTorch has counted a change of ``tensor``."""
    return -1 if tensor.is_inference() else tensor._version


def _samples(tensors: Sequence[Any]) -> list[Any]:
    """Views of a few elements of each tensor, grouped by dtype."""
    groups: dict[Any, list[Any]] = {}
    for tensor in tensors:
        if tensor.device.type != "cpu" or str(tensor.dtype) not in FLOATS:
            continue  # the engine does not read it
        array = to_array(tensor)
        flat = array.ravel(order="K")
        if flat.size and np.may_share_memory(flat, array):  # else it is a copy, which never changes
            groups.setdefault(flat.dtype, []).append(flat[:: max(flat.size // SAMPLES, 1)])
    return list(groups.values())


_counts: list[int] = []


def _optimizer_steps() -> int:
    """How many steps optimizers of PyTorch have made since this function was first called."""
    if not _counts:
        from torch.optim.optimizer import register_optimizer_step_post_hook

        _counts.append(0)
        register_optimizer_step_post_hook(_count_step)
    return _counts[0]


def _count_step(*_: Any) -> None:
    _counts[0] += 1


def segmented(steps: Steps, weights: Weights) -> Steps:
    """The steps with each run of steps on the engine as one step, a :class:`Segment`."""
    fixed = {i + 1 for i in weights.indices} | {p for p, v in enumerate(steps.template) if v is not None}
    for step in steps.steps:
        if step.run is to_array and step.places[0] in fixed:
            fixed.add(step.result)
    template, found, run = list(steps.template), [], []
    outside = _readers_outside(steps)

    def close() -> None:
        if sum(bool(step.name) for step in run) > 1:
            segment = Segment(run, steps.template, fixed, weights, outside)
            whole = len(template)
            template.append(None)
            found.append(Step(segment, (ENGINE, *segment.places), whole, "program"))
            for i, place in enumerate(segment.results):
                template.append(i)
                found.append(Step(item, (whole, len(template) - 1), place))
        else:
            found.extend(run)
        run.clear()

    for step in steps.steps:
        if step.on_engine:
            run.append(step)
        else:
            close()
            found.append(step)
    close()
    return Steps(template, steps.inputs, found, steps.outputs)


def _readers_outside(steps: Steps) -> Callable[[int, list[Step]], bool]:
    """Whether a place is read by other steps than those of a list, or is an output."""
    readers: dict[int, set[int]] = {}
    for step in steps.steps:
        for place in step.places:
            readers.setdefault(place, set()).add(step.result)

    def outside(place: int, run: list[Step]) -> bool:
        return place in steps.outputs or bool(readers.get(place, set()) - {step.result for step in run})

    return outside


class _Program:
    """A segment for one set of shapes and weights; it counts its calls."""

    def __init__(self) -> None:
        self.calls = 0
        self.program: graph.Program | None = None
        self.recording: Callable[..., Any] | None = None


class Segment:
    """Consecutive steps of the engine, as a function of the arrays that they read.

    Attributes
    ----------
    places, results : list of int
        Where its arguments come from and its results go.
    """

    LIMIT = 4  # sets of shapes whose programs are kept

    def __init__(
        self,
        run: list[Step],
        template: list[Any],
        fixed: set[int],
        weights: Weights,
        outside: Callable[[int, list[Step]], bool],
    ):
        made = {step.result for step in run}
        read = dict.fromkeys(p for step in run for p in step.places if p != ENGINE and p not in made)
        constants = [p for p in read if template[p] is not None]
        self.places = [p for p in read if template[p] is None]
        self.results = [step.result for step in run if outside(step.result, run)]
        self.weights = weights
        self.fixed = [p in fixed for p in self.places]
        # Numbered anew: engine, arguments, constants, results
        order = [*self.places, *constants, *(step.result for step in run)]
        number = {ENGINE: ENGINE, **{p: i + 1 for i, p in enumerate(order)}}
        moved = [
            step._replace(places=tuple(number[p] for p in step.places), result=number[step.result])
            for step in run
        ]
        values = [None, *(template[p] for p in order)]
        self.steps = Steps(values, len(self.places), moved, [number[p] for p in self.results])
        self.programs: OrderedDict[Any, _Program] = OrderedDict()
        self.version = -1
        self.engine = backends.load("cpu")

    def __call__(self, engine: Any, *values: Any) -> list[Any]:
        if self.version != self.weights.version:
            self.version = self.weights.version
            self.programs.clear()
        arrays = [v for v, fixed in zip(values, self.fixed) if not fixed and isinstance(v, np.ndarray)]
        known = self._known([v for v, fixed in zip(values, self.fixed) if not fixed])
        known.calls += 1
        if known.calls == 2:
            known.program = self._captured(values, arrays)
        elif known.calls == 3 and known.program is not None and engine is self.engine:
            known.recording = engine.record(known.program.run, engine, arrays)
        if known.recording is not None and engine is self.engine:
            return known.recording(*arrays)
        if known.program is not None:
            return known.program.run(engine, *arrays)
        return self.steps(engine, list(values))

    def _known(self, values: Sequence[Any]) -> _Program:
        """The program for inputs like these, perhaps a new one."""
        key = (
            settings.get_num_threads(),
            settings.get_float32_precision(),
            forced(None),
            *((v.shape, v.dtype) if isinstance(v, np.ndarray) else v for v in values),
        )
        if key not in self.programs:
            self.programs[key] = _Program()
            while len(self.programs) > self.LIMIT:
                self.programs.popitem(last=False)
        return self.programs[key]

    def _captured(self, values: Sequence[Any], arrays: list[Any]) -> graph.Program | None:
        """The steps as a program of ``arrays``; None if a step cannot be captured."""

        def function(*tensors: Any) -> list[Any]:
            given = iter(tensors)
            inputs = [
                next(given).array if not fixed and isinstance(v, np.ndarray) else v
                for v, fixed in zip(values, self.fixed)
            ]
            return self.steps(backends.engine_of("cpu"), inputs)

        # An array is known by its place in memory, so an input must not share the memory of a weight.
        weights = [v for v, fixed in zip(values, self.fixed) if fixed and isinstance(v, np.ndarray)]
        arrays = [a.copy() if any(np.may_share_memory(a, w) for w in weights) else a for a in arrays]
        try:
            with backends.backend("cpu"):
                program, _ = graph.capture(function, arrays)
        except graph.CannotCapture:
            return None
        return graph.optimize(program, self.engine, self.weights.constants)
