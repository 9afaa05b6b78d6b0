"""New tensors from data, and from other libraries."""

# Arguments of users are checked when they arrive, whatever their declared types say.
# pyright: reportUnnecessaryIsInstance=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import Any

import numpy as np

from .. import backends, dtypes, variable
from ..checks import check
from ..devices import place
from ..errors import names_memory
from ..tensor import Tensor
from ..typing import Array, DType
from ..variable import host_array


# ------------------------------------------------------------------------------------------------- from data
@names_memory
def tensor(
    data: Any, dtype: DType | None = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """A new tensor with a copy of ``data``; Python floats become float32, Python integers int64.

    Parameters
    ----------
    data : number, nested sequence, numpy.ndarray or Tensor
    dtype : numpy dtype, optional
        By default that of an array or Tensor.
    device : {"cpu", "cuda"}, optional
    requires_grad : bool

    Raises
    ------
    TypeError
        If ``data`` holds values other than real numbers of at most 64 bits.

    Examples
    --------
    >>> fc.tensor([[1.0, 2.0], [3.0, 4.0]]).shape
    (2, 2)
    """
    if isinstance(data, Tensor):
        data = data.numpy()
    return Tensor(place(np.array(host_array(data, dtype)), device), requires_grad)


def as_tensor(data: Any, dtype: DType | None = None, device: str | None = None) -> Tensor:
    """``data`` as a Tensor, without a copy if possible.

    An array that is in foreign byte order or unaligned is copied, and so are data whose dtype or device
    changes.

    Parameters
    ----------
    data : Tensor, numpy.ndarray, number or nested sequence
    dtype : numpy dtype, optional
    device : {"cpu", "cuda"}, optional

    Examples
    --------
    >>> a = np.zeros(3, np.float32)
    >>> fc.as_tensor(a)[0] = 1; a
    array([1., 0., 0.], dtype=float32)
    """
    if isinstance(data, Tensor):
        data = data if device is None else data.to(device)
        return data if dtype is None else data.astype(dtype)
    return Tensor(place(host_array(data, dtype, "as_tensor"), device))


def argument(name: str, what: str, data: Any, device: str | None = None) -> Tensor:
    """Argument ``what`` of function ``name`` as a Tensor, as :func:`as_tensor`; errors name both."""
    return variable.argument(name, what, data, device)


def from_numpy(array: Array) -> Tensor:
    """A tensor that shares the memory of a NumPy array.

    The memory may be read-only and have any strides. If the current backend is ``cuda``, it is copied to the
    GPU instead.

    Raises
    ------
    TypeError
        If ``array`` is not a NumPy array.
    ValueError
        If the array is in foreign byte order or unaligned, because kernels cannot read such memory.

    Examples
    --------
    >>> a = np.zeros(3, np.float32)
    >>> fc.from_numpy(a).fill_(7); a
    tensor([7., 7., 7.])
    array([7., 7., 7.], dtype=float32)
    """
    check(
        isinstance(array, np.ndarray),
        "from_numpy",
        f"expected a numpy.ndarray, got {type(array).__name__}",
        TypeError,
    )
    shared = dtypes.native(array, "from_numpy", "array")
    check(
        array.dtype.isnative and array.flags.aligned,
        "from_numpy",
        "memory in foreign byte order or unaligned "
        f"({array.dtype}) cannot be shared; fc.tensor(array) or fc.as_tensor(array) copies it",
    )
    return Tensor(place(shared))


def from_dlpack(x: Any) -> Tensor:
    """A tensor that shares the memory of an object that supports DLPack, on the host or on the GPU.

    Raises
    ------
    TypeError
        If ``x`` has no ``__dlpack__``, or its memory cannot be shared.

    Examples
    --------
    >>> fc.from_dlpack(np.arange(3.0))
    tensor([0., 1., 2.], dtype=float64)
    """
    check(
        hasattr(x, "__dlpack_device__"),
        "from_dlpack",
        f"expected an object with __dlpack__, got {type(x).__name__}",
        TypeError,
    )
    if x.__dlpack_device__()[0] == 2:  # CUDA
        return Tensor(backends.load("cuda").dlpack.borrow(x))
    try:
        return Tensor(np.from_dlpack(x))
    except BufferError as e:
        raise TypeError(f"from_dlpack: {e}") from None
