"""New tensors whose values follow a rule: constants, ranges, identity matrices, indices of triangles."""

# Arguments of users are checked when they arrive, whatever their declared types say.
# pyright: reportUnnecessaryIsInstance=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes
from ..checks import check, check_count, int_tuple, number, shape_argument, shape_str
from ..devices import place
from ..dtypes import FLOAT32, INT64
from ..errors import names_memory
from ..ops import masks
from ..tensor import Tensor
from ..typing import DType, Ints, TensorLike
from ..variable import argument


# ------------------------------------------------------------------------------------------------- constants
@names_memory
def full(
    size: Ints,
    fill_value: float,
    dtype: DType | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of shape ``size`` filled with ``fill_value``; by default its dtype follows from the number.

    >>> fc.full((2, 2), 7)
    tensor([[7, 7],
            [7, 7]])
    """
    value = _fill_value("full", fill_value, dtype)
    return Tensor(place(np.full(shape_argument("full", (size,)), value), device), requires_grad)


@names_memory
def zeros(
    *args: Ints,
    size: Ints | None = None,
    dtype: DType | None = FLOAT32,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Zeros: ``zeros(2, 3)``, ``zeros((2, 3))`` or ``zeros(size=(2, 3))``.

    >>> fc.zeros(3, dtype="int64")
    tensor([0, 0, 0])
    """
    shape = shape_argument("zeros", args, size)
    return Tensor(place(np.zeros(shape, dtypes.or_float32("zeros", dtype)), device), requires_grad)


@names_memory
def ones(
    *args: Ints,
    size: Ints | None = None,
    dtype: DType | None = FLOAT32,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Ones: ``ones(2, 3)``, ``ones((2, 3))`` or ``ones(size=(2, 3))``.

    >>> fc.ones(3)
    tensor([1., 1., 1.])
    """
    shape = shape_argument("ones", args, size)
    return Tensor(place(np.ones(shape, dtypes.or_float32("ones", dtype)), device), requires_grad)


@names_memory
def empty(
    *args: Ints,
    size: Ints | None = None,
    dtype: DType | None = FLOAT32,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor whose memory is not initialised, so its values are arbitrary; write to it before you read it.

    >>> fc.empty(2, 3).shape
    (2, 3)
    """
    shape = shape_argument("empty", args, size)
    return Tensor(place(np.empty(shape, dtypes.or_float32("empty", dtype)), device), requires_grad)


# ----------------------------------------------------------------------------------------------- like another
def _like(
    name: str,
    make: Any,
    input: Any,  # noqa: A002 - PyTorch's name
    dtype: Any,
    device: Any,
    requires_grad: bool,
) -> Tensor:
    x = argument(name, "input", input)
    dtype = x.dtype if dtype is None else dtypes.parse(name, dtype)
    where = x.device if device is None else device
    # on the host, with the memory order of ``input``, so that later ops on both find the same order
    model = x.array if isinstance(x.array, np.ndarray) else np.broadcast_to(np.empty((), dtype), x.shape)
    return Tensor(place(make(model, dtype), where), requires_grad)


@names_memory
def zeros_like(
    input: TensorLike,  # noqa: A002
    *,
    dtype: DType | None = None,
    device: str | None = None,
    requires_grad: bool = False,
    memory_format: str = "preserve_format",
) -> Tensor:
    """Zeros with the shape, dtype and device of ``input``; ``memory_format`` has no effect.

    >>> fc.zeros_like(fc.tensor([1, 2]))
    tensor([0, 0])
    """
    return _like("zeros_like", np.zeros_like, input, dtype, device, requires_grad)


@names_memory
def ones_like(
    input: TensorLike,  # noqa: A002
    *,
    dtype: DType | None = None,
    device: str | None = None,
    requires_grad: bool = False,
    memory_format: str = "preserve_format",
) -> Tensor:
    """Ones with the shape, dtype and device of ``input``; ``memory_format`` has no effect.

    >>> fc.ones_like(fc.tensor([1, 2]), dtype=fc.float32)
    tensor([1., 1.])
    """
    return _like("ones_like", np.ones_like, input, dtype, device, requires_grad)


@names_memory
def empty_like(
    input: TensorLike,  # noqa: A002
    *,
    dtype: DType | None = None,
    device: str | None = None,
    requires_grad: bool = False,
    memory_format: str = "preserve_format",
) -> Tensor:
    """:func:`empty` with the shape, dtype and device of ``input``; ``memory_format`` has no effect.

    >>> fc.empty_like(fc.tensor([1, 2])).shape
    (2,)
    """
    return _like("empty_like", np.empty_like, input, dtype, device, requires_grad)


@names_memory
def full_like(
    input: TensorLike,  # noqa: A002
    fill_value: float,
    *,
    dtype: DType | None = None,
    device: str | None = None,
    requires_grad: bool = False,
    memory_format: str = "preserve_format",
) -> Tensor:
    """A tensor of ``fill_value`` with the shape, dtype and device of ``input``.

    ``memory_format`` has no effect.

    >>> fc.full_like(fc.tensor([1, 2]), 7)
    tensor([7, 7])
    """

    def make(model: Any, dtype: Any) -> Any:
        return np.full_like(model, _fill_value("full_like", fill_value, dtype), dtype)

    return _like("full_like", make, input, dtype, device, requires_grad)


def fill(input: TensorLike, value: float) -> Tensor:  # noqa: A002
    """A tensor like ``input`` whose elements are all ``value``, a number or a tensor with one element.

    >>> fc.fill(fc.tensor([1, 2]), 7)
    tensor([7, 7])
    """
    return masks.masked_fill(argument("fill", "input", input), np.array(True), value)


# ------------------------------------------------------------------------------------------------- ranges
@names_memory
def arange(
    *args: float,
    start: float | None = None,
    end: float | None = None,
    step: float | None = None,
    dtype: DType | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Numbers from ``start`` (0 by default) up to, but not including, ``end``, at distances of ``step``.

    Call it as ``arange(end)`` or ``arange(start, end[, step])``. The dtype is int64 if all arguments are
    integers, else float32.

    >>> fc.arange(1, 7, 2)
    tensor([1, 3, 5])
    """
    name = "arange"
    check(len(args) <= 3, name, f"expected at most start, end and step, got {len(args)} arguments", TypeError)
    words = ("end",) if len(args) == 1 and end is None else ("start", "end", "step")
    given = {"start": start, "end": end, "step": step}
    for word, value in zip(words, args):
        check(given[word] is None, name, f"got {word} twice", TypeError)
        given[word] = value
    check(given["end"] is not None, name, "missing 'end', where the range stops", TypeError)
    found: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
    for word, value in found.items():
        check(np.isfinite(number(name, word, value)), name, f"{word} must be finite, got {value}")
    found = {k: v.item() if hasattr(v, "item") else v for k, v in found.items()}
    first, last, by = found.get("start", 0), found["end"], found.get("step", 1)
    check(by != 0 and (last - first) / by >= 0, name, f"step {by} does not lead from {first} to {last}")
    check_count(name, "the tensor", (max(int((last - first) / by), 0),))
    if dtype is None:
        dtype = FLOAT32 if any(isinstance(n, float) for n in found.values()) else INT64
    values = np.arange(first, last, by).astype(dtypes.parse(name, dtype))
    return Tensor(place(values, device), requires_grad)


def _line(name: str, start: Any, end: Any, steps: Any) -> np.ndarray:
    """Numbers at equal distances, in float64."""
    first, last = number(name, "start", start), number(name, "end", end)
    (count,) = int_tuple(name, "steps", steps, 1, 0)
    check_count(name, "the tensor", (count,))
    return np.linspace(first, last, count)


@names_memory
def linspace(
    start: float,
    end: float,
    steps: int,
    *,
    dtype: DType | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """``steps`` numbers at equal distances, from ``start`` to ``end``, both included.

    >>> fc.linspace(0, 1, 5)
    tensor([0.  , 0.25, 0.5 , 0.75, 1.  ])
    """
    values = _line("linspace", start, end, steps)
    return Tensor(place(values.astype(dtypes.or_float32("linspace", dtype)), device), requires_grad)


@names_memory
def logspace(
    start: float,
    end: float,
    steps: int,
    base: float = 10.0,
    *,
    dtype: DType | None = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """``steps`` powers of ``base``, whose exponents go from ``start`` to ``end`` at equal distances.

    >>> fc.logspace(0, 2, 3)
    tensor([  1.,  10., 100.])
    """
    exponents = _line("logspace", start, end, steps)
    with np.errstate(all="ignore"):
        values = np.power(np.float64(number("logspace", "base", base)), exponents)
        return Tensor(place(values.astype(dtypes.or_float32("logspace", dtype)), device), requires_grad)


# ------------------------------------------------------------------------------------------------- matrices
@names_memory
def eye(
    n: int,
    m: int | None = None,
    dtype: DType | None = FLOAT32,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """The ``n x m`` identity matrix; ``m`` is ``n`` by default.

    >>> fc.eye(2)
    tensor([[1., 0.],
            [0., 1.]])
    """
    rows, columns = shape_argument("eye", (n, n if m is None else m))
    return Tensor(place(np.eye(rows, columns, dtype=dtypes.or_float32("eye", dtype)), device), requires_grad)


def _triangle(name: str, make: Any, row: Any, col: Any, offset: Any, dtype: Any, device: Any) -> Tensor:
    rows, columns = shape_argument(name, (row, col))
    (k,) = int_tuple(name, "offset", offset, 1, -(1 << 40))
    return Tensor(place(np.stack(make(rows, k, columns)).astype(dtypes.parse(name, dtype)), device))


@names_memory
def tril_indices(
    row: int, col: int, offset: int = 0, *, dtype: DType = INT64, device: str | None = None
) -> Tensor:
    """The row and column indices of the elements in the lower triangle of a ``row x col`` matrix.

    The result has the shape (2, number of elements). ``offset`` moves the diagonal: to the right if positive.

    >>> fc.tril_indices(2, 2)
    tensor([[0, 1, 1],
            [0, 0, 1]])
    """
    return _triangle("tril_indices", np.tril_indices, row, col, offset, dtype, device)


@names_memory
def triu_indices(
    row: int, col: int, offset: int = 0, *, dtype: DType = INT64, device: str | None = None
) -> Tensor:
    """The row and column indices of the elements in the upper triangle of a ``row x col`` matrix.

    The result has the shape (2, number of elements). ``offset`` moves the diagonal: to the right if positive.

    >>> fc.triu_indices(2, 2)
    tensor([[0, 0, 1],
            [0, 1, 1]])
    """
    return _triangle("triu_indices", np.triu_indices, row, col, offset, dtype, device)


# ------------------------------------------------------------------------------------------------- arguments
def _fill_value(name: str, value: Any, dtype: Any) -> np.ndarray:
    if isinstance(value, Tensor):
        value = value.numpy()
    number = dtypes.array(value, dtype, name, "fill_value")
    check(number.ndim == 0, name, f"fill_value must be a number, got shape {shape_str(number.shape)}")
    return number
