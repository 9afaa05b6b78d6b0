"""Attention, composed of other ops: two products of matrices and a softmax between them."""

from __future__ import annotations

from math import inf, sqrt
from typing import Any

import numpy as np

from fastconv.checks import check, check_float, number, shape_str
from fastconv.creation import argument, as_tensor
from fastconv.spec import broadcast_shape
from fastconv.tape import Op
from fastconv.tensor import Tensor
from fastconv.typing import TensorLike

from .dropout import dropped
from .softmax import softmax


class MaskedSoftmax(Op):
    """Softmax along the last axis. A row that is masked everywhere (minus infinity) gives zeros."""

    @staticmethod
    def forward(ctx, x):
        e = ctx.engine
        y = e.softmax_fwd(x, x.ndim - 1, False)
        rows = np.nonzero(e.to_host(e.reduce_fwd("max", x, (x.ndim - 1,), False)) == -inf)
        if rows[0].size:
            e.setitem(y, rows, 0.0)
        ctx.save(y)
        return y

    @staticmethod
    def backward(ctx, gy):
        return ctx.engine.softmax_bwd(gy, ctx.saved[0], gy.ndim - 1, False)


def _bias(name: str, mask: TensorLike, like: Tensor) -> Tensor:
    """The mask as a tensor to add to the scores: True becomes 0 and False minus infinity."""
    mask = argument(name, "attn_mask", mask)
    if mask.dtype == bool:
        keep: Any = mask.numpy()
        return as_tensor(np.where(keep, 0, -inf).astype(like.dtype)).to(like.device)
    check_float(name, query=like, attn_mask=mask)
    return mask


def scaled_dot_product_attention(
    query: TensorLike,
    key: TensorLike,
    value: TensorLike,
    attn_mask: TensorLike | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """``softmax(query @ key.T * scale + mask) @ value`` (Vaswani et al. 2017).

    All scores are in memory at the same time, so it grows with ``L * S``.

    Parameters
    ----------
    query : Tensor or array, ``(..., L, E)``, float32 or float64
    key, value : ``(..., S, E)`` and ``(..., S, Ev)``
        Leading dimensions broadcast.
    attn_mask : broadcast with ``(..., L, S)``, optional
        Of a mask of bools, True lets a position of the key take part, and a row without True gives zeros. A
        mask of numbers is added to the scores.
    dropout_p : float in [0, 1]
        The probability that a weight is zeroed. Give 0 in evaluation.
    is_causal : bool
        Position ``i`` of the query uses the positions up to ``i`` of the key. It excludes ``attn_mask``.
    scale : float, optional
        By default ``1 / sqrt(E)``.
    enable_gqa : bool
        Several heads of the query share one head of key and value (Ainslie et al. 2023). The heads are the
        third dimension from the end; their number in ``query`` is a multiple of that in key and value.

    Returns
    -------
    Tensor, ``(..., L, Ev)``

    Raises
    ------
    ValueError
        If the shapes do not fit, or both ``attn_mask`` and ``is_causal`` are given.
    TypeError
        If the arrays are not float, or mix float32 and float64.

    Examples
    --------
    >>> import fastconv as fc
    >>> q, v = fc.zeros(1, 2), fc.tensor([[1.0], [3.0]])
    >>> fc.nn.functional.scaled_dot_product_attention(q, fc.zeros(2, 2), v).tolist()
    [[2.0]]
    """
    name = "scaled_dot_product_attention"
    arrays = {"query": query, "key": key, "value": value}
    query, key, value = (argument(name, what, v) for what, v in arrays.items())
    check_float(name, query=query, key=key, value=value)
    dropout_p = number(name, "dropout_p", dropout_p, 0, 1)
    shapes = [t.shape for t in (query, key, value)]
    text = ", ".join(map(shape_str, shapes))
    check(
        min(map(len, shapes)) >= 2, name, f"query, key and value must have at least 2 dimensions, got {text}"
    )
    fit = shapes[0][-1] == shapes[1][-1] and shapes[1][-2] == shapes[2][-2]
    check(fit, name, f"expected query (..., L, E), key (..., S, E) and value (..., S, Ev), got {text}")
    check(not (is_causal and attn_mask is not None), name, "give attn_mask or is_causal, not both")
    factor = 1 / sqrt(max(shapes[0][-1], 1)) if scale is None else number(name, "scale", scale)
    length, size = shapes[0][-2], shapes[1][-2]
    bias = None if attn_mask is None else _bias(name, attn_mask, query)
    if is_causal:
        hidden = np.where(np.tri(length, size, dtype=bool), 0, -inf).astype(query.dtype)
        bias = as_tensor(hidden).to(query.device)
    heads = 0
    if enable_gqa:
        check(min(map(len, shapes)) >= 3, name, f"enable_gqa needs a dimension of heads, got {text}")
        heads, groups = shapes[0][-3], shapes[1][-3]
        shared = groups == shapes[2][-3] and groups > 0 and heads % groups == 0
        check(shared, name, f"the heads of key and value must divide those of the query, got {text}")
        query = query.reshape(*shapes[0][:-3], groups, heads // groups, *shapes[0][-2:])
        key, value = key.unsqueeze(-3), value.unsqueeze(-3)
        if bias is not None and bias.ndim > 2:
            several = bias.shape[-3] == heads
            split = (groups, heads // groups) if several else (1, 1)
            bias = bias.reshape(*bias.shape[:-3], *split, *bias.shape[-2:])
    broadcast_shape(name, broadcast_shape(name, query.shape[:-2], key.shape[:-2]), value.shape[:-2])
    order = (*range(key.ndim - 2), key.ndim - 1, key.ndim - 2)
    scores = (query * factor) @ key.permute(*order)
    if bias is None:
        weights = softmax(scores, -1)
    else:
        broadcast_shape(f"{name}: attn_mask", bias.shape, scores.shape)
        scores = scores + bias
        weights = softmax(scores, -1) if is_causal else MaskedSoftmax.apply(scores)
    if dropout_p > 0:
        weights = dropped(name, weights, dropout_p, 1 / (1 - dropout_p) if dropout_p < 1 else 1.0, False)
    y = weights @ value
    return y.reshape(*y.shape[:-4], heads, *y.shape[-2:]) if enable_gqa else y
