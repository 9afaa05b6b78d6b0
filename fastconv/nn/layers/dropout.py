"""Dropout layers: they zero elements or channels in training, and return their input in evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...checks import number
from ...creation import zeros
from ...tensor import Tensor
from ...typing import TensorLike
from .. import functional as F
from ..module import Module
from .base import own_init, shown


class Dropout(Module):
    """Zeroes elements with probability ``p`` in training (Srivastava et al. 2014).

    Parameters
    ----------
    p : float in [0, 1]
    inplace : bool
        No effect.
    mode : {"upscale_in_train", "downgrade_in_infer"}
        See :func:`fastconv.nn.functional.dropout`.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False, mode: str = "upscale_in_train") -> None:
        super().__init__()
        F.dropout(zeros(1), p, False, mode=mode)  # refuses bad options now, not at the first batch
        self.p, self.mode = p, mode

    def forward(self, x: TensorLike) -> Tensor:
        """``x`` with elements zeroed in training."""
        return F.dropout(x, self.p, self.training, mode=self.mode)

    def extra_repr(self) -> str:
        """The options."""
        return shown(p=self.p, mode=self.mode)


class _Dropout(Module):
    """A dropout function as a layer, which is active only in training mode."""

    function: Callable[..., Tensor]

    def __init_subclass__(cls, function: Callable[..., Tensor] | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if function is not None:
            cls.function = staticmethod(function)
            own_init(cls)

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        self.p = number(type(self).__name__, "p", p, 0, 1)

    def forward(self, x: TensorLike) -> Tensor:
        """``x`` with channels or elements dropped in training."""
        return self.function(x, self.p, self.training)

    def extra_repr(self) -> str:
        """The options."""
        return shown(p=self.p)


class Dropout1d(_Dropout, function=F.dropout1d):
    """Zeroes channels of ``N x C x W`` or ``C x W`` with probability ``p`` in training.

    Parameters
    ----------
    p : float in [0, 1]
    inplace : bool
        No effect.
    """


class Dropout2d(_Dropout, function=F.dropout2d):
    """Zeroes channels of ``N x C x H x W`` with probability ``p`` in training (Tompson et al. 2015).

    Parameters
    ----------
    p : float in [0, 1]
    inplace : bool
        No effect.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.Dropout2d(0.5).eval()(fc.ones(1, 2, 3, 3)).sum().item()
    18.0
    """


class Dropout3d(_Dropout, function=F.dropout3d):
    """Zeroes channels of ``N x C x D x H x W`` or ``C x D x H x W`` with probability ``p`` in training.

    Parameters
    ----------
    p : float in [0, 1]
    inplace : bool
        No effect.
    """


class AlphaDropout(_Dropout, function=F.alpha_dropout):
    """Dropout that keeps mean 0 and variance 1; see :func:`fastconv.nn.functional.alpha_dropout`.

    Parameters
    ----------
    p : float in [0, 1]
    inplace : bool
        No effect.
    """


class FeatureAlphaDropout(_Dropout, function=F.feature_alpha_dropout):
    """Alpha dropout of whole channels; see :func:`fastconv.nn.functional.feature_alpha_dropout`.

    Parameters
    ----------
    p : float in [0, 1]
    inplace : bool
        No effect.
    """
