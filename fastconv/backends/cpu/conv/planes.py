"""Convolutions of three dimensions as convolutions of planes: the taps in depth become channels.

::

    y[d] = sum over t of conv2d(x[d + t - p], w[t])

    planes of x      0 1 2 3           channels of plane d of the result's input, with 3 taps and padding 1:
                                          plane 0:    -  0 1       (-: zeros)
                                          plane 1:    0  1 2
                                          plane 2:    1  2 3
                                          plane 3:    2  3 -

So ``N x C x D x H x W`` becomes ``N D' x T C x H x W``, which Winograd's method can take. Backward-data is
the same with the gradient's planes and the taps in the other direction. Where a plane has enough tiles,
Winograd's kernels read the planes where they lie instead (``winograd/forward.py``).
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from fastconv.spec import ConvSpec

from ..codegen.emitter import address, copy_bytes
from ..codegen.jit import kernel, split_range
from ..runtime import layout, memory
from .weights import Prepacked, memoize_packed, to_hwio


@lru_cache(maxsize=1024)
def planes_spec(spec: ConvSpec, is_dgrad: bool = False) -> ConvSpec:
    """The two-dimensional convolution that one of three dimensions becomes, with stride 1 in depth."""
    taps = spec.kernel[0]
    values = {
        name: getattr(spec, name)[1:] for name in ("in_size", "kernel", "stride", "dilation", "padding")
    }
    return replace(
        spec,
        batch=spec.batch * (spec.in_size if is_dgrad else spec.out_size)[0],
        c_in=spec.c_in * (1 if is_dgrad else taps),
        c_out=spec.c_out * (taps if is_dgrad else 1),
        out_size=spec.out_size[1:],
        **values,
    )


@kernel
def _gather(thread, threads, x, origin, step, planes):
    # x: N, D, H, W, C; planes: N, D', H, W, (taps, C). Tap t of plane d reads plane d + origin + t * step.
    images, depth, height, width, channels = x.shape
    _, out_depth, _, _, all_channels = planes.shape
    taps, run = all_channels // channels, channels * x.itemsize
    flat = planes.reshape(-1)
    first, end = split_range(thread, threads, images * out_depth * height)
    for job in range(first, end):
        n, d, h = job // height // out_depth, job // height % out_depth, job % height
        for t in range(taps):
            source = d + origin + t * step
            to = job * width * all_channels + t * channels
            if source < 0 or source >= depth:
                for w in range(width):
                    at = to + w * all_channels
                    flat[at : at + channels] = 0
                continue
            from_ = address(x) + ((n * depth + source) * height + h) * width * run
            target = address(planes) + to * x.itemsize
            for w in range(width):
                copy_bytes(target + w * taps * run, from_ + w * run, run)


def gather_planes(x: np.ndarray, spec: ConvSpec, is_dgrad: bool = False) -> np.ndarray:
    """The input of the convolution of :func:`planes_spec`, from ``x`` or, if ``is_dgrad``, the gradient."""
    taps, (before, after), dilation = spec.kernel[0], spec.padding[0], spec.dilation[0]
    if taps == 1 and before == after == 0:
        return as_planes(x)
    x5, depth = layout.to_ndhwc(x), (spec.in_size if is_dgrad else spec.out_size)[0]
    planes = memory.empty((x5.shape[0], depth, *x5.shape[2:4], taps * x5.shape[4]), x.dtype)
    _gather(x5, before if is_dgrad else -before, -dilation if is_dgrad else dilation, planes)
    return as_planes(planes.transpose(0, 4, 1, 2, 3))


def as_planes(x: np.ndarray) -> np.ndarray:
    """``N, C, D, H, W`` as ``N D, C, H, W``."""
    x5 = layout.to_ndhwc(x)
    return x5.reshape(x5.shape[0] * x5.shape[1], *x5.shape[2:]).transpose(0, 3, 1, 2)


def as_volumes(x: np.ndarray, batch: int, depth: int) -> np.ndarray:
    """The inverse of :func:`as_planes`, for so many images of so many planes."""
    planes = layout.to_ndhwc(x)[:, 0]
    return planes.reshape(batch, depth, *planes.shape[1:]).transpose(0, 4, 1, 2, 3)


@memoize_packed
def weights_to_planes(w: np.ndarray | Prepacked, kernel_size: tuple[int, ...], is_dgrad: bool):
    """The weights ``K, C, T, *kernel`` as ``K, T C, *kernel``, or, if ``is_dgrad``, ``T K, C, *kernel``."""
    hwio = to_hwio(w)
    taps, (c, k) = kernel_size[0], hwio.shape[1:]
    by_tap = hwio.reshape(taps, -1, c, k)
    moved = by_tap.transpose(1, 2, 0, 3) if is_dgrad else by_tap.transpose(1, 0, 2, 3)
    shape = (c, taps * k) if is_dgrad else (taps * c, k)
    arranged = memory.empty(moved.shape, hwio.dtype)
    arranged[...] = moved
    result = arranged.reshape(*kernel_size[1:], *shape).transpose(3, 2, 0, 1)
    return Prepacked(result) if isinstance(w, Prepacked) else result


def weights_to_volumes(gw: np.ndarray, spec: ConvSpec) -> np.ndarray:
    """The gradient of the weights of ``spec``, from that of :func:`weights_to_planes`."""
    by_tap = gw.transpose(2, 3, 1, 0).reshape(*spec.kernel[1:], spec.kernel[0], spec.c_in, spec.c_out)
    hwio = memory.empty((*spec.kernel, spec.c_in, spec.c_out), gw.dtype)
    hwio[...] = by_tap.transpose(2, 0, 1, 3, 4)
    return hwio.transpose(4, 3, 0, 1, 2)
