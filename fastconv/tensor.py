"""Tensor: an array with a logical NCHW shape, a device and a place on the tape.

A method here says what users may call; the work is done in ``ops`` (with the derivatives), ``inplace`` and
``autograd``. Layers' ops are in ``fastconv.nn.functional``.
"""

# Arguments of users are checked when they arrive, whatever their declared types say.
# pyright: reportUnnecessaryIsInstance=false, reportUnknownVariableType=false, reportUnknownMemberType=false

from __future__ import annotations

import builtins
import copy
from collections.abc import Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, overload

import numpy as np

from . import autograd, inplace, numpy_protocol, variable
from .checks import check, check_axis, check_rank, check_shape, shape_str
from .dtypes import FLOAT32, FLOAT64, INT64
from .ops import Copy, GetItem, MatMul, Unary, convert
from .ops import shape as shapes
from .ops.index import plain_key
from .ops.pointwise import binary, clamp, compared, operand, power
from .ops.reduce import arg_extremum, extremum_along, given, reduce, softmax
from .typing import Array, Dims, DType, Ints, Operand
from .variable import Variable, argument

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T", bound="Tensor")


class MaxResult(NamedTuple):
    """The largest or smallest elements along a dimension, and where they are."""

    values: Tensor
    indices: Tensor


class Tensor(Variable):
    """An n-dimensional array that remembers how it was computed.

    Parameters
    ----------
    data : Tensor, numpy.ndarray, number or nested sequence
        An array is wrapped without a copy; anything else becomes an array first (Python floats float32).
    requires_grad : bool
        Record the ops on this tensor and collect its gradient in ``.grad``.

    Attributes
    ----------
    shape, ndim, dtype, device, requires_grad, grad
    data : Tensor
        The same memory outside the tape: ``w.data[:] -= lr * w.grad``.

    Examples
    --------
    >>> x = fc.Tensor([[1.0, 2.0]], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([[2., 4.]])
    """

    __slots__ = ()

    grad: Tensor | None

    # ---- what it is
    @overload
    def size(self, dim: None = None) -> tuple[int, ...]: ...

    @overload
    def size(self, dim: int) -> int: ...

    def size(self, dim: int | None = None) -> int | tuple[int, ...]:
        """The shape, or one extent of it."""
        return self.shape if dim is None else self.shape[check_axis("size", dim, self.ndim)]

    def dim(self) -> int:
        """Number of dimensions."""
        return self.array.ndim

    @property
    def data(self) -> Tensor:
        """The same memory outside the tape; assigning replaces the values."""
        return self.detach()

    @data.setter
    def data(self, value: Operand) -> None:
        if isinstance(value, Tensor) and value.array is self.array:  # ``x.data += 1`` has changed it
            return
        array = argument("as_tensor", "data", value).array
        check_shape("data", "new value", array.shape, self.shape, "the tensor's own shape")
        self.array = self.engine.cast(array, self.dtype)
        self.memory.version += 1

    @property
    def T(self) -> Tensor:  # noqa: N802 - NumPy's name
        """The dimensions in reverse order."""
        return shapes.permute(self, range(self.ndim)[::-1])

    def numel(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    def element_size(self) -> int:
        """Bytes per element."""
        return self.dtype.itemsize

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len: a scalar Tensor has no length")
        return self.shape[0]

    def __repr__(self) -> str:
        extra = f", device='{self.device}'" * (self.device != "cpu")
        extra += f", dtype={self.dtype}" * (self.dtype not in (FLOAT32, INT64))
        if self.node is None or self.is_leaf:
            extra += ", requires_grad=True" * self.requires_grad
        else:
            extra += f", grad_fn=<{self.node.function.__name__}>"
        values = np.array2string(self.numpy(), separator=", ", precision=4, prefix="tensor(")
        return f"tensor({values}{extra})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.ndim == 0 or spec else repr(self)

    def __bool__(self) -> bool:
        check(
            self.numel() == 1,
            "bool",
            f"only one-element tensors have a truth value, got {shape_str(self.shape)}",
        )
        return builtins.bool(self.numpy().reshape(-1)[0])

    def __float__(self) -> builtins.float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        check(
            self.numel() == 1 and self.dtype.kind in "iub",
            "index",
            f"only an integer tensor of one element can be an index, got {self.dtype} of shape "
            f"{shape_str(self.shape)}",
            TypeError,
        )
        return int(self.item())

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __contains__(self, element: object) -> bool:
        hit = self == element
        return isinstance(hit, Tensor) and bool(hit.numpy().any())

    def __hash__(self) -> int:
        return id(self)

    # ---- to and from other worlds
    def __array__(self, dtype: DType | None = None, copy: bool | None = None) -> Array:
        a = self.numpy()
        if dtype is not None and a.dtype != dtype:
            check(
                copy is not False,
                "__array__",
                f"{np.dtype(dtype)} of {a.dtype} needs a copy, and copy=False forbids it",
            )
            return a.astype(dtype)
        return a.copy() if copy else a

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return numpy_protocol.ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return numpy_protocol.function(func, args, kwargs)

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self.array.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Of a tensor on a GPU. On the host this raises an AttributeError, as CuPy and others expect."""
        return self.array.__cuda_array_interface__

    def __copy__(self) -> Self:
        """The same memory in another tensor, a leaf."""
        twin = _leaf(type(self), self, self.requires_grad)
        twin.grad = self.grad
        _attributes(twin).update(_attributes(self))
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        check(
            self.is_leaf,
            "deepcopy",
            "only leaf tensors can be deep-copied, and this is the result of an op, whose graph cannot be; "
            "use .detach().clone() for the values, or .clone() to stay on the tape",
            RuntimeError,
        )
        twin = memo[id(self)] = _leaf(type(self), copy.deepcopy(self.array, memo), self.requires_grad)
        twin.grad = copy.deepcopy(self.grad, memo)
        _attributes(twin).update(copy.deepcopy(_attributes(self), memo))
        return twin

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """A pickle holds the values, as a leaf on the same device, and not the gradient, as in PyTorch."""
        return (
            _unpickled,
            (type(self), self.numpy(), str(self.device), self.requires_grad),
            _attributes(self) or None,
        )

    def item(self) -> Any:
        """The only element as a Python number."""
        check(
            self.numel() == 1,
            "item",
            f"only one-element tensors convert to a number, got {shape_str(self.shape)}",
        )
        return self.numpy().reshape(-1)[0].item()

    def tolist(self) -> Any:
        """The values as nested lists of Python numbers."""
        return self.numpy().tolist()

    def detach(self) -> Tensor:
        """The same memory, outside the tape."""
        return variable.detach(self)

    def clone(self) -> Tensor:
        """A copy that stays on the tape."""
        return Copy.apply(self)

    def to(self, target: str | DType) -> Tensor:
        """Move to a device (``"cpu"``, ``"cuda"``) or cast to a dtype."""
        return convert.to(self, target)

    def cpu(self) -> Tensor:
        """Move to the host."""
        return convert.to(self, "cpu")

    def cuda(self) -> Tensor:
        """Move to the GPU."""
        return convert.to(self, "cuda")

    def astype(self, dtype: DType) -> Tensor:
        """Cast to ``dtype``; gradients are cast back."""
        return convert.astype(self, dtype)

    def float(self) -> Tensor:
        """Cast to float32."""
        return convert.astype(self, FLOAT32)

    def double(self) -> Tensor:
        """Cast to float64."""
        return convert.astype(self, FLOAT64)

    def long(self) -> Tensor:
        """Cast to int64."""
        return convert.astype(self, INT64)

    # ---- the tape
    def requires_grad_(self, flag: bool = True) -> Self:
        """Set ``requires_grad`` and return the tensor."""
        self.requires_grad = flag
        return self

    def backward(self, grad: Operand | None = None, retain_graph: bool = False) -> None:
        """Compute the gradient of this tensor with respect to every leaf and add it to the leaf's ``.grad``.

        Parameters
        ----------
        grad : Tensor or array of this shape, optional
            Upstream gradient; may be left out for a one-element tensor (then 1).
        retain_graph : bool
            Keep what backward needs for a second call.

        Raises
        ------
        RuntimeError
            If nothing here requires a gradient, if ``grad`` is missing, if the graph was freed by an earlier
            call, or if a tensor that backward needs was changed in place.

        Examples
        --------
        >>> w = fc.tensor([1.0, 2.0], requires_grad=True)
        >>> (w * w).sum().backward()
        >>> w.grad
        tensor([2., 4.])
        """
        check(
            self.requires_grad,
            "backward",
            "this tensor does not require gradients (or was made under no_grad)",
            RuntimeError,
        )
        if grad is None:
            check(
                self.numel() == 1,
                "backward",
                f"a gradient of shape {shape_str(self.shape)} is needed: backward(grad) on a non-scalar "
                "tensor, or call .sum().backward()",
                RuntimeError,
            )
            upstream = self.engine.asarray(np.ones(self.shape, self.dtype))
        else:
            upstream = argument("backward", "grad", grad).array
            check_shape("backward", "grad", upstream.shape, self.shape, "the tensor's own shape")
            if upstream.dtype != self.dtype:
                upstream = self.engine.cast(upstream, self.dtype)
        autograd.backward(self, upstream, retain_graph)

    def zero_grad(self) -> None:
        """Forget the gradient."""
        self.grad = None

    # ---- arithmetic
    def __neg__(self) -> Tensor:
        return Unary.apply(self, name="neg")

    def __abs__(self) -> Tensor:
        return Unary.apply(self, name="abs")

    def abs(self) -> Tensor:
        """Absolute values."""
        return abs(self)

    def __add__(self, other: Operand) -> Tensor:
        return binary("add", self, other)

    def __radd__(self, other: Operand) -> Tensor:
        return binary("add", other, self)

    def __sub__(self, other: Operand) -> Tensor:
        return binary("sub", self, other)

    def __rsub__(self, other: Operand) -> Tensor:
        return binary("sub", other, self)

    def __mul__(self, other: Operand) -> Tensor:
        return binary("mul", self, other)

    def __rmul__(self, other: Operand) -> Tensor:
        return binary("mul", other, self)

    def __truediv__(self, other: Operand) -> Tensor:
        return binary("div", self, other)

    def __rtruediv__(self, other: Operand) -> Tensor:
        return binary("div", other, self)

    def __pow__(self, other: Operand) -> Tensor:
        return power(self, other)

    def __rpow__(self, other: Operand) -> Tensor:
        return binary("pow", other, self)

    def __lt__(self, other: Operand) -> Tensor:
        return binary("lt", self, other)

    def __le__(self, other: Operand) -> Tensor:
        return binary("le", self, other)

    def __gt__(self, other: Operand) -> Tensor:
        return binary("gt", self, other)

    def __ge__(self, other: Operand) -> Tensor:
        return binary("ge", self, other)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]  # element by element
        return compared("eq", self, other)

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return compared("ne", self, other)

    def __matmul__(self, other: Operand) -> Tensor:
        b = operand(other)
        return b if b is NotImplemented else MatMul.apply(self, argument("matmul", "operand", b))

    def __rmatmul__(self, other: Operand) -> Tensor:
        a = operand(other)
        return a if a is NotImplemented else MatMul.apply(argument("matmul", "operand", a), self)

    def matmul(self, other: Operand) -> Tensor:
        """Matrix product ``self @ other``; leading dimensions broadcast."""
        return self @ other

    # ---- arithmetic in place, on the tensor's own memory
    def __iadd__(self, other: Operand) -> Self:
        return inplace.update(self, "add_", Tensor.__add__, other)

    def __isub__(self, other: Operand) -> Self:
        return inplace.update(self, "sub_", Tensor.__sub__, other)

    def __imul__(self, other: Operand) -> Self:
        return inplace.update(self, "mul_", Tensor.__mul__, other)

    def __itruediv__(self, other: Operand) -> Self:
        return inplace.update(self, "div_", Tensor.__truediv__, other)

    def __ipow__(self, other: Operand) -> Self:
        return inplace.update(self, "pow_", Tensor.__pow__, other)

    def add_(self, other: Operand, *, alpha: builtins.float = 1) -> Self:
        """``self += alpha * other``."""
        self += other if alpha == 1 else operand(other) * alpha
        return self

    def sub_(self, other: Operand, *, alpha: builtins.float = 1) -> Self:
        """``self -= alpha * other``."""
        self -= other if alpha == 1 else operand(other) * alpha
        return self

    def mul_(self, other: Operand) -> Self:
        """``self *= other``."""
        self *= other
        return self

    def div_(self, other: Operand) -> Self:
        """``self /= other``."""
        self /= other
        return self

    def pow_(self, other: Operand) -> Self:
        """``self **= other``."""
        self **= other
        return self

    def neg_(self) -> Self:
        """Change the sign in place."""
        return inplace.update(self, "neg_", Tensor.__neg__)

    def clamp_(self, min: Operand | None = None, max: Operand | None = None) -> Self:
        """:meth:`clamp` in place."""
        return inplace.update(self, "clamp_", Tensor.clamp, min, max)

    def copy_(self, value: Operand) -> Self:
        """Overwrite the values in place; they are converted to this tensor's dtype."""
        self[...] = value
        return self

    def fill_(self, value: Operand) -> Self:
        """Make every element ``value``."""
        self[...] = value
        return self

    def zero_(self) -> Self:
        """Make every element zero."""
        return self.fill_(0)

    # ---- functions of each element
    def clamp(self, min: Operand | None = None, max: Operand | None = None) -> Tensor:
        """Elements below ``min`` become ``min``, above ``max`` they become ``max``; each bound broadcasts."""
        return clamp(self, min, max)

    def exp(self) -> Tensor:
        """The exponential of each element."""
        return Unary.apply(self, name="exp")

    def log(self) -> Tensor:
        """The natural logarithm of each element."""
        return Unary.apply(self, name="log")

    def sqrt(self) -> Tensor:
        """The square root of each element."""
        return Unary.apply(self, name="sqrt")

    def relu(self) -> Tensor:
        """The elements, with 0 for negative ones."""
        return Unary.apply(self, name="relu")

    def sigmoid(self) -> Tensor:
        """``1 / (1 + exp(-x))`` of each element."""
        return Unary.apply(self, name="sigmoid")

    def tanh(self) -> Tensor:
        """The hyperbolic tangent of each element."""
        return Unary.apply(self, name="tanh")

    def softmax(self, dim: int | None = None, *, axis: int | None = None) -> Tensor:
        """Exponentials along ``dim``, scaled so that they sum to 1."""
        return softmax(self, given("softmax", dim, axis))

    def pow(self, other: Operand) -> Tensor:
        """``self ** other``."""
        return self**other

    # ---- reductions
    # ``axis`` and ``keepdims`` are NumPy's names for ``dim`` and ``keepdim``.
    def sum(
        self,
        dim: Dims = None,
        keepdim: bool = False,
        *,
        dims: Dims = None,
        axis: Dims = None,
        keepdims: bool = False,
    ) -> Tensor:
        """Sum over ``dim`` (an int or several; all by default)."""
        return reduce("sum", self, given("sum", dim, dims, axis), keepdim or keepdims)

    def mean(
        self,
        dim: Dims = None,
        keepdim: bool = False,
        *,
        dims: Dims = None,
        axis: Dims = None,
        keepdims: bool = False,
    ) -> Tensor:
        """Mean over ``dim`` (an int or several; all by default)."""
        return reduce("mean", self, given("mean", dim, dims, axis), keepdim or keepdims)

    def _extremum(self, name: str, dim: Dims, keepdim: bool, dims: Dims) -> Tensor | MaxResult:
        if isinstance(dim, int):
            return MaxResult(*extremum_along(name, self, dim, keepdim))
        return reduce(name, self, dims if dim is None else dim, keepdim)

    @overload
    def max(self, dim: int, keepdim: bool = False) -> MaxResult: ...

    @overload
    def max(self, *, axis: int, keepdims: bool = False) -> MaxResult: ...

    @overload
    def max(
        self,
        dim: Sequence[int] | None = None,
        keepdim: bool = False,
        *,
        dims: Dims = None,
        keepdims: bool = False,
    ) -> Tensor: ...

    def max(
        self,
        dim: Dims = None,
        keepdim: bool = False,
        *,
        dims: Dims = None,
        axis: Dims = None,
        keepdims: bool = False,
    ) -> Tensor | MaxResult:
        """Largest element; with an int ``dim`` a pair ``(values, indices)``, with ``dims`` values over
        several."""
        return self._extremum("max", given("max", dim, axis), keepdim or keepdims, dims)

    @overload
    def min(self, dim: int, keepdim: bool = False) -> MaxResult: ...

    @overload
    def min(self, *, axis: int, keepdims: bool = False) -> MaxResult: ...

    @overload
    def min(
        self,
        dim: Sequence[int] | None = None,
        keepdim: bool = False,
        *,
        dims: Dims = None,
        keepdims: bool = False,
    ) -> Tensor: ...

    def min(
        self,
        dim: Dims = None,
        keepdim: bool = False,
        *,
        dims: Dims = None,
        axis: Dims = None,
        keepdims: bool = False,
    ) -> Tensor | MaxResult:
        """Smallest element; with an int ``dim`` a pair ``(values, indices)``, with ``dims`` values over
        several."""
        return self._extremum("min", given("min", dim, axis), keepdim or keepdims, dims)

    def argmax(
        self,
        dim: int | None = None,
        keepdim: bool = False,
        *,
        axis: int | None = None,
        keepdims: bool = False,
    ) -> Tensor:
        """Index of the first largest element along ``dim``, or in the flattened tensor."""
        return arg_extremum("argmax", self, given("argmax", dim, axis), keepdim or keepdims)

    def argmin(
        self,
        dim: int | None = None,
        keepdim: bool = False,
        *,
        axis: int | None = None,
        keepdims: bool = False,
    ) -> Tensor:
        """Index of the first smallest element along ``dim``, or in the flattened tensor."""
        return arg_extremum("argmin", self, given("argmin", dim, axis), keepdim or keepdims)

    # ---- shape
    def reshape(self, *shape: Ints) -> Tensor:
        """The same elements in logical (NCHW) order under another shape; one extent may be -1."""
        return shapes.reshape(self, shape)

    view = reshape

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """Merge the dimensions ``start_dim`` to ``end_dim`` into one."""
        return shapes.flatten(self, start_dim, end_dim)

    def permute(self, *axes: Ints) -> Tensor:
        """Reorder the dimensions."""
        return shapes.permute(self, axes)

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """Exchange two dimensions."""
        return shapes.transpose(self, dim0, dim1)

    def t(self) -> Tensor:
        """The transposed matrix; a vector or scalar is returned unchanged."""
        check_rank("t", "tensor", self.shape, (0, 1, 2), "at most a matrix")
        return self.T

    def squeeze(self, dim: int | None = None, *, axis: int | None = None) -> Tensor:
        """Drop the dimensions of extent 1, or only ``dim`` if it has extent 1."""
        return shapes.squeeze(self, given("squeeze", dim, axis))

    def unsqueeze(self, dim: int | None = None, *, axis: int | None = None) -> Tensor:
        """Insert a dimension of extent 1 at ``dim``."""
        return shapes.unsqueeze(self, given("unsqueeze", dim, axis))

    def contiguous(self) -> Tensor:
        """The tensor itself, or a copy of a view whose elements lie in another order."""
        return self if self.view_of is None or self.array.flags.c_contiguous else self.clone()

    # ---- items
    def __getitem__(self, key: Any) -> Tensor:
        return GetItem.apply(self, key=plain_key(key))

    def __setitem__(self, key: Any, value: Operand) -> None:
        inplace.assign(self, key, value)


variable.register(Tensor)


def _leaf(kind: type[T], data: Any, requires_grad: bool) -> T:
    """A tensor of class ``kind``, without a call of that class's own ``__init__``."""
    t = kind.__new__(kind)
    Tensor.__init__(t, data, requires_grad)
    return t


def _unpickled(kind: type[T], array: Any, device: str, requires_grad: bool) -> T:
    return _leaf(kind, argument("as_tensor", "data", array, device), requires_grad)


def _attributes(t: Tensor) -> dict[str, Any]:
    """The attributes that a user's subclass of Tensor adds."""
    return getattr(t, "__dict__", {})
