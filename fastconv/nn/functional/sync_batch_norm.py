"""Batch normalisation with the statistics of the batches of all ranks.

Each rank computes mean and variance of its own batch. The ranks exchange these and the number of values, and
combine them. In the backward pass they add their sums of ``gy`` and ``gy * xhat``, which the gradient of the
input needs. The gradients of weight and bias stay those of the own batch, because data-parallel training
averages them later.

Chan, Golub, LeVeque: Updating formulae and a pairwise algorithm for computing sample variances, 1979.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from fastconv import distributed
from fastconv.backends import between
from fastconv.checks import check, check_float, check_rank, check_shape, shape_str
from fastconv.distributed.staging import on_host, write
from fastconv.tape import Op
from fastconv.tensor import Tensor

from .batch_norm import check_per_channel, check_running, move_running

NAME = "SyncBatchNorm"


class _Exchange:
    """What one call of the layer tells the other ranks, forward and backward."""

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape
        self.count = prod(shape[2:], start=shape[0])  # values per channel in the batch of this rank
        self.total = self.count  # in all batches

    def combine(self, live: bool, mean: Any, var: Any, all_mean: Any, all_var: Any, unbiased: Any) -> None:
        """Write mean, variance and unbiased variance of all batches to the last three arrays."""
        own = np.concatenate([on_host(mean), on_host(var), [self.count]], dtype=np.float64)
        rows = [np.empty_like(own) for _ in range(distributed.world_size())] if live else [own]
        if live:
            distributed.all_gather(rows, own)
        means, variances, counts = np.split(np.stack(rows), [mean.size, 2 * mean.size], axis=1)
        self.total = int(counts.sum())
        check(
            self.total > 1 or not live,
            NAME,
            f"training needs more than 1 value per channel in all batches, got input {shape_str(self.shape)}",
        )
        total = max(self.total, 1)
        center = (means * counts).sum(0) / total
        spread = ((variances + np.square(means - center)) * counts).sum(0) / total
        write(all_mean, center)
        write(all_var, spread)
        write(unbiased, spread * (total / max(total - 1, 1)))

    def average(self, live: bool, *sums: Any) -> None:
        """Replace each array of sums over the own batch by the mean over all batches."""
        own = np.stack([on_host(s) for s in sums], dtype=np.float64)
        if live:
            distributed.all_reduce(own)
        for s, mean in zip(sums, own / max(self.total, 1)):
            write(s, mean)


class SyncBatchNorm(Op):
    """Returns the normalised input, and the mean and unbiased variance of all batches."""

    @staticmethod
    def forward(ctx, x, weight, bias, residual, running_mean, running_var, eps, activation, name):
        e = ctx.engine
        vectors = {"weight": weight, "bias": bias, "running_mean": running_mean, "running_var": running_var}
        check_float(name, ("residual", *vectors), input=x, residual=residual, **vectors)
        check_rank(name, "input", x.shape, (2, 3, 4, 5), "N x C and up to 3 spatial dimensions")
        check_per_channel(name, x, **vectors)
        if residual is not None:
            check_shape(name, "residual", residual.shape, x.shape, "the input's")
        ctx.activation, ctx.exchange = activation, _Exchange(x.shape)
        own_mean, own_var = e.batch_norm_stats(x)
        mean, var, unbiased = e.copy(own_mean), e.copy(own_var), e.copy(own_var)
        between.call(e, ctx.exchange.combine, own_mean, own_var, mean, var, unbiased)
        invstd = e.unary_fwd("pow", e.binary_fwd("add", var, eps), -0.5)
        y = e.batch_norm_fwd(x, mean, invstd, weight, bias, residual, activation)
        ctx.save(x, y if activation else None, mean, invstd, weight)
        return y, mean, unbiased

    @staticmethod
    def backward(ctx, gy):
        e = ctx.engine
        x, y, mean, invstd, weight = ctx.saved
        # With the statistics as constants; what comes through them is subtracted afterwards. It is the number
        # scale * (mean(gz) + xhat * mean(gz * xhat)), which has the form of a normalised input.
        gx, gweight, gbias, gresidual = e.batch_norm_bwd(
            gy, x, y, mean, invstd, weight, False, ctx.activation, ctx.needs[3]
        )
        slope, offset = e.copy(gweight), e.copy(gbias)
        between.call(e, ctx.exchange.average, slope, offset)
        scale = invstd if weight is None else e.binary_fwd("mul", invstd, weight)
        slope, offset = (e.binary_fwd("mul", v, scale) for v in (slope, offset))
        through = e.batch_norm_fwd(x, mean, invstd, slope, offset, None, None)
        return e.binary_fwd("sub", gx, through), gweight, gbias, gresidual


def sync_batch_norm_then(
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any,
    bias: Any,
    training: bool,
    momentum: float,
    eps: float,
    activation: str | None,
    residual: Any,
) -> Tensor:
    """``batch_norm_then`` in training, with the statistics of all ranks."""
    check_running(NAME, running_mean, running_var)
    y, mean, unbiased = SyncBatchNorm.apply(
        input,
        weight,
        bias,
        residual,
        running_mean,
        running_var,
        eps=eps,
        activation=activation,
        name=NAME,
    )
    if running_mean is not None:
        move_running(running_mean, mean, 1 - momentum, momentum)
        move_running(running_var, unbiased, 1 - momentum, momentum)
    return y
