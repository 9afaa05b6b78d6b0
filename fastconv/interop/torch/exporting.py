"""A trained PyTorch model as a module of fastconv, which runs without PyTorch."""

from __future__ import annotations

import copy
from functools import reduce
from typing import Any

from fastconv import backends, nn
from fastconv.creation import from_numpy
from fastconv.tensor import Tensor

from .build import ARRAY, build
from .fusion import fuse
from .lowering import OPS
from .steps import Steps


class TorchModule(nn.Module):
    """What a PyTorch model computes in evaluation mode; made by :func:`from_torch`.

    Its results carry no gradients. ``state_dict`` has the names of the PyTorch model. It can be pickled, and
    ``fc.optimize_for_inference`` makes it faster.

    Attributes
    ----------
    steps : Steps
        Functions of the engine, from weights and inputs to the results.
    names : list of str
        Of the weights and buffers, in the order in which ``steps`` gets them.
    """

    def __init__(self, steps: Steps, weights: dict[str, Any], structure: type):
        super().__init__()
        self.steps, self.names, self.structure = steps, list(weights), structure
        for name, array in weights.items():
            *path, last = name.split(".")
            parent: nn.Module = self
            for part in path:
                if part not in dict(parent.named_children()):
                    parent.add_module(part, nn.Module())
                parent = getattr(parent, part)
            parent.register_buffer(last, from_numpy(array))

    def forward(self, *inputs: Tensor) -> Any:
        """The model's result: a Tensor, or a tuple or list of Tensors."""
        engine = backends.engine_of(inputs[0].device)
        weights = [reduce(getattr, name.split("."), self).array for name in self.names]
        results = self.steps(engine, [*weights, *(x.array for x in inputs)])
        return Tensor(results[0]) if self.structure is Tensor else self.structure(map(Tensor, results))


def from_torch(model: Any, x: Any) -> TorchModule:
    """A trained PyTorch model as a fastconv module, for use without PyTorch.

    Parameters
    ----------
    model : torch.nn.Module
        Stays as it is. It is traced in evaluation mode by ``torch.export``.
    x : torch.Tensor, or a tuple of the arguments
        An example with at least two images. The batch size of later inputs may be another one, if the model
        does not depend on it.

    Returns
    -------
    Module
        In evaluation mode, with copies of the weights under their names.

    Raises
    ------
    ImportError
        PyTorch is not installed.
    ValueError
        The model contains ops that fastconv's engine does not have; the message lists them.

    Examples
    --------
    >>> import torch
    >>> import fastconv as fc
    >>> from fastconv.interop.torch import from_torch
    >>> net = from_torch(torch.nn.Conv2d(3, 8, 3), torch.zeros(2, 3, 8, 8))
    >>> net(fc.zeros(5, 3, 8, 8)).shape
    (5, 8, 6, 6)
    """
    import torch
    from torch.export.graph_signature import InputKind

    arguments = x if isinstance(x, tuple) else (x,)
    batches = tuple({0: torch.export.Dim.AUTO} for _ in arguments)
    exported = torch.export.export(copy.deepcopy(model).eval(), arguments, dynamic_shapes=batches)
    known, tried = torch.export.default_decompositions(), set()
    while table := {op: known[op] for op in _unknown_ops(exported.graph) - tried if op in known}:
        exported = exported.run_decompositions(table)
        tried |= table.keys()
    fuse(exported.graph_module)
    steps = build(exported.graph, 0, ARRAY)
    if missing := {step.name for step in steps.steps if step.name and not step.on_engine}:
        raise ValueError(f"from_torch: the engine does not have {', '.join(sorted(missing))}")
    tensors = {**exported.state_dict, **exported.constants}
    kinds = exported.graph_signature.input_specs
    weights = {
        str(spec.target): tensors[str(spec.target)].detach().numpy().copy()
        for spec in kinds
        if spec.kind is not InputKind.USER_INPUT
    }
    return TorchModule(steps, weights, _result_type(exported)).eval()


def _unknown_ops(graph: Any) -> set[Any]:
    """The ops of PyTorch that are not in the tables; most are written with others that are."""
    return {n.target for n in graph.nodes if n.op == "call_function" and str(n.target) not in OPS}


def _result_type(exported: Any) -> type:
    """Whether the model returns a Tensor, a tuple or a list."""
    kind = exported.call_spec.out_spec.type
    return kind if kind in (tuple, list) else Tensor
