"""Transforms of the values of pixels: colour, grey, blur."""

# Images are of several types; NumPy declares some methods, such as reshape, without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv.checks import check, int_tuple, number
from fastconv.typing import Array, Ints

from .base import RandomTransform, Transform, probability
from .geometry import interval
from .images import as_float, rounded

GREY = 0.2989, 0.587, 0.114  # of red, green and blue (ITU-R BT.601)


def check_colour(name: str, x: Array) -> None:
    """Refuse images that do not have 1 or 3 channels."""
    cure = "; is it H x W x C? Then put ToTensor() before it" if x.shape[3] in (1, 3) else ""
    check(x.shape[1] in (1, 3), name, f"image must have 1 or 3 channels, got {x.shape[1]}{cure}")


def grey(x: Array) -> Array:
    """The grey image of three channels, or the only channel; integers are truncated, as in torchvision."""
    if x.shape[1] == 1:
        return x
    r, g, b = (as_float(x[:, i : i + 1]) for i in range(3))
    return (GREY[0] * r + GREY[1] * g + GREY[2] * b).astype(x.dtype)


def _grey_of_all(name: str, x: Array, channels: int) -> Array:
    check_colour(name, x)
    return np.repeat(grey(x), channels, 1)


class Grayscale(Transform):
    """Convert a colour image to grey.

    Parameters
    ----------
    num_output_channels : {1, 3}
        With 3, all three channels are the same.
    """

    def __init__(self, num_output_channels: int = 1) -> None:
        check(
            num_output_channels in (1, 3),
            "Grayscale",
            f"num_output_channels must be 1 or 3, got {num_output_channels!r}",
        )
        self.num_output_channels = num_output_channels

    def apply(self, x: Array) -> Array:
        return _grey_of_all("Grayscale", x, self.num_output_channels)


class RandomGrayscale(RandomTransform):
    """Convert each image to grey with probability ``p``; the number of channels stays the same.

    Parameters
    ----------
    p : float
        From 0 to 1.
    """

    def __init__(self, p: float = 0.1) -> None:
        self.p = probability("RandomGrayscale", p)

    def draw(self, x: Array, rng: np.random.Generator) -> Array:
        out, chosen = x.copy(), rng.random(len(x)) < self.p
        out[chosen] = _grey_of_all("RandomGrayscale", x[chosen], x.shape[1])
        return out


# ------------------------------------------------------------------------------------------------- jitter
def _blend(x: Array, other: Any, factor: Array) -> Array:
    """``factor * x + (1 - factor) * other``, limited to [0, 1] for floats and to the dtype for integers."""
    top = 1.0 if x.dtype.kind == "f" else float(np.iinfo(x.dtype).max)
    y = as_float(x)
    factor = factor.astype(y.dtype)
    return (factor * y + (1 - factor) * other).clip(0, top).astype(x.dtype)


def _brightness(x: Array, factor: Array) -> Array:
    return _blend(x, 0, factor)


def _contrast(x: Array, factor: Array) -> Array:
    return _blend(x, as_float(grey(x)).mean((1, 2, 3), keepdims=True), factor)


def _saturation(x: Array, factor: Array) -> Array:
    return x if x.shape[1] == 1 else _blend(x, as_float(grey(x)), factor)


def _hue(x: Array, shift: Array) -> Array:
    """The images with their hue (of HSV) moved by ``shift``, a fraction of the circle of colours."""
    if x.shape[1] == 1:
        return x
    integers = x.dtype.kind != "f"
    y = as_float(x) / np.float32(np.iinfo(x.dtype).max) if integers else x
    high, low = y.max(1), y.min(1)
    spread = high - low
    flat = spread == 0
    saturation = spread / np.where(flat, 1, high)
    r, g, b = ((high - y[:, i]) / np.where(flat, 1, spread) for i in range(3))
    red = y[:, 0] == high
    green = ~red & (y[:, 1] == high)
    h = np.where(red, b - g, np.where(green, 2 + r - b, 4 + g - r)) / 6 + 1
    h = 6 * ((h % 1 + shift[:, 0].astype(y.dtype)) % 1)
    # Channel n of RGB is v - v s max(0, min(k, 4 - k, 1)) with k = (n + h) mod 6 and n = 5, 3, 1.
    k = (np.array([5, 3, 1], y.dtype).reshape(-1, 1, 1) + h[:, None]) % 6
    out = high[:, None] - (high * saturation)[:, None] * np.minimum(np.minimum(k, 4 - k), 1).clip(0)
    if integers:
        return (out.clip(0, 1) * (np.iinfo(x.dtype).max + 1.0 - 1e-3)).astype(x.dtype)
    return out.astype(x.dtype, copy=False)


class ColorJitter(RandomTransform):
    """Change brightness, contrast, saturation and hue at random, in a random order.

    Parameters
    ----------
    brightness, contrast, saturation : float or (min, max)
        The factor is drawn from [max(0, 1 - v), 1 + v], or from [min, max]; 0 changes nothing.
    hue : float or (min, max)
        A fraction of the circle of colours, drawn from [-v, v] or [min, max], within [-0.5, 0.5].

    Examples
    --------
    >>> from fastconv.data import transforms
    >>> transforms.ColorJitter(brightness=(0.5, 0.5))(fc.ones(1, 1, 2))
    tensor([[[0.5, 0.5]]])
    """

    def __init__(self, brightness: Any = 0, contrast: Any = 0, saturation: Any = 0, hue: Any = 0) -> None:
        self.brightness, self.contrast, self.saturation, self.hue = brightness, contrast, saturation, hue
        settings = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}
        functions: tuple[Callable[[Array, Array], Array], ...] = (_brightness, _contrast, _saturation, _hue)
        self._steps = [
            (function, _range(what, value)) for function, (what, value) in zip(functions, settings.items())
        ]

    def draw(self, x: Array, rng: np.random.Generator) -> Array:
        check_colour("ColorJitter", x)
        n, out = len(x), x.copy()
        order = rng.permuted(np.tile(np.arange(4), (n, 1)), axis=1)
        factors = [rng.uniform(*limits, n).reshape(-1, 1, 1, 1) for _, limits in self._steps]
        for place in range(4):
            for k, (function, limits) in enumerate(self._steps):
                chosen = order[:, place] == k
                if chosen.any() and limits != ((0, 0) if function is _hue else (1, 1)):
                    out[chosen] = function(out[chosen], factors[k][chosen])
        return out


def _range(what: str, value: Any) -> tuple[float, float]:
    """The range from which the factor ``what`` is drawn."""
    name, hue = "ColorJitter", what == "hue"
    low, high = (-0.5, 0.5) if hue else (0, np.inf)
    if isinstance(value, (tuple, list)):
        return interval(name, what, value, low, high)
    reach = number(name, what, value, 0, high)
    return (-reach, reach) if hue else (max(0.0, 1 - reach), 1 + reach)


# ------------------------------------------------------------------------------------------------- blur
class GaussianBlur(RandomTransform):
    """Blur with a Gaussian of random width; the image is mirrored at its border.

    Parameters
    ----------
    kernel_size : int or (x, y)
        Width and height of the kernel in pixels, odd.
    sigma : float or (min, max)
        The range of the standard deviation in pixels, or its value.
    """

    def __init__(self, kernel_size: Ints, sigma: Any = (0.1, 2.0)) -> None:
        name = "GaussianBlur"
        kx, ky = int_tuple(name, "kernel_size", kernel_size, 2, 1)
        check(kx % 2 == 1 and ky % 2 == 1, name, f"kernel_size must be odd, got {kernel_size!r}")
        self.kernel_size = kx, ky
        self.sigma = interval(name, "sigma", sigma if isinstance(sigma, (tuple, list)) else (sigma, sigma))
        check(self.sigma[0] > 0, name, f"sigma must be above 0, got {sigma!r}")

    def draw(self, x: Array, rng: np.random.Generator) -> Array:
        (kx, ky), (h, w) = self.kernel_size, x.shape[2:]
        check(
            kx // 2 < w and ky // 2 < h,
            "GaussianBlur",
            f"kernel_size {self.kernel_size} is too large for images of {h}x{w}",
        )
        sigma = rng.uniform(*self.sigma, (len(x), 1))
        y = as_float(x)
        for axis, k in ((3, kx), (2, ky)):
            weights = np.exp(-0.5 * ((np.arange(k) - k // 2) / sigma) ** 2)
            weights = (weights / weights.sum(1, keepdims=True)).astype(y.dtype)[:, :, None, None, None]
            pads = [(k // 2, k // 2) if a == axis else (0, 0) for a in range(4)]
            windows = np.pad(y, pads, "reflect")
            extent, total = y.shape[axis], np.zeros_like(y)
            for t in range(k):
                total += weights[:, t] * windows.take(range(t, t + extent), axis)
            y = total
        return rounded(y, x.dtype)
