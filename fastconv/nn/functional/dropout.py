"""Dropout: elements or whole channels are zeroed at random."""

from __future__ import annotations

from fastconv import random
from fastconv.checks import check_float, number, one_of
from fastconv.creation import as_tensor
from fastconv.tape import Op
from fastconv.tensor import Tensor
from fastconv.typing import TensorLike


class Dropout(Op):
    """Backward draws the same mask again from the seed, so no mask is stored."""

    @staticmethod
    def forward(ctx, x, p, scale, seed):
        ctx.mask = (p, scale, seed)
        return ctx.engine.dropout(x, p, scale, seed)

    @staticmethod
    def backward(ctx, gy):
        return ctx.engine.dropout(gy, *ctx.mask)


def dropout(
    input: TensorLike, p: float = 0.5, training: bool = True, mode: str = "upscale_in_train"
) -> Tensor:
    """Zero each element with probability ``p`` (Srivastava et al. 2014).

    Parameters
    ----------
    input : Tensor or array, float32 or float64
    p : float in [0, 1]
    training : bool
    mode : {"upscale_in_train", "downgrade_in_infer"}
        The first divides the elements that are kept by ``1 - p`` in training, and returns ``input`` in
        evaluation. The second leaves them as they are, and multiplies by ``1 - p`` in evaluation.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.dropout(fc.ones(3), p=0.5, training=False).tolist()
    [1.0, 1.0, 1.0]
    """
    check_float("dropout", input=input)
    p = number("dropout", "p", p, 0, 1)
    one_of("dropout", "mode", mode, ("upscale_in_train", "downgrade_in_infer"))
    upscale = mode == "upscale_in_train"
    if not training and not upscale:
        return as_tensor(input) * (1.0 - p)
    if not training or p == 0:
        return as_tensor(input)
    scale = 1.0 / (1.0 - p) if upscale and p < 1 else 1.0
    return Dropout.apply(input, p=p, scale=scale, seed=random.next_seed())
