"""Kernels that the cases do not launch: optimizers, statistics, dropout, casts, large tiles."""

from __future__ import annotations

import numpy as np

import fastconv as fc
from fastconv import nn, optim, spec
from fastconv.nn import functional as F


def more(dtype: str) -> None:
    """Run it on the backend in force."""
    x = fc.tensor(np.ones((2, 3, 4, 4), dtype), requires_grad=True)
    update(x)
    fc.backends.load("cuda").Graph([]).rehearse(lambda: update(x))
    nn.BatchNorm2d(3).to(dtype)(x)
    y = F.batch_norm(x, None, None, training=True, activation="relu", residual=x)
    y.sum().backward()
    (x.astype("float64").astype("float32") > 0).sum()
    x.data[:, :, 1:3, ::-1] = 0
    convolutions(np.dtype(dtype))


def update(x) -> None:
    """Ops whose kernels take numbers that differ from step to step."""
    F.dropout(x, 0.5).sum().backward()
    for make in (
        lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
        lambda p: optim.AdamW(p, lr=0.1),
    ):
        make([x]).step()


def convolutions(dtype) -> None:
    """Implicit GEMM in every precision on the tiles that take most registers.

    They are the largest one for wide copies, and one for copies of single numbers.
    """
    from fastconv.backends.cuda.conv import cost, registry
    from fastconv.backends.cuda.runtime import memory

    single = dtype == np.float32
    before = fc.get_float32_precision()
    for precision in ("highest", "high", "medium") if single else ("highest",):
        fc.set_float32_precision(precision)
        tiles = (cost.WIDE[cost.MODES[precision]][0], cost.NARROW[0]) if single else (cost.DOUBLE[0],) * 2
        for channels, tile in zip((32, 3), tiles):
            shape = spec.conv_spec("conv2d", (2, channels, 5, 5), (channels, channels, 3, 3))
            x, w, y = (memory.empty(s, dtype) for s in (shape.x_shape, shape.w_shape, shape.y_shape))
            with cost.only_plans(cost.Plan(tile, 2, 0.0)):
                registry.conv_fwd(x, w, None, shape, "implicit_gemm")
                registry.conv_bwd_data(y, w, shape, "implicit_gemm")
                registry.conv_bwd_weight(x, y, shape, "implicit_gemm")
    fc.set_float32_precision(before)
