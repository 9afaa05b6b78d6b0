"""Functions of several tensors: concatenation, broadcasting, grids and Einstein summation."""

# Users' arguments are checked at run time, although by the declared types some checks look unnecessary.
# pyright: reportUnnecessaryIsInstance=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..checks import check, check_axis, check_rank, check_shape, one_of, shape_str
from ..ops import Concatenate, Stack
from ..ops.einsum import einsum as _einsum
from ..spec import broadcast_shape
from ..tensor import Tensor
from ..typing import TensorLike
from ..variable import argument


# ------------------------------------------------------------------------------------------------- joined
def cat(tensors: Sequence[TensorLike], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Concatenate along an existing dimension (``axis`` is NumPy's name for ``dim``).

    Tensors of shape ``(0,)`` are left out, whatever the shape of the others, as in PyTorch.

    >>> fc.cat([fc.zeros(2, 3), fc.ones(1, 3)]).shape
    (3, 3)
    """
    return _cat("cat", tensors, dim if axis is None else axis)


def concat(tensors: Sequence[TensorLike], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """:func:`cat` by another name.

    >>> fc.concat([fc.zeros(2, 3), fc.ones(1, 3)]).shape
    (3, 3)
    """
    return _cat("concat", tensors, dim if axis is None else axis)


def concatenate(tensors: Sequence[TensorLike], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """:func:`cat` by NumPy's name.

    >>> fc.concatenate([fc.zeros(2, 3), fc.ones(1, 3)]).shape
    (3, 3)
    """
    return _cat("concatenate", tensors, dim if axis is None else axis)


def stack(tensors: Sequence[TensorLike], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Join equally shaped tensors along a new dimension (``axis`` is NumPy's name for ``dim``).

    >>> fc.stack([fc.zeros(3), fc.ones(3)], dim=1).shape
    (3, 2)
    """
    several = _sequence("stack", tensors)
    first = several[0]
    along = check_axis("stack", dim if axis is None else axis, first.ndim + 1)
    for t in several[1:]:
        check_shape("stack", "each tensor", t.shape, first.shape, "the first one's")
    return Stack.apply(*several, axis=along)


def hstack(tensors: Sequence[TensorLike]) -> Tensor:
    """Join side by side: along dimension 1, vectors along dimension 0.

    >>> fc.hstack([fc.zeros(2, 3), fc.ones(2, 1)]).shape
    (2, 4)
    """
    several = [atleast_1d(t) for t in _sequence("hstack", tensors)]
    return _cat("hstack", several, 0 if several[0].ndim == 1 else 1)


def vstack(tensors: Sequence[TensorLike]) -> Tensor:
    """Join one below the other: along dimension 0; vectors become rows.

    >>> fc.vstack([fc.zeros(3), fc.ones(3)]).shape
    (2, 3)
    """
    return _cat("vstack", [atleast_2d(t) for t in _sequence("vstack", tensors)], 0)


def dstack(tensors: Sequence[TensorLike]) -> Tensor:
    """Join along dimension 2; vectors and matrices get dimensions of extent 1.

    >>> fc.dstack([fc.zeros(2, 3), fc.ones(2, 3)]).shape
    (2, 3, 2)
    """
    return _cat("dstack", [atleast_3d(t) for t in _sequence("dstack", tensors)], 2)


def column_stack(tensors: Sequence[TensorLike]) -> Tensor:
    """Join side by side; vectors become columns.

    >>> fc.column_stack([fc.zeros(3), fc.ones(3)]).shape
    (3, 2)
    """
    several = _sequence("column_stack", tensors)
    return _cat("column_stack", [t if t.ndim > 1 else t.reshape(-1, 1) for t in several], 1)


def _cat(name: str, tensors: Sequence[TensorLike], dim: int) -> Tensor:
    several = _sequence(name, tensors)
    # In the first versions of PyTorch every empty tensor had the shape (0,), and PyTorch still accepts such a
    # tensor at the start of a list.
    several = [t for t in several if t.shape != (0,)] or several
    first = several[0]
    for i, t in enumerate(several):
        check(
            t.ndim > 0, name, f"tensor {i} is a scalar, which has no dimension to be joined along; use stack"
        )
    along = check_axis(name, dim, first.ndim)
    want = first.shape
    for t in several:
        fits = t.ndim == len(want) and all(
            i == along or a == b for i, (a, b) in enumerate(zip(t.shape, want))
        )
        check(
            fits,
            name,
            f"shapes must agree except in dim {along}: {shape_str(want)} and {shape_str(t.shape)}",
        )
    return Concatenate.apply(*several, axis=along)


# ------------------------------------------------------------------------------------------------- dimensions
def _each(name: str, tensors: tuple[Any, ...], grown: Any) -> Any:
    """``grown(tensor)`` for one tensor, or a tuple of these results for several."""
    if len(tensors) == 1 and not isinstance(tensors[0], (tuple, list)):
        return grown(argument(name, "input", tensors[0]))
    if len(tensors) == 1:
        tensors = tuple(tensors[0])
    return tuple(grown(argument(name, f"tensor {i}", t)) for i, t in enumerate(tensors))


def atleast_1d(*tensors: Any) -> Any:
    """The tensors with at least one dimension; several tensors give a tuple.

    >>> fc.atleast_1d(fc.tensor(1.0))
    tensor([1.])
    """
    return _each("atleast_1d", tensors, lambda t: t if t.ndim else t.reshape(1))


def atleast_2d(*tensors: Any) -> Any:
    """The tensors with at least two dimensions, vectors as rows; several tensors give a tuple.

    >>> fc.atleast_2d(fc.tensor([1.0, 2.0])).shape
    (1, 2)
    """
    return _each("atleast_2d", tensors, lambda t: t if t.ndim > 1 else t.reshape(1, -1))


def atleast_3d(*tensors: Any) -> Any:
    """The tensors with at least three dimensions; several tensors give a tuple.

    Vectors become ``1 x n x 1``, matrices ``m x n x 1``.

    >>> fc.atleast_3d(fc.zeros(2, 3)).shape
    (2, 3, 1)
    """

    def grown(t: Tensor) -> Tensor:
        return t if t.ndim > 2 else t.unsqueeze(2) if t.ndim == 2 else t.reshape(1, -1, 1)

    return _each("atleast_3d", tensors, grown)


def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """The tensors expanded to their common shape, without copies.

    >>> a, b = fc.broadcast_tensors(fc.zeros(3, 1), fc.ones(2))
    >>> a.shape, b.shape
    ((3, 2), (3, 2))
    """
    several = _sequence("broadcast_tensors", tensors)
    shape: tuple[int, ...] = ()
    for t in several:
        shape = broadcast_shape("broadcast_tensors", shape, t.shape) if shape else t.shape
    return tuple(t.expand(shape) for t in several)


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """The coordinates of a grid: for each vector a tensor of the shape of the grid.

    Result ``i`` holds vector ``i`` along dimension ``i`` and is constant along the other dimensions.

    Parameters
    ----------
    *tensors : vectors or scalars, or one list of them
    indexing : {"ij", "xy"}
        With ``"xy"`` the first two dimensions of the grid are exchanged.

    Examples
    --------
    >>> rows, columns = fc.meshgrid(fc.arange(2), fc.arange(3), indexing="ij")
    >>> columns
    tensor([[0, 1, 2],
            [0, 1, 2]])
    """
    name = "meshgrid"
    one_of(name, "indexing", indexing, ("ij", "xy"))
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tuple(tensors[0])
    lines = _sequence(name, tensors)
    for i, line in enumerate(lines):
        check_rank(name, f"tensor {i}", line.shape, (0, 1), "a vector or a scalar")
    check(len({t.dtype for t in lines}) == 1, name, "the tensors must have one dtype", TypeError)
    swap = indexing == "xy" and len(lines) > 1
    if swap:
        lines[0], lines[1] = lines[1], lines[0]
    shape = tuple(t.numel() for t in lines)
    grids = [
        t.reshape([-1 if d == i else 1 for d in range(len(lines))]).expand(shape) for i, t in enumerate(lines)
    ]
    if swap:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)


# ------------------------------------------------------------------------------------------------- products
def einsum(equation: str, *operands: Any) -> Tensor:
    """A sum of products in Einstein notation: indices that the result does not have are summed over.

    The operands are multiplied from the left to the right, each pair by a product of matrices.

    Parameters
    ----------
    equation : str
        A letter for each dimension of each operand, as in ``"ij,jk->ik"``. ``...`` stands for any further
        dimensions, which broadcast. A letter that occurs twice in one operand takes the diagonal. Without
        ``->`` the result has the dimensions of ``...`` and then the letters that occur once, in alphabetical
        order.
    *operands : Tensors of one dtype, or one list of them

    Raises
    ------
    ValueError
        If the equation cannot be read or does not fit the operands.
    TypeError
        If ``equation`` is not a string, or the operands have different dtypes. The form with lists of
        numbers instead of letters is not supported.

    Examples
    --------
    >>> fc.einsum("bij,bjk->bik", fc.ones(5, 2, 3), fc.ones(5, 3, 4)).shape
    (5, 2, 4)
    """
    name = "einsum"
    check(
        isinstance(equation, str),
        name,
        f"equation must be a string such as 'ij,jk->ik', got {type(equation).__name__}; give letters, not "
        "lists of numbers",
        TypeError,
    )
    if len(operands) == 1 and isinstance(operands[0], (tuple, list)):
        operands = tuple(operands[0])
    several = _sequence(name, operands)
    types = {t.dtype for t in several}
    check(
        len(types) == 1,
        name,
        f"the operands must have one dtype, got {', '.join(sorted(map(str, types)))}; convert them with "
        ".astype",
        TypeError,
    )
    return _einsum(equation, several)


def _sequence(name: str, tensors: Any) -> list[Tensor]:
    if isinstance(tensors, (Tensor, str, bytes)) or not hasattr(tensors, "__iter__"):
        raise TypeError(f"{name}: expected a list or tuple of tensors, got {type(tensors).__name__}")
    found = [argument(name, f"tensor {i}", t) for i, t in enumerate(tensors)]
    check(len(found) > 0, name, "expected at least one tensor")
    return found
