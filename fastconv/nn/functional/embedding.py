"""Rows of a table, selected by integers."""

from __future__ import annotations

from fastconv.checks import check, check_float, check_rank, int_tuple
from fastconv.creation import argument
from fastconv.tape import Op
from fastconv.tensor import Tensor
from fastconv.typing import TensorLike

from .labels import check_labels


class Embedding(Op):
    """Rows ``index`` (a host array) of ``weight``; the row ``padding`` gets no gradient."""

    @staticmethod
    def forward(ctx, weight, index, padding):
        ctx.index, ctx.padding, ctx.shape = index, padding, weight.shape
        return ctx.engine.getitem(weight, (index,))

    @staticmethod
    def backward(ctx, gy):
        e = ctx.engine
        gx = e.zeros(ctx.shape, gy.dtype)
        e.index_add(gx, (ctx.index,), gy)
        if ctx.padding is not None:
            e.setitem(gx, ctx.padding, 0.0)
        return gx


def embedding(
    input: TensorLike,
    weight: TensorLike,
    padding_idx: int | None = None,
    max_norm: None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """The rows of the table ``weight`` that the integers ``input`` select.

    Parameters
    ----------
    input : Tensor or array of integers, of any shape
    weight : Tensor or array, ``rows x features``, float32 or float64
    padding_idx : int, optional
        The index of a row that gets no gradient; negative numbers count from the end.
    max_norm, scale_grad_by_freq, sparse
        Not supported; ``norm_type`` belongs to ``max_norm``.

    Returns
    -------
    Tensor, ``(*input.shape, features)``

    Raises
    ------
    ValueError
        If an integer is negative, or not smaller than the number of rows.
    TypeError
        If ``input`` does not hold integers.

    Examples
    --------
    >>> import fastconv as fc
    >>> fc.nn.functional.embedding(fc.tensor([2, 0]), fc.eye(3)).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    name = "embedding"
    check_options(name, max_norm, norm_type, scale_grad_by_freq, sparse)
    input, weight = argument(name, "input", input), argument(name, "weight", weight)
    check_float(name, weight=weight)
    check_rank(name, "weight", weight.shape, 2, "rows x features")
    padding = padding_row(name, padding_idx, weight.shape[0])
    index = check_labels(name, input, weight.shape[0])
    return Embedding.apply(weight, index=index.copy(), padding=padding)


def check_options(name: str, max_norm: object, norm_type: object, by_freq: object, sparse: object) -> None:
    """Raise a TypeError if an option of PyTorch that is not supported has another value than its default."""
    for what, value, default in (
        ("max_norm", max_norm, None),
        ("norm_type", norm_type, 2.0),
        ("scale_grad_by_freq", by_freq, False),
        ("sparse", sparse, False),
    ):
        left_out = value is None or (isinstance(value, (bool, float)) and value == default)
        check(left_out, name, f"{what} is not supported, got {value!r:.60}; leave it out", TypeError)


def padding_row(name: str, padding_idx: int | None, rows: int) -> int | None:
    """``padding_idx`` as an index from 0 on."""
    if padding_idx is None:
        return None
    row = int_tuple(name, "padding_idx", padding_idx, 1, -rows)[0]
    check(row < rows, name, f"padding_idx must be one of the {rows} rows of weight, got {row}")
    return row % rows
