"""Changes of shape, joins, slices and padding."""

from __future__ import annotations

from typing import Any

from .table import Lowering


def _view(engine: Any, x: Any, shape: Any) -> Any:
    shape = list(shape)
    if -1 in shape:
        known = 1
        for extent in shape:
            known *= 1 if extent == -1 else extent
        shape[shape.index(-1)] = x.size // known if known else 0
    return engine.reshape(x, tuple(shape))


def _permute(engine: Any, x: Any, axes: Any) -> Any:
    return engine.permute(x, tuple(a % x.ndim for a in axes))


def _transpose(engine: Any, x: Any, a: int = 0, b: int = 1) -> Any:
    axes = list(range(x.ndim))
    axes[a], axes[b] = axes[b], axes[a]
    return engine.permute(x, tuple(axes))


def _unsqueeze(engine: Any, x: Any, axis: int) -> Any:
    at = axis % (x.ndim + 1)
    return engine.reshape(x, (*x.shape[:at], 1, *x.shape[at:]))


def _squeeze(engine: Any, x: Any, axes: Any) -> Any:
    axes = {a % x.ndim for a in ((axes,) if isinstance(axes, int) else axes)}
    kept = [n for i, n in enumerate(x.shape) if i not in axes or n != 1]
    return engine.reshape(x, tuple(kept))


def _expand(engine: Any, x: Any, shape: Any) -> Any:
    missing = len(shape) - x.ndim
    shape = [x.shape[i - missing] if n == -1 else n for i, n in enumerate(shape)]
    return engine.broadcast_to(x, tuple(shape))


def _cat(engine: Any, xs: Any, axis: int = 0) -> Any:
    return engine.concatenate(list(xs), axis % xs[0].ndim)


def _slice(
    engine: Any, x: Any, axis: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Any:
    key = [slice(None)] * x.ndim
    key[axis] = slice(start, end, step)
    return engine.getitem(x, tuple(key))


def _select(engine: Any, x: Any, axis: int, index: int) -> Any:
    key: list[Any] = [slice(None)] * x.ndim
    key[axis] = index
    return engine.getitem(x, tuple(key))


def _pad(engine: Any, x: Any, pad: Any, value: float = 0.0) -> Any:
    pairs = [(0, 0)] * x.ndim
    for i in range(len(pad) // 2):
        pairs[x.ndim - 1 - i] = pad[2 * i], pad[2 * i + 1]
    return engine.pad_fwd(x, tuple(pairs), "constant", float(value))


def _clone(engine: Any, x: Any, memory_format: Any = None) -> Any:
    return engine.copy(x)


def _extent(engine: Any, x: Any, axis: int) -> int:
    return x.shape[axis]


def _same(xs: Any, axis: int = 0) -> bool:
    """Joins of tensors of one rank; PyTorch ignores empty tensors of rank 1 among them."""
    return all(x.ndim == xs[0].ndim for x in xs) and xs[0].ndim > 0


def _has_axes(x: Any, *rest: Any) -> bool:
    return x.ndim > 0


def _matrix(x: Any) -> bool:
    return x.ndim == 2


OPS = {
    "aten.view.default": Lowering(_view),
    "aten._unsafe_view.default": Lowering(_view),
    "aten.reshape.default": Lowering(_view),
    "aten.permute.default": Lowering(_permute),
    "aten.transpose.int": Lowering(_transpose, _has_axes),
    "aten.t.default": Lowering(_transpose, _matrix),
    "aten.unsqueeze.default": Lowering(_unsqueeze),
    "aten.squeeze.dim": Lowering(_squeeze, _has_axes),
    "aten.squeeze.dims": Lowering(_squeeze, _has_axes),
    "aten.expand.default": Lowering(_expand),
    "aten.cat.default": Lowering(_cat, _same),
    "aten.slice.Tensor": Lowering(_slice, _has_axes),
    "aten.select.int": Lowering(_select, _has_axes),
    "aten.constant_pad_nd.default": Lowering(_pad),
    "aten.clone.default": Lowering(_clone),
    "aten.sym_size.int": Lowering(_extent),
}
