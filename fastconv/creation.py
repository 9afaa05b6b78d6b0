"""New tensors: from data, from other libraries, filled or random."""

# Arguments of users are checked when they arrive, whatever their declared types say.
# pyright: reportUnnecessaryIsInstance=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import backends, dtypes, random, variable
from .checks import check, check_count, int_tuple, number, shape_str
from .devices import place
from .dtypes import FLOAT32, FLOAT64, INT64
from .errors import names_memory
from .tensor import Tensor
from .typing import Array, DType, Ints
from .variable import host_array


# ------------------------------------------------------------------------------------------------- from data
@names_memory
def tensor(
    data: Any, dtype: DType | None = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """A new tensor with a copy of ``data``; Python floats become float32, integers int64.

    Parameters
    ----------
    data : number, nested sequence, numpy.ndarray or Tensor
    dtype : numpy dtype, optional
    device : {"cpu", "cuda"}, optional
    requires_grad : bool

    Raises
    ------
    TypeError
        If ``data`` holds anything but real numbers of at most 64 bits.

    Examples
    --------
    >>> fc.tensor([[1.0, 2.0], [3.0, 4.0]]).shape
    (2, 2)
    """
    if isinstance(data, Tensor):
        data = data.numpy()
    return Tensor(place(np.array(host_array(data, dtype)), device), requires_grad)


def as_tensor(data: Any, dtype: DType | None = None, device: str | None = None) -> Tensor:
    """``data`` as a Tensor, without a copy where that is possible.

    An array in foreign byte order or unaligned is copied; so is what changes its dtype or device.

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
    """Argument ``what`` of function ``name`` as a Tensor: :func:`as_tensor`, whose errors name both."""
    return variable.argument(name, what, data, device)


def from_numpy(array: Array) -> Tensor:
    """A tensor on the array's own memory (copied to the GPU under the cuda backend).

    The memory may be read-only and have any strides.

    Raises
    ------
    TypeError
        If ``array`` is no NumPy array.
    ValueError
        If its memory is in foreign byte order or unaligned: kernels cannot read it, so it cannot be shared.

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
    """A tensor on the memory of any object that supports DLPack, on the host or on the GPU.

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


# ------------------------------------------------------------------------------------------------- filled
@names_memory
def full(
    size: Ints,
    fill_value: float,
    dtype: DType | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of ``size`` filled with ``fill_value``, in the number's own type or in ``dtype``.

    >>> fc.full((2, 2), 7)
    tensor([[7, 7],
            [7, 7]])
    """
    value = dtypes.array(fill_value, dtype, "full", "fill_value")
    check(value.ndim == 0, "full", f"fill_value must be a number, got shape {shape_str(value.shape)}")
    return Tensor(place(np.full(_size("full", (size,)), value), device), requires_grad)


@names_memory
def zeros(
    *size: Ints, dtype: DType = FLOAT32, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Zeros: ``zeros(2, 3)`` or ``zeros((2, 3))``.

    >>> fc.zeros(3, dtype="int64")
    tensor([0, 0, 0])
    """
    return Tensor(place(np.zeros(_size("zeros", size), _dtype("zeros", dtype)), device), requires_grad)


@names_memory
def ones(
    *size: Ints, dtype: DType = FLOAT32, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """Ones: ``ones(2, 3)`` or ``ones((2, 3))``.

    >>> fc.ones(3)
    tensor([1., 1., 1.])
    """
    return Tensor(place(np.ones(_size("ones", size), _dtype("ones", dtype)), device), requires_grad)


@names_memory
def arange(*args: float, dtype: DType | None = None, device: str | None = None) -> Tensor:
    """``arange(stop)`` or ``arange(start, stop[, step])``: int64 for integers, else float32.

    >>> fc.arange(1, 7, 2)
    tensor([1, 3, 5])
    """
    name = "arange"
    check(
        1 <= len(args) <= 3,
        name,
        f"expected stop, or start, stop and step, got {len(args)} arguments",
        TypeError,
    )
    what = ("stop",) if len(args) == 1 else ("start", "stop", "step")
    for w, a in zip(what, args):
        check(np.isfinite(number(name, w, a)), name, f"{w} must be finite, got {a}")
    values: tuple[Any, ...] = args
    numbers = [a.item() if hasattr(a, "item") else a for a in values]
    start, stop, step = (0, *numbers, 1) if len(args) == 1 else (*numbers, 1)[:3]
    check(step != 0 and (stop - start) / step >= 0, name, f"step {step} does not lead from {start} to {stop}")
    check_count(name, "the tensor", (max(int((stop - start) / step), 0),))
    if dtype is None:
        dtype = FLOAT32 if any(isinstance(n, float) for n in numbers) else INT64
    return Tensor(place(np.arange(start, stop, step).astype(dtypes.parse(name, dtype)), device))


@names_memory
def eye(n: int, m: int | None = None, dtype: DType = FLOAT32, device: str | None = None) -> Tensor:
    """The ``n x m`` identity matrix; ``m`` is ``n`` by default.

    >>> fc.eye(2)
    tensor([[1., 0.],
            [0., 1.]])
    """
    rows, columns = _size("eye", (n, n if m is None else m))
    return Tensor(place(np.eye(rows, columns, dtype=_dtype("eye", dtype)), device))


# ------------------------------------------------------------------------------------------------- random
@names_memory
def rand(
    *args: Ints,
    size: Ints | None = None,
    dtype: DType = FLOAT32,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform numbers in [0, 1): ``rand(2, 3)``, ``rand((2, 3))`` or ``rand(size=(2, 3))``.

    >>> fc.rand(2, 3).shape
    (2, 3)
    """
    values = random.draw("random", _size("rand", args, size), _random_dtype("rand", dtype))
    return Tensor(place(values, device), requires_grad)


@names_memory
def randn(
    *args: Ints,
    size: Ints | None = None,
    dtype: DType = FLOAT32,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Standard normal numbers: ``randn(2, 3)``, ``randn((2, 3))`` or ``randn(size=(2, 3))``.

    >>> fc.randn(2, 3).shape
    (2, 3)
    """
    values = random.draw("standard_normal", _size("randn", args, size), _random_dtype("randn", dtype))
    return Tensor(place(values, device), requires_grad)


# ------------------------------------------------------------------------------------------------- arguments
def _size(name: str, args: Sequence[Any], size: Any = None) -> tuple[int, ...]:
    if size is None:
        size = args[0] if len(args) == 1 and isinstance(args[0], (tuple, list)) else args
    size = tuple(size) if isinstance(size, (tuple, list)) else (size,)
    size = int_tuple(name, "size", size, len(size), 0) if size else ()
    check_count(name, "the tensor", size)
    return size


def _dtype(name: str, dtype: Any) -> np.dtype[Any]:
    return FLOAT32 if dtype is None else dtypes.parse(name, dtype)


def _random_dtype(name: str, dtype: Any) -> np.dtype[Any]:
    dtype = _dtype(name, dtype)
    check(dtype in (FLOAT32, FLOAT64), name, f"dtype must be float32 or float64, got {dtype}", TypeError)
    return dtype
