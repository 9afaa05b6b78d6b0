"""The dense layer."""

from __future__ import annotations

from typing import Any

from ...checks import check_count, int_tuple
from ...creation import zeros
from ...spec import conv_spec
from ...tensor import Tensor
from ...typing import TensorLike
from .. import functional as F
from ..fused_chain import FusionSteps
from ..module import Module, Parameter
from .base import default_init, shown


class Linear(Module):
    """Dense layer ``x @ weight.T + bias`` on the last dimension: ``(..., in) -> (..., out)``.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
        Add a learned bias.

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

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.in_features = int_tuple("Linear", "in_features", in_features, 1, 1)[0]
        self.out_features = int_tuple("Linear", "out_features", out_features, 1, 1)[0]
        check_count("Linear", "weight", (out_features, in_features))
        # In memory the first axis is innermost, as in convolutions.
        self.weight = Parameter(zeros(in_features, out_features).permute(1, 0))
        self.register_parameter("bias", Parameter(zeros(out_features)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters, uniform within ``1 / sqrt(in_features)``."""
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
