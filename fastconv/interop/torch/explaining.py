"""Which op of a model ran where, and its time."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from fastconv.backends.contract import CONTRACT, OPTIONAL
from fastconv.table import Shown, Table, number

from .compiler import Graph, backend_that_keeps
from .steps import Step


class OpTime(NamedTuple):
    """A row of an :class:`Explanation`.

    Attributes
    ----------
    engine : {"fastconv", "torch", ""}
        Who ran the op; "" for conversions between tensors and arrays.
    op : str
        An op of the engine contract, or of PyTorch.
    calls : int
    seconds : float
        Of all calls together.
    """

    engine: str
    op: str
    calls: int
    seconds: float


class Explanation(Shown):
    """What ran in one call of a model, as a table.

    Attributes
    ----------
    rows : list of OpTime
        The most expensive first.
    graphs : list of str
        The kinds of the graphs that ran: ``forward``, ``backward`` or ``inference``. More than one forward
        graph means that the model was split, because PyTorch could not trace it as a whole.
    """

    def __init__(self, rows: Sequence[OpTime], graphs: Sequence[str]):
        self.rows, self.graphs = list(rows), list(graphs)

    def table(self) -> Table:
        """A row for each op."""
        whole = sum(row.seconds for row in self.rows) or 1.0
        rows = [
            (r.engine, r.op, str(r.calls), number(1e3 * r.seconds), f"{100 * r.seconds / whole:.1f} %")
            for r in self.rows
        ]
        ours = sum(r.seconds for r in self.rows if r.engine == "fastconv")
        after = f"{1e3 * whole:.3g} ms in ops, {100 * ours / whole:.0f} % of it on fastconv's engine"
        before = f"graphs: {', '.join(self.graphs)}"
        return Table(("engine", "op", "calls", "ms", "share"), rows, "llrrr", before, after)


class _Clock:
    """Computes steps and notes their times."""

    def __init__(self, engine: Any):
        self.engine = _Timed(engine, self.timed)
        self.times: dict[tuple[str, str], list[float]] = {}

    def timed(self, key: tuple[str, str], run: Callable[..., Any], *args: Any) -> Any:
        """What ``run(*args)`` returns."""
        start = time.perf_counter()
        result = run(*args)
        self.times.setdefault(key, []).append(time.perf_counter() - start)
        return result

    def __call__(self, step: Step, values: Sequence[Any]) -> Any:
        if step.on_engine:
            return step.run(*values)
        key = ("torch", step.name) if step.name else ("", "conversions")
        return self.timed(key, step.run, *values)


class _Timed:
    """An engine whose ops are timed."""

    def __init__(self, engine: Any, timed: Callable[..., Any]):
        self._engine, self._time = engine, timed

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._engine, name)
        if name not in CONTRACT and name not in OPTIONAL:
            return found
        return lambda *args: self._time(("fastconv", name), found, *args)


def explain(model: Any, x: Any) -> Explanation:
    """Run a PyTorch model with ``backend="fastconv"`` and say which op ran where, how often and how long.

    A model in training mode runs forward and backward, a model in evaluation mode forward without gradients.

    Parameters
    ----------
    model : torch.nn.Module
        Stays as it is: a copy of it runs.
    x : torch.Tensor, or a tuple of the arguments

    Returns
    -------
    Explanation
        It prints as a table.

    Raises
    ------
    ImportError
        PyTorch is not installed.

    Examples
    --------
    >>> import torch
    >>> from fastconv.interop.torch import explain
    >>> found = explain(torch.nn.Conv2d(3, 8, 3).eval(), torch.zeros(1, 3, 8, 8))
    >>> [(row.engine, row.op, row.calls) for row in found.rows if row.engine]
    [('fastconv', 'conv_fwd', 1)]
    """
    import torch

    graphs: list[Graph] = []
    arguments = x if isinstance(x, tuple) else (x,)
    net = copy.deepcopy(model)
    run = torch.compile(net, backend=backend_that_keeps(graphs))

    def once() -> None:
        if model.training:
            torch.autograd.backward([y.sum() for y in _floats(run(*arguments)) if y.requires_grad])
        else:
            with torch.no_grad():
                run(*arguments)

    for _ in range(3):  # compiled, captured, recorded
        once()
    clock = _Clock(graphs[0].engine)
    for graph in graphs:
        graph.clock = clock
    once()
    rows = [OpTime(*key, len(times), sum(times)) for key, times in clock.times.items()]
    return Explanation(sorted(rows, key=lambda row: -row.seconds), [graph.kind for graph in graphs])


def _floats(results: Any) -> list[Any]:
    """The tensors of floats in what a model returned."""
    if isinstance(results, dict):
        return _floats(list(results.values()))
    if isinstance(results, (tuple, list)):
        return [y for part in results for y in _floats(part)]
    return [results] if hasattr(results, "is_floating_point") and results.is_floating_point() else []
