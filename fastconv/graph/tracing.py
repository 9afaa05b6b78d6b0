"""The program of a network: ``trace``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import variable
from ..checks import check
from ..nn import Module
from ..typing import TensorLike
from .capture import capture
from .passes.rewriting import needed
from .program import Program
from .values import values_in


def trace(net: Callable[..., Any], *inputs: TensorLike) -> Program:
    """What ``net`` computes from inputs of these shapes, as a :class:`Program`.

    ``net`` runs once, and what it asks of the engine is noted. So Python code in it (loops, branches) is in
    the program as it ran now. Capture is described in ``docs/graphs.md``.

    Parameters
    ----------
    net : Module or function
        A Module in evaluation mode, or a function of Tensors. It returns Tensors, or tuples, lists and dicts
        of Tensors.
    *inputs : Tensor or array
        Their values do not matter.

    Returns
    -------
    Program
        It prints as a table, runs on every engine, and can be saved. The constants have the names of the
        net's parameters and buffers, and share their memory.

    Raises
    ------
    CannotCapture
        The net does what a program cannot repeat, such as a branch on the values of a tensor. The message
        says what, and in which line.
    ValueError
        The net is in training mode.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()).eval()
    >>> program = fc.graph.trace(net, fc.zeros(2, 1, 8, 8))
    >>> [call.op for call in program.calls]
    ['conv_fwd', 'unary_fwd']
    >>> program(fc.rand(2, 1, 8, 8)).shape
    (2, 4, 6, 6)
    """
    check(callable(net), "trace", f"expected a Module or a function, got {type(net).__name__}", TypeError)
    is_module = isinstance(net, Module)
    if isinstance(net, Module):
        training = [name or type(net).__name__ for name, m in net.named_modules() if m.training]
        check(not training, "trace", f"{', '.join(training[:3])} is in training mode; call net.eval() first")
    tensors = [variable.argument("trace", f"input {i}", x) for i, x in enumerate(inputs)]
    program = needed(capture(net, [x.array for x in tensors])[0])
    names: dict[int, str] = {}
    if is_module:
        names = {id(t.array): name for name, t in (*net.named_buffers(), *net.named_parameters())}
    for part in (*(call.args for call in program.calls), program.output):
        for v in values_in(part):
            v.name = names.get(id(v.constant), "")
    for call in program.calls:
        call.caller = None  # a program does not keep the net
    return program
