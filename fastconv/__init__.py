"""fastconv: train and run convolutional networks with kernels you can read, from NumPy and Numba alone."""

from ._version import __version__
from . import data, models, nn, optim, train
from .autograd import no_grad
from .backends import backend, get_backend, set_backend
from .backends.select import conv_algorithm
from .inspect import explain_conv
from .random import manual_seed
from .backends.settings import get_num_threads, set_num_threads
from .tensor import (
    Tensor,
    arange,
    as_tensor,
    cat,
    device,
    eye,
    float32,
    float64,
    from_dlpack,
    from_numpy,
    full,
    int64,
    ones,
    rand,
    randn,
    stack,
    tensor,
    zeros,
)
