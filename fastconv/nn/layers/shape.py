"""Layers that rearrange elements: flattening and its reverse, windows as columns, and the identity."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from ...checks import LIMIT, check, int_tuple
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
        """One step that makes a row of each image; None if other dimensions are merged."""
        if (self.start_dim, self.end_dim) != (1, -1):
            return None
        return [("flatten", None)], (shape[0], prod(shape[1:])), ()

    def extra_repr(self) -> str:
        """The options."""
        return shown(start_dim=self.start_dim, end_dim=self.end_dim)


class Unflatten(Module):
    """Splits dimension ``dim`` into several.

    Parameters
    ----------
    dim : int
        Named dimensions, as in PyTorch, are not supported.
    unflattened_size : sequence of int
        One of the extents may be -1.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.Unflatten(1, (3, -1))(fc.zeros(2, 12)).shape
    (2, 3, 4)
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        name = "Unflatten"
        check(
            not isinstance(dim, str),
            name,
            f"dim must be an int, names are not supported; got {dim!r}",
            TypeError,
        )
        check(
            isinstance(unflattened_size, (tuple, list)) and len(unflattened_size) > 0,
            name,
            f"unflattened_size must be a tuple of ints, got {unflattened_size!r:.60}",
            TypeError,
        )
        self.dim = int_tuple(name, "dim", dim, 1, -LIMIT)[0]
        self.unflattened_size = int_tuple(
            name, "unflattened_size", unflattened_size, len(unflattened_size), -1
        )
        check(
            self.unflattened_size.count(-1) <= 1,
            name,
            f"at most one extent of unflattened_size may be -1, got {self.unflattened_size}",
        )

    def forward(self, x: TensorLike) -> Tensor:
        """``x`` with the dimension split."""
        return argument("Unflatten", "input", x).unflatten(self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        """The options."""
        return shown(dim=self.dim, unflattened_size=self.unflattened_size)


class Unfold(FunctionLayer, function=F.unfold):
    """Windows of ``N x C x H x W`` as columns; see :func:`fastconv.nn.functional.unfold`.

    Attributes
    ----------
    kernel_size, dilation, padding, stride : as in :class:`Conv2d`

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.Unfold(kernel_size=3)(fc.zeros(1, 3, 8, 8)).shape
    (1, 27, 36)
    """

    ndim = 2


class Fold(FunctionLayer, function=F.fold):
    """Adds columns of windows to images; see :func:`fastconv.nn.functional.fold`.

    Attributes
    ----------
    output_size : int or (H, W)
    kernel_size, dilation, padding, stride : as in :class:`Conv2d`

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.Fold((8, 8), kernel_size=3)(fc.zeros(1, 27, 36)).shape
    (1, 3, 8, 8)
    """

    ndim = 2
