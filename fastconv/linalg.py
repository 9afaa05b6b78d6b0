"""Norms, under the names of ``numpy.linalg``."""

from __future__ import annotations

from .checks import check, check_rank
from .ops import reduce
from .tensor import Tensor
from .typing import Dims, DType, TensorLike
from .variable import argument


def vector_norm(
    x: TensorLike, ord: float = 2, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """The norm over ``dim`` of all elements as one vector.

    Parameters
    ----------
    x : Tensor
    ord : number, inf or -inf
        ``sum(abs(x) ** ord) ** (1 / ord)``; 0 counts what is not 0, inf and -inf are the largest and the
        smallest absolute value.
    dim : int or sequence of ints, optional
        The dimensions that are reduced; all by default.
    keepdim : bool
        Keep them, with extent 1.
    dtype : dtype, optional
        What the elements are converted to before.

    Raises
    ------
    TypeError
        If the elements are no floats.
    ValueError
        If the norm of no elements is asked for that has no value.

    Examples
    --------
    >>> fc.linalg.vector_norm(fc.tensor([3.0, 4.0]))
    tensor(5.)
    """
    check(not isinstance(ord, str), "vector_norm", f"ord must be a number, got {ord!r:.60}", TypeError)
    return reduce.norm("vector_norm", argument("vector_norm", "x", x), ord, dim, keepdim, dtype)


def norm(
    x: TensorLike,
    ord: float | str | None = None,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: DType | None = None,
) -> Tensor:
    """The norm of a vector or of a matrix.

    Parameters
    ----------
    x : Tensor
    ord : number, inf, -inf, "fro" or None
        None is the root of the sum of the squares of all elements. With one ``dim`` (or a vector) it is that
        of :func:`vector_norm`. With two (or a matrix) it is "fro", or the largest (smallest) sum of absolute
        values of a column: 1 (-1), or of a row: inf (-inf).
    dim : int or sequence of ints, optional
        The dimension of the vectors, or the two of the matrices.
    keepdim, dtype
        As for :func:`vector_norm`.

    Raises
    ------
    ValueError
        For norms of matrices that need singular values: 2, -2 and "nuc".

    Examples
    --------
    >>> fc.linalg.norm(fc.tensor([[3.0, 0.0], [0.0, 4.0]]))
    tensor(5.)
    """
    t = argument("norm", "x", x)
    if ord is None:
        return reduce.norm("norm", t, 2, dim, keepdim, dtype)
    dims = reduce.axes_of("norm", t, dim) if dim is None or isinstance(dim, int) else tuple(dim)
    if len(dims) == 1:
        return vector_norm(t, ord, dims, keepdim, dtype=dtype) if not isinstance(ord, str) else _refused(ord)
    if dim is None:
        check_rank("norm", "x", t.shape, (1, 2), "a vector or a matrix, unless dim or no ord is given")
    check(len(dims) == 2, "norm", f"dim must be one or two dimensions, got {dim}")
    if ord == "fro":
        return reduce.norm("norm", t, 2, dims, keepdim, dtype)
    if ord not in (1, -1, float("inf"), -float("inf")):
        return _refused(ord)
    rows, columns = (d % t.ndim for d in dims)
    summed = rows if abs(ord) == 1 else columns
    sums = reduce.norm("norm", t, 1, summed, True, dtype)
    y = reduce.reduce("norm", sums, (rows, columns), keepdim, op="max" if ord > 0 else "min")
    return y


def _refused(ord: object) -> Tensor:
    raise ValueError(
        f"norm: ord {ord!r:.60} is not supported; numpy.linalg.norm has the norms that need singular values"
    )
