"""Search in sorted sequences."""

from __future__ import annotations

from ..ops import count
from ..tensor import Tensor
from ..typing import Operand, TensorLike


def searchsorted(
    sorted_sequence: TensorLike,
    input: Operand,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: TensorLike | None = None,
) -> Tensor:
    """The index at which each value would be inserted into a sorted row. NumPy computes it, on the host.

    Parameters
    ----------
    sorted_sequence : Tensor
        A sorted vector, or sorted rows. Each row is searched for the values in the same row of ``input``.
    input : Tensor or number
        The values.
    out_int32 : bool
        Return int32 instead of int64.
    right : bool
        Insert a value after the elements that equal it; by default before them.
    side : {"left", "right"}, optional
        ``"right"`` is another way to write ``right=True``.
    sorter : Tensor of int64, optional
        Indices that sort each row of ``sorted_sequence``, if it is not sorted itself.

    Returns
    -------
    Tensor
        int64 (or int32), of the shape of ``input``.

    Raises
    ------
    ValueError
        If the dimensions before the last differ, ``side`` contradicts ``right``, or ``sorter`` has another
        shape or dtype.
    IndexError
        If an index in ``sorter`` is out of range.

    Examples
    --------
    >>> fc.searchsorted(fc.tensor([1.0, 3.0, 5.0]), fc.tensor([0.0, 3.0, 9.0]))
    tensor([0, 1, 3])
    """
    return count.searchsorted("searchsorted", sorted_sequence, input, out_int32, right, side, sorter)
