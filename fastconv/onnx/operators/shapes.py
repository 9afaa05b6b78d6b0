"""Shapes: operators that move elements or make new tensors, and what is known of shapes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...checks import LIMIT
from ...creation import as_tensor
from ...functions.joining import cat
from ...nn import functional as F
from ...tensor import Tensor
from ..node import Node, Operator, Value, ints, row
from ..package import DTYPES

PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


# ------------------------------------------------------------------------------------------------- of shapes
def shape(node: Node, x: Tensor) -> np.ndarray:
    """Shape: a host array, so that what is computed of it is known before tensors are."""
    return np.array(x.shape[node.get("start", 0) : node.get("end")], np.int64)


def size(node: Node, x: Tensor) -> np.ndarray:
    """Size: a host array."""
    return np.array(x.numel(), np.int64)


def reshape(node: Node, x: Tensor, to: np.ndarray) -> Tensor:
    """Reshape; 0 keeps an extent, -1 is computed."""
    wanted = ints(to)
    if not node.get("allowzero", 0):
        node.check(
            0 not in wanted[x.ndim :],
            f"a 0 in the shape {wanted} keeps an extent that the input ({list(x.shape)}) does not have",
        )
        wanted = [x.shape[i] if n == 0 else n for i, n in enumerate(wanted)]
    return x.reshape(wanted)


def flatten(node: Node, x: Tensor) -> Tensor:
    """Flatten to a matrix."""
    axis = node.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def squeeze(node: Node, x: Tensor, axes: np.ndarray | None = None) -> Tensor:
    """Squeeze."""
    which = node.get("axes") if axes is None else ints(axes)
    which = [i for i, n in enumerate(x.shape) if n == 1] if which is None else [a % x.ndim for a in which]
    node.check(
        all(x.shape[a] == 1 for a in which), f"axes {which} must have extent 1 in the shape {list(x.shape)}"
    )
    return x.reshape([n for i, n in enumerate(x.shape) if i not in which])


def unsqueeze(node: Node, x: Tensor, axes: np.ndarray | None = None) -> Tensor:
    """Unsqueeze."""
    which = list(node.get("axes")) if axes is None else ints(axes)
    ndim = x.ndim + len(which)
    which = [a % ndim for a in which]
    rest = iter(x.shape)
    return x.reshape([1 if i in which else next(rest) for i in range(ndim)])


def transpose(node: Node, x: Tensor) -> Tensor:
    """Transpose."""
    return x.permute(tuple(node.get("perm", range(x.ndim)[::-1])))


def expand(node: Node, x: Tensor, to: np.ndarray) -> Tensor:
    """Expand: both shapes broadcast."""
    return x.broadcast_to(np.broadcast_shapes(tuple(x.shape), tuple(ints(to))))


def tile(node: Node, x: Tensor, repeats: np.ndarray) -> Tensor:
    """Tile."""
    return x.repeat(tuple(ints(repeats)))


# ------------------------------------------------------------------------------------------------- parts
def concat(node: Node, *values: Tensor) -> Tensor:
    """Concat."""
    return cat(values, node.get("axis"))


def split(node: Node, x: Tensor, sizes: np.ndarray | None = None) -> tuple[Tensor, ...]:
    """Split."""
    axis = node.get("axis", 0)
    parts = node.get("split") if sizes is None else ints(sizes)
    if parts is None:
        count = node.get("num_outputs", len(node.outputs))
        each = -(-x.shape[axis] // count)
        parts = [max(min(each, x.shape[axis] - i * each), 0) for i in range(count)]
    return x.split(list(parts), axis)


def slice_(
    node: Node,
    x: Tensor,
    starts: np.ndarray | None = None,
    ends: np.ndarray | None = None,
    axes: np.ndarray | None = None,
    steps: np.ndarray | None = None,
) -> Tensor:
    """Slice; before opset 10 its numbers are attributes."""
    if starts is None or ends is None:
        first, last, which = list(node.get("starts")), list(node.get("ends")), node.get("axes")
    else:
        first, last, which = ints(starts), ints(ends), None if axes is None else ints(axes)
    which = range(len(first)) if which is None else which
    step = [1] * len(first) if steps is None else ints(steps)
    node.check(0 not in step, "a step must not be 0")
    key = [slice(None)] * x.ndim
    for axis, begin, end, by in zip(which, first, last, step):
        n = x.shape[axis]
        begin, end = (v + n if v < 0 else v for v in (begin, end))
        if by > 0:
            key[axis] = slice(min(max(begin, 0), n), min(max(end, 0), n), by)
        else:
            end = min(max(end, -1), n - 1)
            key[axis] = slice(min(max(begin, 0), n - 1), None if end < 0 else end, by)
    return x[tuple(key)]


def pad(
    node: Node,
    x: Tensor,
    pads: np.ndarray | None = None,
    value: np.ndarray | None = None,
    axes: np.ndarray | None = None,
) -> Tensor:
    """Pad; before opset 11 its numbers are attributes."""
    numbers = list(node.get("pads", ())) if pads is None else ints(pads)
    which = list(range(x.ndim)) if axes is None else [a % x.ndim for a in ints(axes)]
    node.check(
        len(numbers) == 2 * len(which), f"expected {2 * len(which)} numbers of padding, got {len(numbers)}"
    )
    around = [(0, 0)] * x.ndim
    for axis, before, after in zip(which, numbers, numbers[len(which) :]):
        around[axis] = before, after
    mode = node.get("mode", "constant")
    node.check(mode in PAD_MODES, f"mode must be one of {', '.join(PAD_MODES)}, got {mode!r}")
    constant: Any = node.get("value", 0.0) if value is None else value.item()
    flat = [p for pair in reversed(around) for p in pair]
    return F.pad(x, flat, PAD_MODES[mode], constant if mode == "constant" else None)


# ------------------------------------------------------------------------------------------------- blocks
def depth_to_space(node: Node, x: Tensor) -> Tensor:
    """DepthToSpace: channels become blocks of pixels."""
    n, c, h, w = x.shape
    b = node.get("blocksize")
    node.check(c % (b * b) == 0, f"{c} channels must be divisible by blocksize^2 = {b * b}")
    if node.get("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, b)
    parts = x.reshape(n, b, b, c // (b * b), h, w).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape(n, c // (b * b), h * b, w * b)


def space_to_depth(node: Node, x: Tensor) -> Tensor:
    """SpaceToDepth: blocks of pixels become channels."""
    n, c, h, w = x.shape
    b = node.get("blocksize")
    node.check(h % b == 0 and w % b == 0, f"{h}x{w} pixels must be divisible by blocksize {b}")
    if node.get("mode", "DCR") == "CRD":
        return F.pixel_unshuffle(x, b)
    parts = x.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4)
    return parts.reshape(n, c * b * b, h // b, w // b)


def reverse_sequence(node: Node, x: Tensor, lengths: np.ndarray) -> Tensor:
    """ReverseSequence: the first elements of every example in reverse order."""
    time, batch = node.get("time_axis", 0), node.get("batch_axis", 1)
    examples = []
    for i, n in enumerate(ints(lengths)):
        example = x.narrow(batch, i, 1)
        rest = x.shape[time] - n
        examples.append(cat([example.narrow(time, 0, n).flip(time), example.narrow(time, n, rest)], time))
    return cat(examples, batch)


# ------------------------------------------------------------------------------------------ new tensors
def constant(node: Node) -> np.ndarray:
    """Constant."""
    for key, dtype in (("value", None), ("value_float", np.float32), ("value_floats", np.float32)):
        if (value := node.get(key)) is not None:
            return np.asarray(value, dtype)
    value = node.get("value_int", node.get("value_ints"))
    node.check(value is not None, f"expected a tensor or numbers, got {', '.join(node.attributes)}")
    return np.asarray(value, np.int64)


def constant_of_shape(node: Node, to: np.ndarray) -> np.ndarray:
    """ConstantOfShape, on the host."""
    value = np.asarray(node.get("value", np.zeros(1, np.float32))).reshape(-1)
    wanted = ints(to)
    node.check(
        math.prod(wanted) * value.itemsize < LIMIT >> 8 and min(wanted, default=0) >= 0,
        f"a constant of shape {wanted} is too large: the limit is 4 GB",
    )
    return np.full(wanted, value[0], value.dtype)


def range_(node: Node, start: np.ndarray, limit: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """Range, on the host."""
    first, last, step = (v.reshape(()).item() for v in (start, limit, delta))
    node.check(step != 0, "the step must not be 0")
    count = max(math.ceil((last - first) / step), 0)
    node.check(count < LIMIT >> 10, f"{count} numbers are too many")
    return (first + np.arange(count) * step).astype(start.dtype)


def eye_like(node: Node, x: Value) -> np.ndarray:
    """EyeLike, on the host."""
    dtype = DTYPES[node.get("dtype")] if node.get("dtype") else x.dtype
    return np.eye(*x.shape, k=node.get("k", 0), dtype=dtype)


def identity(node: Node, x: Tensor) -> Tensor:
    """Identity."""
    return x


def trilu(node: Node, x: Tensor, k: np.ndarray | None = None) -> Tensor:
    """Trilu: the upper or lower triangle."""
    diagonal = 0 if k is None else int(k)
    if x.numel() == 0:
        return x
    rows, columns = x.shape[-2:]
    diagonal = min(max(diagonal, -rows - 1), columns + 1)
    return x.triu(diagonal) if node.get("upper", 1) else x.tril(diagonal)


def one_hot(node: Node, indices: Tensor, depth: np.ndarray, values: Tensor) -> Tensor:
    """OneHot: negative indices count from the end, others out of range give no 1."""
    n = int(depth.reshape(-1)[0])
    axis = node.get("axis", -1) % (indices.ndim + 1)
    at = indices.astype(np.int64)
    at = (at + n).where(at < 0, at).unsqueeze(axis)
    order = np.arange(n).reshape([-1 if i == axis else 1 for i in range(at.ndim)])
    return values[1].where(at == as_tensor(order).to(at.device), values[0])


OPERATORS: dict[str, Operator] = {
    "Concat": row(concat),
    "Constant": row(constant),
    "ConstantOfShape": row(constant_of_shape, host=(0,)),
    "DepthToSpace": row(depth_to_space),
    "Expand": row(expand, host=(1,)),
    "EyeLike": row(eye_like),
    "Flatten": row(flatten),
    "Identity": row(identity),
    "OneHot": row(one_hot, host=(1,)),
    "Pad": row(pad, host=(1, 2, 3)),
    "Range": row(range_, host=(0, 1, 2)),
    "Reshape": row(reshape, host=(1,)),
    "ReverseSequence": row(reverse_sequence, host=(1,)),
    "Shape": row(shape),
    "Size": row(size),
    "Slice": row(slice_, host=(1, 2, 3, 4)),
    "SpaceToDepth": row(space_to_depth),
    "Split": row(split, host=(1,)),
    "Squeeze": row(squeeze, host=(1,)),
    "Tile": row(tile, host=(1,)),
    "Transpose": row(transpose),
    "Trilu": row(trilu, host=(1,)),
    "Unsqueeze": row(unsqueeze, host=(1,)),
}
