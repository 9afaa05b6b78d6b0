"""Conversion of the images that transforms take into arrays N x C x H x W, and back."""

# Pillow may not be installed, so its images have no type here; NumPy declares some methods without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from fastconv.checks import check, shape_str
from fastconv.creation import from_numpy
from fastconv.tensor import Tensor
from fastconv.typing import Array

#: A Tensor or an array, C x H x W or N x C x H x W, or a Pillow image.
Image: TypeAlias = Any

INSTALL = 'install it: pip install "fastconv[images]"'
#: Pillow's modes whose pixels are numbers -> the dtype of an array of these pixels.
MODES: dict[str, Any] = {
    **dict.fromkeys(("L", "LA", "RGB", "RGBA"), np.uint8),
    **{"F": np.float32, "I": np.int32, "I;16": np.uint16},
}


def pillow(name: str) -> Any:
    """The module ``PIL.Image``; an ImportError that says how to install it for ``name``."""
    try:
        import PIL.Image
    except ModuleNotFoundError:
        raise ImportError(f"{name}: images need Pillow, which is not installed; {INSTALL}") from None
    return PIL.Image


def is_pil(image: object) -> bool:
    """Whether this is a Pillow image; False if Pillow was not imported, because then none exists."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(image, module.Image)


def is_batch(image: Any) -> bool:
    """Whether this is a Tensor or an array of rank 4."""
    return isinstance(image, (Tensor, np.ndarray)) and image.ndim == 4


def from_pil(name: str, image: Any) -> Array:
    """The pixels of a Pillow image, H x W x C."""
    if image.mode == "1":
        return np.asarray(image, np.uint8)[..., None] * np.uint8(255)
    check(
        image.mode in MODES,
        name,
        f"images of mode {image.mode!r} are not supported; convert it: image.convert('RGB')",
    )
    pixels = np.array(image, MODES[image.mode])
    return pixels[..., None] if pixels.ndim == 2 else pixels


def to_pil(name: str, pixels: Array, mode: str | None = None) -> Any:
    """A Pillow image with the pixels of an array H x W x C, in Pillow's ``mode``."""
    h, w, c = pixels.shape
    known = {np.dtype(np.uint8): {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}}
    known |= {np.dtype(d): {1: m} for m, d in MODES.items() if d is not np.uint8}
    found = known.get(pixels.dtype, {}).get(c)
    check(
        found is not None,
        name,
        f"no Pillow image holds {c} channels of {pixels.dtype}; expected uint8 with 1 to 4 channels, or "
        "int32, uint16 or float32 with one",
    )
    same_bands = {
        "RGB": ("RGB", "YCbCr", "HSV"),
        "RGBA": ("RGBA", "CMYK", "RGBX"),
        "LA": ("LA",),
        "L": ("L", "1"),
    }
    allowed = same_bands.get(str(found), (found,))
    check(
        mode is None or mode in allowed,
        name,
        f"mode must be {' or '.join(map(repr, allowed))} for {c} channels of {pixels.dtype}, got {mode!r}",
    )
    raw, size = np.ascontiguousarray(pixels).tobytes(), (w, h)
    image = pillow(name).frombytes("L" if mode == "1" else mode or found, size, raw)
    return image.convert("1") if mode == "1" else image


def unpacked(name: str, image: Image) -> tuple[Array, Callable[[Array], Any]]:
    """The image or batch as an array N x C x H x W, and a function that converts a result back."""
    if is_pil(image):
        pixels, mode = from_pil(name, image), image.mode
        back = mode if mode in ("1", "L", "LA", "RGB", "RGBA") else None
        return (
            pixels.transpose(2, 0, 1)[None],
            lambda y: to_pil(name, y[0].transpose(1, 2, 0), back if y.shape[1] == pixels.shape[2] else None),
        )
    if isinstance(image, Tensor):
        x = image.detach().numpy()
    elif isinstance(image, np.ndarray):
        x = image
    else:
        raise TypeError(
            f"{name}: expected a Tensor or an array (C x H x W or N x C x H x W) or a Pillow image, "
            f"got {type(image).__name__}"
        )
    check(
        x.ndim in (3, 4),
        name,
        "image must have 3 or 4 dimensions (C x H x W or N x C x H x W), "
        f"got {x.ndim} ({shape_str(x.shape)})",
    )
    check(x.dtype.kind in "fiub", name, f"image must hold numbers, got {x.dtype}", TypeError)
    single, wrap = x.ndim == 3, from_numpy if isinstance(image, Tensor) else _itself
    return (x[None] if single else x), lambda y: wrap(y[0] if single else y)


def _itself(a: Array) -> Array:
    return a


def rounded(x: Array, dtype: np.dtype[Any]) -> Array:
    """Numbers that were computed as floats, as ``dtype``; for integers rounded and limited to its range."""
    if dtype.kind == "f":
        return x.astype(dtype, copy=False)
    if dtype.kind == "b":
        return x >= 0.5
    info = np.iinfo(dtype)
    return np.rint(x).clip(info.min, info.max).astype(dtype)


def as_float(x: Array) -> Array:
    """The array to compute with: float64 stays, all others become float32."""
    return x.astype(np.result_type(x.dtype, np.float32) if x.dtype.kind == "f" else np.float32, copy=False)
