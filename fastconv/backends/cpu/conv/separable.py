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
from typing import NamedTuple

import numpy as np

from fastconv.backends import settings
from fastconv.spec import ConvSpec

from ..codegen import depthwise_tile, gemm_tile
from ..codegen.emitter import address, lanes
from ..codegen.gemm_tile import ONE_TAP
from ..codegen.jit import body, by_address, kernel, split_range
from ..codegen.record import make_record, record_type
from ..runtime import layout
from ..runtime.scratch import per_thread
from .activation import activate, activation_argument
from .depthwise_rows import fill_columns, fill_taps, output_row, plan, zeros
from .passes import L2, bias_argument, residual_offset, taps_inside
from .phases import forward_phases
from .weights import PANELS, Prepacked, panels, to_hwio

PIXELS = 56  # of a 1x1 layer that all panels of weights are applied to, one after the other
#: Output rows of a block, input rows of the ring, the distance of pixels in both in elements, and the
#: activation of each layer.
BLOCKS = record_type(rows=1, ring=1, pitch=1, expand=1, depthwise=1, project=1)


class Stage(NamedTuple):
    """A layer of the op: ``activation`` as in ``conv_fwd``."""

    weight: np.ndarray | Prepacked
    bias: np.ndarray | None
    spec: ConvSpec
    activation: str | tuple[str, float, float] | None


@body
def _pointwise(layer, source, pixels, target, columns, residual, activation):
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


@kernel
def _separable(thread, threads, blocks, x, expand, depthwise, project, y, residual, scratch):
    x_address, x_pitch, images, height, width = x
    run, weights, bias, blank_pixel, offsets, positions = depthwise
    columns, taps, kernel_rows, ring_rows, block_rows = scratch
    b, g, size = blocks[0], run[0], weights.itemsize
    oh, ow = g.out_size[1], g.out_size[2]
    step_h = g.in_stride[1]
    _, off_h, off_w = offsets
    middle, out_channels = weights.shape[2], y.shape[4]
    expands, projects = expand[0][0].count > 0, project[0][0].count > 0
    most = positions.size // g.taps * g.columns
    inner, border, filters = columns[thread, :most], columns[thread, most:], taps[thread]
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
                _pointwise(expand, at, rows * width, into, middle, 0, b.expand)
                held += rows
            source = ring
        to = (n * oh + j0) * ow * out_channels * size + address(y)
        for j in range(j0, j1):
            first, last = taps_inside(off_h, j * step_h, height)
            for t in range(first, last):
                lines[t - first] = (j * step_h + off_h[t]) % ring_size * width
            fill_columns(run, lines[: last - first], off_w, image, 0, 0, 0, inner)
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
                (inner, border),
                (filters, count),
                (0, middle),
                (block if projects else to) + (j - j0) * ow * block_pitch * size,
                block_pitch * size,
                (init, 0 if projects else residual, b.depthwise),
            )
        if projects:
            pixels, at, into = (j1 - j0) * ow, (block, block_pitch), (to, out_channels)
            _pointwise(project, at, pixels, into, out_channels, residual, b.project)
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
    rows, _, held = _sizes(expand, depthwise, project, np.dtype(dtype).itemsize, threads)
    return held <= L2


@lru_cache(1)
def _missing(dtype):
    """The arguments of a 1x1 layer that is not there."""
    return np.zeros(1, PANELS), np.empty(0, dtype), np.empty(0, dtype)


def _arguments(stage: Stage | None, dtype):
    if stage is None:
        return _missing(dtype)
    packed = panels(stage.weight, 1, (0,), False)
    return packed.record, packed.data, bias_argument(stage.bias, dtype)


def separable_fwd(
    x: np.ndarray,
    expand: tuple | None,
    depthwise: tuple,
    project: tuple | None,
    residual: np.ndarray | None,
) -> np.ndarray:
    """The forward pass of the layers (see the contract)."""
    first, last = (None if s is None else Stage(*s) for s in (expand, project))
    middle = Stage(*depthwise)
    spec, dtype, threads = middle.spec, x.dtype, settings.get_num_threads()
    y, y5 = layout.empty((last or middle).spec.y_shape, dtype)
    added, offset = residual_offset(residual, y5)
    specs = [s and s.spec for s in (first, middle, last)]
    rows, ring, _ = _sizes(*specs, dtype.itemsize, threads)
    pitch = -(-spec.c_in // lanes(dtype)) * lanes(dtype)  # whole vectors, which cross no line of memory
    phase = forward_phases(spec.as_3d())[0]
    run, positions, tables = plan(
        phase, depthwise_tile.forward_address, spec.batch, spec.c_in, dtype, threads
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
    by_address(x)
    _separable(
        blocks,
        (x.ctypes.data, x_pitch, spec.batch, *spec.in_size),
        _arguments(first, dtype),
        (
            run,
            to_hwio(middle.weight),
            bias_argument(middle.bias, dtype),
            zeros(spec.c_in, dtype),
            phase.offsets,
            positions,
        ),
        _arguments(last, dtype),
        y5,
        offset,
        tuple(per_thread(*tables, in_ring, in_block)),
    )
    return y
