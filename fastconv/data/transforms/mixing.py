"""Random erasing, and transforms that mix the images of a batch and their labels."""

# Images are of several types; NumPy declares some methods, such as reshape, without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv import random
from fastconv.checks import check, int_tuple, number, shape_str
from fastconv.creation import from_numpy
from fastconv.tensor import Tensor
from fastconv.typing import Array

from .base import RandomTransform, Transform, probability
from .geometry import extents, filling, interval
from .images import as_float, unpacked


class RandomErasing(RandomTransform):
    """Overwrite a random rectangle of each image with probability ``p`` (Zhong et al., 2017).

    Parameters
    ----------
    p : float
        From 0 to 1.
    scale : (min, max)
        Area of the rectangle, as a fraction of the area of the image.
    ratio : (min, max)
        Height of the rectangle divided by its width.
    value : float, sequence of float or "random"
        The number that is written, one number per channel, or standard normal random numbers.
    inplace : bool
        Change the image itself, not a copy.
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: Sequence[float] = (0.02, 0.33),
        ratio: Sequence[float] = (0.3, 3.3),
        value: Any = 0,
        inplace: bool = False,
    ) -> None:
        name = "RandomErasing"
        self.p = probability(name, p)
        self.scale, self.ratio = interval(name, "scale", scale, 0, 1), interval(name, "ratio", ratio)
        check(self.ratio[0] > 0, name, f"ratio must be above 0, got {ratio!r}")
        if isinstance(value, str):
            check(value == "random", name, f"value must be numbers or 'random', got {value!r:.60}")
        self._value = None if isinstance(value, str) else filling(name, value)
        self.value, self.inplace = value, bool(inplace)

    def draw(self, x: Array, rng: np.random.Generator) -> Array:
        n, c, h, w = x.shape
        check(
            self._value is not None or x.dtype.kind == "f",
            "RandomErasing",
            f"value='random' needs images of floats, got {x.dtype}; put ToTensor() before it",
            TypeError,
        )
        check(
            self._value is None or len(self._value) in (1, c),
            "RandomErasing",
            f"value must be one number or one for each of {c} channels, got {self.value!r}",
        )
        erased = rng.random(n) < self.p
        heights, widths = extents(rng, n, h * w, self.scale, self.ratio)
        fits = (heights < h) & (widths < w)
        first, each = fits.argmax(1), np.arange(n)
        heights, widths = heights[each, first], widths[each, first]
        tops, lefts = (rng.integers(0, np.maximum(m - e, 0) + 1) for m, e in ((h, heights), (w, widths)))
        out = x if self.inplace else x.copy()
        for i in np.flatnonzero(erased & fits.any(1)).tolist():
            box = out[i, :, tops[i] : tops[i] + heights[i], lefts[i] : lefts[i] + widths[i]]
            box[...] = rng.standard_normal(box.shape) if self._value is None else self._value
        return out


class Mixing(Transform):
    """Base class of transforms that mix each image of a batch with another one, and their labels too.

    Parameters
    ----------
    alpha : float
        The proportion is drawn from Beta(alpha, alpha), once per batch; above 0.
    num_classes : int, optional
        Needed if labels are class numbers, not probabilities.
    labels_getter : "default"
        The labels are the second argument; no other value is supported.
    """

    batched = False  # it needs the labels

    def __init__(
        self, *, alpha: float = 1.0, num_classes: int | None = None, labels_getter: Any = "default"
    ) -> None:
        name = type(self).__name__
        self.alpha = number(name, "alpha", alpha, 0)
        check(self.alpha > 0, name, f"alpha must be above 0, got {alpha!r}")
        if num_classes is not None:
            (num_classes,) = int_tuple(name, "num_classes", num_classes, 1, 1)
        check(
            isinstance(labels_getter, str) and labels_getter == "default",
            name,
            "labels_getter must be 'default': the labels are the second argument",
        )
        self.num_classes = num_classes

    def __call__(self, images: Any, labels: Any = None, rng: Any = None) -> tuple[Any, Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The mixed batch and its labels, as probabilities N x classes.

        Parameters
        ----------
        images : Tensor or array, N x C x H x W
        labels : Tensor or array
            N class numbers, or N x classes probabilities.
        rng : numpy.random.Generator, optional
            By default as for :class:`RandomTransform`.
        """
        name = type(self).__name__
        pair = isinstance(images, (Tensor, np.ndarray)) and isinstance(labels, (Tensor, np.ndarray))
        check(pair, name, "expected a batch of images and its labels, as Tensors or arrays", TypeError)
        x, like = unpacked(name, images)
        check(images.ndim == 4, name, f"expected a batch N x C x H x W, got {shape_str(images.shape)}")
        y = self._probabilities(labels.numpy() if isinstance(labels, Tensor) else labels, len(x))
        mixed, share = self.mix(x, random.numbers() if rng is None else rng)
        y = (share * y + (1 - share) * np.roll(y, 1, 0)).astype(y.dtype, copy=False)
        return like(mixed), from_numpy(y) if isinstance(labels, Tensor) else y

    def mix(self, x: Array, rng: np.random.Generator) -> tuple[Array, float]:
        """The batch with each image mixed with the one before it, and the share of the original image."""
        raise NotImplementedError

    def _probabilities(self, y: Array, n: int) -> Array:
        name, classes = type(self).__name__, self.num_classes
        check(
            y.ndim in (1, 2) and len(y) == n,
            name,
            f"labels must be {n} class numbers or {n} x classes probabilities, got {shape_str(y.shape)}",
        )
        if y.ndim == 2:
            fits = classes in (None, y.shape[1])
            check(fits, name, f"num_classes is {classes}, but the labels have {y.shape[1]} columns")
            return as_float(y)
        if classes is None:
            raise ValueError(f"{name}: labels are class numbers, so give num_classes=")
        check(y.dtype.kind in "iu", name, f"class numbers must be integers, got {y.dtype}", TypeError)
        low, high = (int(y.min()), int(y.max())) if n else (0, 0)
        check(
            0 <= low and high < classes,
            name,
            f"labels must be 0 to {classes - 1}, got {low if low < 0 else high}",
        )
        return np.eye(classes, dtype=np.float32)[y]


class MixUp(Mixing):
    """A weighted mean of each image and the one before it in the batch (Zhang et al., 2018).

    Parameters
    ----------
    alpha : float
        The weight is drawn from Beta(alpha, alpha), once per batch; above 0.
    num_classes : int, optional
        Needed if labels are class numbers, not probabilities.
    labels_getter : "default"
        The labels are the second argument.

    Examples
    --------
    >>> from fastconv.data import transforms
    >>> x, y = transforms.MixUp(num_classes=10)(fc.ones(4, 3, 8, 8), fc.tensor([0, 1, 2, 3]))
    >>> tuple(y.shape)
    (4, 10)
    """

    def mix(self, x: Array, rng: np.random.Generator) -> tuple[Array, float]:
        check(x.dtype.kind == "f", "MixUp", f"images must hold floats, got {x.dtype}", TypeError)
        share = float(rng.beta(self.alpha, self.alpha))
        return (share * x + (1 - share) * np.roll(x, 1, 0)).astype(x.dtype, copy=False), share


class CutMix(Mixing):
    """Replace a rectangle of each image by that of the image before it in the batch (Yun et al., 2019).

    Parameters
    ----------
    alpha : float
        The fraction of the area that is kept is drawn from Beta(alpha, alpha), once per batch; above 0. The
        part of the rectangle outside the image is cut off. Labels are mixed by the area that remains.
    num_classes : int, optional
        Needed if labels are class numbers, not probabilities.
    labels_getter : "default"
        The labels are the second argument.
    """

    def mix(self, x: Array, rng: np.random.Generator) -> tuple[Array, float]:
        h, w = x.shape[2:]
        half = 0.5 * np.sqrt(1 - rng.beta(self.alpha, self.alpha))
        cx, cy = int(rng.integers(w)), int(rng.integers(h))
        left, right = max(cx - int(half * w), 0), min(cx + int(half * w), w)
        top, bottom = max(cy - int(half * h), 0), min(cy + int(half * h), h)
        out = x.copy()
        out[..., top:bottom, left:right] = np.roll(x, 1, 0)[..., top:bottom, left:right]
        return out, 1 - (right - left) * (bottom - top) / (w * h)
