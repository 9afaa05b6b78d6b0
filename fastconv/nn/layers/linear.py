"""The dense layer and the bilinear layer."""

from __future__ import annotations

from math import sqrt
from typing import Any

from ...checks import check_count, int_tuple
from ...creation import zeros
from ...spec import conv_spec
from ...tensor import Tensor
from ...typing import DType, TensorLike
from .. import functional as F
from .. import init
from ..fused_chain import FusionSteps
from ..module import Module, Parameter
from .base import default_init, float_dtype, shown


class Linear(Module):
    """Dense layer ``x @ weight.T + bias`` on the last dimension: ``(..., in) -> (..., out)``.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
        Add a learned bias.
    device : {"cpu", "cuda"}, optional
    dtype : float32 or float64, optional

    Attributes
    ----------
    weight : Parameter, ``(out_features, in_features)``
    bias : Parameter ``(out_features,)``, or None

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.Linear(20, 5)(fc.zeros(3, 20)).shape
    (3, 5)
    """

    weight: Parameter
    bias: Any  # Parameter or None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: str | None = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        self.in_features = int_tuple("Linear", "in_features", in_features, 1, 1)[0]
        self.out_features = int_tuple("Linear", "out_features", out_features, 1, 1)[0]
        check_count("Linear", "weight", (out_features, in_features))
        # In memory the first axis is innermost, as in the weights of convolutions.
        made: Any = {"dtype": float_dtype("Linear", dtype), "device": device}
        self.weight = Parameter(zeros(in_features, out_features, **made).permute(1, 0))
        self.register_parameter("bias", Parameter(zeros(out_features, **made)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters, uniform in ``[-b, b)`` with ``b = 1 / sqrt(in_features)``."""
        default_init(self.weight, self.bias)

    def forward(self, x: TensorLike) -> Tensor:
        """``x @ weight.T + bias``."""
        return F.linear(x, self.weight, self.bias)

    def fusion_steps(self, shape: tuple[int, ...]) -> FusionSteps:
        """A 1x1 convolution of 1x1 images, on an input ``rows x in_features``."""
        rows, features = shape
        bias = None if self.bias is None else self.bias.shape
        spec = conv_spec("conv2d", (rows, features, 1, 1), (*self.weight.shape, 1, 1), bias_shape=bias)
        return [("linear", spec)], spec.y_shape[:2], (self.weight, self.bias)

    def extra_repr(self) -> str:
        """The options."""
        return shown(in_features=self.in_features, out_features=self.out_features, bias=self.bias is not None)


class Bilinear(Module):
    """``y[o] = x1 @ weight[o] @ x2 + bias[o]`` on the last dimensions.

    Parameters
    ----------
    in1_features, in2_features, out_features : int
    bias : bool
        Add a learned bias.
    device : {"cpu", "cuda"}, optional
    dtype : float32 or float64, optional

    Attributes
    ----------
    weight : Parameter, ``(out_features, in1_features, in2_features)``
    bias : Parameter ``(out_features,)``, or None

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.Bilinear(20, 30, 5)(fc.zeros(3, 20), fc.zeros(3, 30)).shape
    (3, 5)
    """

    weight: Parameter
    bias: Any  # Parameter or None

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: str | None = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        self.in1_features = int_tuple("Bilinear", "in1_features", in1_features, 1, 1)[0]
        self.in2_features = int_tuple("Bilinear", "in2_features", in2_features, 1, 1)[0]
        self.out_features = int_tuple("Bilinear", "out_features", out_features, 1, 1)[0]
        shape = self.out_features, self.in1_features, self.in2_features
        check_count("Bilinear", "weight", shape)
        made: Any = {"dtype": float_dtype("Bilinear", dtype), "device": device}
        self.weight = Parameter(zeros(shape, **made))
        self.register_parameter("bias", Parameter(zeros(self.out_features, **made)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters, uniform in ``[-b, b)`` with ``b = 1 / sqrt(in1_features)``."""
        bound = 1 / sqrt(self.in1_features)
        for parameter in (self.weight, self.bias):
            if parameter is not None:
                init.uniform_(parameter, -bound, bound)

    def forward(self, x1: TensorLike, x2: TensorLike) -> Tensor:
        """``x1 @ weight @ x2 + bias``."""
        return F.bilinear(x1, x2, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The options."""
        return shown(
            in1_features=self.in1_features,
            in2_features=self.in2_features,
            out_features=self.out_features,
            bias=self.bias is not None,
        )
