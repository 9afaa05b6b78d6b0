"""``fc.compile``: one name for what makes nets and training steps faster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

from .checks import check
from .inference import optimize_for_inference
from .nn import Module
from .optim import Optimizer
from .train import graphed


@overload
def compile(what: Module) -> Module: ...
@overload
def compile(what: Callable[..., Any], net: Module, optimizer: Optimizer) -> Callable[..., Any]: ...
def compile(what: Any, net: Module | None = None, optimizer: Optimizer | None = None) -> Any:
    """A faster form of a net in evaluation mode, or of a training step.

    ``compile(net)`` is :func:`fastconv.optimize_for_inference`, and ``compile(step, net, optimizer)`` is
    :func:`fastconv.train.graphed`. PyTorch compiles a net for both uses. Here a net for evaluation is a copy
    whose layers are merged, and a training step is recorded with its backward pass and its optimizer.

    Parameters
    ----------
    what : Module or callable ``(x, y) -> result``
        A net in evaluation mode, or a training step.
    net : Module
        For a step: the net that it trains.
    optimizer : Optimizer
        For a step: the optimizer whose ``step()`` it calls.

    Returns
    -------
    Module or callable
        A copy of the net, which computes no gradients; or the step.

    Raises
    ------
    TypeError
        ``what`` is no Module, and net and optimizer are not given.
    ValueError
        The net is in training mode.

    Examples
    --------
    >>> net = fc.models.lenet5().eval()
    >>> fc.compile(net)(fc.zeros(1, 1, 28, 28)).shape
    (1, 10)
    """
    step = "compile(step, net, optimizer) takes a training step"
    if isinstance(what, Module):
        alone = net is None and optimizer is None
        check(alone, "compile", f"net and optimizer belong to a step; {step}", TypeError)
        mode = "the net is in training mode; call net.eval() first, or give a training step"
        check(not what.training, "compile", f"{mode}: {step}")
        return optimize_for_inference(what)
    known = f"expected a Module or a function, got {type(what).__name__}"
    check(callable(what), "compile", known, TypeError)
    given = f"{step}, which changes the net by the optimizer; got {type(net).__name__}, "
    if not isinstance(net, Module) or not isinstance(optimizer, Optimizer):
        raise TypeError(f"compile: {given}{type(optimizer).__name__}")
    return graphed(what, net, optimizer)
