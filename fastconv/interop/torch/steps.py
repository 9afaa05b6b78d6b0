"""Steps: what a graph has become, without PyTorch in it.

A step calls a function with values from numbered places and puts the result in another place. Place 0 is the
engine, then come the inputs, then constants and results::

    places     0 engine | 1 x | 2 w | 3 b | 4 (1, 1) | ... | 9 y
    step       convolution, (0, 1, 2, 3, 4, ...) -> 9, and places 1 and 2 are free afterwards
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

ENGINE = 0


class Step(NamedTuple):
    """A call.

    Attributes
    ----------
    run : callable
    places : tuple of int
        Of the arguments; place 0 means that an op of the engine gets the engine.
    result : int
    name : str
        Of the op, as reports show it; "" for what converts and collects values.
    dead : tuple of int
        Places that no later step reads.
    """

    run: Callable[..., Any]
    places: tuple[int, ...]
    result: int
    name: str = ""
    dead: tuple[int, ...] = ()

    @property
    def on_engine(self) -> bool:
        """Whether the engine computes it."""
        return self.places[:1] == (ENGINE,)


class Steps:
    """Steps in order, from ``inputs`` inputs to the places in ``outputs``.

    Attributes
    ----------
    steps : list of Step
    template : list
        What is in each place at the start: constants, else None.
    """

    def __init__(self, template: list[Any], inputs: int, steps: Sequence[Step], outputs: Sequence[int]):
        self.template, self.inputs, self.outputs = template, inputs, list(outputs)
        self.steps = self._with_ends(steps)

    def _with_ends(self, steps: Sequence[Step]) -> list[Step]:
        """The steps with the places that are free after each; constants stay."""
        kept = {p for p, v in enumerate(self.template) if v is not None} | {ENGINE, *self.outputs}
        last: dict[int, int] = {}
        for i, step in enumerate(steps):
            for place in (*step.places, step.result):
                last[place] = i
        ends: dict[int, list[int]] = {}
        for place, i in last.items():
            if place not in kept:
                ends.setdefault(i, []).append(place)
        return [step._replace(dead=tuple(ends.get(i, ()))) for i, step in enumerate(steps)]

    def __call__(self, engine: Any, inputs: list[Any], clock: Callable[..., Any] | None = None) -> list[Any]:
        """The outputs for ``inputs``, a list that is emptied, so that memory is free after its last use.

        ``clock(step, values)`` computes a step in place of this method.
        """
        values = self.template.copy()
        values[ENGINE] = engine
        values[1 : 1 + self.inputs] = inputs
        inputs.clear()
        for step in self.steps:
            run, places, result, _, dead = step
            if clock is None:
                values[result] = run(*[values[p] for p in places])
            else:
                values[result] = clock(step, [values[p] for p in places])
            for place in dead:
                values[place] = None
        return [values[p] for p in self.outputs]
