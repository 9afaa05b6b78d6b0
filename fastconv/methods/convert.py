"""Methods that change the dtype or the device, and that make new tensors of the same dtype and device."""

from __future__ import annotations

import builtins
from math import prod
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from fastconv import devices, dtypes, variable
from fastconv.checks import check, shape_argument, shape_str
from fastconv.dtypes import BOOL, FLOAT32, FLOAT64, INT8, INT16, INT32, INT64, UINT8
from fastconv.ops import convert
from fastconv.typing import DType, Ints
from fastconv.variable import Variable, argument

if TYPE_CHECKING:
    from typing_extensions import Self


class ConvertMethods(Variable):
    """Dtypes and devices."""

    __slots__ = ()

    # ---- properties
    def numel(self) -> builtins.int:
        """Number of elements."""
        return prod(self.shape)

    nelement = numel

    def element_size(self) -> builtins.int:
        """Bytes per element."""
        return self.dtype.itemsize

    @property
    def itemsize(self) -> builtins.int:
        """Bytes per element."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> builtins.int:
        """Bytes of all elements together."""
        return prod(self.shape) * self.dtype.itemsize

    @property
    def is_cuda(self) -> builtins.bool:
        """Whether the tensor is on a GPU."""
        return self.device == "cuda"

    def is_floating_point(self) -> builtins.bool:
        """Whether the elements are floats.

        >>> fc.ones(2).is_floating_point(), fc.arange(2).is_floating_point()
        (True, False)
        """
        return self.dtype.kind == "f"

    def is_complex(self) -> builtins.bool:
        """False: there are no complex tensors."""
        return False

    # ---- another device or dtype
    def to(
        self,
        *args: Any,
        device: str | None = None,
        dtype: DType | None = None,
        other: Variable | None = None,
        non_blocking: builtins.bool = False,
        copy: builtins.bool = False,
        memory_format: str = "preserve_format",
    ) -> Self:
        """Move to a device (``"cpu"``, ``"cuda"``), cast to a dtype, or both.

        It is called as ``to(device)``, ``to(dtype)``, ``to(device, dtype)`` or ``to(other)``, which takes the
        device and dtype of the tensor ``other``. The result is this tensor itself if nothing changes, unless
        ``copy`` is true. ``memory_format`` has no effect.

        A move waits until it is done. With ``non_blocking``, a move from page-locked memory
        (:meth:`pin_memory`) to the GPU does not wait: work on the result waits for it, and this tensor must
        not be changed until ``fc.cuda.synchronize()``.

        >>> fc.arange(2).to("cpu", fc.float64)
        tensor([0., 1.], dtype=float64)
        """
        return convert.to(
            self, *args, device=device, dtype=dtype, other=other, non_blocking=non_blocking, copy=copy
        )

    def cpu(self) -> Self:
        """Move to the host."""
        return convert.to(self, device="cpu")

    def cuda(self, device: Any = None, non_blocking: builtins.bool = False) -> Self:
        """Move to the GPU; ``device`` may be ``"cuda"`` or its number, ``non_blocking`` as for :meth:`to`."""
        return convert.to(self, device=devices.gpu("cuda", device), non_blocking=non_blocking)

    def pin_memory(self) -> Self:
        """A copy in page-locked memory of the host, which a GPU copies from while the program goes on.

        The result is this tensor itself if it is there already. ``train.fit`` uploads through page-locked
        memory of its own, so its tensors need not be pinned.

        Raises
        ------
        ValueError
            If the tensor is on the GPU.
        RuntimeError
            If there is no GPU.

        Examples
        --------
        >>> x = fc.ones(2, 3).pin_memory()
        >>> x.is_pinned(), x.to("cuda", non_blocking=True).shape
        (True, (2, 3))
        """
        return convert.pin_memory(self)

    def is_pinned(self) -> builtins.bool:
        """Whether the tensor is in page-locked memory of the host (see :meth:`pin_memory`).

        >>> fc.ones(2).is_pinned()
        False
        """
        return convert.is_pinned(self)

    def astype(self, dtype: DType) -> Self:
        """Cast to ``dtype``; the gradient is cast back in the backward pass.

        >>> fc.tensor([1.7]).astype("int64")
        tensor([1])
        """
        return convert.astype(self, dtype)

    def type(self, dtype: DType | None = None, non_blocking: builtins.bool = False) -> Self:
        """:meth:`astype` by another name; ``non_blocking`` has no effect.

        >>> fc.tensor([1.7]).type(fc.int64)
        tensor([1])
        """
        check(dtype is not None, "type", "give a dtype; the dtype of the tensor is .dtype", TypeError)
        return convert.astype(self, dtype)

    def type_as(self, other: Variable) -> Self:
        """Cast to the dtype of another tensor.

        >>> fc.tensor([1.7]).type_as(fc.tensor([1]))
        tensor([1])
        """
        return convert.astype(self, argument("type_as", "other", other).dtype)

    def float(self) -> Self:
        """Cast to float32."""
        return convert.astype(self, FLOAT32)

    def double(self) -> Self:
        """Cast to float64."""
        return convert.astype(self, FLOAT64)

    def long(self) -> Self:
        """Cast to int64."""
        return convert.astype(self, INT64)

    def int(self) -> Self:
        """Cast to int32."""
        return convert.astype(self, INT32)

    def short(self) -> Self:
        """Cast to int16."""
        return convert.astype(self, INT16)

    def char(self) -> Self:
        """Cast to int8."""
        return convert.astype(self, INT8)

    def byte(self) -> Self:
        """Cast to uint8."""
        return convert.astype(self, UINT8)

    def bool(self) -> Self:
        """Cast to bool: whether an element is not zero."""
        return convert.astype(self, BOOL)

    def half(self) -> NoReturn:
        """Not supported: raises a TypeError, because kernels compute in float32 and float64."""
        raise TypeError(dtypes.refusal("half", "float16"))

    def bfloat16(self) -> NoReturn:
        """Not supported: raises a TypeError, because kernels compute in float32 and float64."""
        raise TypeError(dtypes.refusal("bfloat16", "bfloat16"))

    # ---- new tensors of this dtype and device
    def _new(self, array: Any, device: str | None, requires_grad: builtins.bool) -> Self:
        where = self.device if device is None else device
        return variable.tensor_class(devices.place(array, where), requires_grad)

    def _new_dtype(self, name: str, dtype: DType | None) -> Any:
        return self.dtype if dtype is None else dtypes.parse(name, dtype)

    def new_tensor(
        self,
        data: Any,
        dtype: DType | None = None,
        device: str | None = None,
        requires_grad: builtins.bool = False,
    ) -> Self:
        """``fc.tensor(data)`` with the dtype and device of this tensor.

        >>> fc.ones(1).new_tensor([1, 2])
        tensor([1., 2.])
        """
        array = variable.host_array(data, self._new_dtype("new_tensor", dtype), "new_tensor")
        return self._new(np.array(array), device, requires_grad)

    def new_zeros(
        self,
        *args: Ints,
        size: Ints | None = None,
        dtype: DType | None = None,
        device: str | None = None,
        requires_grad: builtins.bool = False,
    ) -> Self:
        """Zeros with the dtype and device of this tensor.

        >>> fc.arange(1).new_zeros(2)
        tensor([0, 0])
        """
        shape = shape_argument("new_zeros", args, size)
        array = np.zeros(shape, self._new_dtype("new_zeros", dtype))
        return self._new(array, device, requires_grad)

    def new_ones(
        self,
        *args: Ints,
        size: Ints | None = None,
        dtype: DType | None = None,
        device: str | None = None,
        requires_grad: builtins.bool = False,
    ) -> Self:
        """Ones with the dtype and device of this tensor.

        >>> fc.arange(1).new_ones(2)
        tensor([1, 1])
        """
        shape = shape_argument("new_ones", args, size)
        array = np.ones(shape, self._new_dtype("new_ones", dtype))
        return self._new(array, device, requires_grad)

    def new_empty(
        self,
        *args: Ints,
        size: Ints | None = None,
        dtype: DType | None = None,
        device: str | None = None,
        requires_grad: builtins.bool = False,
    ) -> Self:
        """``fc.empty`` with the dtype and device of this tensor.

        >>> fc.arange(1).new_empty(2, 3).shape
        (2, 3)
        """
        shape = shape_argument("new_empty", args, size)
        array = np.empty(shape, self._new_dtype("new_empty", dtype))
        return self._new(array, device, requires_grad)

    def new_full(
        self,
        size: Ints,
        fill_value: Any,
        dtype: DType | None = None,
        device: str | None = None,
        requires_grad: builtins.bool = False,
    ) -> Self:
        """A tensor of shape ``size`` filled with a number, with the dtype and device of this tensor.

        >>> fc.ones(1).new_full((2,), 7)
        tensor([7., 7.])
        """
        name = "new_full"
        value = variable.host_array(fill_value, self._new_dtype(name, dtype), name, "fill_value")
        check(value.ndim == 0, name, f"fill_value must be a number, got shape {shape_str(value.shape)}")
        return self._new(np.full(shape_argument(name, (size,)), value), device, requires_grad)
