"""Tensor: an array with a logical NCHW shape, a device and a place on the tape.

What a tensor is, and how it reaches other worlds and the tape. Its operators and functions are in
``methods``. Ops of layers are in ``fastconv.nn.functional``.
"""

# Arguments of users are checked when they arrive, whatever their declared types say.
# pyright: reportUnnecessaryIsInstance=false, reportUnknownVariableType=false, reportUnknownMemberType=false

from __future__ import annotations

import builtins
import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np

from . import numpy_protocol, variable
from .checks import check, check_axis, check_shape, shape_str
from .dtypes import FLOAT32, INT64
from .methods import (
    ArithmeticMethods,
    AutogradMethods,
    ConvertMethods,
    InPlaceMethods,
    MatrixMethods,
    PartMethods,
    RandomFillMethods,
    ReduceMethods,
    RepeatMethods,
    ShapeMethods,
    SortMethods,
    StatisticMethods,
)
from .ops import Copy
from .typing import Array, DType, Operand
from .variable import argument

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T", bound="Tensor")


class Tensor(
    InPlaceMethods,
    ArithmeticMethods,
    ReduceMethods,
    StatisticMethods,
    SortMethods,
    ShapeMethods,
    PartMethods,
    RepeatMethods,
    MatrixMethods,
    ConvertMethods,
    RandomFillMethods,
    AutogradMethods,
):
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
            extra += f", grad_fn={self.grad_fn}"
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

    def clone(self) -> Tensor:
        """A copy that stays on the tape."""
        return Copy.apply(self)

    # ---- the tape
    def zero_grad(self) -> None:
        """Forget the gradient."""
        self.grad = None


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
