"""Transforms that move pixels: padding, cropping, flipping and resizing."""

# Images are of several types; NumPy declares some methods, such as reshape, without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv import random
from fastconv.checks import check, flag, int_tuple, number, one_of
from fastconv.typing import Array, Floats, Ints

from .base import RandomTransform, Transform, probability
from .images import Image, is_pil, pillow, unpacked
from .resample import PILLOW, InterpolationMode, interpolation_mode, resample

PADDING_MODES = ("constant", "edge", "reflect", "symmetric")
SIZES = ("nearest", "nearest-exact", "bilinear", "bicubic")
Fill = Floats


# ------------------------------------------------------------------------------------------------- padding
def sides(name: str, padding: Any) -> tuple[int, int, int, int]:
    """``padding`` as left, top, right, bottom: an int, ``(left and right, top and bottom)``, or all four."""
    items = tuple(padding) if isinstance(padding, (tuple, list)) else (padding,)
    check(
        len(items) in (1, 2, 4),
        name,
        "padding must be an int, (left and right, top and bottom) or (left, top, right, bottom), "
        f"got {padding!r}",
    )
    left, top, *rest = int_tuple(
        name, "padding", items * 2 if len(items) == 1 else items, max(len(items), 2), 0
    )
    return left, top, *(rest or (left, top))  # type: ignore[return-value]


def filling(name: str, fill: Any) -> Array:
    """``fill``, a number or one per channel, as an array C x 1 x 1."""
    values = fill if isinstance(fill, (tuple, list)) else [0 if fill is None else fill]
    check(len(values) > 0, name, "fill must be a number or one per channel, got none")
    return np.array([number(name, "fill", v) for v in values]).reshape(-1, 1, 1)


def padded(name: str, x: Array, pads: tuple[int, int, int, int], fill: Any, mode: str) -> Array:
    """A batch with ``pads`` (left, top, right, bottom) around each image."""
    left, top, right, bottom = pads
    if not any(pads):
        return x
    h, w = x.shape[2:]
    if mode != "constant":
        most = (w, h) if mode == "symmetric" else (w - 1, h - 1)
        fits = max(left, right) <= most[0] and max(top, bottom) <= most[1]
        check(
            mode == "edge" or fits,
            name,
            f"padding {pads} in mode {mode!r} needs a larger image than {h}x{w}; use 'edge' or 'constant'",
        )
        return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), mode)  # type: ignore[call-overload]
    values = filling(name, fill)
    check(
        len(values) in (1, x.shape[1]),
        name,
        f"fill must be one number or one for each of {x.shape[1]} channels, got {fill!r}",
    )
    out = np.empty((*x.shape[:2], h + top + bottom, w + left + right), x.dtype)
    out[:] = values.astype(x.dtype)
    out[:, :, top : top + h, left : left + w] = x
    return out


class Pad(Transform):
    """Add pixels around an image.

    Parameters
    ----------
    padding : int or sequence of int
        For all sides, or (left and right, top and bottom), or (left, top, right, bottom).
    fill : float or sequence of float
        The value of the new pixels in mode ``"constant"``, or one value per channel.
    padding_mode : {"constant", "edge", "reflect", "symmetric"}
        ``"edge"`` repeats the last pixel; ``"reflect"`` mirrors the image without repeating the last pixel,
        ``"symmetric"`` mirrors it and repeats the last pixel.

    Examples
    --------
    >>> from fastconv.data import transforms
    >>> transforms.Pad((1, 2))(fc.ones(3, 4, 4)).shape
    (3, 8, 6)
    """

    def __init__(self, padding: Ints, fill: Fill = 0, padding_mode: str = "constant") -> None:
        one_of("Pad", "padding_mode", padding_mode, PADDING_MODES)
        self._sides, _ = sides("Pad", padding), filling("Pad", fill)
        self.padding, self.fill, self.padding_mode = padding, fill, padding_mode

    def apply(self, x: Array) -> Array:
        return padded("Pad", x, self._sides, self.fill, self.padding_mode)


# ------------------------------------------------------------------------------------------------- crops
def pair(name: str, size: Any) -> tuple[int, int]:
    """``size`` as (H, W)."""
    h, w = int_tuple(name, "size", size, 2, 1)
    return h, w


def centred(x: Array, size: tuple[int, int]) -> Array:
    """The middle of each image; an image that is smaller than ``size`` gets zeros around it."""
    (h, w), (ch, cw) = x.shape[2:], size
    dh, dw = max(ch - h, 0), max(cw - w, 0)
    x = padded("CenterCrop", x, (dw // 2, dh // 2, (dw + 1) // 2, (dh + 1) // 2), 0, "constant")
    top, left = (int(round((n - c) / 2.0)) for n, c in zip(x.shape[2:], size))
    return x[:, :, top : top + ch, left : left + cw]


class CenterCrop(Transform):
    """Crop the middle of an image. An image that is smaller than ``size`` gets zeros around it.

    Parameters
    ----------
    size : int or (H, W)
        An int is the height and the width.
    """

    def __init__(self, size: Ints) -> None:
        self.size = pair("CenterCrop", size)

    def apply(self, x: Array) -> Array:
        return centred(x, self.size)


class RandomCrop(RandomTransform):
    """Crop each image at a random place.

    Parameters
    ----------
    size : int or (H, W)
        An int is the height and the width.
    padding : int or sequence of int, optional
        Pad the image before the crop, as :class:`Pad` does.
    pad_if_needed : bool
        Pad an image that is smaller than ``size``, on both sides.
    fill, padding_mode
        As in :class:`Pad`.

    Raises
    ------
    ValueError
        Raised when called: the image with its padding is smaller than ``size``.

    Examples
    --------
    >>> from fastconv.data import transforms
    >>> transforms.RandomCrop(32, padding=4)(np.zeros((128, 3, 32, 32), np.uint8)).shape
    (128, 3, 32, 32)
    """

    def __init__(
        self,
        size: Ints,
        padding: Ints | None = None,
        pad_if_needed: bool = False,
        fill: Fill = 0,
        padding_mode: str = "constant",
    ) -> None:
        name = "RandomCrop"
        self.size = pair(name, size)
        self._sides, _ = sides(name, 0 if padding is None else padding), filling(name, fill)
        one_of(name, "padding_mode", padding_mode, PADDING_MODES)
        self.padding, self.pad_if_needed, self.fill, self.padding_mode = (
            padding,
            flag(name, "pad_if_needed", pad_if_needed),
            fill,
            padding_mode,
        )

    def draw(self, x: Array, rng: np.random.Generator) -> Array:
        name, (ch, cw) = "RandomCrop", self.size
        x = padded(name, x, self._sides, self.fill, self.padding_mode)
        if self.pad_if_needed:
            dh, dw = (max(c - n, 0) for c, n in zip(self.size, x.shape[2:]))
            x = padded(name, x, (dw, dh, dw, dh), self.fill, self.padding_mode)
        h, w = x.shape[2:]
        check(
            h >= ch and w >= cw,
            name,
            f"the image ({h}x{w} with its padding) is smaller than size {ch}x{cw}; give padding= or "
            "pad_if_needed=True, and images as C x H x W",
        )
        top, left = (rng.integers(0, n - c + 1, len(x)) for n, c in zip((h, w), self.size))
        windows = np.lib.stride_tricks.sliding_window_view(x, self.size, axis=(2, 3))
        return windows[np.arange(len(x)), :, top, left]


class FiveCrop(Transform):
    """Crop the four corners and the middle; the result is a tuple of five images.

    Parameters
    ----------
    size : int or (H, W)
        An int is the height and the width.
    """

    batched = False  # a tuple of images is not a batch

    def __init__(self, size: Ints) -> None:
        self.size = pair(type(self).__name__, size)

    def __call__(self, image: Image, rng: np.random.Generator | None = None) -> tuple[Any, ...]:
        x, like = unpacked(type(self).__name__, image)
        return tuple(map(like, self.crops(x)))

    def crops(self, x: Array) -> list[Array]:
        """The five crops of a batch."""
        (h, w), (ch, cw) = x.shape[2:], self.size
        check(
            h >= ch and w >= cw,
            type(self).__name__,
            f"the image ({h}x{w}) is smaller than size {ch}x{cw}; resize it first",
        )
        corners = [(0, 0), (0, w - cw), (h - ch, 0), (h - ch, w - cw)]
        return [x[:, :, t : t + ch, s : s + cw] for t, s in corners] + [centred(x, self.size)]


class TenCrop(FiveCrop):
    """The crops of :class:`FiveCrop`, then those of the mirrored image: a tuple of ten images.

    Parameters
    ----------
    size : int or (H, W)
        An int is the height and the width.
    vertical_flip : bool
        Mirror top to bottom, not left to right.
    """

    def __init__(self, size: Ints, vertical_flip: bool = False) -> None:
        super().__init__(size)
        self.vertical_flip = flag("TenCrop", "vertical_flip", vertical_flip)

    def crops(self, x: Array) -> list[Array]:
        return super().crops(x) + super().crops(x[:, :, ::-1] if self.vertical_flip else x[..., ::-1])


# ------------------------------------------------------------------------------------------------- flips
class RandomHorizontalFlip(RandomTransform):
    """Mirror each image left to right with probability ``p``.

    Parameters
    ----------
    p : float
    """

    axis = 3

    def __init__(self, p: float = 0.5) -> None:
        self.p = probability(type(self).__name__, p)

    def draw(self, x: Array, rng: np.random.Generator) -> Array:
        chosen = rng.random(len(x)) < self.p
        out = x.copy()
        out[chosen] = np.flip(x[chosen], self.axis)
        return out


class RandomVerticalFlip(RandomHorizontalFlip):
    """Mirror each image top to bottom with probability ``p``.

    Parameters
    ----------
    p : float
    """

    axis = 2


# ------------------------------------------------------------------------------------------------- sizes
def resized(name: str, image: Image, box: Any, size: tuple[int, int], mode: str, antialias: bool) -> Any:
    """The part ``box`` (top, left, H, W) of an image, resized to ``size``; Pillow resizes its own images."""
    if not is_pil(image):
        x, like = unpacked(name, image)
        top, left, h, w = box
        return like(resample(x[:, :, top : top + h, left : left + w], size, mode, antialias))
    top, left, h, w = box
    if mode == "nearest-exact":  # Pillow's nearest
        mode = "nearest"
    part = image if (h, w) == image.size[::-1] else image.crop((left, top, left + w, top + h))
    return part.resize(size[::-1], pillow(name).Resampling(PILLOW.index(mode)))


class Resize(Transform):
    """Change the size of an image.

    Parameters
    ----------
    size : int or (H, W)
        An int is the length of the shorter side; the longer side keeps the aspect ratio.
    interpolation : InterpolationMode or str
        ``"nearest"``, ``"nearest-exact"``, ``"bilinear"`` or ``"bicubic"``; for Pillow images also
        ``"box"``, ``"hamming"`` and ``"lanczos"``.
    max_size : int, optional
        The largest length of the longer side; only if ``size`` is an int.
    antialias : bool
        If an image becomes smaller with ``"bilinear"`` or ``"bicubic"``, average over all input pixels that
        an output pixel covers. Pillow images are resized by Pillow, which always does so.

    Examples
    --------
    >>> from fastconv.data import transforms
    >>> transforms.Resize(4)(fc.ones(3, 8, 16)).shape
    (3, 4, 8)
    """

    def __init__(
        self,
        size: Ints,
        interpolation: InterpolationMode | str = InterpolationMode.BILINEAR,
        max_size: int | None = None,
        antialias: bool | None = True,
    ) -> None:
        name = "Resize"
        shorter = not isinstance(size, (tuple, list)) or len(size) == 1
        self.size: Any = int_tuple(name, "size", size, 1 if shorter else 2, 1)
        self.size = self.size[0] if shorter else self.size
        self.interpolation = interpolation_mode(name, interpolation, (*SIZES, "box", "hamming", "lanczos"))
        if max_size is not None:
            (max_size,) = int_tuple(name, "max_size", max_size, 1, 1)
            check(shorter, name, "max_size needs size to be one int, the length of the shorter side")
            check(max_size > self.size, name, f"max_size must be above size ({self.size}), got {max_size}")
        self.max_size, self.antialias = max_size, bool(antialias)

    def new_size(self, h: int, w: int) -> tuple[int, int]:
        """The size (H, W) after resizing an image of h x w."""
        if not isinstance(self.size, int):
            return self.size
        short, long = self.size, int(self.size * max(h, w) / min(h, w))
        if self.max_size is not None and long > self.max_size:
            short, long = int(self.max_size * short / long), self.max_size
        return (short, long) if h <= w else (long, short)

    def __call__(self, image: Image, rng: np.random.Generator | None = None) -> Any:
        if is_pil(image):
            w, h = image.size
        else:
            h, w = unpacked("Resize", image)[0].shape[2:]
            interpolation_mode("Resize", self.interpolation, SIZES)
        check(h > 0 and w > 0, "Resize", f"the image has no pixels ({h}x{w})")
        size = self.new_size(h, w)
        return resized("Resize", image, (0, 0, h, w), size, self.interpolation.value, self.antialias)


def extents(
    rng: np.random.Generator, n: int, area: int, scale: Sequence[float], ratio: Sequence[float]
) -> tuple[Array, Array]:
    """Extents of boxes of random area and aspect ratio, ten for each of ``n`` images.

    ``area`` is that of the image in pixels. Returns two int arrays ``n x 10``; ``ratio`` limits the first
    extent divided by the second.
    """
    areas = area * rng.uniform(scale[0], scale[1], (n, 10))
    ratios = np.exp(rng.uniform(np.log(ratio[0]), np.log(ratio[1]), (n, 10)))
    return np.rint(np.sqrt(areas * ratios)).astype(int), np.rint(np.sqrt(areas / ratios)).astype(int)


def interval(name: str, what: str, value: Any, low: float = 0, high: float = np.inf) -> tuple[float, float]:
    """``value`` as two numbers, from ``low`` to ``high``, of which the first is not above the second."""
    items = tuple(value) if isinstance(value, (tuple, list)) else ()
    check(len(items) == 2, name, f"{what} must be two numbers (min, max), got {value!r:.60}")
    a, b = (number(name, what, v, low, high) for v in items)
    check(a <= b, name, f"{what} must be (min, max) with min <= max, got {value!r:.60}")
    return a, b


class RandomResizedCrop(RandomTransform):
    """Crop a part of random area and aspect ratio, and resize it to ``size`` (Szegedy et al., 2015).

    Parameters
    ----------
    size : int or (H, W)
        An int is the height and the width.
    scale : (min, max)
        Area of the part, as a fraction of the area of the image.
    ratio : (min, max)
        Width of the part divided by its height.
    interpolation, antialias
        As in :class:`Resize`.

    Examples
    --------
    >>> from fastconv.data import transforms
    >>> transforms.RandomResizedCrop(224)(fc.ones(3, 250, 300)).shape
    (3, 224, 224)
    """

    def __init__(
        self,
        size: Ints,
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        interpolation: InterpolationMode | str = InterpolationMode.BILINEAR,
        antialias: bool | None = True,
    ) -> None:
        name = "RandomResizedCrop"
        self.size = pair(name, size)
        self.scale, self.ratio = interval(name, "scale", scale), interval(name, "ratio", ratio)
        check(self.ratio[0] > 0, name, f"ratio must be above 0, got {ratio!r}")
        self.interpolation = interpolation_mode(name, interpolation, (*SIZES, "box", "hamming", "lanczos"))
        self.antialias = bool(antialias)

    def __call__(self, image: Image, rng: np.random.Generator | None = None) -> Any:
        if not is_pil(image):
            interpolation_mode("RandomResizedCrop", self.interpolation, SIZES)
            return super().__call__(image, rng)
        box = self.boxes(1, image.size[1], image.size[0], random.numbers() if rng is None else rng)[0]
        return resized("RandomResizedCrop", image, box, self.size, self.interpolation.value, self.antialias)

    def boxes(self, n: int, h: int, w: int, rng: np.random.Generator) -> Array:
        """``n`` random parts of an image of h x w: an int array n x 4 of top, left, H, W."""
        check(h > 0 and w > 0, "RandomResizedCrop", f"the image has no pixels ({h}x{w})")
        widths, heights = extents(rng, n, h * w, self.scale, self.ratio)
        fits = (0 < widths) & (widths <= w) & (0 < heights) & (heights <= h)
        first, each = fits.argmax(1), np.arange(n)
        # If none of the ten boxes fits: the middle of the image, with the nearest allowed aspect ratio.
        low, high = self.ratio
        widest = (
            (w, max(round(w / low), 1))
            if w / h < low
            else (max(round(h * high), 1), h)
            if w / h > high
            else (w, h)
        )
        some = fits.any(1)
        width, height = (
            np.where(some, e[each, first], m) for e, m in ((widths, widest[0]), (heights, widest[1]))
        )
        top, left = (rng.integers(0, m - e + 1) for m, e in ((h, height), (w, width)))
        top, left = np.where(some, top, (h - height) // 2), np.where(some, left, (w - width) // 2)
        return np.stack([top, left, height, width], 1)

    def draw(self, x: Array, rng: np.random.Generator) -> Array:
        out = np.empty((*x.shape[:2], *self.size), x.dtype)
        for i, (top, left, h, w) in enumerate(self.boxes(len(x), x.shape[2], x.shape[3], rng).tolist()):
            part = x[i : i + 1, :, top : top + h, left : left + w]
            out[i] = resample(part, self.size, self.interpolation.value, self.antialias)[0]
        return out
