"""Resizing: nearest neighbours, linear and bicubic."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastconv.spec import InterpolateSpec

from .table import Lowering


def _spec(mode: str, x_shape: Any, size: Any, align_corners: bool, scales: Any) -> InterpolateSpec:
    known = [s for s in scales if s is not None]
    scale = tuple(known) if len(known) == len(size) else None
    return InterpolateSpec(
        x_shape[0], x_shape[1], tuple(x_shape[2:]), tuple(size), mode, align_corners, scale
    )


def _nearest(mode: str, engine: Any, x: Any, size: Any, *scales: Any) -> Any:
    return engine.interpolate_fwd(x, _spec(mode, x.shape, size, False, scales))


def _nearest_bwd(mode: str, engine: Any, gy: Any, size: Any, x_shape: Any, *scales: Any) -> Any:
    return engine.interpolate_bwd(gy, _spec(mode, x_shape, size, False, scales))


def _linear(mode: str, engine: Any, x: Any, size: Any, align_corners: bool, *scales: Any) -> Any:
    return engine.interpolate_fwd(x, _spec(mode, x.shape, size, align_corners, scales))


def _sizes(x: Any, size: Any, scales: Any) -> tuple[Any, Any]:
    """The result's extents and the factors of an op that is given one of the two."""
    if scales is None:
        return size, ()
    return [int(extent * scale) for extent, scale in zip(x.shape[2:], scales)], scales


def _nearest_vec(mode: str, engine: Any, x: Any, size: Any, scales: Any = None) -> Any:
    size, scales = _sizes(x, size, scales)
    return _nearest(mode, engine, x, size, *scales)


def _linear_vec(mode: str, engine: Any, x: Any, size: Any, align_corners: bool, scales: Any = None) -> Any:
    size, scales = _sizes(x, size, scales)
    return _linear(mode, engine, x, size, align_corners, *scales)


def _linear_bwd(
    mode: str, engine: Any, gy: Any, size: Any, x_shape: Any, align_corners: bool, *scales: Any
) -> Any:
    return engine.interpolate_bwd(gy, _spec(mode, x_shape, size, align_corners, scales))


def _table() -> dict[str, Lowering]:
    found: dict[str, Lowering] = {}
    for n, linear in ((1, "linear"), (2, "bilinear"), (3, "trilinear")):
        for name, mode in ((f"nearest{n}d", "nearest"), (f"_nearest_exact{n}d", "nearest-exact")):
            aten = f"aten.upsample_{name}" if mode == "nearest" else f"aten._upsample{name}"
            found[f"{aten}.default"] = Lowering(partial(_nearest, mode))
            found[f"{aten}.vec"] = Lowering(partial(_nearest_vec, mode))
            found[f"{aten}_backward.default"] = Lowering(partial(_nearest_bwd, mode))
        aten = f"aten.upsample_{linear}{n}d"
        found[f"{aten}.default"] = Lowering(partial(_linear, linear))
        found[f"{aten}.vec"] = Lowering(partial(_linear_vec, linear))
        found[f"{aten}_backward.default"] = Lowering(partial(_linear_bwd, linear))
    found["aten.upsample_bicubic2d.default"] = Lowering(partial(_linear, "bicubic"))
    found["aten.upsample_bicubic2d.vec"] = Lowering(partial(_linear_vec, "bicubic"))
    found["aten.upsample_bicubic2d_backward.default"] = Lowering(partial(_linear_bwd, "bicubic"))
    return found


OPS = _table()
