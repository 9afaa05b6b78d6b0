"""Depthwise layers and other groups of few channels: a thread computes one number of the result.

::

    thread: one pixel and one output channel; neighbouring threads have neighbouring channels of a pixel
      for each plane, row and column of taps inside the image
        for each input channel of the group          sum += x[pixel + tap, channel] * w[tap, channel, n]
      add bias and residual, apply ReLU, write

So x, w and y are read and written in runs, although a group has few numbers next to each other. The weight
gradient is that of ``direct.py``, in which a thread computes one number too.
"""

from __future__ import annotations

import functools

import numpy as np

from ..runtime.array import DeviceArray
from ..runtime.launch import cuda, grid, kernel, launch
from . import epilogue
from .epilogue import BIAS, RELU, RESIDUAL, clip
from .geometry import AT, Phase, output_pixel, position, read_geometry


@functools.cache
def _kernel(real, k_major_w):
    zero = real(0)

    def depthwise(x, w, bias, residual, y, flags, g):
        # Numbers are loaded where they are used, because a whole record takes twice the registers here.
        pixels, y_pitch = np.int32(g[AT.pixels]), g[AT.y_pitch]
        out_channels, in_channels = np.int32(g[AT.out_channels]), np.int32(g[AT.in_channels])
        size_d, size_h = np.int32(g[AT.size_d]), np.int32(g[AT.size_h])
        size_w, x_pitch = np.int32(g[AT.size_w]), g[AT.x_pitch]
        for i in range(cuda.grid(1), pixels * y_pitch, cuda.gridsize(1)):
            m = np.int32(i // y_pitch)
            channel = np.int32(i - m * y_pitch)
            group = channel // out_channels
            n = channel - group * out_channels
            place = position(m, read_geometry(g))
            image, plane, row, column = place
            total = zero
            for tap_d in range(g[AT.taps_d]):
                for tap_h in range(g[AT.taps_h]):
                    for tap_w in range(g[AT.taps_w]):
                        d = plane * g[AT.stride_d] + g[AT.offset_d] + tap_d * g[AT.tap_step_d]
                        h = row * g[AT.stride_h] + g[AT.offset_h] + tap_h * g[AT.tap_step_h]
                        v = column * g[AT.stride_w] + g[AT.offset_w] + tap_w * g[AT.tap_step_w]
                        if 0 <= d < size_d and 0 <= h < size_h and 0 <= v < size_w:
                            pixel = ((image * size_d + d) * size_h + h) * size_w + v
                            source = pixel * x_pitch + group * in_channels
                            tap = g[AT.kernel_first] + tap_d * g[AT.kernel_step_d]
                            tap += tap_h * g[AT.kernel_step_h] + tap_w * g[AT.kernel_step_w]
                            at = group * g[AT.w_group] + (
                                tap * g[AT.w_tap] + n * g[AT.w_row]
                                if k_major_w
                                else tap * in_channels * g[AT.w_row] + n
                            )
                            for c in range(in_channels):
                                total += x[source + c] * w[at + (c if k_major_w else c * g[AT.w_row])]
            to = output_pixel(place, read_geometry(g)) * y_pitch + channel
            if flags & BIAS:
                total += bias[channel]
            if flags & RESIDUAL:
                total += residual[to]
            y[to] = clip(total) if flags & RELU else total

    return kernel(depthwise)


def run(
    phases: list[Phase],
    x: DeviceArray,
    w: DeviceArray,
    y: DeviceArray,
    bias: DeviceArray | None = None,
    residual: DeviceArray | None = None,
    relu: bool = False,
) -> None:
    """Run phases of forward or backward-data; arguments as for ``implicit_gemm.run``."""
    flags, real = epilogue.flags_of(bias, residual, relu), x.dtype.type
    bias, residual = y if bias is None else bias, y if residual is None else residual
    for phase in phases:
        if phase.taps:
            numbers = grid(phase.pixels * y.shape[-1])
            launch(_kernel(real, phase.is_dgrad), *numbers, x, w, bias, residual, y, flags, phase.table)
