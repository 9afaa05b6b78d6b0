"""Pooling, and the reductions that global pooling becomes."""

from __future__ import annotations

from typing import Any

from fastconv.spec import AdaptivePoolSpec, PoolSpec, adaptive_pool_spec, pool_spec

from .table import Lowering, each, pairs


def _max_spec(
    x: Any, kernel: Any, stride: Any = (), padding: Any = (0,), dilation: Any = (1,), ceil: bool = False
) -> PoolSpec:
    n = x.ndim - 2
    stride = each(stride, n) if stride else None
    padding, dilation = pairs(_list(padding), n), each(_list(dilation), n)
    return pool_spec(f"max_pool{n}d", x.shape, each(kernel, n), stride, padding, dilation, ceil)


def _list(numbers: Any) -> Any:
    return (numbers,) if isinstance(numbers, int) else numbers


def max_pool(engine: Any, x: Any, *window: Any) -> tuple[Any, Any]:
    """``y, index``; where a plane has at most 2^31 pixels the index is int32, not int64 as in PyTorch."""
    return engine.max_pool_fwd(x, _max_spec(x, *window))


def _max_pool_backward(engine: Any, gy: Any, x: Any, *rest: Any) -> Any:
    *window, index = rest
    return engine.max_pool_bwd(gy, index, _max_spec(x, *window))


def _average_spec(
    x: Any,
    kernel: Any,
    stride: Any = (),
    padding: Any = (0,),
    ceil: bool = False,
    count_include_pad: bool = True,
    divisor: int | None = None,
) -> PoolSpec:
    n = x.ndim - 2
    stride = each(stride, n) if stride else None
    padding = pairs(_list(padding), n)
    return pool_spec(
        f"avg_pool{n}d", x.shape, each(kernel, n), stride, padding, 1, ceil, count_include_pad, divisor
    )


def _average_pool(engine: Any, x: Any, *window: Any) -> Any:
    return engine.avg_pool_fwd(x, _average_spec(x, *window))


def _average_pool_backward(engine: Any, gy: Any, x: Any, *window: Any) -> Any:
    return engine.avg_pool_bwd(gy, _average_spec(x, *window))


def _adaptive_spec(x: Any, size: Any) -> AdaptivePoolSpec:
    return adaptive_pool_spec(f"adaptive_avg_pool{x.ndim - 2}d", x.shape, tuple(size))


def _adaptive_average(engine: Any, x: Any, size: Any) -> Any:
    return engine.adaptive_avg_pool_fwd(x, _adaptive_spec(x, size))


def _adaptive_average_backward(engine: Any, gy: Any, x: Any) -> Any:
    return engine.adaptive_avg_pool_bwd(gy, _adaptive_spec(x, gy.shape[2:]))


def _axes(x: Any, axes: Any) -> tuple[int, ...]:
    return tuple(range(x.ndim)) if not axes else tuple(a % x.ndim for a in axes)


def _mean(engine: Any, x: Any, axes: Any = None, keepdims: bool = False) -> Any:
    return engine.reduce_fwd("mean", x, _axes(x, axes), keepdims)


def _sum(engine: Any, x: Any, axes: Any = None, keepdims: bool = False) -> Any:
    return engine.reduce_fwd("sum", x, _axes(x, axes), keepdims)


def _batched(x: Any, *window: Any) -> bool:
    return 3 <= x.ndim <= 5


def _batched_backward(gy: Any, x: Any, *window: Any) -> bool:
    return 3 <= x.ndim <= 5


def _has_elements(x: Any, *rest: Any, **options: Any) -> bool:
    return x.ndim > 0 and not options


OPS = {
    **{f"aten.max_pool{n}d_with_indices.default": Lowering(max_pool, _batched) for n in (2, 3)},
    **{
        f"aten.max_pool{n}d_with_indices_backward.default": Lowering(_max_pool_backward, _batched_backward)
        for n in (2, 3)
    },
    **{f"aten.avg_pool{n}d.default": Lowering(_average_pool, _batched) for n in (2, 3)},
    **{
        f"aten.avg_pool{n}d_backward.default": Lowering(_average_pool_backward, _batched_backward)
        for n in (2, 3)
    },
    **{f"aten._adaptive_avg_pool{n}d.default": Lowering(_adaptive_average, _batched) for n in (2, 3)},
    **{
        f"aten._adaptive_avg_pool{n}d_backward.default": Lowering(
            _adaptive_average_backward, _batched_backward
        )
        for n in (2, 3)
    },
    "aten.mean.dim": Lowering(_mean, _has_elements),
    "aten.mean.default": Lowering(_mean, _has_elements),
    "aten.sum.dim_IntList": Lowering(_sum, _has_elements),
    "aten.sum.default": Lowering(_sum, _has_elements),
}
