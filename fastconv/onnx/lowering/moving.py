"""Ops that move elements: padding, resizing, indexing, changes of shape and dtype."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...checks import check
from ...graph.program import Value
from ...spec import ConvSpec, GridSampleSpec, InterpolateSpec
from ..writer import ELEMENT_TYPES, NAME, Writer

PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}
#: Modes of ``interpolate`` -> attributes of Resize.
RESIZES: dict[str, dict[str, Any]] = {
    "nearest": {
        "mode": "nearest",
        "coordinate_transformation_mode": "asymmetric",
        "nearest_mode": "floor",
    },
    "nearest-exact": {
        "mode": "nearest",
        "coordinate_transformation_mode": "half_pixel",
        "nearest_mode": "round_prefer_ceil",
    },
    "bicubic": {"mode": "cubic", "cubic_coeff_a": -0.75},
}


# ------------------------------------------------------------------------------------------------- pixels
def pad(w: Writer, x: Value, pairs: Sequence[tuple[int, int]], mode: str, value: float) -> str:
    """``pad_fwd``."""
    check(mode in PAD_MODES, NAME, f"{mode} padding has no operator in opset 18")
    before, after = zip(*pairs)
    constant = [w.scalar(value, x)] if mode == "constant" and value else []
    return w.node("Pad", w[x], w.ints(*before, *after), *constant, mode=PAD_MODES[mode])


def interpolate(w: Writer, x: Value, spec: InterpolateSpec) -> str:
    """``interpolate_fwd``: by sizes of the spatial axes, or by scales where they map the coordinates."""
    options = RESIZES.get(spec.mode, {"mode": "linear"})
    if not spec.mode.startswith("nearest"):
        options = {
            **options,
            "coordinate_transformation_mode": "align_corners" if spec.align_corners else "half_pixel",
        }
    exact = spec.scale is None or all(i * s == o for i, s, o in zip(spec.in_size, spec.scale, spec.out_size))
    if spec.scale is None or exact:
        axes = list(range(2, x.ndim))
        return w.node("Resize", w[x], "", "", w.ints(*spec.out_size), axes=axes, **options)
    scales = w.constant(np.array((1, 1, *spec.scale), np.float32))
    return w.node("Resize", w[x], "", scales, **options)


def grid_sample(w: Writer, x: Value, grid: Value, spec: GridSampleSpec) -> str:
    """``grid_sample_fwd``."""
    check(spec.ndim == 2, NAME, "grid_sample of volumes has no operator in opset 18")
    return w.node(
        "GridSample",
        w[x],
        w[grid],
        mode=spec.mode,
        padding_mode=spec.padding_mode,
        align_corners=int(spec.align_corners),
    )


def unfold(w: Writer, x: Value, spec: ConvSpec) -> str:
    """``unfold``: a convolution whose filters each pick one pixel."""
    area = int(np.prod(spec.kernel))
    filters = np.tile(np.eye(area, dtype=x.dtype), (spec.c_in, 1)).reshape(-1, 1, *spec.kernel)
    before, after = zip(*spec.padding)
    y = w.node(
        "Conv",
        w[x],
        w.constant(filters),
        group=spec.c_in,
        strides=spec.stride,
        dilations=spec.dilation,
        pads=(*before, *after),
    )
    return w.node("Reshape", y, w.ints(0, spec.c_in * area, -1))


def fold(w: Writer, cols: Value, spec: ConvSpec) -> str:
    """``fold``."""
    before, after = zip(*spec.padding)
    return w.node(
        "Col2Im",
        w[cols],
        w.ints(*spec.in_size),
        w.ints(*spec.kernel),
        strides=spec.stride,
        dilations=spec.dilation,
        pads=(*before, *after),
    )


# ------------------------------------------------------------------------------------------------- indices
def getitem(w: Writer, x: Value, key: Any) -> str:
    """``getitem``: slices, then an array of indices, then ints and new axes."""
    parts = list(key) if isinstance(key, tuple) else [key]
    taken = sum(p is not None and p is not Ellipsis for p in parts)
    if Ellipsis not in [p if p is Ellipsis else 0 for p in parts]:
        parts.append(Ellipsis)
    at = next(i for i, p in enumerate(parts) if p is Ellipsis)
    parts[at : at + 1] = [slice(None)] * (x.ndim - taken)
    y, axes = _sliced(w, x, [p for p in parts if p is not None]), iter(range(x.ndim))
    gone, axis_of = [], {i: next(axes) for i, p in enumerate(parts) if p is not None}
    arrays = [i for i, p in enumerate(parts) if isinstance(p, Value)]
    check(len(arrays) <= 1, NAME, "indexing with several arrays has no operator in ONNX")
    for i in arrays:
        index: Value = parts[i]
        check(index.dtype.kind in "iu", NAME, "indexing with bools has no operator in ONNX")
        check(
            index.ndim == 1 or None not in parts, NAME, "indexing with arrays and new axes is not supported"
        )
        y = w.node("Gather", y, w[index], axis=axis_of[i])
    for i, p in enumerate(parts):
        if isinstance(p, (int, np.integer)):
            gone.append(axis_of[i])
    if gone:
        check(all(parts[i].ndim == 1 for i in arrays), NAME, "indexing with ints and arrays is not supported")
        y = w.node("Squeeze", y, w.ints(*gone))
    new = [j for j, p in enumerate(p for p in parts if not isinstance(p, (int, np.integer))) if p is None]
    return w.node("Unsqueeze", y, w.ints(*new)) if new else y


def _sliced(w: Writer, x: Value, parts: Sequence[Any]) -> str:
    """``x`` with slices and ints applied; an int leaves an axis of extent 1."""
    starts, ends, axes, steps = [], [], [], []
    for axis, p in enumerate(parts):
        if isinstance(p, Value) or (isinstance(p, slice) and p == slice(None)):
            continue
        n = x.shape[axis]
        fixed = not w.varies(x)[axis]
        if isinstance(p, slice):
            check(
                fixed or (p.start or 0) >= 0 <= (p.stop or 0), NAME, "a part of the batch has no fixed size"
            )
            begin, end, step = p.indices(n)
            end = -n - 1 if end < 0 else end
        else:
            begin = int(p) % n
            end, step = begin + 1, 1
        for numbers, number in zip((starts, ends, axes, steps), (begin, end, axis, step)):
            numbers.append(number)
    if not axes:
        return w[x]
    return w.node("Slice", w[x], *(w.ints(*numbers) for numbers in (starts, ends, axes, steps)))


def gather(w: Writer, x: Value, index: Value, axis: int) -> str:
    """``gather``; extents of 1 of the index broadcast."""
    shape = [index.shape[i] if i == axis else n for i, n in enumerate(x.shape)]
    name = w[index]
    if index.shape != tuple(shape):
        check(not any(w.varies(x)), NAME, "gather broadcasts over the batch; export with dynamic_batch=False")
        name = w.node("Expand", name, w.ints(*shape))
    return w.node("GatherElements", w[x], name, axis=axis)


# ------------------------------------------------------------------------------------------------- shapes
def concatenate(w: Writer, xs: Sequence[Value], axis: int) -> str:
    """``concatenate``."""
    return w.node("Concat", *(w[x] for x in xs), axis=axis)


def reshape(w: Writer, x: Value, shape: Sequence[int]) -> str:
    """``reshape``; an extent that depends on the batch is computed."""
    result = w.call.result if w.call else x
    return w.reshape(w[x], result.shape, w.varies(result))


def permute(w: Writer, x: Value, axes: Sequence[int]) -> str:
    """``permute``."""
    return w.node("Transpose", w[x], perm=list(axes))


def broadcast_to(w: Writer, x: Value, shape: Sequence[int]) -> str:
    """``broadcast_to``; an extent that depends on the batch must be that of ``x``."""
    result = w.call.result if w.call else x
    own = (False,) * (result.ndim - x.ndim) + w.varies(x)
    check(own == w.varies(result), NAME, "a tensor is repeated over the batch; use dynamic_batch=False")
    return w.node("Expand", w[x], w.ints(*(1 if v else n for n, v in zip(result.shape, own))))


def cast(w: Writer, x: Value, dtype: np.dtype[Any]) -> str:
    """``cast``."""
    return w.node("Cast", w[x], to=ELEMENT_TYPES[np.dtype(dtype)])


def copy(w: Writer, x: Value) -> str:
    """``copy``: values do not change, so a copy has no node."""
    return w[x]


LOWERINGS: dict[str, Callable[..., Any]] = {
    "broadcast_to": broadcast_to,
    "cast": cast,
    "concatenate": concatenate,
    "copy": copy,
    "fold": fold,
    "gather": gather,
    "getitem": getitem,
    "grid_sample_fwd": grid_sample,
    "interpolate_fwd": interpolate,
    "pad_fwd": pad,
    "permute": permute,
    "reshape": reshape,
    "unfold": unfold,
}
