"""Resize and Upsample.

A resize acts on each axis alone: a row of the result is a weighted sum of some rows of the input. Which rows,
and with which weights, follows from the position of the result's row in the input
(``coordinate_transformation_mode``) and the kernel (``mode``). The cases of
:func:`fastconv.nn.functional.interpolate` are left to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...creation import as_tensor
from ...nn import functional as F
from ...tensor import Tensor
from ..node import Node, Operator, ints, row

LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
HALF_PIXEL = ("half_pixel", "pytorch_half_pixel")


@dataclass(frozen=True)
class Axis:
    """How one axis is resized: extents of input and output, their ratio, and the part of the input."""

    n: int
    out: int
    scale: float
    roi: tuple[float, float] = (0.0, 1.0)

    @property
    def unchanged(self) -> bool:
        """Whether the result is the input."""
        return self.n == self.out and math.isclose(self.scale, 1.0) and self.roi == (0.0, 1.0)


def resize(
    node: Node,
    x: Tensor,
    roi: np.ndarray | None = None,
    scales: np.ndarray | None = None,
    sizes: np.ndarray | None = None,
) -> Tensor:
    """Resize."""
    if node.opset < 11:  # the scales were the second input
        roi, scales = None, roi
    mode = node.get("coordinate_transformation_mode", "half_pixel" if node.opset >= 11 else "asymmetric")
    nearest = node.get("nearest_mode", "round_prefer_floor" if node.opset >= 11 else "floor")
    which = [a % x.ndim for a in node.get("axes", range(x.ndim))]
    crop = roi if mode == "tf_crop_and_resize" else None
    return _resized(node, x, dict(zip(which, _axes(node, x, which, crop, scales, sizes))), mode, nearest)


def upsample(node: Node, x: Tensor, scales: np.ndarray | None = None) -> Tensor:
    """Upsample, which Resize replaced in opset 10."""
    factors = node.get("scales") if scales is None else scales
    axes = _axes(node, x, list(range(x.ndim)), None, np.asarray(factors), None)
    return _resized(node, x, dict(enumerate(axes)), "asymmetric", "floor")


def _axes(
    node: Node,
    x: Tensor,
    which: Sequence[int],
    roi: np.ndarray | None,
    scales: np.ndarray | None,
    sizes: np.ndarray | None,
) -> list[Axis]:
    extents = [x.shape[a] for a in which]
    parts = [(0.0, 1.0)] * len(which)
    if roi is not None and roi.size:
        parts = [(float(a), float(b)) for a, b in roi.reshape(2, -1).T]
    if sizes is not None and sizes.size:
        out = ints(sizes)
        factors = [o / n for o, n in zip(out, extents)]
        policy = node.get("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            one = min(factors) if policy == "not_larger" else max(factors)
            factors, out = [one] * len(out), [int(one * n + 0.5) for n in extents]
    else:
        node.check(scales is not None and scales.size, "expected scales or sizes, got neither")
        assert scales is not None
        factors = [float(s) for s in scales]
        # a scale is rounded to float32 in the file, so an exact product may be a little below an integer
        out = [math.floor(np.float32(s) * np.float32(n) + 1e-6) for s, n in zip(factors, extents)]
        factors = [o / n if abs(o / n - s) < 1e-6 * s else s for s, o, n in zip(factors, out, extents)]
    node.check(
        len(factors) == len(which) and min(out, default=1) >= 0,
        f"expected a scale or size for each of {len(which)} axes, got {out}",
    )
    return [Axis(*each) for each in zip(extents, out, factors, parts)]


def _resized(node: Node, x: Tensor, axes: dict[int, Axis], mode: str, nearest: str) -> Tensor:
    kind, dtype = node.get("mode", "nearest"), x.dtype
    ready = _interpolated(node, x, axes, mode, nearest)
    if ready is not None:
        return ready
    if dtype.kind != "f" and kind != "nearest":
        x = x.astype(np.float32)
    for at, axis in axes.items():
        if axis.unchanged:
            continue
        if kind == "nearest":
            x = _taken(x, at, _nearest_rows(axis, mode, nearest))
        else:
            rows, weights = _taps(node, axis, mode)
            shape = [-1 if i == at else 1 for i in range(x.ndim)]
            parts = [
                _taken(x, at, r) * as_tensor(w.astype(x.dtype).reshape(shape)).to(x.device)
                for r, w in zip(rows, weights)
            ]
            x = sum(parts[1:], parts[0])
        if mode == "tf_crop_and_resize":
            x = _outside(node, x, at, axis)
    return x if x.dtype == dtype else x.round().astype(dtype)


def _taken(x: Tensor, axis: int, rows: np.ndarray) -> Tensor:
    return x[(slice(None),) * axis + (rows,)]


def _interpolated(node: Node, x: Tensor, axes: dict[int, Axis], mode: str, nearest: str) -> Tensor | None:
    """The result by ``F.interpolate``, which knows the usual cases; None for others."""
    n, kind = x.ndim - 2, node.get("mode", "nearest")
    spatial = [axes.get(i, Axis(x.shape[i], x.shape[i], 1.0)) for i in range(2, x.ndim)]
    rest = [axis for i, axis in axes.items() if i < 2]
    exact = all(math.isclose(a.scale, a.out / a.n) and a.out > 0 for a in spatial)
    if not 1 <= n <= 3 or not exact or x.dtype.kind != "f" or not all(a.unchanged for a in rest):
        return None
    if mode == "tf_crop_and_resize" or node.get("antialias", 0) or node.get("exclude_outside", 0):
        return None
    size = [a.out for a in spatial]
    if kind == "nearest":
        # Enlarged by a whole number, each row is repeated, in any of these ways of rounding.
        same = mode == "asymmetric" and nearest == "floor"
        same = same or (mode in HALF_PIXEL and nearest.startswith("round") and min(size) > 1)
        return F.interpolate(x, size) if same and all(a.out % a.n == 0 for a in spatial) else None
    if kind == "cubic" and (n != 2 or node.get("cubic_coeff_a", -0.75) != -0.75):
        return None
    corners = mode == "align_corners"
    if not (corners or (mode in HALF_PIXEL and (mode == "half_pixel" or min(size) > 1))):
        return None
    return F.interpolate(x, size, mode="bicubic" if kind == "cubic" else LINEAR[n], align_corners=corners)


# ------------------------------------------------------------------------------------------------- one axis
def _positions(axis: Axis, mode: str) -> np.ndarray:
    """Where each row of the result lies in the input; rows of the input are at 0, 1, ..."""
    at, last, width = np.arange(axis.out, dtype=np.float64), axis.n - 1, axis.scale * axis.n
    match mode:
        case "align_corners":
            return at * last / (width - 1) if width != 1 else at * 0
        case "asymmetric":
            return at / axis.scale
        case "tf_half_pixel_for_nn":
            return (at + 0.5) / axis.scale
        case "tf_crop_and_resize":
            begin, end = axis.roi
            step = (end - begin) * last / (width - 1) if width != 1 else 0.0
            return begin * last + at * step + ((end - begin) * last / 2 if width == 1 else 0)
        case "pytorch_half_pixel" if width == 1:
            return at * 0 - 0.5
        case "half_pixel_symmetric":
            shift = axis.n / 2 * (1 - axis.out / width)
            return shift + (at + 0.5) / axis.scale - 0.5
        case _:
            return (at + 0.5) / axis.scale - 0.5


def _nearest_rows(axis: Axis, mode: str, nearest: str) -> np.ndarray:
    at = _positions(axis, mode)
    rounded = {
        "floor": np.floor,
        "ceil": np.ceil,
        "round_prefer_floor": lambda at: np.ceil(at - 0.5),
        "round_prefer_ceil": lambda at: np.floor(at + 0.5),
    }[nearest](at)
    return np.clip(rounded.astype(np.int64), 0, axis.n - 1)


def _taps(node: Node, axis: Axis, mode: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the input and their weights: one row per tap, one column per row of the result.

    With ``antialias`` the kernel of a smaller result is wider by the same factor.
    """
    at = _positions(axis, mode)
    factor = min(axis.scale, 1.0) if node.get("antialias", 0) else 1.0
    cubic = node.get("mode") == "cubic"
    reach = math.ceil((2 if cubic else 1) / factor)
    rows = np.floor(at).astype(np.int64) + np.arange(1 - reach, reach + 1)[:, None]
    distance = np.abs(rows - at) * factor
    weights = _cubic(distance, node.get("cubic_coeff_a", -0.75)) if cubic else np.maximum(1 - distance, 0)
    if node.get("exclude_outside", 0):
        weights = np.where((rows < 0) | (rows >= axis.n), 0, weights)
    return np.clip(rows, 0, axis.n - 1), weights / weights.sum(0)


def _cubic(t: np.ndarray, a: float) -> np.ndarray:
    """Keys' cubic convolution kernel at the distance ``t``."""
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


def _outside(node: Node, x: Tensor, at: int, axis: Axis) -> Tensor:
    """``x`` with ``extrapolation_value`` where a row lies outside the input."""
    position = _positions(axis, "tf_crop_and_resize")
    inside = ((position >= 0) & (position <= axis.n - 1)).reshape(
        [-1 if i == at else 1 for i in range(x.ndim)]
    )
    return x.where(as_tensor(inside).to(x.device), node.get("extrapolation_value", 0.0))


OPERATORS: dict[str, Operator] = {
    "Resize": row(resize, host=(1, 2, 3)),
    "Upsample": row(upsample, host=(1,)),
}
