"""The ``cpu`` backend: every op of the contract in Numba, parallel, channels-last in memory."""

from ..numpy import (
    asarray,
    broadcast_to,
    cast,
    concatenate,
    getitem,
    index_add,
    permute,
    reshape,
    setitem,
    to_host,
    zeros,
)
from .conv import CONV_ALGORITHMS, conv_bwd_data, conv_bwd_weight, conv_fwd
from .dense import linear_bwd_data, linear_bwd_weight, linear_fwd, matmul
