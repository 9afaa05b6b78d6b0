"""Arrays that are joined along their channels, where the ops that compute them write to their places.

::

    empty                  an array of N x (a + b) x H x W without values
    result_into            an op writes channels 0 .. a of it
    result_into            another op writes channels a .. a + b
    concatenate_into       what is not there yet is copied

In channels-last memory the pixels of a slice of channels are further apart than their channels are many. The
kernels of :data:`WRITES_SLICES` and :data:`READS_SLICES` take that distance as a number (see
``layout.wide``). The result of any other op is copied to its place.
"""

from __future__ import annotations

import numpy as np

from fastconv import backends

from .runtime import layout
from .runtime.strided_copy import copy

#: Ops that write to a slice of channels as fast as to an array of their own.
WRITES_SLICES = frozenset(
    (
        "adaptive_avg_pool_fwd",
        "avg_pool_fwd",
        "batch_norm_fwd",
        "conv_fwd",
        "conv_transpose_fwd",
        "max_pool_values",
        "normed_conv_fwd",
    )
)
#: Ops that read a slice of channels as fast as an array that is dense.
READS_SLICES = frozenset(
    (
        "batch_norm_fwd",
        "concatenate",
        "conv_fwd",
        "conv_transpose_fwd",
        "gated_conv_fwd",
        "interleave",
        "max_pool_values",
        "normed_conv_fwd",
        "separable_fwd",
    )
)


def empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array without values (see the contract)."""
    return layout.empty(shape, dtype)[0]


def result_into(target: np.ndarray, channels: tuple[int, int], op: str, args: tuple) -> np.ndarray:
    """The result of an op as channels of ``target`` (see the contract)."""
    place = target[:, slice(*channels)]
    with layout.result_in(place):
        y = getattr(backends.load("cpu"), op)(*args)
    if y is not place:
        copy(place, y)
    return place


def concatenate_into(target: np.ndarray, channels: tuple[int, int], parts: tuple) -> np.ndarray:
    """Arrays joined as channels of ``target`` (see the contract)."""
    first, _ = channels
    for x in parts:
        place = target[:, first : first + x.shape[1]]
        first += x.shape[1]
        if (x.ctypes.data, x.strides) != (place.ctypes.data, place.strides):
            copy(place, x)
    return target[:, slice(*channels)]
