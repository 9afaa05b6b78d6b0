"""Methods that change a tensor's own memory.

Most are made from the method that returns a new tensor: ``relu_ = in_place(PointwiseMethods.relu)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from fastconv import inplace
from fastconv.checks import check, shape_str
from fastconv.typing import Operand
from fastconv.variable import Variable, argument

from .arithmetic import ArithmeticMethods
from .index import IndexMethods
from .matrix import MatrixMethods
from .operators import OperatorMethods
from .pointwise import PointwiseMethods
from .shape import ShapeMethods
from .statistics import StatisticMethods

if TYPE_CHECKING:
    from typing_extensions import Self

P = ParamSpec("P")
V = TypeVar("V", bound=Variable)


def _named(method: Callable[..., Any], change: Callable[..., Any], text: str) -> Any:
    name = f"{method.__name__}_"
    change.__name__, change.__qualname__ = name, f"InPlaceMethods.{name}"
    change.__doc__ = text
    change.__wrapped__ = method  # type: ignore[attr-defined]  # for the signature
    return change


def in_place(method: Callable[Concatenate[Any, P], Any]) -> Callable[Concatenate[V, P], V]:
    """A method that computes ``method``, writes the result to the tensor's memory and returns the tensor."""
    name = f"{method.__name__}_"

    def change(self: V, *args: P.args, **kwargs: P.kwargs) -> V:
        return inplace.update(self, name, method, *args, **kwargs)

    return _named(method, change, f":meth:`{method.__name__}` in place.")


def new_shape(method: Callable[Concatenate[Any, P], Any]) -> Callable[Concatenate[V, P], V]:
    """A method that gives the tensor itself the shape of the result of ``method``, and returns the tensor.

    The memory does not change.
    """
    name = f"{method.__name__}_"

    def change(self: V, *args: P.args, **kwargs: P.kwargs) -> V:
        return inplace.reshape(self, name, method, *args, **kwargs)

    return _named(method, change, f":meth:`{method.__name__}` in place: the tensor gets another shape.")


class InPlaceMethods(OperatorMethods, PointwiseMethods, IndexMethods):
    """Methods that change the tensor's own memory and return the tensor. Autograd records the changes."""

    __slots__ = ()

    def __iadd__(self, other: Operand) -> Self:
        return inplace.update(self, "add_", OperatorMethods.__add__, other)

    def __isub__(self, other: Operand) -> Self:
        return inplace.update(self, "sub_", OperatorMethods.__sub__, other)

    def __imul__(self, other: Operand) -> Self:
        return inplace.update(self, "mul_", OperatorMethods.__mul__, other)

    def __itruediv__(self, other: Operand) -> Self:
        return inplace.update(self, "div_", OperatorMethods.__truediv__, other)

    def __ifloordiv__(self, other: Operand) -> Self:
        return inplace.update(self, "floor_divide_", OperatorMethods.__floordiv__, other)

    def __imod__(self, other: Operand) -> Self:
        return inplace.update(self, "remainder_", OperatorMethods.__mod__, other)

    def __ipow__(self, other: Operand) -> Self:
        return inplace.update(self, "pow_", OperatorMethods.__pow__, other)

    def __iand__(self, other: Operand) -> Self:
        return inplace.update(self, "bitwise_and_", OperatorMethods.__and__, other)

    def __ior__(self, other: Operand) -> Self:
        return inplace.update(self, "bitwise_or_", OperatorMethods.__or__, other)

    def __ixor__(self, other: Operand) -> Self:
        return inplace.update(self, "bitwise_xor_", OperatorMethods.__xor__, other)

    # ---- pointwise
    abs_ = in_place(PointwiseMethods.abs)
    ceil_ = in_place(PointwiseMethods.ceil)
    clamp_ = clip_ = in_place(PointwiseMethods.clamp)
    clamp_max_ = in_place(PointwiseMethods.clamp_max)
    clamp_min_ = in_place(PointwiseMethods.clamp_min)
    cos_ = in_place(PointwiseMethods.cos)
    erf_ = in_place(PointwiseMethods.erf)
    exp_ = in_place(PointwiseMethods.exp)
    expm1_ = in_place(PointwiseMethods.expm1)
    floor_ = in_place(PointwiseMethods.floor)
    log_ = in_place(PointwiseMethods.log)
    log10_ = in_place(PointwiseMethods.log10)
    log1p_ = in_place(PointwiseMethods.log1p)
    log2_ = in_place(PointwiseMethods.log2)
    neg_ = in_place(PointwiseMethods.neg)
    reciprocal_ = in_place(PointwiseMethods.reciprocal)
    relu_ = in_place(PointwiseMethods.relu)
    round_ = in_place(PointwiseMethods.round)
    rsqrt_ = in_place(PointwiseMethods.rsqrt)
    sigmoid_ = in_place(PointwiseMethods.sigmoid)
    sign_ = in_place(PointwiseMethods.sign)
    sin_ = in_place(PointwiseMethods.sin)
    sqrt_ = in_place(PointwiseMethods.sqrt)
    square_ = in_place(PointwiseMethods.square)
    tanh_ = in_place(PointwiseMethods.tanh)
    trunc_ = in_place(PointwiseMethods.trunc)

    # ---- arithmetic
    add_ = in_place(ArithmeticMethods.add)
    addcdiv_ = in_place(ArithmeticMethods.addcdiv)
    addcmul_ = in_place(ArithmeticMethods.addcmul)
    bitwise_and_ = in_place(ArithmeticMethods.bitwise_and)
    bitwise_not_ = in_place(ArithmeticMethods.bitwise_not)
    bitwise_or_ = in_place(ArithmeticMethods.bitwise_or)
    bitwise_xor_ = in_place(ArithmeticMethods.bitwise_xor)
    div_ = in_place(ArithmeticMethods.div)
    eq_ = in_place(ArithmeticMethods.eq)
    floor_divide_ = in_place(ArithmeticMethods.floor_divide)
    fmod_ = in_place(ArithmeticMethods.fmod)
    ge_ = in_place(ArithmeticMethods.ge)
    gt_ = in_place(ArithmeticMethods.gt)
    le_ = in_place(ArithmeticMethods.le)
    lerp_ = in_place(ArithmeticMethods.lerp)
    logical_and_ = in_place(ArithmeticMethods.logical_and)
    logical_not_ = in_place(ArithmeticMethods.logical_not)
    logical_or_ = in_place(ArithmeticMethods.logical_or)
    logical_xor_ = in_place(ArithmeticMethods.logical_xor)
    lt_ = in_place(ArithmeticMethods.lt)
    mul_ = in_place(ArithmeticMethods.mul)
    ne_ = in_place(ArithmeticMethods.ne)
    pow_ = in_place(ArithmeticMethods.pow)
    remainder_ = in_place(ArithmeticMethods.remainder)
    sub_ = in_place(ArithmeticMethods.sub)
    true_divide_ = in_place(ArithmeticMethods.true_divide)

    # ---- matrices and running reductions
    addbmm_ = in_place(MatrixMethods.addbmm)
    addmm_ = in_place(MatrixMethods.addmm)
    addmv_ = in_place(MatrixMethods.addmv)
    addr_ = in_place(MatrixMethods.addr)
    baddbmm_ = in_place(MatrixMethods.baddbmm)
    cumprod_ = in_place(StatisticMethods.cumprod)
    cumsum_ = in_place(StatisticMethods.cumsum)
    tril_ = in_place(IndexMethods.tril)
    triu_ = in_place(IndexMethods.triu)

    # ---- indices and masks
    index_add_ = in_place(IndexMethods.index_add)
    index_copy_ = in_place(IndexMethods.index_copy)
    index_fill_ = in_place(IndexMethods.index_fill)
    index_put_ = in_place(IndexMethods.index_put)
    masked_fill_ = in_place(IndexMethods.masked_fill)
    masked_scatter_ = in_place(IndexMethods.masked_scatter)
    scatter_ = in_place(IndexMethods.scatter)
    scatter_add_ = in_place(IndexMethods.scatter_add)
    scatter_reduce_ = in_place(IndexMethods.scatter_reduce)

    # ---- another shape
    squeeze_ = new_shape(ShapeMethods.squeeze)
    swapaxes_ = new_shape(ShapeMethods.swapaxes)
    swapdims_ = new_shape(ShapeMethods.swapdims)
    t_ = new_shape(ShapeMethods.t)
    transpose_ = new_shape(ShapeMethods.transpose)
    unsqueeze_ = new_shape(ShapeMethods.unsqueeze)

    # ---- new values
    def copy_(self, src: Operand, non_blocking: bool = False) -> Self:
        """Overwrite the values in place; they are converted to this tensor's dtype and device.

        Parameters
        ----------
        src : Tensor, array or number
            The new values, which broadcast.
        non_blocking : bool
            Accepted, without effect.
        """
        if isinstance(src, Variable) and src.device != self.device:
            src = argument("copy_", "src", src).to(self.device)
        inplace.assign(self, ..., src, "copy_")
        return self

    def fill_(self, value: Operand) -> Self:
        """Make every element ``value``, a number or a tensor without dimensions."""
        if np.ndim(value) != 0:  # pyright: ignore[reportArgumentType]
            raise ValueError(f"fill_: value must be a number, got shape {shape_str(np.shape(value))}")  # pyright: ignore
        inplace.assign(self, ..., value, "fill_")
        return self

    def zero_(self) -> Self:
        """Make every element zero."""
        inplace.assign(self, ..., 0, "zero_")
        return self

    def fill_diagonal_(self, fill_value: float, wrap: bool = False) -> Self:
        """Make the elements on the main diagonal ``fill_value``.

        Parameters
        ----------
        fill_value : float
        wrap : bool
            In a matrix with more rows than columns, fill more diagonals below the first one. One row that is
            not changed lies between two diagonals.

        Raises
        ------
        ValueError
            If there are fewer than 2 dimensions, or more than 2 with different extents.

        Examples
        --------
        >>> fc.zeros(2, 2).fill_diagonal_(3.0)
        tensor([[3., 0.],
                [0., 3.]])
        """
        shape = self.shape
        check(
            len(shape) == 2 or len(shape) > 2 and len(set(shape)) == 1,
            "fill_diagonal_",
            f"expected a matrix, or more dimensions of one extent, got {shape_str(shape)}",
        )
        n = min(shape)
        places = tuple([np.arange(n)] * len(shape))
        if wrap and len(shape) == 2 and n:
            flat = np.arange(0, shape[0] * shape[1], shape[1] + 1)
            places = flat // shape[1], flat % shape[1]
        inplace.assign(self, places, fill_value, "fill_diagonal_")
        return self
