"""Pointwise nonlinearities and softmax."""

from __future__ import annotations

from .. import functional as F
from ..fused_chain import FusionSteps
from .base import FunctionLayer


class ReLU(FunctionLayer, function=F.relu):
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


class LeakyReLU(FunctionLayer, function=F.leaky_relu):
    """``x`` where positive, else ``negative_slope * x``. ``inplace`` has no effect.

    Attributes
    ----------
    negative_slope : float
    """


class ReLU6(FunctionLayer, function=F.relu6):
    """``min(max(x, 0), 6)`` of each element. ``inplace`` has no effect."""


class Hardtanh(FunctionLayer, function=F.hardtanh):
    """``x`` between ``min_val`` and ``max_val``, else the nearer of them. ``inplace`` has no effect.

    Attributes
    ----------
    min_val, max_val : float
    """


class Hardsigmoid(FunctionLayer, function=F.hardsigmoid):
    """``relu6(x + 3) / 6`` of each element (Courbariaux et al. 2015). ``inplace`` has no effect."""


class Hardswish(FunctionLayer, function=F.hardswish):
    """``x * relu6(x + 3) / 6`` of each element (Howard et al. 2019). ``inplace`` has no effect."""


class ELU(FunctionLayer, function=F.elu):
    """``x`` where positive, else ``alpha * (exp(x) - 1)`` (Clevert et al. 2015). ``inplace`` has no effect.

    Attributes
    ----------
    alpha : float
    """


class SiLU(FunctionLayer, function=F.silu):
    """``x * sigmoid(x)`` of each element, also called swish. ``inplace`` has no effect."""


class Sigmoid(FunctionLayer, function=F.sigmoid):
    """``1 / (1 + exp(-x))`` of each element."""

    def fusion_steps(self, shape: tuple[int, ...]) -> FusionSteps:
        """One step."""
        return [("sigmoid", None)], shape, ()


class Tanh(FunctionLayer, function=F.tanh):
    """Hyperbolic tangent of each element."""

    def fusion_steps(self, shape: tuple[int, ...]) -> FusionSteps:
        """One step."""
        return [("tanh", None)], shape, ()


class GELU(FunctionLayer, function=F.gelu):
    """``x * Phi(x)`` of each element, ``Phi`` the normal distribution's (Hendrycks and Gimpel 2016).

    Attributes
    ----------
    approximate : {"none", "tanh"}
        ``"tanh"``: the approximation by a hyperbolic tangent.
    """


class Softmax(FunctionLayer, function=F.softmax):
    """``exp(x)`` scaled to sum 1 along dimension ``dim``, computed without overflow.

    Attributes
    ----------
    dim : int

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.Softmax(dim=1)(fc.zeros(1, 4)).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """
