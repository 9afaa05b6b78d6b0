"""Products of matrices and vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastconv.checks import check, check_rank
from fastconv.ops import matmul as products
from fastconv.ops import shape as shapes
from fastconv.ops import views
from fastconv.typing import Operand
from fastconv.variable import Variable

from .operators import OperatorMethods

if TYPE_CHECKING:
    from typing_extensions import Self


class MatrixMethods(OperatorMethods):
    """Products of matrices and vectors.

    Only the leading dimensions of :meth:`matmul` broadcast. Most of the other methods take operands of fixed
    ranks and of one dtype; :meth:`inner`, :meth:`tensordot` and :meth:`kron` take any rank.
    """

    __slots__ = ()

    def matmul(self, other: Operand) -> Self:
        """Matrix product ``self @ other``; leading dimensions broadcast.

        >>> (fc.ones(5, 2, 3).matmul(fc.ones(3, 4))).shape
        (5, 2, 4)
        """
        return self @ other

    def mm(self, mat2: Variable) -> Self:
        """Product of two matrices.

        >>> fc.ones(2, 3).mm(fc.ones(3, 4)).shape
        (2, 4)
        """
        return products.product("mm", self, mat2, (2, 2), ("input", "mat2"))

    def bmm(self, mat2: Variable) -> Self:
        """Products of the matrices in two tensors of three dimensions, one by one.

        >>> fc.ones(5, 2, 3).bmm(fc.ones(5, 3, 4)).shape
        (5, 2, 4)
        """
        return products.product("bmm", self, mat2, (3, 3), ("input", "mat2"))

    def mv(self, vec: Variable) -> Self:
        """Product of a matrix and a vector.

        >>> fc.ones(2, 3).mv(fc.ones(3))
        tensor([3., 3.])
        """
        return products.product("mv", self, vec, (2, 1), ("input", "vec"))

    def dot(self, tensor: Variable) -> Self:
        """Sum of the products of two vectors.

        >>> fc.tensor([1.0, 2.0]).dot(fc.tensor([3.0, 4.0]))
        tensor(11.)
        """
        return products.product("dot", self, tensor, (1, 1), ("input", "tensor"))

    def vdot(self, other: Variable) -> Self:
        """:meth:`dot` by another name. In PyTorch they differ for complex numbers only.

        >>> fc.tensor([1.0, 2.0]).vdot(fc.tensor([3.0, 4.0]))
        tensor(11.)
        """
        return products.product("vdot", self, other, (1, 1), ("input", "other"))

    def inner(self, other: Variable) -> Self:
        """Sums of products over the last dimension of both; if one is a scalar, the product.

        >>> fc.ones(2, 3).inner(fc.ones(4, 3)).shape
        (2, 4)
        """
        return products.inner(self, other)

    def outer(self, vec2: Variable) -> Self:
        """All products of the elements of two vectors.

        >>> fc.tensor([1, 2]).outer(fc.tensor([3, 4]))
        tensor([[3, 4],
                [6, 8]])
        """
        second = products.partner("outer", "vec2", vec2, self)
        check_rank("outer", "input", self.shape, 1, "a vector")
        check_rank("outer", "vec2", second.shape, 1, "a vector")
        return shapes.reshape(self, (-1, 1)) * second

    def ger(self, vec2: Variable) -> Self:
        """:meth:`outer` by its older name.

        >>> fc.ones(2).ger(fc.ones(3)).shape
        (2, 3)
        """
        return self.outer(vec2)

    def addmm(self, mat1: Variable, mat2: Variable, *, beta: float = 1, alpha: float = 1) -> Self:
        """``beta * self + alpha * (mat1 @ mat2)``; ``self`` broadcasts. With ``beta=0`` it is not read.

        >>> fc.ones(4).addmm(fc.ones(2, 3), fc.ones(3, 4))
        tensor([[4., 4., 4., 4.],
                [4., 4., 4., 4.]])
        """
        y = products.product("addmm", mat1, mat2, (2, 2), ("mat1", "mat2"))
        return products.added("addmm", self, y, beta, alpha)

    def addmv(self, mat: Variable, vec: Variable, *, beta: float = 1, alpha: float = 1) -> Self:
        """``beta * self + alpha * (mat @ vec)``; ``self`` broadcasts.

        >>> fc.ones(2).addmv(fc.ones(2, 3), fc.ones(3))
        tensor([4., 4.])
        """
        y = products.product("addmv", mat, vec, (2, 1), ("mat", "vec"))
        return products.added("addmv", self, y, beta, alpha)

    def addbmm(self, batch1: Variable, batch2: Variable, *, beta: float = 1, alpha: float = 1) -> Self:
        """``beta * self + alpha * (sum of the products of the batch)``; ``self`` broadcasts.

        >>> fc.ones(2, 4).addbmm(fc.ones(5, 2, 3), fc.ones(5, 3, 4))[0, 0]
        tensor(16.)
        """
        y = products.product("addbmm", batch1, batch2, (3, 3), ("batch1", "batch2")).sum(0)
        return products.added("addbmm", self, y, beta, alpha)

    def baddbmm(self, batch1: Variable, batch2: Variable, *, beta: float = 1, alpha: float = 1) -> Self:
        """``beta * self + alpha * (batch1 @ batch2)``; ``self`` broadcasts.

        >>> fc.ones(5, 2, 4).baddbmm(fc.ones(5, 2, 3), fc.ones(5, 3, 4)).shape
        (5, 2, 4)
        """
        y = products.product("baddbmm", batch1, batch2, (3, 3), ("batch1", "batch2"))
        return products.added("baddbmm", self, y, beta, alpha)

    def addr(self, vec1: Variable, vec2: Variable, *, beta: float = 1, alpha: float = 1) -> Self:
        """``beta * self + alpha * vec1.outer(vec2)``; ``self`` broadcasts.

        >>> fc.ones(2, 3).addr(fc.ones(2), fc.ones(3))[0]
        tensor([2., 2., 2.])
        """
        column, row = (
            products.partner("addr", what, v, self) for what, v in (("vec1", vec1), ("vec2", vec2))
        )
        check_rank("addr", "vec1", column.shape, 1, "a vector")
        check_rank("addr", "vec2", row.shape, 1, "a vector")
        return products.added("addr", self, shapes.reshape(column, (-1, 1)) * row, beta, alpha)

    def tensordot(self, other: Variable, dims: int | Sequence[Sequence[int]] = 2) -> Self:
        """Sums of products over several dimensions of both.

        Parameters
        ----------
        other : Tensor
        dims : int or two lists of ints
            An int: sum over the last ``dims`` dimensions of this tensor and the first ``dims`` of the other.
            Two lists: the dimensions of this tensor, and those of the other.

        Examples
        --------
        >>> fc.ones(2, 3, 4).tensordot(fc.ones(4, 3, 5), dims=([1, 2], [1, 0])).shape
        (2, 5)
        """
        return products.tensordot(self, other, dims)

    def kron(self, other: Variable) -> Self:
        """The Kronecker product: each element times the whole other tensor.

        >>> fc.tensor([1, 2]).kron(fc.tensor([1, 1]))
        tensor([1, 1, 2, 2])
        """
        return products.kron(self, other)

    def trace(self) -> Self:
        """The sum of the diagonal of a matrix.

        >>> fc.eye(3).trace()
        tensor(3.)
        """
        check(self.ndim == 2, "trace", f"expected a matrix, got {self.ndim} dimensions")
        return views.diagonal(self, 0, 0, 1).sum()
