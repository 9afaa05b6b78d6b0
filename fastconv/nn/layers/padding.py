"""Padding layers: five kinds, each for one, two and three spatial dimensions."""

from __future__ import annotations

from ...checks import LIMIT, check, int_tuple, number
from ...tensor import Tensor
from ...typing import Ints, TensorLike
from .. import functional as F
from ..module import Module
from .base import own_init


class _Pad(Module):
    """Pads the last ``ndim`` dimensions."""

    ndim: int
    mode: str

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        own_init(cls)

    def __init__(self, padding: Ints) -> None:
        super().__init__()
        name, n = type(self).__name__, self.ndim
        one = not isinstance(padding, (tuple, list))
        check(
            one or len(padding) == 2 * n,
            name,
            f"padding must be an int or {2 * n} ints (before and after, the last dimension first), "
            f"got {padding!r:.60}",
        )
        self.padding = int_tuple(name, "padding", padding, 2 * n, 1 - LIMIT)

    def forward(self, input: TensorLike) -> Tensor:
        """``input``, padded."""
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        """The padding."""
        return f"{self.padding}"


class _ConstantPad(_Pad):
    mode = "constant"

    def __init__(self, padding: Ints, value: float) -> None:
        super().__init__(padding)
        self.value = number(type(self).__name__, "value", value)

    def forward(self, input: TensorLike) -> Tensor:
        """``input``, padded with ``value``."""
        return F.pad(input, self.padding, self.mode, self.value)

    def extra_repr(self) -> str:
        """The padding and the value."""
        return f"padding={self.padding}, value={self.value}"


class ZeroPad1d(_Pad):
    """Pads ``N x C x W`` or ``C x W``; see :class:`ZeroPad2d`."""

    ndim, mode = 1, "constant"


class ZeroPad2d(_Pad):
    """Pads the last two dimensions of ``N x C x H x W`` or ``C x H x W`` with zeros.

    Parameters
    ----------
    padding : int or (left, right, top, bottom)
        Negative numbers crop.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.ZeroPad2d((1, 0, 0, 0))(fc.tensor([[[1.0, 2.0]]])).tolist()
    [[[0.0, 1.0, 2.0]]]
    """

    ndim, mode = 2, "constant"


class ZeroPad3d(_Pad):
    """Pads ``N x C x D x H x W`` or ``C x D x H x W``; see :class:`ZeroPad2d`."""

    ndim, mode = 3, "constant"


class ConstantPad1d(_ConstantPad):
    """Pads ``N x C x W`` or ``C x W``; see :class:`ConstantPad2d`."""

    ndim = 1


class ConstantPad2d(_ConstantPad):
    """Pads the last two dimensions of ``N x C x H x W`` or ``C x H x W`` with ``value``.

    Parameters
    ----------
    padding : int or (left, right, top, bottom)
        Negative numbers crop.
    value : float

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.ConstantPad2d((1, 0, 0, 0), -1.0)(fc.tensor([[[1.0, 2.0]]])).tolist()
    [[[-1.0, 1.0, 2.0]]]
    """

    ndim = 2


class ConstantPad3d(_ConstantPad):
    """Pads ``N x C x D x H x W`` or ``C x D x H x W``; see :class:`ConstantPad2d`."""

    ndim = 3


class ReflectionPad1d(_Pad):
    """Pads ``N x C x W`` or ``C x W``; see :class:`ReflectionPad2d`."""

    ndim, mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """Pads the last two dimensions of ``N x C x H x W`` or ``C x H x W`` with their mirror image.

    Parameters
    ----------
    padding : int or (left, right, top, bottom)
        Negative numbers crop.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.ReflectionPad2d((1, 0, 0, 0))(fc.tensor([[[1.0, 2.0]]])).tolist()
    [[[2.0, 1.0, 2.0]]]
    """

    ndim, mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """Pads ``N x C x D x H x W`` or ``C x D x H x W``; see :class:`ReflectionPad2d`."""

    ndim, mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """Pads ``N x C x W`` or ``C x W``; see :class:`ReplicationPad2d`."""

    ndim, mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """Pads the last two dimensions of ``N x C x H x W`` or ``C x H x W`` with copies of the edge.

    Parameters
    ----------
    padding : int or (left, right, top, bottom)
        Negative numbers crop.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.ReplicationPad2d((1, 0, 0, 0))(fc.tensor([[[1.0, 2.0]]])).tolist()
    [[[1.0, 1.0, 2.0]]]
    """

    ndim, mode = 2, "replicate"


class ReplicationPad3d(_Pad):
    """Pads ``N x C x D x H x W`` or ``C x D x H x W``; see :class:`ReplicationPad2d`."""

    ndim, mode = 3, "replicate"


class CircularPad1d(_Pad):
    """Pads ``N x C x W`` or ``C x W``; see :class:`CircularPad2d`."""

    ndim, mode = 1, "circular"


class CircularPad2d(_Pad):
    """Pads the last two dimensions of ``N x C x H x W`` or ``C x H x W`` with the opposite edge's elements.

    Parameters
    ----------
    padding : int or (left, right, top, bottom)
        Negative numbers crop.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.CircularPad2d((1, 0, 0, 0))(fc.tensor([[[1.0, 2.0]]])).tolist()
    [[[2.0, 1.0, 2.0]]]
    """

    ndim, mode = 2, "circular"


class CircularPad3d(_Pad):
    """Pads ``N x C x D x H x W`` or ``C x D x H x W``; see :class:`CircularPad2d`."""

    ndim, mode = 3, "circular"
