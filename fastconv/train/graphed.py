"""A user's own training step, recorded and replayed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from .. import nn, optim
from ..creation import as_tensor
from ..tensor import Tensor
from .metrics import device_of
from .recorded_step import RecordedStep

R = TypeVar("R")


def graphed(
    step: Callable[[Tensor, Tensor], R], net: nn.Module, optimizer: optim.Optimizer
) -> Callable[[Any, Any], R]:
    """A training step of which only the kernels run: on a GPU as one CUDA graph, on the CPU one by one.

    The first two calls with batches of a shape run as usual, the third is recorded, and it and all that
    follow are replayed, without Python. Batches of other shapes run as usual. A change of the net or of the
    optimizer's options is noticed, and the step recorded again; learning rates may change at any time. With
    the ``numpy`` backend the step always runs as usual.

    Parameters
    ----------
    step : callable ``(x, y) -> result``
        All of a step: forward pass, backward pass, ``optimizer.zero_grad()`` and ``optimizer.step()``. It may
        return Tensors, in any structure. It must not read values (``.item()``), and what Python decides in it
        is decided once.
    net : Module
        The net whose parameters and buffers the step changes.
    optimizer : Optimizer

    Returns
    -------
    callable ``(x, y) -> result``
        It takes arrays and Tensors, which it moves to the net's device. The Tensors of its result belong to
        the graph: the next call writes to them, so ``clone()`` what you keep.

    Warns
    -----
    UserWarning
        If the step cannot be recorded; then every call runs as usual.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> net = fc.nn.Linear(4, 3)
    >>> optimizer = fc.optim.SGD(net.parameters(), lr=0.1)
    >>> def step(x, y):
    ...     optimizer.zero_grad()
    ...     loss = fc.nn.functional.cross_entropy(net(x), y)
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss
    >>> fast = fc.train.graphed(step, net, optimizer)
    >>> losses = [fast(np.ones((2, 4), np.float32), np.array([0, 2])).item() for _ in range(5)]
    >>> losses == sorted(losses, reverse=True)
    True
    """
    recorded = RecordedStep(net, optimizer, step, True, "graphed")

    def call(x: Any, y: Any) -> R:
        device = device_of(net)
        x, y = as_tensor(x).to(device), as_tensor(y).to(device)
        recorded.check()
        result = recorded.step(x, y)
        return step(x, y) if result is None else result

    return call
