"""The types of numbers: which one an operation computes in, and the arrays that may come in from outside.

Types follow PyTorch's promotion. There are three categories, bool < integers < floats. Operands with
dimensions decide the result; 0-d tensors, and after them plain numbers, take part only where their category
is higher:

=====================  ==========  =================================================================
operands               result      because
=====================  ==========  =================================================================
float32[3], int64[3]   float32     the higher category keeps its width
uint8[3], int8[3]      int16       the smallest type that holds both
float32[3], float64[]  float32     a 0-d tensor of the same category does not count
int8[3], float64[]     float64     it does where its category is higher
int64[3], 0.5          float32     a Python float is float32 unless an operand is a float
bool[3], 2             int64       a Python int is int64 beside bools
=====================  ==========  =================================================================

NumPy arrays count as tensors, NumPy scalars as plain numbers.
"""

from __future__ import annotations

import functools

import numpy as np

from .checks import check, shape_str

BOOL, INT64, FLOAT32, FLOAT64 = map(np.dtype, ("bool", "int64", "float32", "float64"))
_COMPARISONS = frozenset(("lt", "le", "gt", "ge", "eq", "ne"))
_SAME_TYPE = frozenset(("neg", "abs", "relu"))  # of integers these are integers
# by the kind of a dtype; nothing is converted to a lower one on its own
CATEGORY = {"b": 0, "u": 1, "i": 1, "f": 2}
_NUMBERS = {bool: BOOL, int: INT64, float: FLOAT32}
_PLAIN = frozenset((int, float))
_WITH_DIMENSIONS, _ZERO_D, _NUMBER = 0, 1, 2


# ------------------------------------------------------------------------------------------------- promotion
@functools.cache
def promote(name: str, a: np.dtype, b: np.dtype) -> np.dtype:
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
def result_type(name: str, *operands: tuple[np.dtype, int]) -> np.dtype:
    """The type of several operands, each a dtype and its weight (with dimensions, 0-d or a number)."""
    result = None
    for weight in (_WITH_DIMENSIONS, _ZERO_D, _NUMBER):
        found = [dtype for dtype, w in operands if w == weight]
        if not found:
            continue
        joined = functools.reduce(lambda a, b: promote(name, a, b), found)
        if result is None:
            result = joined
        elif CATEGORY[joined.kind] > CATEGORY[result.kind]:
            result = promote(name, result, joined)
    return result


@functools.cache
def _computed(name, a, b):
    """The type that operation ``name`` computes in, of operands as :func:`result_type` takes them."""
    arrays = [dtype.kind for dtype, weight in (a, b) if weight != _NUMBER]
    floats = "f" in (a[0].kind, b[0].kind)
    if name in _COMPARISONS:
        if floats and ("i" in arrays or "u" in arrays):
            return FLOAT64  # in float32 large integers would equal their neighbours
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
    return FLOAT32 if name == "div" and not floats else result


def operands(name: str, a, b, cast):
    """The operands of ``name`` as engines want them: arrays in the type it computes in (``cast(array,
    dtype)`` makes them that), numbers as numbers that this type holds.

    A Python int beyond an integer array's type is taken modulo its range, as in PyTorch; but comparisons, and
    the larger or smaller of two, are those of the numbers as written.
    """
    x, y = getattr(a, "dtype", None), getattr(b, "dtype", None)
    # what nearly every call is
    if x is y or (y is None and type(b) in _PLAIN) or (x is None and type(a) in _PLAIN):
        if (x or y).kind == "f":
            return a, b
    return _mixed(name, a, b, cast)


def _mixed(name, a, b, cast):
    dtype = _computed(name, _described(name, a), _described(name, b))
    if dtype.kind in "iu":
        number, limits = next((v for v in (a, b) if not hasattr(v, "dtype")), 0), np.iinfo(dtype)
        if name == "pow" and b is number and b < 0:
            raise ValueError(
                f"pow: an integer has no integer power of {b}; make it a float with .astype('float32')"
            )
        if not limits.min <= number <= limits.max:
            if name in _COMPARISONS:
                dtype = FLOAT64  # that far away it need not be exact
            elif name in ("maximum", "minimum"):
                near = int(limits.min if number < 0 else limits.max)
                a, b = (near if v is number else v for v in (a, b))
    return tuple(
        [
            _number(name, v, dtype) if not hasattr(v, "dtype") else v if v.dtype == dtype else cast(v, dtype)
            for v in (a, b)
        ]
    )


def _described(name, v):
    """An operand's dtype and weight."""
    if hasattr(v, "dtype"):
        return v.dtype, _WITH_DIMENSIONS if v.ndim else _ZERO_D
    for kind, dtype in _NUMBERS.items():
        if isinstance(v, kind):
            return dtype, _NUMBER
    raise TypeError(
        f"{name}: operands must be Tensors, arrays or real numbers, got {type(v).__name__} ({v!r:.60})"
    )


def _number(name, v, dtype):
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


def unary_operand(name: str, x, cast):
    """An array of bools or integers as what function ``name`` of one number takes: a float, but for a few."""
    if name not in _SAME_TYPE:
        return cast(x, FLOAT32)
    if x.dtype == BOOL and name != "abs":
        raise TypeError(f"{name}: expected numbers, got bool; convert it with .astype('int64')")
    return x


def together(name: str, arrays, cast) -> list:
    """Arrays with dimensions as arrays of one type."""
    types = [a.dtype for a in arrays]
    if all(t is types[0] for t in types):
        return list(arrays)
    dtype = result_type(name, *((a.dtype, _WITH_DIMENSIONS if a.ndim else _ZERO_D) for a in arrays))
    return [a if a.dtype == dtype else cast(a, dtype) for a in arrays]


# ------------------------------------------------------------------------------------------------- arrays
# from outside
def native(a: np.ndarray, name: str = "tensor", what: str = "data") -> np.ndarray:
    """``a`` itself where kernels can read it, else a copy in this machine's byte order, aligned.

    Read-only memory and any strides are fine. Arrays that hold no real numbers of up to 64 bits are refused.
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


def array(data, dtype=None, name: str = "tensor", what: str = "data") -> np.ndarray:
    """Anything array-like as an array that kernels can read; Python's floats become float32."""
    if isinstance(data, np.ndarray):
        a = native(data, name, what)
    else:
        try:
            a = np.asarray(data)
        except (ValueError, TypeError, OverflowError) as e:
            raise TypeError(f"{name}: {what} is no array of numbers: {e}") from None
        if a.dtype.char not in _READABLE and not hasattr(data, "dtype"):
            raise TypeError(
                f"{name}: {what} must be a Tensor, an array or numbers, got {type(data).__name__} ({data!r:.60})"
            )
        a = native(a, name, what)
        if dtype is None and a.dtype == FLOAT64 and not hasattr(data, "dtype"):
            dtype = FLOAT32
    return a if dtype is None else a.astype(parse(name, dtype), copy=False)


def check_writable(name: str, what: str, a) -> None:
    """Refuse a host array that an op has to change in place and cannot: a copy would take the change with
    it."""
    if isinstance(a, np.ndarray) and not (a.flags.writeable and native(a, name, what) is a):
        raise ValueError(
            f"{name}: {what} is changed in place, and its memory is read-only, unaligned or in foreign byte "
            "order; pass a copy, e.g. fc.tensor(array)"
        )


def parse(name: str, dtype, wanted: str = "dtype must be ") -> np.dtype:
    """What a user writes for a dtype: NumPy's, their names, Python's bool, int and float. ``wanted`` begins
    the message."""
    try:
        parsed = None if dtype is None else np.dtype(dtype)
    except TypeError:
        parsed = None
    if parsed is None or parsed.char not in _READABLE:
        raise TypeError(f"{name}: {wanted}bool, an integer or a float of at most 64 bits, got {dtype!r:.60}")
    return parsed if parsed.isnative else _native(parsed)


def _native(dtype: np.dtype) -> np.dtype:
    """The same numbers in this machine's byte order."""
    return np.dtype(dtype.str[1:])
