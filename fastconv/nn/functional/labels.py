"""Class labels: checks, and conversion to one-hot vectors."""

from __future__ import annotations

import numpy as np

from fastconv.checks import check, check_count, int_tuple
from fastconv.creation import arange, argument
from fastconv.dtypes import INT64
from fastconv.errors import names_memory
from fastconv.tensor import Tensor
from fastconv.typing import TensorLike


def check_labels(name: str, labels: Tensor, classes: int, ignore_index: int | None = None) -> np.ndarray:
    """Labels as a host int64 array.

    Raises
    ------
    TypeError
        If the labels are not integers.
    ValueError
        If a label is neither in ``0..classes-1`` nor equal to ``ignore_index``.
    """
    t = labels.numpy()
    check(
        t.dtype.kind in "iu",
        name,
        f"labels must be integers, got {t.dtype}; convert them with .astype('int64')",
        TypeError,
    )
    t = t.astype(np.int64, copy=False)
    if not (t.view(np.uint64) >= classes).any():  # as unsigned numbers, negative labels are large
        return t
    wrong = (t < 0) | (t >= classes)
    if ignore_index is not None:
        wrong &= t != ignore_index
    if wrong.any():
        also = "" if ignore_index is None else f" or ignore_index {ignore_index}"
        raise ValueError(
            f"{name}: labels must be in 0..{classes - 1} ({classes} classes){also}, got {t[wrong][0]}"
        )
    return t


@names_memory
def one_hot(tensor: TensorLike, num_classes: int = -1) -> Tensor:
    """Integer labels ``(...)`` as int64 vectors ``(..., num_classes)`` of zeros and a one.

    Parameters
    ----------
    tensor : Tensor or array of integers
    num_classes : int
        The length of the vectors. -1 means the largest label plus one.

    Raises
    ------
    ValueError
        If a label is negative or not smaller than ``num_classes``, or if ``num_classes`` is -1 and there are
        no labels.
    TypeError
        If the labels are not integers.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.one_hot(fc.tensor([2, 0]), 3).tolist()
    [[0, 0, 1], [1, 0, 0]]
    """
    tensor = argument("one_hot", "tensor", tensor)
    num_classes = int_tuple("one_hot", "num_classes", num_classes, 1, -1)[0]
    if num_classes == -1:
        check(tensor.numel() > 0, "one_hot", "give num_classes, because there are no labels to find it from")
        num_classes = int(tensor.numpy().max()) + 1
    check_count("one_hot", "the output", (*tensor.shape, num_classes))
    check_labels("one_hot", tensor, num_classes)
    return (tensor.unsqueeze(-1) == arange(num_classes, device=tensor.device)).astype(INT64)
