"""Rotation and other affine maps of the plane."""

# Images are of several types; NumPy declares some methods, such as reshape, without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv.checks import check, flag, number
from fastconv.typing import Array, Floats

from .base import RandomTransform
from .geometry import filling, interval
from .images import as_float, rounded
from .resample import InterpolationMode, interpolation_mode

MODES = ("nearest", "bilinear")


def inverse_matrices(centre: Any, angle: Array, translate: Any, scale: Any, shear: Any) -> Array:
    """The maps from output to input positions, relative to the middle of the image: an array N x 2 x 3.

    The map from input to output shears, scales and rotates by ``angle`` degrees clockwise around ``centre``,
    then translates. ``angle`` and ``scale`` are numbers, or arrays with one number per image. ``centre``,
    ``translate`` and ``shear`` (in degrees) are pairs (x, y) of such numbers or arrays.
    """
    rotation, (sx, sy) = np.radians(angle), np.radians(shear)
    (cx, cy), (tx, ty) = centre, translate
    a = np.cos(rotation - sy) / np.cos(sy)
    b = -np.cos(rotation - sy) * np.tan(sx) / np.cos(sy) - np.sin(rotation)
    c = np.sin(rotation - sy) / np.cos(sy)
    d = -np.sin(rotation - sy) * np.tan(sx) / np.cos(sy) + np.cos(rotation)
    inverse = np.stack([np.stack([d, -b], -1), np.stack([-c, a], -1)], 1) / np.reshape(scale, (-1, 1, 1))
    moved = np.stack(np.broadcast_arrays(-cx - tx, -cy - ty, angle)[:2], -1)
    shift = np.einsum("nij,nj->ni", inverse, moved) + np.array([cx, cy])
    return np.concatenate([inverse, shift[..., None]], 2)


def warped(x: Array, inverse: Array, size: tuple[int, int], mode: str, fill: Array) -> Array:
    """Each image of a batch transformed by its map ``inverse``, with ``fill`` (C x 1 x 1) outside of it."""
    (n, c, h, w), (oh, ow) = x.shape, size
    down, right = np.arange(oh) - (oh - 1) / 2, np.arange(ow) - (ow - 1) / 2
    m = inverse[:, :, :, None, None]
    sx = m[:, 0, 0] * right + m[:, 0, 1] * down[:, None] + m[:, 0, 2] + (w - 1) / 2
    sy = m[:, 1, 0] * right + m[:, 1, 1] * down[:, None] + m[:, 1, 2] + (h - 1) / 2
    images, channels = np.arange(n)[:, None, None, None], np.arange(c)[:, None, None]

    def pixels(row: Array, column: Array) -> tuple[Array, Array]:
        """The pixels at these places, and which of them are inside the image."""
        inside = (row >= 0) & (row < h) & (column >= 0) & (column < w)
        at = row.clip(0, h - 1)[:, None], column.clip(0, w - 1)[:, None]
        return x[images, channels, at[0], at[1]], inside[:, None]

    if mode == "nearest":
        found, inside = pixels(np.rint(sy.round(5)).astype(int), np.rint(sx.round(5)).astype(int))
        return np.where(inside, found, fill.astype(x.dtype))
    top, left = np.floor(sy).astype(int), np.floor(sx).astype(int)
    fy, fx = (sy - top).astype(np.float32), (sx - left).astype(np.float32)
    total = np.zeros((n, c, oh, ow), as_float(x[:0]).dtype)
    covered = np.zeros((n, 1, oh, ow), np.float32)
    for dy, wy in ((0, 1 - fy), (1, fy)):
        for dx, wx in ((0, 1 - fx), (1, fx)):
            found, inside = pixels(top + dy, left + dx)
            weight = (wy * wx)[:, None] * inside
            total += weight * found
            covered += weight
    # As in torchvision: at the border, ``fill`` gets the weight of the part that lies outside the image.
    mixed = total * covered + (1 - covered) * fill.astype(np.float32)
    return rounded(mixed.astype(total.dtype, copy=False), x.dtype)


def degrees_of(name: str, what: str, value: Any) -> tuple[float, float]:
    """``value`` as two numbers (min, max); a single number d is (-d, d)."""
    if not isinstance(value, (tuple, list)):
        limit = number(name, what, value, 0)
        return -limit, limit
    return interval(name, what, value, -np.inf)


class _Affine(RandomTransform):
    """The arguments that rotation and affine maps share."""

    def _options(self, interpolation: Any, center: Any, fill: Any) -> None:
        name = type(self).__name__
        self.interpolation = interpolation_mode(name, interpolation, MODES)
        check(
            center is None or (isinstance(center, (tuple, list)) and len(center) == 2),
            name,
            f"center must be (x, y), got {center!r:.60}",
        )
        self.center = None if center is None else tuple(number(name, "center", v) for v in center)
        self._fill, self.fill = filling(name, fill), fill

    def _centre(self, x: Array) -> tuple[float, float]:
        """The fixed point, relative to the middle of the image."""
        if self.center is None:
            return 0.0, 0.0
        return self.center[0] - x.shape[3] / 2, self.center[1] - x.shape[2] / 2

    def _warped(self, x: Array, inverse: Array, size: tuple[int, int]) -> Array:
        check(
            len(self._fill) in (1, x.shape[1]),
            type(self).__name__,
            f"fill must be one number or one for each of {x.shape[1]} channels, got {self.fill!r}",
        )
        return warped(x, inverse, size, self.interpolation.value, self._fill)


class RandomRotation(_Affine):
    """Rotate each image by a random angle.

    Parameters
    ----------
    degrees : float or (min, max)
        The range of the angle, in degrees counter-clockwise; a number ``d`` is ``(-d, d)``.
    interpolation : {"nearest", "bilinear"}
    expand : bool
        Make the result large enough for the whole rotated image. The results of a batch would differ in size,
        so with True only single images are accepted.
    center : (x, y), optional
        The point around which the image rotates, in pixels from the upper left corner; the middle by default.
    fill : float or sequence of float
        The value outside of the image, or one value per channel.

    Examples
    --------
    >>> from fastconv.data import transforms
    >>> transforms.RandomRotation((90, 90))(np.array([[[1, 2], [3, 4]]]))
    array([[[2, 4],
            [1, 3]]])
    """

    def __init__(
        self,
        degrees: Any,
        interpolation: InterpolationMode | str = InterpolationMode.NEAREST,
        expand: bool = False,
        center: Sequence[float] | None = None,
        fill: Floats = 0,
    ) -> None:
        self.degrees = degrees_of("RandomRotation", "degrees", degrees)
        self.expand = flag("RandomRotation", "expand", expand)
        self.batched = not self.expand
        self._options(interpolation, center, fill)

    def draw(self, x: Array, rng: np.random.Generator) -> Array:
        check(
            not self.expand or len(x) == 1,
            "RandomRotation",
            "expand=True takes single images, because the results of a batch would differ in size",
        )
        angles = rng.uniform(*self.degrees, len(x))
        inverse = inverse_matrices(self._centre(x), -angles, (0, 0), 1.0, (0, 0))
        return self._warped(x, inverse, _turned_size(x, inverse[0]) if self.expand else x.shape[2:])


def _turned_size(x: Array, inverse: Array) -> tuple[int, int]:
    """Height and width of the box around a rotated image."""
    h, w = x.shape[2:]
    corners = np.array([[-w, -h, 2], [-w, h, 2], [w, h, 2], [w, -h, 2]]) / 2 @ inverse.T
    # rounded, because a sum such as 1e-15 must not become 1
    ends = [(e(corners, 0) + np.array([w, h]) / 2).round(4) for e in (np.max, np.min)]
    size = np.ceil(ends[0]) - np.floor(ends[1])
    return int(size[1]), int(size[0])


class RandomAffine(_Affine):
    """Rotate, translate, scale and shear each image at random.

    Parameters
    ----------
    degrees : float or (min, max)
        The range of the angle, in degrees clockwise; a number ``d`` is ``(-d, d)``, and 0 does not rotate.
    translate : (x, y), optional
        The largest shift, as a fraction of width and height, from 0 to 1.
    scale : (min, max), optional
        The range of the scale factor.
    shear : float, (min, max) or (min x, max x, min y, max y), optional
        The range of the angle, in degrees. One number ``d``, which is ``(-d, d)``, or two numbers shear along
        x only.
    interpolation, fill, center
        As in :class:`RandomRotation`.
    """

    def __init__(
        self,
        degrees: Any,
        translate: Sequence[float] | None = None,
        scale: Sequence[float] | None = None,
        shear: Any = None,
        interpolation: InterpolationMode | str = InterpolationMode.NEAREST,
        fill: Floats = 0,
        center: Sequence[float] | None = None,
    ) -> None:
        name = "RandomAffine"
        self.degrees = degrees_of(name, "degrees", degrees)
        if translate is not None:
            fine = isinstance(translate, (tuple, list)) and len(translate) == 2
            check(fine, name, f"translate must be two fractions (x, y), got {translate!r:.60}")
            translate = tuple(number(name, "translate", v, 0, 1) for v in translate)
        if scale is not None:
            scale = interval(name, "scale", scale)
            check(scale[0] > 0, name, f"scale must be above 0, got {scale}")
        self.translate, self.scale, self.shear = translate, scale, shear
        if isinstance(shear, (tuple, list)) and len(shear) == 4:
            self._shears = degrees_of(name, "shear", shear[:2]), degrees_of(name, "shear", shear[2:])
        else:
            self._shears = degrees_of(name, "shear", 0 if shear is None else shear), (0.0, 0.0)
        self._options(interpolation, center, fill)

    def draw(self, x: Array, rng: np.random.Generator) -> Array:
        n, (h, w) = len(x), x.shape[2:]
        angles = rng.uniform(*self.degrees, n)
        most = self.translate or (0, 0)
        shift = [np.rint(rng.uniform(-m * e, m * e, n)) for m, e in zip(most, (w, h))]
        scales = rng.uniform(*(self.scale or (1.0, 1.0)), n)
        shear = [rng.uniform(*s, n) for s in self._shears]
        return self._warped(x, inverse_matrices(self._centre(x), angles, shift, scales, shear), (h, w))
