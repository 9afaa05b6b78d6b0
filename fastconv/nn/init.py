"""Initialisation in place; each function fills its tensor outside the tape and returns it."""

from __future__ import annotations

from math import prod, sqrt

from .. import random
from ..checks import check, check_float, shape_str
from ..creation import as_tensor
from ..tensor import Tensor


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Factor that keeps the signal's variance through ``nonlinearity``; ``param`` is leaky_relu's slope
    (0.01)."""
    gains = {
        "linear": 1.0,
        "sigmoid": 1.0,
        "tanh": 5 / 3,
        "relu": sqrt(2.0),
        "selu": 0.75,
        "leaky_relu": sqrt(2 / (1 + (0.01 if param is None else param) ** 2)),
        **dict.fromkeys(("conv1d", "conv2d", "conv3d", "conv_transpose2d"), 1.0),
    }
    check(
        nonlinearity in gains, "calculate_gain", f"expected one of {', '.join(gains)}, got {nonlinearity!r}"
    )
    return gains[nonlinearity]


def _fans(name, t):
    """Numbers of values one output reads (fan in) and one input feeds (fan out)."""
    check(t.ndim >= 2, name, f"fan in and fan out need at least 2 dimensions, got {shape_str(t.shape)}")
    field = prod(t.shape[2:])
    return t.shape[1] * field, t.shape[0] * field


def _kaiming_std(name, t, a, mode, nonlinearity):
    check(mode in ("fan_in", "fan_out"), name, f"mode must be 'fan_in' or 'fan_out', got {mode!r}")
    return calculate_gain(nonlinearity, a) / sqrt(_fans(name, t)[mode == "fan_out"])


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Uniform in ``[a, b)``."""
    check_float("uniform_", tensor=tensor)
    values = random.draw("random", tensor.shape, tensor.dtype)
    values *= tensor.dtype.type(b - a)
    values += tensor.dtype.type(a)
    tensor.data[...] = as_tensor(values, device=tensor.device)
    return tensor


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Normal with ``mean`` and standard deviation ``std``."""
    check_float("normal_", tensor=tensor)
    check(std >= 0, "normal_", f"std must not be negative, got {std}")
    values = random.draw("standard_normal", tensor.shape, tensor.dtype)
    values *= tensor.dtype.type(std)
    values += tensor.dtype.type(mean)
    tensor.data[...] = as_tensor(values, device=tensor.device)
    return tensor


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Every element ``val``."""
    tensor.data[...] = val
    return tensor


def zeros_(tensor: Tensor) -> Tensor:
    """Zeros."""
    return constant_(tensor, 0)


def ones_(tensor: Tensor) -> Tensor:
    """Ones."""
    return constant_(tensor, 1)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Uniform with variance ``gain^2 * 2 / (fan_in + fan_out)`` (Glorot and Bengio 2010)."""
    bound = gain * sqrt(6 / sum(_fans("xavier_uniform_", tensor)))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Normal with variance ``gain^2 * 2 / (fan_in + fan_out)`` (Glorot and Bengio 2010)."""
    return normal_(tensor, 0.0, gain * sqrt(2 / sum(_fans("xavier_normal_", tensor))))


def kaiming_uniform_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Uniform with variance ``gain^2 / fan`` (He et al. 2015); ``a`` is leaky_relu's slope, 0 for relu."""
    bound = sqrt(3.0) * _kaiming_std("kaiming_uniform_", tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Normal with variance ``gain^2 / fan`` (He et al. 2015); ``a`` is leaky_relu's slope, 0 for relu."""
    return normal_(tensor, 0.0, _kaiming_std("kaiming_normal_", tensor, a, mode, nonlinearity))
