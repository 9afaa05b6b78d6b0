"""Pointwise nonlinearities and softmax."""

from __future__ import annotations

from ...checks import check_rank, int_tuple, number
from ...creation import argument, full, zeros
from ...tensor import Tensor
from ...typing import DType, TensorLike
from .. import functional as F
from ..fused_chain import FusionSteps
from ..module import Module, Parameter
from .base import FunctionLayer, float_dtype, shown


class ReLU(FunctionLayer, function=F.relu, row=("relu",)):
    """``max(x, 0)`` of each element; NaN stays NaN. ``inplace`` has no effect.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.ReLU()(fc.tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    def fusion_steps(self, shape: tuple[int, ...]) -> FusionSteps:
        """One step."""
        return [("relu", None)], shape, ()


class LeakyReLU(FunctionLayer, function=F.leaky_relu, row=("leaky_relu", "negative_slope")):
    """``x`` where positive, else ``negative_slope * x``. ``inplace`` has no effect.

    Attributes
    ----------
    negative_slope : float
    """


class ReLU6(FunctionLayer, function=F.relu6, row=("hardtanh", 0.0, 6.0)):
    """``min(max(x, 0), 6)`` of each element. ``inplace`` has no effect."""


class Hardtanh(FunctionLayer, function=F.hardtanh):
    """``min(max(x, min_val), max_val)`` of each element. ``inplace`` has no effect.

    Attributes
    ----------
    min_val, max_val : float
    """


class Hardsigmoid(FunctionLayer, function=F.hardsigmoid, row=("hardsigmoid",)):
    """``relu6(x + 3) / 6`` of each element (Courbariaux et al. 2015). ``inplace`` has no effect."""


class Hardswish(FunctionLayer, function=F.hardswish, row=("hardswish",)):
    """``x * relu6(x + 3) / 6`` of each element (Howard et al. 2019). ``inplace`` has no effect."""


class ELU(FunctionLayer, function=F.elu, row=("elu", "alpha")):
    """``x`` where positive, else ``alpha * (exp(x) - 1)`` (Clevert et al. 2015). ``inplace`` has no effect.

    Attributes
    ----------
    alpha : float
    """


class SiLU(FunctionLayer, function=F.silu, row=("silu",)):
    """``x * sigmoid(x)`` of each element, also called swish. ``inplace`` has no effect."""


class Sigmoid(FunctionLayer, function=F.sigmoid, row=("sigmoid",)):
    """``1 / (1 + exp(-x))`` of each element."""

    def fusion_steps(self, shape: tuple[int, ...]) -> FusionSteps:
        """One step."""
        return [("sigmoid", None)], shape, ()


class Tanh(FunctionLayer, function=F.tanh, row=("tanh",)):
    """Hyperbolic tangent of each element."""

    def fusion_steps(self, shape: tuple[int, ...]) -> FusionSteps:
        """One step."""
        return [("tanh", None)], shape, ()


class GELU(FunctionLayer, function=F.gelu):
    """``x * Phi(x)`` of each element (Hendrycks and Gimpel 2016).

    ``Phi`` is the cumulative distribution function of the standard normal distribution.

    Attributes
    ----------
    approximate : {"none", "tanh"}
        ``"tanh"`` approximates ``Phi`` by a hyperbolic tangent.
    """

    def pointwise_op(self) -> tuple[str, float, float] | None:
        """The row of the approximation; None for one that the function refuses."""
        row = {"none": "gelu", "tanh": "gelu_tanh"}.get(self.approximate)
        return None if row is None else (row, 0.0, 0.0)


class Softmax(FunctionLayer, function=F.softmax, without=("dtype",)):
    """``exp(x)`` scaled to sum 1 along dimension ``dim``, computed without overflow.

    Attributes
    ----------
    dim : int or None
        None: 0 for inputs of 0, 1 and 3 dimensions, else 1.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.Softmax(dim=1)(fc.zeros(1, 4)).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """


class SELU(FunctionLayer, function=F.selu, row=("selu",)):
    """``elu`` with the two constants that keep mean 0 and variance 1 (Klambauer et al. 2017).

    ``inplace`` has no effect.
    """


class CELU(FunctionLayer, function=F.celu):
    """``x`` where positive, else ``alpha * (exp(x / alpha) - 1)`` (Barron 2017). ``inplace`` has no effect.

    Attributes
    ----------
    alpha : float
    """


class Mish(FunctionLayer, function=F.mish, row=("mish",)):
    """``x * tanh(softplus(x))`` of each element (Misra 2019). ``inplace`` has no effect."""


class Softplus(FunctionLayer, function=F.softplus):
    """``log(1 + exp(beta * x)) / beta``; ``x`` where ``beta * x > threshold``.

    Attributes
    ----------
    beta, threshold : float
    """


class Softsign(FunctionLayer, function=F.softsign, row=("softsign",)):
    """``x / (1 + |x|)`` of each element."""


class LogSigmoid(FunctionLayer, function=F.logsigmoid, row=("logsigmoid",)):
    """The logarithm of the sigmoid of each element, without overflow."""


class Hardshrink(FunctionLayer, function=F.hardshrink):
    """0 where ``-lambd <= x <= lambd``, else ``x``.

    Attributes
    ----------
    lambd : float
    """


class Softshrink(FunctionLayer, function=F.softshrink):
    """0 where ``-lambd <= x <= lambd``, else ``x`` moved towards 0 by ``lambd``.

    Attributes
    ----------
    lambd : float
    """


class Tanhshrink(FunctionLayer, function=F.tanhshrink, row=("tanhshrink",)):
    """``x - tanh(x)`` of each element."""


class Threshold(FunctionLayer, function=F.threshold):
    """``x`` where larger than ``threshold``, else ``value``. ``inplace`` has no effect.

    Attributes
    ----------
    threshold, value : float
    """


class GLU(FunctionLayer, function=F.glu):
    """The first half of dimension ``dim`` times the sigmoid of the second (Dauphin et al. 2017).

    Attributes
    ----------
    dim : int
    """


class RReLU(Module):
    """``x`` where positive, else ``slope * x``, with random slopes in training (Xu et al. 2015).

    Parameters
    ----------
    lower, upper : float
        In training each element gets a random slope between them. In evaluation the slope is their mean.
    inplace : bool
        No effect.
    """

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3, inplace: bool = False) -> None:
        super().__init__()
        F.rrelu(zeros(1), lower, upper)  # refuses bad options now, not at the first batch
        self.lower, self.upper = lower, upper

    def forward(self, x: TensorLike) -> Tensor:
        """``x`` with its negative elements scaled."""
        return F.rrelu(x, self.lower, self.upper, self.training)

    def extra_repr(self) -> str:
        """The options."""
        return shown(lower=self.lower, upper=self.upper)


class PReLU(Module):
    """``x`` where positive, else ``weight * x``, with a learned weight (He et al. 2015).

    Parameters
    ----------
    num_parameters : int
        1, or the number of channels.
    init : float
        The initial value of the weight.
    device : {"cpu", "cuda"}, optional
    dtype : {"float32", "float64"}, optional

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.PReLU()(fc.tensor([-2.0, 2.0])).tolist()
    [-0.5, 2.0]
    """

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        device: str | None = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        (count,) = int_tuple("PReLU", "num_parameters", num_parameters, 1, 1)
        self.num_parameters, self.init = count, number("PReLU", "init", init)
        self.weight = Parameter(full((count,), self.init, dtype=float_dtype("PReLU", dtype), device=device))

    def forward(self, x: TensorLike) -> Tensor:
        """``x`` with its negative elements scaled."""
        return F.prelu(x, self.weight)

    def extra_repr(self) -> str:
        """The number of weights."""
        return shown(num_parameters=self.num_parameters)


class Softmin(FunctionLayer, function=F.softmin, without=("dtype",)):
    """``softmax`` of ``-x`` along dimension ``dim``.

    Attributes
    ----------
    dim : int or None
    """


class LogSoftmax(FunctionLayer, function=F.log_softmax, without=("dtype",)):
    """The logarithm of ``softmax`` along dimension ``dim``, without loss of precision.

    Attributes
    ----------
    dim : int or None
    """


class Softmax2d(Module):
    """``softmax`` over the channels of each pixel, of ``N x C x H x W`` or ``C x H x W``."""

    def forward(self, x: TensorLike) -> Tensor:
        """Softmax over the dimension of the channels."""
        x = argument("Softmax2d", "input", x)
        check_rank("Softmax2d", "input", x.shape, (3, 4), "N x C x H x W or C x H x W")
        return F.softmax(x, -3)
