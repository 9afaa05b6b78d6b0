"""A program as a Module."""

from __future__ import annotations

from typing import Any

from .. import variable
from ..nn import Module
from .program import Program
from .values import Call, Value, replaced, values_in


class GraphModule(Module):
    """A network that computes what a program computes.

    The constants of the program are its buffers, with their names, so that ``state_dict``, ``to`` and
    :func:`fastconv.optimize_for_inference` work as with any net. It has no parameters, and is in evaluation
    mode.

    Parameters
    ----------
    program : Program
        As :func:`fastconv.graph.trace` or :func:`fastconv.graph.load` returns it.

    Examples
    --------
    >>> program = fc.graph.trace(nn.Linear(3, 2).eval(), fc.zeros(4, 3))
    >>> net = fc.graph.GraphModule(program)
    >>> sorted(net.state_dict())
    ['bias', 'weight']
    >>> fc.optimize_for_inference(net)(fc.zeros(4, 3)).shape
    (4, 2)
    """

    program: Program

    def __init__(self, program: Program) -> None:
        super().__init__()
        constants = dict.fromkeys(
            v
            for part in (*(call.args for call in program.calls), program.output)
            for v in values_in(part)
            if v.constant is not None
        )
        inputs = {v: Value(v.shape, v.dtype, name=v.name) for v in constants}
        self._places: list[tuple[Module, str]] = []
        taken: set[str] = set()
        for i, v in enumerate(constants):
            name = v.name or f"constant_{i}"
            while name in taken:
                name += "_"
            taken.add(name)
            self._places.append(self._add(name, variable.tensor_class(v.constant)))

        def open_(structure: Any) -> Any:
            return replaced(structure, lambda v: inputs.get(v, v))

        calls = [Call(call.op, open_(call.args), call.result) for call in program.calls]
        # The program gets the buffers as inputs, so that a change of them takes effect.
        self.program = Program([*program.inputs, *inputs.values()], calls, open_(program.output))
        self.eval()

    def _add(self, name: str, tensor: Any) -> tuple[Module, str]:
        """A new buffer with this dotted name: its module and its name there."""
        module: Module = self
        *path, last = name.split(".")
        for part in path:
            if part not in dict(module.named_children()):
                setattr(module, part, Module())
            module = getattr(module, part)
        module.register_buffer(last, tensor)
        return module, last

    def forward(self, *inputs: Any) -> Any:
        """What the program computes."""
        return self.program(*inputs, *[getattr(module, name) for module, name in self._places])
