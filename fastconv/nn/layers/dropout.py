"""Dropout layers."""

from __future__ import annotations

from ...creation import zeros
from ...tensor import Tensor
from ...typing import TensorLike
from .. import functional as F
from ..module import Module
from .base import shown


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
        F.dropout(zeros(1), p, False, mode)  # refuses bad options now, not at the first batch
        self.p, self.mode = p, mode

    def forward(self, x: TensorLike) -> Tensor:
        """``x`` with elements zeroed in training."""
        return F.dropout(x, self.p, self.training, self.mode)

    def extra_repr(self) -> str:
        """The options."""
        return shown(p=self.p, mode=self.mode)
