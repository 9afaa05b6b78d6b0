"""What forward and backward-data of every algorithm do around their kernels: layouts, residual, gaps.

An algorithm gives a function ``run(x, w, b, y, spec, phases, is_dgrad, residual, activation, *options)``.
It computes both passes, because backward-data is a convolution with input and output channels exchanged:

    ``x``, ``y``     the input and the result, ``N, D, H, W, C``; gradients in backward-data. In forward
                     passes they may be slices of channels, as ``layout.wide`` gives them
    ``w``, ``b``     weights (an array or :class:`Prepacked`) and bias (or None)
    ``phases``       of the pass (see ``phases.py``)
    ``is_dgrad``     whether input channels are the weight's output channels
    ``residual``     what to add: it lies so many bytes behind each element of ``y`` (0: nothing to add)
    ``activation``   what follows (see ``activation.py``)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from fastconv.backends import settings
from fastconv.spec import ConvSpec

from ..codegen.jit import U, body, kernel, split_range
from ..runtime import layout
from .activation import activation_argument
from .phases import Phase, backward_phases, forward_phases
from .weights import Prepacked

L2 = settings.l2_bytes()


def forward(
    run: Callable[..., None],
    x: np.ndarray,
    w: np.ndarray | Prepacked,
    b: np.ndarray | None,
    spec: ConvSpec,
    residual: np.ndarray | None,
    activation: str | tuple[str, float, float] | None,
    *options,
) -> np.ndarray:
    """The forward pass by ``run``.

    Parameters
    ----------
    run : callable
        See the module's docstring.
    x : ndarray, N x C_in x spatial
    w : ndarray or Prepacked, C_out x C_in / groups x kernel
    b : ndarray, C_out, or None
    spec : ConvSpec
    residual : ndarray of the result's shape, or None
        Added to the result, before the activation.
    activation : None, "relu" or (name, p, q)
    *options
        More arguments for ``run``.

    Returns
    -------
    ndarray, N x C_out x spatial, channels last in memory
    """
    # A residual must lie as y does, so with one there is a new y.
    y, y5 = (layout.result if residual is None else layout.empty)(spec.y_shape, x.dtype)
    as_3d = spec.as_3d()
    if y.size:
        added, offset = residual_offset(residual, y5)
        number = activation_argument(activation, x.dtype)
        run(layout.wide(x), w, b, y5, as_3d, forward_phases(as_3d), False, offset, number, *options)
    return y


def backward_data(
    run: Callable[..., None],
    gy: np.ndarray,
    w: np.ndarray | Prepacked,
    spec: ConvSpec,
    residual: np.ndarray | None,
    *options,
) -> np.ndarray:
    """The backward-data pass by the same ``run``: the gradient of the input from that of the result.

    Parameters
    ----------
    run : callable
        See the module's docstring.
    gy : ndarray, N x C_out x spatial
    w : ndarray or Prepacked, C_out x C_in / groups x kernel
    spec : ConvSpec
    residual : ndarray of the input's shape, or None
        Added to the result.
    *options
        More arguments for ``run``.

    Returns
    -------
    ndarray, N x C_in x spatial, channels last in memory
    """
    gx, gx5 = layout.empty(spec.x_shape, gy.dtype)
    as_3d = spec.as_3d()
    if gx.size:
        added, offset = residual_offset(residual, gx5)
        run(layout.to_ndhwc(gy), w, None, gx5, as_3d, backward_phases(as_3d), True, offset, 0, *options)
    return gx


def transposed(
    run: Callable[..., None],
    x: np.ndarray,
    w: np.ndarray | Prepacked,
    b: np.ndarray | None,
    spec: ConvSpec,
    activation: str | tuple[str, float, float] | None,
) -> np.ndarray:
    """The backward-data pass as a layer, with the bias and the activation of a forward pass.

    Every pixel of the result must have a tap (see :func:`phases_with_taps`).
    """
    y, y5 = layout.result(spec.x_shape, x.dtype)
    as_3d = spec.as_3d()
    if y.size:
        number = activation_argument(activation, x.dtype)
        run(layout.wide(x), w, b, y5, as_3d, backward_phases(as_3d), True, 0, number)
    return y


def channels_of(spec: ConvSpec, is_dgrad: bool) -> tuple[int, int]:
    """The channels of ``x`` and of ``y`` of a pass."""
    return (spec.c_out, spec.c_in) if is_dgrad else (spec.c_in, spec.c_out)


def residual_offset(residual, y) -> tuple[np.ndarray | None, int]:
    """The residual in the order of ``y``, to be kept until the kernel has run, and how many bytes behind
    ``y`` it lies."""
    if residual is None:
        return None, 0
    residual = layout.to_ndhwc(residual)
    return residual, residual.ctypes.data - y.ctypes.data


@kernel
def _add(thread, threads, x, y):
    first, end = split_range(thread, threads, y.size)
    for i in range(first, end):
        y[U(i)] += x[U(i)]


def add_residual(y: np.ndarray, residual: np.ndarray | None) -> np.ndarray:
    """``y`` plus ``residual``, in ``y``'s memory, for kernels that cannot add it. ``y`` is channels last."""
    if residual is not None:
        _add(layout.to_ndhwc(residual).reshape(-1), layout.to_ndhwc(y).reshape(-1))
    return y


@lru_cache
def _no_bias(dtype) -> np.ndarray:
    return np.empty(0, dtype)


def bias_argument(b: np.ndarray | None, dtype) -> np.ndarray:
    """The bias as kernels read it; without elements where there is none."""
    return _no_bias(dtype) if b is None else layout.dense(b)


def phases_with_taps(phases: list[Phase], y: np.ndarray, may_clear: bool = False) -> list[tuple[Phase, bool]]:
    """Pairs of a phase that has taps, and whether its kernel must clear the pixels between those it writes.

    Pixels that no phase with taps writes become zero here, unless the kernel clears them. ``may_clear`` says
    that the caller's kernel can do so; it does where only one phase has taps.
    """
    busy = [p for p in phases if p.taps]
    gaps = len(busy) < len(phases)
    clear = gaps and may_clear and len(busy) == 1
    if gaps and not clear:
        y[...] = 0
    return [(p, clear) for p in busy]


@body(inline=True)
def taps_inside(offsets, at, size):
    """The range of the ascending ``offsets`` that lie, from ``at``, on an image of ``size`` rows; it may be
    empty."""
    first, end = 0, offsets.size
    while first < end and at + offsets[first] < 0:
        first += 1
    while first < end and at + offsets[end - 1] >= size:
        end -= 1
    return first, end


def panels_per_job(total: int, blocks: int, threads: int, panel_bytes: int) -> int:
    """How many panels of output channels a job takes: all of ``total`` or as many as half of L2 holds, and
    fewer where the blocks of pixels are too few for the threads."""
    step = total if blocks >= 2 * threads else max(1, total * blocks // (2 * threads))
    step = min(step, max(L2 // 2 // panel_bytes, 1))
    return -(-total // -(-total // step))  # as even as possible


@body(inline=True)
def shares(thread, threads, blocks, panel_blocks):
    """The blocks of pixels of a thread, from the first to the one after the last, and its range of jobs.

    Job ``j`` is block ``first + j % count`` and group of panels ``j // count``, so jobs that follow each
    other share panels, which stay in L2. Where blocks are few, the threads share the groups of panels.
    """
    if blocks >= 2 * threads:
        first, end = split_range(thread, threads, blocks)
        return first, end - first, 0, (end - first) * panel_blocks
    first_job, end_job = split_range(thread, threads, blocks * panel_blocks)
    return 0, blocks, first_job, end_job
