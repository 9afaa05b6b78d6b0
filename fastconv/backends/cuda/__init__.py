"""The ``cuda`` backend: every op of the contract in numba.cuda, channels-last in memory."""

from .conv.registry import CONV_ALGORITHMS, conv_bwd_data, conv_bwd_weight, conv_fwd, conv_prepack
from .graph import Graph
from .ops.channel_reduce import channel_sum
from .ops.dense import linear_bwd_data, linear_bwd_weight, linear_fwd, matmul
from .ops.gather import gather, scatter
from .ops.grid_sample import grid_sample_bwd_data, grid_sample_bwd_grid, grid_sample_fwd
from .ops.indexing import getitem, index_add, setitem
from .ops.norm.batch import (
    batch_norm_bwd,
    batch_norm_fwd,
    batch_norm_stats,
    batch_norm_train_bwd,
    batch_norm_train_fwd,
    running_step,
)
from .ops.norm.layer import group_norm_bwd, group_norm_fwd, layer_norm_bwd, layer_norm_fwd
from .ops.norm.lrn import local_response_norm_bwd, local_response_norm_fwd
from .ops.optim import optimizer_step
from .ops.pair_loss import pair_loss_bwd, pair_loss_fwd
from .ops.pointwise import binary_fwd, cast, dropout, ternary_fwd, unary_bwd, unary_fwd
from .ops.pool import (
    adaptive_avg_pool_bwd,
    adaptive_avg_pool_fwd,
    adaptive_max_pool_fwd,
    avg_pool_bwd,
    avg_pool_fwd,
    max_pool_bwd,
    max_pool_fwd,
)
from .ops.reduce import argmax, argmin, logsumexp, moments, reduce_fwd
from .ops.resample import fold, interpolate_bwd, interpolate_fwd, pad_bwd, pad_fwd, unfold
from .ops.scan import extremum_scan, scan
from .ops.softmax_loss import (
    cross_entropy_bwd,
    cross_entropy_fwd,
    cross_entropy_mean_bwd,
    cross_entropy_mean_fwd,
    softmax_bwd,
    softmax_fwd,
)
from .ops.sort import kthvalue, sort, topk
from .ops.unpool import max_unpool_bwd, max_unpool_fwd
from .ops.views import as_strided, asarray, broadcast_to, concatenate, permute, reshape, to_host, zeros
from .runtime import device, dlpack, events, memory, pinned, properties
from .runtime.h2d import Upload
from .runtime.layout import copy
