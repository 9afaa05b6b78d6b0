"""The mean negative log-likelihood of labels, and its gradient.

forward   threads: equal shares of BLOCKS blocks of rows
            for each row of the block: read the log-probability of its label, one of the row's numbers
          one thread: the blocks' sums, in order; so the result does not depend on the number of threads
backward  threads: equal shares of the rows, each written once: zeros and the label's gradient
"""

from __future__ import annotations

import numpy as np

from ..codegen.jit import body, in_parallel, kernel, split_range, stages
from ..runtime import layout, memory

BLOCKS = 64


@body
def _block_sums(thread, threads, logp, target, weight, ignore_index, sums):
    # sums: for each block the weighted sum, the sum of the weights, the number of labels that are no class
    rows, classes = logp.shape
    first, end = split_range(thread, threads, BLOCKS)
    for block in range(first, end):
        start, stop = split_range(block, BLOCKS, rows)
        total, mass, invalid = 0.0, 0.0, 0
        for r in range(start, stop):
            t = target[r]
            if t != ignore_index:
                if 0 <= t < classes:
                    w = np.float64(weight[t])
                    total -= w * logp[r, t]
                    mass += w
                else:
                    invalid += 1
        sums[block, 0], sums[block, 1], sums[block, 2] = total, mass, invalid


@stages
def _mean(threads, logp, target, weight, ignore_index, sums, mean):
    # mean: the mean loss, the sum of the weights, and the number of labels that are no class
    in_parallel(_block_sums, threads, (logp, target, weight, ignore_index, sums))
    total, mass, invalid = 0.0, 0.0, 0.0
    for block in range(BLOCKS):
        total += sums[block, 0]
        mass += sums[block, 1]
        invalid += sums[block, 2]
    mean[0], mean[1], mean[2] = total / mass, mass, invalid


@kernel
def _mean_bwd(thread, threads, gy, mean, target, weight, ignore_index, out):
    g = -gy[0] / mean[1]
    first, end = split_range(thread, threads, out.shape[0])
    for r in range(first, end):
        row, t = out[r], target[r]
        for c in range(row.size):
            row[c] = 0
        if t != ignore_index:
            row[t] = out.dtype.type(g * weight[t])


def nll_mean_fwd(logp, target, weight, ignore_index):
    logp, target, mean = layout.dense(logp), layout.dense(target), np.empty(3)
    weight = np.ones(logp.shape[1], logp.dtype) if weight is None else layout.dense(weight)
    _mean(logp, target, weight, ignore_index, np.empty((BLOCKS, 3)), mean)
    loss, _, invalid = mean
    saved = mean, target, weight, ignore_index, logp.shape[1]
    return None if invalid else np.array(loss, logp.dtype), saved


def nll_mean_bwd(gy, saved):
    mean, target, weight, ignore_index, classes = saved
    out = memory.empty((len(target), classes), gy.dtype)
    _mean_bwd(layout.dense(gy).reshape(1), mean, target, weight, ignore_index, out)
    return out
