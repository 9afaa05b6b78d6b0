"""Kinds of registers, numbers as PTX writes them, and the instructions that only compute."""

from __future__ import annotations

import numpy as np

LETTERS = {"b": "u", "u": "u", "s": "i"}
KINDS = {
    f"{kind}{n}": np.dtype(f"{letter}{n // 8}") for n in (8, 16, 32, 64) for kind, letter in LETTERS.items()
}
KINDS |= {"f32": np.dtype("f4"), "f64": np.dtype("f8"), "pred": np.dtype(bool)}
NAME = r"[%_$a-zA-Z][\w$%.]*"


def as_kind(x, kind):
    """A register's bits as numbers of ``kind``.

    Wider registers are cut, narrower ones extended by their own kind.
    """
    if x.dtype == kind:
        return x
    return x.view(kind) if x.dtype.itemsize == kind.itemsize else x.astype(kind)


def literal(text, kind):
    if text[:2] in ("0f", "0d"):
        bits = np.dtype("u4" if text[1] == "f" else "u8").type(int(text[2:], 16))
        return as_kind(bits.view("f4" if text[1] == "f" else "f8"), kind)
    value = int(text, 0)
    return kind.type(value) if kind.kind in "fb" else np.uint64(value % (1 << 64)).astype(kind)


def parts_of(operand) -> list[str]:
    """The registers of an operand, ``%r1`` or ``{%r1, %r2}``."""
    return [name.strip() for name in operand.strip("{} ").split(",")]


# ------------------------------------------------------------ arithmetic
def _divide(a, b):
    if a.dtype.kind == "f":
        return a / b
    if a.dtype.kind == "u":
        return a // np.maximum(b, 1)
    quotient = np.abs(a) // np.maximum(np.abs(b), 1)
    return np.where((a < 0) != (b < 0), -quotient, quotient)


def _fma(a, b, c):
    wide = np.float64 if a.dtype.itemsize == 4 else np.longdouble
    return (a.astype(wide) * b.astype(wide) + c.astype(wide)).astype(a.dtype)


def fma_down(a, b, c):
    exact = a.astype(np.float64) * b.astype(np.float64) + c.astype(np.float64)
    near = exact.astype(np.float32)
    return np.where(near > exact, np.nextafter(near, np.float32(-np.inf)), near)


def high_product(a, b):
    if a.dtype.itemsize == 4:
        return (a.astype(np.int64 if a.dtype.kind == "i" else np.uint64) * b.astype(a.dtype) >> 32).astype(
            a.dtype
        )
    return (a.astype(object) * b.astype(object) >> 64).astype(a.dtype)


def _shift(operation):
    def shift(a, n):
        bits = 8 * a.dtype.itemsize
        far = n >= bits
        moved = operation(a, np.minimum(n, bits - 1).astype(a.dtype))
        return np.where(
            far,
            np.where(a < 0, -1, 0).astype(a.dtype) if operation is np.right_shift else a.dtype.type(0),
            moved,
        )

    return shift


def insert_bits(a, b, position, length):
    mask = ((np.uint64(1) << length.astype(np.uint64)) - np.uint64(1)).astype(a.dtype) << position.astype(
        a.dtype
    )
    return (b & ~mask) | (a << position.astype(a.dtype) & mask)


def bf16(x):
    """The upper halves of float32 numbers, rounded to nearest, ties to even."""
    bits = x.view(np.uint32)
    near = (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(x), np.uint32(0x7FFF), near)


def convert(how, x, to):
    if to.kind in "iu" and x.dtype.kind == "f":
        x = {"rzi": np.trunc, "rni": np.rint, "rmi": np.floor, "rpi": np.ceil}[
            next(h for h in how if h[0] == "r")
        ](x)
        limits = np.iinfo(to)
        # the largest float below the limit, because the limit itself may round up
        top = (
            np.nextafter(x.dtype.type(limits.max), x.dtype.type(0))
            if limits.bits >= 8 * x.itemsize
            else limits.max
        )
        return np.nan_to_num(np.clip(x, limits.min, top), nan=0).astype(to)
    for name, function in (("rzi", np.trunc), ("rni", np.rint), ("rmi", np.floor), ("rpi", np.ceil)):
        if name in how:
            x = function(x)
    if "sat" in how:
        x = np.nan_to_num(np.clip(x, 0, 1), nan=0)
    return x.astype(to)


SIMPLE = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": _divide,
    "rem": lambda a, b: a - b * _divide(a, b),
    "min": np.fmin,
    "max": np.fmax,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "not": np.invert,
    "neg": np.negative,
    "abs": np.abs,
    "shl": _shift(np.left_shift),
    "shr": _shift(np.right_shift),
    "fma": _fma,
    "mad": lambda a, b, c: a * b + c,
    "sqrt": np.sqrt,
    "rcp": lambda a: a.dtype.type(1) / a,
    "ex2": np.exp2,
    "lg2": np.log2,
    "rsqrt": lambda a: a.dtype.type(1) / np.sqrt(a),
    "tanh": np.tanh,
    "mov": lambda a: a,
    "copysign": lambda sign, size: np.copysign(size, sign),
    "bfi": insert_bits,
    "popc": lambda a: np.bitwise_count(a).astype(np.uint32),
    "cvta": lambda a: a,
}

COMPARE = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "lo": np.less,
    "ls": np.less_equal,
    "hi": np.greater,
    "hs": np.greater_equal,
    "num": lambda a, b: ~(np.isnan(a) | np.isnan(b)),
    "nan": lambda a, b: np.isnan(a) | np.isnan(b),
}


#: Functions of CUDA's mathematical library that are called, not inlined; of float64.
FUNCTIONS = {"__internal_accurate_pow": np.power}


def compare(name, a, b):
    if name not in COMPARE:  # for example "gtu", which is true where one of them is NaN
        return COMPARE[name[:-1]](a, b) | COMPARE["nan"](a, b)
    if name == "ne" and a.dtype.kind == "f":
        return ~np.isnan(a) & ~np.isnan(b) & (a != b)
    return COMPARE[name](a, b)
