"""A 1x1 layer, a depthwise layer and a 1x1 layer as one op, some output rows at a time.

This is the inverted residual of MobileNets (Sandler et al.: MobileNetV2, 2018). Between its layers there are
several times as many channels as before and behind, so computed layer by layer it sends most of its numbers
through memory and back. Here they stay in a thread's cache. Either 1x1 layer may be missing::

    threads: equal shares of the output rows of all images
      for each block of rows of one image
        expand     1x1 layer:  input rows that the block needs  ->  ring          (in L2)
        for each output row of the block
          depthwise layer:     rows of the ring                 ->  row of block  (in L1 or L2)
        project    1x1 layer:  block                            ->  y (+ residual, activation)

      input rows   0 1 2 3 4 5 6 7 ...          a block of 2 rows, 3x3 taps, ring of 4 rows:
      block 0      [- - -]                       rows 0 1 2        are in the ring at  0 1 2
      block 1          [- - - -]                 rows 1 2 3 4      ...                 1 2 3 0
      block 2              [- - - -]             rows 3 4 5 6      ...                 3 0 1 2

Every row of the ring is computed once, except those at the border between the rows of two threads.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod

import numpy as np

from fastconv.backends import settings
from fastconv.spec import ConvSpec

from ..codegen import depthwise_tile
from ..codegen.emitter import address, lanes
from ..codegen.jit import by_address, kernel, split_range
from ..codegen.record import make_record, record_type
from ..runtime import layout
from ..runtime.scratch import per_thread
from .activation import activation_argument
from .depthwise_rows import fill_columns, fill_taps, forget, output_row, plan, zeros
from .passes import L2, bias_argument, residual_offset, taps_inside
from .phases import forward_phases
from .pointwise import PIXELS, Layer, layer_arguments, pointwise
from .weights import to_hwio

#: Output rows of a block, input rows of the ring, the distance of pixels in both in elements, and the
#: activation of each layer.
BLOCKS = record_type(rows=1, ring=1, pitch=1, expand=1, depthwise=1, project=1)


@kernel
def _separable(thread, threads, blocks, x, expand, depthwise, project, y, residual, scratch):
    x_address, x_pitch, images, height, width = x
    run, weights, bias, blank_pixel, offsets, positions = depthwise
    columns, left, right, taps, kernel_rows, ring_rows, block_rows = scratch
    b, g, size = blocks[0], run[0], weights.itemsize
    oh, ow = g.out_size[1], g.out_size[2]
    step_h = g.in_stride[1]
    _, off_h, off_w = offsets
    middle, out_channels = weights.shape[2], y.shape[4]
    expands, projects = expand[0][0].count > 0, project[0][0].count > 0
    inner, borders, filters = columns[thread], (left[thread], right[thread]), taps[thread]
    lines = kernel_rows[thread]
    ring_pitch = b.pitch if expands else x_pitch
    image = width, ring_pitch * size, size
    block_pitch = b.pitch if projects else middle
    ring, block = address(ring_rows[thread]), address(block_rows[thread])
    ring_size = b.ring if expands else height
    blank = address(blank_pixel)
    init = address(bias) if bias.size else blank
    built, count = (-1, -1), 0
    in_ring, held = -1, 0  # the image whose rows are in the ring, and the row behind the last one
    row, end = split_range(thread, threads, images * oh)
    while row < end:
        n, j0 = row // oh, row % oh
        j1 = min(j0 + b.rows, oh, j0 + end - row)
        pixel = n * height * width
        source = x_address + pixel * x_pitch * size
        if expands:
            held = max(held if n == in_ring else 0, j0 * step_h + off_h[0])
            in_ring = n
            needed = min((j1 - 1) * step_h + off_h[off_h.size - 1] + 1, height)
            while held < needed:
                rows = min(needed - held, ring_size - held % ring_size)
                at = source + held * width * x_pitch * size, x_pitch
                into = ring + held % ring_size * width * ring_pitch * size, ring_pitch
                pointwise(expand, at, rows * width, into, middle, 0, b.expand)
                held += rows
            source = ring
        to = (n * oh + j0) * ow * out_channels * size + address(y)
        for j in range(j0, j1):
            first, last = taps_inside(off_h, j * step_h, height)
            for t in range(first, last):
                lines[t - first] = (j * step_h + off_h[t]) % ring_size * width
            fill_columns(run, lines[: last - first], off_w, image[1], inner)
            forget(borders)
            if (first, last) != built:
                built, step = (first, last), middle * size
                count = fill_taps(offsets, (0, 1, first, last), positions, address(weights), step, filters)
            output_row(
                run,
                lines[: last - first],
                off_w,
                image,
                source,
                blank,
                (inner, borders),
                (filters, count, middle * size),
                (0, middle),
                (block if projects else to) + (j - j0) * ow * block_pitch * size,
                block_pitch * size,
                (init, 0 if projects else residual, b.depthwise),
            )
        if projects:
            pixels, at, into = (j1 - j0) * ow, (block, block_pitch), (to, out_channels)
            pointwise(project, at, pixels, into, out_channels, residual, b.project)
        row += j1 - j0


@lru_cache(1024)
def _sizes(expand, depthwise: ConvSpec, project, itemsize: int, threads: int) -> tuple[int, int, int]:
    """Rows of a block, rows of the ring, and bytes of what a thread reads again and again."""
    (height, width), (out_height, out_width) = depthwise.in_size, depthwise.out_size
    step, middle = depthwise.stride[0], depthwise.c_in
    reach = (depthwise.kernel[0] - 1) * depthwise.dilation[0] + 1
    weights = sum(prod(s.w_shape) for s in (expand, depthwise, project) if s is not None) * itemsize

    def ring(rows: int) -> int:
        return min((rows - 1) * step + reach, height)

    def held(rows: int) -> int:
        numbers = ring(rows) * width * (expand is not None) + rows * out_width * (project is not None)
        return weights + numbers * middle * itemsize

    # A block has the pixels for which the 1x1 layers' weights are read once, in a share of the rows that is
    # the same for every thread.
    share = max(depthwise.batch * out_height // threads, 1)
    rows = min(-(-PIXELS // out_width), out_height, share)
    while rows > 1 and held(rows) > L2:
        rows -= 1
    return rows, ring(rows), held(rows)


def separable_pays(
    expand: ConvSpec | None, depthwise: ConvSpec, project: ConvSpec | None, dtype: np.dtype
) -> bool:
    """Whether :func:`separable_fwd` is the fastest way to compute such layers (see the contract)."""
    if depthwise.ndim != 2 or not depthwise.depthwise or depthwise.c_out != depthwise.c_in:
        return False
    if expand is None and project is None or not prod(depthwise.y_shape) or not prod(depthwise.x_shape):
        return False
    threads = settings.get_num_threads()
    return _sizes(expand, depthwise, project, np.dtype(dtype).itemsize, threads)[2] <= L2


def separable_fwd(
    x: np.ndarray,
    expand: tuple | None,
    depthwise: tuple,
    project: tuple | None,
    residual: np.ndarray | None,
) -> np.ndarray:
    """The forward pass of the layers (see the contract)."""
    first, last = (None if s is None else Layer(*s) for s in (expand, project))
    middle = Layer(*depthwise)
    spec, dtype, threads = middle.spec, x.dtype, settings.get_num_threads()
    y, y5 = layout.empty((last or middle).spec.y_shape, dtype)
    added, offset = residual_offset(residual, y5)
    specs = [s and s.spec for s in (first, middle, last)]
    rows, ring, _ = _sizes(*specs, dtype.itemsize, threads)
    pitch = -(-spec.c_in // lanes(dtype)) * lanes(dtype)  # whole vectors, which cross no line of memory
    phase = forward_phases(spec.as_3d())[0]
    run, positions, tables = plan(
        phase, depthwise_tile.forward_address, spec.batch, spec.c_in, 1, dtype, threads, False
    )
    activations = [s and activation_argument(s.activation, dtype) or 0 for s in (first, middle, last)]
    blocks = make_record(
        BLOCKS,
        rows=rows,
        ring=ring,
        pitch=pitch,
        expand=activations[0],
        depthwise=activations[1],
        project=activations[2],
    )
    in_ring = (ring * spec.in_size[1] * pitch if first else 0, dtype)
    in_block = (rows * spec.out_size[1] * pitch if last else 0, dtype)
    x, x_pitch = layout.pixels(x)
    by_address((x, added))
    _separable(
        blocks,
        (x.ctypes.data, x_pitch, spec.batch, *spec.in_size),
        layer_arguments(first, dtype),
        (
            run,
            to_hwio(middle.weight),
            bias_argument(middle.bias, dtype),
            zeros(spec.c_in, dtype),
            phase.offsets,
            positions,
        ),
        layer_arguments(last, dtype),
        y5,
        offset,
        tuple(per_thread(*tables, in_ring, in_block)),
    )
    return y
