"""Resizing, sampling at the positions of a grid, and rearranging pixels and channels."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from fastconv.checks import check, check_count, check_float, check_rank, check_shape, int_tuple, shape_str
from fastconv.creation import argument, as_tensor
from fastconv.spec import adaptive_pool_spec, grid_sample_spec, interpolate_spec
from fastconv.tape import Op
from fastconv.tensor import Tensor
from fastconv.typing import Floats, Ints, TensorLike

from .base import SpatialMap


# ------------------------------------------------------------------------------------------------- resizing
def _resize(
    name: str,
    input: TensorLike,
    size: Ints | None,
    scale_factor: Floats | None,
    mode: str,
    align_corners: bool | None,
    recompute_scale_factor: bool | None = None,
) -> Tensor:
    x = argument(name, "input", input)
    if not (str(x.dtype) == "uint8" and isinstance(mode, str) and mode.startswith("nearest")):
        check_float(name, input=x)
    spec = interpolate_spec(x.shape, size, scale_factor, mode, align_corners, recompute_scale_factor, name)
    if mode != "area":
        return SpatialMap.apply(x, op="interpolate_fwd", adjoint="interpolate_bwd", spec=spec)
    area = adaptive_pool_spec(f"{name}{spec.ndim}d", x.shape, spec.out_size)
    return SpatialMap.apply(x, op="adaptive_avg_pool_fwd", adjoint="adaptive_avg_pool_bwd", spec=area)


def interpolate(
    input: TensorLike,
    size: Ints | None = None,
    scale_factor: Floats | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Resize signals (1-D), images or volumes.

    Parameters
    ----------
    input : Tensor or array, ``N x C x spatial``, float32 or float64
        The modes ``"nearest"`` and ``"nearest-exact"`` take uint8 too.
    size : int or one per spatial dimension
    scale_factor : float or one per spatial dimension
        Give either ``size`` or ``scale_factor``.
    mode : {"nearest", "nearest-exact", "linear", "bilinear", "bicubic", "trilinear", "area"}
        ``"linear"`` is for inputs of 3 dimensions, ``"bilinear"`` and ``"bicubic"`` for 4, ``"trilinear"``
        for 5, and the others for all of them. ``"bicubic"`` is Keys' cubic convolution with ``a = -0.75``,
        ``"area"`` is adaptive average pooling. ``"nearest-exact"`` rounds coordinates as other image
        libraries do, ``"nearest"`` as PyTorch has always done.
    align_corners : bool, optional
        For the linear and cubic modes. True maps the centres of the corner pixels of input and output onto
        each other. By default the edges of both images are mapped onto each other.
    recompute_scale_factor : bool, optional
        True uses ``scale_factor`` for the output size only, and computes coordinates from the two sizes.
    antialias : bool
        Must be False, because a filter against aliasing is not supported.

    Returns
    -------
    Tensor, ``N x C x size``

    Raises
    ------
    ValueError
        If both or neither of ``size`` and ``scale_factor`` are given, or the mode is unknown or does not fit
        the number of dimensions.
    TypeError
        If the input is not float, nor uint8 in a nearest mode.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.interpolate(fc.zeros(1, 3, 8, 8), scale_factor=2, mode="bicubic").shape
    (1, 3, 16, 16)
    """
    name = "interpolate"
    check(not antialias, name, "antialias=True is not supported; leave it out, or use mode 'area' to shrink")
    return _resize(name, input, size, scale_factor, mode, align_corners, recompute_scale_factor)


def upsample(
    input: TensorLike,
    size: Ints | None = None,
    scale_factor: Floats | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """:func:`interpolate` under its older name.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.upsample(fc.zeros(1, 3, 8), scale_factor=2).shape
    (1, 3, 16)
    """
    return _resize("upsample", input, size, scale_factor, mode, align_corners)


def upsample_nearest(
    input: TensorLike, size: Ints | None = None, scale_factor: Floats | None = None
) -> Tensor:
    """:func:`interpolate` with ``mode="nearest"``.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.upsample_nearest(fc.tensor([[[1.0, 2.0]]]), scale_factor=2).tolist()
    [[[1.0, 1.0, 2.0, 2.0]]]
    """
    return _resize("upsample_nearest", input, size, scale_factor, "nearest", None)


def upsample_bilinear(
    input: TensorLike, size: Ints | None = None, scale_factor: Floats | None = None
) -> Tensor:
    """:func:`interpolate` with ``mode="bilinear", align_corners=True``.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.upsample_bilinear(fc.tensor([[[[1.0, 2.0]]]]), size=(1, 3)).tolist()
    [[[[1.0, 1.5, 2.0]]]]
    """
    return _resize("upsample_bilinear", input, size, scale_factor, "bilinear", True)


# ------------------------------------------------------------------------------------------------- sampling
class GridSample(Op):
    @staticmethod
    def forward(ctx, x, grid, mode, padding_mode, align_corners):
        check_float("grid_sample", input=x, grid=grid)
        ctx.spec = grid_sample_spec(x.shape, grid.shape, mode, padding_mode, align_corners)
        ctx.save(x if ctx.needs[1] else None, grid)
        return ctx.engine.grid_sample_fwd(x, grid, ctx.spec)

    @staticmethod
    def backward(ctx, gy):
        (x, grid), e = ctx.saved, ctx.engine
        return (
            e.grid_sample_bwd_data(gy, grid, ctx.spec) if ctx.needs[0] else None,
            e.grid_sample_bwd_grid(gy, x, grid, ctx.spec) if ctx.needs[1] else None,
        )


def grid_sample(
    input: TensorLike,
    grid: TensorLike,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """Sample images or volumes at given positions (Jaderberg et al., Spatial Transformer Networks, 2015).

    Parameters
    ----------
    input : Tensor or array, ``N x C x H x W`` or ``N x C x D x H x W``, float32 or float64
    grid : ``N x H_out x W_out x 2`` or ``N x D_out x H_out x W_out x 3``, same dtype
        The positions ``(x, y)`` or ``(x, y, z)``, from -1 (left, top, front) to 1. A number that is not
        finite counts as -1.
    mode : {"bilinear", "nearest", "bicubic"}
        ``"bilinear"`` is trilinear for volumes; ``"bicubic"`` takes images only.
    padding_mode : {"zeros", "border", "reflection"}
        How positions outside of the input are sampled: as zeros, as the nearest pixel at the border, or as
        the mirror image of the input.
    align_corners : bool, optional
        True: -1 and 1 are the centres of the corner pixels. By default they are the edges of the image.

    Returns
    -------
    Tensor, ``N x C x H_out x W_out`` or ``N x C x D_out x H_out x W_out``
        Differentiable in ``input`` and ``grid``.

    Raises
    ------
    ValueError
        If shapes do not fit, or a mode is unknown.
    TypeError
        If arrays are not float, or mix float32 and float64.

    Examples
    --------
    >>> import fastconv as fc
    >>> image = fc.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> fc.nn.functional.grid_sample(image, fc.zeros(1, 1, 1, 2)).tolist()
    [[[[2.5]]]]
    """
    name = "grid_sample"
    input, grid = argument(name, "input", input), argument(name, "grid", grid)
    return GridSample.apply(input, grid, mode=mode, padding_mode=padding_mode, align_corners=align_corners)


def affine_grid(theta: TensorLike, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """The grid of positions of an affine map, for :func:`grid_sample`.

    Parameters
    ----------
    theta : Tensor or array, ``N x 2 x 3`` or ``N x 3 x 4``, float32 or float64
        The matrices that map a position ``(x, y, 1)`` or ``(x, y, z, 1)`` of the output to one of the input.
    size : sequence of int
        ``(N, C, H, W)`` or ``(N, C, D, H, W)`` of the output.
    align_corners : bool, optional
        As in :func:`grid_sample`.

    Returns
    -------
    Tensor, ``N x H x W x 2`` or ``N x D x H x W x 3``

    Examples
    --------
    >>> import fastconv as fc
    >>> theta = fc.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    >>> fc.nn.functional.affine_grid(theta, (1, 1, 1, 2)).tolist()
    [[[[-0.5, 0.0], [0.5, 0.0]]]]
    """
    name = "affine_grid"
    theta = argument(name, "theta", theta)
    check_float(name, theta=theta)
    check_rank(name, "theta", theta.shape, 3, "N x 2 x 3 or N x 3 x 4")
    check(
        isinstance(size, (tuple, list)) and len(size) in (4, 5),
        name,
        f"size must be (N, C, H, W) or (N, C, D, H, W), got {size!r:.60}",
        ValueError if isinstance(size, (tuple, list)) else TypeError,
    )
    n, *extents = int_tuple(name, "size", size, len(size), 1)
    extents = extents[1:]
    dims = len(extents)
    check_shape(name, "theta", theta.shape, (n, dims, dims + 1), f"for size {tuple(size)}")
    check_count(name, "the grid", (n, *extents, dims))
    axes = []
    for extent in reversed(extents):  # x first
        line = np.linspace(-1, 1, extent) if extent > 1 else np.zeros(1)
        axes.append(line if align_corners else line * ((extent - 1) / extent))
    places = np.stack([*reversed(np.meshgrid(*reversed(axes), indexing="ij")), np.ones(extents)], -1)
    base: Any = as_tensor(places.reshape(-1, dims + 1).astype(theta.dtype)).to(theta.device)
    return (base @ theta.permute(0, 2, 1)).reshape(n, *extents, dims)


# ------------------------------------------------------------------------------------------------ rearranging
def _images(name: str, input: TensorLike, what: str, value: Any) -> tuple[Tensor, int, tuple[int, ...]]:
    """The input with its leading axes merged into one, the factor as an int, and the leading extents."""
    x = argument(name, "input", input)
    factor = int_tuple(name, what, value, 1, 1)[0]
    check(
        x.ndim >= 3, name, f"input must have 3 dimensions or more (... x C x H x W), got {shape_str(x.shape)}"
    )
    lead = x.shape[:-3]
    return x.reshape(prod(lead), *x.shape[-3:]), factor, lead


def pixel_shuffle(input: TensorLike, upscale_factor: int) -> Tensor:
    """Pixels from channels: ``... x C r^2 x H x W`` becomes ``... x C x H r x W r`` (Shi et al. 2016).

    Parameters
    ----------
    input : Tensor or array of any dtype, with 3 dimensions or more
    upscale_factor : int
        ``r``

    Returns
    -------
    Tensor
        It is channels-last in memory.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.pixel_shuffle(fc.zeros(1, 12, 4, 5), 2).shape
    (1, 3, 8, 10)
    """
    name = "pixel_shuffle"
    x, r, lead = _images(name, input, "upscale_factor", upscale_factor)
    n, channels, h, w = x.shape
    check(
        channels % r**2 == 0,
        name,
        f"input must have a multiple of upscale_factor^2 = {r**2} channels, got {channels} "
        f"({shape_str((*lead, channels, h, w))})",
    )
    check_count(name, "the output", (*lead, h * r, w * r))
    c = channels // r**2
    # in the order of channels-last memory, so that one copy gives a result that convolutions read directly
    pixels = x.reshape(n, c, r, r, h, w).permute(0, 4, 2, 5, 3, 1).reshape(n, h * r, w * r, c)
    return pixels.permute(0, 3, 1, 2).reshape(*lead, c, h * r, w * r)


def pixel_unshuffle(input: TensorLike, downscale_factor: int) -> Tensor:
    """Channels from pixels, the reverse of :func:`pixel_shuffle`.

    Parameters
    ----------
    input : Tensor or array of any dtype, ``... x C x H r x W r``
    downscale_factor : int
        ``r``

    Returns
    -------
    Tensor, ``... x C r^2 x H x W``
        It is channels-last in memory.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.pixel_unshuffle(fc.zeros(1, 3, 8, 10), 2).shape
    (1, 12, 4, 5)
    """
    name = "pixel_unshuffle"
    x, r, lead = _images(name, input, "downscale_factor", downscale_factor)
    n, c, height, width = x.shape
    check(
        height % r == 0 and width % r == 0,
        name,
        f"input's last two extents must be multiples of downscale_factor {r}, "
        f"got {shape_str((*lead, c, height, width))}",
    )
    h, w = height // r, width // r
    pixels = x.reshape(n, c, h, r, w, r).permute(0, 2, 4, 1, 3, 5).reshape(n, h, w, c * r**2)
    return pixels.permute(0, 3, 1, 2).reshape(*lead, c * r**2, h, w)


def channel_shuffle(input: TensorLike, groups: int) -> Tensor:
    """Channels in another order: the first of each group, then the second of each (Zhang et al. 2018).

    Parameters
    ----------
    input : Tensor or array of any dtype, ``N x C x spatial``
    groups : int
        Divides ``C``.

    Returns
    -------
    Tensor, ``N x C x spatial``
        It is channels-last in memory.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.channel_shuffle(fc.arange(4).reshape(1, 4, 1), 2).flatten().tolist()
    [0, 2, 1, 3]
    """
    name = "channel_shuffle"
    x = argument(name, "input", input)
    groups = int_tuple(name, "groups", groups, 1, 1)[0]
    check(
        x.ndim >= 3, name, f"input must have 3 dimensions or more (N x C x spatial), got {shape_str(x.shape)}"
    )
    n, c, *space = x.shape
    check(
        c % groups == 0, name, f"groups {groups} must divide the {c} channels of input {shape_str(x.shape)}"
    )
    last = range(1, 1 + len(space))
    split = x.reshape(n, groups, c // groups, *space).permute(0, *(i + 2 for i in last), 2, 1)
    return split.reshape(n, *space, c).permute(0, len(space) + 1, *last)
