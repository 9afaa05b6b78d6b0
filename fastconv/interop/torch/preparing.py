"""Weights arranged once."""

from __future__ import annotations

from typing import Any


def prepare(model: Any) -> Any:
    """Put the weights of convolutions into the engine's order of memory.

    Values and shapes stay; only strides change. Then a training step with ``backend="fastconv"`` rearranges
    neither weights nor their gradients. Call it before the optimizer is made, because the optimizer's state
    takes over the order.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place.

    Returns
    -------
    torch.nn.Module
        ``model``.

    Examples
    --------
    >>> import torch
    >>> from fastconv.interop.torch import prepare
    >>> prepare(torch.nn.Conv2d(3, 8, 5)).weight.stride()
    (1, 8, 120, 24)
    """
    for module in model.modules():
        weight, kernel = getattr(module, "weight", None), getattr(module, "kernel_size", None)
        if weight is None or kernel is None or weight.ndim != len(kernel) + 2:
            continue  # no convolution
        n = weight.ndim
        dense = weight.data.permute(*range(2, n), 1, 0).contiguous()
        weight.data = dense.permute(n - 1, n - 2, *range(n - 2))
    return model
