"""Transforms between kinds of images and ranges of numbers, and normalisation."""

# Images are of several types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.checks import check, one_of, shape_str
from fastconv.creation import from_numpy
from fastconv.tensor import Tensor
from fastconv.typing import Array, DType, Floats

from .base import Transform
from .images import MODES, Image, from_pil, is_batch, is_pil, to_pil, unpacked


class ToTensor(Transform):
    """Convert a Pillow image, or an array H x W x C or H x W, to a Tensor C x H x W.

    uint8 numbers 0 to 255 become float32 numbers in [0, 1]; other numbers keep dtype and values. A Tensor is
    expected to be C x H x W, and a batch N x C x H x W, so only their numbers are converted.

    Examples
    --------
    >>> from fastconv.data import transforms
    >>> transforms.ToTensor()(np.full((4, 6, 3), 51, np.uint8))[0, 0, :2]
    tensor([0.2, 0.2])
    """

    def __call__(self, image: Image, rng: np.random.Generator | None = None) -> Any:
        if isinstance(image, Tensor) or is_batch(image):
            x, like = unpacked("ToTensor", image)
            return like(self.apply(x))
        return from_numpy(self.apply(_planes("ToTensor", image)))

    def apply(self, x: Array) -> Array:
        return np.divide(x, np.float32(255), dtype=np.float32) if x.dtype == np.uint8 else x


class PILToTensor(Transform):
    """Convert a Pillow image to a Tensor C x H x W with the same numbers; Tensors and batches stay."""

    def __call__(self, image: Image, rng: np.random.Generator | None = None) -> Any:
        if isinstance(image, Tensor) or is_batch(image):
            return image
        check(
            is_pil(image),
            "PILToTensor",
            f"expected a Pillow image, got {type(image).__name__}; ToTensor takes arrays",
            TypeError,
        )
        pixels = _planes("PILToTensor", image)
        return from_numpy(pixels // 255 if image.mode == "1" else pixels)  # black and white are 0 and 1

    def apply(self, x: Array) -> Array:
        return x


def _planes(name: str, image: Any) -> Array:
    """A Pillow image, or an array H x W x C or H x W, as C x H x W."""
    if is_pil(image):
        pixels = from_pil(name, image)
    else:
        check(
            isinstance(image, np.ndarray),
            name,
            f"expected a Pillow image or an array, got {type(image).__name__}",
            TypeError,
        )
        check(
            image.ndim in (2, 3),
            name,
            "image must have 2 or 3 dimensions (H x W or H x W x C), "
            f"got {image.ndim} ({shape_str(image.shape)})",
        )
        check(image.dtype.kind in "fiub", name, f"image must hold numbers, got {image.dtype}", TypeError)
        pixels = image[..., None] if image.ndim == 2 else image
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


class ToPILImage(Transform):
    """Convert a Tensor C x H x W or H x W, or an array H x W x C or H x W, to a Pillow image.

    Parameters
    ----------
    mode : str, optional
        Pillow's mode; by default it follows from the channels and the dtype. The floats of a Tensor, in
        [0, 1], become uint8 numbers, except with ``mode="F"``.

    Raises
    ------
    ImportError
        Raised when called: Pillow is not installed.
    """

    batched = False

    def __init__(self, mode: str | None = None) -> None:
        if mode is not None:
            one_of("ToPILImage", "mode", mode, ["1", *MODES, "YCbCr", "HSV", "CMYK", "RGBX"])
        self.mode = mode

    def __call__(self, image: Image, rng: np.random.Generator | None = None) -> Any:
        name, is_tensor = "ToPILImage", isinstance(image, Tensor)
        check(
            is_tensor or isinstance(image, np.ndarray),
            name,
            f"expected a Tensor or an array, got {type(image).__name__}",
            TypeError,
        )
        check(
            image.ndim in (2, 3),
            name,
            f"image must have 2 or 3 dimensions, got {image.ndim} ({shape_str(image.shape)}); give one image",
        )
        pixels: Any = image.detach().numpy() if isinstance(image, Tensor) else image
        if pixels.ndim == 2:
            pixels = pixels[..., None]
        elif is_tensor:
            pixels = pixels.transpose(1, 2, 0)
        if is_tensor and pixels.dtype.kind == "f" and self.mode != "F":
            pixels = (pixels * 255).astype(np.uint8)
        return to_pil(name, pixels.astype(np.float32) if self.mode == "F" else pixels, self.mode)


class ConvertImageDtype(Transform):
    """Convert to another dtype and its range: 0 to 1 for floats, 0 to the largest number for integers.

    Parameters
    ----------
    dtype : dtype

    Examples
    --------
    >>> from fastconv.data import transforms
    >>> transforms.ConvertImageDtype("uint8")(fc.ones(1, 1, 2))
    tensor([[[255, 255]]], dtype=uint8)
    """

    def __init__(self, dtype: DType) -> None:
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        check(
            self.dtype.kind in "fiu",
            "ConvertImageDtype",
            f"dtype must be a float or an integer, got {self.dtype}",
            TypeError,
        )

    def apply(self, x: Array) -> Array:
        dtype = self.dtype
        if x.dtype == dtype:
            return x
        if x.dtype.kind == "f" and dtype.kind == "f":
            return x.astype(dtype)
        if x.dtype.kind == "f":
            check(
                dtype.itemsize < 4 or (x.dtype.itemsize == 8 and dtype.itemsize == 4),
                "ConvertImageDtype",
                f"{x.dtype} cannot hold the largest {dtype} exactly; use a smaller integer",
                TypeError,
            )
            return (x * (np.iinfo(dtype).max + 1.0 - 1e-3)).astype(dtype)  # 1.0 becomes the largest integer
        if x.dtype.kind == "b":
            return x.astype(dtype)
        largest = int(np.iinfo(x.dtype).max)
        if dtype.kind == "f":
            return np.divide(x, dtype.type(largest), dtype=dtype)
        wanted = int(np.iinfo(dtype).max)
        if largest > wanted:
            return (x // ((largest + 1) // (wanted + 1))).astype(dtype)
        return x.astype(dtype) * dtype.type((wanted + 1) // (largest + 1))


class Normalize(Transform):
    """``(x - mean) / std`` for each channel.

    Parameters
    ----------
    mean, std : float or sequence of float
        One number, or one per channel. ``std`` must not be 0.
    inplace : bool
        Change the image itself, not a copy.

    Examples
    --------
    >>> from fastconv.data import transforms
    >>> transforms.Normalize((0.5,), (0.5,))(fc.ones(1, 1, 2))
    tensor([[[1., 1.]]])
    """

    def __init__(self, mean: Floats, std: Floats, inplace: bool = False) -> None:
        self.mean, self.std, self.inplace = mean, std, bool(inplace)
        self._shift, self._scale = (
            _per_channel("Normalize", k, v) for k, v in (("mean", mean), ("std", std))
        )
        check(bool((self._scale != 0).all()), "Normalize", f"std must not be 0, got {std!r:.60}")

    def apply(self, x: Array) -> Array:
        check(
            x.dtype.kind == "f",
            "Normalize",
            f"image must hold floats, got {x.dtype}; put ToTensor() or ConvertImageDtype('float32') first",
            TypeError,
        )
        lengths = len(self._shift), len(self._scale)
        check(
            {1, x.shape[1]} >= set(lengths),
            "Normalize",
            f"mean ({lengths[0]}) and std ({lengths[1]}) must be one number each or one for each of the "
            f"image's {x.shape[1]} channels",
        )
        out = np.subtract(x, self._shift, out=x if self.inplace else None, dtype=x.dtype)
        return np.divide(out, self._scale, out=out, dtype=x.dtype)


def _per_channel(name: str, what: str, value: Any) -> Array:
    """One number, or one per channel, as an array C x 1 x 1."""
    try:
        found = np.asarray(value.numpy() if isinstance(value, Tensor) else value, np.float64)
    except (TypeError, ValueError):
        found = np.empty((0, 0))
    fine = found.ndim <= 1 and found.size > 0 and bool(np.isfinite(found).all())
    check(fine, name, f"{what} must be a number or one per channel, got {value!r:.60}")
    return found.reshape(-1, 1, 1)
