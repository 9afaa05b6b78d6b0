"""Products of matrices."""

from __future__ import annotations

from ...functions.joining import einsum as einsum_of
from ...nn import functional as F
from ...tensor import Tensor
from ..node import Node, Operator, row


def matmul(node: Node, a: Tensor, b: Tensor) -> Tensor:
    """MatMul."""
    return a @ b


def gemm(node: Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    """Gemm; a dense layer where it is one."""
    node.check(a.ndim == b.ndim == 2, f"expected two matrices, got {a.ndim} and {b.ndim} dimensions")
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    if node.get("transA", 0):
        a = a.T
    transposed = b if node.get("transB", 0) else b.T
    per_output = c is None or (c.numel() == transposed.shape[0] == c.shape[-1:][0] if c.ndim else False)
    if alpha == 1 and beta == 1 and per_output and a.dtype.kind == "f":
        return F.linear(a, transposed, c if c is None or c.ndim == 1 else c.reshape(-1))
    y = a @ transposed.T
    y = y if alpha == 1 else (y * alpha).astype(a.dtype)
    if c is None or beta == 0:
        return y
    return y + (c if beta == 1 else (c * beta).astype(a.dtype))


def einsum(node: Node, *values: Tensor) -> Tensor:
    """Einsum."""
    return einsum_of(node.get("equation"), *values)


OPERATORS: dict[str, Operator] = {"Einsum": row(einsum), "Gemm": row(gemm), "MatMul": row(matmul)}
