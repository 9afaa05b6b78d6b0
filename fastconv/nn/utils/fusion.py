"""Batch normalisation merged into the layer before it, for evaluation.

:func:`fastconv.optimize_for_inference` does this, and more, for a whole net.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from fastconv.checks import check
from fastconv.nn.module import Module
from fastconv.nn.parameter import Parameter
from fastconv.tape import no_grad

M = TypeVar("M", bound=Module)


@no_grad()
def _fused(name: str, layer: M, bn: Any, channel_axis: int) -> M:
    check(
        not (layer.training or bn.training),
        name,
        "layers can be fused for evaluation only; call eval() first",
        RuntimeError,
    )
    check(
        bn.running_mean is not None and bn.running_var is not None,
        name,
        "the BatchNorm has no running statistics (track_running_stats=False), so it cannot be fused",
    )
    fused: Any = copy.deepcopy(layer)
    weight: Any = fused.weight
    scale: Any = (bn.running_var + bn.eps) ** -0.5
    scale = scale if bn.weight is None else scale * bn.weight
    check(
        scale.shape == (weight.shape[channel_axis] * (fused.groups if channel_axis else 1),),
        name,
        f"the layer has {weight.shape[channel_axis]} outputs, and the BatchNorm {scale.shape[0]}",
    )
    shape = [1] * weight.ndim
    shape[channel_axis] = -1
    before: Any = 0.0 if fused.bias is None else fused.bias
    bias: Any = (before - bn.running_mean) * scale
    bias = bias if bn.bias is None else bias + bn.bias
    trained = weight.requires_grad, fused.bias is None or fused.bias.requires_grad
    fused.weight = Parameter((weight * scale.reshape(*shape)).astype(weight.dtype), trained[0])
    fused.bias = Parameter(bias.astype(weight.dtype), trained[1])
    return fused


def fuse_conv_bn_eval(conv: M, bn: Module, transpose: bool = False) -> M:
    """A copy of ``conv`` with other parameters that computes ``bn(conv(x))``.

    Parameters
    ----------
    conv : convolution in evaluation mode
    bn : BatchNorm in evaluation mode, with running statistics
    transpose : bool
        Whether ``conv`` is a transposed convolution, whose weight has the outputs in its second dimension. It
        must have ``groups=1``.

    Raises
    ------
    RuntimeError
        If one of the layers is in training mode.
    ValueError
        If the numbers of channels differ, or ``bn`` has no running statistics.

    Examples
    --------
    >>> conv, bn = nn.Conv2d(1, 4, 3, bias=False).eval(), nn.BatchNorm2d(4).eval()
    >>> nn.utils.fuse_conv_bn_eval(conv, bn).bias.shape
    (4,)
    """
    grouped = transpose and getattr(conv, "groups", 1) > 1
    check(not grouped, "fuse_conv_bn_eval", "a transposed convolution must have groups=1")
    return _fused("fuse_conv_bn_eval", conv, bn, 1 if transpose else 0)


def fuse_linear_bn_eval(linear: M, bn: Module) -> M:
    """A copy of the dense layer ``linear`` that computes ``bn(linear(x))``, as :func:`fuse_conv_bn_eval`."""
    return _fused("fuse_linear_bn_eval", linear, bn, 0)
