"""Operators of object detection, and of images that are sampled at given positions."""

from __future__ import annotations

import math

import numpy as np

from ...checks import shape_str
from ...creation import as_tensor
from ...nn import functional as F
from ...tensor import Tensor
from ..node import Node, Operator, ints, row
from .convolution import CONV_TRANSPOSE
from .windows import pairs, per_dimension

#: ``mode`` of GridSample -> that of ``F.grid_sample``; the first three are the names of opset 16.
SAMPLING = {
    "bilinear": "bilinear",
    "nearest": "nearest",
    "bicubic": "bicubic",
    "linear": "bilinear",
    "cubic": "bicubic",
}


def non_max_suppression(
    node: Node,
    boxes: np.ndarray,
    scores: np.ndarray,
    most: np.ndarray | None = None,
    iou: np.ndarray | None = None,
    least: np.ndarray | None = None,
) -> np.ndarray:
    """NonMaxSuppression: ``(batch, class, box)`` of the boxes that no better box of the class overlaps much.

    The number of results depends on the values, so it is computed on the host.
    """
    count = 0 if most is None else int(most.reshape(-1)[0])
    limit = 0.0 if iou is None else float(iou.reshape(-1)[0])
    threshold = -np.inf if least is None else float(least.reshape(-1)[0])
    found: list[tuple[int, int, int]] = []
    for n in range(scores.shape[0]):
        corners = _corners(boxes[n].astype(np.float64), node.get("center_point_box", 0))
        for c in range(scores.shape[1]):
            found += [(n, c, i) for i in _best(corners, scores[n, c], count, limit, threshold)]
    return np.array(found, np.int64).reshape(-1, 3)


def _corners(boxes: np.ndarray, centred: int) -> np.ndarray:
    """Boxes as two opposite corners, the smaller coordinates first."""
    if centred:  # x, y, width, height
        half = boxes[:, 2:] / 2
        return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], 1)
    first, second = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([np.minimum(first, second), np.maximum(first, second)], 1)


def _best(boxes: np.ndarray, scores: np.ndarray, count: int, limit: float, threshold: float) -> list[int]:
    """The boxes of the highest scores that do not overlap a better one by more than ``limit``."""
    area = np.prod(boxes[:, 2:] - boxes[:, :2], 1)
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > threshold]
    chosen: list[int] = []
    while order.size and len(chosen) < count:
        i, order = order[0], order[1:]
        chosen.append(int(i))
        size = np.minimum(boxes[i, 2:], boxes[order, 2:]) - np.maximum(boxes[i, :2], boxes[order, :2])
        common = np.prod(np.maximum(size, 0), 1)
        union = area[i] + area[order] - common
        order = order[common <= limit * union]
    return chosen


def grid_sample(node: Node, x: Tensor, grid: Tensor) -> Tensor:
    """GridSample."""
    mode = node.get("mode", "bilinear" if node.opset < 20 else "linear")
    return F.grid_sample(
        x, grid, SAMPLING[mode], node.get("padding_mode", "zeros"), bool(node.get("align_corners", 0))
    )


def affine_grid(node: Node, theta: Tensor, size: np.ndarray) -> Tensor:
    """AffineGrid."""
    return F.affine_grid(theta, ints(size), bool(node.get("align_corners", 0)))


def col2im(node: Node, x: Tensor, image: np.ndarray, block: np.ndarray) -> Tensor:
    """Col2Im: windows are added where they were cut out, as a transposed convolution does."""
    size, kernel = tuple(ints(image)), tuple(ints(block))
    n, area = len(size), math.prod(kernel)
    node.check(1 <= n <= 3, f"expected 1 to 3 spatial dimensions, got {n}")
    stride, dilation = per_dimension(node, "strides", n), per_dimension(node, "dilations", n)
    around = pairs(node, "pads", n)
    extent = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    out = [(i + sum(p) - e) // s + 1 for i, p, e, s in zip(size, around, extent, stride)]
    node.check(
        math.prod(out) == x.shape[2] and x.shape[1] % area == 0,
        f"{shape_str(x.shape)} are not the windows of {shape_str(kernel)} of an image of {shape_str(size)}",
    )
    channels = x.shape[1] // area
    # Each filter sets one pixel of the window. Other algorithms would round what is only moved and added.
    filters = np.tile(np.eye(area, dtype=x.dtype), (channels, 1)).reshape(-1, 1, *kernel)
    extra = [i + sum(p) - e - (o - 1) * s for i, p, e, o, s in zip(size, around, extent, out, stride)]
    windows = x.reshape(x.shape[0], x.shape[1], *out)
    weight = as_tensor(filters).to(x.device)
    options = weight, None, stride, around, tuple(extra), channels, dilation
    return CONV_TRANSPOSE[n](windows, *options, algorithm="direct")


OPERATORS: dict[str, Operator] = {
    "AffineGrid": row(affine_grid, host=(1,)),
    "Col2Im": row(col2im, host=(1, 2)),
    "GridSample": row(grid_sample),
    "NonMaxSuppression": row(non_max_suppression, host=(0, 1, 2, 3, 4)),
}
