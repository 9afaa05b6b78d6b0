"""fastconv: train and run convolutional networks with kernels you can read, from NumPy and Numba alone."""

from .tensor import Tensor  # before the function of the same name, so that ``fc.tensor`` is the function

# isort: split
from . import autograd, cuda, data, models, nn, optim, train, utils
from ._version import __version__
from .backends import backend, get_backend, set_backend
from .backends.select import conv_algorithm
from .backends.settings import get_float32_precision, get_num_threads, set_float32_precision, set_num_threads
from .creation import (
    arange,
    as_tensor,
    cat,
    eye,
    from_dlpack,
    from_numpy,
    full,
    ones,
    rand,
    randn,
    stack,
    tensor,
    zeros,
)
from .devices import device
from .dtypes import FLOAT32 as float32
from .dtypes import FLOAT64 as float64
from .dtypes import INT64 as int64
from .functions import abs, clamp
from .inference import optimize_for_inference
from .inspect import explain_conv, profile, summary
from .io import load, save
from .random import Generator, manual_seed
from .tape import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)

__all__ = [
    "__version__",
    "abs",
    "arange",
    "as_tensor",
    "autograd",
    "backend",
    "cat",
    "clamp",
    "conv_algorithm",
    "cuda",
    "data",
    "device",
    "enable_grad",
    "explain_conv",
    "eye",
    "float32",
    "float64",
    "from_dlpack",
    "from_numpy",
    "full",
    "Generator",
    "get_backend",
    "get_float32_precision",
    "get_num_threads",
    "inference_mode",
    "int64",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "load",
    "manual_seed",
    "models",
    "nn",
    "no_grad",
    "ones",
    "optim",
    "optimize_for_inference",
    "profile",
    "rand",
    "randn",
    "save",
    "set_backend",
    "set_float32_precision",
    "set_grad_enabled",
    "set_num_threads",
    "stack",
    "summary",
    "tensor",
    "Tensor",
    "train",
    "utils",
    "zeros",
]
