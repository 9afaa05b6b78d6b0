"""The ``cpu`` backend: every op of the contract in Numba, parallel, channels-last in memory."""

from .conv.activation import CONV_ACTIVATIONS
from .conv.gated import gated_conv_fwd, gated_conv_pays
from .conv.normed import normed_conv_fwd, normed_conv_pays
from .conv.registry import (
    CONV_ALGORITHMS,
    conv_bwd_data,
    conv_bwd_weight,
    conv_fwd,
    conv_prepack,
    conv_transpose_fwd,
    conv_transpose_pays,
)
from .conv.separable import separable_fwd, separable_pays
from .conv.weights import conv_arrange, in_memory_order
from .fused.chain import fused_chain_bwd, fused_chain_fwd
from .fused.plan import fused_chain_plan
from .graph import Graph, host_call
from .in_place import READS_SLICES, WRITES_SLICES, concatenate_into, empty, result_into
from .ops.borrowed import (
    as_strided,
    asarray,
    broadcast_to,
    cast,
    getitem,
    index_add,
    permute,
    running_step,
    setitem,
    to_host,
)
from .ops.broadcast import binary_fwd, ternary_fwd
from .ops.dense import linear_bwd_data, linear_bwd_weight, linear_fwd, matmul
from .ops.dropout import dropout
from .ops.grid_sample import grid_sample_bwd_data, grid_sample_bwd_grid, grid_sample_fwd
from .ops.index import gather, scatter
from .ops.interleave import interleave
from .ops.label_loss import nll_mean_bwd, nll_mean_fwd
from .ops.logsumexp import logsumexp
from .ops.moving import concatenate, reshape
from .ops.norm.batch import (
    BATCH_NORM_ACTIVATIONS,
    batch_norm_bwd,
    batch_norm_fwd,
    batch_norm_stats,
    batch_norm_train_bwd,
    batch_norm_train_fwd,
    batch_norm_train_stats,
)
from .ops.norm.group import group_norm_bwd, group_norm_fwd
from .ops.norm.layer import layer_norm_bwd, layer_norm_fwd
from .ops.norm.lrn import local_response_norm_bwd, local_response_norm_fwd
from .ops.norm.moments import channel_sum
from .ops.optim import optimizer_step
from .ops.pair_loss import pair_loss_bwd, pair_loss_fwd
from .ops.pointwise import unary_bwd, unary_fwd
from .ops.pooling.average import adaptive_avg_pool_bwd, adaptive_avg_pool_fwd, avg_pool_bwd, avg_pool_fwd
from .ops.pooling.maximum import adaptive_max_pool_fwd, max_pool_bwd, max_pool_fwd
from .ops.pooling.unpool import max_unpool_bwd, max_unpool_fwd
from .ops.pooling.values import max_pool_values
from .ops.reduce import argmax, argmin, moments, reduce_fwd
from .ops.resample import interpolate_bwd, interpolate_fwd, pad_bwd, pad_fwd
from .ops.scan import extremum_scan, scan
from .ops.shape import fold, unfold
from .ops.softmax_loss import (
    cross_entropy_bwd,
    cross_entropy_fwd,
    cross_entropy_mean_bwd,
    cross_entropy_mean_fwd,
    softmax_bwd,
    softmax_fwd,
)
from .ops.sort import kthvalue, sort, topk
from .runtime.layout import copy
from .runtime.memory import zeros
from .runtime.recorded import record
