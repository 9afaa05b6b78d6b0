"""The types of numbers: the type an operation computes in, and the arrays that are accepted from outside.

Types follow PyTorch's promotion. There are three categories, bool < integers < floats. Operands with
dimensions decide the result. 0-d tensors count only where their category is higher, and plain numbers only
where theirs is higher still:

=====================  ==========  =================================================================
operands               result      because
=====================  ==========  =================================================================
float32[3], int64[3]   float32     the higher category keeps its width
uint8[3], int8[3]      int16       the smallest type that holds both
float32[3], float64[]  float32     a 0-d tensor of the same category does not count
int8[3], float64[]     float64     it counts where its category is higher
int64[3], 0.5          float32     a Python float is float32 unless an operand is a float
bool[3], 2             int64       a Python int is int64 beside bools
=====================  ==========  =================================================================

NumPy arrays count as tensors, NumPy scalars as plain numbers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .checks import check, shape_str

BOOL, INT64, FLOAT32, FLOAT64 = map(np.dtype, ("bool", "int64", "float32", "float64"))
INT8, INT16, INT32, UINT8 = map(np.dtype, ("int8", "int16", "int32", "uint8"))
_COMPARISONS = frozenset(("lt", "le", "gt", "ge", "eq", "ne"))
_DIVISIONS = frozenset(("floor_divide", "trunc_divide", "remainder", "fmod"))
# By the kind of a dtype. No value is converted to a lower category unless the user asks for it.
CATEGORY = {"b": 0, "u": 1, "i": 1, "f": 2}
_NUMBERS = {bool: BOOL, int: INT64, float: FLOAT32}
_PLAIN = frozenset((int, float))
_WITH_DIMENSIONS, _ZERO_D, _NUMBER = 0, 1, 2


# ------------------------------------------------------------------------------------------------- promotion
@functools.cache
def promote(name: str, a: np.dtype[Any], b: np.dtype[Any]) -> np.dtype[Any]:
    """The type that holds two arrays with dimensions; ``name`` is the operation's, for the error."""
    if a == b:
        return a
    if CATEGORY[a.kind] != CATEGORY[b.kind]:
        return a if CATEGORY[a.kind] > CATEGORY[b.kind] else b
    both = np.promote_types(a, b)
    check(
        both.kind != "f" or a.kind == "f",
        name,
        f"no integer type holds both {a} and {b}; convert one of them, e.g. with .astype('int64')",
        TypeError,
    )
    return both


@functools.cache
def result_type(name: str, *operands: tuple[np.dtype[Any], int]) -> np.dtype[Any]:
    """The type of several operands, each a dtype and its weight (with dimensions, 0-d or a number)."""
    result: np.dtype[Any] | None = None
    for weight in (_WITH_DIMENSIONS, _ZERO_D, _NUMBER):
        found = [dtype for dtype, w in operands if w == weight]
        if not found:
            continue
        joined = functools.reduce(lambda a, b: promote(name, a, b), found)
        if result is None:
            result = joined
        elif CATEGORY[joined.kind] > CATEGORY[result.kind]:
            result = promote(name, result, joined)
    assert result is not None, "no operands"
    return result


@functools.cache
def _computed(name: str, a: tuple[np.dtype[Any], int], b: tuple[np.dtype[Any], int]) -> np.dtype[Any]:
    """The type that operation ``name`` computes in; operands are written as for :func:`result_type`."""
    arrays = [dtype.kind for dtype, weight in (a, b) if weight != _NUMBER]
    floats = "f" in (a[0].kind, b[0].kind)
    if name in _COMPARISONS:
        if floats and ("i" in arrays or "u" in arrays):
            return FLOAT64  # float32 cannot distinguish large integers from their neighbours
        if not floats and len(arrays) == 2:
            return promote(name, a[0], b[0])  # 0-d or not: the other's type may not hold its value
    result = result_type(name, a, b)
    check(
        name != "sub" or result != BOOL,
        name,
        "there is no difference of two bools; convert them with .astype('int64'), or "
        "ask whether they differ with !=",
        TypeError,
    )
    check(
        name not in _DIVISIONS or result != BOOL,
        name,
        "bools are not divided; convert them with .astype('int64')",
        TypeError,
    )
    return FLOAT32 if name == "div" and not floats else result


def operands(name: str, a: Any, b: Any, cast: Callable[[Any, Any], Any]) -> tuple[Any, Any]:
    """The operands of ``name`` as engines expect them.

    Arrays are converted, by ``cast(array, dtype)``, to the type that the operation computes in. Numbers
    become numbers that this type holds.

    A Python int beyond an integer array's type is taken modulo its range, as in PyTorch. Comparisons, and the
    larger or smaller of two, use the numbers as written.
    """
    x, y = getattr(a, "dtype", None), getattr(b, "dtype", None)
    # nearly every call ends here
    if x is y or (y is None and type(b) in _PLAIN) or (x is None and type(a) in _PLAIN):
        either: Any = x or y
        if either.kind == "f":
            return a, b
    return _mixed(name, a, b, cast)


def _mixed(name: str, a: Any, b: Any, cast: Callable[[Any, Any], Any]) -> tuple[Any, Any]:
    dtype = _computed(name, _described(name, a), _described(name, b))
    if dtype.kind in "iu":
        number: Any = next((v for v in (a, b) if not hasattr(v, "dtype")), 0)
        limits = np.iinfo(dtype)
        if name == "pow" and b is number and b < 0:
            raise ValueError(
                f"pow: an integer has no integer power of {b}; make it a float with .astype('float32')"
            )
        if not limits.min <= number <= limits.max:
            if name in _COMPARISONS:
                dtype = FLOAT64  # no integer of the array is near the number, so rounding changes nothing
            elif name in ("maximum", "minimum"):
                near = int(limits.min if number < 0 else limits.max)
                a, b = (near if v is number else v for v in (a, b))
    return _as_type(name, a, dtype, cast), _as_type(name, b, dtype, cast)


def _as_type(name: str, v: Any, dtype: np.dtype[Any], cast: Callable[[Any, Any], Any]) -> Any:
    if not hasattr(v, "dtype"):
        return _number(name, v, dtype)
    return v if v.dtype == dtype else cast(v, dtype)


def _described(name: str, v: Any) -> tuple[np.dtype[Any], int]:
    """An operand's dtype and weight."""
    if hasattr(v, "dtype"):
        return v.dtype, _WITH_DIMENSIONS if v.ndim else _ZERO_D
    for kind, dtype in _NUMBERS.items():
        if isinstance(v, kind):
            return dtype, _NUMBER
    raise TypeError(
        f"{name}: operands must be Tensors, arrays or real numbers, got {type(v).__name__} ({v!r:.60})"
    )


def _number(name: str, v: Any, dtype: np.dtype[Any]) -> Any:
    """A plain number as one that ``dtype`` holds."""
    if dtype.kind == "b":
        return v
    if isinstance(v, float):
        return v
    if not (-(2**63) <= v < 2**64 if dtype.kind != "f" else abs(v) < 2**1023):
        raise OverflowError(f"{name}: {v!r:.60} is beyond every number of type {dtype}")
    if dtype.kind == "f":
        return float(v)
    bits = 8 * dtype.itemsize
    v %= 1 << bits
    return v - (1 << bits) if dtype.kind == "i" and v >> (bits - 1) else v


def several(name: str, operands: Sequence[Any], cast: Callable[[Any, Any], Any]) -> list[Any]:
    """Any number of operands, as :func:`operands` gives two."""
    dtype = result_type(name, *(_described(name, v) for v in operands))
    return [_as_type(name, v, dtype, cast) for v in operands]


def of_numbers(name: str, *numbers: Any) -> np.ndarray[Any, Any]:
    """The first of several plain numbers, as an array of the type that holds them all."""
    return np.asarray(numbers[0], result_type(name, *(_described(name, v) for v in numbers)))


def unary_operand(name: str, x: Any, cast: Callable[[Any, Any], Any], keeps_integers: bool) -> Any:
    """An array of bools or integers as the argument of function ``name``: in float32, except for those
    functions that give integers for integers."""
    if not keeps_integers:
        return cast(x, FLOAT32)
    return x if name in ("abs", "sign") else no_bools(name, x)


def no_bools(name: str, x: Any) -> Any:
    """``x``, if it does not hold bools."""
    if x.dtype == BOOL:
        raise TypeError(f"{name}: expected numbers, got bool; convert it with .astype('int64')")
    return x


def together(name: str, arrays: Sequence[Any], cast: Callable[[Any, Any], Any]) -> list[Any]:
    """Arrays as arrays of one type."""
    types = [a.dtype for a in arrays]
    if all(t is types[0] for t in types):
        return list(arrays)
    dtype = result_type(name, *((a.dtype, _WITH_DIMENSIONS if a.ndim else _ZERO_D) for a in arrays))
    return [a if a.dtype == dtype else cast(a, dtype) for a in arrays]


# --------------------------------------------------------------------------------- arrays from outside
def native(a: np.ndarray[Any, Any], name: str = "tensor", what: str = "data") -> np.ndarray[Any, Any]:
    """``a`` itself where kernels can read it, else a copy that is aligned and in this machine's byte order.

    Read-only memory and any strides are accepted.

    Raises
    ------
    TypeError
        If ``a`` does not hold real numbers of at most 64 bits, or is a masked array.
    """
    dtype = a.dtype
    if type(a) is np.ndarray and dtype.char in _READABLE and dtype.isnative and a.flags.aligned:
        return a
    if isinstance(a, np.ma.MaskedArray):
        raise TypeError(f"{name}: {what} is a masked array, whose mask would be lost; pass .filled(value)")
    if dtype.char not in _READABLE:
        cures = {
            "c": "pass .real and .imag apart",
            "f": "convert it with .astype('float64')",
            "V": "pass one field of it",
        }
        advice = cures.get(dtype.kind, "expected bools, integers or floats")
        got = f"{dtype} {shape_str(a.shape)}"
        raise TypeError(f"{name}: {what} must hold real numbers of at most 64 bits, got {got}; {advice}")
    a = np.asarray(a)
    return a if dtype.isnative and a.flags.aligned else a.astype(_native(dtype))


_READABLE = frozenset("?bBhHiIlLqQefd")


def array(data: Any, dtype: Any = None, name: str = "tensor", what: str = "data") -> np.ndarray[Any, Any]:
    """Anything array-like as an array that kernels can read; Python's floats become float32.

    >>> array([1.0, 2.0]).dtype
    dtype('float32')
    """
    if isinstance(data, np.ndarray):
        a = native(data, name, what)
    else:
        try:
            a = np.asarray(data)
        except (ValueError, TypeError, OverflowError) as e:
            raise TypeError(f"{name}: {what} is no array of numbers: {e}") from None
        if a.dtype.char not in _READABLE and not hasattr(data, "dtype"):
            raise TypeError(
                f"{name}: {what} must be a Tensor, an array or numbers, "
                f"got {type(data).__name__} ({data!r:.60})"
            )
        a = native(a, name, what)
        if dtype is None and a.dtype == FLOAT64 and not hasattr(data, "dtype"):
            dtype = FLOAT32
    if dtype is None:
        return a
    wanted = parse(name, dtype)
    if not hasattr(data, "dtype"):
        check_fits(name, what, a, wanted)
    return a.astype(wanted, copy=False)


def check_fits(name: str, what: str, a: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> None:
    """Refuse numbers that an integer dtype cannot hold; unsigned ones wrap around below 0, as in PyTorch."""
    if dtype.kind not in "iu" or a.dtype == dtype or a.dtype == bool:
        return
    limits = np.iinfo(dtype)
    low = limits.min if dtype.kind == "i" else -limits.max
    with np.errstate(invalid="ignore"):
        outside = ~((a >= low) & (a < float(limits.max) + 1 if a.dtype.kind == "f" else a <= limits.max))
    if outside.any():
        got = a[outside][0].item()
        raise ValueError(f"{name}: {what} must fit into {dtype} ({limits.min} to {limits.max}), got {got!r}")


def check_writable(name: str, what: str, a: Any) -> None:
    """Refuse a host array that an op cannot change in place.

    A copy must not stand for it, because the caller would not see the change.
    """
    if isinstance(a, np.ndarray) and not (a.flags.writeable and native(a, name, what) is a):
        raise ValueError(
            f"{name}: {what} is changed in place, and its memory is read-only, unaligned or in foreign byte "
            "order; pass a copy, e.g. fc.tensor(array)"
        )


def parse(name: str, dtype: Any, wanted: str = "dtype must be ") -> np.dtype[Any]:
    """A dtype as users write it: NumPy's types, their names, or Python's bool, int and float.

    The message of the TypeError begins with ``wanted``.
    """
    try:
        parsed = None if dtype is None else np.dtype(dtype)
    except TypeError:
        parsed = None
    if parsed is None or parsed.char not in _READABLE:
        raise TypeError(f"{name}: {wanted}bool, an integer or a float of at most 64 bits, got {dtype!r:.60}")
    return parsed if parsed.isnative else _native(parsed)


def or_float32(name: str, dtype: Any) -> np.dtype[Any]:
    """A dtype as users write it; None: float32."""
    return FLOAT32 if dtype is None else parse(name, dtype)


#: Types that PyTorch has and fastconv has not, and what serves instead.
ABSENT = {
    "float16": "float32",
    "half": "float32",
    "bfloat16": "float32",
    "complex64": "two tensors, of the real and of the imaginary parts",
    "complex128": "two tensors, of the real and of the imaginary parts",
}


def refusal(name: str, dtype: str) -> str:
    """The message about a type in :data:`ABSENT`."""
    return (
        f"{name}: there are no {dtype} tensors, because kernels compute in float32 and float64; "
        f"use {ABSENT[dtype]}"
    )


def _native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The same numbers in this machine's byte order."""
    return np.dtype(dtype.str[1:])
