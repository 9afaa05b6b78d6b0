"""Initialisation of weights in place.

Every function fills its tensor outside the tape and returns it. Random numbers come from the generator that
``fc.manual_seed`` seeds.
"""

from __future__ import annotations

from math import prod, sqrt

from .. import random
from ..checks import check, check_float, shape_str
from ..creation import as_tensor
from ..tensor import Tensor


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which weights are scaled so that ``nonlinearity`` keeps the variance of its input.

    Parameters
    ----------
    nonlinearity : str
        ``"linear"``, ``"sigmoid"``, ``"tanh"``, ``"relu"``, ``"leaky_relu"``, ``"selu"`` or the name of a
        convolution.
    param : float, optional
        The slope of leaky_relu, 0.01 by default.

    Examples
    --------
    >>> from fastconv.nn import init
    >>> init.calculate_gain("tanh")
    1.6666666666666667
    """
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


def _fans(name: str, t: Tensor) -> tuple[int, int]:
    """How many inputs an output has (fan in), and how many outputs an input has (fan out)."""
    check(t.ndim >= 2, name, f"fan in and fan out need at least 2 dimensions, got {shape_str(t.shape)}")
    field = prod(t.shape[2:])
    return t.shape[1] * field, t.shape[0] * field


def _kaiming_std(name: str, t: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    check(mode in ("fan_in", "fan_out"), name, f"mode must be 'fan_in' or 'fan_out', got {mode!r}")
    return calculate_gain(nonlinearity, a) / sqrt(_fans(name, t)[mode == "fan_out"])


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Fill with numbers uniform in ``[a, b)``.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.init.uniform_(fc.zeros(2, 3), -1.0, 1.0).shape
    (2, 3)
    """
    check_float("uniform_", tensor=tensor)
    values = random.draw("random", tensor.shape, tensor.dtype)
    values *= tensor.dtype.type(b - a)
    values += tensor.dtype.type(a)
    tensor.data[...] = as_tensor(values, device=tensor.device)
    return tensor


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Fill with normal numbers of ``mean`` and standard deviation ``std``.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.init.normal_(fc.zeros(2, 3), std=0.01).shape
    (2, 3)
    """
    check_float("normal_", tensor=tensor)
    check(std >= 0, "normal_", f"std must not be negative, got {std}")
    values = random.draw("standard_normal", tensor.shape, tensor.dtype)
    values *= tensor.dtype.type(std)
    values += tensor.dtype.type(mean)
    tensor.data[...] = as_tensor(values, device=tensor.device)
    return tensor


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Set every element to ``val``.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.init.constant_(fc.zeros(2), 3.0).tolist()
    [3.0, 3.0]
    """
    tensor.data[...] = val
    return tensor


def zeros_(tensor: Tensor) -> Tensor:
    """Set every element to 0."""
    return constant_(tensor, 0)


def ones_(tensor: Tensor) -> Tensor:
    """Set every element to 1."""
    return constant_(tensor, 1)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Fill uniformly with variance ``gain^2 * 2 / (fan_in + fan_out)`` (Glorot and Bengio 2010).

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.init.xavier_uniform_(fc.zeros(8, 4)).shape
    (8, 4)
    """
    bound = gain * sqrt(6 / sum(_fans("xavier_uniform_", tensor)))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Fill with normal numbers of variance ``gain^2 * 2 / (fan_in + fan_out)`` (Glorot and Bengio 2010)."""
    return normal_(tensor, 0.0, gain * sqrt(2 / sum(_fans("xavier_normal_", tensor))))


def kaiming_uniform_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Fill uniformly with variance ``gain^2 / fan`` (He et al. 2015).

    Parameters
    ----------
    tensor : Tensor of at least 2 dimensions
    a : float
        The slope of leaky_relu, if that is the nonlinearity.
    mode : {"fan_in", "fan_out"}
        ``"fan_in"`` keeps the variance in the forward pass, ``"fan_out"`` in the backward pass.
    nonlinearity : str
        See :func:`calculate_gain`.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.init.kaiming_uniform_(fc.zeros(8, 4, 3, 3), nonlinearity="relu").shape
    (8, 4, 3, 3)
    """
    bound = sqrt(3.0) * _kaiming_std("kaiming_uniform_", tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Fill with normal numbers of variance ``gain^2 / fan``; see :func:`kaiming_uniform_`."""
    return normal_(tensor, 0.0, _kaiming_std("kaiming_normal_", tensor, a, mode, nonlinearity))
