"""The backend of ``torch.compile``: AOTAutograd's graphs as steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastconv.backends import load, settings

from .build import build
from .fusion import fuse
from .segments import Weights, segmented
from .steps import Steps


def backend(module: Any, example_inputs: Any) -> Callable[..., Any]:
    """Compile a graph of ``torch.compile`` for fastconv's CPU engine.

    It is registered under the name ``fastconv``, so users do not call it. Convolutions, norms, pooling,
    activations, dense layers and losses of float32 and float64 tensors on the CPU run on the engine, forward
    and backward. PyTorch computes all other ops of the graph. In inference (no gradients) norms are folded
    into convolutions and weights are packed, again after each change of them.

    Parameters
    ----------
    module : torch.fx.GraphModule
    example_inputs : list of torch.Tensor

    Returns
    -------
    callable
        Computes what ``module`` computes.

    Raises
    ------
    ImportError
        PyTorch is not installed.

    Examples
    --------
    >>> import torch
    >>> model = torch.compile(torch.nn.Conv2d(3, 8, 3), backend="fastconv")
    >>> model(torch.zeros(1, 3, 8, 8)).shape
    torch.Size([1, 8, 6, 6])
    """
    return backend_that_keeps([])(module, example_inputs)


def backend_that_keeps(graphs: list[Graph]) -> Callable[..., Any]:
    """A backend that appends what it compiles to ``graphs``."""
    from torch._dynamo.backends.common import aot_autograd
    from torch._functorch.partitioners import default_partition
    from torch._guards import TracingContext

    def compiler(kind: str) -> Callable[..., Any]:
        def compiled(module: Any, example_inputs: Any) -> Any:
            context = TracingContext.try_get()
            facts = None if context is None else context.fw_metadata
            if kind == "inference":
                fuse(module)
            count = sum(len(n.args[0]) for n in module.graph.nodes if n.op == "output")
            if kind == "backward":
                count = 0
            elif kind == "forward" and facts is not None:
                count = facts.num_forward_returns
            steps = build(module.graph, count)
            weights = None
            if kind == "inference" and facts is not None:
                weights = Weights(facts.static_input_indices)
                steps = segmented(steps, weights)
            graph = Graph(kind, steps, weights)
            graphs.append(graph)

            def run(inputs: list[Any]) -> list[Any]:
                return graph(inputs)

            run._boxed_call = True  # AOTAutograd gives functions with this mark a list that may be emptied
            return run

        return compiled

    def partition(joint: Any, inputs: Any, **options: Any) -> Any:
        fuse(joint)
        return default_partition(joint, inputs, **options)

    return aot_autograd(
        fw_compiler=compiler("forward"),
        bw_compiler=compiler("backward"),
        inference_compiler=compiler("inference"),
        partition_fn=partition,
        keep_inference_input_mutations=True,
    )


class Graph:
    """A compiled graph: called with a list of inputs, which it empties.

    Attributes
    ----------
    kind : {"forward", "backward", "inference"}
    steps : Steps
    clock : callable or None
        Computes each step in place of the graph (see ``Steps``); set by ``explain``.
    """

    def __init__(self, kind: str, steps: Steps, weights: Weights | None):
        self.kind, self.steps, self.weights = kind, steps, weights
        self.engine: Any = load("cpu")
        self.clock: Any = None

    def __call__(self, inputs: list[Any]) -> list[Any]:
        _follow_threads()
        if self.weights is not None:
            self.weights.look(inputs)
        if self.clock is None:
            return self.steps(self.engine, inputs)
        return self.steps(self.clock.engine, inputs, self.clock)


#: The number of threads that fastconv last took over from PyTorch.
_followed: int | None = None


def _follow_threads() -> None:
    """Use as many threads as PyTorch, unless the user has set a number for fastconv."""
    import torch

    global _followed
    wanted = torch.get_num_threads()
    if wanted != _followed and settings.chosen_threads in (None, _followed):
        settings.set_num_threads(min(wanted, settings.available_cpus()))
        _followed = settings.chosen_threads
