"""Resizing, and sampling at the places that a grid names."""

# NumPy's sum() of arrays and its tuples of slices have types that a checker does not follow.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false

import itertools
from functools import reduce
from math import prod

import numpy as np

from fastconv.spec import cubic_weights


# ------------------------------------------------------------------------------------------------- resizing
def _taps(spec, dim, dtype):
    """Per tap along ``dim``: positions and weights; an output is the sum of ``weight * x[position]``."""
    places, weights = spec.taps(dim, dtype)
    return zip(places, weights.reshape(*weights.shape, *(1,) * (spec.ndim - 1 - dim)), strict=True)


def interpolate_fwd(x, spec):
    """Resize one dimension after the other."""
    for dim in range(spec.ndim):
        x = sum(x.take(at, axis=2 + dim) * weight.astype(x.dtype) for at, weight in _taps(spec, dim, x.dtype))
    return x


def interpolate_bwd(gy, spec):
    """The adjoint: each gradient returns to the taps it came from."""
    for dim in reversed(range(spec.ndim)):
        gx = np.zeros((*gy.shape[: 2 + dim], spec.in_size[dim], *gy.shape[3 + dim :]), gy.dtype)
        for at, weight in _taps(spec, dim, gy.dtype):
            np.add.at(gx, (slice(None),) * (2 + dim) + (at,), gy * weight)
        gy = gx
    return gy


# ------------------------------------------------------------------------------------------------ grid_sample
def _bounded(x, size, spec):
    """Coordinates moved into the input as ``padding_mode`` says, and the derivative of that."""
    one, zero = np.ones_like(x), np.zeros_like(x)
    if spec.padding_mode == "zeros":
        return x, one
    slope = one
    if spec.padding_mode == "reflection":
        low, span = (0.0, size - 1) if spec.align_corners else (-0.5, size)
        if span == 0:
            return zero, zero
        slope, x = np.where(x < low, -one, one), np.abs(x - low)
        extra, odd = np.fmod(x, span), np.floor(x / span) % 2 == 1
        x, slope = np.where(odd, span - extra, extra) + low, np.where(odd, -slope, slope)
    return np.clip(x, 0, size - 1), np.where((x <= 0) | (x >= size - 1), 0, slope)


def _axis(g, size, spec):
    """Taps of one axis: places (-1 outside of the input), weights, derivatives of the weights by ``g``.

    Each has one row per tap. A place that is not finite counts as -1, the first edge.
    """
    scale, shift = ((size - 1) / 2, 0.0) if spec.align_corners else (size / 2, -0.5)
    x = (g + 1) * g.dtype.type(scale) + g.dtype.type(shift)
    finite = np.isfinite(x)
    x, scale = np.where(finite, x, g.dtype.type(shift)), np.where(finite, g.dtype.type(scale), 0)
    if spec.mode == "bicubic":
        first = np.floor(x)
        t = x - first
        taps = np.stack([_bounded(first + k, size, spec)[0] for k in (-1, 0, 1, 2)])
        weights, slopes = np.stack(cubic_weights(t)), np.stack(_cubic_slopes(t))
    else:
        x, slope = _bounded(x, size, spec)
        if spec.mode == "nearest":
            taps, weights, slopes = np.rint(x)[None], np.ones_like(x)[None], np.zeros_like(x)[None]
        else:
            first = np.floor(x)
            taps = np.stack([first, first + 1])
            weights, slopes = np.stack([first + 1 - x, x - first]), np.stack([-slope, slope])
    inside = (taps >= 0) & (taps <= size - 1)
    return np.where(inside, taps, -1).astype(np.int64), weights, (slopes * scale).astype(g.dtype)


def _cubic_slopes(t):
    """The derivatives of ``cubic_weights``."""
    a = -0.75

    def near(t):
        return (3 * (a + 2) * t - 2 * (a + 3)) * t

    def far(t):
        return (3 * a * t - 10 * a) * t + 8 * a

    return far(t + 1), near(t), -near(1 - t), -far(2 - t)


def _grid_taps(grid, spec):
    """Per tap of all outputs: places in the plane (-1 outside), weights, and a weight's derivative by each
    number of the grid. The grid's last number belongs to the first spatial dimension."""
    n = spec.ndim
    axes = [_axis(grid[..., n - 1 - dim], size, spec) for dim, size in enumerate(spec.in_size)]
    for taps in itertools.product(*(range(len(places)) for places, _, _ in axes)):
        places, weights, slopes = zip(
            *((p[t], w[t], s[t]) for t, (p, w, s) in zip(taps, axes, strict=True)), strict=True
        )
        outside = reduce(np.logical_or, (p < 0 for p in places))
        place = reduce(lambda flat, axis: flat * axis[1] + axis[0], zip(places, spec.in_size, strict=True), 0)
        partial = [
            reduce(np.multiply, [*weights[:dim], slopes[dim], *weights[dim + 1 :]]) for dim in range(n)
        ]
        yield np.where(outside, -1, place), reduce(np.multiply, weights), partial[::-1]


def _values(x, place):
    """``x`` (``N, C, pixels``) at the places of each image, 0 where there is none; ``N, C, ...``."""
    n = len(x)
    flat = place.reshape(n, 1, -1)
    values = np.take_along_axis(x, np.maximum(flat, 0), axis=2)
    return np.where(flat < 0, 0, values).reshape(n, x.shape[1], *place.shape[1:])


def grid_sample_fwd(x, grid, spec):
    """The weighted sum over the taps of each place."""
    y, x = np.zeros(spec.y_shape, x.dtype), x.reshape(*x.shape[:2], -1)
    for place, weight, _ in _grid_taps(grid, spec):
        outside = (place < 0)[:, None]
        y += np.where(outside, 0, _values(x, place) * weight[:, None])
    return y


def grid_sample_bwd_data(gy, grid, spec):
    """Each gradient returns to its taps."""
    batch, channels = spec.batch, spec.channels
    gx = np.zeros((batch, prod(spec.in_size) + 1, channels), gy.dtype)  # the last pixel is outside
    images = np.arange(batch).reshape(-1, *(1,) * spec.ndim)
    for place, weight, _ in _grid_taps(grid, spec):
        np.add.at(gx, (images, place), np.moveaxis(gy * weight[:, None], 1, -1))
    return np.moveaxis(gx[:, :-1], -1, 1).reshape(spec.x_shape)


def grid_sample_bwd_grid(gy, x, grid, spec):
    """A number of the grid moves the weights of all taps and channels."""
    ggrid, x = np.zeros(grid.shape, grid.dtype), x.reshape(*x.shape[:2], -1)
    for place, _, slopes in _grid_taps(grid, spec):
        along = (gy * _values(x, place)).sum(axis=1)
        for k, slope in enumerate(slopes):
            ggrid[..., k] += np.where(place < 0, 0, along * slope)
    return ggrid
