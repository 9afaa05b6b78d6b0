"""Every op of the contract once, on float32 arrays as in training, so that all kernels are compiled."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from fastconv import spec

from .. import cpu as engine
from ..common.pointwise import BINARY, NUMBERS, UNARY

Job = tuple[str, Callable[[], object]]


def jobs() -> list[Job]:
    """``(label, call)`` for each op; a label is the op's name and, in brackets, the variant.

    The arrays are large enough for the parallel kernels; NumPy computes small ones.
    """
    rng = np.random.default_rng(0)

    def array(*shape):
        """Values in (0.1, 1.1), channels-last in memory where there are channels."""
        a = rng.random(shape, np.float32) + np.float32(0.1)
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1) if a.ndim > 2 else a

    found: list[Job] = []

    def add(name, *args, label=""):
        found.append((f"{name} [{label}]" if label else name, partial(getattr(engine, name), *args)))

    x, y = array(8, 32, 24, 24), array(8, 32, 24, 24)
    c, c2 = array(32), array(32)
    table, wide = array(512, 256), array(128, 256)

    layers = (
        ("dense", 3, 1, 1),
        ("strided", 3, 1, 2),
        ("7x7 strided", 7, 1, 2),
        ("grouped", 3, 4, 1),
        ("depthwise", 3, 32, 1),
    )
    for what, size, groups, stride in layers:
        w = rng.random((32, 32 // groups, size, size), np.float32)
        s = spec.conv_spec("conv2d", x.shape, w.shape, stride, size // 2, 1, groups)
        gy = array(*s.y_shape)
        for a in engine.CONV_ALGORITHMS:
            if a.refuses(s, x.dtype) is None:
                label = f"{a.name}, {what}"
                add("conv_fwd", x, w, c, s, a.name, label=label)
                add("conv_fwd", x, w, None, s, a.name, label=label + ", no bias")
                add("conv_bwd_data", gy, w, s, a.name, label=label)
                add("conv_bwd_weight", x, gy, s, a.name, label=label)
                add("conv_prepack", w, label=label)
    add("channel_sum", x)

    small = spec.conv_spec("conv2d", (64, 1, 12, 12), (4, 1, 5, 5))
    half_size = spec.pool_spec("avg_pool2d", small.y_shape, 2)
    steps = (("conv", small), ("sigmoid", None), ("avg_pool", half_size), ("flatten", None))
    weights = (array(4, 1, 5, 5),), (array(4),)

    def fused_chain():
        plan = engine.fused_chain_plan(steps, x.dtype)
        result, saved = engine.fused_chain_fwd(plan, array(*small.x_shape), *weights, True)
        return engine.fused_chain_bwd(plan, result, saved, weights[0], True, (True,), (True,))

    found.append(("fused_chain", fused_chain))

    pool = spec.pool_spec("max_pool2d", x.shape, 2)
    half = array(*pool.y_shape)
    index = engine.max_pool_fwd(x, pool)[1]
    add("max_pool_fwd", x, pool)
    add("max_pool_bwd", half, index, pool)
    add("avg_pool_fwd", x, pool)
    add("avg_pool_bwd", half, pool)
    adaptive = spec.adaptive_pool_spec("adaptive_avg_pool2d", x.shape, 12)
    line = array(2, 32, 400)
    for what, large in (
        ("max", spec.pool_spec("max_pool1d", line.shape, 201, 1, 100)),
        ("avg", spec.pool_spec("avg_pool1d", line.shape, 201, 1, 100)),
    ):
        add(f"{what}_pool_fwd", line, large, label="large windows")
    for name in ("adaptive_max_pool_fwd", "adaptive_avg_pool_fwd"):
        add(name, x, adaptive)
    add("adaptive_avg_pool_bwd", half, adaptive)

    add("batch_norm_stats", x)
    for activation, residual in ((None, None), ("relu", None), ("relu", y)):
        label = f"{activation}, {'no ' * (residual is None)}residual"
        add("batch_norm_fwd", x, c, c2, c, c2, residual, activation, label=label)
        for training in (True, False):
            add(
                "batch_norm_bwd",
                y,
                x,
                x,
                c,
                c2,
                c,
                training,
                activation,
                residual is not None,
                label=f"{label}, {'training' if training else 'evaluation'}",
            )

    def train(residual):
        saved = engine.batch_norm_train_fwd(x, c, c2, residual, 1e-5, "relu", (c.copy(), c.copy()), 0.1)[-1]
        return engine.batch_norm_train_bwd(y, saved, residual is not None)

    found += [("batch_norm_train", partial(train, residual)) for residual in (None, y)]
    add("running_step", c.copy(), c, 0.9, 0.1)
    row, n = array(512), array(256)
    add("layer_norm_fwd", table, n, n, 1e-5)
    add("layer_norm_bwd", table, table, row, row, n)
    per_group = rng.random((8, 4), np.float32)
    add("group_norm_fwd", x, 4, c, c, 1e-5)
    add("group_norm_bwd", y, x, 4, per_group, per_group, c)
    add("local_response_norm_fwd", x, 5, 1e-4, 0.75, 1.0)
    add("local_response_norm_bwd", y, x, y, 5, 1e-4, 0.75)

    add("matmul", table, wide.T)
    add("linear_fwd", table, wide, array(128))
    add("linear_fwd", table, wide, None, label="no bias")
    add("linear_bwd_data", array(512, 128), wide)
    add("linear_bwd_weight", array(512, 128), table)

    for name, saved in UNARY.items():
        param = NUMBERS[name]
        for layout, a in (("NCHW", x), ("rows", table)):
            add("unary_fwd", name, a, param, label=f"{name}, {layout}")
            add("unary_bwd", name, a, a if saved else None, param, label=f"{name}, {layout}")
    for name in BINARY:
        add("binary_fwd", name, x, y, label=name)
        add("binary_fwd", name, x, 2.0, label=f"{name}, number")
        add("binary_fwd", name, table, n, label=f"{name}, broadcast")
    for name in ("sum", "mean", "max", "min"):
        for axes, a in (((0, 1, 2, 3), x), ((0, 2, 3), x), ((0,), table), ((1,), table), ((0,), row)):
            add("reduce_fwd", name, a, axes, False, label=f"{name}, axes {axes} of {a.ndim}")
    for axis, a in ((None, x), (1, x), (1, table)):
        add("argmax", a, axis, False, label=f"axis {axis} of {a.ndim}")
        add("argmin", a, axis, False, label=f"axis {axis} of {a.ndim}")
    for log in (False, True):
        for axis, a in ((1, table), (1, x)):
            add("softmax_fwd", a, axis, log, label=f"log {log}, axis {axis} of {a.ndim}")
            add("softmax_bwd", a, a, axis, log, label=f"log {log}, axis {axis} of {a.ndim}")
    target = rng.integers(0, 256, 512)
    for weight in (None, n):
        add("cross_entropy_fwd", table, target, weight, -100, 0.0, label=f"weight {weight is not None}")
        add("cross_entropy_bwd", row, table, target, weight, -100, 0.0, label=f"weight {weight is not None}")
    scalar = np.ones((), np.float32)
    found.append(
        (
            "cross_entropy_mean",
            lambda: engine.cross_entropy_mean_bwd(
                scalar, engine.cross_entropy_mean_fwd(table, target, None, -100, 0.0)[1]
            ),
        )
    )
    add("dropout", x, 0.5, 2.0, 1, label="NCHW")
    add("dropout", table, 0.5, 2.0, 1, label="rows")

    pairs = ((0, 0), (0, 0), (1, 1), (1, 1))
    padded = array(8, 32, 26, 26)
    for mode in ("constant", "reflect", "replicate", "circular"):
        add("pad_fwd", x, pairs, mode, 0.0, label=mode)
        add("pad_bwd", padded, pairs, mode, x.shape, label=mode)
    for mode in ("nearest", "bilinear"):
        resize = spec.interpolate_spec(x.shape, (48, 48), None, mode, False)
        add("interpolate_fwd", x, resize, label=mode)
        add("interpolate_bwd", array(*resize.y_shape), resize, label=mode)
    s = spec.conv_spec("conv2d", x.shape, (32, 32, 3, 3), 1, 1)
    add("unfold", x, s)
    add("fold", rng.random((8, 32 * 9, 24 * 24), np.float32), s)
    add("getitem", table, slice(0, 2))
    add("setitem", table.copy(), slice(0, 2), 1.0)
    add("index_add", table.copy(), slice(0, 2), table[:2])
    add("concatenate", [x, y], 1)
    add("reshape", x, (8, -1))
    add("permute", x, (0, 2, 3, 1))
    add("broadcast_to", n, table.shape)
    add("cast", table, np.dtype(np.float64))
    add("zeros", (2, 3), np.dtype(np.float32))
    add("copy", x, label="NCHW")
    add("copy", table, label="rows")
    add("asarray", table)
    add("to_host", table)
    copies = [[rng.random(s, np.float32) for s in ((32, 32, 3, 3), (128, 256), (32,))] for _ in range(4)]
    for momentum, nesterov in ((0.0, False), (0.9, False), (0.9, True)):
        for first in (False, True):
            add(
                "sgd_step",
                *copies[:3],
                0.1,
                momentum,
                0.0,
                nesterov,
                0.0,
                first,
                label=f"momentum {momentum}, nesterov {nesterov}, first {first}",
            )
    for decoupled in (False, True):
        add("adam_step", *copies, 1, 0.001, 0.9, 0.999, 1e-8, 0.0, decoupled, label=f"decoupled {decoupled}")
    return found
