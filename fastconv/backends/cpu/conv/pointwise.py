"""1x1 layers of pixels that a thread has in its cache, for kernels that compute several layers at once.

::

    for each 56 pixels
      for each panel of 16 or 32 output channels
        tile: 14 pixels x the panel, sum over input channels, + bias (+ residual), activation
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from fastconv.spec import ConvSpec

from ..codegen import gemm_tile
from ..codegen.emitter import address
from ..codegen.gemm_tile import ONE_TAP
from ..codegen.jit import body
from .activation import activate
from .passes import bias_argument
from .weights import PANELS, Prepacked, panels

PIXELS = 56  # that all panels of weights are applied to, one after the other


class Layer(NamedTuple):
    """A layer of an op that computes several: ``activation`` as in ``conv_fwd``."""

    weight: np.ndarray | Prepacked
    bias: np.ndarray | None
    spec: ConvSpec
    activation: str | tuple[str, float, float] | None


@body
def pointwise(layer, source, pixels, target, columns, residual, activation):
    """A 1x1 layer of ``pixels`` pixels: ``layer`` is its panels and its bias, ``source`` and ``target`` are
    the address of the first pixel and the pitch of the pixels in elements."""
    x, x_pitch = source
    y, y_pitch = target
    panel_layout, weights, bias = layer
    p, size = panel_layout[0], weights.itemsize
    one_tap = address(ONE_TAP)
    for first in range(0, pixels, PIXELS):
        count = min(PIXELS, pixels - first)
        for panel in range(p.count):
            k = panel * p.width
            used = min(p.width, columns - k)
            to = y + (first * y_pitch + k) * size
            init = address(bias) + k * size if bias.size else 0
            added = to + residual if residual else 0
            gemm_tile.tile(
                p.tile,
                count,
                a=x + first * x_pitch * size,
                a_row=x_pitch,
                a_step=1,
                ta=one_tap,
                b=address(weights) + panel * p.panel_step * size,
                b_step=p.row_step,
                tb=one_tap,
                taps=1,
                depth=p.depth,
                c=to,
                c_row=y_pitch,
                init=init,
                init_row=0,
                cols=used,
                added=added,
                activation=activation,
            )
            activate(activation, to, count, y_pitch * size, used)


@lru_cache
def _missing(dtype):
    """The arguments of a 1x1 layer that is not there."""
    return np.zeros(1, PANELS), np.empty(0, dtype), np.empty(0, dtype)


def layer_arguments(layer: Layer | None, dtype):
    """The panels and the bias of a 1x1 layer, as :func:`pointwise` takes them; no panels for None."""
    if layer is None:
        return _missing(dtype)
    packed = panels(layer.weight, 1, (0,), False)
    return packed.record, packed.data, bias_argument(layer.bias, dtype)
