"""Nonlinear functions of each element."""

from __future__ import annotations

from fastconv.checks import check, check_float, number, one_of
from fastconv.creation import argument
from fastconv.ops import Unary
from fastconv.tensor import Tensor
from fastconv.typing import TensorLike


def _unary(
    name: str, op: str, x: TensorLike, param: float | None = None, param2: float | None = None
) -> Tensor:
    check_float(name, input=x)
    x = x if isinstance(x, Tensor) else argument(name, "input", x)
    return Unary.apply(x, name=op, param=param, param2=param2)


def relu(input: TensorLike, inplace: bool = False) -> Tensor:
    """``max(input, 0)``; NaN stays NaN. ``inplace`` has no effect.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.relu(fc.tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    return _unary("relu", "relu", input)


def leaky_relu(input: TensorLike, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """``input`` where positive, else ``negative_slope * input``. ``inplace`` has no effect.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.leaky_relu(fc.tensor([-2.0, 2.0]), 0.5).tolist()
    [-1.0, 2.0]
    """
    return _unary("leaky_relu", "leaky_relu", input, number("leaky_relu", "negative_slope", negative_slope))


def relu6(input: TensorLike, inplace: bool = False) -> Tensor:
    """``min(max(input, 0), 6)``; NaN stays NaN. ``inplace`` has no effect.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.relu6(fc.tensor([-1.0, 2.0, 7.0])).tolist()
    [0.0, 2.0, 6.0]
    """
    return _unary("relu6", "hardtanh", input, 0.0, 6.0)


def hardtanh(input: TensorLike, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """``min(max(input, min_val), max_val)``. ``inplace`` has no effect.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.hardtanh(fc.tensor([-3.0, 0.5, 2.0])).tolist()
    [-1.0, 0.5, 1.0]
    """
    low, high = number("hardtanh", "min_val", min_val), number("hardtanh", "max_val", max_val)
    check(low <= high, "hardtanh", f"min_val must not be larger than max_val, got {low:g} and {high:g}")
    return _unary("hardtanh", "hardtanh", input, low, high)


def hardsigmoid(input: TensorLike, inplace: bool = False) -> Tensor:
    """``relu6(input + 3) / 6`` (Courbariaux et al. 2015). ``inplace`` has no effect.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.hardsigmoid(fc.tensor([-4.0, 0.0, 4.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    return _unary("hardsigmoid", "hardsigmoid", input)


def hardswish(input: TensorLike, inplace: bool = False) -> Tensor:
    """``input * relu6(input + 3) / 6`` (Howard et al. 2019). ``inplace`` has no effect.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.hardswish(fc.tensor([0.0, 3.0, 4.0])).tolist()
    [0.0, 3.0, 4.0]
    """
    return _unary("hardswish", "hardswish", input)


def elu(input: TensorLike, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``input`` where positive, else ``alpha * (exp(input) - 1)`` (Clevert et al. 2015).

    ``inplace`` has no effect.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.elu(fc.tensor([0.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    return _unary("elu", "elu", input, number("elu", "alpha", alpha))


def selu(input: TensorLike, inplace: bool = False) -> Tensor:
    """``1.0507 * elu(input, alpha=1.6733)``, which keeps mean 0 and variance 1 (Klambauer et al. 2017).

    The two constants are rounded here. ``inplace`` has no effect.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.selu(fc.zeros(2)).tolist()
    [0.0, 0.0]
    """
    return _unary("selu", "selu", input)


def celu(input: TensorLike, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``input`` where positive, else ``alpha * (exp(input / alpha) - 1)`` (Barron 2017).

    ``alpha`` must not be 0. ``inplace`` has no effect.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.celu(fc.tensor([0.0, 2.0]), 0.5).tolist()
    [0.0, 2.0]
    """
    alpha = number("celu", "alpha", alpha)
    check(alpha != 0, "celu", "alpha must not be 0")
    return _unary("celu", "celu", input, alpha)


def mish(input: TensorLike, inplace: bool = False) -> Tensor:
    """``input * tanh(softplus(input))`` (Misra 2019). ``inplace`` has no effect.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.mish(fc.zeros(2)).tolist()
    [0.0, 0.0]
    """
    return _unary("mish", "mish", input)


def softplus(input: TensorLike, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """``log(1 + exp(beta * input)) / beta``; ``input`` where ``beta * input > threshold``.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.softplus(fc.tensor([0.0, 30.0])).tolist()
    [0.693147..., 30.0]
    """
    beta = number("softplus", "beta", beta)
    check(beta != 0, "softplus", "beta must not be 0")
    return _unary("softplus", "softplus", input, beta, number("softplus", "threshold", threshold))


def softsign(input: TensorLike) -> Tensor:
    """``input / (1 + |input|)``.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.softsign(fc.tensor([-1.0, 1.0])).tolist()
    [-0.5, 0.5]
    """
    return _unary("softsign", "softsign", input)


def logsigmoid(input: TensorLike) -> Tensor:
    """``log(sigmoid(input))``, without overflow.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.logsigmoid(fc.tensor([0.0, -100.0])).tolist()
    [-0.693147..., -100.0]
    """
    return _unary("logsigmoid", "logsigmoid", input)


def hardshrink(input: TensorLike, lambd: float = 0.5) -> Tensor:
    """0 where ``-lambd <= input <= lambd``, else ``input``.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.hardshrink(fc.tensor([-1.0, 0.5])).tolist()
    [-1.0, 0.0]
    """
    return _unary("hardshrink", "hardshrink", input, number("hardshrink", "lambd", lambd))


def softshrink(input: TensorLike, lambd: float = 0.5) -> Tensor:
    """0 where ``-lambd <= input <= lambd``, else ``input`` moved towards 0 by ``lambd``.

    ``lambd`` must be at least 0.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.softshrink(fc.tensor([-1.0, 0.5])).tolist()
    [-0.5, 0.0]
    """
    return _unary("softshrink", "softshrink", input, number("softshrink", "lambd", lambd, 0))


def tanhshrink(input: TensorLike) -> Tensor:
    """``input - tanh(input)``.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.tanhshrink(fc.zeros(2)).tolist()
    [0.0, 0.0]
    """
    return _unary("tanhshrink", "tanhshrink", input)


def threshold(input: TensorLike, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """``input`` where larger than ``threshold``, else ``value``. ``inplace`` has no effect.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.threshold(fc.tensor([0.5, 2.0]), 1, -3).tolist()
    [-3.0, 2.0]
    """
    least = number("threshold", "threshold", threshold)
    return _unary("threshold", "threshold", input, least, number("threshold", "value", value))


def sigmoid(input: TensorLike) -> Tensor:
    """``1 / (1 + exp(-input))``.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.sigmoid(fc.zeros(2)).tolist()
    [0.5, 0.5]
    """
    return _unary("sigmoid", "sigmoid", input)


def tanh(input: TensorLike) -> Tensor:
    """Hyperbolic tangent.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.tanh(fc.zeros(2)).tolist()
    [0.0, 0.0]
    """
    return _unary("tanh", "tanh", input)


def silu(input: TensorLike, inplace: bool = False) -> Tensor:
    """``input * sigmoid(input)``, also called swish. ``inplace`` has no effect.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.silu(fc.zeros(2)).tolist()
    [0.0, 0.0]
    """
    return _unary("silu", "silu", input)


def gelu(input: TensorLike, approximate: str = "none") -> Tensor:
    """``input * Phi(input)`` (Hendrycks and Gimpel 2016).

    ``Phi`` is the cumulative distribution function of the standard normal distribution.

    Parameters
    ----------
    input : Tensor or array, float32 or float64
    approximate : {"none", "tanh"}
        ``"tanh"`` approximates ``Phi`` by a hyperbolic tangent.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.gelu(fc.zeros(2)).tolist()
    [0.0, 0.0]
    """
    one_of("gelu", "approximate", approximate, ("none", "tanh"))
    return _unary("gelu", "gelu_tanh" if approximate == "tanh" else "gelu", input)
