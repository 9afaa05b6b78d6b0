"""Where a convolution reads and writes: its phases, and the numbers that kernels read of a phase.

A pass is a list of phases (``backends/common/conv_phases.py``). A phase is one loop over output positions and
taps. ``Geometry`` names the numbers of a phase that kernels need. They lie in device memory, once per phase,
and a kernel reads them as a record::

    table = phase.table                 on the host: an array of int64 on the device, made once
    g = read_geometry(geometry)         in a kernel: g.pixels, g.in_channels, ...; only used fields are loaded

The device functions below lead from the number of an output position to the pixels it reads and writes::

    m --position--> image, plane, row, column --first_tap--> plane, row, column of the input under tap 0
                                              --output_pixel--> number of the pixel in memory

Weights lie in memory as ``*kernel, C/groups, K``, whatever order they come in.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np

from fastconv.backends.common.conv_phases import Axes, backward_axes, forward_axes
from fastconv.checks import shape_str
from fastconv.spec import ConvSpec

from ..codegen import ptx
from ..runtime import layout, memory
from ..runtime.array import DeviceArray
from ..runtime.launch import body

# Kernels number the pixels of a batch in 32 bits, with those between taps and tiles behind its end. Tests
# lower the limit.
PIXELS = 2**31
MARGIN = 1 << 12  # pixels of a tile at most

# Bits of a mask of taps: one for each row, column and plane of taps. A number of 32 bits holds them.
MASK_BITS = 30


def too_many_pixels(spec: ConvSpec) -> str | None:
    """Why kernels cannot number the pixels of a ConvSpec, or None."""
    steps = [d * k + s for d, k, s in zip(spec.dilation, spec.kernel, spec.stride)]
    for what, size in (("input", spec.in_size), ("output", spec.out_size)):
        reach = sum(step * prod(size[i + 1 :]) for i, step in enumerate(steps))
        if spec.batch * prod(size) + reach + MARGIN > PIXELS:
            return (
                f"pixels are numbered in 32 bits, and the {what} has {spec.batch * prod(size)} in all "
                f"({shape_str((spec.batch, *size))}); use smaller batches or images"
            )
    return None


# ------------------------------------------------------------------------------------------------- the record
class Geometry(NamedTuple):
    """What kernels read of a phase, all as int64. Three axes: d (planes), h (rows), w (columns)."""

    pixels: int  #: output positions of the batch
    out_channels: int  #: of a group
    k_size: int  #: what is summed over: taps times in_channels
    in_channels: int  #: of a group
    x_pitch: int  #: elements from pixel to pixel, of the input
    y_pitch: int  #: of the output
    w_row: int  #: elements of w from line to line (forward: of input channels)
    w_tap: int  #: from tap to tap
    w_group: int  #: from group to group
    y_size: int  #: elements of the output
    size_d: int  #: the input
    size_h: int
    size_w: int
    count_d: int  #: output positions
    count_h: int
    count_w: int
    taps_d: int
    taps_h: int
    taps_w: int
    tap_step_d: int  #: input pixels along the axis from tap to tap
    tap_step_h: int
    tap_step_w: int
    kernel_first: int  #: kernel position of tap 0
    kernel_step_d: int  #: kernel positions from tap to tap
    kernel_step_h: int
    kernel_step_w: int
    stride_d: int  #: input pixels along the axis from output position to output position
    stride_h: int
    stride_w: int
    offset_d: int  #: input pixel of output position 0 and tap 0
    offset_h: int
    offset_w: int
    magic_w: int  #: see :func:`magic`: division by count_w
    shift_w: int
    magic_h: int
    shift_h: int
    magic_d: int
    shift_d: int
    out_size_d: int  #: the output
    out_size_h: int
    out_size_w: int
    out_stride_d: int  #: output pixels along the axis from output position to output position
    out_stride_h: int
    out_stride_w: int
    out_offset_d: int  #: output pixel of output position 0
    out_offset_h: int
    out_offset_w: int


#: Place of each number in the table, for a kernel that loads numbers where it uses them: ``g[AT.pixels]``.
AT = Geometry._make(range(len(Geometry._fields)))


def magic(d: int) -> tuple[int, int]:
    """Multiplier and shift by which kernels divide numbers below 2^31 by ``d`` (see :func:`divide`).

    Source: T. Granlund and P. L. Montgomery, "Division by invariant integers using multiplication", 1994.
    """
    shift = 31 + max(d - 1, 0).bit_length()
    return -(-(1 << shift) // d), shift


# ------------------------------------------------------------------------------------------------- phases
@dataclass(frozen=True)
class Phase:
    """One loop over taps of a ConvSpec with three spatial dimensions.

    Attributes
    ----------
    spec : ConvSpec
    axes : tuple of PhaseAxis
    is_dgrad : bool
        Whether the phase leads from gy to gx, with input and output channels exchanged.
    kernel : tuple of int
        Taps of the array of weights that the phase reads.
    """

    spec: ConvSpec
    axes: Axes
    is_dgrad: bool
    kernel: tuple[int, ...]

    @property
    def taps(self) -> int:
        return prod(axis.taps for axis in self.axes)

    @property
    def pixels(self) -> int:
        return self.spec.batch * prod(axis.positions for axis in self.axes)

    @property
    def dense(self) -> bool:
        """Whether output positions are the pixels of the output in their order, without gaps."""
        out = self.spec.in_size if self.is_dgrad else self.spec.out_size
        return all(axis.positions == n for axis, n in zip(self.axes, out))

    @property
    def channels(self) -> tuple[int, int]:
        """Channels of a group: those that are summed over, and those of the result."""
        c_in, c_out = self.spec.c_in // self.spec.groups, self.spec.c_out // self.spec.groups
        return (c_out, c_in) if self.is_dgrad else (c_in, c_out)

    @cached_property
    def table(self) -> DeviceArray:
        """The numbers of :class:`Geometry`, on the device."""
        spec, axes = self.spec, self.axes
        in_channels, out_channels = self.channels
        in_size, out_size = (spec.out_size, spec.in_size) if self.is_dgrad else (spec.in_size, spec.out_size)
        if self.is_dgrad:
            w_row, w_tap, w_group = spec.c_out, spec.c_out * out_channels, in_channels
        else:
            w_row, w_tap, w_group = spec.c_out, spec.c_out * in_channels, out_channels
        kernel_steps = self.kernel[1] * self.kernel[2], self.kernel[2], 1
        y_pitch = out_channels * spec.groups
        numbers = (
            self.pixels,
            out_channels,
            self.taps * in_channels,
            in_channels,
            in_channels * spec.groups,
            y_pitch,
            w_row,
            w_tap,
            w_group,
            spec.batch * prod(out_size) * y_pitch,
            *in_size,
            *(a.positions for a in axes),
            *(a.taps for a in axes),
            *(a.offset_step for a in axes),
            sum(a.position * s for a, s in zip(axes, kernel_steps)),
            *(a.position_step * s for a, s in zip(axes, kernel_steps)),
            *(a.in_stride for a in axes),
            *(a.offset for a in axes),
            *magic(axes[2].positions),
            *magic(axes[1].positions),
            *magic(axes[0].positions),
            *out_size,
            *(a.out_stride for a in axes),
            *(a.out_offset for a in axes),
        )
        return memory.upload(np.array(Geometry._make(numbers), np.int64))

    @cached_property
    def tap_blocks(self) -> list[TapBlock]:
        """The phase as a sum over blocks of taps, each of so few that a mask holds them."""
        limits = [a.taps for a in self.axes]
        while sum(limits) > MASK_BITS:
            widest = limits.index(max(limits))
            limits[widest] = -(-limits[widest] // 2)
        firsts = product(*(range(0, a.taps, n) for a, n in zip(self.axes, limits)))
        return [self._block(first, limits) for first in firsts]

    def _block(self, first, limits) -> TapBlock:
        axes, places = [], []
        for a, t, limit in zip(self.axes, first, limits):
            taps = min(limit, a.taps - t)
            offset = a.offset + a.offset_step * t
            axes.append(a._replace(taps=taps, offset=offset, position=0, position_step=1))
            places.append((a.position + a.position_step * t, a.position_step))
        kernel = tuple(a.taps for a in axes)
        return TapBlock(Phase(self.spec, tuple(axes), self.is_dgrad, kernel), tuple(places))


class TapBlock(NamedTuple):
    """Some taps of a phase, as a phase that reads weights of its own."""

    phase: Phase
    places: tuple[
        tuple[int, int], ...
    ]  #: per axis: kernel position of the first tap, positions from tap to tap

    def of(self, w: DeviceArray) -> DeviceArray:
        """A view of the block's taps in weights ``*kernel, C/groups, K`` of three spatial dimensions."""
        offset = sum(s * first for s, (first, _) in zip(w.strides, self.places))
        strides = [s * step for s, (_, step) in zip(w.strides, self.places)]
        return w.view((*self.phase.kernel, *w.shape[3:]), (*strides, *w.strides[3:]), offset)


@lru_cache(maxsize=1024)
def forward(spec: ConvSpec) -> list[Phase]:
    """The forward pass of a ConvSpec with three spatial dimensions."""
    return [Phase(spec, axes, False, spec.kernel) for axes in forward_axes(spec)]


@lru_cache(maxsize=1024)
def backward(spec: ConvSpec) -> list[Phase]:
    """The backward-data pass of a ConvSpec with three spatial dimensions.

    Pixels of the input that no output pixel depends on are in phases without taps.
    """
    return [Phase(spec, axes, True, spec.kernel) for axes in backward_axes(spec)]


# ------------------------------------------------------------------------------------------------- weights
def weights(w: DeviceArray) -> DeviceArray:
    """``K, C/groups, *kernel`` as a C-contiguous ``*kernel, C/groups, K``; a view of memory in that order."""
    return layout.dense(w.transpose(*range(2, w.ndim), 1, 0))


def empty_weights(shape: tuple[int, ...], dtype) -> tuple[DeviceArray, DeviceArray]:
    """A new array of a weight's ``shape``, and its memory in the order of :func:`weights`."""
    k, c, *kernel = shape
    made = memory.empty((*kernel, c, k), dtype)
    last = made.ndim - 1
    return made.transpose(last, last - 1, *range(last - 1)), made


# ------------------------------------------------------------------------------------------- device functions
read_geometry = ptx.read_record(Geometry)


@body
def divide(n, magic, shift):
    """``n // d`` for 0 <= n < 2^31, with the numbers of :func:`magic`."""
    # two factors of 32 bits: one instruction
    return np.int32(np.uint64(np.uint32(n)) * np.uint64(np.uint32(magic)) >> np.uint64(shift))


@body
def is_inside(at, size):
    """Whether a place along one axis is inside the image."""
    return np.uint32(at) < np.uint32(size)


@body
def position(m, g):
    """Image, plane, row and column of output position ``m``."""
    line = divide(m, g.magic_w, g.shift_w)
    plane = divide(line, g.magic_h, g.shift_h)
    image = divide(plane, g.magic_d, g.shift_d)
    return image, plane - image * g.count_d, line - plane * g.count_h, m - line * g.count_w


@body
def first_tap(at, g):
    """Plane, row and column of the input under tap 0 of position ``at``; they may be outside the image."""
    _, plane, row, column = at
    return (
        np.int32(plane * g.stride_d + g.offset_d),
        np.int32(row * g.stride_h + g.offset_h),
        np.int32(column * g.stride_w + g.offset_w),
    )


@body
def input_pixel(image, tap, g):
    """The number of the input pixel at plane, row and column ``tap`` of an image."""
    return ((image * g.size_d + tap[0]) * g.size_h + tap[1]) * g.size_w + tap[2]


@body
def output_pixel(at, g):
    """The number of the output pixel of the position ``at``."""
    image, plane, row, column = at
    pixel = (image * g.out_size_d + plane * g.out_stride_d + g.out_offset_d) * g.out_size_h
    pixel = (pixel + row * g.out_stride_h + g.out_offset_h) * g.out_size_w
    return pixel + (column * g.out_stride_w + g.out_offset_w)


@body
def tap_bits(tap_w, tap_h, tap_d, g):
    """The bits of one tap: its column, its row and its plane."""
    taps_w, taps_h = np.int32(g.taps_w), np.int32(g.taps_h)
    first_h, first_d = np.int32(1 << taps_w), np.int32(1 << (taps_w + taps_h))
    return np.int32((1 << tap_w) | (first_h << tap_h) | (first_d << tap_d))


@body
def taps_inside(tap, g):
    """The bits of all columns, rows and planes of taps inside the image, from the place of tap 0 on."""
    taps_d, taps_h, taps_w = np.int32(g.taps_d), np.int32(g.taps_h), np.int32(g.taps_w)
    step_d, step_h, step_w = np.int32(g.tap_step_d), np.int32(g.tap_step_h), np.int32(g.tap_step_w)
    size_d, size_h, size_w = np.int32(g.size_d), np.int32(g.size_h), np.int32(g.size_w)
    plane, row, column = tap
    planes, rows, columns = np.int32(0), np.int32(0), np.int32(0)
    bit = np.int32(1)
    for _ in range(max(taps_d, taps_h, taps_w)):  # one loop, so that the axes do not wait for each other
        planes = np.int32(planes | (bit if is_inside(plane, size_d) else 0))
        rows = np.int32(rows | (bit if is_inside(row, size_h) else 0))
        columns = np.int32(columns | (bit if is_inside(column, size_w) else 0))
        plane, row, column = np.int32(plane + step_d), np.int32(row + step_h), np.int32(column + step_w)
        bit = np.int32(bit << 1)
    planes = np.int32(planes & np.int32((1 << taps_d) - 1))  # an axis may have fewer taps than the loop
    rows = np.int32(rows & np.int32((1 << taps_h) - 1))
    columns = np.int32(columns & np.int32((1 << taps_w) - 1))
    return np.int32(columns | np.int32(rows << taps_w) | np.int32(planes << np.int32(taps_w + taps_h)))
