"""Every op of the contract once, on float32 arrays as in training, so that all kernels are compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from fastconv import spec

from .. import cpu as engine
from ..common.optimizers import COUNTS, RULES, STATES
from ..common.pair_loss import PAIR_LOSSES
from ..common.pointwise import BINARY, BITWISE, TERNARY
from ..common.reduce import REDUCTIONS
from ..common.unary import UNARY
from .codegen import depthwise_tile

Job = tuple[str, Callable[[], object]]

_rng = np.random.default_rng(0)


def _array(*shape: int) -> np.ndarray:
    """Values in (0.1, 1.1), channels-last in memory where there are channels."""
    a = _rng.random(shape, np.float32) + np.float32(0.1)
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1) if a.ndim > 2 else a


def _job(name: str, *args, label: str = "") -> Job:
    return f"{name} [{label}]" if label else name, partial(getattr(engine, name), *args)


def _convolutions(x: np.ndarray) -> Iterator[Job]:
    bias = _array(32)
    layers = (
        ("dense", 3, 1, 1),
        ("strided", 3, 1, 2),
        ("7x7 strided", 7, 1, 2),
        ("grouped", 3, 4, 1),
        *((f"depthwise {k}x{k}, stride {s}", k, 32, s) for k in depthwise_tile.TAPS for s in (1, 2)),
    )
    for what, size, groups, stride in layers:
        w = _rng.random((32, 32 // groups, size, size), np.float32)
        s = spec.conv_spec("conv2d", x.shape, w.shape, stride, size // 2, 1, groups)
        gy = _array(*s.y_shape)
        for a in engine.CONV_ALGORITHMS:
            if a.refuses(s, x.dtype) is None:
                label = f"{a.name}, {what}"
                yield _job("conv_fwd", x, w, bias, s, a.name, label=label)
                yield _job("conv_fwd", x, w, None, s, a.name, label=label + ", no bias")
                yield _job("conv_bwd_data", gy, w, s, a.name, label=label)
                yield _job("conv_bwd_weight", x, gy, s, a.name, label=label)
                yield _job("conv_prepack", w, label=label)
    hwio = np.ascontiguousarray(_array(3, 3, 8, 16))
    yield _job("in_memory_order", hwio.transpose(3, 2, 0, 1), (0, 1, 2, 3))
    for colours in (_array(4, 3, 32, 32), _array(4, 32, 32, 3).transpose(0, 3, 1, 2)):  # there and back
        label = f"3 channels, {colours.strides[1] // 4} apart"
        yield _job("in_memory_order", colours, (0, 2, 3, 1), label=label)
        yield _job("in_memory_order", colours, (0, 1, 2, 3), label=label)
    yield _job("channel_sum", x)


def _fused_chain() -> Iterator[Job]:
    small = spec.conv_spec("conv2d", (64, 1, 12, 12), (4, 1, 5, 5))
    half_size = spec.pool_spec("avg_pool2d", small.y_shape, 2)
    steps = (("conv", small), ("sigmoid", None), ("avg_pool", half_size), ("flatten", None))
    x, weights, biases = _array(*small.x_shape), (_array(4, 1, 5, 5),), (_array(4),)

    def both_passes():
        plan = engine.fused_chain_plan(steps, x.dtype)
        y, saved = engine.fused_chain_fwd(plan, x, weights, biases, True)
        return engine.fused_chain_bwd(plan, y, saved, weights, True, (True,), (True,))

    yield "fused_chain", both_passes


def _pooling(x: np.ndarray) -> Iterator[Job]:
    pool = spec.pool_spec("max_pool2d", x.shape, 2)
    half = _array(*pool.y_shape)
    index = engine.max_pool_fwd(x, pool)[1]
    yield _job("max_pool_fwd", x, pool)
    yield _job("max_pool_bwd", half, index, pool)
    yield _job("avg_pool_fwd", x, pool)
    yield _job("avg_pool_bwd", half, pool)
    line = _array(2, 32, 400)
    for what in ("max", "avg"):
        large = spec.pool_spec(f"{what}_pool1d", line.shape, 201, 1, 100)
        yield _job(f"{what}_pool_fwd", line, large, label="large windows")
    adaptive = spec.adaptive_pool_spec("adaptive_avg_pool2d", x.shape, 12)
    yield _job("adaptive_max_pool_fwd", x, adaptive)
    yield _job("adaptive_avg_pool_fwd", x, adaptive)
    yield _job("adaptive_avg_pool_bwd", half, adaptive)
    places = index.astype(np.int64)
    unpool = spec.unpool_spec("max_unpool2d", half.shape, places.shape, 2)
    yield _job("max_unpool_fwd", half, places, unpool)
    yield _job("max_unpool_bwd", x, places, unpool)


def _norms(x: np.ndarray, y: np.ndarray, table: np.ndarray) -> Iterator[Job]:
    c, c2 = _array(32), _array(32)
    yield _job("batch_norm_stats", x)
    for activation, residual in ((None, None), ("relu", None), ("relu", y)):
        label, with_residual = f"{activation}, {'no ' * (residual is None)}residual", residual is not None
        yield _job("batch_norm_fwd", x, c, c2, c, c2, residual, activation, label=label)
        for training in (True, False):
            mode = f"{label}, {'training' if training else 'evaluation'}"
            args = (y, x, x, c, c2, c, training, activation, with_residual)
            yield _job("batch_norm_bwd", *args, label=mode)

    def train(residual, activation):
        running = c.copy(), c.copy()
        saved = engine.batch_norm_train_fwd(x, c, c2, residual, 1e-5, activation, running, 0.1)[-1]
        return engine.batch_norm_train_bwd(y, saved, residual is not None)

    yield from (("batch_norm_train", partial(train, residual, "relu")) for residual in (None, y))
    for name, p, q in (("hardtanh", 0.0, 6.0), ("hardswish", 0.0, 0.0), ("silu", 0.0, 0.0)):
        yield f"batch_norm_train [{name}]", partial(train, None, (name, p, q))
    yield _job("running_step", c.copy(), c, 0.9, 0.1)
    row, n = _array(512), _array(256)
    yield _job("layer_norm_fwd", table, n, n, 1e-5)
    yield _job("layer_norm_bwd", table, table, row, row, n)
    per_group = _rng.random((8, 4), np.float32)
    yield _job("group_norm_fwd", x, 4, c, c, 1e-5)
    yield _job("group_norm_bwd", y, x, 4, per_group, per_group, c)
    yield _job("local_response_norm_fwd", x, 5, 1e-4, 0.75, 1.0)
    yield _job("local_response_norm_bwd", y, x, y, 5, 1e-4, 0.75)


def _dense(table: np.ndarray) -> Iterator[Job]:
    wide = _array(128, 256)
    yield _job("matmul", table, wide.T)
    batch = _rng.random((8, 64, 64), np.float32)
    yield _job("matmul", batch, batch, label="batch")
    yield _job("matmul", _array(1200, 256), _array(256, 1), label="one column")
    yield _job("linear_fwd", table, wide, _array(128))
    yield _job("linear_fwd", table, wide, None, label="no bias")
    yield _job("linear_bwd_data", _array(512, 128), wide)
    yield _job("linear_bwd_weight", _array(512, 128), table)


def _pointwise(x: np.ndarray, y: np.ndarray, table: np.ndarray) -> Iterator[Job]:
    for name, row in UNARY.items():
        for layout, a in (("NCHW", x), ("rows", table)):
            label = f"{name}, {layout}"
            yield _job("unary_fwd", name, a, *row.numbers, label=label)
            if row.backward:
                yield _job("unary_bwd", name, a, a if row.saves else None, *row.numbers, label=label)
    for name in BINARY:
        if name not in BITWISE:  # these are for integers
            yield _job("binary_fwd", name, x, y, label=name)
    for name in TERNARY:
        yield _job("ternary_fwd", name, x > 0 if name == "where" else x, x, y, 1.0, label=name)
    yield _job("dropout", x, 0.5, 2.0, 1, label="NCHW")
    yield _job("dropout", table, 0.5, 2.0, 1, label="rows")


def _reductions(x: np.ndarray, table: np.ndarray) -> Iterator[Job]:
    row = _array(512)
    groups = ((0, 1, 2, 3), x), ((0, 2, 3), x), ((0,), table), ((1,), table), ((0,), row)
    for axes, a in groups:
        label = f"axes {axes} of {a.ndim}"
        for name in REDUCTIONS:
            yield _job("reduce_fwd", name, a, axes, False, 3.0, label=f"{name}, {label}")
        yield _job("moments", a, axes, label=label)
        yield _job("logsumexp", a, axes, False, label=label)
    for axis, a in ((None, x), (1, x), (1, table)):
        yield _job("argmax", a, axis, False, label=f"axis {axis} of {a.ndim}")
        yield _job("argmin", a, axis, False, label=f"axis {axis} of {a.ndim}")
    for name in ("cumsum", "cumprod", "logcumsumexp"):
        yield _job("scan", name, table, 1, label=name)
    yield _job("scan", "cumsum", table, 1, True, table, label="with a factor")
    for name in ("cummax", "cummin"):
        yield _job("extremum_scan", name, table, 1, label=name)
    yield _job("sort", table, 1, False)
    yield _job("topk", table, 5, 1, True)
    yield _job("kthvalue", table, np.ones((512, 1), np.int64), 1)


def _losses(x: np.ndarray, table: np.ndarray) -> Iterator[Job]:
    for log in (False, True):
        for axis, a in ((1, table), (1, x)):
            label = f"log {log}, axis {axis} of {a.ndim}"
            yield _job("softmax_fwd", a, axis, log, label=label)
            yield _job("softmax_bwd", a, a, axis, log, label=label)
    for name, number in PAIR_LOSSES.items():  # as in training: the mean, and the gradient of the input
        yield _job("pair_loss_fwd", name, table, table, number, "mean", label=name)
        yield _job("pair_loss_bwd", name, 0, np.ones((), np.float32), table, table, number, label=name)
    row, target = _array(512), _rng.integers(0, 256, 512)
    for weight in (None, _array(256)):
        label = f"weight {weight is not None}"
        yield _job("cross_entropy_fwd", table, target, weight, -100, 0.0, label=label)
        yield _job("cross_entropy_bwd", row, table, target, weight, -100, 0.0, label=label)

    def mean():
        saved = engine.cross_entropy_mean_fwd(table, target, None, -100, 0.0)[1]
        return engine.cross_entropy_mean_bwd(np.ones((), np.float32), saved)

    def likelihood():
        return engine.nll_mean_bwd(np.ones((), np.float32), engine.nll_mean_fwd(table, target, None, -100)[1])

    yield "cross_entropy_mean", mean
    yield "nll_mean", likelihood


def _shapes(x: np.ndarray, y: np.ndarray, table: np.ndarray) -> Iterator[Job]:
    pairs, padded = ((0, 0), (0, 0), (1, 1), (1, 1)), _array(8, 32, 26, 26)
    for mode in ("constant", "reflect", "replicate", "circular"):
        yield _job("pad_fwd", x, pairs, mode, 0.0, label=mode)
        yield _job("pad_bwd", padded, pairs, mode, x.shape, label=mode)
    for mode in ("nearest", "bilinear", "bicubic"):
        resize = spec.interpolate_spec(x.shape, (48, 48), None, mode, None)
        yield _job("interpolate_fwd", x, resize, label=mode)
        yield _job("interpolate_bwd", _array(*resize.y_shape), resize, label=mode)
    places = _rng.random((8, 24, 24, 2), np.float32)
    for mode in ("bilinear", "bicubic"):
        sample = spec.grid_sample_spec(x.shape, places.shape, mode, "zeros", None)
        yield _job("grid_sample_fwd", x, places, sample, label=mode)
        yield _job("grid_sample_bwd_data", y, places, sample, label=mode)
        yield _job("grid_sample_bwd_grid", y, x, places, sample, label=mode)
    s = spec.conv_spec("conv2d", x.shape, (32, 32, 3, 3), 1, 1)
    yield _job("unfold", x, s)
    yield _job("fold", _rng.random((8, 32 * 9, 24 * 24), np.float32), s)
    yield _job("getitem", table, slice(0, 2))
    yield _job("setitem", table.copy(), slice(0, 2), 1.0)
    yield _job("index_add", table.copy(), slice(0, 2), table[:2])
    for axis, index in ((1, _rng.integers(0, 256, (512, 64))), (0, _rng.integers(0, 512, (64, 1)))):
        label = f"{'elements' if axis else 'rows'}, axis {axis}"
        taken = engine.gather(table, index, axis)
        yield _job("gather", table, index, axis, label=label)
        for name in ("set", "add"):
            yield _job("scatter", name, table.copy(), index, taken, axis, label=f"{name}, {label}")
    yield _job("concatenate", [x, y], 1)
    yield _job("reshape", x, (8, -1))
    yield _job("permute", x, (0, 2, 3, 1))
    yield _job("as_strided", table, (256,), (1028,))
    yield _job("broadcast_to", _array(256), table.shape)
    yield _job("cast", table, np.dtype(np.float64))
    yield _job("zeros", (2, 3), np.dtype(np.float32))
    yield _job("copy", x, label="NCHW")
    yield _job("copy", table, label="rows")
    yield _job("asarray", table)
    yield _job("to_host", table)


def _optimizers() -> Iterator[Job]:
    shapes = (32, 32, 3, 3), (128, 256), (32,)
    arrays = [[_rng.random(shape, np.float32) for shape in shapes] for _ in range(2 + STATES)]
    params, grads, *states = arrays
    for name, count in RULES.items():
        yield _job("optimizer_step", name, params, grads, states[:count], [0.5] * COUNTS[name], label=name)


def jobs() -> list[Job]:
    """``(label, call)`` for each op; a label is the op's name and, in brackets, the variant.

    The arrays are large enough for the parallel kernels; NumPy computes small ones.
    """
    x, y, table = _array(8, 32, 24, 24), _array(8, 32, 24, 24), _array(512, 256)
    return [
        *_convolutions(x),
        *_fused_chain(),
        *_pooling(x),
        *_norms(x, y, table),
        *_dense(table),
        *_pointwise(x, y, table),
        *_reductions(x, table),
        *_losses(x, table),
        *_shapes(x, y, table),
        *_optimizers(),
    ]
