"""Initialisation of weights in place.

Every function fills its tensor without recording it on the tape, and returns the tensor. Random numbers come
from ``generator``, by default the one that ``fc.manual_seed`` seeds.
"""

from __future__ import annotations

import warnings
from math import ceil, erf, prod, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import random
from ..checks import check, check_float, int_tuple, number, one_of, shape_str
from ..creation import as_tensor
from ..random import Generator
from ..tensor import Tensor


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which weights are scaled so that ``nonlinearity`` keeps the variance of its input.

    Parameters
    ----------
    nonlinearity : str
        ``"linear"``, ``"sigmoid"``, ``"tanh"``, ``"relu"``, ``"leaky_relu"``, ``"selu"`` or the name of a
        convolution.
    param : float, optional
        The negative slope of leaky_relu, 0.01 by default.

    Examples
    --------
    >>> from fastconv.nn import init
    >>> init.calculate_gain("tanh")
    1.6666666666666667
    """
    if nonlinearity == "leaky_relu" and param is not None:
        check(not isinstance(param, bool), "calculate_gain", f"param must be a number, got {param}")
        param = number("calculate_gain", "param", param)
    gains = {
        "linear": 1.0,
        "sigmoid": 1.0,
        "tanh": 5 / 3,
        "relu": sqrt(2.0),
        "selu": 0.75,
        "leaky_relu": sqrt(2 / (1 + (0.01 if param is None else param) ** 2)),
        **{f"conv{kind}{n}d": 1.0 for kind in ("", "_transpose") for n in (1, 2, 3)},
    }
    check(
        nonlinearity in gains, "calculate_gain", f"expected one of {', '.join(gains)}, got {nonlinearity!r}"
    )
    return gains[nonlinearity]


def _fans(name: str, t: Tensor) -> tuple[int, int]:
    """The fan in (inputs of each output) and the fan out (outputs of each input) of a weight."""
    _check_float(name, t)
    check(t.ndim >= 2, name, f"fan in and fan out need at least 2 dimensions, got {shape_str(t.shape)}")
    field = prod(t.shape[2:])
    return t.shape[1] * field, t.shape[0] * field


def _kaiming_std(name: str, t: Tensor, a: float | None, mode: str, nonlinearity: str) -> float:
    one_of(name, "mode", mode, ("fan_in", "fan_out"))
    if a is not None:
        number(name, "a", a)
    return calculate_gain(nonlinearity, a) / sqrt(max(_fans(name, t)[mode == "fan_out"], 1))


def _fill(tensor: Tensor, values: npt.NDArray[Any]) -> Tensor:
    tensor.data[...] = as_tensor(values.astype(tensor.dtype, copy=False), device=tensor.device)
    return tensor


def _check_tensor(name: str, tensor: Any) -> None:
    check(
        isinstance(tensor, Tensor),
        name,
        f"tensor must be a Tensor, got {type(tensor).__name__}; it is filled in place",
        TypeError,
    )


def _check_float(name: str, tensor: Any) -> None:
    _check_tensor(name, tensor)
    check_float(name, tensor=tensor)


def _check_2d(name: str, tensor: Tensor) -> None:
    _check_float(name, tensor)
    check(tensor.ndim == 2, name, f"the tensor must have 2 dimensions, got {shape_str(tensor.shape)}")


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with numbers uniformly distributed in ``[a, b)``.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.init.uniform_(fc.zeros(2, 3), -1.0, 1.0).shape
    (2, 3)
    """
    _check_float("uniform_", tensor)
    a, b = number("uniform_", "a", a), number("uniform_", "b", b)
    check(a <= b, "uniform_", f"a must not be above b, got {a} and {b}")
    values = random.drawn("uniform_", generator, "random", tensor.shape, tensor.dtype)
    values *= tensor.dtype.type(b - a)
    values += tensor.dtype.type(a)
    return _fill(tensor, values)


def normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Fill with normally distributed numbers of mean ``mean`` and standard deviation ``std``.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.init.normal_(fc.zeros(2, 3), std=0.01).shape
    (2, 3)
    """
    _check_float("normal_", tensor)
    mean, std = number("normal_", "mean", mean), number("normal_", "std", std)
    check(std >= 0, "normal_", f"std must not be negative, got {std}")
    values = random.drawn("normal_", generator, "standard_normal", tensor.shape, tensor.dtype)
    values *= tensor.dtype.type(std)
    values += tensor.dtype.type(mean)
    return _fill(tensor, values)


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """Fill with normally distributed numbers in ``[a, b]``; a number outside is replaced by a new one.

    Parameters
    ----------
    tensor : Tensor
    mean, std : float
        Mean and standard deviation of the normal distribution before it is truncated.
    a, b : float
        The smallest and the largest value.
    generator : Generator, optional

    Examples
    --------
    >>> fc.nn.init.trunc_normal_(fc.zeros(100), std=0.02, a=-0.04, b=0.04).abs().max().item() <= 0.04
    True
    """
    name = "trunc_normal_"
    _check_float(name, tensor)
    mean, std = number(name, "mean", mean), number(name, "std", std)
    a, b = number(name, "a", a), number(name, "b", b)
    check(std > 0, name, f"std must be positive, got {std}")
    check(a < b, name, f"a must be below b, got {a} and {b}")
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            "trunc_normal_: mean is more than 2 std away from [a, b], so the distribution may be inaccurate",
            stacklevel=2,
        )
    low, high = (a - mean) / std, (b - mean) / std
    values: Any = np.empty(tensor.numel())
    missing = np.ones(tensor.numel(), bool)
    # If much of the distribution is cut off, draw uniform numbers, and keep each with a probability
    # proportional to the normal density there.
    wide = erf(high / sqrt(2)) - erf(low / sqrt(2)) > 0.6
    peak = min(max(low, 0.0), high)
    while count := np.count_nonzero(missing):
        if wide:
            drawn = random.drawn(name, generator, "standard_normal", count)
            kept = (low <= drawn) & (drawn <= high)
        else:
            drawn = random.drawn(name, generator, "uniform", low, high, count)
            kept = np.log1p(-random.drawn(name, generator, "random", count)) <= (peak**2 - drawn**2) / 2
        at = np.flatnonzero(missing)[kept]
        values[at], missing[at] = drawn[kept], False
    values = (values * std + mean).astype(tensor.dtype).clip(a, b)
    return _fill(tensor, values.reshape(tensor.shape))


def _set(name: str, tensor: Tensor, value: float) -> Tensor:
    _check_tensor(name, tensor)
    tensor.data[...] = value
    return tensor


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Set every element to ``val``.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.init.constant_(fc.zeros(2), 3.0).tolist()
    [3.0, 3.0]
    """
    number("constant_", "val", val)
    return _set("constant_", tensor, val)


def zeros_(tensor: Tensor) -> Tensor:
    """Set every element to 0."""
    return _set("zeros_", tensor, 0)


def ones_(tensor: Tensor) -> Tensor:
    """Set every element to 1."""
    return _set("ones_", tensor, 1)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with uniform numbers of variance ``gain^2 * 2 / (fan_in + fan_out)`` (Glorot and Bengio 2010).

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.init.xavier_uniform_(fc.zeros(8, 4)).shape
    (8, 4)
    """
    gain = number("xavier_uniform_", "gain", gain, 0)
    bound = gain * sqrt(6 / max(sum(_fans("xavier_uniform_", tensor)), 1))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with normal numbers of variance ``gain^2 * 2 / (fan_in + fan_out)`` (Glorot and Bengio 2010)."""
    gain = number("xavier_normal_", "gain", gain, 0)
    std = gain * sqrt(2 / max(sum(_fans("xavier_normal_", tensor)), 1))
    return normal_(tensor, 0.0, std, generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Fill with uniform numbers of variance ``gain^2 / fan`` (He et al. 2015).

    ``fan`` is the fan in or the fan out of the weight, and ``gain`` that of the nonlinearity.

    Parameters
    ----------
    tensor : Tensor of at least 2 dimensions
    a : float
        The negative slope of leaky_relu; used only if that is the nonlinearity.
    mode : {"fan_in", "fan_out"}
        ``"fan_in"`` keeps the variance in the forward pass, ``"fan_out"`` in the backward pass.
    nonlinearity : str
        See :func:`calculate_gain`.
    generator : Generator, optional

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.init.kaiming_uniform_(fc.zeros(8, 4, 3, 3), nonlinearity="relu").shape
    (8, 4, 3, 3)
    """
    bound = sqrt(3.0) * _kaiming_std("kaiming_uniform_", tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """Fill with normal numbers of variance ``gain^2 / fan``; see :func:`kaiming_uniform_`."""
    std = _kaiming_std("kaiming_normal_", tensor, a, mode, nonlinearity)
    return normal_(tensor, 0.0, std, generator)


def orthogonal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with a matrix whose rows (or columns, if there are fewer) are orthogonal (Saxe et al. 2013).

    Parameters
    ----------
    tensor : Tensor of at least 2 dimensions
        All dimensions after the first are treated as one.
    gain : float
        The length of each orthogonal row or column.
    generator : Generator, optional

    Examples
    --------
    >>> w = fc.nn.init.orthogonal_(fc.zeros(2, 3)); (w @ w.T).numpy().round(4) + 0.0
    array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    _check_float("orthogonal_", tensor)
    check(
        tensor.ndim >= 2,
        "orthogonal_",
        f"the tensor must have at least 2 dimensions, got {shape_str(tensor.shape)}",
    )
    gain = number("orthogonal_", "gain", gain)
    if tensor.numel() == 0:
        return tensor
    rows, columns = tensor.shape[0], prod(tensor.shape[1:])
    drawn = random.drawn(
        "orthogonal_", generator, "standard_normal", (max(rows, columns), min(rows, columns))
    )
    q: Any
    q, r = np.linalg.qr(drawn)
    q = q * np.sign(r.diagonal()) * gain  # without the signs q is not uniformly distributed (Mezzadri 2007)
    return _fill(tensor, (q.T if rows < columns else q).reshape(tensor.shape))


def eye_(tensor: Tensor) -> Tensor:
    """Fill a matrix with 1 on the diagonal and 0 elsewhere.

    >>> fc.nn.init.eye_(fc.zeros(2, 3))
    tensor([[1., 0., 0.],
            [0., 1., 0.]])
    """
    _check_2d("eye_", tensor)
    return _fill(tensor, np.eye(tensor.shape[0], tensor.shape[1]))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Fill the weight of a convolution so that each output channel is a copy of an input channel.

    Output channels without a corresponding input channel are zero.

    Parameters
    ----------
    tensor : Tensor of 3 to 5 dimensions
    groups : int
        The groups of the convolution. Each group copies its own channels.

    Examples
    --------
    >>> fc.nn.init.dirac_(fc.zeros(1, 1, 3)).tolist()
    [[[0.0, 1.0, 0.0]]]
    """
    _check_float("dirac_", tensor)
    check(
        tensor.ndim in (3, 4, 5),
        "dirac_",
        f"the tensor must have 3, 4 or 5 dimensions, got {shape_str(tensor.shape)}",
    )
    outputs, (groups,) = tensor.shape[0], int_tuple("dirac_", "groups", groups, 1, 1)
    check(
        outputs % groups == 0,
        "dirac_",
        f"the {outputs} outputs must be divisible by groups {groups}",
    )
    values, each = np.zeros(tensor.shape), outputs // groups
    middle = tuple(s // 2 for s in tensor.shape[2:])
    for channel in range(min(each, tensor.shape[1])):
        values[(slice(channel, None, each), channel, *middle)] = 1
    return _fill(tensor, values)


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None) -> Tensor:
    """Fill a matrix with normally distributed numbers, and set some in each column to 0 (Martens 2010).

    Parameters
    ----------
    tensor : Tensor of 2 dimensions
    sparsity : float
        The fraction of each column that is set to 0.
    std : float
        The standard deviation of the other numbers.
    generator : Generator, optional

    Examples
    --------
    >>> (fc.nn.init.sparse_(fc.zeros(10, 2), 0.3) == 0).sum(0)
    tensor([3, 3])
    """
    _check_2d("sparse_", tensor)
    sparsity, std = number("sparse_", "sparsity", sparsity, 0, 1), number("sparse_", "std", std, 0)
    rows, columns = tensor.shape
    values = random.drawn("sparse_", generator, "normal", 0.0, std, (rows, columns))
    order = np.argsort(random.drawn("sparse_", generator, "random", (rows, columns)), axis=0)
    np.put_along_axis(values, order[: ceil(sparsity * rows)], 0, axis=0)
    return _fill(tensor, values)
