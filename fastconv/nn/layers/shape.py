"""Layers that change shapes only: flattening, resizing, and the identity."""

from __future__ import annotations

from math import prod
from typing import Any

from ...creation import argument
from ...tensor import Tensor
from ...typing import TensorLike
from .. import functional as F
from ..fused_chain import FusionSteps
from ..module import Module
from .base import FunctionLayer, shown


class Identity(Module):
    """Returns its input; arguments of the constructor are ignored."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, x: TensorLike) -> TensorLike:
        """``x`` itself."""
        return x

    def fusion_steps(self, shape: tuple[int, ...]) -> FusionSteps:
        """No step."""
        return [], shape, ()


class Flatten(Module):
    """Merges the dimensions ``start_dim`` to ``end_dim`` into one; by default all but the batch.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.Flatten()(fc.zeros(2, 3, 4, 5)).shape
    (2, 60)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: TensorLike) -> Tensor:
        """``x`` with the dimensions merged."""
        return argument("Flatten", "input", x).flatten(self.start_dim, self.end_dim)

    def fusion_steps(self, shape: tuple[int, ...]) -> FusionSteps | None:
        """One step that makes rows of images; None for other dimensions."""
        if (self.start_dim, self.end_dim) != (1, -1):
            return None
        return [("flatten", None)], (shape[0], prod(shape[1:])), ()

    def extra_repr(self) -> str:
        """The options."""
        return shown(start_dim=self.start_dim, end_dim=self.end_dim)


class Upsample(FunctionLayer, function=F.interpolate):
    """Resizes images ``N x C x H x W``; see :func:`fastconv.nn.functional.interpolate`.

    Attributes
    ----------
    size : int or (H_out, W_out)
    scale_factor : float or one per dimension
        Instead of ``size``.
    mode : {"nearest", "bilinear"}
    align_corners : bool
        Bilinear: map the centres of the corner pixels onto each other, instead of the edges of the images.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.Upsample(scale_factor=2)(fc.zeros(1, 3, 8, 8)).shape
    (1, 3, 16, 16)
    """
