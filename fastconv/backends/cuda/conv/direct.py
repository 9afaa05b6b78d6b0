"""Direct convolution: sums over the taps in place, without tensor cores; takes every case.

It suits few channels and float64. Forward and backward-data: a thread owns a pixel and 4, 8 or 16 output
channels, which share every number read from x::

    block: 256 pixels, up to 16 output channels of a group
      for each slab of w: 32 lines (tap, channel)
        copy it to shared memory
        for each line
          for each output channel          sums[n] += x[pixel + tap, channel] * w[line, n]
      add bias and residual, apply ReLU, write

            output channels
           +------------+
    tap,   | slab of w  |  in shared memory, read by all threads at once (a broadcast)
    channel+------------+
    pixel 0| sums of thread 0
    pixel 1| sums of thread 1      neighbouring threads read neighbouring pixels of x
     ...

Backward-weight: a thread owns one number of gw and walks a part of the pixels. Neighbouring threads have
neighbouring output channels. ``epilogue.add_parts`` adds the parts.
"""

from __future__ import annotations

import functools

import numpy as np

from ..codegen import ptx
from ..runtime import memory
from ..runtime.array import DeviceArray
from ..runtime.launch import SIMULATED, THREADS, cuda, kernel, launch
from . import cost, epilogue
from .epilogue import BIAS, RELU, RESIDUAL, clip
from .geometry import Phase, first_tap, input_pixel, is_inside, output_pixel, position, read_geometry

SLAB = 16 if SIMULATED else 32  # lines of w in shared memory


@functools.cache
def _gather_kernel(real, k_major_w, each):
    """Forward and backward-data; ``each`` output channels per thread."""
    zero, threads, slab, size = real(0), THREADS, SLAB, SLAB * each
    pointer, load4 = ptx.pointer, ptx.load4

    def direct(x, w, bias, residual, y, flags, geometry):
        weights = pointer(cuda.shared.array(size, real))
        g = read_geometry(geometry)
        pixels, out_channels, lines = np.int32(g.pixels), np.int32(g.out_channels), np.int32(g.k_size)
        # one axis of the grid, because the other two end at 65,535
        pixel_blocks, channel_blocks = (pixels + threads - 1) // threads, (out_channels + each - 1) // each
        block = np.int32(cuda.blockIdx.x)
        line = np.int32(block // pixel_blocks)
        group = np.int32(line // channel_blocks)
        thread, left = np.int32(cuda.threadIdx.x), np.int32((line - group * channel_blocks) * each)
        m = np.int32((block - line * pixel_blocks) * threads + thread)
        in_channels, taps_h, taps_w = np.int32(g.in_channels), np.int32(g.taps_h), np.int32(g.taps_w)
        step_d, step_h, step_w = np.int32(g.tap_step_d), np.int32(g.tap_step_h), np.int32(g.tap_step_w)
        place = position(m, g)
        first = first_tap(place, g)
        # where the next number of x is, and the way to the next tap, row of taps and plane of taps
        at = input_pixel(place[0], first, g) * g.x_pitch + group * in_channels
        next_w, next_h = step_w * g.x_pitch, step_h * g.size_w * g.x_pitch
        next_d = step_d * g.size_h * g.size_w * g.x_pitch - taps_h * next_h
        next_h, next_w = next_h - taps_w * next_w, next_w - in_channels
        sums = cuda.local.array(each, real)
        for q in range(each):
            sums[q] = zero
        c, tap_w, tap_h, tap_d = np.int32(0), np.int32(0), np.int32(0), np.int32(0)
        inside = m < pixels and is_inside(first[0], g.size_d)
        inside = inside and is_inside(first[1], g.size_h) and is_inside(first[2], g.size_w)
        for start in range(0, lines, slab):
            cuda.syncthreads()
            for e in range(thread, size, threads):
                line, n = np.int32(start + e // each), left + e % each
                value = zero
                if line < lines and n < out_channels:
                    g = read_geometry(geometry)  # again, so that the numbers take no registers until here
                    if k_major_w:
                        tap = np.int32(line // in_channels)
                        row = np.int32(tap // taps_w)
                        plane = np.int32(row // taps_h)
                        kernel_at = g.kernel_first + plane * g.kernel_step_d
                        kernel_at += (row - plane * taps_h) * g.kernel_step_h
                        kernel_at += (tap - row * taps_w) * g.kernel_step_w
                        channel = line - tap * in_channels
                        value = w[group * g.w_group + kernel_at * g.w_tap + n * g.w_row + channel]
                    else:
                        value = w[group * g.w_group + line * g.w_row + n]
                weights[e] = value
            cuda.syncthreads()
            for line in range(0, min(slab, lines - start) * each, each):
                if inside:
                    value = x[at]
                    for n in range(0, each, 4):
                        u = load4(weights, line + n)
                        for q in range(4):
                            sums[n + q] += value * u[q]
                at += 1
                c = np.int32(c + 1)
                if c == in_channels:
                    at += next_w
                    c, tap_w = np.int32(0), np.int32(tap_w + 1)
                    if tap_w == taps_w:
                        at += next_h
                        tap_w, tap_h = np.int32(0), np.int32(tap_h + 1)
                        if tap_h == taps_h:
                            at += next_d
                            tap_h, tap_d = np.int32(0), np.int32(tap_d + 1)
                    inside = (
                        m < pixels
                        and is_inside(first[0] + tap_d * step_d, g.size_d)
                        and is_inside(first[1] + tap_h * step_h, g.size_h)
                    )
                    inside = inside and is_inside(first[2] + tap_w * step_w, g.size_w)
        if m < pixels:
            g = read_geometry(geometry)
            to = output_pixel(place, g) * g.y_pitch + group * out_channels + left
            for n in range(each):
                if left + n < out_channels:
                    value = sums[n]
                    if flags & BIAS:
                        value += bias[group * out_channels + left + n]
                    if flags & RESIDUAL:
                        value += residual[to + n]
                    y[to + n] = clip(value) if flags & RELU else value

    return kernel(direct, launch_bounds=(THREADS, 2))  # 128 registers each


@functools.cache
def _weight_kernel(real):
    zero = real(0)

    def direct_weight(x, gy, gw, split_k, geometry):
        g = read_geometry(geometry)
        out_channels, in_channels = np.int32(g.out_channels), np.int32(g.in_channels)
        numbers = g.k_size * g.y_pitch
        size_d, size_h, size_w = np.int32(g.size_d), np.int32(g.size_h), np.int32(g.size_w)
        i = np.int64(cuda.grid(1))
        if i < numbers:
            row = np.int32(i // g.y_pitch)
            n = np.int32(i - row * g.y_pitch)
            tap = row // in_channels
            c = row - tap * in_channels + n // out_channels * in_channels
            from_w = tap % g.taps_w * g.tap_step_w
            from_h = tap // g.taps_w % g.taps_h * g.tap_step_h
            from_d = tap // g.taps_w // g.taps_h * g.tap_step_d
            total, split = zero, np.int64(cuda.blockIdx.y)
            for m in range(split * g.pixels // split_k, (split + 1) * g.pixels // split_k):
                at = position(m, g)
                first = first_tap(at, g)
                tap_d, tap_h, tap_w = from_d + first[0], from_h + first[1], from_w + first[2]
                if 0 <= tap_d < size_d and 0 <= tap_h < size_h and 0 <= tap_w < size_w:
                    pixel = input_pixel(at[0], (tap_d, tap_h, tap_w), g)
                    total += x[pixel * g.x_pitch + c] * gy[m * g.y_pitch + n]
            gw[split * numbers + i] = total

    return kernel(direct_weight)


# ------------------------------------------------------------------------------------------------- launches
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
            out_channels = phase.channels[1]
            each = cost.outputs_per_thread(out_channels)
            blocks = -(-phase.pixels // THREADS) * -(-out_channels // each) * phase.spec.groups
            kernel = _gather_kernel(real, phase.is_dgrad, each)
            launch(kernel, blocks, THREADS, x, w, bias, residual, y, flags, phase.table)


def run_weight(phase: Phase, x: DeviceArray, gy: DeviceArray, gw: DeviceArray) -> None:
    """The weight gradient; arguments as for ``implicit_gemm_weight.run``."""
    blocks = -(-gw.size // THREADS)
    split_k = max(1, min(8 * cost.PROCESSORS // blocks, phase.pixels // 32, 256))
    target = gw if split_k == 1 else memory.empty((split_k, *gw.shape), gw.dtype)
    kernel = _weight_kernel(x.dtype.type)
    launch(kernel, (blocks, split_k), THREADS, x, gy, target, split_k, phase.table)
    if split_k > 1:
        epilogue.add_parts(target, gw, split_k)
